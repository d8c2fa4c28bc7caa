//! What becomes of cases that go on: their next activity, how long they will last, whether they succeed, and which step those took
//! that succeeded.
//!
//! ```text
//!   cases by their begin      ──────────────────────────────────────────────▶
//!   learned from              ended before ╎                    ╎
//!   chosen by                              ╎ begun here         ╎
//!   told of                                ╎                    ╎ begun here
//!                                        60 %                 80 %
//! ```
//!
//! - [`Ending`]: which cases have ended, which go on, and which nobody went on with.
//! - [`History`], [`Prefix`]: what was known of a case after each of its events, and what came of it.
//! - [`Split`]: cases to learn from, to choose by, and to tell of, by time.
//! - [`Markov`]: what mostly came after the same last activities.
//! - [`Encoder`]: the same as numbers, for a network.
//! - [`compare`], [`macro_f1`]: which of two foretells better, and how well.
//! - [`Band`]: where what is foretold lies in four cases of five, by split conformal prediction.
//! - [`suggest`]: the next step with which more cases succeeded than otherwise.

mod encode;
mod ending;
mod history;
mod interval;
mod markov;
mod measure;
mod split;
mod suggest;
#[cfg(test)]
mod tests;

pub use encode::Encoder;
pub use ending::{Ending, Rule, State};
pub use history::{CLASSES_MAX, History, OTHERS, Prefix};
pub use interval::{Band, CONFIDENCE};
pub use markov::{Markov, ORDER_MAX};
pub use measure::{Compared, Losses, compare, macro_f1};
pub use split::{LEAST, Split};
pub use suggest::{Suggestion, suggest};
