//! `create`: an empty image.

use std::io::Write;

use ploop_core::format::Version;
use ploop_core::units::Sectors;
use serde::Serialize;

use super::ToolError;
use super::load::name_of;
use super::output::Output;
use super::sink::Sink;
use crate::cli::Create;

/// A file that was made, in JSON: `create`, `convert`. The keys are those of `info`. Sizes are in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Made {
    filename: String,
    format: &'static str,
    virtual_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u8>,
}

impl Made {
    /// An image.
    pub(super) fn image(
        filename: String,
        version: Version,
        cluster: Sectors,
        size: Sectors,
    ) -> Made {
        Made {
            filename,
            format: "parallels",
            virtual_size: size.bytes(),
            cluster_size: Some(cluster.bytes()),
            version: Some(match version {
                Version::V1 => 1,
                Version::V2 => 2,
            }),
        }
    }

    /// A raw disk.
    pub(super) fn raw(filename: String, size: Sectors) -> Made {
        Made {
            filename,
            format: "raw",
            virtual_size: size.bytes(),
            cluster_size: None,
            version: None,
        }
    }
}

/// Makes the image. Nothing appears under its name unless all of it is durable.
pub fn run(asked: &Create, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let (version, cluster, size) = (
        asked.shape.version.into(),
        asked.shape.cluster.0,
        asked.size.0,
    );
    Sink::image(&asked.image, version, cluster, size)?.finish()?;
    if !asked.json {
        return Ok(());
    }
    out.json_line(&Made::image(name_of(&asked.image), version, cluster, size))
}
