//! CUSUM: an alarm as soon as a mean has moved.
//!
//! Page, "Continuous inspection schemes", Biometrika 41, 1954; in the two-sided tabular form of Montgomery,
//! "Introduction to Statistical Quality Control", 9.1. With z = (x − target) / deviation,
//! ```text
//!   up   = max(0, up   + z − allowance)        alarm where one is beyond the decision value
//!   down = max(0, down − z − allowance)
//! ```
//! An allowance of half the shift that matters, and a decision value of 5, give a false alarm every 465 samples of
//! normal noise and find a shift of one deviation after 10.4 (Montgomery, table 9.3).
//!
//! **Reset.** After an alarm both sums start again from 0, with the target as it was: a shift that stays gives alarm
//! after alarm. **Missing values.** NaN and infinities are counted and change nothing.

use crate::error::{Error, Result};

/// What is normal, and how far from it is far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CusumOptions {
    /// The mean of normal samples.
    pub target: f64,
    /// Their standard deviation, above 0.
    pub deviation: f64,
    /// How far from the target counts as nothing, in deviations; 0 or more.
    pub allowance: f64,
    /// The sum beyond which there is an alarm, in deviations; above 0.
    pub decision: f64,
}

impl CusumOptions {
    /// For shifts of one deviation: an allowance of ½ and a decision value of 5.
    pub fn new(target: f64, deviation: f64) -> Self {
        Self { target, deviation, allowance: 0.5, decision: 5.0 }
    }
}

/// To which side a mean has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Above the target.
    Up,
    /// Below it.
    Down,
}

/// A mean has moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarm {
    /// The sample that gave it, counted from 0, with those that are missing.
    pub at: u64,
    /// The first sample of the run that ends there: where the shift is likely to have begun.
    pub since: u64,
    /// To which side.
    pub direction: Direction,
    /// An estimate of the new mean: the target, and the allowance and the run's mean excess beyond it.
    pub mean: f64,
}

/// One series as it comes.
///
/// ```
/// use kernels::changepoint::{Cusum, CusumOptions, Direction};
///
/// let mut cusum = Cusum::new(CusumOptions::new(10.0, 1.0))?;
/// let samples = [10.2, 9.9, f64::NAN, 10.1, 12.1, 11.9, 12.0, 12.2];
/// let alarm = samples.iter().find_map(|&sample| cusum.push(sample)).unwrap();
/// assert_eq!((alarm.at, alarm.since, alarm.direction), (7, 4, Direction::Up));
/// assert!((alarm.mean - 12.05).abs() < 1e-9);
/// # Ok::<(), kernels::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Cusum {
    options: CusumOptions,
    up: Run,
    down: Run,
    seen: u64,
    missing: u64,
}

/// A sum since it was last 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Run {
    sum: f64,
    since: u64,
    length: u64,
}

impl Run {
    fn add(&mut self, excess: f64, at: u64) {
        if self.sum == 0.0 {
            (self.since, self.length) = (at, 0);
        }
        self.sum = (self.sum + excess).max(0.0);
        self.length += 1;
    }
}

impl Cusum {
    /// Fails on options that mean nothing.
    pub fn new(options: CusumOptions) -> Result<Self> {
        let CusumOptions { target, deviation, allowance, decision } = options;
        for (option, found, right, expected) in [
            ("target", target, true, "it must be finite"),
            ("deviation", deviation, deviation > 0.0, "it must be finite and above 0"),
            ("allowance", allowance, allowance >= 0.0, "it must be finite and at least 0"),
            ("decision", decision, decision > 0.0, "it must be finite and above 0"),
        ] {
            if !right || !found.is_finite() {
                return Err(Error::Option {
                    operation: "cusum",
                    option,
                    found: found.to_string(),
                    expected: expected.into(),
                });
            }
        }
        let (up, down) = Default::default();
        Ok(Self { options, up, down, seen: 0, missing: 0 })
    }

    /// Takes the next sample.
    pub fn push(&mut self, sample: f64) -> Option<Alarm> {
        let at = self.seen;
        self.seen += 1;
        if !sample.is_finite() {
            self.missing += 1;
            return None;
        }
        let CusumOptions { target, deviation, allowance, decision } = self.options;
        let z = (sample - target) / deviation;
        self.up.add(z - allowance, at);
        self.down.add(-z - allowance, at);
        // Both at once can't be: the sums can only grow together by less than nothing.
        let (run, direction, sign) = if self.up.sum > decision {
            (self.up, Direction::Up, 1.0)
        } else if self.down.sum > decision {
            (self.down, Direction::Down, -1.0)
        } else {
            return None;
        };
        self.reset();
        let beyond = allowance + run.sum / run.length as f64;
        Some(Alarm { at, since: run.since, direction, mean: target + sign * deviation * beyond })
    }

    /// Forgets what was summed up, and goes on counting samples.
    pub fn reset(&mut self) {
        (self.up, self.down) = Default::default();
    }

    /// The two sums, up and down, in deviations.
    pub fn sums(&self) -> (f64, f64) {
        (self.up.sum, self.down.sum)
    }

    /// Samples so far, with those that are missing.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Samples that were NaN or infinite.
    pub fn missing(&self) -> u64 {
        self.missing
    }
}
