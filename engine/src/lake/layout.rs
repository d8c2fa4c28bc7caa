//! Which files of a table are to be put together.
//!
//! Every commit leaves files of its own, and a reader opens each. Files of about one size are put together when there are many of
//! them, into one that is larger than each: so a row is written again a few times only, however many commits come after it.

use std::collections::BTreeMap;

use deltalake_core::kernel::LogicalFileView;

use super::data_files::FILE_BYTES;
use super::removal::Removal;
use super::write::require_same_paths;
use super::{Snapshot, Table};
use crate::error::{Error, Result};

/// Files of one partition and about one size from which on they are put together.
pub(crate) const FILES_MANY: usize = 32;
/// A file of this size is left as it is.
const LARGE_BYTES: u64 = FILE_BYTES / 4;
/// The largest files of the lowest class of sizes. Those of the next are up to eight times as large, and so on.
const LOWEST_CLASS_BYTES: u64 = 64 << 10;

/// Which files are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Those of which there are many.
    Many,
    /// All that are small.
    Small,
}

/// Files of one partition that become one.
#[derive(Debug)]
pub(crate) struct Bin {
    /// What a scan calls them.
    pub(crate) names: Vec<String>,
    /// That they go.
    pub(crate) removal: Removal,
}

/// What a file counts as, by its size.
fn class(bytes: u64) -> u32 {
    let mut class = 0;
    let mut most = LOWEST_CLASS_BYTES;
    while bytes > most {
        class += 1;
        most = most.saturating_mul(8);
    }
    class
}

impl Snapshot {
    /// The files that are to be put together, oldest first.
    pub(crate) fn bins(&self, extent: Extent) -> Result<Vec<Bin>> {
        let mut groups: BTreeMap<_, Vec<LogicalFileView>> = BTreeMap::new();
        for file in self.state.log_data().iter() {
            let bytes = bytes_of(&file);
            if bytes >= LARGE_BYTES {
                continue;
            }
            let values: BTreeMap<_, _> = file.partition_values_map().into_iter().collect();
            let class = if extent == Extent::Many { class(bytes) } else { 0 };
            groups.entry((values, class)).or_default().push(file);
        }
        let fewest = if extent == Extent::Many { FILES_MANY } else { 2 };
        let mut bins = Vec::new();
        for mut files in groups.into_values().filter(|files| files.len() >= fewest) {
            files.sort_by_cached_key(|file| (file.modification_time(), file.path().into_owned()));
            let (mut bin, mut bytes) = (Vec::new(), 0);
            for file in files {
                if bytes + bytes_of(&file) > FILE_BYTES {
                    bins.push(std::mem::take(&mut bin));
                    bytes = 0;
                }
                bytes += bytes_of(&file);
                bin.push(file);
            }
            bins.push(bin);
        }
        bins.retain(|files| files.len() > 1);
        bins.iter().map(|files| self.bin(files)).collect()
    }

    fn bin(&self, files: &[LogicalFileView]) -> Result<Bin> {
        let mut removal = Removal::of(files);
        require_same_paths(&self.state, &removal.removes)?;
        for remove in &mut removal.removes {
            remove.data_change = false;
        }
        // As they stand in the log, which was just made sure of.
        let names = removal.removes.iter().map(|remove| {
            let written = serde_json::to_value(remove);
            let written = written.map_err(|e| Error::bug("a remove as JSON", e))?;
            let path = written.get("path").and_then(serde_json::Value::as_str);
            Ok(path.unwrap_or_default().to_owned())
        });
        Ok(Bin { names: names.collect::<Result<_>>()?, removal })
    }
}

fn bytes_of(file: &LogicalFileView) -> u64 {
    u64::try_from(file.size()).unwrap_or_default()
}

impl Table {
    /// Whether its files were to be looked at again at as many as it has.
    pub(crate) fn is_layout_due(&self) -> bool {
        let due = self.layout_due.load(std::sync::atomic::Ordering::Relaxed);
        self.entry().files >= due
    }

    /// Looks at its files again when there are half of many more.
    pub(crate) fn layout_was_seen_to(&self) {
        let due = self.entry().files + FILES_MANY as u64 / 2;
        let due = due.max(FILES_MANY as u64);
        self.layout_due.store(due, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_classed_by_eights() {
        let at = |bytes| class(bytes);
        assert_eq!([at(0), at(64 << 10), at((64 << 10) + 1), at(512 << 10)], [0, 0, 1, 1]);
        assert_eq!([at((512 << 10) + 1), at(LARGE_BYTES - 1), at(u64::MAX)], [2, 3, 16]);
    }
}
