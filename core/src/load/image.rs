//! Reads an image from its header to its extension, in the order of [`crate::load`]'s diagram.

use zerocopy::IntoBytes;

use crate::delta::Expanded;
use crate::drive::file::{DeltaFile, read_padded};
use crate::error::{Field, Problem, Rule};
use crate::format::geometry::HEADER_BYTES;
use crate::format::{Header, Layout, Version};
use crate::load::report::{Report, Stop, reading};
use crate::load::used::Used;
use crate::load::{bat, entries, extension};
use crate::units::{SECTOR_BYTES, Sector, Sectors};

/// Where the piece of the file ends that holds the last BAT slots: pages of this size are written whole.
const PAGE_BYTES: u64 = 4096;

/// An image and what was learned on the way.
pub(super) struct Read {
    pub(super) file_len: u64,
    pub(super) image: Expanded,
    /// Clusters of the BAT and of the extension.
    pub(super) used: Used,
    /// See [`entries`].
    pub(super) unsure: bool,
}

/// Reads the image. With a lenient report, fails only where the geometry cannot be trusted.
pub(super) fn read(file: &dyn DeltaFile, report: &mut Report) -> Result<Read, Stop> {
    let file_len = file
        .len()
        .map_err(|source| reading("the file's length", source))?;
    let header = read_header(file, file_len)?;
    let entries = entries::believed(file, file_len, &header, report)?;
    let covered = Sectors(u64::from(entries.count) * header.cluster.0);
    let mut layout = Layout {
        version: header.version,
        cluster: header.cluster,
        entries: entries.count,
        size: header.size.min(covered),
        data_start: Sector(0),
        phase: Sectors::ZERO,
    };
    layout.data_start = data_start(&header, layout.entries, file_len, report)?;
    let mut bat = read_bat(file, &layout)?;
    let bat_slack = read_slack(file, &layout)?;

    bat::check_entries(&layout, file_len, &mut bat, report)?;
    let (phase, on_grid) = bat::find_grid(&layout, &bat);
    layout.phase = phase;
    let mut used = Used::new(layout, file_len, on_grid);
    bat::claim_all(&layout, &mut bat, &mut used, report)?;
    let extension::Found {
        state: extension,
        reserved,
        bitmaps,
        astray,
    } = extension::read(file, file_len, &header, &layout, &mut used, report)?;
    Ok(Read {
        file_len,
        image: Expanded {
            header,
            layout,
            bat,
            on_grid,
            bat_slack,
            reserved,
            extension,
            extension_astray: astray,
            settled: !header.is_dirty(),
            bitmaps,
        },
        used,
        unsure: entries.unsure,
    })
}

fn read_header(file: &dyn DeltaFile, file_len: u64) -> Result<Header, Stop> {
    if file_len < HEADER_BYTES {
        return Err(Problem::new(Field::FileLength, file_len, Rule::HeaderInFile).into());
    }
    let mut bytes = [0; HEADER_BYTES as usize];
    fill(file, 0, &mut bytes, "the header")?;
    Ok(Header::parse(&bytes)?)
}

/// Where data starts, as the header says; `None` if it leaves that to the BAT (version 1).
///
/// In a version 2 image whose value is not a multiple of the cluster size, data starts at the multiple before it: its entries
/// are cluster numbers all the same. QEMU 10.0 itself leaves such headers when the cluster size is not a power of two and the
/// BAT is longer than a sector, and uses the cluster that the value lies in.
pub(super) fn claimed_start(header: &Header) -> Option<Sector> {
    let claimed = u64::from(header.data_off);
    match header.version {
        Version::V1 => Some(Sector(claimed)).filter(|_| claimed != 0),
        Version::V2 => Some(Sector(claimed / header.cluster.0 * header.cluster.0)),
    }
}

/// Where data starts, behind a BAT of so many entries. Lenient: a wrong value is taken for the lowest possible one.
fn data_start(
    header: &Header,
    entries: u32,
    file_len: u64,
    report: &mut Report,
) -> Result<Sector, Problem> {
    let lowest = Layout::lowest_data_start(header.version, header.cluster, entries);
    let Some(claimed) = claimed_start(header) else {
        return Ok(lowest);
    };
    let rule = if header.data_off == 0 {
        Rule::DataOffsetNotZero
    } else if claimed < lowest {
        Rule::DataBehindBat
    } else if claimed.0 > Sectors::covering(file_len).0 {
        Rule::DataOffsetInFile
    } else {
        return Ok(claimed);
    };
    report.damage(Problem::new(Field::DataOffset, header.data_off, rule))?;
    Ok(lowest)
}

/// The BAT. The caller has checked that it lies inside the file.
fn read_bat(file: &dyn DeltaFile, layout: &Layout) -> Result<Vec<u32>, Stop> {
    let mut bat = vec![0u32; layout.entries as usize];
    fill(file, HEADER_BYTES, bat.as_mut_bytes(), "the BAT")?;
    for entry in &mut bat {
        *entry = u32::from_le(*entry);
    }
    Ok(bat)
}

fn read_slack(file: &dyn DeltaFile, layout: &Layout) -> Result<Vec<u8>, Stop> {
    let start = layout.bat_end();
    let end = start
        .next_multiple_of(PAGE_BYTES)
        .min(layout.data_start.bytes());
    let mut slack = vec![0; end.saturating_sub(start) as usize];
    read_padded(file, start, &mut slack).map_err(|source| reading("the end of the BAT", source))?;
    Ok(slack)
}

/// Reads what the file's length says is there.
pub(super) fn fill(
    file: &dyn DeltaFile,
    at: u64,
    buf: &mut [u8],
    what: &'static str,
) -> Result<(), Stop> {
    let done = read_padded(file, at, buf).map_err(|source| reading(what, source))?;
    if done < buf.len() {
        return Err(reading(what, std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// True if `len` sectors at `at` lie inside a file of `file_len` bytes.
pub(super) fn inside(at: Sector, len: Sectors, file_len: u64) -> bool {
    at.after(len).0 <= file_len / SECTOR_BYTES
}
