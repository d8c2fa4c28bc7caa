//! The peers' process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::cases::Run;
use crate::options::Options;
use crate::setup::Setup;

/// `benches/peers/peers.py` with one suite's peers, waiting for work.
pub struct Peers {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peers {
    /// Starts it on the data of `setup`.
    pub fn start(suite: &str, setup: &Setup, options: &Options) -> Result<Self, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/peers.py");
        let threads = options.threads.to_string();
        let mut command = Command::new(&options.python);
        command.arg(&script).arg(suite).arg(setup.for_peers());
        for variable in [
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "OMP_NUM_THREADS",
            "NUMBA_NUM_THREADS",
            "POLARS_MAX_THREADS",
            "RAYON_NUM_THREADS",
            "BENCH_THREADS",
        ] {
            command.env(variable, &threads);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start {}: {error}", options.python.display()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => {
                Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
            }
            _ => Err("the peers' process has no pipes".into()),
        }
    }

    /// Runs one peer once.
    pub fn run(&mut self, case: &str, peer: &str) -> Result<Run, String> {
        let failed = |what: &dyn std::fmt::Display| format!("{case}, {peer}: {what}");
        writeln!(self.stdin, "{case} / {peer}").map_err(|error| failed(&error))?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(|error| failed(&error))?;
        let answer: serde_json::Value = serde_json::from_str(&line)
            .map_err(|error| failed(&format!("`{}` is no answer: {error}", line.trim())))?;
        let sample = answer["sample"].as_array().into_iter().flatten();
        Ok(Run {
            seconds: answer["seconds"].as_f64().ok_or_else(|| failed(&"no seconds"))?,
            cpu_seconds: answer["cpu_seconds"].as_f64().unwrap_or(f64::NAN),
            sample: sample.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect(),
        })
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
