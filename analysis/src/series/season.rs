//! What a series does every day or every week, so that a Monday morning is not an anomaly. The profile is
//! the median of all samples at the same phase of the season, which a few odd days can't move; what is
//! left after taking it out is the residual that the other steps look at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::samples::Samples;
use super::span::Span;
use super::spread::{median, spread};

/// Phases that a season is cut into at most: quarters of an hour of a day.
const PHASES_MAX: i64 = 96;
/// Phases of a week at most: hours.
const PHASES_OF_WEEK_MAX: i64 = 168;
/// Fewer phases than this are no profile.
const PHASES_MIN: i64 = 4;
/// Seasons that must be there: with fewer, a phase's median is one of its own few samples.
const SEASONS_MIN: i64 = 4;
/// A season is found when it brings the robust spread below this part of what a season of pure noise would
/// leave, which takes about one season's share of the variance with it.
const SPREAD_LEFT_MAX: f64 = 0.92;

/// Which season to take out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Season {
    /// A day or a week, where it explains enough.
    #[default]
    Auto,
    /// None.
    None,
    /// This one.
    Every(Span),
}

/// A series without its season.
#[derive(Clone, Debug)]
pub struct Deseasonalised {
    /// The season that was taken out.
    pub season: Option<Span>,
    /// The values less the profile at their phase.
    pub residual: Vec<f64>,
}

/// Takes the season out that `wanted` says.
pub fn deseasonalise(samples: &Samples, wanted: Season) -> Deseasonalised {
    let candidates = match wanted {
        Season::None => vec![],
        Season::Auto => vec![Span::DAY, Span::WEEK],
        Season::Every(span) => vec![span],
    };
    let mut best = Deseasonalised { season: None, residual: samples.values.clone() };
    let whole = spread(&samples.values).sigma;
    let mut left_best = f64::INFINITY;
    for season in candidates {
        let Some((profile, seasons)) = profile(samples, season) else { continue };
        let residual: Vec<f64> =
            samples.values.iter().zip(&profile).map(|(value, usual)| value - usual).collect();
        let left = spread(&residual).sigma;
        let of_noise = (1.0 - 1.0 / seasons as f64).sqrt();
        // A longer season must be clearly better than the shorter one.
        let explains = left < whole * SPREAD_LEFT_MAX * of_noise && left < left_best * 0.9;
        // A season that the user states is taken out whether it explains much or not.
        if explains || matches!(wanted, Season::Every(_)) {
            best = Deseasonalised { season: Some(season), residual };
            left_best = left;
        }
    }
    best
}

/// For each sample the median of the samples at its phase, and how many seasons there are; `None` when
/// those are too few.
fn profile(samples: &Samples, season: Span) -> Option<(Vec<f64>, i64)> {
    let length = season.micros();
    let (first, last) = (*samples.times.first()?, *samples.times.last()?);
    let seasons = (last - first) / length;
    if seasons < SEASONS_MIN {
        return None;
    }
    let most = if season > Span::DAY { PHASES_OF_WEEK_MAX } else { PHASES_MAX };
    let phases = (length / samples.interval_us).min(most);
    if phases < PHASES_MIN {
        return None;
    }
    let phase = |time: &i64| {
        (i128::from(time.rem_euclid(length)) * i128::from(phases) / i128::from(length)) as usize
    };
    let mut at_phase = vec![Vec::new(); phases as usize];
    for (time, value) in samples.times.iter().zip(&samples.values) {
        at_phase[phase(time)].push(*value);
    }
    let usual: Vec<f64> =
        at_phase.iter_mut().map(|values| median(values).unwrap_or(f64::NAN)).collect();
    Some((samples.times.iter().map(|time| usual[phase(time)]).collect(), seasons))
}

impl TryFrom<String> for Season {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            length => length
                .parse()
                .map(Self::Every)
                .map_err(|problem| format!("expected \"auto\", \"none\" or a length: {problem}")),
        }
    }
}

impl From<Season> for String {
    fn from(season: Season) -> Self {
        match season {
            Season::Auto => "auto".into(),
            Season::None => "none".into(),
            Season::Every(span) => span.to_string(),
        }
    }
}

impl JsonSchema for Season {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Season".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "auto, none, or a length of time such as 12h",
            "pattern": "^(auto|none|[0-9]+(us|ms|s|m|h|d|w))$"
        })
    }
}
