//! Every scenario of the corpus, on the simulator and on files; and what a scenario that is wrong comes to.

mod shuttle_engine;
mod table;

use std::path::{Path, PathBuf};

use ploop_core::verify::unseen;
use sim::profile::Profile;
use sim::report::Class;
use sim::scenario::{MemoryFiles, Scenario, ScenarioError, run, run_file, run_in, run_on_files};
use sim::world::World;

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/scenarios");
    let entries = std::fs::read_dir(&folder).expect("corpus/scenarios");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

fn load(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).expect("a text");
    Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_scenario_passes_twice_with_the_same_trace() {
    let files = corpus();
    assert!(files.len() >= 15, "{} scenarios", files.len());
    let (mut cuts, mut complete, mut images, mut faults) = (0, 0, 0, 0);
    for path in files {
        let play = || run_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (first, second) = (play(), play());
        assert_eq!(first, second, "{}", path.display());
        // One within a change of the chain is not enumerated.
        cuts += first.crashes - first.switch_cuts;
        complete += first.complete_cuts;
        images += first.crash_images;
        faults += first.faults.total();
    }
    println!("marks of the core that no run has passed: {:?}", unseen());
    println!("{cuts} power cuts, {complete} complete; {images} crash images; {faults} faults");
    assert_eq!(cuts, complete, "a cut has more crash images than the cap");
    assert!(cuts >= 20 && images >= 200 && faults >= 10);
}

/// What is noted for people must not change what happens; and it must be worth reading.
#[test]
fn every_scenario_is_the_same_run_when_it_is_told() {
    let mut world = World::new(Profile::Tiny);
    let mut told = World::new(Profile::Tiny);
    told.set_logging(true);
    for path in corpus() {
        let scenario = load(&path);
        let quiet = run_in(&mut world, &scenario).expect("it passes");
        let loud = run_in(&mut told, &scenario).expect("it passes");
        assert_eq!(quiet.trace, loud.trace, "{}", path.display());
        let log = told.take_log();
        assert!(log.len() as u64 >= quiet.ops, "{}", path.display());
    }
}

#[test]
fn every_scenarios_operations_run_on_files() {
    for path in corpus() {
        let scenario = load(&path);
        let play = || {
            run_on_files(&scenario, &mut MemoryFiles::default())
                .unwrap_or_else(|failure| panic!("{}: {failure}", path.display()))
        };
        let first = play();
        assert_eq!(first, play(), "{}", path.display());
        let reads_of_all = 2;
        assert_eq!(first.ops, scenario.ops().count() as u64 + reads_of_all);
    }
}

/// Plays a text that must fail in the run; the line and the message.
fn failure(text: &str) -> (Option<usize>, String) {
    match run(&Scenario::parse(text).expect("it can be read")) {
        Err(ScenarioError::Failed { line, failure }) => {
            assert_eq!(failure.class, Class::Wrong);
            assert_eq!(failure.checker, "scenario");
            (line, failure.message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_expectation_fails_in_its_line() {
    let write = "top 1\nq0.t0 write 4\nsettle\n";
    for (line, says) in [
        ("expect 4 zero", "sector 4 holds write 1"),
        ("expect 4+2 w1", "sector 5 holds zeros"),
        ("expect 2 w1 | zero", "what was there in the beginning"),
        ("mapped 4 no", "sector 4 is mapped Top"),
        ("mapped 6 top", "sector 6 is mapped No"),
        ("ended q0.t0 io", "ended Some(Ok), not Io"),
        ("waits q0.t0", "does not wait"),
        ("ended q1.t0 ok", "has submitted nothing"),
        ("deliver sync", "no such I/O in flight"),
        ("resume", "suspended already"),
    ] {
        let (found, message) = failure(&format!("{write}{line}\nexpect 4 w1\n"));
        assert_eq!(found, Some(4), "{line}: {message}");
        assert!(message.contains(says), "{line}: {message}");
    }
    let (_, message) = failure("q0.t0 write 4\nq0.t0 write 6\n");
    assert!(message.contains("is busy"), "{message}");
    let (_, message) = failure("top 0-7\nq0.t0 read 0+2\ndeliver read short 1024\n");
    assert!(message.contains("cannot end with"), "{message}");
    let (_, message) = failure("top 0-7\nsuspend\nexpect 0 base\n");
    assert!(message.contains("the read waits"), "{message}");
}

#[test]
fn a_wrong_expectation_of_copies_fails_in_its_line() {
    let head = "geometry cluster=2 entries=8\nbase image 2\ntop 1 - 4 extension=mixed bitmap\n";
    for (line, says) in [
        ("copy type=3 : open", "refused: level-1: m_Type = 3"),
        (
            "copy : open refused \"m_Type\"",
            "done, and not refused with \"m_Type\"",
        ),
        (
            "copy type=3 : read refused \"m_Size\"",
            "refused, but not with \"m_Size\": level-1: m_Type",
        ),
        (
            "copy length=+700 : repair says \"BAT[1]\"",
            "nothing says \"BAT[1]\", but: [",
        ),
        (
            "copy ext-md5=1 : look",
            "this is wrong still: [\"extension checksum",
        ),
        (
            "copy : look left \"extension checksum\"",
            "nothing says \"extension checksum\"",
        ),
        ("copy flags=2 : repair", "refused: image: m_Flags = 2"),
        (
            "copy : grow -1",
            "refused: image: m_SizeInSectors = 16: cannot become 15",
        ),
        ("copy : grow 6 refused \"m_Size\"", "done, and not refused"),
        (
            "copy of 0 bat[7]=9 : merge up",
            "refused: lower: BAT[7] = 9",
        ),
        ("copy bat[9999]=1 : open", "no place for Field"),
        ("copy of 0 l1[0]=1 : open", "no place for Field"),
        (
            "copy : point 1 2",
            "refused: image: BAT[1], new host cluster = 2: does not read",
        ),
        (
            "copy : read ends 80",
            "refused: level-1: cannot read the BAT",
        ),
        (
            "copy far v2 8 4 0=0 1=0 : read",
            "refused: level-0: BAT[1] = ",
        ),
        ("copy far v2 8 4 0=0 0=1 : read", "sector 0 reads as"),
        ("copy far v2 8 4 0=0 : write 8 32", "refused: OutOfRange"),
        ("copy far v2 8 4 0=0 : write 32 8", "write 0 ended as"),
        (
            "copy far v2 8 4 0=0 : write 8 refused \"no\"",
            "done, and not refused with \"no\"",
        ),
        ("copy far v2 8 4 0=0 : merge up", "not two files"),
        ("track next 1", "changes are not tracked"),
        ("track marked 2", "0 clusters are marked, not 2"),
        ("track same", "there is no copy"),
        ("compact cut 99", "Compact: it ends before Cut(99)"),
        ("grow 6 fail io 99", "Grow(6): it ends before Fault(Io, 99)"),
        ("merge up cancel 9", "it ends before Cancel(9)"),
    ] {
        let (found, message) = failure(&format!("{head}{line}\nexpect 4 base\n"));
        assert_eq!(found, Some(4), "{line}: {message}");
        assert!(message.contains(says), "{line}: {message}");
    }
    let tracked = "top 1\ntrack start\nq0.t0 write 4\nsettle\n";
    for (line, says) in [
        (
            "track next 2",
            "the next cluster is Some(Clu(1)), not Some(2)",
        ),
        ("track next refused", "it is tracked: Some(Clu(1))"),
        ("track marked 1", "2 clusters are marked, not 1"),
        (
            "track next none",
            "the next cluster is Some(Clu(1)), not None",
        ),
    ] {
        let (found, message) = failure(&format!("{tracked}{line}\n"));
        assert_eq!(found, Some(5), "{line}: {message}");
        assert!(message.contains(says), "{line}: {message}");
    }
}

#[test]
fn a_power_cut_loses_what_was_only_acknowledged() {
    let text = "q0.t0 write 4\nsettle\ncut keep-none\nexpect 4 w1\n";
    let (line, message) = failure(text);
    assert_eq!((line, message.contains("zeros")), (Some(4), true));
    for kept in [
        text.replace("settle", "settle\ntick 60\nsettle"),
        text.replace("write 4", "write 4 fua"),
    ] {
        let result = run(&Scenario::parse(&kept).expect("it can be read"));
        assert!(result.is_ok(), "{kept}: {result:?}");
    }
}

#[test]
fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let text =
        "q0.t0 write 4\nsettle\nended q0.t0 ok\nkill\nexpect 4 w1\ncut keep-none\nexpect 4 w1\n";
    let (line, message) = failure(text);
    // Nothing was flushed: the cut may take it, the kill may not.
    assert_eq!((line, message.contains("zeros")), (Some(7), true));
}

#[test]
fn what_cannot_be_read_is_refused_with_line_and_token() {
    for (text, line, token) in [
        ("fly", 1, "fly"),
        ("\n# nothing\nq0.t0 write", 3, ""),
        ("q0.t0 write 4+x", 1, "x"),
        ("q0.t0 write 15+2", 1, "15+2"),
        (
            "q0.t0 write 18446744073709551615+2",
            1,
            "18446744073709551615+2",
        ),
        ("q0.t0 write 4 unmap", 1, "unmap"),
        ("q0.t0 read 4 fua", 1, "fua"),
        ("q0.t0 sing 4", 1, "sing"),
        ("q9.t0 flush", 1, "q9.t0"),
        ("q0t0 flush", 1, "q0t0"),
        ("turn 2", 1, "2"),
        ("tick soon", 1, "soon"),
        ("settle now", 1, "now"),
        ("cut some", 1, "some"),
        ("expect 4", 1, ""),
        ("expect 4 w", 1, ""),
        ("expect 4 w1 zero", 1, "zero"),
        ("expect 4 one", 1, "one"),
        ("mapped 4 middle", 1, "middle"),
        ("deliver pizza", 1, "pizza"),
        ("deliver write fail", 1, ""),
        ("deliver write fail hard", 1, "hard"),
        ("deliver write short", 1, ""),
        ("top 0-8", 1, "0-8"),
        ("top 3-1", 1, "3-1"),
        ("top 1 1", 1, "1"),
        ("top 1 extension=mixed", 1, "extension=mixed"),
        ("base image 1 extension", 1, "extension"),
        ("top 1\nbase image 2", 2, "base"),
        ("top 1\ntop 2", 2, "top"),
        ("base image 1\nbase raw 2", 2, "raw"),
        ("base tape 1", 1, "tape"),
        ("settle\ntop 1", 2, "top"),
        ("top 1\ngeometry cluster=1", 2, "geometry"),
        ("geometry cluster=0", 1, "cluster=0"),
        ("geometry entries=65537", 1, "entries=65537"),
        ("geometry entries=65536 cluster=4096", 1, "size"),
        ("geometry colour=2", 1, "colour=2"),
        ("geometry version=3", 1, "version=3"),
        ("geometry packed", 1, "packed"),
        ("geometry granule=24 page-bytes=96", 1, "granule"),
        ("geometry granule=64 page-bytes=96", 1, "granule"),
        ("geometry size=14", 1, "size"),
        ("geometry write-back=later", 1, "write-back=later"),
        ("geometry no-space=wait", 1, "no-space=wait"),
        ("grow 6 cut", 1, ""),
        ("grow 6 fail", 1, ""),
        ("grow 6 fail often 2", 1, "often"),
        ("grow 6 fail io 0", 1, "0"),
        ("grow 6 cancel 2", 1, "cancel"),
        ("reload cut 1", 1, "cut"),
        ("index 2 under 1", 1, "under"),
        ("track", 1, ""),
        ("track soon", 1, "soon"),
        ("track next", 1, ""),
        ("track next one", 1, "one"),
        ("track marked", 1, ""),
        ("copy", 1, ""),
        ("copy :", 1, ""),
        ("copy entries=4", 1, ""),
        ("copy entries : open", 1, "entries"),
        ("copy entries=few : open", 1, "entries=few"),
        ("copy entries[1]=4 : open", 1, "entries[1]=4"),
        ("copy bat=4 : open", 1, "bat=4"),
        ("copy bat[x]=4 : open", 1, "bat[x]=4"),
        ("copy bat[1=4 : open", 1, "bat[1=4"),
        ("copy colour=4 : open", 1, "colour=4"),
        ("copy version=3 : open", 1, "version=3"),
        ("copy in-use=perhaps : open", 1, "in-use=perhaps"),
        ("copy at[4]=C0F : open", 1, "at[4]=C0F"),
        ("copy at[4]=XY : open", 1, "at[4]=XY"),
        ("copy of 1 type=2 : open", 1, "1"),
        ("copy chain=1 : open", 1, "chain=1"),
        ("copy chain=0*999 : open", 1, "chain=0*999"),
        ("copy kept[1]=-1 : open", 1, "kept[1]=-1"),
        ("copy : fly", 1, "fly"),
        ("copy : open : ", 1, ""),
        ("copy : open cut", 1, "cut"),
        ("copy : grow", 1, ""),
        ("copy : grow 6 cancel", 1, "cancel"),
        ("copy : grow 6 fail", 1, ""),
        ("copy : grow 6 fail hard", 1, "hard"),
        ("copy : grow 6 fail io:x", 1, "x"),
        ("copy : grow 6 cut refused \"no\"", 1, "refused"),
        ("copy : merge", 1, ""),
        ("copy : merge sideways", 1, "sideways"),
        ("copy : index 0", 1, "0"),
        ("copy : bitmap paint", 1, "paint"),
        ("copy : create v3 1 1", 1, "v3"),
        ("q0.t0 read nothing", 1, "nothing"),
        ("copy writes=0 : open", 1, "writes=0"),
        ("copy writes=3,x : open", 1, "writes=3,x"),
        ("copy dense=1 : open", 1, "dense=1"),
        ("copy : point 1", 1, ""),
        ("copy : point x 1", 1, "x"),
        ("copy : open applied", 1, "applied"),
        ("copy : open fail short applied", 1, "applied"),
        ("copy : grow 6 fail io applied", 1, "applied"),
        ("copy : open ends", 1, ""),
        ("copy : repair ends 9", 1, "ends"),
        ("copy far : read", 1, ":"),
        ("copy far raw 9 @9 : read", 1, "9"),
        ("copy far v1 8 8 raw 9 : read", 1, "raw"),
        ("copy far v3 8 8 : read", 1, "v3"),
        ("copy far v1 0 8 : read", 1, "0"),
        ("copy far v1 8 9999999 : read", 1, "9999999"),
        ("copy far v1 8 8 7-9=1 : read", 1, "7-9=1"),
        ("copy far v1 8 8 3-2=1 : read", 1, "3-2=1"),
        ("copy far v1 8 8 bitmaps=1 : read", 1, "bitmaps=1"),
        ("copy far v1 8 8 size=x : read", 1, "size=x"),
        ("copy far v1 8 8 : fly", 1, "fly"),
        ("copy far v1 8 8 : merge down", 1, "down"),
        ("copy far v1 8 8 : write", 1, ""),
        ("copy far v1 8 8 : read cut", 1, "cut"),
        ("copy far v1 8 8 : read refused \"no\" cut", 1, "cut"),
        ("copy : open refused", 1, ""),
        ("copy : open refused no", 1, "no"),
        ("copy : open refused \"\"", 1, "\"\""),
        ("copy : open refused \"no end", 1, ""),
    ] {
        match Scenario::parse(text) {
            Err(ScenarioError::Syntax {
                line: found_line,
                token: found,
                ..
            }) => assert_eq!((found_line, found.as_str()), (line, token), "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
}
