//! The chain: each row's hash is made of that of the row before, its own number and what it says.

use engine::{Error, Result};
use sha2::{Digest as _, Sha256};

use super::Act;

/// What the first row follows.
pub(crate) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The hash of row `number`, which follows one with the hash `previous` and says `content`.
pub(crate) fn hash_of(previous: &str, number: i64, content: &str) -> String {
    let digest = Sha256::digest(format!("{previous}\n{number}\n{content}").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Act {
    /// What is hashed and kept: the same act is always the same text.
    pub(crate) fn content(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::internal(format!("an act as text: {error}")))
    }

    pub(crate) fn read(content: &str) -> Result<Self> {
        serde_json::from_str(content)
            .map_err(|error| Error::internal(format!("an act of control state: {error}")))
    }
}
