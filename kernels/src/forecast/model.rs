//! Which exponential smoothing models there are, and what each has to estimate.

use std::fmt;

/// The longest season that exponential smoothing models: each sample of it is a parameter.
pub const MOST_SEASON: usize = 24;

/// How the error enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errors {
    /// y = forecast + ε.
    Additive,
    /// y = forecast · (1 + ε).
    Multiplicative,
}

/// How the level moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trend {
    /// It stays.
    None,
    /// It grows by the trend.
    Additive,
    /// It grows by a trend that shrinks by φ at each step.
    Damped,
}

/// How the season enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Season {
    /// Not at all.
    None,
    /// It is added.
    Additive,
    /// It multiplies.
    Multiplicative,
}

/// A model of the family ETS(error, trend, season).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ets {
    /// The error.
    pub error: Errors,
    /// The trend.
    pub trend: Trend,
    /// The season.
    pub season: Season,
}

impl fmt::Display for Ets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = if self.error == Errors::Additive { "A" } else { "M" };
        let trend = match self.trend {
            Trend::None => "N",
            Trend::Additive => "A",
            Trend::Damped => "Ad",
        };
        let season = match self.season {
            Season::None => "N",
            Season::Additive => "A",
            Season::Multiplicative => "M",
        };
        write!(f, "ETS({error},{trend},{season})")
    }
}

impl Ets {
    /// Simple exponential smoothing.
    pub const SIMPLE: Self =
        Self { error: Errors::Additive, trend: Trend::None, season: Season::None };

    /// Every model that is compared. Additive errors with a multiplicative season are left out: their variance is
    /// infinite where the level comes near 0 (Hyndman et al., "Forecasting with Exponential Smoothing", 2008, §2.4).
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let trends = [Trend::None, Trend::Damped, Trend::Additive];
        let seasons = [Season::None, Season::Additive, Season::Multiplicative];
        [Errors::Additive, Errors::Multiplicative]
            .into_iter()
            .flat_map(move |error| trends.map(|trend| (error, trend)))
            .flat_map(move |(error, trend)| seasons.map(|season| Self { error, trend, season }))
            .filter(|model| model.is_stable())
    }

    pub(super) fn is_stable(&self) -> bool {
        self.error == Errors::Multiplicative || self.season != Season::Multiplicative
    }

    pub(super) fn has_trend(&self) -> bool {
        self.trend != Trend::None
    }

    pub(super) fn has_season(&self) -> bool {
        self.season != Season::None
    }

    /// Whether it has a meaning for data that is not positive everywhere.
    pub(super) fn needs_positive(&self) -> bool {
        self.error == Errors::Multiplicative || self.season == Season::Multiplicative
    }

    /// Whether the variance of its forecasts has no closed form.
    pub(super) fn simulates(&self) -> bool {
        self.season == Season::Multiplicative
    }

    /// Smoothing parameters: α, β, γ, φ as far as it has them.
    pub(super) fn smoothing(&self) -> usize {
        1 + usize::from(self.has_trend())
            + usize::from(self.has_season())
            + usize::from(self.trend == Trend::Damped)
    }

    /// What is estimated: the smoothing parameters and the free initial states. The season's first state follows
    /// from the others, which sum to 0 or to their number.
    pub(super) fn dimension(&self, period: usize) -> usize {
        let season = if self.has_season() { period - 1 } else { 0 };
        self.smoothing() + 1 + usize::from(self.has_trend()) + season
    }

    /// Whether `observed` samples are enough for it: AICc divides by what is left after the parameters, σ² and one.
    pub(super) fn fits(&self, observed: usize, period: usize) -> bool {
        let season = !self.has_season() || (period > 1 && observed > period);
        season && self.dimension(period) + 2 < observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_models_are_compared() {
        let names: Vec<String> = Ets::all().map(|model| model.to_string()).collect();
        assert_eq!(names.len(), 15);
        assert!(names.contains(&"ETS(M,Ad,M)".to_owned()));
        assert!(!names.contains(&"ETS(A,N,M)".to_owned()));
    }

    #[test]
    fn parameters_are_counted_as_hyndman_counts_them() {
        let full =
            Ets { error: Errors::Multiplicative, trend: Trend::Damped, season: Season::Additive };
        assert_eq!((Ets::SIMPLE.dimension(12), full.dimension(12)), (2, 17));
        assert!(Ets::SIMPLE.fits(5, 1) && !Ets::SIMPLE.fits(4, 1));
        assert!(full.fits(20, 12) && !full.fits(19, 12));
    }
}
