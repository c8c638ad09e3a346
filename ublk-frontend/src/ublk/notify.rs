//! Telling systemd how it goes (`sd_notify`): datagrams to the socket that `NOTIFY_SOCKET` names.
//!
//! The socket is connected at the start: once the server has let go of its mounts, the name leads nowhere.

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
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Ok(Listener { socket: None });
        };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Listener {
            socket: Some(socket),
        })
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
