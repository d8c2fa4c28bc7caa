//! `[documents]`: GraphQL documents that are known by their ids.

use std::path::PathBuf;

use engine::Result;
use graphql::TrustedDocuments;
use serde::Deserialize;

use super::{InForce, Settings, bad};

/// The table `[documents]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    trusted: PathBuf,
    #[serde(default)]
    only: bool,
}

impl Settings {
    /// The documents that requests may name, if there are any.
    pub fn documents(&self) -> Result<TrustedDocuments> {
        let Some((documents, origin)) = &self.documents else { return Ok(Default::default()) };
        let shown = documents.trusted.display().to_string();
        let wrong = |problem: String| bad(format!("documents (from {origin}): {problem}"));
        let text = std::fs::read_to_string(&documents.trusted)
            .map_err(|error| wrong(format!("trusted: {shown}: {error}")))?;
        TrustedDocuments::read(&text, &shown, documents.only)
            .map_err(|error| wrong(error.to_string()))
    }

    pub(super) fn documents_in_force(&self) -> Option<InForce> {
        let (documents, origin) = self.documents.as_ref()?;
        let others = if documents.only { "no others" } else { "others, too" };
        Some(InForce {
            name: "documents".to_owned(),
            value: format!("{} ({others})", documents.trusted.display()),
            origin: origin.to_string(),
            about: "GraphQL documents that are known by ids".to_owned(),
        })
    }
}
