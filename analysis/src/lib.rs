//! What jobs compute on plain numbers and texts: no dataset, no run and no device in sight.
//!
//! What goes over millions of values in one call, and may go to a GPU, is a kernel; what is asked once for each pair of
//! records or each series is here, so that it is optimised while the jobs that ask it compile fast.
//!
//! - [`alerts`]: when rows are a reason to alert, and what becomes of alerts.
//! - [`answers`]: how often models are right, whether they know it, and which is right more often.
//! - [`association`]: what lies behind a pair of series that move together.
//! - [`calendar`]: intervals of time, fixed or of the calendar.
//! - [`change`]: why a measure changed between two periods.
//! - [`drift`]: whether what comes is still like what came before.
//! - [`foresight`]: what becomes of cases of event logs that go on.
//! - [`linkage`]: whether two records describe the same thing.
//! - [`money`]: what calls of models cost by lists of prices.
//! - [`outlying`]: which rows of a table are unlike all others.
//! - [`process`]: what event logs say of the processes behind them.
//! - [`quality`]: whether what is measured of a period is as it was in those before it.
//! - [`routing`]: what other ways to route requests to models would have cost.
//! - [`sampling`]: what labels of some answers say of all of them.
//! - [`series`]: what is usual in a series, and what is not.
//! - [`significance`]: whether a correlation means anything.
//! - [`tail`]: whether the largest of many values are larger than the others make plausible.
//! - [`trial`]: how well someone does at tasks, and who does better.
//! - [`curve`]: precision and recall, where labels say what is right.
//! - [`append_alike`], [`fnv`], [`Noise`]: texts made alike, a hash, random numbers that are the same in every run.
//! - [`Cholesky`]: linear equations.
//! - [`cosine`], [`has_direction`], [`vector_hash`], [`to_halves`]: one vector or two.

pub mod alerts;
pub mod answers;
pub mod association;
pub mod calendar;
pub mod change;
mod cholesky;
pub mod curve;
pub mod drift;
pub mod foresight;
mod hash;
pub mod linkage;
pub mod money;
mod noise;
pub mod outlying;
#[cfg(test)]
mod pinned;
pub mod process;
pub mod quality;
pub mod routing;
pub mod sampling;
pub mod series;
pub mod significance;
pub mod tail;
pub mod testing;
mod text;
pub mod trial;
mod vectors;

pub use cholesky::Cholesky;
pub use hash::fnv;
pub use noise::Noise;
pub use text::append_alike;
pub use vectors::{HALF_BYTES, append_halves, cosine, has_direction, to_halves, vector_hash};
