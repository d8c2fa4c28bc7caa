//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::parts::{Part, Task};

pub const USAGE: &str = "\
colonnade-gpu-package [OPTIONS]
  --only checks|benches|crossover|encoders   one part instead of all four, in this order
  --filter TEXT                     only what has TEXT in its name
  --scale N                         sizes of benchmarks divided by N; 1 when absent
  --rounds N                        calls that are timed after the first; 5 when absent
  --limit SECONDS                   for each child process; 900 when absent
  --out FILE                        the JSON document; colonnade-gpu-package.json when absent
  --in-process                      no child processes and no limit: for debuggers and profilers";

/// What a child process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// Lists the devices.
    Probe,
    /// Does one task.
    Task(Task),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub only: Option<Part>,
    pub filter: String,
    pub scale: usize,
    pub rounds: usize,
    pub limit: Duration,
    pub out: PathBuf,
    pub in_process: bool,
    /// Set where this process is a child: `--child probe` or `--child PART/NAME`.
    pub child: Option<Child>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            only: None,
            filter: String::new(),
            scale: 1,
            rounds: 5,
            limit: Duration::from_secs(900),
            out: "colonnade-gpu-package.json".into(),
            in_process: false,
            child: None,
        }
    }
}

impl Options {
    /// Reads the arguments after the program's name.
    pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--only" => options.only = Some(part(&value()?)?),
                "--filter" => options.filter = value()?,
                "--scale" => options.scale = count(&name, &value()?)?,
                "--rounds" => options.rounds = count(&name, &value()?)?,
                "--limit" => {
                    options.limit = Duration::from_secs(count(&name, &value()?)? as u64);
                }
                "--out" => options.out = value()?.into(),
                "--in-process" => options.in_process = true,
                "--child" => options.child = Some(child(&value()?)?),
                "--help" => return Err(USAGE.into()),
                _ => return Err(format!("there is no option {name}\n{USAGE}")),
            }
        }
        Ok(options)
    }
}

fn part(name: &str) -> Result<Part, String> {
    let found = Part::ALL.into_iter().find(|part| part.name() == name);
    found.ok_or(format!("there is no part {name}: checks, benches, crossover or encoders"))
}

fn count(name: &str, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{name} {text}: a whole number of at least 1 is needed")),
    }
}

fn child(text: &str) -> Result<Child, String> {
    if text == "probe" {
        return Ok(Child::Probe);
    }
    let (part_name, name) = text.split_once('/').ok_or(format!("there is no child {text}"))?;
    let part = part(part_name)?;
    let found = part.names().into_iter().find(|other| *other == name);
    Ok(Child::Task(Task { part, name: found.ok_or(format!("there is no child {text}"))? }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(line.split_whitespace().map(String::from))
    }

    #[test]
    fn every_option_is_read() {
        assert_eq!(read("").unwrap(), Options::default());
        let line = "--only benches --filter near --scale 100 --rounds 3 --limit 60 --out a.json --in-process";
        let expected = Options {
            only: Some(Part::Benches),
            filter: "near".into(),
            scale: 100,
            rounds: 3,
            limit: Duration::from_secs(60),
            out: "a.json".into(),
            in_process: true,
            child: None,
        };
        assert_eq!(read(line).unwrap(), expected);
    }

    #[test]
    fn what_means_nothing_is_named() {
        let fails = |line| read(line).unwrap_err();
        assert_eq!(
            fails("--only tests"),
            "there is no part tests: checks, benches, crossover or encoders"
        );
        assert_eq!(fails("--scale 0"), "--scale 0: a whole number of at least 1 is needed");
        assert_eq!(fails("--limit soon"), "--limit soon: a whole number of at least 1 is needed");
        assert_eq!(fails("--rounds"), "--rounds needs a value");
        assert!(fails("--fast").starts_with("there is no option --fast\n"));
        assert_eq!(fails("--child benches/none"), "there is no child benches/none");
    }

    #[test]
    fn every_task_can_be_named_to_a_child() {
        assert_eq!(read("--child probe").unwrap().child, Some(Child::Probe));
        for part in Part::ALL {
            for name in part.names() {
                let task = Task { part, name };
                assert_eq!(child(&task.to_string()), Ok(Child::Task(task)));
            }
        }
    }
}
