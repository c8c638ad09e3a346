//! One word to a server.

use std::io::Write;
use std::time::Duration;

use super::served::Named;
use super::topology::{being_changed, served_soon};
use super::{folder, refused};
use crate::cli::Quiesce;
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::socket::{Answer, Question, ask};
use crate::ublk::state::Folder;

/// How long a server that has been told to end may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the server of a device. `None`: it has none.
pub(crate) fn question(
    folder: &Folder,
    id: u32,
    question: Question,
) -> Result<Option<Answer>, ToolError> {
    let path = folder.file(id, "sock");
    ask(&path, question).map_err(ToolError::io(&path, "ask"))
}

/// A word to the server of a device, which must have one.
pub(crate) fn tell(folder: &Folder, id: u32, word: Question) -> Result<(), ToolError> {
    match question(folder, id, word)? {
        None => Err(refused(format!("device {id} has no server"))),
        Some(Answer::Refused(why)) => Err(refused(format!("device {id}: {why}"))),
        Some(_) => Ok(()),
    }
}

/// The same to the server that it has soon: another command may have changed the device just now.
pub(super) fn tell_soon(folder: &Folder, id: u32, word: Question) -> Result<(), ToolError> {
    served_soon(folder, id)?;
    tell(folder, id, word).or_else(|_| {
        served_soon(folder, id)?;
        tell(folder, id, word)
    })
}

/// The disk waits for the next server.
pub fn quiesce(asked: &Quiesce, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder()?;
    // A command that changes the device needs its server, and gives it one in the end.
    let changing = folder.begin_change(asked.id)?;
    let _changing = changing.ok_or_else(|| refused(being_changed(asked.id)))?;
    tell(&folder, asked.id, Question::Quiesce)?;
    // It has answered, and may not be gone: only then the images are free, and `list` says so.
    if folder.lock_within(asked.id, PATIENCE)?.is_none() {
        let seconds = PATIENCE.as_secs();
        let why = format!(
            "device {}: it is quiesced, and its server has not ended within {seconds} s",
            asked.id
        );
        return Err(refused(why));
    }
    match asked.json {
        true => out.json_line(&Named::of(asked.id)),
        false => Ok(()),
    }
}
