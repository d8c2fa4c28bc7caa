//! The catalogue: every dataset of a tenant as one immutable snapshot.
//!
//! It is a cache over the store, rebuilt by listing it, and never a second truth: what a dataset is
//! stands in its own table. Readers take an `Arc` and keep it for as long as their request lasts.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datasets::{DatasetName, DatasetSpec, did_you_mean};

use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, Role, TenantId, Version};
use crate::lake::{ColumnIds, was_dropped};

/// All datasets of one tenant at one moment.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Whose.
    pub tenant: TenantId,
    /// The datasets by name, quarantines included.
    pub datasets: BTreeMap<DatasetName, DatasetEntry>,
    /// Datasets that Colonnade or its clients will make and that are not there yet: each is shown as empty, at the version that
    /// will be its first.
    pub expected: BTreeMap<DatasetName, DatasetEntry>,
    /// Datasets that are dropped and can be restored, with the instant.
    pub dropped: BTreeMap<DatasetName, DateTime<Utc>>,
    /// Folders that look like datasets and can't be read, with the reason.
    pub unreadable: BTreeMap<DatasetName, Error>,
    /// Changes only when the set of datasets or a spec changes, not with every commit.
    pub generation: u64,
}

/// One dataset at its newest version.
#[derive(Clone, Debug)]
pub struct DatasetEntry {
    /// What it holds.
    pub spec: DatasetSpec,
    /// Its newest version.
    pub version: Version,
    /// Rows at that version, when every file states its count.
    pub rows: Option<u64>,
    /// Bytes of its data files.
    pub bytes: u64,
    /// Number of its data files.
    pub files: u64,
    /// When it was created, when its metadata says so.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last committed to.
    pub updated_at: Option<DateTime<Utc>>,
    /// Whether some of its rows, or columns as they are, are kept back from the one who asked for this.
    pub is_part: bool,
    /// Columns that are shown to the one who asked for this, behind a mask.
    pub masked: Vec<String>,
    /// Bytes that rows of it take, where they are wider than usual; else 0.
    pub(crate) row_bytes: u64,
    /// Which columns these are.
    pub(crate) column_ids: Arc<ColumnIds>,
    /// When it was dropped, where it is.
    pub(crate) dropped_at: Option<DateTime<Utc>>,
    /// Whether it was taken back before it had a row.
    pub(crate) is_unmade: bool,
}

/// When a table was made, and how often columns of it were renamed, dropped or given another type.
pub type TableIdentity = (Option<DateTime<Utc>>, u64);

impl DatasetEntry {
    /// What differs where rows that were read of it before are of another table, or have columns that fit it no more, though names and
    /// versions are the same.
    pub fn identity(&self) -> TableIdentity {
        (self.created_at, self.column_ids.reshaped)
    }
}

impl Engine {
    /// The caller's datasets that were last found unreadable or damaged.
    pub fn unreadable_of(&self, who: &Principal) -> Result<Vec<DatasetName>> {
        who.require(Role::Admin)?;
        Ok(self.rooms().lake.unreadable_of(&who.tenant))
    }
}

/// Most datasets of one tenant that clients make more of.
pub(crate) const DATASETS_MAX: usize = 1_000;
/// Most columns of all of them together, and fields of structures in these: each is some types and fields of the tenant's GraphQL schema.
pub(crate) const COLUMNS_MAX: usize = 10_000;

impl Catalog {
    /// Fails where the tenant may not have so many more datasets and columns.
    pub(crate) fn require_room(&self, datasets: usize, columns: usize) -> Result<()> {
        let there: usize = self.datasets.values().map(|entry| entry.spec.width()).sum();
        for (what, there, more, most) in [
            ("datasets", self.datasets.len() + self.dropped.len(), datasets, DATASETS_MAX),
            ("columns and fields in all its datasets", there, columns, COLUMNS_MAX),
        ] {
            if more > 0 && there + more > most {
                let tenant = &self.tenant;
                let says = format!(
                    "tenant {tenant} has {there} {what}, and {more} more would be over the limit of {most}"
                );
                return Err(Error::user(Code::LimitExceeded, says));
            }
        }
        Ok(())
    }

    /// The entry of `dataset`, where it is there or expected.
    pub fn with_expected(&self, dataset: &DatasetName) -> Option<&DatasetEntry> {
        self.datasets.get(dataset).or_else(|| self.expected.get(dataset))
    }

    /// The version at which `dataset` is shown, where it is there or expected; NOT_FOUND names those that are spelt alike.
    pub fn shown_at(&self, dataset: &DatasetName) -> Result<Version> {
        let shown = self.with_expected(dataset).map(|entry| entry.version);
        shown.ok_or_else(|| self.unknown(dataset.as_str()))
    }

    /// The datasets that are there or expected, by name.
    pub fn shown(&self) -> impl Iterator<Item = (&DatasetName, &DatasetEntry)> {
        let mut all: Vec<_> = self.datasets.iter().chain(&self.expected).collect();
        all.sort_by_key(|(name, _)| *name);
        all.into_iter()
    }

    /// The entry of `dataset`; NOT_FOUND names those that are spelt alike.
    pub fn dataset(&self, dataset: &DatasetName) -> Result<&DatasetEntry> {
        self.datasets.get(dataset).ok_or_else(|| self.unknown(dataset.as_str()))
    }

    /// Whether there is a dataset of this name; an error where there is one that can not be read.
    pub fn has(&self, dataset: &DatasetName) -> Result<bool> {
        match self.unreadable.get(dataset) {
            Some(reason) => Err(reason.clone()),
            None => Ok(self.datasets.contains_key(dataset)),
        }
    }

    /// The error for a name that no dataset has.
    pub fn unknown(&self, name: &str) -> Error {
        if let Some((_, reason)) = self.unreadable.iter().find(|(n, _)| n.as_str() == name) {
            return reason.clone();
        }
        if let Some((name, at)) = self.dropped.iter().find(|(n, _)| n.as_str() == name) {
            return was_dropped(name, *at);
        }
        let near = did_you_mean(name, self.datasets.keys().map(DatasetName::as_str));
        let says =
            near.unwrap_or_else(|| format!("{} datasets are in this tenant", self.datasets.len()));
        let shown: String = name.chars().take(80).collect();
        Error::user(Code::NotFound, format!("dataset {shown} does not exist; {says}"))
    }
}
