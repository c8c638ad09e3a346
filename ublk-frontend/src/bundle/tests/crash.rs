//! A change stopped after every step, and after a crash that loses any of what was not synced: the bundle opens with the old
//! chain or the new one, what each chain shows is what it showed, and the next change takes away what is left.

use std::collections::BTreeSet;

use model::image::{Image, Level, read_sector};
use ploop_core::delta::chain;
use ploop_core::format::Version;
use ploop_core::load::{load, new_image};
use ploop_core::units::Sectors;

use super::double::MemFolder;
use super::{guid, read, text};
use crate::bundle::store::{DESCRIPTOR, LOCK, NEXT, PENDING};
use crate::bundle::{Bundle, Change, Folder, Guid, delete, resize, snapshots};
use crate::tool::ToolError;

/// Sectors of a cluster, and clusters of the disk.
const CLUSTER: u64 = 8;
const CLUSTERS: u64 = 6;
/// The delta that is written, in all bundles here.
pub(super) const TOP: u128 = 9;

/// An image with these clusters, each filled with a byte.
pub(super) fn image(clusters: &[(u32, u8)]) -> Vec<u8> {
    let folder = MemFolder::default();
    let file = folder.create("image").expect("created");
    let size = Sectors(CLUSTER * CLUSTERS);
    new_image(&*file, Version::V2, Sectors(CLUSTER), size).expect("made");
    for (host, (clu, fill)) in (1u32..).zip(clusters) {
        let entry = host.to_le_bytes();
        file.write_at(u64::from(64 + 4 * clu), &entry)
            .expect("written");
        let at = u64::from(host) * CLUSTER * 512;
        file.write_at(at, &[*fill; 512 * CLUSTER as usize])
            .expect("written");
    }
    folder.files()["image"].clone()
}

/// `1 <- 2 <- 9 (top)`, and `1 <- 4`.
pub(super) fn sample() -> MemFolder {
    let folder = MemFolder::default();
    let shots = [(1, 0), (2, 1), (4, 1), (TOP, 2)];
    folder.put(DESCRIPTOR, text(&shots, Some(TOP)).as_bytes());
    folder.put(LOCK, b"");
    folder.put("1.hds", &image(&[(0, 0x10), (1, 0x11)]));
    folder.put("2.hds", &image(&[(3, 0x23), (1, 0x21), (2, 0x22)]));
    folder.put("4.hds", &image(&[(4, 0x44)]));
    folder.put("9.hds", &image(&[(2, 0x92), (5, 0x95)]));
    folder
}

/// The same, and less in 2: it is merged upwards.
fn small() -> MemFolder {
    let folder = sample();
    folder.put("2.hds", &image(&[(3, 0x23)]));
    folder
}

/// What a chain shows, a byte a cluster; every file of it must be sound.
fn shows(folder: &MemFolder, bundle: &Bundle, guid: Guid) -> Vec<u8> {
    let files = folder.files();
    let mut deltas = Vec::new();
    let chain = bundle.tree.chain(guid);
    for node in &chain {
        let file = folder.open(&node.file, false).expect("a file of the chain");
        deltas.push(load(&*file, "file").unwrap_or_else(|error| panic!("{error}")));
    }
    chain::validate(&deltas, false).expect("a chain");
    let bytes: Vec<&Vec<u8>> = chain
        .iter()
        .map(|node| &files[&super::double::name_of(&node.file)])
        .collect();
    let levels: Vec<Level<'_>> = bytes
        .iter()
        .map(|bytes| Level::Image(Image::open(*bytes).expect("an image")))
        .collect();
    (0..CLUSTERS)
        .map(|clu| {
            let mut seen = BTreeSet::new();
            for sector in clu * CLUSTER..(clu + 1) * CLUSTER {
                let mut buf = [0; 512];
                read_sector(&levels, sector, &mut buf);
                seen.extend(buf);
            }
            assert_eq!(seen.len(), 1, "cluster {clu} is torn");
            seen.into_iter().next().expect("a byte")
        })
        .collect()
}

/// What every snapshot shows that can be opened.
pub(super) fn all(folder: &MemFolder, bundle: &Bundle) -> Vec<(Guid, Vec<u8>)> {
    let nodes = bundle.tree.nodes();
    let usable = nodes.iter().filter(|node| node.temporary.is_none());
    usable
        .map(|node| (node.guid, shows(folder, bundle, node.guid)))
        .collect()
}

pub(super) struct Seen {
    pub(super) old: usize,
    pub(super) new: usize,
    pub(super) states: usize,
}

/// Runs a change, stops it after each step, crashes in many ways, and looks at what is left. `named`: the GUIDs that a change
/// makes are the same in every run.
pub(super) fn every_crash(
    before: &MemFolder,
    change: impl Fn(&dyn Folder) -> Result<(), ToolError>,
) -> Seen {
    let old = all(before, &Bundle::read(before).expect("sound"));
    let after = before.stopping_after(usize::MAX - 1);
    change(&after).expect("works if nothing stops it");
    let new = all(&after, &Bundle::read(&after).expect("sound"));
    must_be_tidy(&after);
    let mut seen = Seen {
        old: 0,
        new: 0,
        states: 0,
    };
    for last in 0.. {
        let stopped = before.stopping_after(last);
        let done = change(&stopped);
        if !stopped.has_stopped() {
            done.expect("works if nothing stops it");
            break;
        }
        let loose = stopped.loose_names();
        assert!(loose < 8, "{loose} changes of names at once");
        for names in 0..1u32 << loose {
            for pattern in 0..6u32 {
                let mut turn = pattern;
                let left = stopped.crash(names, || {
                    // Nothing, all, and four mixtures.
                    turn = turn.wrapping_mul(5).wrapping_add(3) % 64;
                    match pattern {
                        0 => false,
                        1 => true,
                        _ => turn & 4 != 0,
                    }
                });
                seen.states += 1;
                let bundle = Bundle::read(&left).unwrap_or_else(|error| {
                    panic!("stopped after {last}, names {names:b}: {error}")
                });
                let shown = all(&left, &bundle);
                for (guid, content) in &shown {
                    let is = |state: &[(Guid, Vec<u8>)]| {
                        state.iter().any(|(g, c)| g == guid && c == content)
                    };
                    assert!(
                        is(&old) || is(&new),
                        "stopped after {last}, names {names:b}, bytes {pattern}: {guid} shows {content:x?}"
                    );
                }
                match (shown == old, shown == new) {
                    (true, _) => seen.old += 1,
                    (_, true) => seen.new += 1,
                    // A change in two steps: one of them is done.
                    _ => {}
                }
                // Asked for again, it comes to its end, and leaves nothing of the last time. If it has, it refuses.
                let again = change(&left);
                let bundle = Bundle::read(&left).expect("sound");
                assert_eq!(
                    all(&left, &bundle),
                    new,
                    "stopped after {last}, names {names:b}, bytes {pattern}, again: {again:?}"
                );
                must_be_tidy(&left);
            }
        }
    }
    seen
}

/// There are the files that the descriptor names, and no others.
#[track_caller]
pub(super) fn must_be_tidy(folder: &MemFolder) {
    let bundle = Bundle::read(folder).expect("sound");
    let mut expected: BTreeSet<String> = bundle
        .tree
        .nodes()
        .iter()
        .map(|node| super::double::name_of(&node.file))
        .collect();
    expected.extend([DESCRIPTOR.to_owned(), LOCK.to_owned()]);
    let found: BTreeSet<String> = folder.files().into_keys().collect();
    assert_eq!(found, expected);
}

#[test]
fn a_snapshot_is_taken_or_not() {
    let seen = every_crash(&sample(), |folder| {
        snapshots::create(folder, Some(guid(5))).map(|_| ())
    });
    assert!(
        seen.old > 10 && seen.new > 10,
        "{} {} of {}",
        seen.old,
        seen.new,
        seen.states
    );
    assert_eq!(seen.old + seen.new, seen.states);
}

#[test]
fn a_switch_has_happened_or_not() {
    for save in [None, Some(guid(6))] {
        let seen = every_crash(&sample(), |folder| {
            snapshots::switch(folder, guid(1), save).map(|_| ())
        });
        assert!(
            seen.old > 10 && seen.new > 10,
            "{} {} of {}",
            seen.old,
            seen.new,
            seen.states
        );
        assert_eq!(seen.old + seen.new, seen.states);
    }
}

#[test]
fn what_a_killed_program_has_renamed_is_made_durable_before_anything_is_removed() {
    let before = sample();
    let old = before.files()[DESCRIPTOR].clone();
    let change = |folder: &MemFolder| snapshots::switch(folder, guid(1), None);
    let (mut states, mut last) = (0, 0);
    loop {
        let killed = before.stopping_after(last);
        let done = change(&killed);
        if !killed.has_stopped() {
            done.expect("works if nothing stops it");
            break;
        }
        last += 1;
        if killed.loose_names() == 0 || killed.files()[DESCRIPTOR] == old {
            continue;
        }
        for next in 0.. {
            let stopped = killed.going_on(next);
            let done = change(&stopped);
            if !stopped.has_stopped() {
                done.expect("works if nothing stops it");
                break;
            }
            for names in 0..1u32 << stopped.loose_names() {
                let left = stopped.crash(names, || true);
                let bundle = Bundle::read(&left).expect("sound");
                all(&left, &bundle);
                states += 1;
            }
        }
    }
    assert!(states > 20, "{states}");
}

#[test]
fn a_leaf_is_deleted_or_not() {
    let seen = every_crash(&sample(), |folder| {
        delete::delete(folder, guid(4), &mut |_| {}).map(|_| ())
    });
    assert!(
        seen.old > 10 && seen.new > 10,
        "{} {} of {}",
        seen.old,
        seen.new,
        seen.states
    );
    assert_eq!(seen.old + seen.new, seen.states);
}

/// What is left of a deletion shows what it showed before.
fn must_keep(before: &MemFolder, change: impl Fn(&dyn Folder) -> Result<(), ToolError>) {
    let old = all(before, &Bundle::read(before).expect("sound"));
    let after = before.stopping_after(usize::MAX - 1);
    change(&after).expect("works if nothing stops it");
    for (guid, shown) in all(&after, &Bundle::read(&after).expect("sound")) {
        let was = old.iter().find(|(name, _)| *name == guid);
        assert_eq!(was, Some(&(guid, shown)));
    }
}

#[test]
fn a_merge_beside_the_disk_that_is_written_has_happened_or_not() {
    // 9 has gone back to 1: 2 and what stood on it are beside the disk.
    let folder = sample();
    snapshots::switch(&folder, guid(1), Some(guid(3))).expect("gone back");
    let change = |folder: &dyn Folder| {
        let done = delete::delete_beside(folder, guid(2), &mut |_| {});
        done.map(|_| ())
    };
    must_keep(&folder, change);
    let seen = every_crash(&folder, change);
    assert!(seen.old > 10 && seen.new > 10, "{} {}", seen.old, seen.new);
    // The server has it.
    let top = Bundle::read(&folder).expect("sound").tree;
    let top = &top.get(guid(TOP)).expect("the top").file;
    let served = folder.open(top, true).expect("locked");
    let beside = |n| delete::delete_beside(&folder, guid(n), &mut |_| {});
    let before = folder.files();
    for (n, word) in [(1, "stand on it"), (3, "0 stand on it"), (7, "no snapshot")] {
        let error = beside(n).expect_err("refused").to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(
        before == folder.files(),
        "refused, and something was changed"
    );
    beside(2).expect("merged");
    drop(served);
    // What is served is merged by its server.
    let error = delete::delete_beside(&sample(), guid(2), &mut |_| {});
    let error = error.expect_err("a part of the disk").to_string();
    assert!(error.contains("a part of the disk"), "{error}");
}

#[test]
fn a_merge_has_happened_or_not_and_goes_on() {
    for (before, backward) in [(sample(), true), (small(), false)] {
        let change = |folder: &dyn Folder| {
            let done = delete::delete(folder, guid(2), &mut |_| {});
            done.map(|_| ())
        };
        must_keep(&before, change);
        let seen = every_crash(&before, change);
        assert!(seen.old > 10 && seen.new > 10, "{} {}", seen.old, seen.new);
        // Backward, the lower one is not shown any more from the mark on.
        assert_eq!(seen.old + seen.new < seen.states, backward);
        let done = before.stopping_after(usize::MAX - 1);
        delete::delete(&done, guid(2), &mut |_| {}).expect("merged");
        let kept = if backward { "2.hds" } else { "9.hds" };
        assert!(done.files().contains_key(kept), "{:?}", done.files().keys());
    }
    // Into the oldest, on which something else stands: not now.
    let folder = sample();
    let mut calls = 0;
    delete::merge_down(&folder, Some(guid(2)), &mut |_| calls += 1).expect_err("refused");
    assert_eq!(calls, 0);
    let (gone, _) = delete::merge_down(&folder, None, &mut |_| calls += 1).expect("merged");
    assert_eq!(gone, guid(2));
    assert!(calls > 0);
    must_be_tidy(&folder);
}

#[test]
fn a_disk_has_grown_or_not() {
    let folder = sample();
    let size = Sectors(CLUSTER * 2000);
    resize::grow(&folder, size).expect("grown");
    let bundle = Bundle::read(&folder).expect("sound");
    assert_eq!(bundle.descriptor.size(), Some(size));
    assert_eq!(
        shows(&folder, &bundle, guid(TOP)),
        [0x10, 0x21, 0x92, 0x23, 0, 0x95]
    );
    must_be_tidy(&folder);
    let seen = every_crash(&sample(), |folder| resize::grow(folder, size).map(|_| ()));
    // What is shown is the same: neither state can be told from the other.
    assert_eq!(seen.old, seen.states);
}

#[test]
fn a_snapshot_with_several_above_goes_when_one_is_left() {
    let folder = sample();
    let content = |n: u128| shows(&folder, &Bundle::read(&folder).expect("sound"), guid(n));
    let before = (content(TOP), content(2));
    assert!(
        delete::delete(&folder, guid(1), &mut |_| {})
            .expect("marked")
            .marked
    );
    assert!(
        !delete::delete(&folder, guid(4), &mut |_| {})
            .expect("deleted")
            .marked
    );
    let bundle = Bundle::read(&folder).expect("sound");
    assert_eq!(bundle.tree.root(), guid(2));
    assert_eq!(bundle.tree.nodes().len(), 2);
    assert_eq!((content(TOP), content(2)), before);
    must_be_tidy(&folder);
}

#[test]
fn what_the_commands_do() {
    let folder = sample();
    let content =
        |folder: &MemFolder, n: u128| shows(folder, &Bundle::read(folder).expect("sound"), guid(n));
    assert_eq!(content(&folder, TOP), [0x10, 0x21, 0x92, 0x23, 0, 0x95]);
    assert_eq!(content(&folder, 4), [0x10, 0x11, 0, 0, 0x44, 0]);
    let made = snapshots::create(&folder, Some(guid(5))).expect("taken");
    assert_eq!(made.snapshot, guid(5));
    let bundle = Bundle::read(&folder).expect("sound");
    assert_eq!(
        (bundle.tree.top(), bundle.tree.nodes().len()),
        (guid(TOP), 5)
    );
    assert_eq!(
        bundle.tree.get(guid(TOP)).and_then(|node| node.parent),
        Some(guid(5))
    );
    for n in [TOP, 5] {
        assert_eq!(content(&folder, n), [0x10, 0x21, 0x92, 0x23, 0, 0x95]);
    }
    snapshots::switch(&folder, guid(4), None).expect("switched");
    assert_eq!(content(&folder, TOP), [0x10, 0x11, 0, 0, 0x44, 0]);
    assert_eq!(content(&folder, 5), [0x10, 0x21, 0x92, 0x23, 0, 0x95]);
    delete::delete(&folder, guid(5), &mut |_| {}).expect("deleted");
    assert_eq!(Bundle::read(&folder).expect("sound").tree.nodes().len(), 4);
    must_be_tidy(&folder);
}

#[test]
fn what_is_refused() {
    let folder = sample();
    let says = |done: Result<String, ToolError>, word: &str| {
        let error = done.expect_err("refused").to_string();
        assert!(error.contains(word), "{error}");
    };
    let create =
        |n| snapshots::create(&folder, Some(guid(n))).map(|made| made.file.display().to_string());
    says(create(2), "used already");
    says(create(0), "used already");
    let switch = |n, save| {
        snapshots::switch(&folder, guid(n), save).map(|made| made.file.display().to_string())
    };
    says(switch(7, None), "no snapshot");
    says(switch(TOP, None), "written already");
    says(switch(1, Some(guid(2))), "used already");
    let delete = |n| delete::delete(&folder, guid(n), &mut |_| {}).map(|_| String::new());
    says(delete(TOP), "snapshot switch");
    says(delete(7), "no snapshot");
    // Several stand on 1: it is only marked, and not shown or gone back to any more.
    assert!(
        delete::delete(&folder, guid(1), &mut |_| {})
            .expect("marked")
            .marked
    );
    says(switch(1, None), "being deleted");
    assert_eq!(folder.files().len(), sample().files().len());
}

#[test]
fn a_note_is_believed_only_as_far_as_it_can_be_true() {
    let folder = sample();
    folder.put("other", b"mine");
    folder.put("gone.hds", b"left");
    let note = format!("1.hds\n../x\n/y\n{DESCRIPTOR}\n{LOCK}\n./other\ngone.hds\n# complete\n");
    folder.put(PENDING, note.as_bytes());
    folder.put(NEXT, b"<half");
    let bytes = folder.files()[DESCRIPTOR].clone();
    Change::begin(&folder).expect("begun");
    let files = folder.files();
    assert_eq!(files["other"], b"mine");
    assert!(files.contains_key("1.hds") && files.contains_key(LOCK));
    assert!(
        !files.contains_key("gone.hds")
            && !files.contains_key(NEXT)
            && !files.contains_key(PENDING)
    );
    assert_eq!(files[DESCRIPTOR], bytes);
    // A torn one says nothing.
    folder.put("gone.hds", b"left");
    folder.put(PENDING, b"gone.hds\n# comp");
    Change::begin(&folder).expect("begun");
    assert!(folder.files().contains_key("gone.hds"));
    assert!(!folder.files().contains_key(PENDING));
    read(std::str::from_utf8(&bytes).expect("text"));
}
