//! What there is to do, by name.

use std::fmt;

use serde_json::Value;

use crate::options::Options;
use crate::{cases, checks, crossover, encoders, measure};

/// Takes what is known of a task so far: an object whose fields replace those told before.
pub type Tell<'a> = dyn FnMut(Value) + 'a;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Correctness, by the kernels' suite.
    Checks,
    /// Times at the sizes that the product is meant for.
    Benches,
    /// From which size on a device is faster.
    Crossover,
    /// Text encoders, which run by other kernels.
    Encoders,
}

impl Part {
    /// In the order in which they run: times of what is wrong are worth nothing.
    pub const ALL: [Self; 4] = [Self::Checks, Self::Benches, Self::Crossover, Self::Encoders];

    pub fn name(self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::Benches => "benches",
            Self::Crossover => "crossover",
            Self::Encoders => "encoders",
        }
    }

    pub fn names(self) -> Vec<&'static str> {
        match self {
            Self::Checks => checks::names(),
            Self::Benches => cases::ALL.iter().map(|case| case.name).collect(),
            Self::Crossover => crossover::names(),
            Self::Encoders => encoders::names(),
        }
    }
}

/// The smallest thing that runs in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    pub part: Part,
    pub name: &'static str,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part.name(), self.name)
    }
}

impl Task {
    /// Does it; false where something was wrong.
    pub fn perform(self, options: &Options, tell: &mut Tell<'_>) -> bool {
        match self.part {
            Part::Checks => checks::run(self.name, tell),
            Part::Benches => measure::run(self.name, options, tell),
            Part::Crossover => crossover::run(self.name, options, tell),
            Part::Encoders => encoders::run(self.name, options, tell),
        }
    }
}

/// The tasks that are asked for. None at all is an error that names what there is.
pub fn tasks(options: &Options) -> Result<Vec<Task>, String> {
    let all: Vec<Task> = Part::ALL
        .into_iter()
        .filter(|&part| options.only.is_none_or(|only| only == part))
        .flat_map(|part| part.names().into_iter().map(move |name| Task { part, name }))
        .collect();
    let wanted: Vec<Task> =
        all.iter().copied().filter(|task| task.name.contains(&options.filter)).collect();
    if wanted.is_empty() {
        let names: String = all.iter().map(|task| format!("\n  {task}")).collect();
        return Err(format!("nothing has `{}` in its name; there are{names}", options.filter));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(only: Option<Part>, filter: &str) -> Result<Vec<String>, String> {
        let options = Options { only, filter: filter.into(), ..Options::default() };
        Ok(tasks(&options)?.iter().map(Task::to_string).collect())
    }

    #[test]
    fn every_operation_with_kernels_has_a_check_a_case_and_a_ladder() {
        for operation in kernels::Crossover::default().operations() {
            if operation.device_from.is_none() || operation.name == "correlate_lagged" {
                continue;
            }
            for part in [Part::Checks, Part::Benches, Part::Crossover] {
                assert!(!named(Some(part), operation.name).unwrap().is_empty(), "{operation:?}");
            }
        }
    }

    #[test]
    fn checks_come_first_and_a_filter_leaves_some() {
        let all = named(None, "").unwrap();
        assert!(all[0].starts_with("checks/") && all[all.len() - 1].starts_with("encoders/"));
        assert_eq!(named(Some(Part::Benches), "forest").unwrap(), ["benches/isolation_forest"]);
    }

    #[test]
    fn a_filter_that_matches_nothing_names_the_cases() {
        let error = named(Some(Part::Benches), "nothing").unwrap_err();
        assert!(error.starts_with("nothing has `nothing` in its name; there are\n"), "{error}");
        for name in Part::Benches.names() {
            assert!(error.contains(&format!("\n  benches/{name}")), "{error}");
        }
    }
}
