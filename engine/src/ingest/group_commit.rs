//! Many requests, one commit.
use super::{IngestReceipt, IngestRequest, LoadOptions};
use crate::error::{Error, Result};
use crate::identity::Principal;
use crate::lake::Lake;
use crate::options::GroupCommitOptions;
use datasets::DatasetName;
use datasets::read::{Format, Source};
use std::sync::Arc;

/// Takes requests.
#[derive(Debug)]
pub(crate) struct Ingest {
    lake: Arc<Lake>,
    options: GroupCommitOptions,
}

impl Ingest {
    pub(crate) fn new(lake: Arc<Lake>, options: GroupCommitOptions) -> Self {
        Self { lake, options }
    }

    pub(crate) async fn ingest(
        &self,
        _who: &Principal,
        _dataset: &DatasetName,
        _request: IngestRequest,
    ) -> Result<IngestReceipt> {
        Err(Error::internal("ingest is being written"))
    }

    pub(crate) async fn load(
        &self,
        _who: &Principal,
        _dataset: &DatasetName,
        _source: Source,
        _format: Format,
        _options: LoadOptions,
    ) -> Result<IngestReceipt> {
        Err(Error::internal("load is being written"))
    }

    pub(crate) async fn shutdown(&self) {}
}
