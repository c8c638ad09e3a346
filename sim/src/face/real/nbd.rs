//! A client of an NBD server: fixed newstyle handshake, `NBD_OPT_GO`, simple replies; one request at a time.
//!
//! What the server cannot do is done otherwise: FUA by a flush, zeros by a write of zeros, a trim not at all. A server
//! without a flush is refused: nothing could be promised about it.

mod handshake;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ploop_core::units::SECTOR_BYTES;

use crate::face::Device;
use handshake::Export;

/// A server that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISCONNECT: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_TRIM: u16 = 4;
const CMD_WRITE_ZEROES: u16 = 6;

/// Durable when answered.
const FUA: u16 = 1;
/// Zeros that take up space.
const NO_HOLE: u16 = 2;

/// A stream of bytes both ways.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// See the module.
pub(super) struct Client {
    stream: Box<dyn Stream>,
    export: Export,
    cookie: u64,
}

impl Client {
    /// Connects to a socket of the file system.
    pub(super) fn unix(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Client::new(Box::new(stream))
    }

    /// Connects to `HOST:PORT`.
    pub(super) fn tcp(at: &str) -> io::Result<Client> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in at.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    stream.set_nodelay(true)?;
                    return Client::new(Box::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn new(mut stream: Box<dyn Stream>) -> io::Result<Client> {
        let export = handshake::shake(&mut stream)?;
        Ok(Client {
            stream,
            export,
            cookie: 0,
        })
    }

    /// Smallest request, in sectors.
    pub(super) fn block(&self) -> u64 {
        u64::from(self.export.block).div_ceil(SECTOR_BYTES).max(1)
    }

    /// Refuses an export that is too small, read only or without a flush.
    pub(super) fn must_hold(&self, sectors: u64) -> Result<(), String> {
        let (size, wanted) = (self.export.size, sectors * SECTOR_BYTES);
        if size < wanted {
            return Err(format!(
                "the export has {size} bytes, the scenario needs {wanted}"
            ));
        }
        if self.export.can(handshake::READ_ONLY) {
            return Err("the export is read only".to_owned());
        }
        if !self.export.can(handshake::SEND_FLUSH) {
            return Err("the server has no flush: nothing it says could be relied upon".to_owned());
        }
        Ok(())
    }

    fn send(&mut self, command: u16, flags: u16, at: u64, len: usize) -> io::Result<()> {
        self.cookie += 1;
        let len = u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut request = Vec::with_capacity(28);
        request.extend(REQUEST.to_be_bytes());
        request.extend(flags.to_be_bytes());
        request.extend(command.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(at.to_be_bytes());
        request.extend(len.to_be_bytes());
        self.stream.write_all(&request)
    }

    /// Waits for the answer to the request just sent; the data of a read follows it.
    fn answer(&mut self) -> io::Result<()> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        let word = |at: usize| {
            u32::from_be_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]])
        };
        let cookie = u64::from(word(8)) << 32 | u64::from(word(12));
        if word(0) != REPLY || cookie != self.cookie {
            return Err(broken("an answer that belongs to no request"));
        }
        match word(4) {
            0 => Ok(()),
            // NBD numbers its errors as Linux does.
            number => Err(i32::try_from(number)
                .map_or_else(|_| broken("an unknown error"), io::Error::from_raw_os_error)),
        }
    }

    fn change(&mut self, command: u16, flags: u16, start: u64, sectors: u64) -> io::Result<()> {
        let len = crate::face::bytes(sectors);
        self.send(command, flags, start * SECTOR_BYTES, len)?;
        self.stream.flush()?;
        self.answer()
    }

    fn put(&mut self, flags: u16, start: u64, from: &[u8]) -> io::Result<()> {
        self.send(CMD_WRITE, flags, start * SECTOR_BYTES, from.len())?;
        self.stream.write_all(from)?;
        self.stream.flush()?;
        self.answer()
    }
}

/// A server that does not keep to the protocol.
fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("NBD: {what}"))
}

impl Device for Client {
    fn read(&mut self, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.send(CMD_READ, 0, start * SECTOR_BYTES, into.len())?;
        self.stream.flush()?;
        self.answer()?;
        self.stream.read_exact(into)
    }

    fn write(&mut self, start: u64, from: &[u8]) -> io::Result<()> {
        self.put(0, start, from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.change(CMD_FLUSH, 0, 0, 0)
    }

    fn write_fua(&mut self, start: u64, from: &[u8]) -> io::Result<()> {
        if self.export.can(handshake::SEND_FUA) {
            return self.put(FUA, start, from);
        }
        self.put(0, start, from)?;
        self.flush()
    }

    fn write_zeroes(&mut self, start: u64, sectors: u64, unmap: bool) -> io::Result<()> {
        if self.export.can(handshake::SEND_WRITE_ZEROES) {
            let flags = if unmap { 0 } else { NO_HOLE };
            return self.change(CMD_WRITE_ZEROES, flags, start, sectors);
        }
        self.put(0, start, &vec![0; crate::face::bytes(sectors)])
    }

    fn discard(&mut self, start: u64, sectors: u64) -> io::Result<()> {
        if self.export.can(handshake::SEND_TRIM) {
            return self.change(CMD_TRIM, 0, start, sectors);
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The server sees the end of the connection as well.
        let _ = self.send(CMD_DISCONNECT, 0, 0, 0);
        let _ = self.stream.flush();
    }
}
