//! Files that a commit is to remove, found by what a scan calls them.

use std::collections::{HashMap, HashSet};

use deltalake_core::kernel::{LogicalFileView, Remove};
use percent_encoding::percent_decode_str;

use super::head::Size;
use super::write::require_same_paths;
use super::{Snapshot, Table};
use crate::error::{Error, Result};
use crate::identity::Version;

/// The path of a file, however its writer encoded it.
pub(super) fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Files of a table that are to go.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) removes: Vec<Remove>,
    pub(crate) size: Size,
    /// Paths of these, decoded.
    paths: HashSet<String>,
    /// What a scan calls those of them that have rows which stay.
    pub(crate) with_others: Vec<String>,
}

impl Default for Removal {
    fn default() -> Self {
        let size = Size { rows: Some(0), ..Size::default() };
        Self { removes: Vec::new(), size, paths: HashSet::new(), with_others: Vec::new() }
    }
}

impl Removal {
    /// These and `other`.
    pub(crate) fn and(&mut self, other: Self) {
        self.size = self.size.plus(other.size);
        self.removes.extend(other.removes);
        self.paths.extend(other.paths);
    }

    pub(super) fn of(files: &[LogicalFileView]) -> Self {
        let mut removal = Self::default();
        for file in files {
            removal.size = removal.size.plus(Size::of_file(file));
            removal.paths.insert(file.path().into_owned());
            removal.removes.push(file.remove_action(true));
        }
        removal
    }
}

impl Snapshot {
    /// All files.
    pub(crate) fn removal_of_all(&self) -> Result<Removal> {
        let removal = Removal::of(&self.state.log_data().iter().collect::<Vec<_>>());
        require_same_paths(&self.state, &removal.removes)?;
        Ok(removal)
    }

    /// The files that a scan calls so, each with the number of its rows that go.
    pub(crate) fn removal(&self, table: &Table, going: &HashMap<String, u64>) -> Result<Removal> {
        let root = table.log.root_url();
        let root = root.as_str().trim_end_matches('/');
        let mut by_path = HashMap::new();
        for (name, rows) in going {
            let path = name.strip_prefix(root).map(|path| path.trim_start_matches('/'));
            let path =
                path.ok_or_else(|| Error::internal("a scan named a file of another table"))?;
            by_path.insert(decoded(path), (name, *rows));
        }
        let files: Vec<LogicalFileView> = self
            .state
            .log_data()
            .iter()
            .filter(|file| by_path.contains_key(file.path().as_ref()))
            .collect();
        if files.len() != going.len() {
            return Err(Error::internal("a scan named files that the table's log has not"));
        }
        let mut removal = Removal::of(&files);
        for file in &files {
            if let Some((name, rows)) = by_path.get(file.path().as_ref())
                && Size::of_file(file).rows != Some(*rows)
            {
                removal.with_others.push((*name).clone());
            }
        }
        require_same_paths(&self.state, &removal.removes)?;
        Ok(removal)
    }
}

/// What others committed after a version.
#[derive(Debug, Default)]
pub(crate) struct Since {
    /// Files that came, as the log calls them.
    pub(crate) added: Vec<String>,
    /// Whether a file of the removal went, or all that is known of how files are read.
    pub(crate) is_other: bool,
}

/// Files that came, in a version that has them all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) version: Version,
    /// As the log calls them.
    pub(crate) files: Vec<String>,
}

impl Table {
    /// The files with rows that came after version `from`, up to and with `to`. None where rows went as well, or all changed
    /// that is known of how files are read; files that were only put together are passed over.
    pub(crate) async fn came(&self, from: u64, to: u64) -> Result<Option<Vec<Came>>> {
        let (mut came, mut files) = (Vec::new(), Vec::new());
        for version in from + 1..=to {
            let Some(entry) = self.entry_at(version).await? else { return Ok(None) };
            if entry.only_moves() {
                // What lies elsewhere from here on is read where it lay.
                if !files.is_empty() {
                    let version = Version(version - 1);
                    came.push(Came { version, files: std::mem::take(&mut files) });
                }
            } else if entry.changes_more_than_rows() || !entry.removes.is_empty() {
                return Ok(None);
            } else {
                files.extend(entry.added_paths);
            }
        }
        if !files.is_empty() {
            came.push(Came { version: Version(to), files });
        }
        Ok(Some(came))
    }

    /// What came after version `from`, up to and with `to`, to one who is about to remove `removal`.
    pub(crate) async fn since(&self, from: u64, to: u64, removal: &Removal) -> Result<Since> {
        let mut since = Since::default();
        for version in from + 1..=to {
            let Some(entry) = self.entry_at(version).await? else {
                return Ok(Since { is_other: true, ..since });
            };
            since.is_other |= entry.changes_more_than_rows();
            // A file that came and went between.
            since.is_other |= entry.removes.iter().any(|remove| {
                removal.paths.contains(&decoded(&remove.path))
                    || removal.paths.contains(&remove.path)
            }) || (!entry.removes.is_empty() && !since.added.is_empty());
            since.added.extend(entry.added_paths);
        }
        Ok(since)
    }
}
