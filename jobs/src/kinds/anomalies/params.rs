//! The parameters of `anomalies`.

use analysis::calendar::{Holidays, Interval, Zone};
use analysis::outlying::COLUMNS_MAX;
use analysis::series::Season;
use analysis::series::missing::usual_gap;
use analysis::series::online::EpisodeOptions;
use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_times, dataset_name};
use crate::series::{Intervals, MeasureOf};

/// Least rarity of a value where `windows` looks as well: less brings false alarms, and no window of NAB that is not found anyway.
const RARITY_BESIDE_WINDOWS: f64 = 2.5;

/// How series are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// As `windows`, and in long series with heavy tails also as `online`. Every run reads everything.
    #[default]
    Auto,
    /// Compares each value with those around it, before and after. Every run reads everything.
    Windows,
    /// Compares each value with those before it, and stores what is known of them. A run reads rows since the previous run.
    Online,
    /// Each row beside all others of its series, in several columns together.
    Columns,
}

/// What to look for, where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that holds the series, one row for each sample. Default: metrics.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// How to look: "windows" compares each value with those before and after it and reads everything in each run; "online" compares it
    /// with those before it, reads only rows since the previous run, and finds the same as if it had read all at once; "auto" is
    /// windows, and online as well in series of 1,000 samples or more with heavy tails; "columns" compares each row with all others of its series, in several
    /// columns together. Default: auto.
    pub method: Method,
    /// Column that names the series; null makes the whole dataset one series. Default: series.
    pub series_column: Option<String>,
    /// Column with the instant of a sample. Default: at.
    pub time_column: String,
    /// Column with the value of a sample. Default: value.
    pub value_column: String,
    /// With the method columns: columns of numbers that are looked at together, or, with an `interval`, measures of the rows of each, such
    /// as "count(*)" or "avg(latency_ms)"; 1 to 64. Default: [].
    pub columns: Vec<String>,
    /// With the method columns: length of an interval, such as "1h", whose rows are looked at as one; null looks at each row. Default: null.
    pub interval: Option<Interval>,
    /// Time zone of calendar intervals, by its IANA name. Default: UTC.
    pub zone: Zone,
    /// Days off, which business days exclude: dates, or codes of countries for their public holidays, such as ["DE", "2026-12-24"].
    /// Default: [].
    pub holidays: Holidays,
    /// With the method columns: only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// With the method columns: least rarity of a row to be reported, as -log10 of how many series without an unusual one have it by chance;
    /// 0.5 to 8. Default: 2.
    pub columns_score: f64,
    /// With the method columns: all that the isolation forest draws at random follows from it. Default: 0.
    pub columns_seed: u64,
    /// Only these series, by name; empty takes all. Default: [].
    pub series: Vec<String>,
    /// Report only what ends at or after this instant; earlier samples still serve as history. Default: null.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub from: Option<DateTime<Utc>>,
    /// Leave out samples at or after this instant. Default: null.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub to: Option<DateTime<Utc>>,
    /// With the methods auto and online: least rarity of a value to be reported, as -log10 of how often that is; 0.5 to 8. Null takes 2.3
    /// with online, and 2.5 with auto, where windows finds some of it. Default: null.
    pub rarity: Option<f64>,
    /// With the methods auto and online: the number of samples without a rare one that ends a finding. Default: 144.
    pub rest_samples: u32,
    /// With the method online: dataset of what is known of each series. Default: anomaly_state.
    #[schemars(with = "String")]
    pub state: DatasetName,
    /// Length of the window that says what is usual, in samples, 16 to 100000. Default: 288, which is
    /// one day of samples every 5 minutes.
    pub window_samples: usize,
    /// Least distance of a value from the usual to be an outlier, in robust standard deviations. Default: 6.
    pub threshold: f64,
    /// Least difference of the medians of two adjacent windows to be a level shift, in robust standard
    /// deviations of such differences; a fifth more for windows of an eighth of the length. Default: 6.
    pub shift_threshold: f64,
    /// Missing data is reported if more than this number of intervals in a row have no value, and if that is clearly more than is usual
    /// in the series. Null takes an hour, and two intervals at least. Default: null.
    pub gap_intervals: Option<u64>,
    /// Equal values in a row from which on a series is called stuck, in samples; 0 never does. Default: 96.
    pub stuck_samples: usize,
    /// What happens more often than twice, plus once in this many samples, is the series' normal
    /// behaviour; only what is half as strong again is reported then. Default: 2000.
    pub rare_samples: usize,
    /// Whether series of one interval are looked at together, too: an autoencoder learns how they go together, and
    /// instants where they do not are reported; so are changes that come by and by or last. Default: false.
    pub joint: bool,
    /// Columns whose values make groups of series for `joint`, such as ["host"]: each group has a model of its own. Default: [].
    pub joint_by: Vec<String>,
    /// With joint: what came before this instant is usual, and changes that last are found against it. Null takes the first third of
    /// the instants, and at least 256. Default: null.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub joint_learn_until: Option<DateTime<Utc>>,
    /// Least distance of an instant's error from the usual one to be reported, in robust standard deviations. At 6, a change that
    /// lasts is reported in about one of 50 groups by chance. Default: 6.
    pub joint_threshold: f64,
    /// All that the autoencoder draws at random follows from it. Default: 0.
    pub joint_seed: u64,
    /// Whether shapes are looked at, too: what is like no other stretch of its series, though each value may be usual. It takes a time that
    /// grows with the square of a series' intervals; of more than 131072 nothing is said. Default: false.
    pub shapes: bool,
    /// Samples of such a stretch, 8 or more; null looks at those of the season, or of `window_samples` without one, and at a quarter of
    /// them. Default: null.
    pub shape_samples: Option<usize>,
    /// Least rarity of a shape to be reported, as -log10 of how many series without an unusual one have it by chance; 0.5 to 8. Default: 2.
    pub shape_score: f64,
    /// The season that is taken out first: "auto" tries a day and a week, "none", or its length, such
    /// as "12h". Default: auto.
    pub season: Season,
    /// Report nothing of less severity: low, medium or high. Default: low.
    pub min_severity: Level,
    /// Dataset that the anomalies are committed to. Default: anomalies.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

/// How bad an anomaly is, from its severity of 0 to 100.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Below 50: less than twice the threshold.
    #[default]
    Low,
    /// 50 to 80: two to five times the threshold.
    Medium,
    /// 80 and above: more than five times the threshold.
    High,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("metrics"),
            method: Method::Auto,
            series_column: Some("series".into()),
            time_column: "at".into(),
            value_column: "value".into(),
            columns: Vec::new(),
            interval: None,
            zone: Zone::UTC,
            holidays: Holidays::default(),
            condition: None,
            columns_score: 2.0,
            columns_seed: 0,
            series: Vec::new(),
            from: None,
            to: None,
            rarity: None,
            rest_samples: 144,
            state: dataset_name("anomaly_state"),
            window_samples: 288,
            threshold: 6.0,
            shift_threshold: 6.0,
            gap_intervals: None,
            stuck_samples: 96,
            rare_samples: 2_000,
            joint: false,
            joint_by: Vec::new(),
            joint_learn_until: None,
            joint_threshold: 6.0,
            joint_seed: 0,
            shapes: false,
            shape_samples: None,
            shape_score: 2.0,
            season: Season::Auto,
            min_severity: Level::Low,
            output: dataset_name(NAME),
        }
    }
}

impl Params {
    /// A measure of the rows of each interval.
    pub(super) fn measure<'a>(&self, text: &'a str, interval: Interval) -> MeasureOf<'a> {
        let intervals = Intervals::new(self.interval, self.zone, &self.holidays);
        MeasureOf::new(text, intervals.stated(interval))
    }

    /// The least rarity of a value to be reported.
    pub(super) fn rarity(&self) -> f64 {
        self.rarity.unwrap_or(match self.method {
            Method::Auto => RARITY_BESIDE_WINDOWS,
            _ => EpisodeOptions::default().threshold,
        })
    }

    /// Intervals without a value that are no gap.
    pub(super) fn gap_intervals(&self, interval_us: i64) -> u64 {
        self.gap_intervals.unwrap_or_else(|| usual_gap(interval_us))
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if !(16..=100_000).contains(&self.window_samples) {
            return Err(bad(
                NAME,
                "window_samples",
                format!("expected 16 to 100000 samples, found {}", self.window_samples),
            ));
        }
        for (name, value) in [
            ("threshold", self.threshold),
            ("shift_threshold", self.shift_threshold),
            ("joint_threshold", self.joint_threshold),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(bad(NAME, name, format!("expected a number above 0, found {value}")));
            }
        }
        if self.gap_intervals == Some(0) {
            return Err(bad(NAME, "gap_intervals", "expected 1 or more, found 0"));
        }
        if self.rare_samples == 0 {
            return Err(bad(NAME, "rare_samples", "expected 1 or more, found 0"));
        }
        let rarities = [("shape_score", self.shape_score), ("columns_score", self.columns_score)];
        if let Some((name, found)) = rarities.iter().find(|of| !(0.5..=8.0).contains(&of.1)) {
            return Err(bad(NAME, name, format!("expected 0.5 to 8, found {found}")));
        }
        if let Some(samples) = self.shape_samples
            && !(8..=65_536).contains(&samples)
        {
            let says = format!("expected 8 to 65536 samples, found {samples}");
            return Err(bad(NAME, "shape_samples", says));
        }
        let is_set =
            self.shape_samples.is_some() || self.shape_score != Self::default().shape_score;
        if is_set && !self.shapes {
            let says = "expected true beside `shape_samples` or `shape_score`: no shapes are looked at otherwise";
            return Err(bad(NAME, "shapes", says));
        }
        if let Some(rarity) = self.rarity
            && !(0.5..=8.0).contains(&rarity)
        {
            let says = format!("expected 0.5 to 8, found {rarity}");
            return Err(bad(NAME, "rarity", says));
        }
        if !(1..=100_000).contains(&self.rest_samples) {
            let says = format!("expected 1 to 100000 samples, found {}", self.rest_samples);
            return Err(bad(NAME, "rest_samples", says));
        }
        if self.method == Method::Online && self.state == self.output {
            return Err(bad(NAME, "state", "expected another dataset than `output`"));
        }
        if !self.joint_by.is_empty() && !self.joint {
            return Err(bad(NAME, "joint_by", "expected joint = true with it"));
        }
        if self.joint_learn_until.is_some() && !self.joint {
            return Err(bad(NAME, "joint_learn_until", "expected joint = true with it"));
        }
        self.check_method()?;
        check_times(NAME, self.from, self.to)
    }

    /// Fails for what the method knows nothing of: whoever sets it expects it to do something.
    fn check_method(&self) -> Result<()> {
        use Method::{Auto, Columns, Online, Windows};
        let usual = Self::default();
        // Those that look back, those that read everything, and those of a single value.
        let (back, whole, single): (&[Method], &[Method], &[Method]) =
            (&[Auto, Windows], &[Auto, Windows, Columns], &[Auto, Windows, Online]);
        let of: [(&str, bool, &[Method]); 28] = [
            ("series", self.series != usual.series, whole),
            ("to", self.to != usual.to, whole),
            ("season", self.season != usual.season, whole),
            ("value_column", self.value_column != usual.value_column, single),
            ("gap_intervals", self.gap_intervals != usual.gap_intervals, single),
            ("stuck_samples", self.stuck_samples != usual.stuck_samples, single),
            ("window_samples", self.window_samples != usual.window_samples, back),
            ("threshold", self.threshold != usual.threshold, back),
            ("shift_threshold", self.shift_threshold != usual.shift_threshold, back),
            ("rare_samples", self.rare_samples != usual.rare_samples, back),
            ("joint", self.joint != usual.joint, back),
            ("joint_by", self.joint_by != usual.joint_by, back),
            ("joint_learn_until", self.joint_learn_until != usual.joint_learn_until, back),
            ("joint_threshold", self.joint_threshold != usual.joint_threshold, back),
            ("joint_seed", self.joint_seed != usual.joint_seed, back),
            ("shapes", self.shapes != usual.shapes, back),
            ("shape_samples", self.shape_samples != usual.shape_samples, back),
            ("shape_score", self.shape_score != usual.shape_score, back),
            ("rarity", self.rarity != usual.rarity, &[Auto, Online]),
            ("rest_samples", self.rest_samples != usual.rest_samples, &[Auto, Online]),
            ("state", self.state != usual.state, &[Online]),
            ("columns", self.columns != usual.columns, &[Columns]),
            ("interval", self.interval != usual.interval, &[Columns]),
            ("zone", self.zone != usual.zone, &[Columns]),
            ("holidays", self.holidays != usual.holidays, &[Columns]),
            ("where", self.condition != usual.condition, &[Columns]),
            ("columns_score", self.columns_score != usual.columns_score, &[Columns]),
            ("columns_seed", self.columns_seed != usual.columns_seed, &[Columns]),
        ];
        let unknown = of.iter().find(|(_, is_set, of)| *is_set && !of.contains(&self.method));
        if let Some((name, _, of)) = unknown {
            let others: Vec<&str> = of.iter().map(|method| method.as_str()).collect();
            let says = format!(
                "method {} has no such parameter; these have it: {}",
                self.method.as_str(),
                others.join(", ")
            );
            return Err(bad(NAME, name, says));
        }
        if self.method != Columns {
            return Ok(());
        }
        let found = self.columns.len();
        if !(1..=COLUMNS_MAX).contains(&found) {
            let says = format!(
                "expected 1 to {COLUMNS_MAX} columns of numbers, or measures beside an `interval`, found {found}"
            );
            return Err(bad(NAME, "columns", says));
        }
        let mut names = self.columns.iter().enumerate();
        match names.find(|(at, name)| self.columns[..*at].contains(name)) {
            Some((_, name)) => Err(bad(NAME, "columns", format!("{name:?} is there twice"))),
            None => Ok(()),
        }
    }
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Windows => "windows",
            Self::Online => "online",
            Self::Columns => "columns",
        }
    }
}

impl Level {
    /// The level of a severity.
    pub(super) fn of(severity: f64) -> Self {
        match severity {
            s if s >= 80.0 => Self::High,
            s if s >= 50.0 => Self::Medium,
            _ => Self::Low,
        }
    }

    /// As it stands in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}
