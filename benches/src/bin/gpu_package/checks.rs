//! Correctness on the device: the checks of the kernels' suite.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use serde_json::json;

use crate::parts::Tell;

pub fn names() -> Vec<&'static str> {
    kernels::suite::on_device().into_iter().map(|check| check.name).collect()
}

/// Runs one; false where it does not hold.
pub fn run(name: &str, tell: &mut Tell<'_>) -> bool {
    let Some(check) = kernels::suite::on_device().into_iter().find(|check| check.name == name)
    else {
        tell(json!({ "error": "there is no such check" }));
        return false;
    };
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(check.run));
    let seconds = start.elapsed().as_secs_f64();
    let error = outcome.err().map(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it panicked without a text".into())
    });
    let holds = error.is_none();
    tell(json!({ "seconds": seconds, "error": error }));
    holds
}
