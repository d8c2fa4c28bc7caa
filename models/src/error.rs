//! What can be wrong with an artifact. All of it is input from outside; nothing here is our own bug.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was attempted, expected and found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A card that is not one.
    #[error("card: {problem}")]
    Card {
        /// What was expected and what was found.
        problem: String,
    },
    /// Weights that are no safetensors file.
    #[error("weights: {problem}")]
    Weights {
        /// What was expected and what was found.
        problem: String,
    },
    /// A part of the artifact is not what the card says.
    #[error("{part}: expected sha256 {expected}, found {found}")]
    Hash {
        /// `weights` or `tokenizer`.
        part: &'static str,
        /// What the card says.
        expected: String,
        /// What the bytes have.
        found: String,
    },
    /// A part that the card names is not there, or one that it does not name is.
    #[error("{part}: expected {expected}, found {found}")]
    Part {
        /// The part.
        part: &'static str,
        /// What the card says.
        expected: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// A bound was reached.
    #[error("{part}: {found} {unit}; at most {limit} {unit} are allowed")]
    Limit {
        /// The part.
        part: &'static str,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// Text that is no hash.
    #[error("sha256 {found:?}: expected 64 hexadecimal digits")]
    HashText {
        /// The text, shortened.
        found: String,
    },
}
