//! The settings by which a file is loaded: the stored ones of the dataset, and those that the caller states.
//!
//! The first load that states a setting stores it in the dataset's spec, so that later files are read in the same way. A
//! setting that contradicts a stored one is an error.

use datasets::read::{Format, TextEncoding};
use datasets::{DatasetName, DatasetSpec, Evolution, KeyPolicy, LoadSettings};
use futures::future::BoxFuture;

use super::{LoadOptions, NewColumns, OnConflict};
use crate::engine::Engine;
use crate::error::Result;
use crate::identity::{Principal, Role};

impl From<KeyPolicy> for OnConflict {
    fn from(policy: KeyPolicy) -> Self {
        match policy {
            KeyPolicy::Refuse => Self::Again,
            KeyPolicy::Error => Self::Error,
            KeyPolicy::Replace => Self::Replace,
            KeyPolicy::Skip => Self::Skip,
            KeyPolicy::Add => Self::Add,
        }
    }
}

/// Whether a request has a producer's sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// A retry is recognized by its number.
    Numbered,
    /// A retry is a new request.
    Unnumbered,
}

impl OnConflict {
    /// The policy for a load into a dataset of `spec`. If neither states one, a numbered request adds its rows, because its
    /// number already makes retries safe.
    pub(crate) fn resolved(self, spec: &DatasetSpec, numbering: Numbering) -> Self {
        match (self, spec.load.on_conflict) {
            (Self::Stored, Some(policy)) => policy.into(),
            (Self::Stored, None) if numbering == Numbering::Numbered => Self::Add,
            (Self::Stored, None) => Self::Again,
            (stated, _) => stated,
        }
    }
}

impl Engine {
    /// The dataset's policy, for a request that states none. Without a key and a stored policy, rows are added: two equal
    /// requests may be two events.
    pub fn stored_on_conflict<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        numbering: Numbering,
    ) -> BoxFuture<'a, Result<OnConflict>> {
        Box::pin(async move {
            self.require_whole(who, Role::Writer, dataset).await?;
            let table = self.ingesting()?.table(who, dataset).await?;
            let entry = table.entry();
            let is_open = entry.spec.key.is_empty() && entry.spec.load.on_conflict.is_none();
            let stored = || OnConflict::Stored.resolved(&entry.spec, numbering);
            Ok(if is_open { OnConflict::Add } else { stored() })
        })
    }
}

/// The settings that a load states, by its caller and by the spec that it may create.
fn given(options: &LoadOptions, dataset: &str) -> Result<LoadSettings> {
    let of_spec = options.create.as_ref().map(|spec| spec.load.clone()).unwrap_or_default();
    Ok(of_spec.of_spec_with(&options.settings, dataset)?)
}

/// Fails if the caller states an invalid setting, or one that has no effect on this format.
pub(super) fn require_usable(options: &LoadOptions, format: Format, name: &str) -> Result<()> {
    options.settings.check()?;
    options.settings.require_used(format, name)?;
    Ok(options.read.require_used(format, name)?)
}

/// The spec of a dataset that a load creates: it includes the settings that the load states.
pub(super) fn created_by(spec: DatasetSpec, options: &LoadOptions) -> Result<DatasetSpec> {
    let on_conflict = spec.load.on_conflict;
    let load = spec.load.of_spec_with(&options.settings, spec.name.as_str())?;
    // A load's policy does not become the dataset's.
    Ok(DatasetSpec { load: LoadSettings { on_conflict, ..load }, ..spec })
}

/// Completes `options` for a load into a dataset of `spec`. Returns the settings to store, if they differ from the stored ones.
pub(super) fn complete(
    options: &mut LoadOptions,
    spec: &DatasetSpec,
) -> Result<Option<LoadSettings>> {
    let stored = &spec.load;
    let merged = stored.with(&given(options, spec.name.as_str())?, spec.name.as_str())?;
    options.read.csv = merged.csv_options_stated(&options.settings, options.read.csv.encoding);
    let merged = LoadSettings { on_conflict: stored.on_conflict, ..merged };
    Ok((merged != *stored).then_some(merged))
}

/// The spec by which a file is read. It accepts new columns if the caller asks for that.
pub(super) fn reading_spec(spec: DatasetSpec, columns: NewColumns) -> DatasetSpec {
    match columns {
        NewColumns::BySpec => spec,
        NewColumns::Add => DatasetSpec { evolution: Evolution::AddNullable, ..spec },
    }
}

/// How an upload without stated settings is read.
pub(super) fn stored_csv(spec: &DatasetSpec) -> datasets::read::CsvOptions {
    spec.load.csv_options(TextEncoding::Utf8)
}

/// The settings that are stated and were not before, as text.
pub(super) fn newly_stored(before: &LoadSettings, settings: &LoadSettings) -> String {
    let before = before.stated();
    let new = settings.stated().into_iter().filter(|stated| !before.contains(stated));
    new.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}
