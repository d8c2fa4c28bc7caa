//! What can go wrong here: the user's input, the environment, or our own bug.

use crate::rejected::Position;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of specs, readers and generators.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that breaks the rule for names.
    #[error("{what} {name:?}: expected {expected}")]
    Name {
        /// What the name is for.
        what: &'static str,
        /// The name as found, shortened.
        name: String,
        /// The rule that it breaks.
        expected: String,
    },
    /// A dataset spec that contradicts itself.
    #[error("spec of {dataset}: {problem}")]
    Spec {
        /// The dataset, or the file that the spec is read from.
        dataset: String,
        /// What is wrong, what was expected.
        problem: String,
    },
    /// A source that is not what its format says, at a place.
    #[error("{position}{}: {problem}", column_suffix(.column))]
    Malformed {
        /// Where.
        position: Position,
        /// Character column on the line, for text, from 1.
        column: Option<u64>,
        /// What was expected and what was found.
        problem: String,
    },
    /// A whole source that can't be read as its format.
    #[error("{source_name}: not readable as {format}: {problem}")]
    Unreadable {
        /// The file's name, or `body`.
        source_name: String,
        /// The format that was tried.
        format: &'static str,
        /// What the decoder found.
        problem: String,
    },
    /// Columns of the source do not fit the dataset.
    #[error("{source_name}: {problem}")]
    Mismatch {
        /// The file's name, or `body`.
        source_name: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A bound was reached.
    #[error("{source_name}: {what} is over the limit of {limit} {unit}")]
    Limit {
        /// The file's name, or `body`.
        source_name: String,
        /// What is too large.
        what: String,
        /// The bound.
        limit: u64,
        /// Its unit.
        unit: &'static str,
    },
    /// The environment failed: a file that can't be opened or read.
    #[error("{source_name}: {action}: {error}")]
    Io {
        /// The file's name, or `body`.
        source_name: String,
        /// What was attempted.
        action: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
    /// A bug of this crate.
    #[error("bug: {0}")]
    Internal(String),
}

fn column_suffix(column: &Option<u64>) -> String {
    column.map(|c| format!(", column {c}")).unwrap_or_default()
}
