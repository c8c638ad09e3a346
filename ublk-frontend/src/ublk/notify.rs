//! Telling systemd how it goes (`sd_notify`): datagrams to the socket that `NOTIFY_SOCKET` names.
//!
//! The socket is connected at the start: once the server has let go of its mounts, the name leads nowhere.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Who wants to be told, if anybody does.
#[derive(Debug)]
pub struct Listener {
    socket: Option<UnixDatagram>,
}

impl Listener {
    /// As the environment says.
    pub fn from_env() -> io::Result<Listener> {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Listener::at(&name),
            _ => Ok(Listener::nobody()),
        }
    }

    /// The socket of this name; one that begins with `@` is abstract.
    pub fn at(name: &OsStr) -> io::Result<Listener> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Listener {
            socket: Some(socket),
        })
    }

    /// True if somebody listens.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Nobody.
    #[must_use]
    pub fn nobody() -> Listener {
        Listener { socket: None }
    }

    /// Tells. The service works even if nobody hears it.
    pub fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_even_if_the_name_is_gone() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).expect("socket");
        let listener = Listener::at(path.as_os_str()).expect("connected");
        std::fs::remove_file(&path).expect("removed");
        listener.tell("READY=1");
        let mut message = [0; 32];
        let len = systemd.recv(&mut message).expect("told");
        assert_eq!(&message[..len], b"READY=1");
        drop(systemd);
        listener.tell("nobody hears this");
        Listener::nobody().tell("nor this");
        assert!(Listener::at(OsStr::new("/nowhere/at/all")).is_err());
    }
}
