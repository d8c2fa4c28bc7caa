//! The errors of files that are refused because of their rejected rows.

use datasets::{Cause, DatasetName};

use super::RejectsMax;
use crate::error::{Code, Error};

/// Causes that an error lists.
const CAUSES_SHOWN_MAX: usize = 8;

/// The error of a file with too many rejected rows.
pub(super) fn too_many(
    name: &str,
    (rejected, all): (u64, u64),
    most: RejectsMax,
    causes: &[Cause],
) -> Error {
    let message = format!(
        "{name}: {rejected} of {all} rows do not fit, and at most {most} may; nothing was loaded"
    );
    with_causes(message, causes)
}

/// The error of a file that was to create a dataset, if every row was rejected.
pub(super) fn none_fits(
    name: &str,
    dataset: &DatasetName,
    rejected: u64,
    causes: &[Cause],
) -> Error {
    let message =
        format!("{name}: none of {rejected} rows fits; dataset {dataset} was not created");
    with_causes(message, causes)
}

fn with_causes(mut message: String, causes: &[Cause]) -> Error {
    for Cause { cause, rows, first } in causes.iter().take(CAUSES_SHOWN_MAX) {
        message.push_str(&format!("; {rows} rows: {cause}, the first at {first}"));
    }
    if causes.len() > CAUSES_SHOWN_MAX {
        let others = &causes[CAUSES_SHOWN_MAX..];
        let rows: u64 = others.iter().map(|cause| cause.rows).sum();
        message.push_str(&format!("; {rows} rows for {} other causes", others.len()));
    }
    Error::user(Code::BadInput, message)
}
