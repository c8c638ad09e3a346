//! Device-mapper, as far as the steps use it: devices of one target, made, changed, told something, removed.
//!
//! A call is a `dm_ioctl` (312 bytes) and, right behind it, one `dm_target_spec` (40 bytes) with its parameters, or one
//! `dm_target_msg` (8 bytes) with its text.

use std::fs::File;
use std::path::PathBuf;

use rustix::ioctl::Opcode;

use super::sys;
use super::trouble::{During, Trouble};

const CONTROL: &str = "/dev/mapper/control";
const HEAD: usize = 312;
const VERSION: [u32; 3] = [4, 0, 0];

const fn opcode(number: u32) -> Opcode {
    (3 << 30 | (HEAD as u32) << 16 | 0xFD << 8 | number) as Opcode
}

const CREATE: Opcode = opcode(3);
const REMOVE: Opcode = opcode(4);
const SUSPEND: Opcode = opcode(6);
const LOAD: Opcode = opcode(9);
const MESSAGE: Opcode = opcode(14);

/// `DM_SUSPEND_FLAG`; without it the same call resumes.
const SUSPENDED: u32 = 1 << 1;
/// `DM_SKIP_LOCKFS_FLAG`: a file system on it is not frozen, and so writes nothing.
const AS_IT_IS: u32 = 1 << 10;

/// A device.
pub(crate) struct Mapped {
    control: File,
    name: String,
    /// Its node.
    pub(crate) path: PathBuf,
    sectors: u64,
}

impl Mapped {
    /// Makes a device of one target: `kind` and its parameters.
    pub(crate) fn create(
        name: &str,
        sectors: u64,
        kind: &str,
        parameters: &str,
    ) -> Result<Mapped, Trouble> {
        let control = File::options().read(true).write(true).open(CONTROL);
        let control =
            control.map_err(|error| Trouble::NotOffered(format!("{CONTROL}: {error}")))?;
        let mut mapped = Mapped {
            control,
            name: name.to_owned(),
            path: PathBuf::new(),
            sectors,
        };
        let reply = mapped.call::<CREATE>(0, 0, &[]).during("create")?;
        let minor = (reply & 0xff) | (reply >> 12 & !0xff);
        mapped.path = PathBuf::from(format!("/dev/dm-{minor}"));
        mapped.load(kind, parameters)?;
        mapped.suspend(false)?;
        Ok(mapped)
    }

    fn load(&self, kind: &str, parameters: &str) -> Result<(), Trouble> {
        let mut spec = Vec::new();
        spec.extend_from_slice(&0u64.to_le_bytes());
        spec.extend_from_slice(&self.sectors.to_le_bytes());
        spec.extend_from_slice(&[0; 8]);
        let mut name = [0; 16];
        name[..kind.len()].copy_from_slice(kind.as_bytes());
        spec.extend_from_slice(&name);
        spec.extend_from_slice(parameters.as_bytes());
        spec.push(0);
        self.call::<LOAD>(0, 1, &spec)
            .during(format!("table {kind} {parameters}"))
            .map(drop)
    }

    fn suspend(&self, on: bool) -> Result<(), Trouble> {
        let flags = if on { SUSPENDED | AS_IT_IS } else { 0 };
        self.call::<SUSPEND>(flags, 0, &[])
            .during("suspend or resume")
            .map(drop)
    }

    /// Gives it another target, with nothing in flight.
    pub(crate) fn change(&self, kind: &str, parameters: &str) -> Result<(), Trouble> {
        self.load(kind, parameters)?;
        self.suspend(true)?;
        self.suspend(false)
    }

    /// Tells its target something.
    pub(crate) fn message(&self, text: &str) -> Result<(), Trouble> {
        let mut message = 0u64.to_le_bytes().to_vec();
        message.extend_from_slice(text.as_bytes());
        message.push(0);
        self.call::<MESSAGE>(0, 0, &message).during(text).map(drop)
    }

    /// Removes it. What its target has to write is written then.
    pub(crate) fn remove(self) -> Result<(), Trouble> {
        self.call::<REMOVE>(0, 0, &[])
            .during(format!("removal of {}", self.name))
            .map(drop)
    }

    /// One call; the device's number.
    fn call<const OPCODE: Opcode>(
        &self,
        flags: u32,
        targets: u32,
        payload: &[u8],
    ) -> Result<u64, Trouble> {
        let mut words = [0u64; 512];
        let mut bytes = Vec::new();
        let head: [u32; 10] = [
            VERSION[0],
            VERSION[1],
            VERSION[2],
            4096,
            HEAD as u32,
            targets,
            0,
            flags,
            0,
            0,
        ];
        head.iter()
            .for_each(|field| bytes.extend_from_slice(&field.to_le_bytes()));
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.resize(HEAD, 0);
        bytes.extend_from_slice(payload);
        bytes.resize(words.len() * 8, 0);
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        sys::device_mapper::<OPCODE>(&self.control, &mut words)?;
        Ok(words[5])
    }
}
