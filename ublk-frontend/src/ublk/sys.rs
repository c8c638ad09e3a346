//! The UAPI of the ublk driver, by hand: `include/uapi/linux/ublk_cmd.h` up to Linux 7.3, as far as we use it.
//!
//! Sizes are held by `const` asserts. Everything is in 512-byte sectors, whatever the block size. Only the ioctl-encoded
//! commands are spoken (Linux 6.4); without `GET_FEATURES` (6.5) the driver is too old for us.

use std::mem::size_of;

const fn ioctl(direction: u32, number: u32, size: usize) -> u32 {
    direction << 30 | (size as u32) << 16 | (b'u' as u32) << 8 | number
}

const fn read(number: u32) -> u32 {
    ioctl(2, number, size_of::<CtrlCmd>())
}

const fn both(number: u32) -> u32 {
    ioctl(3, number, size_of::<CtrlCmd>())
}

const fn io(number: u32) -> u32 {
    ioctl(3, number, size_of::<IoCmd>())
}

/// Control commands.
pub mod cmd {
    use super::{both, read};
    /// CPUs that a queue serves.
    pub const GET_QUEUE_AFFINITY: u32 = read(0x01);
    /// The device's description.
    pub const GET_DEV_INFO: u32 = read(0x02);
    /// Make a device.
    pub const ADD_DEV: u32 = both(0x04);
    /// Remove a device and wait until nobody has it.
    pub const DEL_DEV: u32 = both(0x05);
    /// The disk appears.
    pub const START_DEV: u32 = both(0x06);
    /// The disk goes away.
    pub const STOP_DEV: u32 = both(0x07);
    /// Sets parameters.
    pub const SET_PARAMS: u32 = both(0x08);
    /// Reads parameters.
    pub const GET_PARAMS: u32 = read(0x09);
    /// A new server takes over.
    pub const START_USER_RECOVERY: u32 = both(0x10);
    /// The new server is ready.
    pub const END_USER_RECOVERY: u32 = both(0x11);
    /// What the driver can do.
    pub const GET_FEATURES: u32 = read(0x13);
    /// Remove a device without waiting.
    pub const DEL_DEV_ASYNC: u32 = read(0x14);
    /// The disk has another size.
    pub const UPDATE_SIZE: u32 = both(0x15);
    /// Hold the disk for another server.
    pub const QUIESCE_DEV: u32 = both(0x16);
    /// The disk goes away unless somebody has it open.
    pub const TRY_STOP_DEV: u32 = both(0x17);
}

/// Commands of a queue.
pub mod io_cmd {
    use super::io;
    /// Give me a request.
    pub const FETCH: u32 = io(0x20);
    /// Here is the answer; give me the next request.
    pub const COMMIT_AND_FETCH: u32 = io(0x21);
    /// Put the request's pages into the ring's table.
    pub const REGISTER_IO_BUF: u32 = io(0x23);
    /// Take them out.
    pub const UNREGISTER_IO_BUF: u32 = io(0x24);
}

/// Result of a fetch: there is a request.
pub const IO_RES_OK: i32 = 0;
/// Result of a fetch: there will be none, do not ask again.
pub const IO_RES_ABORT: i32 = -libc::ENODEV;
/// Bytes between the descriptors of two queues in the mapping, whatever the depth.
#[must_use]
pub const fn descriptors_stride(page: u64) -> u64 {
    (MAX_QUEUE_DEPTH as u64 * size_of::<IoDesc>() as u64).next_multiple_of(page)
}

/// Highest depth of a queue.
pub const MAX_QUEUE_DEPTH: u16 = 4096;
/// Deliver the request even if its pages could not be put into the table.
pub const AUTO_BUF_REG_FALLBACK: u8 = 1;

/// Feature and device flags, with the names that `features` prints.
pub const FLAGS: [(u64, &str); 21] = [
    (F_SUPPORT_ZERO_COPY, "SUPPORT_ZERO_COPY"),
    (1 << 1, "URING_CMD_COMP_IN_TASK"),
    (1 << 2, "NEED_GET_DATA"),
    (F_USER_RECOVERY, "USER_RECOVERY"),
    (F_USER_RECOVERY_REISSUE, "USER_RECOVERY_REISSUE"),
    (1 << 5, "UNPRIVILEGED_DEV"),
    (F_CMD_IOCTL_ENCODE, "CMD_IOCTL_ENCODE"),
    (1 << 7, "USER_COPY"),
    (1 << 8, "ZONED"),
    (1 << 9, "USER_RECOVERY_FAIL_IO"),
    (F_UPDATE_SIZE, "UPDATE_SIZE"),
    (F_AUTO_BUF_REG, "AUTO_BUF_REG"),
    (F_QUIESCE, "QUIESCE"),
    (1 << 13, "PER_IO_DAEMON"),
    (1 << 14, "BUF_REG_OFF_DAEMON"),
    (1 << 15, "BATCH_IO"),
    (1 << 16, "INTEGRITY"),
    (F_SAFE_STOP_DEV, "SAFE_STOP_DEV"),
    (F_NO_AUTO_PART_SCAN, "NO_AUTO_PART_SCAN"),
    (1 << 19, "SHMEM_ZC"),
    (1 << 20, "IO_DESC_SIZE"),
];
/// Request pages can be used by the ring.
pub const F_SUPPORT_ZERO_COPY: u64 = 1;
/// The disk outlives its server.
pub const F_USER_RECOVERY: u64 = 1 << 3;
/// Requests that a dead server had are given to the next one.
pub const F_USER_RECOVERY_REISSUE: u64 = 1 << 4;
/// Commands are encoded as ioctls. Always set.
pub const F_CMD_IOCTL_ENCODE: u64 = 1 << 6;
/// UPDATE_SIZE works.
pub const F_UPDATE_SIZE: u64 = 1 << 10;
/// Request pages come into the ring's table by themselves.
pub const F_AUTO_BUF_REG: u64 = 1 << 11;
/// QUIESCE_DEV works.
pub const F_QUIESCE: u64 = 1 << 12;
/// TRY_STOP_DEV works.
pub const F_SAFE_STOP_DEV: u64 = 1 << 17;
/// The kernel does not look for partitions.
pub const F_NO_AUTO_PART_SCAN: u64 = 1 << 18;

/// Device states.
pub mod state {
    /// No server and no disk.
    pub const DEAD: u16 = 0;
    /// In service.
    pub const LIVE: u16 = 1;
    /// The disk waits for a server.
    pub const QUIESCED: u16 = 2;
    /// The disk answers with errors until there is a server.
    pub const FAIL_IO: u16 = 3;
}

/// Operations of a request.
pub mod op {
    /// Read.
    pub const READ: u8 = 0;
    /// Write.
    pub const WRITE: u8 = 1;
    /// Flush; start and length mean nothing.
    pub const FLUSH: u8 = 2;
    /// Discard.
    pub const DISCARD: u8 = 3;
    /// Write zeros.
    pub const WRITE_ZEROES: u8 = 5;
}

/// The answer only when it is durable.
pub const IO_F_FUA: u32 = 1 << 13;
/// Zeros without giving the space back.
pub const IO_F_NOUNMAP: u32 = 1 << 15;
/// The request's pages could not be put into the table.
pub const IO_F_NEED_REG_BUF: u32 = 1 << 17;

/// A control command.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CtrlCmd {
    /// Device number.
    pub dev_id: u32,
    /// Queue, or `u16::MAX`.
    pub queue_id: u16,
    /// Bytes of the buffer.
    pub len: u16,
    /// Address of the buffer.
    pub addr: u64,
    /// A number.
    pub data: u64,
    /// For unprivileged devices.
    pub dev_path_len: u16,
    /// Zero.
    pub pad: u16,
    /// Zero.
    pub reserved: u32,
}

impl CtrlCmd {
    /// As the command part of a 128-byte submission entry.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[0..4].copy_from_slice(&self.dev_id.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.queue_id.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.len.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.addr.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.data.to_ne_bytes());
        bytes[24..26].copy_from_slice(&self.dev_path_len.to_ne_bytes());
        bytes
    }
}

/// Description of a device.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable,
)]
pub struct DevInfo {
    /// Queues.
    pub nr_hw_queues: u16,
    /// Tags of a queue.
    pub queue_depth: u16,
    /// See [`state`].
    pub state: u16,
    /// 0 stands for 24.
    pub io_desc_size: u16,
    /// Most bytes of a request.
    pub max_io_buf_bytes: u32,
    /// Number.
    pub dev_id: u32,
    /// Process that serves it.
    pub ublksrv_pid: i32,
    /// Zero.
    pub pad1: u32,
    /// See [`FLAGS`].
    pub flags: u64,
    /// The server's own.
    pub ublksrv_flags: u64,
    /// Who made it.
    pub owner_uid: u32,
    /// Who made it.
    pub owner_gid: u32,
    /// Zero.
    pub reserved1: u64,
    /// Zero.
    pub reserved2: u64,
}

/// Description of a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IoDesc {
    /// Operation in the low byte, flags above.
    pub op_flags: u32,
    /// Sectors.
    pub nr_sectors: u32,
    /// First sector.
    pub start_sector: u64,
    /// The buffer that was given with the fetch.
    pub addr: u64,
}

/// A command of a queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct IoCmd {
    /// Queue.
    pub q_id: u16,
    /// Tag.
    pub tag: u16,
    /// Bytes done, or a negative errno.
    pub result: i32,
    /// Buffer for the next request.
    pub addr: u64,
}

impl IoCmd {
    /// As the command part of a submission entry.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0..2].copy_from_slice(&self.q_id.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.tag.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.result.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.addr.to_ne_bytes());
        bytes
    }
}

/// `types` of [`Params`]: which of its parts count.
pub mod param {
    /// [`super::Params::basic`].
    pub const BASIC: u32 = 1;
    /// [`super::Params::discard`].
    pub const DISCARD: u32 = 1 << 1;
    /// [`super::Params::dma`].
    pub const DMA_ALIGN: u32 = 1 << 4;
}

/// `attrs` of [`ParamBasic`].
pub mod attr {
    /// Writes are refused.
    pub const READ_ONLY: u32 = 1;
    /// Flushes are wanted.
    pub const VOLATILE_CACHE: u32 = 1 << 2;
    /// A write can be made durable by itself.
    pub const FUA: u32 = 1 << 3;
}

/// Shape of the disk.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
)]
pub struct ParamBasic {
    /// See [`attr`].
    pub attrs: u32,
    /// Logical block size, as a power of two.
    pub logical_bs_shift: u8,
    /// Physical block size.
    pub physical_bs_shift: u8,
    /// Best size of a request.
    pub io_opt_shift: u8,
    /// Smallest good size of a request.
    pub io_min_shift: u8,
    /// Most sectors of a request.
    pub max_sectors: u32,
    /// No request crosses a multiple of this; 0: none.
    pub chunk_sectors: u32,
    /// Size of the disk.
    pub dev_sectors: u64,
    /// Not used.
    pub virt_boundary_mask: u64,
}

/// What the disk does with discards.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
)]
pub struct ParamDiscard {
    /// Offset of the first unit, in bytes.
    pub discard_alignment: u32,
    /// The unit in bytes.
    pub discard_granularity: u32,
    /// Most sectors of a discard.
    pub max_discard_sectors: u32,
    /// Most sectors of a write of zeros.
    pub max_write_zeroes_sectors: u32,
    /// Must be 1.
    pub max_discard_segments: u16,
    /// Zero.
    pub reserved0: u16,
}

/// The parameters, as far as the memory alignment: any prefix of the kernel's structure is taken.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
)]
pub struct Params {
    /// Bytes of the structure.
    pub len: u32,
    /// See [`param`].
    pub types: u32,
    /// Always.
    pub basic: ParamBasic,
    /// Discard.
    pub discard: ParamDiscard,
    /// Filled in by the kernel: numbers of the device nodes.
    pub devt: [u32; 4],
    /// Zoned devices: not ours.
    pub zoned: [u32; 8],
    /// Memory alignment mask.
    pub dma_alignment: u32,
    /// Zero.
    pub dma_pad: u32,
    /// Zero: what follows is aligned to 8 bytes.
    pub end_pad: u32,
}

const _: () = {
    assert!(size_of::<CtrlCmd>() == 32);
    assert!(size_of::<DevInfo>() == 64);
    assert!(size_of::<IoDesc>() == 24);
    assert!(size_of::<IoCmd>() == 16);
    assert!(size_of::<ParamBasic>() == 32);
    assert!(size_of::<ParamDiscard>() == 20);
    assert!(size_of::<Params>() == 8 + 32 + 20 + 16 + 32 + 8 + 4);
};
