//! Rows of datasets in a job's hands: an input whose columns are checked, and columns and rows of results.

pub(crate) mod beside;
pub(crate) mod came;
pub(crate) mod columns;
pub(crate) mod flow;
pub(crate) mod input;
pub(crate) mod period;
pub(crate) mod replacing;
pub(crate) mod rows;
