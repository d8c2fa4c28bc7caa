//! What people are told about: a rule looks at the rows of a dataset as they are committed and says of each whether it is a reason to
//! alert; an alert is one rule in one group of rows, and is pending, firing, acknowledged or resolved.
//!
//! Nothing here reads a clock, a dataset or a database. What happens is a pure function of the commits, each with its instant, and of
//! what people did (acknowledgements, silences, changes of rules): so however they are cut into batches, and wherever a process
//! begins again from a saved [`State`], the same events come out with the same ids. For that, whoever calls
//!
//! 1. tells [`adopt`] the rules, at the start and whenever they change;
//! 2. gives [`step`] the commits of a rule's dataset in order, each with the instant of the commit and not that of its reading;
//! 3. calls [`tick`] at [`next_deadline`], after the commits up to then.
//!
//! Time runs twice. The rows have their own: `for` and `clear` are measured in it, so that a day that is loaded at once alerts as if
//! it had come live. People have the clock's: escalation and reminders count from when an alert could be known, not from its rows.
//! Every event has both, as `at_us` and `known_us`.
//!
//! ```text
//!             holds            held for `for`                 acknowledge
//!  inactive ─────────► pending ─────────────► firing ─────────────────────► acknowledged
//!     ▲                   │                     │                                │
//!     ├───────────────────┘ does not hold       │   not for `clear`, or `expires`, or the rule is gone
//!     │   forgotten after a day                 ▼                                ▼
//!     └──────────────────────────────────── resolved ◄───────────────────────────┘
//! ```

mod check;
mod event;
mod group;
mod people;
mod reading;
mod rows;
mod rule;
mod silence;
mod span;
mod state;
mod step;
mod template;
mod tick;
mod turn;

#[cfg(test)]
mod tests;

use std::fmt;

pub use event::{Event, What};
pub use group::Group;
pub use people::{Acknowledgement, acknowledge, adopt};
pub use reading::read_rules;
pub use rows::{AlertRow, Notice, alert_rows, notices};
pub use rule::{Clear, Escalation, Rule, Severity};
pub use silence::{OneOf, Silence, check_silences};
pub use span::{NoSpan, Span};
pub use state::{ALERTS_MAX, Acknowledged, Alert, Firing, Phase, RuleState, State};
pub use step::{Commit, Sample, step};
pub use tick::{next_deadline, tick};

/// Longest name of a rule or silence, in bytes.
const NAME_MAX_BYTES: usize = 63;

/// A result of this module.
pub type Result<T> = std::result::Result<T, AlertError>;

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertError {
    /// What was given is wrong.
    Refused {
        /// Whose: `alert cpu`, `silence night`.
        what: String,
        /// Which field of it.
        field: String,
        /// What was expected, and what was found.
        says: String,
    },
    /// What is asked for is not there.
    NotFound {
        /// What was looked for, and what there is.
        says: String,
    },
    /// The state does not know the rule as it is given: a mistake of the program.
    NotAdopted {
        /// The rule's name.
        rule: String,
    },
}

impl AlertError {
    fn refused(what: impl fmt::Display, field: &str, says: impl Into<String>) -> Self {
        Self::Refused { what: what.to_string(), field: field.to_owned(), says: says.into() }
    }
}

impl fmt::Display for AlertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { what, field, says } => write!(f, "{what}: {field}: {says}"),
            Self::NotFound { says } => f.write_str(says),
            Self::NotAdopted { rule } => {
                write!(f, "alert {rule}: expected a rule that the state has adopted as it is")
            }
        }
    }
}

impl std::error::Error for AlertError {}

/// Enough of what was given to know it again.
fn cut(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    match text.chars().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some(_) => text.chars().take(SHOWN_CHARS).chain(['…']).collect(),
    }
}

/// Whether `name` is one that a rule or a silence can have.
fn is_name(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    name.len() <= NAME_MAX_BYTES
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name.bytes().all(letters)
}

/// What is expected of such a name, and what was found.
fn no_name(found: &str) -> String {
    format!(
        "expected 1 to {NAME_MAX_BYTES} lower-case letters, digits, `_` and `-`, a letter first, found {:?}",
        cut(found)
    )
}
