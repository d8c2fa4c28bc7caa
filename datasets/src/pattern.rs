//! Regular expressions of specs: how large they may be, and the last ones that were compiled.
//!
//! Whoever may make a dataset may write any expression, and each request that sends rows asks for it. A short one can be
//! compiled to many megabytes, in half a second: so that is bounded. What was compiled is kept for the next request, of few
//! expressions, because there may be any number of datasets.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

/// Longest expression in bytes.
pub const PATTERN_MAX_BYTES: usize = 1_024;
/// Most memory that one is compiled to, in 25 ms. `^\w{3,32}$`, in any alphabet, takes three quarters of it.
const COMPILED_MAX_BYTES: usize = 2 << 20;
/// Most memory that the states of one take that are made as texts are matched, for each thread.
const STATES_MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of one.
const NESTED_MAX: u32 = 32;
/// Compiled ones that are kept.
const KEPT_MAX: usize = 32;

/// The last ones, the most recently used at the end.
static KEPT: Mutex<VecDeque<(String, Regex)>> = Mutex::new(VecDeque::new());

/// `pattern`, in the `regex` crate's syntax, ready to match; what is wrong with it where it is none, or too large.
pub(crate) fn compiled(pattern: &str) -> Result<Regex, String> {
    if let Some(kept) = find(pattern) {
        return Ok(kept);
    }
    let compiled = compile(pattern)?;
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push_back((pattern.to_owned(), compiled.clone()));
    if kept.len() > KEPT_MAX {
        kept.pop_front();
    }
    Ok(compiled)
}

fn find(pattern: &str) -> Option<Regex> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let at = kept.iter().position(|(text, _)| text == pattern)?;
    let found = kept.remove(at)?;
    let compiled = found.1.clone();
    kept.push_back(found);
    Some(compiled)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_MAX_BYTES {
        let found = pattern.len();
        return Err(format!("a pattern of {found} bytes; expected at most {PATTERN_MAX_BYTES}"));
    }
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(COMPILED_MAX_BYTES).dfa_size_limit(STATES_MAX_BYTES).nest_limit(NESTED_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!(
            "pattern {pattern:?} is compiled to more than {COMPILED_MAX_BYTES} bytes; expected at most that: repeat less, \
             or use [0-9A-Za-z_] in place of \\w"
        ),
        error => format!("pattern {pattern:?}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn usual_expressions_pass_and_huge_ones_do_not() {
        for usual in [
            r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$",
            r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}\.[A-Za-z]{2,63}$",
            r"^https?://[^\s/$.?#].[^\s]*$",
            r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
            r"(?i)^(open|closed|in progress)$",
            r"^\w{3,32}$",
            r"^[\p{L}\p{M}' -]+$",
            r"^.{1,1000}$",
        ] {
            compiled(usual).unwrap();
        }
        for (huge, says) in [
            (r"\w{500}", "more than 2097152 bytes"),
            (r"((a{99}){99}){99}", "more than 2097152 bytes"),
            (&"(".repeat(33), "pattern"),
            (&"a".repeat(1_025), "1025 bytes; expected at most 1024"),
        ] {
            let error = compiled(huge).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn few_are_kept() {
        for i in 0..2 * KEPT_MAX {
            compiled(&format!("few{i}")).unwrap();
        }
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert!((1..=KEPT_MAX).contains(&kept), "{kept}");
    }
}
