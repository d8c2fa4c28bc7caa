//! What is measured.

use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Series.
    pub rows: usize,
    /// Samples of each.
    pub cols: usize,
    /// Samples of a rolling window.
    pub window: usize,
    /// Rounds that are timed, after one that is not.
    pub rounds: usize,
    /// Threads, ours and the peers'.
    pub threads: NonZeroUsize,
    /// The interpreter that has the peers.
    pub python: PathBuf,
    /// Where to write the table.
    pub record: Option<PathBuf>,
}

impl Options {
    /// Rows of the cases that have a peer too slow for all of them.
    pub const FEW_ROWS: usize = 20;

    /// Reads `--name value` pairs.
    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rows: 2_000,
            cols: 10_000,
            window: 168,
            rounds: 5,
            threads: std::thread::available_parallelism().map_err(|error| error.to_string())?,
            python: PathBuf::from("python3"),
            record: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                value
                    .parse::<NonZeroUsize>()
                    .map_err(|_| format!("{name} is `{value}`; a whole number above 0 is needed"))
            };
            match name.as_str() {
                "--rows" => options.rows = number()?.get(),
                "--cols" => options.cols = number()?.get(),
                "--window" => options.window = number()?.get(),
                "--rounds" => options.rounds = number()?.get(),
                "--threads" => options.threads = number()?,
                "--python" => options.python = PathBuf::from(value),
                "--record" => options.record = Some(PathBuf::from(value)),
                _ => return Err(format!("there is no option {name}")),
            }
        }
        Ok(options)
    }
}
