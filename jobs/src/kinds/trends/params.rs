//! The parameters of `trends`.

use analysis::series::trend::change_points::LENGTH_MAX;
use datasets::DatasetName;
use engine::Result;

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::series::{check_count, series_params};

/// The most intervals that are new enough for a record.
const RECORD_MAX: usize = 10_000;

series_params! {
    job: NAME,
    /// What changed in the long run, and how surely.
    pub struct Params {
        /// The share of slopes that may be false, of all series that are looked at together (Benjamini & Hochberg), and the chance of
        /// each change of level or season where there is none. Default: 0.01.
        pub max_q: f64 = 0.01,
        /// Least difference of two levels, in standard deviations of the noise. Default: 1.
        pub min_difference: f64 = 1.0,
        /// Intervals that a level lasts at least, 2 to 100; a shorter one is an outlier, and for `anomalies`. Default: 12.
        pub min_level: usize = 12,
        /// The last intervals in which a record is reported, at most `max_q` of all; 0 reports none. Default: 24.
        pub record_intervals: usize = 24,
        /// Dataset that the findings are committed to. Default: trends.
        #[schemars(with = "String")]
        pub output: DatasetName = dataset_name(NAME),
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        self.check_series()?;
        if !(self.max_q > 0.0 && self.max_q <= 1.0) {
            let says = format!("expected above 0 and at most 1, found {}", self.max_q);
            return Err(bad(NAME, "max_q", says));
        }
        if !(self.min_difference.is_finite() && self.min_difference >= 0.0) {
            let says = format!("expected 0 or more, found {}", self.min_difference);
            return Err(bad(NAME, "min_difference", says));
        }
        check_count(NAME, "min_level", self.min_level, 2, LENGTH_MAX)?;
        if self.record_intervals > RECORD_MAX {
            let says = format!("expected at most {RECORD_MAX}, found {}", self.record_intervals);
            return Err(bad(NAME, "record_intervals", says));
        }
        Ok(())
    }
}
