//! Converts local times of a zone to instants.
//!
//! A clock change skips some local times and repeats others. Those do not identify an instant, so they are errors that state
//! the reason.

use chrono::{DateTime, LocalResult, Offset, TimeZone};
use chrono_tz::Tz;

use crate::parse::{has_offset, is_in_years, quoted, timestamp_us};

/// The instant of `text`, in microseconds: by its own offset, or as a local time of `zone`.
pub(crate) fn instant_in(text: &str, zone: Tz) -> Result<i64, String> {
    let shown = || quoted(text);
    let Some(micros) = timestamp_us(text) else {
        return Err(format!("expected a timestamp, found {}", shown()));
    };
    if has_offset(text) {
        return Ok(micros);
    }
    instant_of(micros, zone, shown)
}

/// The instant that the local time `micros` of `zone` means. `shown` writes the local time for an error.
pub(crate) fn instant_of(micros: i64, zone: Tz, shown: impl Fn() -> String) -> Result<i64, String> {
    if zone == Tz::UTC {
        return Ok(micros);
    }
    let Some(local) = DateTime::from_timestamp_micros(micros).map(|at| at.naive_utc()) else {
        return Err(format!("expected a timestamp in range, found {}", shown()));
    };
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) if is_in_years(at.timestamp_micros()) => Ok(at.timestamp_micros()),
        LocalResult::Single(_) => Err(format!(
            "expected an instant in the years 1 to 9999 of UTC, found the local time {} in {zone}",
            shown()
        )),
        LocalResult::None => Err(format!(
            "the local time {} does not exist in {zone}, where a clock change skips it; expected a time \
             with its offset, such as 2026-01-31T09:30:00+01:00",
            shown()
        )),
        LocalResult::Ambiguous(first, second) => Err(format!(
            "the local time {} exists twice in {zone}, with the offsets {} and {}; expected a time with \
             its offset",
            shown(),
            first.offset().fix(),
            second.offset().fix()
        )),
    }
}

/// A local time in microseconds as an error shows it.
pub(crate) fn shown_local(micros: i64) -> String {
    let local = DateTime::from_timestamp_micros(micros).map(|at| at.naive_utc());
    quoted(&local.map_or_else(|| micros.to_string(), |local| local.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn skipped_and_repeated_local_times_are_errors_in_every_zone() {
        for (zone, skipped, repeated) in [
            (Tz::Europe__Berlin, "2025-03-30 02:00", "2025-10-26 02:59:59"),
            (Tz::America__New_York, "2025-03-09 02:30", "2025-11-02 01:30"),
            (Tz::Australia__Lord_Howe, "2025-10-05 02:15", "2025-04-06 01:45"),
            // The clock skips midnight itself, so a bare day has no instant.
            (Tz::America__Santiago, "2025-09-07", "2025-04-05 23:30"),
        ] {
            let error = instant_in(skipped, zone).unwrap_err();
            assert!(error.contains(&format!("does not exist in {zone}")), "{error}");
            let error = instant_in(repeated, zone).unwrap_err();
            assert!(error.contains(&format!("twice in {zone}")), "{error}");
        }
        let utc = |text: &str| timestamp_us(text).unwrap();
        let tokyo = instant_in("1970-01-01 09:00", Tz::Asia__Tokyo);
        assert_eq!(tokyo, Ok(utc("1970-01-01T00:00:00Z")));
        assert_eq!(instant_in("2025-03-30 02:30", Tz::UTC), Ok(utc("2025-03-30T02:30:00Z")));
        instant_in("9999-12-31T23:59:59.999999", Tz::Asia__Tokyo).unwrap();
        instant_in("0001-01-02T00:00:00", Tz::Asia__Tokyo).unwrap();
        for (text, zone) in [
            ("9999-12-31 23:59:59", Tz::America__New_York),
            ("0001-01-01 00:00:00", Tz::Asia__Tokyo),
        ] {
            let error = instant_in(text, zone).unwrap_err();
            assert!(error.starts_with("expected an instant in the years 1 to 9999"), "{error}");
        }
    }
}
