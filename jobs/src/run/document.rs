//! What control state keeps of a run: its record, and what a worker needs beside it.

use engine::{Error, Grants, Result};
use kernels::GpuPolicy;
use serde::{Deserialize, Serialize};

use crate::control::Entry;
use crate::run::record::RunRecord;

/// A run as control state keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) record: RunRecord,
    pub(crate) gpu: GpuPolicy,
    /// What it may see of its tenant.
    pub(crate) grants: Grants,
}

#[derive(Serialize, Deserialize)]
struct Text<R> {
    record: R,
    #[serde(default)]
    gpu: String,
    #[serde(default, skip_serializing_if = "Grants::is_all")]
    grants: Grants,
}

impl Document {
    /// Of a run that nobody works at any more.
    pub(crate) fn ended(record: RunRecord) -> Self {
        Self { record, gpu: GpuPolicy::default(), grants: Grants::all() }
    }

    pub(crate) fn to_text(&self) -> Result<String> {
        let (gpu, grants) = (self.gpu.to_string(), self.grants.clone());
        let text = Text { record: &self.record, gpu, grants };
        serde_json::to_string(&text).map_err(|e| {
            Error::internal(format!("run {}: its record as JSON: {e}", self.record.id))
        })
    }

    /// What an entry holds. Its state is that of the entry, which changes first.
    pub(crate) fn of(entry: &Entry) -> Result<Self> {
        let mut document = Self::parse(&entry.document).map_err(|e| {
            Error::internal(format!("run {}: its record in the control database: {e}", entry.id))
        })?;
        document.record.state = entry.state.parse()?;
        Ok(document)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let text: Text<RunRecord> = serde_json::from_str(text)?;
        let Text { record, gpu, grants } = text;
        Ok(Self { record, gpu: gpu.parse().unwrap_or_default(), grants })
    }
}
