//! A merge of a served disk, as far as the bundle sees it: marks, copying, one of the two leaves. Cut after every step.

use ploop_core::control::files::{Merge, Source};

use super::crash::{TOP, all, every_crash, image, must_be_tidy, sample};
use super::double::MemFolder;
use super::{guid, text};
use crate::bundle::live::{self, Pair};
use crate::bundle::store::{DESCRIPTOR, LOCK};
use crate::bundle::{Bundle, Folder, delete};
use crate::tool::ToolError;

/// `1 <- 2 <- 3 <- 9 (top)`.
fn tall() -> MemFolder {
    let folder = MemFolder::default();
    let shots = [(1, 0), (2, 1), (3, 2), (TOP, 3)];
    folder.put(DESCRIPTOR, text(&shots, Some(TOP)).as_bytes());
    folder.put(LOCK, b"");
    folder.put("1.hds", &image(&[(0, 0x10), (1, 0x11)]));
    folder.put("2.hds", &image(&[(3, 0x23), (1, 0x21)]));
    folder.put("3.hds", &image(&[(1, 0x31), (4, 0x34), (2, 0x32)]));
    folder.put("9.hds", &image(&[(2, 0x92), (5, 0x95)]));
    folder
}

/// What the command does between the marks and the end.
fn copy(folder: &dyn Folder, pair: Pair) -> Result<(), ToolError> {
    let tree = Bundle::read(folder)?.tree;
    let file = |guid| {
        let node = tree.get(guid).expect("a snapshot");
        folder.open(&node.file, true)
    };
    let (lower, upper) = (file(pair.lower)?, file(pair.upper)?);
    let source = |file, name| Source {
        file,
        name,
        raw: false,
    };
    let (lower, upper) = (source(&*lower, "lower"), source(&*upper, "upper"));
    let mut merge = match pair.forward {
        true => Merge::forward(lower, upper)?,
        false => Merge::backward(lower, upper)?,
    };
    while !merge.step(1)?.finished {}
    Ok(())
}

fn merge(folder: &dyn Folder, pair: Pair) -> Result<(), ToolError> {
    live::begin(folder, pair)?;
    copy(folder, pair)?;
    live::end(folder, pair).map(drop)
}

#[test]
fn two_below_the_top_are_merged_or_not_and_it_goes_on() {
    for forward in [false, true] {
        let pair = Pair {
            lower: guid(2),
            upper: guid(3),
            forward,
        };
        let seen = every_crash(&tall(), |folder| merge(folder, pair));
        assert!(seen.old > 10 && seen.new > 10, "{} {}", seen.old, seen.new);
        assert_eq!(seen.old + seen.new, seen.states);
        let done = tall().stopping_after(usize::MAX - 1);
        merge(&done, pair).expect("merged");
        let kept = if forward { "3.hds" } else { "2.hds" };
        assert!(done.files().contains_key(kept), "{:?}", done.files().keys());
    }
}

/// The top goes down in one round and a rest; `1` stays, as something else stands on it.
fn down(folder: &dyn Folder) -> Result<(), ToolError> {
    let tree = Bundle::read(folder)?.tree;
    if live::pending(&tree).is_none() {
        let below = tree.get(tree.top()).and_then(|top| top.parent);
        let is_going = |below| tree.get(below).is_some_and(|node| node.temporary.is_some());
        if !below.is_some_and(is_going) {
            live::rest(folder)?;
        }
    }
    if let Some(pair) = live::pending(&Bundle::read(folder)?.tree) {
        merge(folder, pair)?;
    }
    delete::merge_down(folder, None, &mut |_| {}).map(drop)
}

#[test]
fn the_top_goes_down_beside_its_disk_or_not_and_it_goes_on() {
    let seen = every_crash(&sample(), down);
    assert!(seen.old > 10 && seen.new > 10, "{} {}", seen.old, seen.new);
    let done = sample().stopping_after(usize::MAX - 1);
    down(&done).expect("merged");
    must_be_tidy(&done);
    let bundle = Bundle::read(&done).expect("sound");
    let shown = all(&done, &bundle);
    assert_eq!(shown.len(), 3, "1, 4 and the top: {shown:?}");
    assert_eq!(bundle.tree.nodes().len(), 3);
}

#[test]
fn what_others_stand_on_is_not_merged() {
    let folder = sample();
    let before = folder.files();
    let pair = |lower, upper| Pair {
        lower: guid(lower),
        upper: guid(upper),
        forward: false,
    };
    for (pair, word) in [
        (pair(1, 2), "2 stand on it"),
        (pair(2, 4), "stands on"),
        (pair(7, 2), "no snapshot"),
    ] {
        for done in [
            live::begin(&folder, pair),
            live::end(&folder, pair).map(drop),
        ] {
            let error = done.expect_err("refused").to_string();
            assert!(error.contains(word), "{error}");
        }
    }
    assert_eq!(folder.files(), before);
    assert_eq!(
        live::pending(&Bundle::read(&folder).expect("sound").tree),
        None
    );
}
