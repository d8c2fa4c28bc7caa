//! Rows of datasets in a job's hands: an input whose columns are checked, and columns of results.

pub(crate) mod columns;
pub(crate) mod input;
