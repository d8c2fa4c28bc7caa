//! An anomaly in numbers and in words. A person who is woken by it must be able to tell from the one
//! sentence what was seen, what was expected, and how sure that is.

use analysis::series::discord::Discord;
use analysis::series::level_shift::Shift;
use analysis::series::missing::{Gap, Run};
use analysis::series::online::{Aspect, Sight, Sighting};
use analysis::series::robust::Excursion;
use analysis::series::{Samples, Span};

use super::params::{Level, Params};
use crate::series::words::{duration, instant, number, once_in, severity};

/// What kind of anomaly it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Outlier,
    SeasonalOutlier,
    LevelShift,
    Missing,
    Stuck,
    Joint,
    Discord,
    /// In several columns together.
    Unlike,
    /// By the method that looks at samples as they come.
    Unusual(Aspect),
}

/// One finding; a row of the output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Anomaly {
    pub(super) series: String,
    pub(super) kind: Kind,
    pub(super) started_at: i64,
    pub(super) ended_at: i64,
    pub(super) peak_at: i64,
    /// `None` where there is no value.
    pub(super) observed: Option<f64>,
    pub(super) expected: Option<f64>,
    /// Robust standard deviations, or intervals.
    pub(super) score: f64,
    /// 0 to 100.
    pub(super) severity: f64,
    pub(super) samples: i64,
    pub(super) interval_us: i64,
    pub(super) season: Option<Span>,
    pub(super) explanation: String,
}

/// What an explanation draws on.
pub(super) struct Subject<'a> {
    pub(super) samples: &'a Samples,
    pub(super) season: Option<Span>,
    pub(super) params: &'a Params,
}

impl Kind {
    /// All of them.
    const ALL: [Self; 14] = [
        Self::Outlier,
        Self::SeasonalOutlier,
        Self::LevelShift,
        Self::Missing,
        Self::Stuck,
        Self::Joint,
        Self::Discord,
        Self::Unlike,
        Self::Unusual(Aspect::Level),
        Self::Unusual(Aspect::Excursion),
        Self::Unusual(Aspect::Activity),
        Self::Unusual(Aspect::Drift),
        Self::Unusual(Aspect::Roughness),
        Self::Unusual(Aspect::Shape),
    ];

    /// That which stands so in rows.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// All as they stand in rows.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::as_str)
    }

    /// As it stands in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Outlier => "outlier",
            Self::SeasonalOutlier => "seasonal_outlier",
            Self::LevelShift => "level_shift",
            Self::Missing => "missing",
            Self::Stuck => "stuck",
            Self::Joint => "joint",
            Self::Discord => "discord",
            Self::Unlike => "unlike",
            Self::Unusual(Aspect::Level) => "level",
            Self::Unusual(Aspect::Excursion) => "excursion",
            Self::Unusual(Aspect::Activity) => "activity",
            Self::Unusual(Aspect::Drift) => "drift",
            Self::Unusual(Aspect::Roughness) => "roughness",
            Self::Unusual(Aspect::Shape) => "shape",
        }
    }
}

impl Anomaly {
    pub(super) fn level(&self) -> Level {
        Level::of(self.severity)
    }

    /// Whether both have an instant in common.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.started_at <= other.ended_at && other.started_at <= self.ended_at
    }
}

impl Subject<'_> {
    /// `usual` is the value that was expected at the peak.
    pub(super) fn outlier(&self, found: Excursion, usual: f64) -> Anomaly {
        let observed = self.samples.values[found.peak];
        let kind = if self.season.is_some() { Kind::SeasonalOutlier } else { Kind::Outlier };
        let lasting = match found.last - found.first {
            0 => String::new(),
            _ => format!(
                "; unusual from {} to {}",
                self.instant(found.first),
                self.instant(found.last)
            ),
        };
        let explanation = format!(
            "value {} at {} is {} robust standard deviations {} {}, the recent level{}{lasting}",
            number(observed),
            self.instant(found.peak),
            number(found.z.abs()),
            if found.z > 0.0 { "above" } else { "below" },
            number(usual),
            self.phase(" at"),
        );
        self.anomaly(kind, found, Some(observed), Some(usual), self.params.threshold, explanation)
    }

    /// `profile` is what the season adds at the shift.
    pub(super) fn level_shift(&self, shift: Shift, profile: f64) -> Anomaly {
        let found = shift.excursion;
        let (before, after) = (profile + shift.before, profile + shift.after);
        let samples = match shift.samples {
            [before, after] if before == after => format!("{before} samples before and after"),
            [before, after] => format!("{before} samples before and of the {after} after"),
        };
        let explanation = format!(
            "the level{} {} from {} to {} at {}, the medians of the {samples}; such medians differ by up to {} robust standard \
             deviations there",
            self.phase(" for"),
            if after > before { "rises" } else { "falls" },
            number(before),
            number(after),
            self.instant(found.first),
            number(found.z.abs()),
        );
        let limit = self.params.shift_threshold;
        self.anomaly(Kind::LevelShift, found, Some(after), Some(before), limit, explanation)
    }

    pub(super) fn missing(&self, gap: Gap) -> Anomaly {
        let samples = self.samples;
        // The silence itself: from the first instant without a value to the last one.
        let started_at = samples.times[gap.before].saturating_add(samples.interval_us);
        let next = samples.times.get(gap.before + 1).copied().unwrap_or(started_at);
        let ended_at = next.saturating_sub(samples.interval_us).max(started_at);
        let explanation =
            no_value(gap.intervals as f64, samples.interval_us, [started_at, ended_at]);
        Anomaly {
            series: samples.name.clone(),
            kind: Kind::Missing,
            started_at,
            ended_at,
            peak_at: started_at,
            observed: None,
            expected: Some(samples.values[gap.before]),
            score: gap.intervals as f64,
            severity: severity(gap.intervals as f64, gap.usual as f64),
            samples: 0,
            interval_us: samples.interval_us,
            season: self.season,
            explanation,
        }
    }

    pub(super) fn stuck(&self, run: Run) -> Anomaly {
        let observed = self.samples.values[run.first];
        let explanation = format!(
            "the value stays at exactly {} for {} samples from {} to {}; elsewhere it keeps moving",
            number(observed),
            run.samples(),
            self.instant(run.first),
            self.instant(run.last),
        );
        let found = Excursion {
            first: run.first,
            last: run.last,
            peak: run.first,
            z: run.samples() as f64,
        };
        let limit = self.params.stuck_samples as f64;
        self.anomaly(Kind::Stuck, found, Some(observed), None, limit, explanation)
    }

    /// A shape of so many samples that comes but once: from when to when, and where it differs most; what is there and what the one most
    /// like it says, and when that is.
    pub(super) fn discord(
        &self,
        [started_at, ended_at, peak_at]: [i64; 3],
        (observed, expected): (Option<f64>, Option<f64>),
        found: &Discord,
        samples: usize,
        nearest_us: Option<i64>,
    ) -> Anomaly {
        let interval_us = self.samples.interval_us;
        let nearest = match nearest_us {
            None => String::new(),
            Some(at) => format!(", from {} on,", instant(at)),
        };
        let explanation = format!(
            "the shape from {} to {} does not recur: the distance of {samples} samples there to the most similar ones{nearest} is {}, \
             usually {}; by chance, that happens {}",
            instant(started_at),
            instant(ended_at),
            number(found.distance),
            number(found.usual_distance),
            once_in(found.score, "such series"),
        );
        // Ten times as rare as the limit is 90.
        let rarer = 10_f64.powf(found.score - self.params.shape_score);
        Anomaly {
            series: self.samples.name.clone(),
            kind: Kind::Discord,
            started_at,
            ended_at,
            peak_at,
            observed,
            expected,
            score: found.score,
            severity: severity(rarer, 1.0),
            samples: (found.end - found.start + 1) as i64,
            interval_us,
            season: self.season,
            explanation,
        }
    }

    fn anomaly(
        &self,
        kind: Kind,
        found: Excursion,
        observed: Option<f64>,
        expected: Option<f64>,
        limit: f64,
        explanation: String,
    ) -> Anomaly {
        let times = &self.samples.times;
        Anomaly {
            series: self.samples.name.clone(),
            kind,
            started_at: times[found.first],
            ended_at: times[found.last],
            peak_at: times[found.peak],
            observed,
            expected,
            score: found.z,
            severity: severity(found.z.abs(), limit),
            samples: (found.last - found.first + 1) as i64,
            interval_us: self.samples.interval_us,
            season: self.season,
            explanation,
        }
    }

    fn instant(&self, at: usize) -> String {
        instant(self.samples.times[at])
    }

    /// The place in the season, after a preposition.
    fn phase(&self, preposition: &str) -> String {
        match self.season {
            None => String::new(),
            Some(Span::DAY) => format!("{preposition} this time of day"),
            Some(Span::WEEK) => format!("{preposition} this time of the week"),
            Some(season) => format!("{preposition} this phase of the {season} season"),
        }
    }
}

/// Values that are missing, between the instants of the first and of the last.
fn no_value(count: f64, interval_us: i64, [first, last]: [i64; 2]) -> String {
    let interval = interval_us as f64 / 1e6;
    format!(
        "no value for {}: {} missing with one expected each {}, the first at {} and the last at {}",
        duration((last - first) as f64 / 1e6 + interval),
        number(count),
        duration(interval).trim_start_matches("1 "),
        instant(first),
        instant(last),
    )
}

/// What was seen in `series` as its samples came.
pub(super) fn sighted(series: &str, seen: &Sighting, params: &Params) -> Anomaly {
    let [start, end, peak] = [seen.start_us, seen.end_us, seen.peak_us].map(instant);
    let value = number(seen.observed.unwrap_or(f64::NAN));
    let (kind, score, how_severe, explanation) = match seen.sight {
        Sight::Missing => {
            let says = no_value(seen.strength, seen.interval_us, [seen.start_us, seen.end_us]);
            let usual = params.gap_intervals(seen.interval_us);
            let how_severe = severity(seen.strength, usual as f64);
            (Kind::Missing, seen.strength, how_severe, says)
        }
        Sight::Stuck => {
            let says = format!(
                "the value stays at exactly {value} for {} samples from {start} to {end}; before it kept moving",
                seen.samples
            );
            let how_severe = severity(seen.strength, params.stuck_samples as f64);
            (Kind::Stuck, seen.strength, how_severe, says)
        }
        Sight::Unusual(aspect) => {
            let expected = match seen.expected {
                Some(expected) => format!(", where {} was expected", number(expected)),
                None => String::new(),
            };
            let lasting = match seen.start_us == seen.end_us {
                true => String::new(),
                false => format!("; the alarm lasts from {start} to {end}"),
            };
            let says = format!(
                "value {value} at {peak}{expected}; {}, estimated to occur {}{lasting}",
                told(aspect),
                once_in(seen.strength, "samples"),
            );
            let is_below = seen.expected.zip(seen.observed).is_some_and(|(usual, is)| is < usual);
            let score = if is_below { -seen.strength } else { seen.strength };
            // Twice as rare as the threshold is 50, ten times 90.
            let rarer = 10_f64.powf(seen.strength - params.rarity());
            (Kind::Unusual(aspect), score, severity(rarer, 1.0), says)
        }
    };
    Anomaly {
        series: series.to_owned(),
        kind,
        started_at: seen.start_us,
        ended_at: seen.end_us,
        peak_at: seen.peak_us,
        observed: seen.observed,
        expected: seen.expected,
        score,
        severity: how_severe,
        samples: i64::try_from(seen.samples).unwrap_or(i64::MAX),
        interval_us: seen.interval_us,
        season: None,
        explanation,
    }
}

fn told(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Level => "the level of 3 samples in a row is unusual",
        Aspect::Excursion => {
            "6 samples in a row, taken together, are unusually far from the expected values"
        }
        Aspect::Activity => {
            "24 samples in a row, taken together, are unusually far from the expected values"
        }
        Aspect::Drift => {
            "24 samples in a row lie unusually often on one side of the expected values"
        }
        Aspect::Roughness => {
            "the steps between samples, one alone or 24 together, are unusually large"
        }
        Aspect::Shape => "32 samples in a row have an unusual shape",
    }
}

/// Series that for a while do not go together as they do elsewhere.
pub(super) struct Joint<'a> {
    /// Those that are furthest from what the others say, the furthest first.
    pub(super) names: Vec<&'a str>,
    /// How many were looked at together.
    pub(super) series: usize,
    pub(super) started_at: i64,
    pub(super) ended_at: i64,
    pub(super) peak_at: i64,
    /// Of the first at its peak.
    pub(super) observed: f64,
    /// What the others say that it should be.
    pub(super) expected: f64,
    pub(super) z: f64,
    pub(super) samples: i64,
    pub(super) interval_us: i64,
}

impl Joint<'_> {
    pub(super) fn anomaly(&self, limit: f64) -> Anomaly {
        let (first, others) = first_and_others(&self.names);
        let explanation = format!(
            "{first} is {} at {}, where the other {} series of its group predict {}{others}; from {} to {} the prediction error \
             of the group is {} robust standard deviations above the usual",
            number(self.observed),
            instant(self.peak_at),
            self.series.saturating_sub(1),
            number(self.expected),
            instant(self.started_at),
            instant(self.ended_at),
            number(self.z),
        );
        Anomaly {
            series: first.to_owned(),
            kind: Kind::Joint,
            started_at: self.started_at,
            ended_at: self.ended_at,
            peak_at: self.peak_at,
            observed: Some(self.observed),
            expected: Some(self.expected),
            score: self.z,
            severity: severity(self.z, limit),
            samples: self.samples,
            interval_us: self.interval_us,
            season: None,
            explanation,
        }
    }
}

/// The clearest series of a finding, and words for the others.
fn first_and_others<'a>(names: &[&'a str]) -> (&'a str, String) {
    match names {
        [] => ("", String::new()),
        [first] => (first, String::new()),
        [first, others @ ..] => (first, format!("; with it {}", others.join(", "))),
    }
}

/// A change of a series in its group that lasts.
pub(super) struct Lasting<'a> {
    /// Those that tell it, the clearest first.
    pub(super) names: Vec<&'a str>,
    /// Series of the group.
    pub(super) series: usize,
    /// Whether the first differs from what the others predict, or from what it was itself.
    pub(super) is_of_others: bool,
    pub(super) learned_until: i64,
    pub(super) started_at: i64,
    pub(super) ended_at: i64,
    pub(super) peak_at: i64,
    /// Of the first at its peak.
    pub(super) observed: f64,
    /// By how much the first differs, typically.
    pub(super) offset: f64,
    pub(super) z: f64,
    pub(super) samples: i64,
    pub(super) interval_us: i64,
}

impl Lasting<'_> {
    pub(super) fn anomaly(&self, limit: f64) -> Anomaly {
        let (first, others) = first_and_others(&self.names);
        let compared = match self.is_of_others {
            true => format!("what the other {} series predict", self.series.saturating_sub(1)),
            false => format!("its level before {}", instant(self.learned_until)),
        };
        let explanation = format!(
            "from {} to {} {first} is {} {} {compared}, by {} robust standard deviations{others}",
            instant(self.started_at),
            instant(self.ended_at),
            number(self.offset.abs()),
            if self.offset > 0.0 { "above" } else { "below" },
            number(self.z),
        );
        Anomaly {
            series: first.to_owned(),
            kind: Kind::Joint,
            started_at: self.started_at,
            ended_at: self.ended_at,
            peak_at: self.peak_at,
            observed: Some(self.observed),
            expected: Some(self.observed - self.offset),
            score: self.z,
            severity: severity(self.z, limit),
            samples: self.samples,
            interval_us: self.interval_us,
            season: None,
            explanation,
        }
    }
}
