//! A row that could not be taken, with everything needed to find and mend it at its source.

use serde::{Deserialize, Serialize};

/// Where in its source a row stands. Rows and lines count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's name as the user gave it, or `body` for an upload.
    pub source: String,
    /// Number of the data row (a header is not a row).
    pub row: u64,
    /// Line of a text source on which the row begins.
    pub line: Option<u64>,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line} (row {})", self.source, self.row),
            None => write!(f, "{} row {}", self.source, self.row),
        }
    }
}

/// A row that goes to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Where it stands in its source.
    pub position: Position,
    /// The column at fault, when it is one.
    pub column: Option<String>,
    /// What was expected and what was found.
    pub reason: String,
    /// The row as it was: its text, or its values as JSON for a binary source.
    pub original: String,
}
