//! Where everything lies in images of every shape, as text: a change of the format shows here, field by field.

use std::fmt::Write;

use super::{Image, extension};
use crate::bat::table::Table;
use crate::format::Version::{V1, V2};
use crate::units::{DstClu, PageId, Sector};

/// The image as it stands on disk and as it is understood; pages of 4 KiB, granules of a sector.
fn dump(image: &Image) -> String {
    let bytes = image.bytes();
    let found = image.expanded();
    let layout = &found.layout;
    let mut text = String::new();
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let wide = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name:20} {value}").expect("text");
    };
    line("m_Sig", bytes[..16].escape_ascii().to_string());
    for (name, at) in [
        ("m_Type", 16),
        ("m_Heads", 20),
        ("m_Cylinders", 24),
        ("m_Sectors", 28),
        ("m_Size", 32),
    ] {
        line(name, word(at).to_string());
    }
    line("m_SizeInSectors", wide(36).to_string());
    line("m_DiskInUse", format!("{:#x}", word(44)));
    line("m_FirstBlockOffset", word(48).to_string());
    line("m_Flags", word(52).to_string());
    line("m_FormatExtension", wide(56).to_string());
    line("file", format!("{} bytes", bytes.len()));
    line("BAT", format!("bytes 64..{}", layout.bat_end()));
    line("data_start", format!("sector {}", layout.data_start.0));
    let (first, behind) = (layout.first_host(), layout.hosts_in(bytes.len() as u64));
    let grid = format!("cluster 0 at sector {}", layout.phase.0);
    line("grid", grid);
    let sectors = (first.0..behind).map(|host| layout.host_sector(DstClu(host)).0);
    let sectors: Vec<String> = sectors.map(|sector| sector.to_string()).collect();
    let hosts = format!("{}..{behind} at sectors {}", first.0, sectors.join(" "));
    line("hosts", hosts);
    for (clu, &entry) in found
        .bat
        .iter()
        .enumerate()
        .filter(|(_, entry)| **entry != 0)
    {
        let (at, host) = (layout.entry_sector(entry).0, layout.host_of(entry));
        let host = host.map_or("off the grid".to_owned(), |host| format!("host {}", host.0));
        line(
            &format!("BAT[{clu}]"),
            format!("{entry}: {host}, sector {at}"),
        );
    }
    let last = crate::units::Clu(layout.entries - 1);
    let inside = layout.guest_len(last).0;
    line(
        "last cluster",
        format!("{inside} sectors of {}", layout.cluster.0),
    );
    let reserved: Vec<u32> = found.reserved.iter().map(|host| host.0).collect();
    line(
        "extension",
        format!("{:?}, hosts {reserved:?}", found.extension),
    );
    let table = Table::new(layout, 4096, 512);
    for page in (0..table.pages()).map(PageId) {
        let (clu, count) = table.entries_of(page);
        let (at, len) = table.bytes_of(page);
        let last = u64::from(clu.0) + count as u64;
        let slots = format!(
            "clusters {}..{last}, bytes {at}..{}",
            clu.0,
            at + len as u64
        );
        line(&format!("page {}", page.0), slots);
    }
    text
}

#[test]
fn version_2() {
    insta::assert_snapshot!(dump(&Image::sample(V2)));
}

#[test]
fn version_1_with_data_at_a_cluster() {
    insta::assert_snapshot!(dump(&Image::sample(V1)));
}

#[test]
fn version_1_packed_behind_the_bat() {
    let mut image = Image::new(V1, 8, 32, 0);
    image.header.data_off = 0;
    image.bat = vec![9, 0, 1, 0];
    image.len = (1 + 3 * 8) * 512;
    insta::assert_snapshot!(dump(&image));
}

#[test]
fn odd_clusters_and_a_bat_of_several_pages() {
    let mut image = Image::new(V2, 63, 63 * 2100, 3);
    (
        image.bat[0],
        image.bat[1007],
        image.bat[1008],
        image.bat[2099],
    ) = (1, 3, 2, 0);
    insta::assert_snapshot!(dump(&image));
}

#[test]
fn a_start_of_data_that_qemu_moved() {
    let mut image = Image::new(V2, 63, 63 * 326, 2);
    image.header.data_off = 65;
    image.bat[0] = 1;
    insta::assert_snapshot!(dump(&image));
}

#[test]
fn a_disk_that_ends_inside_a_cluster_and_a_file_that_does() {
    let mut image = Image::new(V2, 8, 8 * 3 + 5, 2);
    image.bat[3] = 1;
    image.len += 3 * 512 + 7;
    insta::assert_snapshot!(dump(&image));
}

#[test]
fn a_format_extension_with_a_bitmap() {
    let mut image = extension::image(V2, extension::one_bitmap().finish());
    image.header.ext_off = Sector(24);
    insta::assert_snapshot!(dump(&image));
}
