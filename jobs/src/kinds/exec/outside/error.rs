//! What can go wrong, in words for the one who wrote the program.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

use super::Limits;
use super::process::Usage;

/// An error of the input or of the sink.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a run gave no result.
#[derive(Debug, Error)]
pub enum OutsideError {
    /// There is no command.
    #[error(
        "run an outside program: its command is empty; a program and its arguments are expected"
    )]
    EmptyCommand,
    /// An argument that no program can be given.
    #[error(
        "run an outside program: argument {place} of its command holds a NUL character, which no argument can"
    )]
    Argument {
        /// Place in the command, from 0.
        place: usize,
    },
    /// A variable that is not handed on.
    #[error("run an outside program: the variable {name:?} is refused, since {why}")]
    Variable {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// The working directory is none.
    #[error("run an outside program: its folder {} is no directory", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no such program.
    #[error("run {program}: there is no such program in {place}")]
    NotFound {
        /// As the command names it.
        program: String,
        /// Where it was sought.
        place: String,
    },
    /// The file is no program.
    #[error("run {program}: {} is no file that may be executed (chmod +x?)", path.display())]
    NotExecutable {
        /// As the command names it.
        program: String,
        /// What was found.
        path: PathBuf,
    },
    /// The system could not start it.
    #[error("run {program}: the system could not start it: {source}")]
    Start {
        /// As the command names it.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Ended by request.
    #[error("the outside program was cancelled")]
    Cancelled,
    /// It ran, and failed.
    #[error("run {program}: {why}{last}")]
    Failed {
        /// As the command names it.
        program: String,
        /// How.
        why: Failure,
        /// What it said at the end.
        last: LastLines,
    },
}

/// How a program that ran failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// An exit code that says so.
    #[error("it exited with {code}; 0 is expected")]
    Exited {
        /// The code.
        code: i32,
    },
    /// A signal that was not ours.
    #[error("it was killed by {signal}")]
    Killed {
        /// The signal's name, with a hint where there is one.
        signal: String,
    },
    /// Most likely out of memory.
    #[error(
        "it ran out of memory, of which each of its processes may use {limit_bytes} bytes ({how})"
    )]
    Memory {
        /// The limit.
        limit_bytes: u64,
        /// The way it ended.
        how: String,
    },
    /// Too slow.
    #[error("it did not end within {} s and was killed", limit.as_secs_f64())]
    Wall {
        /// The limit.
        limit: Duration,
    },
    /// Too much CPU time.
    #[error("it used more than the {} s of CPU time that it may and was killed", limit.as_secs())]
    Cpu {
        /// The limit.
        limit: Duration,
    },
    /// Nothing on stdout.
    #[error(
        "it wrote nothing to stdout; an Arrow IPC stream is expected, even where it has no rows"
    )]
    NoOutput,
    /// Something else on stdout.
    #[error(
        "it wrote what is no Arrow IPC stream: after {at_byte} bytes stdout goes on with {found}{hint}"
    )]
    NotArrow {
        /// Where.
        at_byte: u64,
        /// The first bytes there.
        found: String,
        /// What probably happened.
        hint: &'static str,
    },
    /// A message that cannot be.
    #[error("it wrote a broken Arrow IPC stream: message {message}: {why}")]
    Broken {
        /// Place of the message in the stream, from 0.
        message: u64,
        /// What is wrong.
        why: String,
    },
    /// The stream ends inside a message.
    #[error(
        "its output ends in the middle: after {at_byte} bytes, inside message {message}; {missing_bytes} more bytes are expected"
    )]
    Cut {
        /// Bytes read.
        at_byte: u64,
        /// Place of the message in the stream, from 0.
        message: u64,
        /// At least so many were to come.
        missing_bytes: u64,
    },
    /// Stdout ended where the stream could have continued.
    #[error(
        "its output ends after {messages} messages without the end marker of an Arrow stream, so rows may be missing: close the writer \
         (`with pyarrow.ipc.new_stream(…) as writer:` does), or accept such outputs with `end_marker` = optional"
    )]
    Unmarked {
        /// Number of whole messages, including the schema.
        messages: u64,
    },
    /// A second schema.
    #[error("its batches differ: the stream began with columns {first}; later it says {then}")]
    SchemaChanged {
        /// The first.
        first: String,
        /// The other.
        then: String,
    },
    /// Too many bytes in all.
    #[error("it wrote or announced {found_bytes} bytes, more than the {limit_bytes} that it may")]
    TooManyBytes {
        /// The limit.
        limit_bytes: u64,
        /// At least.
        found_bytes: u64,
    },
    /// Too many bytes at once.
    #[error(
        "it announced a message of {found_bytes} bytes, more than the {limit_bytes} that one may have; write smaller batches"
    )]
    MessageTooLarge {
        /// The limit.
        limit_bytes: u64,
        /// Announced.
        found_bytes: u64,
    },
    /// Too many rows.
    #[error("it wrote {found_rows} rows, more than the {limit_rows} that it may")]
    TooManyRows {
        /// The limit.
        limit_rows: u64,
        /// At least.
        found_rows: u64,
    },
    /// The rows to write could not be had.
    #[error("its input failed: {0}")]
    Input(#[source] BoxError),
    /// The rows read could not be kept.
    #[error("its output could not be taken: {0}")]
    Sink(#[source] BoxError),
    /// A pipe failed.
    #[error("{what} failed: {source}")]
    Pipe {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Failure {
    /// Whether the content of stdout is at fault, so that how the program ends may explain it.
    pub(super) fn is_of_the_output(&self) -> bool {
        matches!(
            self,
            Self::NoOutput
                | Self::NotArrow { .. }
                | Self::Broken { .. }
                | Self::Cut { .. }
                | Self::Unmarked { .. }
                | Self::SchemaChanged { .. }
        )
    }
}

/// The end of stderr as an error shows it.
#[derive(Debug)]
pub struct LastLines(pub String);

impl fmt::Display for LastLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end() {
            "" => Ok(()),
            lines => write!(f, "; the last lines of its stderr:\n{lines}"),
        }
    }
}

/// What runtimes say when an allocation failed: Python, pyarrow, C++, glibc, Rust.
const OUT_OF_MEMORY_WORDS: [&str; 7] = [
    "MemoryError",
    "out of memory",
    "Cannot allocate memory",
    "bad_alloc",
    "Unable to allocate",
    "memory allocation of",
    "realloc of size",
];

/// The failure that an end tells of; `None` for exit code 0.
pub(super) fn of_status(
    status: ExitStatus,
    limits: &Limits,
    usage: &Usage,
    tail: &str,
) -> Option<Failure> {
    if status.success() {
        return None;
    }
    let memory = |how| Some(Failure::Memory { limit_bytes: limits.memory_bytes, how });
    let word = OUT_OF_MEMORY_WORDS.iter().find(|word| tail.contains(**word));
    // Four fifths, since the last growth falls between two looks.
    let near = usage.peak_memory_bytes.is_some_and(|peak| peak >= limits.memory_bytes / 5 * 4);
    let Some(number) = status.signal() else {
        let code = status.code().unwrap_or(-1);
        return match word {
            Some(word) => memory(format!("it exited with {code} and says {word}")),
            None => Some(Failure::Exited { code }),
        };
    };
    let name = signal_name(number);
    let cpu_is_spent = usage.cpu.is_some_and(|cpu| cpu >= limits.cpu);
    match name.as_str() {
        "SIGXCPU" => Some(Failure::Cpu { limit: limits.cpu }),
        "SIGKILL" if cpu_is_spent => Some(Failure::Cpu { limit: limits.cpu }),
        "SIGKILL" | "SIGSEGV" | "SIGABRT" | "SIGBUS" if near || word.is_some() => {
            memory(format!("killed by {name}"))
        }
        "SIGKILL" => Some(Failure::Killed {
            signal: format!("{name}, which the system sends where memory is short"),
        }),
        "SIGXFSZ" => Some(Failure::Killed {
            signal: format!("{name}: a file grew past {} bytes", limits.file_bytes),
        }),
        _ => Some(Failure::Killed { signal: name }),
    }
}

/// Linux numbers on x86-64 and Arm.
fn signal_name(number: i32) -> String {
    match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    }
    .to_owned()
}
