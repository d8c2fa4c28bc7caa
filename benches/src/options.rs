//! What is measured.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::cases::SUITES;

/// The command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// The suites to run; all when empty.
    pub suites: Vec<String>,
    /// Sizes other than a suite's own.
    pub sizes: BTreeMap<String, usize>,
    /// Rounds that are timed.
    pub rounds: usize,
    /// Rounds before them that are not: they warm caches and compilers.
    pub warm_up: usize,
    /// Threads, ours and the peers'.
    pub threads: NonZeroUsize,
    /// The interpreter that has the peers.
    pub python: PathBuf,
    /// Where to write the tables.
    pub record: Option<PathBuf>,
}

impl Options {
    /// Reads names of suites and `--name value` pairs.
    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            suites: Vec::new(),
            sizes: BTreeMap::new(),
            rounds: 5,
            warm_up: 1,
            threads: std::thread::available_parallelism().map_err(|error| error.to_string())?,
            python: PathBuf::from("python3"),
            record: None,
        };
        while let Some(name) = arguments.next() {
            if !name.starts_with("--") {
                let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
                if !known.contains(&name.as_str()) {
                    return Err(format!(
                        "there is no suite {name}; there are {}",
                        known.join(", ")
                    ));
                }
                options.suites.push(name);
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--set" => {
                    let (size, value) = value
                        .split_once('=')
                        .ok_or_else(|| format!("--set {value}: SIZE=N is needed"))?;
                    options.sizes.insert(size.to_owned(), number(size, value)?.get());
                }
                "--rounds" => options.rounds = number(&name, &value)?.get(),
                "--warm-up" => {
                    options.warm_up = value
                        .parse()
                        .map_err(|_| format!("--warm-up is `{value}`; a whole number is needed"))?;
                }
                "--threads" => options.threads = number(&name, &value)?,
                "--python" => options.python = PathBuf::from(value),
                "--record" => options.record = Some(PathBuf::from(value)),
                _ => return Err(format!("there is no option {name}")),
            }
        }
        Ok(options)
    }

    /// Whether a suite is to be run.
    pub fn wants(&self, suite: &str) -> bool {
        self.suites.is_empty() || self.suites.iter().any(|wanted| wanted == suite)
    }
}

fn number(name: &str, value: &str) -> Result<NonZeroUsize, String> {
    value
        .parse::<NonZeroUsize>()
        .map_err(|_| format!("{name} is `{value}`; a whole number above 0 is needed"))
}
