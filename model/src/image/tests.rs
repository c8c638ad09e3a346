use super::*;

/// Builds images by hand, field by field.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) version: Version,
    pub(crate) cluster_sectors: u32,
    pub(crate) bat: Vec<u32>,
    pub(crate) size_sectors: u64,
    pub(crate) in_use: u32,
    pub(crate) data_off: u32,
    pub(crate) ext_off: u64,
    /// Length of the file in bytes.
    pub(crate) len: usize,
}

impl Builder {
    /// An image of full clusters with one header cluster, and `data` data clusters in the file.
    pub(crate) fn v2(cluster_sectors: u32, bat: &[u32], data: u32) -> Builder {
        let bat_sectors =
            ((64 + 4 * bat.len() as u32).div_ceil(512)).next_multiple_of(cluster_sectors);
        Builder {
            version: Version::V2,
            cluster_sectors,
            bat: bat.to_vec(),
            size_sectors: bat.len() as u64 * u64::from(cluster_sectors),
            in_use: 0,
            data_off: bat_sectors,
            ext_off: 0,
            len: (bat_sectors + data * cluster_sectors) as usize * 512,
        }
    }

    pub(crate) fn v1(
        cluster_sectors: u32,
        data_off: u32,
        bat: &[u32],
        len_sectors: usize,
    ) -> Builder {
        Builder {
            version: Version::V1,
            data_off,
            len: len_sectors * 512,
            ..Builder::v2(cluster_sectors, bat, 0)
        }
    }

    /// Every sector is filled with its own number; then come header and BAT.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file: Vec<u8> = (0..self.len).map(|at| (at / 512) as u8).collect();
        let magic = if self.version == Version::V1 {
            b"WithoutFreeSpace"
        } else {
            b"WithouFreSpacExt"
        };
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = file.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        let slots = self.data_off.max(1) as usize * 512;
        put(0, &vec![0; slots.min(self.len)]);
        put(0, magic);
        put(16, &2_u32.to_le_bytes());
        put(28, &self.cluster_sectors.to_le_bytes());
        put(32, &(self.bat.len() as u32).to_le_bytes());
        put(36, &self.size_sectors.to_le_bytes());
        put(44, &self.in_use.to_le_bytes());
        put(48, &self.data_off.to_le_bytes());
        put(56, &self.ext_off.to_le_bytes());
        for (slot, entry) in self.bat.iter().enumerate() {
            put(64 + 4 * slot, &entry.to_le_bytes());
        }
        file
    }
}

fn byte(levels: &[Level<'_>], sector: u64) -> u8 {
    let mut buf = [0xEE; 512];
    read_sector(levels, sector, &mut buf);
    assert!(buf.iter().all(|b| *b == buf[0]), "one sector, one byte");
    buf[0]
}

#[test]
fn the_header_of_both_versions() {
    let mut builder = Builder::v2(3, &[0, 0], 0);
    builder.size_sectors = 5 | 1 << 32;
    builder.ext_off = 7 << 32;
    for (mark, in_use) in [
        (0x746F_6E59, InUse::Dirty),
        (0, InUse::Closed),
        (0x312E_3276, InUse::Closed21),
        (0x3731_6470, InUse::Other(0x3731_6470)),
    ] {
        builder.in_use = mark;
        let header = Header::read(&builder.build()).expect("good");
        let expected = Header {
            version: Version::V2,
            cluster_sectors: 3,
            bat_entries: 2,
            size_sectors: 5 | 1 << 32,
            in_use,
            data_off: 3,
            flags: 0,
            ext_off: 7 << 32,
        };
        assert_eq!(header, expected);
    }
    builder.version = Version::V1;
    builder.data_off = 0;
    let header = Header::read(&builder.build()).expect("good");
    assert_eq!(
        (header.size_sectors, header.data_start()),
        (5, 1),
        "v1: the high half means nothing"
    );
}

#[test]
fn headers_that_make_no_sense() {
    let good = Builder::v2(1, &[0], 0).build();
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        Header::read(&bad)
    };
    assert!(Header::read(&good).is_ok());
    assert_eq!(Header::read(&good[..63]), Err(BadHeader::TooShort));
    assert_eq!(with(15, b'T'), Err(BadHeader::Magic));
    assert_eq!(with(16, 3), Err(BadHeader::Type(3)));
    assert_eq!(with(28, 0), Err(BadHeader::ClusterSize));
}

#[test]
fn entries_count_clusters_in_v2_and_sectors_in_v1() {
    let v2 = Builder::v2(3, &[2, 0, 1], 2).build();
    let image = Image::open(&v2).expect("good");
    let found: Vec<Option<u64>> = (0..10).map(|s| image.lookup(s)).collect();
    let at = |first: u64| [Some(first), Some(first + 1), Some(first + 2)];
    assert_eq!(
        found,
        [at(6).as_slice(), &[None; 3], &at(3), &[None]].concat()
    );

    let v1 = Builder::v1(3, 0, &[4, 1], 7).build();
    let image = Image::open(&v1).expect("good");
    let found: Vec<Option<u64>> = (0..7).map(|s| image.lookup(s)).collect();
    assert_eq!(found, [at(4).as_slice(), &at(1), &[None]].concat());
}

#[test]
fn a_disk_may_end_inside_a_cluster_and_a_place_may_exceed_32_bits() {
    let mut builder = Builder::v2(4, &[1, u32::MAX], 1);
    builder.size_sectors = 6;
    let bytes = builder.build();
    let image = Image::open(&bytes).expect("good");
    assert_eq!(image.lookup(5), Some(u64::from(u32::MAX) * 4 + 1));
    assert_eq!(image.lookup(6), None);
    assert_eq!(
        byte(&[Level::Image(image)], 5),
        0,
        "beyond the end of the file"
    );
    builder.cluster_sectors = u32::MAX;
    builder.bat = vec![u32::MAX];
    builder.size_sectors = u64::MAX;
    let bytes = builder.build();
    let image = Image::open(&bytes).expect("good");
    assert_eq!(
        image.lookup(0),
        Some(u64::from(u32::MAX) * u64::from(u32::MAX))
    );
    assert_eq!(
        byte(&[Level::Image(image)], 0),
        0,
        "beyond what a file can be"
    );
}

#[test]
fn a_stack_shows_the_newest_level_that_has_the_cluster() {
    let raw: Vec<u8> = (0..5 * 512 + 100)
        .map(|at| 0x80 + (at / 512) as u8)
        .collect();
    let mut low = Builder::v2(2, &[0, 2, 3], 3);
    low.size_sectors = 5;
    let low = low.build();
    let top = Builder::v2(2, &[0, 0, 3, 0, 1], 3).build();
    let image = |bytes| Level::Image(Image::open(bytes).expect("good"));
    let levels = [Level::Raw(&raw), image(&low), image(&top)];
    let places: Vec<Place> = (0..11).map(|s| find_sector(&levels, s)).collect();
    let at = |level, sector| Place::At { level, sector };
    let expected = [
        at(0, 0),
        at(0, 1),
        at(1, 4),
        at(1, 5),
        at(2, 6),
        at(2, 7),
        Place::Hole,
        Place::Hole,
        at(2, 2),
        at(2, 3),
        Place::Hole,
    ];
    assert_eq!(places, expected);
    assert_eq!(
        [
            byte(&levels, 1),
            byte(&levels, 3),
            byte(&levels, 7),
            byte(&levels, 8)
        ],
        [0x81, 5, 0, 2]
    );
    assert_eq!(
        (find_sector(&levels[..2], 5), find_sector(&levels[..2], 1)),
        (Place::Hole, at(0, 1)),
        "the lower image is shorter than the raw file: where it has the cluster there are zeros behind its end"
    );
    let mut buf = [0; 512];
    read_sector(&levels[..1], 5, &mut buf);
    assert_eq!(
        (buf[99], buf[100]),
        (0x85, 0),
        "the last sector of a raw file may be cut"
    );
}

#[test]
fn a_cluster_cut_by_the_end_shows_what_is_left() {
    let mut builder = Builder::v2(4, &[1], 1);
    builder.len -= 2 * 512;
    let bytes = builder.build();
    let levels = [Level::Image(Image::open(&bytes).expect("good"))];
    assert_eq!(
        [
            byte(&levels, 0),
            byte(&levels, 1),
            byte(&levels, 2),
            byte(&levels, 3)
        ],
        [4, 5, 0, 0]
    );
}
