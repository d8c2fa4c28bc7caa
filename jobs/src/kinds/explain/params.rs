//! The parameters of `explain`.

use std::fmt;

use analysis::calendar::{Grid, Holidays, Interval, Zone};
use analysis::change::{DEPTH_LIMIT, Options};
use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::series::words::instant;

/// Columns that are looked at, and findings.
const DIMENSIONS_MAX: usize = 24;
const FINDINGS_MAX: usize = 100;

/// What changed, and between when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset whose rows the measure is of. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column with the instant of a row; null takes the one that the dataset declares. Default: null.
    pub time_column: Option<String>,
    /// What changed: a count, a sum, a mean, a ratio of these, or a quantile, such as "count(*)", "sum(cost_usd) / count(*)" or
    /// "approx_percentile_cont(latency_ms, 0.95)"; or the name of one that the dataset declares. Default: "count(*)".
    pub measure: String,
    /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Columns, or declared dimensions, whose values may carry the change; empty takes all texts and truth values with 2 to 1000
    /// values that the measure is not made of. Default: [].
    pub dimensions: Vec<String>,
    /// The change is of rows from this instant on.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub from: Option<DateTime<Utc>>,
    /// And before this one.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub to: Option<DateTime<Utc>>,
    /// Time zone whose months and days `from` and `to` may be of, by its IANA name. Default: UTC.
    pub zone: Zone,
    /// Against rows from this instant on. Default: null, which is as many months before `before_to` as lie between `from` and `to` if
    /// all three begin months in `zone`, as many days if they begin days, and otherwise as long.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub before_from: Option<DateTime<Utc>>,
    /// And before this one. Default: null, which is `from`.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub before_to: Option<DateTime<Utc>>,
    /// Most values that a finding is of at once, 1 to 4. Default: 3.
    pub depth: usize,
    /// Most findings. Default: 10.
    pub findings_max: usize,
    /// Findings end where they explain this part of all that stands out. Default: 0.9.
    pub explained: f64,
    /// Chance that anything is found where there is only noise. Default: 0.01.
    pub significance: f64,
    /// Variance of the noise over that of rows that come one by one: more than 1 where they come in bursts. Default: 1.
    pub dispersion: f64,
    /// Dataset that the findings are committed to. Default: explanations.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        let options = Options::default();
        Self {
            dataset: dataset_name("model_calls"),
            time_column: None,
            measure: "count(*)".into(),
            condition: None,
            dimensions: Vec::new(),
            from: None,
            to: None,
            zone: Zone::UTC,
            before_from: None,
            before_to: None,
            depth: options.depth_max,
            findings_max: options.findings_max,
            explained: options.explained,
            significance: options.significance,
            dispersion: options.dispersion,
            output: dataset_name("explanations"),
        }
    }
}

/// Rows from an instant on and before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        self.periods()?;
        let counts =
            [("depth", self.depth, DEPTH_LIMIT), ("findings_max", self.findings_max, FINDINGS_MAX)];
        for (name, found, most) in counts {
            if !(1..=most).contains(&found) {
                return Err(bad(NAME, name, format!("expected 1 to {most}, found {found}")));
            }
        }
        if self.dimensions.len() > DIMENSIONS_MAX {
            let found = self.dimensions.len();
            let says = format!("expected at most {DIMENSIONS_MAX} columns, found {found}");
            return Err(bad(NAME, "dimensions", says));
        }
        let twice = self.dimensions.iter().enumerate();
        let mut twice = twice.filter(|(at, name)| self.dimensions[..*at].contains(name));
        if let Some((_, name)) = twice.next() {
            return Err(bad(NAME, "dimensions", format!("{name:?} is there twice")));
        }
        for (name, found) in [("explained", self.explained), ("significance", self.significance)] {
            if !(found > 0.0 && found <= 1.0) {
                let says = format!("expected above 0 and at most 1, found {found}");
                return Err(bad(NAME, name, says));
            }
        }
        if !(self.dispersion.is_finite() && self.dispersion > 0.0) {
            let says = format!("expected a number above 0, found {}", self.dispersion);
            return Err(bad(NAME, "dispersion", says));
        }
        Ok(())
    }

    /// The earlier period and the later one.
    pub(super) fn periods(&self) -> Result<[Between; 2]> {
        let missing = |name| bad(NAME, name, "expected an instant: what changed is told of a time");
        let from = self.from.ok_or_else(|| missing("from"))?;
        let to = self.to.ok_or_else(|| missing("to"))?;
        let later = Between { from, to };
        later.check("from", "to")?;
        let before_to = self.before_to.unwrap_or(from);
        let before_from = self.before_from.or_else(|| before(later, before_to, self.zone));
        let before_from = before_from.ok_or_else(|| missing("before_from"))?;
        let earlier = Between { from: before_from, to: before_to };
        earlier.check("before_from", "before_to")?;
        if earlier.from < later.to && later.from < earlier.to {
            let says = format!("expected no instant of both periods; the later begins at {from}");
            return Err(bad(NAME, "before_to", says));
        }
        Ok([earlier, later])
    }

    pub(super) fn options(&self) -> Options {
        Options {
            depth_max: self.depth,
            findings_max: self.findings_max,
            explained: self.explained,
            significance: self.significance,
            dispersion: self.dispersion,
        }
    }
}

/// The begin of the period that ends at `until` and is as long as `like`: in months or days of the zone if all instants begin such.
fn before(like: Between, until: DateTime<Utc>, zone: Zone) -> Option<DateTime<Utc>> {
    let of_calendar = |interval| {
        let grid = Grid::stated(interval, zone, &Holidays::default(), 0);
        let number = |at: DateTime<Utc>| {
            let at_us = at.timestamp_micros();
            let number = grid.number(at_us);
            (grid.at(number) == at_us).then_some(number)
        };
        let number = number(until)? - (number(like.to)? - number(like.from)?);
        DateTime::from_timestamp_micros(grid.at(number))
    };
    [Interval::MONTH, Interval::DAY]
        .into_iter()
        .find_map(of_calendar)
        .or_else(|| until.checked_sub_signed(like.to - like.from))
}

/// Both instants, in words.
impl fmt::Display for Between {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [self.from, self.to].map(|at| instant(at.timestamp_micros()));
        write!(formatter, "{from} to {to}")
    }
}

impl Between {
    fn check(self, from: &str, to: &str) -> Result<()> {
        match self.from < self.to {
            true => Ok(()),
            false => {
                let says = format!(
                    "expected an instant after `{from}` ({}), found {}",
                    self.from, self.to
                );
                Err(bad(NAME, to, says))
            }
        }
    }
}
