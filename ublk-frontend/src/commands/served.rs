//! Devices in JSON: what `add`, `recover`, `del`, `quiesce`, `resize` and `set` say of them. One line each, so that a script takes it as it
//! takes the bare path. Sizes are in bytes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ublk::ctrl::disk_node;
use crate::ublk::report::Report;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    id: u32,
    device: PathBuf,
}

impl Named {
    /// The device of this number.
    pub(crate) fn of(id: u32) -> Named {
        Named {
            id,
            device: disk_node(id),
        }
    }
}

/// A device that can be used. `info` has all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Served {
    /// Number.
    pub(crate) id: u32,
    device: PathBuf,
    /// The server.
    pid: u32,
    size: u64,
    cluster_size: u64,
    block_size: u32,
    read_only: bool,
    zero_copy: bool,
    images: Vec<PathBuf>,
    /// It had lost its server, and has another one now.
    recovered: bool,
}

impl Served {
    /// What there is to say of a device.
    pub(crate) fn of(report: &Report, recovered: bool) -> Served {
        Served {
            id: report.id,
            device: report.device.clone(),
            pid: report.pid,
            size: report.size,
            cluster_size: report.cluster_size,
            block_size: report.block_size,
            read_only: report.read_only,
            zero_copy: report.zero_copy,
            images: report.images.clone(),
            recovered,
        }
    }

    /// What a server in the background has said.
    pub(crate) fn parse(said: &str) -> Option<Served> {
        serde_json::from_str(said).ok()
    }
}

/// Number of the device that a server in the background has told of, in either form.
pub(crate) fn number_in(said: &str) -> Option<u32> {
    let path = std::path::Path::new(said);
    super::device_number(path).or_else(|| Served::parse(said).map(|served| served.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_one_line_and_names_the_device_in_either_form() {
        let report = Report {
            id: 7,
            device: disk_node(7),
            images: vec!["/a b\n".into()],
            size: 1 << 20,
            ..Report::default()
        };
        let served = Served::of(&report, true);
        let line = serde_json::to_string(&served).expect("JSON");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(
            line.starts_with(r#"{"id":7,"device":"/dev/ublkb7","pid":0,"size":1048576,"#),
            "{line}"
        );
        assert_eq!(Served::parse(&line), Some(served));
        assert_eq!(number_in(&line), Some(7));
        assert_eq!(number_in("/dev/ublkb7"), Some(7));
        assert_eq!(number_in("hello"), None);
    }
}
