//! Descriptors as other programs write them: read, and printed as the same bytes.

use std::path::PathBuf;

use super::{around, guid, read};
use crate::bundle::Guid;
use crate::bundle::descriptor::Temporary;
use crate::bundle::store::Bundle;

/// The stored descriptors, which the fuzzer starts from, too.
fn stored() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus/fuzz/descriptor_xml");
    let mut all: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of stored descriptors")
        .map(|entry| entry.expect("entry").path())
        .map(|path| {
            let name = path
                .file_name()
                .expect("name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(&path).expect("file"))
        })
        .collect();
    all.sort();
    all
}

#[test]
fn stored_descriptors_hold_what_their_name_says() {
    let all = stored();
    assert!(all.len() >= 12, "{} descriptors", all.len());
    for (name, bytes) in &all {
        crate::bundle::fuzzing::descriptor_xml(bytes);
        let accepted = Bundle::parse(bytes);
        let must_be = !name.starts_with("bad-");
        assert_eq!(accepted.is_ok(), must_be, "{name}: {accepted:?}");
        if let Ok(bundle) = accepted {
            assert!(
                bundle.descriptor.print().as_bytes() == bytes,
                "{name} is printed differently"
            );
        }
    }
}

/// A short fuzz run, the same every time: stored descriptors with pieces cut out, doubled, swapped and overwritten.
#[test]
fn damaged_descriptors_are_refused_or_right() {
    let all = stored();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below.max(1)
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = all[draw(all.len())].1.clone();
        for _ in 0..=draw(3) {
            if bytes.is_empty() {
                break;
            }
            let most = [3, 10, 120][draw(3)];
            let (at, len) = (draw(bytes.len()), 1 + draw(most));
            let end = (at + len).min(bytes.len());
            match draw(5) {
                0 => bytes[at..end].fill(b"<>&;'\"/!{} 0"[draw(12)]),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = bytes[at..end].to_vec();
                    let to = draw(bytes.len());
                    bytes.splice(to..to, piece);
                }
                3 => {
                    let other = &all[draw(all.len())].1;
                    let from = draw(other.len());
                    let piece = other[from..(from + len).min(other.len())].to_vec();
                    bytes.splice(at..end, piece);
                }
                _ => bytes[at] ^= 1 << draw(8),
            }
        }
        crate::bundle::fuzzing::descriptor_xml(&bytes);
        match Bundle::parse(&bytes) {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(
        accepted > 200 && refused > 5000,
        "{accepted} accepted, {refused} refused"
    );
}

fn named(name: &str) -> Bundle {
    let all = stored();
    let (_, bytes) = all.iter().find(|(other, _)| other == name).expect("stored");
    Bundle::parse(bytes).expect("sound")
}

#[test]
fn what_ploop_writes() {
    let bundle = named("ploop-three-snapshots");
    let tree = &bundle.tree;
    assert_eq!(tree.top(), Guid::TOP);
    assert_eq!(tree.chain(Guid::TOP).len(), 3);
    assert_eq!(tree.nodes().len(), 4);
    let temporary: Vec<_> = tree
        .nodes()
        .iter()
        .filter_map(|node| node.temporary)
        .collect();
    assert_eq!(temporary, [Temporary::Plain]);
    assert_eq!(bundle.descriptor.block().map(|b| b.0), Some(2048));
    assert!(!tree.raw_base());
    let raw = named("ploop-raw-base");
    assert!(raw.tree.raw_base());
    assert_eq!(raw.tree.nodes().len(), 2);
}

#[test]
fn what_parallels_desktop_writes() {
    let bundle = named("desktop-one-image");
    // No TopGUID: the usual GUID is the top.
    assert_eq!(bundle.descriptor.top(), None);
    assert_eq!(bundle.tree.top(), Guid::TOP);
    let other = named("desktop-own-guid");
    assert_ne!(other.tree.top(), Guid::TOP);
    assert_eq!(other.tree.top(), other.tree.root());
}

#[test]
fn an_old_descriptor_without_snapshots() {
    let image = format!("<Image><GUID>{}</GUID><File>a</File></Image>", guid(1));
    let bundle = read(&around(&image, ""));
    assert_eq!((bundle.tree.top(), bundle.tree.root()), (guid(1), guid(1)));
    let without = around(&image, "").replace("<Snapshots></Snapshots>", "");
    let bundle = read(&without);
    let next = bundle.descriptor.with_top(guid(1)).expect("changed");
    assert_eq!(next.top(), Some(guid(1)));
    assert_eq!(next.shots().len(), 1);
    assert!(next.print().contains("<Shot>"), "{}", next.print());
}

#[test]
fn plain_counts_where_it_is_the_base() {
    let image = |n: u128, kind: &str| {
        format!(
            "<Image><GUID>{}</GUID><Type>{kind}</Type><File>{n}</File></Image>",
            guid(n)
        )
    };
    let shot = |n: u128, p: u128| {
        format!(
            "<Shot><GUID>{}</GUID><ParentGUID>{}</ParentGUID></Shot>",
            guid(n),
            guid(p)
        )
    };
    let with =
        |a: &str, b: &str| around(&(image(1, a) + &image(2, b)), &(shot(1, 0) + &shot(2, 1)));
    assert!(read(&with("Plain", "Compressed")).tree.raw_base());
    assert!(read(&with("Plain", "Plain")).tree.raw_base());
    assert!(!read(&with("Compressed", "Compressed")).tree.raw_base());
    let line = super::refused(with("Compressed", "Plain").as_bytes());
    assert!(
        line.contains(&guid(2).to_string()) && line.contains("only the oldest"),
        "{line}"
    );
}

#[test]
fn text_is_decoded() {
    let image = format!(
        "<Image><GUID> {} </GUID><File>a&amp;b<!-- c --><![CDATA[<d>]]>&#x65;</File></Image>",
        guid(1).to_string().to_uppercase()
    );
    let bundle = read(&around(&image, ""));
    assert_eq!(bundle.descriptor.images()[0].file, PathBuf::from("a&b<d>e"));
    assert_eq!(bundle.descriptor.images()[0].guid, guid(1));
}
