//! Whether a sample of a result is what it should be.

use serde_json::{Value, json};

/// Failures that are listed.
const LISTED: usize = 5;

/// What was compared with what, and how far apart they are.
pub struct Agreement {
    what: String,
    bound: f64,
    worst: f64,
    compared: usize,
    failed: usize,
    failures: Vec<String>,
}

impl Agreement {
    /// `bound` is the largest difference that is none.
    pub fn new(what: impl Into<String>, bound: f64) -> Self {
        let what = what.into();
        Self { what, bound, worst: 0.0, compared: 0, failed: 0, failures: Vec::new() }
    }

    /// A difference; a NaN is too large.
    pub fn differ(&mut self, by: f64, describe: impl FnOnce() -> String) {
        self.worst = if by.is_nan() { f64::INFINITY } else { self.worst.max(by) };
        self.require(by <= self.bound, || format!("{} (off by {by:e})", describe()));
    }

    /// Something that must be so.
    pub fn require(&mut self, is_so: bool, describe: impl FnOnce() -> String) {
        self.compared += 1;
        if !is_so {
            self.failed += 1;
            if self.failures.len() < LISTED {
                self.failures.push(describe());
            }
        }
    }

    pub fn holds(&self) -> bool {
        self.failed == 0 && self.compared > 0
    }

    pub fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "holds": self.holds(),
            "comparisons": self.compared,
            "failed": self.failed,
            "worst": self.worst,
            "bound": self.bound,
            "failures": self.failures,
        })
    }
}

/// About `count` of `of` indices, evenly spread, with the first and the last.
pub fn spread(of: usize, count: usize) -> Vec<usize> {
    let count = count.min(of);
    match count {
        0 => Vec::new(),
        1 => vec![0],
        _ => (0..count).map(|at| at * (of - 1) / (count - 1)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_compared_is_no_agreement_and_a_nan_is_a_difference() {
        let mut agreement = Agreement::new("test", 1e-3);
        assert!(!agreement.holds());
        agreement.differ(1e-4, String::new);
        assert!(agreement.holds());
        agreement.differ(f64::NAN, || "the third".into());
        assert!(!agreement.holds());
        assert_eq!(agreement.to_json()["failures"][0], "the third (off by NaN)");
    }

    #[test]
    fn indices_are_spread_from_end_to_end() {
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
        assert_eq!((spread(3, 8), spread(0, 8), spread(5, 1)), (vec![0, 1, 2], vec![], vec![0]));
    }
}
