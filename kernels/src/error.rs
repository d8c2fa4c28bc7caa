//! One error type for the crate, split by who can do something about it.
//!
//! A caller must be able to tell "your input is wrong" from "this machine can't" from "we have a
//! bug" without reading text, and a person must be able to mend the first two from the text alone.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Who can do something about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input or the options are wrong.
    User,
    /// The machine lacks something: a device, a library, memory.
    Environment,
    /// This crate broke a promise of its own.
    Bug,
}

/// A kind of memory that a budget bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Main memory.
    Host,
    /// Memory of the CUDA device.
    Device,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Device => "device",
        })
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- the user
    /// Data and stated shape do not fit each other.
    #[error("{operation}: {found}; {expected}")]
    Shape {
        /// What was attempted.
        operation: &'static str,
        /// The shapes that were found.
        found: String,
        /// The shapes that would have been right.
        expected: String,
    },
    /// An option has a value that means nothing.
    #[error("{operation}: {option} is {found}; {expected}")]
    Option {
        /// What was attempted.
        operation: &'static str,
        /// Name of the option.
        option: &'static str,
        /// The value that was given.
        found: String,
        /// The values that would have been right.
        expected: String,
    },
    /// The budget does not hold one tile.
    #[error(
        "{operation}: the {memory} budget of {budget_bytes} bytes is too small for one tile; \
         at least {least_bytes} bytes are needed"
    )]
    BudgetTooSmall {
        /// What was attempted.
        operation: &'static str,
        /// Which memory.
        memory: Memory,
        /// The budget that was given.
        budget_bytes: usize,
        /// The least that works for this input.
        least_bytes: usize,
    },
    /// A result would be larger than the bound its taker set.
    #[error("{operation}: more than {limit} {what}; {advice}")]
    LimitExceeded {
        /// What was attempted.
        operation: &'static str,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// What to change.
        advice: &'static str,
    },
    /// Stopped through its [`Control`](crate::Control).
    #[error("{operation}: cancelled after {done} of {total} steps")]
    Cancelled {
        /// What was attempted.
        operation: &'static str,
        /// Steps done.
        done: u64,
        /// Steps in all.
        total: u64,
    },
    /// A GPU was required for what none can do.
    #[error("{operation}: gpu = required, but {reason}")]
    NoDevicePath {
        /// What was attempted.
        operation: &'static str,
        /// Why not.
        reason: String,
    },
    // ---- the environment
    /// A GPU was required and none can be used.
    #[error("{operation}: gpu = required, but {reason}")]
    DeviceUnavailable {
        /// What was attempted.
        operation: &'static str,
        /// What was probed and what was found.
        reason: String,
    },
    /// The CUDA driver refused a call.
    #[error("{attempted} on {device}: {found}")]
    Driver {
        /// The call, in words.
        attempted: String,
        /// The device it was for.
        device: String,
        /// The driver's answer.
        found: String,
    },
    /// An allocation failed, and a smaller tile is not possible.
    #[error("{operation}: {bytes} bytes of {memory} memory could not be allocated")]
    OutOfMemory {
        /// What was attempted.
        operation: &'static str,
        /// Which memory.
        memory: Memory,
        /// Size of the allocation that failed.
        bytes: usize,
    },
    /// NVRTC, which compiles the CUDA sources, is not there.
    #[error("compile {file} for {architecture}: NVRTC could not be loaded; looked for {probed}")]
    CompilerUnavailable {
        /// The source file.
        file: &'static str,
        /// The architecture.
        architecture: String,
        /// The library names that were tried.
        probed: String,
    },
    /// A file of the cubin cache, or of the machine, could not be used.
    #[error("{attempted} {}: {source}", path.display())]
    Io {
        /// The access, in words.
        attempted: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Worker threads could not be started.
    #[error("start {threads} worker threads: {found}")]
    Threads {
        /// How many.
        threads: usize,
        /// The system's answer.
        found: String,
    },
    // ---- our bug
    /// A CUDA source of ours does not compile.
    #[error("compile {file} for {architecture}: {log}")]
    Compile {
        /// The source file.
        file: &'static str,
        /// The architecture.
        architecture: String,
        /// The compiler's log.
        log: String,
    },
    /// A promise of this crate is broken.
    #[error("internal error in {operation}: {found}")]
    Internal {
        /// Where.
        operation: &'static str,
        /// What was found.
        found: String,
    },
}

impl Error {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Shape { .. }
            | Self::Option { .. }
            | Self::BudgetTooSmall { .. }
            | Self::LimitExceeded { .. }
            | Self::NoDevicePath { .. }
            | Self::Cancelled { .. } => ErrorKind::User,
            Self::DeviceUnavailable { .. }
            | Self::Driver { .. }
            | Self::OutOfMemory { .. }
            | Self::CompilerUnavailable { .. }
            | Self::Io { .. }
            | Self::Threads { .. } => ErrorKind::Environment,
            Self::Compile { .. } | Self::Internal { .. } => ErrorKind::Bug,
        }
    }
}
