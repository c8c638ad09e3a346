//! `convert`: there and back, stacks, sparseness, salvage, and outputs that exist already.

use crate::support::image::{DIRTY, Image};
use crate::support::{noise, snapshot, tool};
use crate::{CLUSTER, TRACKS, dir, leaves_alone, read, sample, sample_disk};

#[test]
fn convert_there_and_back() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a.hdd"));
    assert_eq!(leaves_alone(dir, "convert a.hdd a.raw").fine(), "");
    assert!(read(dir, "a.raw") == sample_disk());
    for (arguments, clusters) in [
        ("--cluster 64K", 3),
        ("--cluster 4K --version 1", 48),
        ("--cluster 8M", 1),
    ] {
        assert_eq!(
            leaves_alone(dir, &format!("convert a.raw b.hdd {arguments}")).fine(),
            ""
        );
        let report = tool(dir, "check --json b.hdd");
        assert_eq!(
            (report.code, &report.json()["allocated-clusters"]),
            (0, &clusters.into()),
            "{arguments}"
        );
        leaves_alone(dir, "convert b.hdd b.raw --to raw").fine();
        assert!(read(dir, "b.raw") == sample_disk(), "{arguments}");
        for name in ["b.hdd", "b.raw"] {
            std::fs::remove_file(dir.join(name)).expect("removed");
        }
    }
}

#[test]
fn from_image_to_image_of_another_version_and_cluster_size() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a.hdd"));
    for (arguments, version, cluster) in [
        ("--version 1", 1, 1 << 20),
        ("--cluster 4K", 2, 4096),
        ("--version 1 --cluster 128K", 1, 128 << 10),
        ("--to ploop", 2, 1 << 20),
    ] {
        leaves_alone(dir, &format!("convert a.hdd b.hdd {arguments}")).fine();
        let info = tool(dir, "info --json b.hdd").json();
        assert_eq!(
            (&info["format-specific"]["version"], &info["cluster-size"]),
            (&version.into(), &cluster.into()),
            "{arguments}"
        );
        leaves_alone(dir, "convert b.hdd b.raw").fine();
        assert!(read(dir, "b.raw") == sample_disk(), "{arguments}");
        for name in ["b.hdd", "b.raw"] {
            std::fs::remove_file(dir.join(name)).expect("removed");
        }
    }
}

#[test]
fn converted_files_are_sparse() {
    use std::os::unix::fs::MetadataExt;
    let dir = dir();
    let dir = dir.path();
    tool(dir, "create a.hdd --size 1T").fine();
    assert_eq!(tool(dir, "convert a.hdd a.raw").fine(), "");
    let raw = std::fs::metadata(dir.join("a.raw")).expect("metadata");
    assert_eq!(raw.len(), 1 << 40);
    assert!(raw.blocks() * 512 < 1 << 20, "{} blocks", raw.blocks());
    // Zeros that are written in the input are not written again, a byte in 4 KiB is.
    let mut bytes = vec![0; 4 << 20];
    bytes[(2 << 20) + 5000] = 1;
    std::fs::write(dir.join("zeros.raw"), &bytes).expect("written");
    tool(dir, "convert zeros.raw sparse.raw --to raw").fine();
    assert!(read(dir, "sparse.raw") == bytes);
    assert!(
        std::fs::metadata(dir.join("sparse.raw"))
            .expect("metadata")
            .blocks()
            * 512
            <= 16384
    );
}

#[test]
fn a_stack_of_three_reads_top_down() {
    let dir = dir();
    let dir = dir.path();
    // The base ends inside a cluster and inside a sector; the middle is smaller than the top.
    let base = noise(3 * CLUSTER + 1000, 9);
    std::fs::write(dir.join("base"), &base).expect("written");
    Image::v2(TRACKS, 6)
        .with(1, &noise(CLUSTER, 1))
        .with(5, &noise(CLUSTER, 5))
        .save(&dir.join("mid"));
    Image::v2(TRACKS, 8)
        .with(2, &noise(CLUSTER, 2))
        .with(7, &noise(CLUSTER, 7))
        .save(&dir.join("top"));
    let mut disk = base;
    disk.resize(8 * CLUSTER, 0);
    for (clu, seed) in [(1, 1), (5, 5), (2, 2), (7, 7)] {
        disk[clu * CLUSTER..][..CLUSTER].copy_from_slice(&noise(CLUSTER, seed));
    }
    assert_eq!(leaves_alone(dir, "convert base mid top out.raw").fine(), "");
    assert!(read(dir, "out.raw") == disk);
    assert_eq!(
        leaves_alone(dir, "convert base mid top out.hdd --to ploop --cluster 64K").fine(),
        ""
    );
    assert_eq!(leaves_alone(dir, "convert out.hdd again.raw").fine(), "");
    assert!(read(dir, "again.raw") == disk);
}

#[test]
fn a_lower_file_that_ends_inside_a_cluster_shows_nothing_behind_its_end() {
    let dir = dir();
    let dir = dir.path();
    // The virtual disk of the lower image ends in the middle of its allocated cluster.
    let lower = Image::v2(TRACKS, 2)
        .but(|image| image.nb_sectors = u64::from(TRACKS) + 10)
        .with(1, &noise(CLUSTER, 1));
    lower.save(&dir.join("lower"));
    Image::v2(TRACKS, 4).save(&dir.join("top"));
    leaves_alone(dir, "convert lower top out.raw").fine();
    let mut disk = vec![0; 4 * CLUSTER];
    disk[CLUSTER..][..5120].copy_from_slice(&noise(CLUSTER, 1)[..5120]);
    assert!(read(dir, "out.raw") == disk);
    leaves_alone(dir, "convert lower lower.raw").fine();
    assert!(read(dir, "lower.raw") == disk[..CLUSTER + 5120]);
}

#[test]
fn stacks_that_do_not_fit_are_refused() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a"));
    Image::v2(64, 10).save(&dir.join("small clusters"));
    Image::v2(64, 10).save(&dir.join("small"));
    Image::v2(TRACKS, 20).save(&dir.join("long"));
    std::fs::write(dir.join("raw"), noise(CLUSTER, 1)).expect("written");
    for (stack, words) in [
        ("small a", ["small: m_Sectors = 64", "same cluster size"]),
        ("a raw long", ["raw: ", "lowest"]),
        ("a raw", ["raw: ", "lowest"]),
        ("long a", ["long: m_Size = 20", "larger than one above"]),
    ] {
        leaves_alone(dir, &format!("map {stack}")).refused(&words);
        leaves_alone(dir, &format!("convert {stack} out")).refused(&words);
    }
    assert!(!dir.join("out").exists());
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a"));
    for option in ["--cluster 64K", "--version 1"] {
        leaves_alone(dir, &format!("convert a out --to raw {option}"))
            .refused(&["--cluster and --version are for images"]);
    }
    std::fs::hard_link(dir.join("a"), dir.join("b")).expect("linked");
    for again in ["a", "./a", "b"] {
        leaves_alone(dir, &format!("map a {again}")).refused(&["is the same file as a"]);
        leaves_alone(dir, &format!("convert a {again} out")).refused(&["is the same file as a"]);
    }
    assert!(!dir.join("out").exists());
}

#[test]
fn a_raw_disk_that_pretends_to_be_an_image() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("guest"));
    leaves_alone(dir, "convert --raw-base guest copy --to raw").fine();
    assert!(read(dir, "copy") == read(dir, "guest"));
    assert_eq!(
        leaves_alone(dir, "map --json guest")
            .json()
            .as_array()
            .map(Vec::len),
        Some(5)
    );
    assert_eq!(
        leaves_alone(dir, "map --json --raw-base guest")
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn the_file_to_make_is_the_last_one_wherever_options_stand() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a"));
    Image::v2(TRACKS, 10).save(&dir.join("b"));
    for line in [
        "convert a b out --to raw",
        "convert a b --to raw out",
        "convert a --to raw b out",
        "convert --to raw a b out",
        "convert a --salvage b --to raw out",
    ] {
        assert_eq!(leaves_alone(dir, line).fine(), "", "{line}");
        assert!(read(dir, "out") == sample_disk(), "{line}");
        std::fs::remove_file(dir.join("out")).expect("removed");
    }
    leaves_alone(dir, "convert a --to raw").refused(&["then the one to make"]);
}

#[test]
fn convert_never_overwrites_anything() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a.hdd"));
    std::fs::write(dir.join("other"), b"other").expect("written");
    std::fs::hard_link(dir.join("a.hdd"), dir.join("hard")).expect("linked");
    std::os::unix::fs::symlink("a.hdd", dir.join("soft")).expect("linked");
    leaves_alone(dir, "convert a.hdd other").refused(&["other: already exists"]);
    for own in ["a.hdd", "./a.hdd", "hard", "soft"] {
        leaves_alone(dir, &format!("convert a.hdd {own}"))
            .refused(&[own, "same file as the input a.hdd"]);
    }
    leaves_alone(dir, "convert nowhere out").refused(&["nowhere: cannot open"]);
    leaves_alone(dir, "convert a.hdd missing/out").refused(&["missing/out", "No such file"]);
    assert_eq!(snapshot(dir).len(), 4);
}

#[test]
fn an_image_that_was_not_closed_is_read_with_a_warning() {
    let dir = dir();
    let dir = dir.path();
    sample()
        .but(|image| image.in_use = DIRTY)
        .save(&dir.join("a.hdd"));
    let ended = leaves_alone(dir, "convert a.hdd out.raw");
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    assert!(
        ended
            .err
            .starts_with("ploop-ublk: warning: a.hdd: was not closed properly"),
        "{ended:?}"
    );
    assert!(read(dir, "out.raw") == sample_disk());
    // A conversion between versions was interrupted: its entries may mean anything.
    sample()
        .but(|image| {
            image.in_use = DIRTY;
            image.flags = 2;
        })
        .save(&dir.join("b.hdd"));
    leaves_alone(dir, "convert b.hdd out").refused(&["b.hdd: m_Flags = 2", "conversion"]);
}

#[test]
fn salvage_reads_what_is_there_and_tells_every_loss() {
    let dir = dir();
    let dir = dir.path();
    let salvage = |image: &Image| {
        image.save(&dir.join("a.hdd"));
        let ended = leaves_alone(dir, "convert --salvage a.hdd out.raw");
        assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
        let disk = read(dir, "out.raw");
        std::fs::remove_file(dir.join("out.raw")).expect("removed");
        (disk, ended.err)
    };
    // Beyond the end: zeros.
    let mut image = sample();
    image.bat[7] = 9;
    let mut disk = sample_disk();
    disk[7 * CLUSTER..][..CLUSTER].fill(0);
    let (salvaged, told) = salvage(&image);
    assert!(salvaged == disk);
    assert!(
        told.starts_with("ploop-ublk: warning: a.hdd: BAT[7] = 9: "),
        "{told}"
    );
    // Cut in the last cluster: what is left of it.
    let mut image = sample();
    image.data.truncate(2 * CLUSTER + 1024);
    let mut disk = sample_disk();
    disk[7 * CLUSTER + 1024..8 * CLUSTER].fill(0);
    let (salvaged, told) = salvage(&image);
    assert!(salvaged == disk);
    assert_eq!(told.lines().count(), 1, "{told}");
    // Two entries for one cluster: nobody knows whose it is, both show it.
    let mut image = sample();
    image.bat[4] = image.bat[1];
    let mut disk = sample_disk();
    disk.copy_within(CLUSTER..2 * CLUSTER, 4 * CLUSTER);
    assert!(salvage(&image).0 == disk);
    // In the header: zeros. A wrong start of data changes nothing.
    let image = sample().but(|image| image.data_off = 0);
    let (salvaged, told) = salvage(&image);
    assert!(salvaged == sample_disk());
    assert!(told.contains("m_FirstBlockOffset = 0"), "{told}");
    // A sound one needs no words.
    assert_eq!(salvage(&sample()), (sample_disk(), String::new()));
}

#[test]
fn salvage_of_thousands_of_losses_stays_readable() {
    let dir = dir();
    let dir = dir.path();
    let mut image = Image::v2(8, 100_000);
    (image.data_start, image.data_off) = (98 * 4096, 98 * 8);
    image.bat.fill(98);
    image.data = noise(4096, 1);
    image.save(&dir.join("a.hdd"));
    let ended = leaves_alone(dir, "convert --salvage a.hdd out.raw");
    assert_eq!(
        (ended.code, ended.err.lines().count()),
        (0, 21),
        "{ended:?}"
    );
    assert!(ended.err.contains("99999 problems in all"), "{ended:?}");
    assert!(
        read(dir, "out.raw")
            .chunks(4096)
            .all(|cluster| cluster == noise(4096, 1))
    );
    let report = leaves_alone(dir, "check --json a.hdd");
    assert_eq!(
        (report.code, &report.json()["corruptions"]),
        (2, &99_999.into())
    );
}
