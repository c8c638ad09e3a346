//! What the fuzz target `descriptor_xml` does with its bytes: plain code, so that `cargo test` replays the stored ones.

use ploop_core::delta::chain::MAX_LEVELS;
use ploop_core::units::Sectors;

use super::descriptor::{Image, Kind};
use super::guid::Guid;
use super::store::Bundle;

/// The bytes are a descriptor. One that is accepted prints as it was read, has finite chains, and stays what it is through
/// every change that is made to descriptors.
///
/// # Panics
/// If not.
pub fn descriptor_xml(bytes: &[u8]) {
    let bundle = match Bundle::parse(bytes) {
        Ok(bundle) => bundle,
        Err(refusal) => {
            let line = refusal.to_string();
            assert!(line.chars().count() < 1500, "a long refusal: {line}");
            assert!(!line.contains(char::is_control), "not one line: {line}");
            return;
        }
    };
    assert!(
        bundle.descriptor.print().as_bytes() == bytes,
        "printed differently"
    );
    let tree = &bundle.tree;
    for node in tree.nodes() {
        let chain = tree.chain(node.guid);
        assert!(
            chain.len() == node.depth + 1 && chain.len() <= MAX_LEVELS,
            "a chain of {}",
            chain.len()
        );
        assert!(
            chain.first().is_some_and(|first| first.guid == tree.root()),
            "a chain that does not begin with the root"
        );
        assert!(
            chain
                .windows(2)
                .all(|pair| pair[1].parent == Some(pair[0].guid)),
            "a chain with a gap"
        );
    }
    change(&bundle);
}

/// Every change, printed and read again, is what was meant.
fn change(bundle: &Bundle) {
    let (top, count) = (bundle.tree.top(), bundle.descriptor.images().len());
    let (fresh, saved) = (Guid::from_u128(u128::MAX), Guid::from_u128(u128::MAX - 1));
    let is_taken = |guid| bundle.tree.get(guid).is_some();
    let deep = bundle.tree.get(top).map_or(0, |node| node.depth) + 1;
    if is_taken(fresh) || is_taken(saved) || deep >= MAX_LEVELS {
        return;
    }
    let image = Image {
        guid: fresh,
        kind: Kind::Expanded,
        file: "new & <file>".into(),
    };
    let grown = bundle
        .descriptor
        .with_top(top)
        .and_then(|next| next.renamed(top, saved))
        .and_then(|next| next.with_image(&image, Some(saved)))
        .and_then(|next| next.with_top_named(fresh))
        .and_then(|next| next.resized(Sectors(4096)));
    let grown = grown.unwrap_or_else(|refusal| panic!("{refusal}"));
    let again = match Bundle::parse(grown.print().as_bytes()) {
        Ok(again) => again,
        // A file of that name, or a descriptor that has become too long.
        Err(refusal) if refusal.element == "Image/File" => return,
        Err(_) if grown.print().len() > super::xml::MOST_BYTES - 2000 => return,
        Err(refusal) => panic!("refused after a change: {refusal}"),
    };
    assert!(again.descriptor == grown, "changed by printing");
    assert_eq!(again.tree.top(), fresh);
    assert_eq!(
        again.tree.get(fresh).and_then(|node| node.parent),
        Some(saved)
    );
    assert_eq!(again.descriptor.images().len(), count + 1);
    assert_eq!(again.descriptor.size(), Some(Sectors(4096)));
    let marked = grown
        .marked_temporary(saved)
        .and_then(|next| next.merged(saved, fresh));
    let merged = marked.unwrap_or_else(|refusal| panic!("{refusal}"));
    let again = Bundle::parse(merged.print().as_bytes());
    let again = again.unwrap_or_else(|refusal| panic!("refused after a merge: {refusal}"));
    assert_eq!(again.tree.top(), fresh);
    assert_eq!(again.tree.nodes().len(), count);
    assert_eq!(
        again.tree.get(fresh).and_then(|node| node.parent),
        bundle.tree.get(top).and_then(|node| node.parent)
    );
}
