//! Files that are not what the chain says, and requests of any size.

use super::*;

#[test]
fn every_delta_has_a_file() {
    let file = image(Version::V2, 4, 40);
    for count in [0, 2] {
        let loaded = load::load(&file, "memory").expect("loads");
        let files = (0..count)
            .map(|_| Box::new(file.clone()) as Box<dyn DeltaFile>)
            .collect();
        let result = Disk::open(vec![loaded], files, Options::default());
        assert!(matches!(
            result,
            Err(OpenError::Option { name: "files", .. })
        ));
    }
}

#[test]
fn a_lower_file_that_was_cut_meanwhile_is_an_error_and_never_zeros() {
    for (raw, left) in [(false, 20 * 512 + 700), (true, 16 * 512 + 100)] {
        let lower = image(Version::V2, 16, 64);
        let mut disk = open(std::slice::from_ref(&lower), Options::default());
        disk.write(Sector(16), &[7; 16 * 512], false)
            .expect("writes");
        disk.close().expect("closes");
        if raw {
            *lower.0.borrow_mut() = vec![7; 64 * 512];
        }
        let top = image(Version::V2, 16, 64);
        let chain = if raw {
            vec![load::load_raw(&lower, "lower").expect("loads")]
        } else {
            vec![load::load(&lower, "lower").expect("loads")]
        };
        let chain = chain
            .into_iter()
            .chain([load::load(&top, "top").expect("loads")])
            .collect();
        let files: Vec<Box<dyn DeltaFile>> = vec![Box::new(lower.clone()), Box::new(top.clone())];
        let mut disk = Disk::open(chain, files, Options::default()).expect("opens");
        lower.0.borrow_mut().truncate(left);
        let mut data = vec![0; 16 * 512];
        assert_eq!(disk.read(Sector(16), &mut data), Err(Failure::Io));
        // Copies the rest of the cluster.
        assert_eq!(disk.write(Sector(16), &[9; 512], false), Err(Failure::Io));
        disk.device().verify();
        disk.close().expect("closes");
        let image = load::load(&top, "top").expect("loads");
        let bat = &image.expanded().expect("an image").bat;
        assert!(bat.iter().all(|&entry| entry == 0), "{raw}: {bat:?}");
    }
}

/// Full from a byte on that lies inside a sector.
#[derive(Clone)]
struct Full(Memory, u64);

impl DeltaFile for Full {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let room = self.1.saturating_sub(at).min(buf.len() as u64);
        if room == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.write_at(at, &buf[..room as usize])
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.0.zero_at(at, len, punch)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_write_that_stops_inside_a_sector_for_lack_of_space_says_so() {
    for end in [16 * 512 + 100, 17 * 512 + 1, 18 * 512] {
        let file = image(Version::V2, 16, 64);
        let loaded = load::load(&file, "memory").expect("loads");
        let boxed: Box<dyn DeltaFile> = Box::new(Full(file.clone(), end));
        let mut disk = Disk::open(vec![loaded], vec![boxed], Options::default()).expect("opens");
        let result = disk.write(Sector(0), &[1; 16 * 512], false);
        assert_eq!(result, Err(Failure::NoSpace), "{end}");
    }
}

#[test]
fn a_range_over_thousands_of_clusters_is_done_in_pieces_of_whole_clusters() {
    let sectors = 3 * 5000;
    let data = vec![5; (sectors * SECTOR_BYTES) as usize];
    for zeroes in [false, true] {
        let file = image(Version::V2, 3, sectors);
        let mut disk = open(std::slice::from_ref(&file), Options::default());
        disk.write(Sector(0), &data, false).expect("writes");
        disk.close().expect("closes");
        let mut disk = open(std::slice::from_ref(&file), Options::default());
        // All but the first sector and the last one.
        let (start, len) = (Sector(1), Sectors(sectors - 2));
        if zeroes {
            disk.write_zeroes(start, len, true, true).expect("zeroes");
        } else {
            disk.discard(start, len).expect("discards");
        }
        let actions = disk.out.list.capacity() as u64;
        assert!(actions <= 2 * PIECE_CLUSTERS, "{actions} actions at once");
        assert_eq!(disk.device().stats().mapped, 2);
        let mut first = [0; 2 * 512];
        disk.read(Sector(0), &mut first).expect("reads");
        assert_eq!(first[..512], [5; 512]);
        assert_eq!(first[512..] == [0; 512], zeroes);
    }
}
