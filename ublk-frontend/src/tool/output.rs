//! Where results and warnings go. A reader that goes away (`| head`) ends the output, not the command.

use std::fmt::Display;
use std::io::{self, Write};

use super::ToolError;

/// Standard output, or what stands for it.
///
/// After the reader has gone, writing is silently skipped and [`Output::is_closed`] is true, so that long lists can stop.
#[derive(Debug)]
pub struct Output<W: Write> {
    out: W,
    closed: bool,
}

impl<W: Write> Output<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Output<W> {
        Output { out, closed: false }
    }

    /// True once the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Prints a line.
    pub fn line(&mut self, text: impl Display) -> Result<(), ToolError> {
        self.attempt(|out| writeln!(out, "{text}"))
    }

    /// Prints text without an end of line.
    pub fn text(&mut self, text: impl Display) -> Result<(), ToolError> {
        self.attempt(|out| write!(out, "{text}"))
    }

    /// Prints a value as indented JSON.
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), ToolError> {
        let text = serde_json::to_string_pretty(value).map_err(|e| ToolError::Output(e.into()))?;
        self.line(text)
    }

    /// Prints a value as JSON on one line.
    pub fn json_line(&mut self, value: &impl serde::Serialize) -> Result<(), ToolError> {
        let text = serde_json::to_string(value).map_err(|e| ToolError::Output(e.into()))?;
        self.line(text)
    }

    /// Hands everything over to the reader.
    pub fn flush(&mut self) -> Result<(), ToolError> {
        self.attempt(W::flush)
    }

    fn attempt(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) -> Result<(), ToolError> {
        if self.closed {
            return Ok(());
        }
        match write(&mut self.out) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.map_err(ToolError::Output),
        }
    }
}

/// Prints one line on standard error. Control characters (file names may hold them) are escaped, so it stays one line.
/// Nobody can be told if this fails, so a failure is ignored.
pub fn complain(kind: &str, message: impl Display) {
    let text = one_line(&message.to_string());
    let _ = writeln!(io::stderr().lock(), "ploop-ublk: {kind}: {text}");
}

fn one_line(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is_one() {
        let mut gone = Output::new(Closed);
        gone.line("x").expect("no error");
        assert!(gone.is_closed());
        assert!(matches!(
            Output::new(Full).line("x"),
            Err(ToolError::Output(_))
        ));
    }

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[0m é"), "a\\nb\\u{1b}[0m é");
    }
}
