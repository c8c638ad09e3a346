//! Changes of a descriptor: what was meant has changed, and nothing else; it looks as if the other program had written it.

use super::{guid, read, text};
use crate::bundle::descriptor::{Image, Kind, NewDisk};
use crate::bundle::{Descriptor, Guid};
use ploop_core::units::Sectors;

const PRETTY: &str = "<?xml version='1.0'?>
<!-- by hand -->
<Parallels_disk_image Version=\"1.0\" more='x'>
    <Disk_Parameters>
        <Disk_size>204800</Disk_size>
        <Cylinders>400</Cylinders>
        <Heads>16</Heads>
        <Sectors>32</Sectors>
        <Encryption><Engine>{00000000-0000-0000-0000-000000000000}</Engine><Data/></Encryption>
    </Disk_Parameters>
    <StorageData>
        <Storage>
            <Start>0</Start>
            <End>204800</End>
            <Blocksize>2048</Blocksize>
            <Image>
                <GUID>{00000000-0000-0000-0000-000000000001}</GUID>
                <Type>Compressed</Type>
                <File>a.hds</File>
                <Unknown a = \"1\">kept</Unknown>
            </Image>
        </Storage>
    </StorageData>
    <Snapshots>
        <Shot>
            <GUID>{00000000-0000-0000-0000-000000000001}</GUID>
            <ParentGUID>{00000000-0000-0000-0000-000000000000}</ParentGUID>
            <!-- a name? -->
        </Shot>
    </Snapshots>
</Parallels_disk_image>
<!-- the end -->
";

fn image(n: u128) -> Image {
    Image {
        guid: guid(n),
        kind: Kind::Expanded,
        file: "b.hds".into(),
    }
}

#[test]
fn a_snapshot_stands_where_another_program_would_put_it() {
    let old = Descriptor::parse(PRETTY.as_bytes()).expect("sound");
    let next = old
        .with_top(guid(1))
        .and_then(|next| next.with_image(&image(2), Some(guid(1))))
        .expect("changed");
    let image = "            </Image>
            <Image>
                <GUID>{00000000-0000-0000-0000-000000000002}</GUID>
                <Type>Compressed</Type>
                <File>b.hds</File>
            </Image>
        </Storage>";
    let shot = "            <!-- a name? -->
        </Shot>
        <Shot>
            <GUID>{00000000-0000-0000-0000-000000000002}</GUID>
            <ParentGUID>{00000000-0000-0000-0000-000000000001}</ParentGUID>
        </Shot>
    </Snapshots>";
    let expected = PRETTY
        .replace("            </Image>\n        </Storage>", image)
        .replace(
            "            <!-- a name? -->\n        </Shot>\n    </Snapshots>",
            shot,
        )
        .replace(
            "    <Snapshots>\n",
            "    <Snapshots>\n        <TopGUID>{00000000-0000-0000-0000-000000000001}</TopGUID>\n",
        );
    assert_eq!(next.print(), expected);
    // And away again: all that stays is the TopGUID.
    let back = next.without(guid(2)).expect("changed");
    assert_eq!(
        back.print(),
        old.with_top(guid(1)).expect("changed").print()
    );
}

#[test]
fn other_changes() {
    let old = Descriptor::parse(PRETTY.as_bytes()).expect("sound");
    let grown = old.resized(Sectors(409_600)).expect("changed");
    assert_eq!(
        grown.print(),
        PRETTY.replace("204800", "409600").replace(">400<", ">800<")
    );
    let renamed = old.renamed(guid(1), guid(7)).expect("changed");
    assert_eq!(
        renamed.print(),
        PRETTY.replace("000000000001}", "000000000007}")
    );
    let marked = old.marked_temporary(guid(1)).expect("changed");
    let expected = PRETTY.replace(
        "</ParentGUID>\n",
        "</ParentGUID>\n            <Temporary/>\n",
    );
    assert_eq!(marked.print(), expected);
    assert_eq!(marked.marked_temporary(guid(1)).expect("changed"), marked);
}

#[test]
fn a_merge_keeps_the_file_of_the_lower_and_the_name_of_the_upper() {
    let old = read(&text(&[(1, 0), (2, 1), (3, 2)], Some(3))).descriptor;
    let next = old
        .marked_temporary(guid(1))
        .and_then(|next| next.merged(guid(1), guid(2)))
        .expect("changed");
    let bundle = read(&next.print());
    let found: Vec<_> = bundle
        .tree
        .chain(guid(3))
        .iter()
        .map(|node| (node.guid, node.file.display().to_string(), node.temporary))
        .collect();
    assert_eq!(
        found,
        [
            (guid(2), "1.hds".to_owned(), None),
            (guid(3), "3.hds".to_owned(), None)
        ]
    );
}

#[test]
fn a_new_descriptor() {
    let disk = NewDisk {
        size: Sectors(2048),
        cluster: Sectors(128),
        file: "a & b",
        heads: 16,
        cylinders: 0,
    };
    let bundle = read(&Descriptor::new(&disk).expect("made").print());
    assert_eq!(
        (bundle.tree.top(), bundle.tree.root()),
        (Guid::TOP, Guid::TOP)
    );
    assert_eq!(bundle.descriptor.images()[0].file.to_str(), Some("a & b"));
    assert_eq!(bundle.descriptor.size(), Some(Sectors(2048)));
    assert_eq!(bundle.descriptor.block(), Some(Sectors(128)));
}
