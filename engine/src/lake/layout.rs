//! Which files of a table are to be put together.
//!
//! Every commit leaves files of its own, and a reader opens each. Files of about one size are put together when there are many of
//! them, into one that is larger than each: so a row is written again a few times only, however many commits come after it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use deltalake_core::kernel::{Add, LogicalFileView};

use super::data_files::FILE_BYTES;
use super::removal::Removal;
use super::write::require_same_paths;
use super::{Snapshot, Table};
use crate::error::{Error, Result};

/// How files lie that are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Files of up to a quarter of so many bytes are put together, into ones of up to so many.
    pub file_bytes: u64,
    /// In which order rows lie in a file.
    pub order: RowOrder,
}

impl Default for Layout {
    fn default() -> Self {
        Self { file_bytes: FILE_BYTES, order: RowOrder::AsTheyCame }
    }
}

/// In which order rows lie in a file: who asks for few of them by that passes over the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// That in which they came.
    #[default]
    AsTheyCame,
    /// By the dataset's time, where it has one.
    Time,
    /// By its key, where it has one.
    Key,
}

/// Files of one partition and about one size from which on they are put together.
pub(crate) const FILES_MANY: usize = 32;
/// Files of this part of the size that is wanted are left as they are.
const LARGE: u64 = 4;
/// The largest files of the lowest class of sizes. Those of the next are up to eight times as large, and so on.
const LOWEST_CLASS_BYTES: u64 = 64 << 10;

/// Which files are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Those of which there are many.
    Many,
    /// All that are small, and those that say nothing of their rows, as some other writers leave them: nothing of such a file can be
    /// passed over.
    Small(Layout),
}

impl Extent {
    pub(crate) fn layout(self) -> Layout {
        match self {
            Self::Many => Layout::default(),
            Self::Small(layout) => layout,
        }
    }
}

/// The property of a table by which its checkpoints leave statistics out.
const STATISTICS_KEPT: &str = "delta.checkpoint.writeStatsAsJson";

/// What is put together at once, at most, so that others wait for no more, unless one file becomes larger.
const BYTES_AT_ONCE: u64 = FILE_BYTES;
const BINS_AT_ONCE: usize = 64;

/// The actions that added files which become one.
#[derive(Debug)]
pub(crate) struct Bin(pub(crate) Vec<Add>);

impl Bin {
    /// What the log calls the files.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let name = |add: &Add| {
            let written = serde_json::to_value(add);
            let written = written.map_err(|e| Error::bug("an added file as JSON", e))?;
            let path = written.get("path").and_then(serde_json::Value::as_str);
            path.map(str::to_owned).ok_or_else(|| Error::internal("an added file has no path"))
        };
        self.0.iter().map(name).collect()
    }
}

/// Files of which some become one each.
#[derive(Debug, Default)]
pub(crate) struct Bins {
    pub(crate) files: Vec<Bin>,
    /// Rows of each, where every file says how many it has.
    pub(crate) rows: Vec<Option<u64>>,
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
    /// The next files that are to be put together, each bin's oldest first.
    pub(crate) fn bins(&self, extent: Extent) -> Result<Bins> {
        let mut groups: BTreeMap<_, Vec<LogicalFileView>> = BTreeMap::new();
        let file_bytes = extent.layout().file_bytes;
        // Where checkpoints leave statistics out, they would be gone with the next.
        let configuration = self.state.metadata().configuration();
        let is_kept = configuration.get(STATISTICS_KEPT).is_none_or(|kept| kept != "false");
        let says_nothing = |file: &LogicalFileView| {
            extent != Extent::Many && is_kept && file.num_records().is_none()
        };
        let mut bins = Vec::new();
        for file in self.state.log_data().iter() {
            let bytes = bytes_of(&file);
            if bytes >= file_bytes / LARGE {
                if says_nothing(&file) {
                    bins.push(vec![file]);
                }
                continue;
            }
            let values: BTreeMap<_, _> = file.partition_values_map().into_iter().collect();
            let class = if extent == Extent::Many { class(bytes) } else { 0 };
            groups.entry((values, class)).or_default().push(file);
        }
        let fewest = if extent == Extent::Many { FILES_MANY } else { 2 };
        let is_due =
            |files: &Vec<LogicalFileView>| files.len() >= fewest || files.iter().any(says_nothing);
        for mut files in groups.into_values().filter(is_due) {
            files.sort_by_cached_key(|file| (file.modification_time(), file.path().into_owned()));
            let (mut bin, mut bytes) = (Vec::new(), 0);
            for file in files {
                if bytes + bytes_of(&file) > file_bytes {
                    bins.push(std::mem::take(&mut bin));
                    bytes = 0;
                }
                bytes += bytes_of(&file);
                bin.push(file);
            }
            bins.push(bin);
        }
        bins.retain(|files| files.len() > 1 || files.iter().any(says_nothing));
        let mut next = Bins::default();
        for files in bins {
            let removal = Removal::of(&files);
            let is_much = next.removal.size.bytes + removal.size.bytes > BYTES_AT_ONCE;
            if !next.files.is_empty() && (is_much || next.files.len() == BINS_AT_ONCE) {
                break;
            }
            next.files.push(Bin(files.iter().map(added).collect()));
            next.rows.push(removal.size.rows);
            next.removal.and(removal);
        }
        require_same_paths(&self.state, &next.removal.removes)?;
        for remove in &mut next.removal.removes {
            remove.data_change = false;
        }
        Ok(next)
    }
}

/// The action that a file is read by.
fn added(file: &LogicalFileView) -> Add {
    Add {
        path: file.path().into_owned(),
        partition_values: file.partition_values_map(),
        size: file.size(),
        modification_time: file.modification_time(),
        data_change: true,
        stats: file.stats(),
        tags: None,
        deletion_vector: file.deletion_vector_descriptor(),
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

fn bytes_of(file: &LogicalFileView) -> u64 {
    u64::try_from(file.size()).unwrap_or_default()
}

impl Table {
    /// Whether its files were to be looked at again at as many as it has.
    pub(crate) fn is_layout_due(&self) -> bool {
        let files = self.entry().files;
        // It may have fewer than when it was looked at last.
        let most = next_look(files);
        self.layout_due.fetch_min(most, Ordering::Relaxed).min(most) <= files
    }

    /// Looks at its files again when there are half of many more.
    pub(crate) fn layout_was_seen_to(&self) {
        self.layout_due.store(next_look(self.entry().files), Ordering::Relaxed);
    }
}

/// At how many files they are looked at again, where there are `files` now.
fn next_look(files: u64) -> u64 {
    let many = FILES_MANY as u64;
    (files + many / 2).max(many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_classed_by_eights() {
        let at = |bytes| class(bytes);
        assert_eq!([at(0), at(64 << 10), at((64 << 10) + 1), at(512 << 10)], [0, 0, 1, 1]);
        assert_eq!([at((512 << 10) + 1), at(FILE_BYTES / LARGE - 1), at(u64::MAX)], [2, 3, 16]);
    }
}
