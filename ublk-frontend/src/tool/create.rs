//! `create`: an empty image.

use super::ToolError;
use super::sink::Sink;
use crate::cli::Create;

/// Makes the image. Nothing appears under its name unless all of it is durable.
pub fn run(asked: &Create) -> Result<(), ToolError> {
    Sink::image(
        &asked.image,
        asked.shape.version.into(),
        asked.shape.cluster.0,
        asked.size.0,
    )?
    .finish()
}
