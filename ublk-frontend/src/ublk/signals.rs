//! The signals that end a server.

use std::io;
use std::os::unix::net::UnixStream;

/// Becomes readable when the process is told to end.
pub(super) fn pipe() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        // Under `nohup` the end of the terminal is nobody's business.
        if signal != signal_hook::consts::SIGHUP || !is_ignored(signal) {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
    }
    Ok(read)
}

/// True if whoever started this process wants the signal to be ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
