//! What a commit wants to say, asked anew for each attempt.
//!
//! A commit that lost a race must be looked at again on top of the winner: its rows may have become a
//! duplicate, the files that it replaces may be others. So whoever commits is an author, who is asked
//! for a proposal on the head as it is, as often as it takes.

use async_trait::async_trait;
use datasets::DatasetSpec;
use deltalake_core::kernel::{Add, Metadata, Remove};
use serde::{Deserialize, Serialize};

use super::column_ids::Renamed;
use super::head::Size;
use super::{DataFiles, Head, Publication, Table};
use crate::bus::CommitKind;
use crate::error::Result;

/// A request of a producer that was taken, as `commitInfo` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TakenRequest {
    pub(crate) producer: String,
    pub(crate) sequence: i64,
    /// What its rows are known by, where that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
}

/// Where a table's log has the first sequence of `producer`, whose own name can not have such a character.
pub(crate) fn first_of(producer: &str) -> String {
    format!("{producer}\u{1f}first")
}

/// Where a table's log says of a number of `producer` that its rows were lost ([`LOST`]), or came again since ([`REGAINED`]).
pub(crate) fn lost_of(producer: &str, sequence: i64) -> String {
    format!("{producer}\u{1f}lost\u{1f}{sequence}")
}

/// Where it says that there are such numbers.
pub(crate) fn loses(producer: &str) -> String {
    format!("{producer}\u{1f}lost")
}

/// Whether a name stands for something that is noted of a producer, which only ever becomes less.
pub(crate) fn is_note(name: &str) -> bool {
    name.contains('\u{1f}')
}

/// The rows of a number are lost.
pub(crate) const LOST: i64 = 1;
/// They came again.
pub(crate) const REGAINED: i64 = 0;

/// What is known of a number that is not after the last one taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A request with this digest was taken under it.
    With(String),
    /// A request was, and what it held is not known any more.
    Before,
    /// None was: the producer began later.
    Never {
        /// Its first number.
        first: i64,
    },
    /// One was, and a repair found its rows lost: they are taken once more.
    Lost,
}

/// Someone who commits.
#[async_trait]
pub(crate) trait Author: Send {
    /// What to commit on top of `head`; nothing, when nothing is left to do.
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>>;

    /// Whether proposing commits something elsewhere, which nothing may be that is refused here.
    fn commits_elsewhere(&self) -> bool {
        false
    }
}

/// What is committed elsewhere before a commit that nothing refuses any more.
#[async_trait]
pub(crate) trait Before: Send + Sync {
    /// Whether it is still to be done.
    fn is_left(&self) -> bool;

    /// Follows what others committed to `table`, where it is still to be done: it is not to be done for what they let nothing come of.
    async fn look(&self, table: &Table, head: &mut Head) -> Result<()>;

    /// Does it, once.
    async fn commit(&self) -> Result<()>;

    /// The record of the request whose rows are committed; `None` for a duplicate.
    async fn record(&self, table: &Table, head: &mut Head) -> Result<Option<Record>>;
}

/// The record of a numbered request in a commit.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) sequences: Vec<(String, i64)>,
    pub(crate) requests: Vec<TakenRequest>,
}

/// What a commit does to rows that were there, as `commitInfo` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RevisedRows {
    /// Rows that it takes away or changes.
    pub(crate) removed: u64,
    /// Rows that it writes anew as they were, because they lay in one file with others.
    pub(crate) copied: u64,
}

/// One commit, not yet made.
#[derive(Debug, Default)]
pub(crate) struct Proposal {
    pub(crate) kind: Option<CommitKind>,
    pub(crate) adds: Vec<Add>,
    pub(crate) added: Size,
    pub(crate) removes: Vec<Remove>,
    pub(crate) removed: Size,
    /// What it does to rows that were there, where it changes some.
    pub(crate) revised: Option<RevisedRows>,
    /// Bytes that rows among these take, as [`row_bytes`] says.
    ///
    /// [`row_bytes`]: super::width::row_bytes
    pub(crate) row_bytes: u64,
    /// How often the columns had been changed when the rows among these were read; `None` where that says nothing.
    pub(crate) reshaped: Option<u64>,
    /// The spec from this version on.
    pub(crate) spec: Option<DatasetSpec>,
    /// Whether all rows are written anew for it, and which column is called otherwise then.
    pub(crate) reshapes: bool,
    pub(crate) renamed: Option<Renamed>,
    /// All that is said of the table from this version on, where it is another one.
    pub(crate) metadata: Option<Metadata>,
    /// Whether the table is dropped from this version on.
    pub(crate) is_dropped: Option<bool>,
    /// The first version whose files are kept.
    pub(crate) kept_from: Option<u64>,
    /// The first and the last version that can not be asked for from this version on.
    pub(crate) set_aside: Option<(u64, u64)>,
    /// What else is to be seen together with it.
    pub(crate) publication: Option<Publication>,
    /// Producer and its sequence.
    pub(crate) sequences: Vec<(String, i64)>,
    /// The requests whose rows these are, where they can come again.
    pub(crate) requests: Vec<TakenRequest>,
    /// What the file is known by whose rows these are, where it is looked for when it comes again.
    pub(crate) content: Option<String>,
}

impl Proposal {
    /// How often the columns will have been changed once it stands on `head`.
    pub(super) fn reshaped_after(&self, head: &Head) -> u64 {
        head.column_ids.reshaped + u64::from(self.reshapes)
    }

    /// One that changes what a table is and no rows, with what else it says.
    pub(crate) fn without_rows() -> Self {
        Self { kind: Some(CommitKind::Schema), ..Self::adding([]) }
    }

    /// One that adds these files, and what else it says.
    pub(crate) fn adding<'a>(files: impl IntoIterator<Item = &'a DataFiles>) -> Self {
        let nothing = Size { rows: Some(0), ..Size::default() };
        let mut proposal = Self { added: nothing, removed: nothing, ..Self::default() };
        for files in files {
            proposal.adds.extend(files.adds.iter().cloned());
            proposal.added = proposal.added.plus(files.size);
            proposal.row_bytes = proposal.row_bytes.max(files.row_bytes);
            // Those of different numbers are of none that there is.
            proposal.reshaped = match (proposal.reshaped, files.reshaped) {
                (Some(a), Some(b)) if a != b => Some(u64::MAX),
                (a, b) => a.or(b),
            };
        }
        proposal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_for_columns_of_different_times_are_of_none_that_there_is() {
        let files = |reshaped| {
            let mut files = DataFiles::none();
            files.reshaped = reshaped;
            files
        };
        let of = |all: &[Option<u64>]| {
            let all: Vec<DataFiles> = all.iter().map(|reshaped| files(*reshaped)).collect();
            Proposal::adding(&all).reshaped
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[None, Some(2), None]), Some(2));
        assert_eq!(of(&[Some(2), Some(2)]), Some(2));
        assert_eq!(of(&[Some(1), Some(2)]), Some(u64::MAX));
        assert_eq!(of(&[Some(1), None, Some(2)]), Some(u64::MAX));
    }
}
