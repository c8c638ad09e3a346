//! The beginning of a connection: who is there, and what the default export is like.
//!
//! ```text
//!   server: "NBDMAGIC" "IHAVEOPT" flags ─▶ client: flags, NBD_OPT_GO ─▶ server: infos, then an acknowledgement
//! ```

use std::io::{self, Read, Write};

use super::broken;

const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;

const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// Longest text or list of a reply that is read.
const MOST: u32 = 1 << 16;

pub(super) const READ_ONLY: u16 = 1 << 1;
pub(super) const SEND_FLUSH: u16 = 1 << 2;
pub(super) const SEND_FUA: u16 = 1 << 3;
pub(super) const SEND_TRIM: u16 = 1 << 5;
pub(super) const SEND_WRITE_ZEROES: u16 = 1 << 6;

/// What a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Export {
    /// In bytes.
    pub(super) size: u64,
    pub(super) flags: u16,
    /// Smallest request, in bytes.
    pub(super) block: u32,
}

impl Export {
    /// True if a flag is set.
    pub(super) fn can(self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

fn take<const N: usize>(stream: &mut (impl Read + ?Sized)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|word| u16::from_be_bytes(*word))
        .ok_or_else(short)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|word| u32::from_be_bytes(*word))
        .ok_or_else(short)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|word| u64::from_be_bytes(*word))
        .ok_or_else(short)
}

fn short() -> io::Error {
    broken("a reply that is too short")
}

/// Shakes hands and asks for the default export.
pub(super) fn shake(stream: &mut (impl Read + Write + ?Sized)) -> io::Result<Export> {
    let greeting: [u8; 18] = take(stream)?;
    if u64_at(&greeting, 0)? != NBD_MAGIC || u64_at(&greeting, 8)? != OPTION_MAGIC {
        return Err(broken("no server of the newstyle kind"));
    }
    let flags = u16_at(&greeting, 16)?;
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(broken("the server is too old"));
    }
    let mut hello = Vec::new();
    hello.extend(u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes());
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend(OPT_GO.to_be_bytes());
    // Name of no letters, one question.
    hello.extend(8_u32.to_be_bytes());
    hello.extend(0_u32.to_be_bytes());
    hello.extend(1_u16.to_be_bytes());
    hello.extend(INFO_BLOCK_SIZE.to_be_bytes());
    stream.write_all(&hello)?;
    stream.flush()?;
    let mut export = Export {
        size: 0,
        flags: 0,
        block: 1,
    };
    loop {
        let head: [u8; 20] = take(stream)?;
        let (kind, len) = (u32_at(&head, 12)?, u32_at(&head, 16)?);
        if u64_at(&head, 0)? != OPTION_REPLY || u32_at(&head, 8)? != OPT_GO || len > MOST {
            return Err(broken("a reply that answers nothing"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match kind {
            REP_ACK => return Ok(export),
            REP_INFO => match u16_at(&data, 0)? {
                INFO_EXPORT => {
                    export.size = u64_at(&data, 2)?;
                    export.flags = u16_at(&data, 10)?;
                }
                INFO_BLOCK_SIZE => export.block = u32_at(&data, 2)?,
                _ => {}
            },
            error if error & REP_ERROR != 0 => {
                let text = String::from_utf8_lossy(&data);
                return Err(broken(&format!("refused ({}): {text}", error & !REP_ERROR)));
            }
            other => return Err(broken(&format!("a reply of kind {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that has said everything already.
    struct Said(io::Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Write for Said {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            Ok(from.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn greeting(flags: u16) -> Vec<u8> {
        let magics = [NBD_MAGIC.to_be_bytes(), OPTION_MAGIC.to_be_bytes()];
        [&magics.concat()[..], &flags.to_be_bytes()].concat()
    }

    fn reply(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut reply = OPTION_REPLY.to_be_bytes().to_vec();
        reply.extend(OPT_GO.to_be_bytes());
        reply.extend(kind.to_be_bytes());
        reply.extend((data.len() as u32).to_be_bytes());
        reply.extend(data);
        reply
    }

    fn shaken(parts: &[Vec<u8>]) -> Result<Export, String> {
        shake(&mut Said(io::Cursor::new(parts.concat()))).map_err(|error| error.to_string())
    }

    #[test]
    fn an_export_is_understood() {
        let info = [&[0, 0][..], &4096_u64.to_be_bytes(), &[0, 5]].concat();
        let block = [&[0, 3][..], &1024_u32.to_be_bytes(), &[0; 8]].concat();
        let said = [
            greeting(3),
            reply(REP_INFO, &info),
            reply(REP_INFO, &block),
            reply(REP_ACK, &[]),
        ];
        let export = Export {
            size: 4096,
            flags: 5,
            block: 1024,
        };
        assert_eq!(shaken(&said), Ok(export));
        assert!(export.can(SEND_FLUSH) && !export.can(READ_ONLY));
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for (said, why) in [
            (vec![vec![0; 18]], "newstyle"),
            (vec![greeting(0)], "too old"),
            (
                vec![greeting(3), reply(REP_ERROR | 6, b"no such export")],
                "no such export",
            ),
            (vec![greeting(3), reply(REP_INFO, &[0])], "too short"),
            (vec![greeting(3), vec![0; 20]], "answers nothing"),
            (vec![greeting(3)], "failed to fill"),
        ] {
            let error = shaken(&said).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
