//! What can be wrong with a network. All of it is input from outside; nothing here is our own bug.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Sizes, tokens or places that do not fit each other.
    #[error("config: {problem}")]
    Config {
        /// What was expected and what was found.
        problem: String,
    },
    /// Weights that do not fit the network, or a gradient that is not there.
    #[error("training: {problem}")]
    Training {
        /// What was expected and what was found.
        problem: String,
    },
}
