//! Runs a program of someone else's, most often a Python script, as a step of a job: it reads an Arrow IPC stream on
//! stdin and writes one on stdout.
//!
//! ```text
//!  input ──▶ feed ──▶ stdin ┐            ┌ stdout ──▶ stream ──▶ sink
//!            (encodes)      └▶ program ──┤            (frames, then decodes)
//!                                        └ stderr ──▶ lines ──▶ on_line, last lines of an error
//! ```
//!
//! The four arrows move at the same time, each with a bounded buffer, so that neither side can block the other whichever
//! is slow, and memory does not grow with the rows. What comes back is not trusted: a message is read only after its
//! announced size was held against the limits, and decoded behind a border that no panic crosses.
//!
//! The limits are those of the kernel, set by the shell that becomes the program (`ulimit …; exec`), so that they hold from
//! its first instruction and for its children. They count for each process, not for their sum, and a program that puts
//! itself into a session of its own escapes the kill: bounding those needs cgroups, and this is no sandbox for hostile code.
//! `prlimit` after the start was not taken, since children of the first moment would escape it.

mod error;
mod feed;
mod lines;
mod process;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::params::EndMarker;
pub use error::{BoxError, Failure, LastLines, OutsideError};
use lines::Lines;
use process::Usage;
use stream::{Taken, Whole};

/// How long the program may take to end by itself once its output turned out to be of no use: a usage text on stdout is
/// mostly followed by an exit code, which says more.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What to run, where, and within which bounds.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program, then its arguments. A name without `/` is looked up in `PATH`, a relative path in `folder`.
    pub command: Vec<String>,
    /// Variables beside `PATH`, `LANG`, `HOME` and `TMPDIR`, which these may replace. Nothing else is handed on.
    pub environment: BTreeMap<String, String>,
    /// Working directory, `HOME` and `TMPDIR`: a scratch folder that exists.
    pub folder: PathBuf,
    /// The bounds.
    pub limits: Limits,
    /// The user that the program runs as, and that becomes the owner of `folder`. `None` for the user of this process.
    pub user: Option<User>,
}

/// A user of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub id: u32,
    /// Group id.
    pub group: u32,
}

/// The bounds of a run. Those on memory, CPU and files hold for each process of the program.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time from start to end, waiting for input and for the sink included.
    pub wall: Duration,
    /// CPU time, in whole seconds.
    pub cpu: Duration,
    /// Private memory (`RLIMIT_DATA`); the address space may be [`Limits::ADDRESS_SLACK_BYTES`] more.
    pub memory_bytes: u64,
    /// Bytes on stdout.
    pub output_bytes: u64,
    /// Rows on stdout.
    pub output_rows: u64,
    /// Bytes of one message on stdout: a few of them are in memory at a time.
    pub batch_bytes: u64,
    /// Bytes of the end of stderr that an error or [`Ran`] shows.
    pub tail_bytes: usize,
    /// Bytes of any one file that the program writes.
    pub file_bytes: u64,
    /// Files open at a time.
    pub open_files: u64,
    /// Whether the output must end with the end marker of an Arrow stream.
    pub end_marker: EndMarker,
}

impl Limits {
    /// Address space beyond `memory_bytes`: code, libraries and what allocators reserve without using it.
    pub const ADDRESS_SLACK_BYTES: u64 = 4 << 30;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(3600),
            cpu: Duration::from_secs(3600),
            memory_bytes: 2 << 30,
            output_bytes: 16 << 30,
            output_rows: 1_000_000_000,
            batch_bytes: 256 << 20,
            tail_bytes: 4096,
            file_bytes: 4 << 30,
            open_files: 256,
            end_marker: EndMarker::default(),
        }
    }
}

/// A run that ended well: exit code 0 and a whole stream.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The schema of the output, known even where it has no rows.
    pub schema: SchemaRef,
    /// Time from start to end.
    pub wall: Duration,
    /// Rows written to the program before it ended or closed stdin.
    pub rows_in: u64,
    /// Rows given to the sink.
    pub rows_out: u64,
    /// Bytes read from the program.
    pub bytes_out: u64,
    /// Greatest resident size of the program itself as last seen (every 50 ms); `None` where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time of the program and of its children that it waited for; `None` where the system does not tell.
    pub cpu: Option<Duration>,
    /// The end of stderr.
    pub stderr_tail: String,
}

/// Runs `program` on `input` and gives each batch that it writes to `sink`, in order.
///
/// Each line on stderr goes to `on_line` as it comes, cut where it is long. The next batch is decoded while the sink's
/// future waits, but no more than a few: a slow sink slows the program.
///
/// Fails as [`OutsideError`] says. Whatever the end is, the dropping of the future included, the program and the process
/// group that it leads are killed and reaped before or right after.
pub async fn run<E, F>(
    program: &Program,
    input_schema: SchemaRef,
    input: BoxStream<'static, Result<RecordBatch, E>>,
    cancel: &CancellationToken,
    on_line: &(dyn Fn(&str) + Send + Sync),
    sink: impl FnMut(RecordBatch) -> F + Send,
) -> Result<Ran, OutsideError>
where
    E: Into<BoxError> + Send + 'static,
    F: Future<Output = Result<(), BoxError>> + Send,
{
    let started = Instant::now();
    if cancel.is_cancelled() {
        return Err(OutsideError::Cancelled);
    }
    let name = process::name(program)?;
    let limits = &program.limits;
    let (mut process, mut pipes) = process::start(program).await?;
    let mut lines = Lines::new(pipes.stderr, limits.tail_bytes, on_line);
    let ended = CancellationToken::new();

    let talk = async {
        let feed = feed::feed(input_schema, input, &mut pipes.stdin, &ended);
        let take = stream::take(&mut pipes.stdout, limits, &ended, sink);
        let wait = async {
            process.ended().await?;
            ended.cancel();
            Ok(())
        };
        let listen = async {
            lines.listen(&ended).await;
            Ok(())
        };
        let (rows_in, output, (), ()) = tokio::try_join!(feed, take, wait, listen)?;
        Ok((rows_in, output))
    };
    let talked: Result<(u64, Taken), Failure> = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            process.stop().await;
            return Err(OutsideError::Cancelled);
        }
        () = tokio::time::sleep(limits.wall) => Err(Failure::Wall { limit: limits.wall }),
        talked = talk => talked,
    };

    if talked.as_ref().err().is_some_and(Failure::is_of_the_output) {
        let last_words = async {
            let drain = stream::drain(&mut pipes.stdout, &ended);
            let wait = async {
                let known = process.ended().await;
                ended.cancel();
                known
            };
            tokio::join!(drain, wait, lines.listen(&ended)).1
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = tokio::time::timeout(LAST_WORDS, last_words) => {}
        }
    }
    let by_itself = process.has_ended();
    process.stop().await;
    let usage = process.usage();
    let tail = lines.tail();
    let fault = by_itself
        .then(|| process.status())
        .flatten()
        .and_then(|status| error::of_status(status, limits, &usage, &tail));
    let failed =
        |why| OutsideError::Failed { program: name.clone(), why, last: LastLines(tail.clone()) };

    // How the program ended says more than what its output then lacks.
    let (rows_in, output) = match (talked, fault) {
        (Err(why), Some(fault)) if why.is_of_the_output() => return Err(failed(fault)),
        (Err(why), _) | (Ok(_), Some(why)) => return Err(failed(why)),
        (Ok(talked), None) => talked,
    };
    let Whole { schema, rows, bytes } = match output.whole() {
        Ok(output) => output,
        Err(why) => return Err(failed(why)),
    };
    let Usage { peak_memory_bytes, cpu } = usage;
    Ok(Ran {
        schema,
        wall: started.elapsed(),
        rows_in,
        rows_out: rows,
        bytes_out: bytes,
        peak_memory_bytes,
        cpu,
        stderr_tail: tail,
    })
}
