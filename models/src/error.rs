//! What can be wrong with a model. All of it is input from outside; nothing here is our own bug.

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
    /// A network that this crate can't build.
    #[error("architecture: {found}; supported: {supported}")]
    Architecture {
        /// What the model says it is.
        found: String,
        /// What can be built.
        supported: String,
    },
    /// A model's settings that contradict themselves or what was asked.
    #[error("config: {problem}")]
    Config {
        /// What was expected and what was found.
        problem: String,
    },
    /// A tokenizer that is none, or another model's.
    #[error("tokenizer: {problem}")]
    Tokenizer {
        /// What was expected and what was found.
        problem: String,
    },
    /// No source gave a file that a model needs.
    #[error("{model}: {file}: no source gave it:{}", listed(.tried))]
    NoSource {
        /// The model.
        model: String,
        /// The file.
        file: String,
        /// What was tried, in order.
        tried: Vec<Attempt>,
    },
    /// A file of ours could not be read or written.
    #[error("{file}: {problem}")]
    File {
        /// Its name, without its folder.
        file: String,
        /// What the system said.
        problem: String,
    },
    /// Examples or options that nothing can be trained with.
    #[error("training: {problem}")]
    Training {
        /// What was expected and what was found.
        problem: String,
    },
    /// A loss that is no number: the weights would be lost with it.
    #[error(
        "training: step {step}: expected a finite {what}, found {found}; the last good checkpoint is kept"
    )]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// `loss` or `gradient`.
        what: &'static str,
        /// What it was.
        found: String,
    },
    /// A checkpoint that can't be gone on from.
    #[error("checkpoint {file}: {problem}")]
    Checkpoint {
        /// Its name.
        file: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A device that can't be used, or does not do what it should.
    #[error("device: {problem}")]
    Device {
        /// What it said, or what was expected and what was found.
        problem: String,
    },
    /// Whoever asked wants no answer any more.
    #[error("cancelled")]
    Cancelled,
    /// Text that is no hash.
    #[error("sha256 {found:?}: expected 64 hexadecimal digits")]
    HashText {
        /// The text, shortened.
        found: String,
    },
}

impl From<networks::Error> for Error {
    fn from(error: networks::Error) -> Self {
        match error {
            networks::Error::Config { problem } => Self::Config { problem },
            networks::Error::Training { problem } => Self::Training { problem },
        }
    }
}

/// A source that did not give what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The source, as it was named.
    pub source: String,
    /// Why it did not: what was expected and what was found.
    pub reason: String,
}

fn listed(tried: &[Attempt]) -> String {
    if tried.is_empty() {
        return " none was named".into();
    }
    let one = |attempt: &Attempt| format!(" {}: {}", attempt.source, attempt.reason);
    tried.iter().map(one).collect::<Vec<_>>().join(";")
}
