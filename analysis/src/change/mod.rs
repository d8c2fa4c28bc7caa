//! Why a measure changed between two periods: which values of which dimensions carry the change.
//!
//! 1. [`gather`], [`cells`]: sums of both periods for each combination of values.
//! 2. [`excess`]: what a group moved by beyond the rest, and whether noise would.
//! 3. [`search`]: the group of up to three pairs of dimension and value that stands out most.
//! 4. [`explain`]: again without its cells, until nothing stands out; then the findings with their numbers.
//! 5. [`contribution`]: what a group adds to the change, exactly; of a ratio as rate and mix; and what a conjunction adds
//!    beyond its single values.
//!
//! **Which group.** The one whose own change explains most, by likelihood (a scan statistic; Kulldorff, 1997; over
//! conjunctions: Neill, "Fast subset scan for multivariate event detection", 2013), each number of pairs paying for how many
//! groups it has. This prefers a conjunction to its parent where the change is concentrated in it: a small remainder of the
//! parent must move less than half as much. Otherwise the parent, which has more of the change, explains more. Cells of a
//! finding take no part in what follows (Zhang, Assunção & Kulldorff, "Spatial scan statistics adjusted for multiple
//! clusters", 2010), so findings do not repeat each other, and what remains is judged against a rest that has not moved with
//! them.
//!
//! **What is told.** A group that moved: what it adds to the change is beyond noise, and on the side that it stands out to. One
//! that stands still while others move stands out from these as they do from it, and, where it has nothing of the measure, with
//! less noise; it explains nothing. Nor does one that moves against a change of the whole that is beyond noise. Both are put
//! aside all the same, so that others are judged without them.
//!
//! **From nothing**, or from so little that noise explains any factor ([`Background`]), moving alike is by a shift; so it is of a
//! ratio that falls there.
//!
//! **Quantiles** are asked for as a ratio, the share of rows above the earlier period's quantile: [`quantile_factor`].
//!
//! **Hazards.** Noise is that of independent rows: where they come in bursts, more seems to stand out than does, and
//! [`Options::dispersion`] says by how much. Ratios that all move by the same amount, rather than by the same factor, do not
//! count as an even change where they are positive.
//!
//! **Tried and dropped.** Adtributor ranks by explanatory power and surprise, one dimension at a time, with a threshold for
//! each: it reports a value for its size where all values move alike, and cannot tell a change from noise.

mod cells;
mod contribution;
#[cfg(test)]
mod edges;
mod excess;
mod explain;
mod gather;
#[cfg(test)]
mod pinned_tests;
mod search;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worlds;

pub use cells::{BadCells, Cells, DIMENSIONS_MAX, Dimension, Measure, Period, VALUES_MAX};
pub use contribution::{Parts, quantile_factor};
pub use excess::Background;
pub use explain::{DEPTH_LIMIT, Explanation, Finding, Options, Outcome, explain};
pub use gather::{Gather, Rows, TooManyCells};

/// A value of a dimension, both by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Place among the dimensions of the cells.
    pub dimension: usize,
    /// Code.
    pub value: u32,
}

/// It was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halted;
