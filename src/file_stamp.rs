//! Whether a file is still the one that was read: it is looked at every few seconds, and read again when it is not.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// What tells a file from the one that stood there before, through symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    changed: Option<SystemTime>,
    device: u64,
    node: u64,
    length: u64,
}

impl FileStamp {
    /// How `file` is now; `None` when it is away or cannot be looked at.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(file).ok()?;
        Some(Self {
            changed: metadata.modified().ok(),
            device: metadata.dev(),
            node: metadata.ino(),
            length: metadata.len(),
        })
    }
}
