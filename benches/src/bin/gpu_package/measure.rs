//! Times of one case, and whether its last result is right.
//!
//! The first call opens the device and loads code: it is told apart and warms up for the others. Of those the medians
//! are told, from call to return with the input in main memory, and of the kernels alone, by events on the device.

use std::time::Instant;

use kernels::{Execution, GpuPolicy};
use serde_json::{Value, json};

use crate::cases::{self, Case, Entry, Round};
use crate::options::Options;
use crate::parts::Tell;

/// Measures the case of this name on the device; false where it fails or is wrong.
pub fn run(name: &str, options: &Options, tell: &mut Tell<'_>) -> bool {
    let execution = Execution { gpu: GpuPolicy::Required, ..Execution::default() };
    let Some(entry) = cases::ALL.iter().find(|entry| entry.name == name) else {
        tell(json!({ "error": "there is no such case" }));
        return false;
    };
    match measure(entry, options, &execution, tell) {
        Ok(holds) => holds,
        Err(error) => {
            tell(json!({ "error": error.to_string() }));
            false
        }
    }
}

fn measure(
    entry: &Entry,
    options: &Options,
    execution: &Execution,
    tell: &mut Tell<'_>,
) -> kernels::Result<bool> {
    let mut case = (entry.make)(options.scale);
    tell(json!({
        "what": entry.what,
        "size": case.size(),
        "goalSeconds": entry.goal.map(|goal| goal.seconds),
        "goalOf": entry.goal.map(|goal| goal.of),
    }));
    let (first, seconds) = timed(case.as_mut(), execution)?;
    tell(json!({ "firstSeconds": seconds, "device": first.stats.device.to_string() }));
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        rounds.push(timed(case.as_mut(), execution)?);
        tell(told(&rounds));
    }
    if let (Some(goal), 1) = (entry.goal, options.scale) {
        let within = |of: &dyn Fn(&(Round, f64)) -> f64| median(&rounds, of) <= Some(goal.seconds);
        tell(json!({
            "withinGoal": within(&|(_, seconds)| *seconds),
            "kernelsWithinGoal": within(&|(round, _)| round.kernel_seconds()),
        }));
    }
    let start = Instant::now();
    let agreement = case.compare()?;
    let seconds = start.elapsed().as_secs_f64();
    tell(json!({ "agreement": agreement.to_json(), "compareSeconds": seconds }));
    Ok(agreement.holds())
}

fn timed(case: &mut dyn Case, execution: &Execution) -> kernels::Result<(Round, f64)> {
    let start = Instant::now();
    let round = case.run(execution)?;
    Ok((round, start.elapsed().as_secs_f64()))
}

/// The rounds so far.
fn told(rounds: &[(Round, f64)]) -> Value {
    let each: Vec<Value> = rounds
        .iter()
        .map(|(round, seconds)| {
            json!({ "seconds": seconds, "kernelSeconds": round.kernel_seconds() })
        })
        .collect();
    let mut told = json!({
        "seconds": median(rounds, &|(_, seconds)| *seconds),
        "kernelSeconds": median(rounds, &|(round, _)| round.kernel_seconds()),
        "rounds": each,
    });
    if let Some((last, _)) = rounds.last() {
        told["tiles"] = last.stats.tiles.into();
        told["halvings"] = last.stats.halvings.into();
        told["peakBytes"] = last.stats.peak_bytes.into();
        told["fallbacks"] = last.stats.fallbacks.into();
        if let Some((count, of)) = last.fallbacks_of {
            told["fallbackShare"] = (last.stats.fallbacks as f64 / count.max(1) as f64).into();
            told["fallbackShareOf"] = of.into();
        }
        for (at, (name, _)) in last.parts.iter().enumerate() {
            told[name] = json!(median(rounds, &|(round, _)| round.parts[at].1));
        }
    }
    told
}

/// The middle one; of an even number the upper.
pub fn median<T>(items: &[T], of: &dyn Fn(&T) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = items.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Map;

    /// Every case on the processor: that it runs, and that its comparison finds the result right.
    #[test]
    fn every_case_agrees_on_the_processor() {
        let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
        let options = Options { scale: 1_000_000, rounds: 1, ..Options::default() };
        for entry in cases::ALL {
            let mut told = Map::new();
            let holds = measure(entry, &options, &execution, &mut |value| {
                told.extend(value.as_object().cloned().unwrap());
            });
            let told = Value::Object(told);
            assert!(holds.unwrap(), "{}: {told:#}", entry.name);
            assert!(told["seconds"].as_f64().unwrap() > 0.0, "{told:#}");
            assert!(told["size"].is_string() && told["device"] == "cpu: gpu = off", "{told:#}");
            // Times at another size are not those that the goal is for.
            assert!(told.get("withinGoal").is_none());
        }
    }

    #[test]
    fn a_result_that_is_not_there_agrees_with_nothing() {
        for entry in cases::ALL {
            let case = (entry.make)(1_000_000);
            assert!(!case.compare().unwrap().holds(), "{}", entry.name);
        }
    }

    #[test]
    fn without_a_device_a_case_says_so() {
        if kernels::devices().cuda_absent.is_none() {
            return;
        }
        let options = Options { scale: 1_000_000, ..Options::default() };
        let mut error = String::new();
        let holds = run("minhash", &options, &mut |value| {
            if let Some(text) = value["error"].as_str() {
                error = text.to_owned();
            }
        });
        assert!(!holds && error.contains("gpu = required, but"), "{error}");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let of = |values: &[f64]| median(values, &|value| *value);
        assert_eq!((of(&[3.0, 1.0, 2.0]), of(&[2.0, 1.0]), of(&[])), (Some(2.0), Some(2.0), None));
    }
}
