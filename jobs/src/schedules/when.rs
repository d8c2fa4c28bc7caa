//! When a schedule ticks: a cron line on the clock of an IANA time zone.
//!
//! A line has five fields: minute, hour, day of month, month, day of week; or it is one of
//! `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. `croner` parses the fields and says which
//! days match. The walk through time is ours (`walk`), since the two part at clock changes:
//! `croner` takes `30 2,14 * * *` for an interval, and fails on a gap of more than two hours.
//!
//! At a clock change a line is one of two kinds, told apart as Vixie cron does (`entry.c`, flags
//! `MIN_STAR` and `HR_STAR`):
//!
//! | the minute or the hour field | kind | a time that is skipped | a time that comes twice |
//! |---|---|---|---|
//! | begins with `*`: `*/15 * * * *`, `0 * * * *`, `*/15 2 * * *` | interval | no tick | a tick each time |
//! | neither does: `30 2 * * *`, `0 1-3 * * *`, `15,45 9 * * *` | fixed | a tick at the first moment after | a tick the first time |
//!
//! All fixed times that one gap skips are one tick, and that is the tick of the moment after the gap
//! where the line has one. A day that a zone skips (Apia, 2011-12-30) is such a gap.
//!
//! Day of month and day of week, both restricted, match either (Vixie's OR); `*/2` restricts. `+`
//! before the day of week asks for both (Open Cron Pattern Specification 1.4, section 4.1.2). `L`,
//! `W` and `#` are as in that specification. `chrono-tz` knows clock changes up to 2100.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;

mod due;
mod line;
mod walk;
mod zone;

#[cfg(test)]
mod peer;
#[cfg(test)]
mod tests;

pub use due::{CatchUp, Due, due, jitter};
#[cfg(test)]
pub use due::{Missed, RUN_MAX};

use line::Pace;
use walk::{Calendar, Found, Walk};
pub use zone::named as zone_named;

/// Longest cron line, in bytes.
pub const LINE_MAX_BYTES: usize = 256;
/// Most ticks that [`next_times`] lists.
pub const NEXT_TIMES_MAX: usize = 1_000;

/// A cron line in a time zone. One that exists ticks at some time.
#[derive(Clone, Debug)]
pub struct Cron {
    line: String,
    zone: Tz,
    pace: Pace,
    calendar: Calendar,
}

/// One time at which a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tick {
    /// The instant.
    pub due: DateTime<Utc>,
    /// The local time that the line names, as RFC 3339: unique in its schedule and the same from
    /// wherever one counts. Of a time that the clock skips: that time, with the offset before the
    /// gap; of several in one gap the first.
    pub logical: String,
}

/// Why a line, a zone or a word is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// The line is too long to be one.
    #[error("cron line: expected at most {LINE_MAX_BYTES} bytes, found {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The line has not five fields.
    #[error(
        "cron line: expected 5 fields (minute, hour, day of month, month, day of week) or one of \
         {nicknames}, found {found} in {line:?}{hint}",
        nicknames = line::NICKNAMES_SHOWN
    )]
    Fields {
        /// What it has: `6 fields`.
        found: String,
        /// The line, cut.
        line: String,
        /// What may have been meant, or nothing.
        hint: &'static str,
    },
    /// A field is not understood.
    #[error("cron line: {field}: expected {expected}, found {found:?}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it may hold.
        expected: &'static str,
        /// The part that is wrong, cut.
        found: String,
    },
    /// A range ends before it begins.
    #[error(
        "cron line: {field}: expected a range that begins with its smaller end, found {found:?}; write {meant}"
    )]
    Reversed {
        /// The field's name.
        field: &'static str,
        /// The wrong part, shortened.
        found: String,
        /// The same values as valid ranges.
        meant: String,
    },
    /// No day of the calendar matches.
    #[error("cron line: {line:?} never ticks: no date has that day, month and weekday")]
    Never {
        /// The line.
        line: String,
    },
    /// The zone is not known.
    #[error(
        "time zone: expected an IANA name like \"Europe/Berlin\" or \"UTC\", found {found:?}{near}"
    )]
    Zone {
        /// What was given, cut.
        found: String,
        /// Names like it, as a half-sentence, or nothing.
        near: String,
    },
    /// The word names no way to catch up.
    #[error("catch-up: expected none, latest or all, found {found:?}")]
    CatchUp {
        /// What was given, cut.
        found: String,
    },
}

impl Cron {
    /// Reads `line` for the clock of `zone`. Fails on anything but five sound fields, on a zone
    /// that is not known, and on a line that never ticks.
    pub fn new(line: &str, zone: &str) -> Result<Self, WhenError> {
        let read = line::read(line)?;
        let zone = zone::named(zone)?;
        let calendar = Calendar::new(read.pattern);
        if !calendar.has_a_day() {
            return Err(WhenError::Never { line: read.line });
        }
        Ok(Self { line: read.line, zone, pace: read.pace, calendar })
    }

    /// The line, its fields parted by one space.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What the clock of its zone shows then, as RFC 3339.
    pub fn on_its_clock(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.zone).to_rfc3339_opts(SecondsFormat::Secs, false)
    }

    /// The name of the time zone.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The first tick after `after`. `None` only at the end of the calendar (year 9999).
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<Tick> {
        Walk::new(self, after, DateTime::<Utc>::MAX_UTC).next().map(Found::tick)
    }

    /// The ticks in (`after`, `until`] in order, at most `limit`.
    pub fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>, limit: usize) -> Vec<Tick> {
        Walk::new(self, after, until).take(limit).map(Found::tick).collect()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.line, self.zone.name())
    }
}

/// The next `n` ticks after `after`, at most [`NEXT_TIMES_MAX`]: what to show before one saves a
/// schedule.
pub fn next_times(cron: &Cron, after: DateTime<Utc>, n: usize) -> Vec<Tick> {
    cron.between(after, DateTime::<Utc>::MAX_UTC, n.min(NEXT_TIMES_MAX))
}

/// Enough of what was given to know it again.
fn cut(text: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    if text.chars().nth(SHOWN_CHARS).is_none() {
        return text.into();
    }
    text.chars().take(SHOWN_CHARS).chain(['…']).collect()
}
