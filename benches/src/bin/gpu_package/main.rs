//! The kernels' checks and benchmarks in one binary, for a machine with a CUDA driver and nothing else.
//!
//! `colonnade-gpu-package [--only checks|benches|crossover] [--filter TEXT] [--small] [--out FILE]`
//!
//! Prints what it does on stderr and one JSON document on stdout (or into FILE). Exits with 1 when a check fails.
//! Under `compute-sanitizer`, use `--only checks`.

// A program whose purpose is to print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod benches;
mod checks;
mod crossover;

use std::process::ExitCode;

use serde_json::{Value, json};

/// The command line.
struct Options {
    only: Option<String>,
    filter: String,
    is_small: bool,
    out: Option<String>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { only: None, filter: String::new(), is_small: false, out: None };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--only" => {
                    let part = value()?;
                    if !["checks", "benches", "crossover"].contains(&part.as_str()) {
                        return Err(format!("--only {part}: checks, benches or crossover"));
                    }
                    options.only = Some(part);
                }
                "--filter" => options.filter = value()?,
                "--small" => options.is_small = true,
                "--out" => options.out = Some(value()?),
                _ => return Err(format!("there is no option {name}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu-package: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every check passed.
fn run() -> Result<bool, String> {
    let options = Options::read(std::env::args().skip(1))?;
    let devices = kernels::devices();
    if let Some(reason) = &devices.cuda_absent {
        return Err(format!("no CUDA device: {reason}"));
    }
    let facts: Vec<Value> = devices
        .found
        .iter()
        .map(|facts| {
            let details: Vec<String> =
                facts.details.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            json!({
                "device": facts.device.to_string(),
                "memoryBytes": facts.memory_bytes,
                "details": details,
            })
        })
        .collect();
    let mut document = json!({ "version": env!("CARGO_PKG_VERSION"), "devices": facts });
    let mut all_passed = true;
    if options.wants("checks") {
        let (checks, passed) = checks::run(&options.filter);
        document["checks"] = checks;
        all_passed = passed;
    }
    if options.wants("benches") {
        document["benches"] = benches::run(&options.filter, options.is_small);
    }
    if options.wants("crossover") {
        document["crossover"] = crossover::run(&options.filter, options.is_small);
    }
    let text = format!("{document:#}\n");
    match &options.out {
        Some(path) => {
            std::fs::write(path, text).map_err(|error| format!("write {path}: {error}"))?
        }
        None => print!("{text}"),
    }
    Ok(all_passed)
}
