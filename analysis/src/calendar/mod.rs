//! Intervals of time: fixed lengths such as 5 minutes, and calendar units such as months or business
//! days, in a time zone and with holidays.
//!
//! An [`Interval`] is the distance between two values of a regular series. A [`Grid`] places such
//! intervals on the time axis and numbers them. [`Grid::found`] infers the grid of a series from the
//! instants of its samples.

mod detect;
mod grid;
mod holidays;
mod interval;
mod periods;
mod zone;

pub use grid::{Begins, Grid};
pub use holidays::Holidays;
pub use interval::{Interval, Unit};
pub use periods::Weekdays;
pub use zone::Zone;
