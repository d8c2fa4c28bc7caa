//! Correctness on the device: every check of the kernels' suite, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use serde_json::{Value, json};

/// Runs those whose name contains `filter`; also says whether all passed.
pub fn run(filter: &str) -> (Value, bool) {
    let mut results = Vec::new();
    let mut all_passed = true;
    for check in kernels::suite::on_device() {
        if !check.name.contains(filter) {
            continue;
        }
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
        all_passed &= error.is_none();
        eprintln!(
            "{} {} ({seconds:.2} s)",
            if error.is_none() { "pass" } else { "FAIL" },
            check.name
        );
        results.push(json!({ "name": check.name, "seconds": seconds, "error": error }));
    }
    (results.into(), all_passed)
}
