//! What a commit wants to say, asked anew for each attempt.
//!
//! A commit that lost a race must be looked at again on top of the winner: its rows may have become a
//! duplicate, the files that it replaces may be others. So whoever commits is an author, who is asked
//! for a proposal on the head as it is, as often as it takes.

use async_trait::async_trait;
use datasets::DatasetSpec;
use deltalake_core::kernel::{Add, Remove};

use super::head::Size;
use super::{Head, Table};
use crate::bus::CommitKind;
use crate::error::Result;

/// Someone who commits.
#[async_trait]
pub(crate) trait Author: Send {
    /// What to commit on top of `head`; nothing, when nothing is left to do.
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>>;
}

/// One commit, not yet made.
#[derive(Debug, Default)]
pub(crate) struct Proposal {
    pub(crate) kind: Option<CommitKind>,
    pub(crate) adds: Vec<Add>,
    pub(crate) added: Size,
    pub(crate) removes: Vec<Remove>,
    pub(crate) removed: Size,
    /// The spec from this version on.
    pub(crate) spec: Option<DatasetSpec>,
    /// Producer and its sequence.
    pub(crate) sequences: Vec<(String, i64)>,
}
