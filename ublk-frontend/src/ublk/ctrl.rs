//! The control device `/dev/ublk-control`: one method a command, errors with the command's name.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::thread::CpuSet;
use zerocopy::{FromBytes, IntoBytes};

use crate::raw::ControlRing;
use crate::ublk::sys::{CtrlCmd, DevInfo, Params, cmd};

/// The control device.
const CONTROL: &str = "/dev/ublk-control";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CtrlError {
    /// There is no driver.
    #[error("{CONTROL}: {0} (is the module ublk_drv loaded, and are you root?)")]
    NoDriver(io::Error),
    /// The ring of commands could not be made.
    #[error("io_uring cannot be used: {0}")]
    NoRing(io::Error),
    /// The driver refused.
    #[error("device {id}: {command}: {source}")]
    Refused {
        /// The device.
        id: u32,
        /// The command.
        command: &'static str,
        /// What the driver said.
        source: io::Error,
    },
}

impl CtrlError {
    /// The errno, if the driver said one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            CtrlError::NoDriver(source)
            | CtrlError::NoRing(source)
            | CtrlError::Refused { source, .. } => source.raw_os_error(),
        }
    }
}

/// The open control device.
#[derive(Debug)]
pub struct Control {
    file: File,
    ring: ControlRing,
}

/// The node of the device's commands.
#[must_use]
pub fn char_node(id: u32) -> PathBuf {
    format!("/dev/ublkc{id}").into()
}

/// The node of the disk.
#[must_use]
pub fn disk_node(id: u32) -> PathBuf {
    format!("/dev/ublkb{id}").into()
}

impl Control {
    /// Opens it.
    pub fn open() -> Result<Control, CtrlError> {
        let mut options = File::options();
        let file = options.read(true).write(true).open(CONTROL);
        Ok(Control {
            file: file.map_err(CtrlError::NoDriver)?,
            ring: ControlRing::new().map_err(CtrlError::NoRing)?,
        })
    }

    fn send(
        &mut self,
        (name, op): (&'static str, u32),
        id: u32,
        data: u64,
        buffer: &mut [u8],
    ) -> Result<i32, CtrlError> {
        let command = CtrlCmd {
            dev_id: id,
            queue_id: u16::MAX,
            data,
            ..CtrlCmd::default()
        };
        self.command((name, op), command, buffer)
    }

    fn command(
        &mut self,
        (name, op): (&'static str, u32),
        command: CtrlCmd,
        buffer: &mut [u8],
    ) -> Result<i32, CtrlError> {
        let id = command.dev_id;
        self.ring
            .command(self.file.as_fd(), op, command, buffer)
            .map_err(|source| CtrlError::Refused {
                id,
                command: name,
                source,
            })
    }

    /// What the driver can do. Linux 6.5.
    pub fn features(&mut self) -> Result<u64, CtrlError> {
        let mut word = [0; 8];
        self.send(("GET_FEATURES", cmd::GET_FEATURES), u32::MAX, 0, &mut word)?;
        Ok(u64::from_ne_bytes(word))
    }

    /// Makes a device; `info` comes back as the driver made it.
    pub fn add(&mut self, info: &mut DevInfo) -> Result<(), CtrlError> {
        let id = info.dev_id;
        self.send(("ADD_DEV", cmd::ADD_DEV), id, 0, info.as_mut_bytes())?;
        Ok(())
    }

    /// Removes a device. Waits until nobody has it open.
    pub fn del(&mut self, id: u32) -> Result<(), CtrlError> {
        self.send(("DEL_DEV", cmd::DEL_DEV), id, 0, &mut [])?;
        Ok(())
    }

    /// Removes a device and does not wait.
    pub fn del_async(&mut self, id: u32) -> Result<(), CtrlError> {
        self.send(("DEL_DEV_ASYNC", cmd::DEL_DEV_ASYNC), id, 0, &mut [])?;
        Ok(())
    }

    /// The disk appears. Returns when every queue has asked for requests.
    pub fn start(&mut self, id: u32, pid: u32) -> Result<(), CtrlError> {
        self.send(("START_DEV", cmd::START_DEV), id, u64::from(pid), &mut [])?;
        Ok(())
    }

    /// The disk goes away. The queues must go on serving until this returns.
    pub fn stop(&mut self, id: u32) -> Result<(), CtrlError> {
        self.send(("STOP_DEV", cmd::STOP_DEV), id, 0, &mut [])?;
        Ok(())
    }

    /// As [`Control::stop`], but only if nobody has the disk open: `EBUSY` otherwise.
    pub fn try_stop(&mut self, id: u32) -> Result<(), CtrlError> {
        self.send(("TRY_STOP_DEV", cmd::TRY_STOP_DEV), id, 0, &mut [])?;
        Ok(())
    }

    /// Sets the parameters, before the start only.
    pub fn set_params(&mut self, id: u32, params: &Params) -> Result<(), CtrlError> {
        let mut params = *params;
        let what = ("SET_PARAMS", cmd::SET_PARAMS);
        self.send(what, id, 0, params.as_mut_bytes())?;
        Ok(())
    }

    /// The parameters as the driver has them.
    pub fn params(&mut self, id: u32) -> Result<Params, CtrlError> {
        let mut params = Params {
            len: size_of::<Params>() as u32,
            ..Params::default()
        };
        let what = ("GET_PARAMS", cmd::GET_PARAMS);
        self.send(what, id, 0, params.as_mut_bytes())?;
        Ok(params)
    }

    /// The device's description.
    pub fn info(&mut self, id: u32) -> Result<DevInfo, CtrlError> {
        let mut bytes = [0; size_of::<DevInfo>()];
        self.send(("GET_DEV_INFO", cmd::GET_DEV_INFO), id, 0, &mut bytes)?;
        Ok(DevInfo::read_from_bytes(&bytes).unwrap_or_default())
    }

    /// A new server takes over. `EBUSY` as long as the old one has the device open.
    pub fn start_recovery(&mut self, id: u32) -> Result<(), CtrlError> {
        let what = ("START_USER_RECOVERY", cmd::START_USER_RECOVERY);
        self.send(what, id, 0, &mut [])?;
        Ok(())
    }

    /// The new server is ready.
    pub fn end_recovery(&mut self, id: u32, pid: u32) -> Result<(), CtrlError> {
        let what = ("END_USER_RECOVERY", cmd::END_USER_RECOVERY);
        self.send(what, id, u64::from(pid), &mut [])?;
        Ok(())
    }

    /// Takes the disk away from its server, for the next one. Waits at most so many milliseconds. Linux 6.16.
    pub fn quiesce(&mut self, id: u32, timeout_ms: u64) -> Result<(), CtrlError> {
        let what = ("QUIESCE_DEV", cmd::QUIESCE_DEV);
        self.send(what, id, timeout_ms, &mut [])?;
        Ok(())
    }

    /// The disk has this many sectors from now on. Linux 6.16.
    pub fn update_size(&mut self, id: u32, sectors: u64) -> Result<(), CtrlError> {
        let what = ("UPDATE_SIZE", cmd::UPDATE_SIZE);
        self.send(what, id, sectors, &mut [])?;
        Ok(())
    }

    /// The CPUs whose requests come to a queue.
    pub fn affinity(&mut self, id: u32, queue: u16) -> Result<CpuSet, CtrlError> {
        let mut mask = [0u8; CpuSet::MAX_CPU / 8];
        let command = CtrlCmd {
            dev_id: id,
            queue_id: queue,
            data: u64::from(queue),
            ..CtrlCmd::default()
        };
        let what = ("GET_QUEUE_AFFINITY", cmd::GET_QUEUE_AFFINITY);
        self.command(what, command, &mut mask)?;
        let mut set = CpuSet::new();
        for cpu in 0..CpuSet::MAX_CPU {
            if mask[cpu / 8] >> (cpu % 8) & 1 == 1 {
                set.set(cpu);
            }
        }
        Ok(set)
    }
}
