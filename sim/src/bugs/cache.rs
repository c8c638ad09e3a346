//! What earlier runs found, a file each. Never trusted across a change of the source, the patch or the engine.

use super::patch::Patch;
use super::{Engine, Verdict};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// FNV-1a, of pieces told apart by their lengths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xCBF2_9CE4_8422_2325)
    }
}

impl Hash {
    /// Adds a piece.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let len = (bytes.len() as u64).to_le_bytes();
        for &byte in len.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// The number.
    pub(super) fn value(self) -> u64 {
        self.0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    source: u64,
    fresh: bool,
}

impl Cache {
    /// In `folder`, for this source. `fresh`: nothing is known.
    pub(super) fn new(folder: &Path, source: u64, fresh: bool) -> Cache {
        Cache {
            folder: folder.to_path_buf(),
            source,
            fresh,
        }
    }

    /// The file of a result.
    pub(super) fn key(&self, patch: &Patch, engine: Engine) -> PathBuf {
        let mut hash = Hash(self.source);
        hash.add(patch.text.as_bytes());
        hash.add(engine.name().as_bytes());
        hash.add(patch.tests(engine).join(" ").as_bytes());
        self.folder.join(format!(
            "{}-{engine}-{:016x}.json",
            patch.number,
            hash.value()
        ))
    }

    /// A result, if it answers the question: found, or not found with at least this budget.
    pub(super) fn get(&self, key: &Path, budget: Duration) -> Option<Verdict> {
        if self.fresh {
            return None;
        }
        let verdict: Verdict = serde_json::from_slice(&fs::read(key).ok()?).ok()?;
        let answers = verdict.found.is_some() || verdict.budget >= budget.as_secs_f64();
        answers.then_some(verdict)
    }

    /// Keeps a result. One that cannot be kept is found again.
    pub(super) fn put(&self, key: &Path, verdict: &Verdict) {
        let _ = fs::create_dir_all(&self.folder);
        if let Ok(bytes) = serde_json::to_vec(verdict) {
            let _ = fs::write(key, bytes);
        }
    }
}
