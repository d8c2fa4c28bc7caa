//! By which settings a file is loaded: those that the dataset stores, and those that the caller gives.
//!
//! The first load that states a setting stores it in the dataset's spec, so that later files are read by the
//! same rule. A setting that contradicts a stored one is an error.

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

/// Whether a producer numbers the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// A retry is known by its number.
    Numbered,
    /// A retry is a new request.
    Unnumbered,
}

impl OnConflict {
    /// The policy for a load into a dataset of `spec`. A numbered request adds unless the spec states a policy: its
    /// number keeps a retry from doubling rows.
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
    /// The policy for a request that states none: that of the dataset. Without a key and a stated policy its rows are
    /// added: two equal requests may be two events.
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

/// The settings that a load states: those of its caller, and those of the spec that it comes with.
fn given(options: &LoadOptions, dataset: &str) -> Result<LoadSettings> {
    let of_spec = options.create.as_ref().map(|spec| spec.load.clone()).unwrap_or_default();
    Ok(of_spec.with(&options.settings, dataset)?)
}

/// Fails where the caller states a setting that cannot be, or that does nothing for this format.
pub(super) fn require_usable(options: &LoadOptions, format: Format, name: &str) -> Result<()> {
    options.settings.check()?;
    options.settings.require_used(format, name)?;
    Ok(options.read.require_used(format, name)?)
}

/// The spec that a dataset is created from: with the settings that its first load states.
pub(super) fn created_by(spec: DatasetSpec, options: &LoadOptions) -> Result<DatasetSpec> {
    let on_conflict = spec.load.on_conflict;
    let load = spec.load.with(&options.settings, spec.name.as_str())?;
    // The policy of one load is not the dataset's.
    Ok(DatasetSpec { load: LoadSettings { on_conflict, ..load }, ..spec })
}

/// Completes `options` for a load into a dataset of `spec`; answers with the settings that it is to store, where these
/// are others than it does.
pub(super) fn complete(
    options: &mut LoadOptions,
    spec: &DatasetSpec,
) -> Result<Option<LoadSettings>> {
    let stored = &spec.load;
    let merged = stored.with(&given(options, spec.name.as_str())?, spec.name.as_str())?;
    options.read.csv = merged.csv_options(options.read.csv.encoding);
    let merged = LoadSettings { on_conflict: stored.on_conflict, ..merged };
    Ok((merged != *stored).then_some(merged))
}

/// The spec by which a file is read: one that takes new columns, where the caller asks for them.
pub(super) fn reading_spec(spec: DatasetSpec, columns: NewColumns) -> DatasetSpec {
    match columns {
        NewColumns::BySpec => spec,
        NewColumns::Add => DatasetSpec { evolution: Evolution::AddNullable, ..spec },
    }
}

/// How the rows of an upload are read without stated settings.
pub(super) fn stored_csv(spec: &DatasetSpec) -> datasets::read::CsvOptions {
    spec.load.csv_options(TextEncoding::Utf8)
}

/// The settings that are stated and were not before, as text.
pub(super) fn newly_stored(before: &LoadSettings, settings: &LoadSettings) -> String {
    let before = before.stated();
    let new = settings.stated().into_iter().filter(|stated| !before.contains(stated));
    new.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}
