//! What is usual in a series, and what is not.
//!
//! 1. [`clean`]: finite values only, one for each instant.
//! 2. [`deseasonalise`]: what comes every day or week is taken out.
//! 3. [`robust`], [`level_shift`], [`missing`]: values far from the usual, another height from then on, no values.
//! 4. [`extremes`], [`keep_rare`]: what the series does by itself, and what happens often, is usual.
//!
//! [`discord`]: shapes that come but once. [`sustained`]: changes of several series together that last. [`taught`]: labels by hand teach what is told.
//!
//! [`Target`]: what is wanted of a series, and where it misses it. [`online`] does it as samples come. [`hierarchy`] makes what is said
//! of parts and of their sum agree. [`rows`] makes rows of a grid comparable.

mod decompose;
pub mod discord;
#[cfg(test)]
mod discord_worlds;
pub mod extremes;
pub mod hierarchy;
pub mod level_shift;
pub mod missing;
pub mod online;
#[cfg(test)]
mod pinned_findings_tests;
#[cfg(test)]
mod pinned_tests;
pub mod prediction_interval;
mod rarity;
mod repetition;
pub mod robust;
pub mod rows;
mod samples;
mod season;
mod seasons;
mod span;
mod spikes;
mod spread;
pub mod sustained;
mod target;
pub mod taught;
pub mod trend;

pub use decompose::{Decomposed, filled};
pub use rarity::keep_rare;
pub use repetition::season_holds;
pub use samples::{Cleaning, Samples, clean};
pub use season::{Deseasonalised, Season, deseasonalise};
pub use seasons::{is_mostly_equal, remove_seasons, seasons};
pub use span::Span;
pub use spikes::without_spikes;
pub use spread::{Spread, median, spread};
pub use target::{Direction, Miss, Target};

/// One series in time order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Microseconds since 1970 in UTC; equal ones may follow each other.
    pub times: Vec<i64>,
    /// NaN where the row has none.
    pub values: Vec<f64>,
}
