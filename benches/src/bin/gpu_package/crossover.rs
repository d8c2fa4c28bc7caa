//! From which size on the device is faster than the processor: what `kernels::Crossover` should say.

use std::time::Instant;

use kernels::{Execution, GpuPolicy, Result};
use serde_json::{Value, json};

use crate::ladders::{LADDERS, Ladder, Step};
use crate::measure::median;
use crate::options::Options;
use crate::parts::Tell;

/// Steps of each ladder; each is four times the one before.
const STEPS: i32 = 8;
/// Calls that are timed, after one that warms up.
const CALLS: usize = 3;

pub fn names() -> Vec<&'static str> {
    LADDERS.iter().map(|ladder| ladder.name).collect()
}

/// Climbs the ladder of this name, and tells after each step; false where one fails.
pub fn run(name: &str, options: &Options, tell: &mut Tell<'_>) -> bool {
    let Some(ladder) = LADDERS.iter().find(|ladder| ladder.name == name) else {
        tell(json!({ "error": "there is no such ladder" }));
        return false;
    };
    climb(ladder, options.scale, GpuPolicy::Required, tell)
}

fn climb(ladder: &Ladder, scale: usize, device: GpuPolicy, tell: &mut Tell<'_>) -> bool {
    let mut steps: Vec<Value> = Vec::new();
    let mut crossover = None;
    let mut is_sound = true;
    for index in 0..STEPS {
        let mut step = (ladder.make)(ladder.least * 4f64.powi(index) / scale as f64);
        let times =
            timed(&mut step, GpuPolicy::Off).and_then(|cpu| Ok((cpu, timed(&mut step, device)?)));
        match times {
            Ok((cpu, device)) => {
                // Where it is slower once more, it was luck before.
                crossover = if device < cpu { crossover.or(Some(step.work)) } else { None };
                eprintln!("{:.1e}: processor {cpu:.4} s, device {device:.4} s", step.work);
                steps.push(json!({
                    "work": step.work, "cpuSeconds": cpu, "deviceSeconds": device,
                }));
            }
            Err(error) => {
                is_sound = false;
                steps.push(json!({ "work": step.work, "error": error.to_string() }));
            }
        }
        tell(json!({ "crossover": crossover, "steps": steps }));
    }
    is_sound
}

/// The median of a few calls, in seconds.
fn timed(step: &mut Step, gpu: GpuPolicy) -> Result<f64> {
    let execution = Execution { gpu, ..Execution::default() };
    (step.run)(&execution)?;
    let mut seconds = Vec::new();
    for _ in 0..CALLS {
        let start = Instant::now();
        (step.run)(&execution)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(median(&seconds, &|seconds| *seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every ladder on the processor alone, at its smallest.
    #[test]
    fn every_ladder_can_be_climbed() {
        for ladder in LADDERS {
            let mut told = Value::Null;
            let sound = climb(ladder, 1_000_000_000, GpuPolicy::Off, &mut |value| told = value);
            assert!(sound, "{}: {told:#}", ladder.name);
            let steps = told["steps"].as_array().unwrap();
            assert_eq!(steps.len(), STEPS as usize);
            assert!(steps.iter().all(|step| step["work"].as_f64().unwrap() > 0.0), "{told:#}");
        }
    }

    #[test]
    fn there_is_a_ladder_for_every_field() {
        let operations = kernels::Crossover::default().operations();
        let on_device = operations.iter().filter(|facts| facts.device_from.is_some());
        let mut expected: Vec<&str> = on_device.map(|facts| facts.name).collect();
        let mut names = names();
        expected.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, expected);
    }
}
