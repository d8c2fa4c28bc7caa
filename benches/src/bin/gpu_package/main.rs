//! The checks and benchmarks of kernels and encoders in one binary, for a machine with a CUDA driver and nothing else.
//!
//! Each check, benchmark and ladder runs in a child process with a time limit, and the JSON document is whole on disk
//! after each: a kernel that hangs or dies costs its own result only. [`options::USAGE`] is the command line. Exits with
//! 1 when something failed or died, and with 2 without a device or on a command line that means nothing.

// A program whose purpose is to print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod agreement;
mod cases;
mod checks;
mod child;
mod crossover;
mod data;
mod devices;
mod document;
mod encoders;
mod ladders;
mod measure;
mod options;
mod parts;
mod session;

use std::io::Write;
use std::process::{Command, ExitCode};

use serde_json::Value;

use options::{Child, Options};
use session::Outcome;

fn main() -> ExitCode {
    let outcome = Options::read(std::env::args().skip(1)).and_then(|options| match options.child {
        Some(child) => {
            Ok(if as_child(child, &options) { Outcome::Passed } else { Outcome::Failed })
        }
        None => as_parent(&options),
    });
    match outcome {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Ok(Outcome::Absent) => ExitCode::from(2),
        Err(error) => {
            eprintln!("gpu-package: {error}");
            ExitCode::from(2)
        }
    }
}

fn as_parent(options: &Options) -> Result<Outcome, String> {
    let tasks = parts::tasks(options)?;
    let program = std::env::current_exe()
        .map_err(|error| format!("find this program, to start it as a child: {error}"))?;
    session::run(options, &tasks, &|child| {
        let mut command = Command::new(&program);
        command.args(["--child", child]);
        command.args(["--scale", &options.scale.to_string()]);
        command.args(["--rounds", &options.rounds.to_string()]);
        command
    })
}

fn as_child(child: Child, options: &Options) -> bool {
    match child {
        Child::Probe => {
            tell(devices::probe());
            true
        }
        Child::Task(task) => task.perform(options, &mut tell),
    }
}

/// To the parent, at once.
fn tell(value: Value) {
    println!("{value}");
    // Without a reader there is nobody to tell.
    let _ = std::io::stdout().flush();
}
