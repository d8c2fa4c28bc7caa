//! Panics of the decoding crates, caught where they enter.
//!
//! The Arrow and Parquet crates still panic on some corrupted input (an index out of bounds, an overflow),
//! and a server must not lose a thread to somebody's broken file. What was being decoded is thrown away
//! with the panic, so no half-built value is ever seen again.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CONTAINED: Cell<usize> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

/// Runs `work`; a panic inside becomes its message. Nothing that `work` changes may be used after a panic.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(silence_contained);
    CONTAINED.set(CONTAINED.get() + 1);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(CONTAINED.get() - 1);
    outcome.map_err(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        format!("the decoder gave up: {text}")
    })
}

/// The hook stays quiet for threads inside [`contain`], and for no others.
fn silence_contained() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if CONTAINED.get() == 0 {
            before(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_panic_becomes_a_message() {
        assert_eq!(contain(|| 7), Ok(7));
        let caught: Result<(), String> = contain(|| panic!("index {} of 3", 5));
        assert_eq!(caught, Err("the decoder gave up: index 5 of 3".into()));
        let inner = contain(|| contain(|| panic!("deep")).map_err(|e: String| e.len()));
        assert!(inner.unwrap().is_err_and(|n: usize| n > 4) || CONTAINED.get() == 0);
    }
}
