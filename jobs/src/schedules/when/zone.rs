//! Time zones by name, and what to suggest for a name that is none.

use chrono::{DateTime, MappedLocalTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::{WhenError, cut};

/// Names suggested for an unknown one.
const SUGGESTED_MAX: usize = 3;
/// Longer names are not compared with the known ones.
const COMPARED_MAX_BYTES: usize = 64;

/// The zone of a name.
pub fn named(name: &str) -> Result<Tz, WhenError> {
    name.parse().map_err(|_| {
        let near = nearest(name);
        let near = match near.len() {
            0 => String::new(),
            _ => format!("; near it are {}", near.join(", ")),
        };
        WhenError::Zone { found: cut(name), near }
    })
}

/// The names with the fewest letters to change, counted on the whole name or on the city alone:
/// "berlin" is Europe/Berlin. At most a third of the letters may differ.
fn nearest(name: &str) -> Vec<&'static str> {
    if name.len() > COMPARED_MAX_BYTES {
        return Vec::new();
    }
    let plain = |text: &str| text.trim().to_lowercase().replace([' ', '-'], "_");
    let given = plain(name);
    let given_city = given.rsplit('/').next().unwrap_or_default();
    let mut near: Vec<(usize, usize, &str)> = TZ_VARIANTS
        .iter()
        .filter_map(|zone| {
            let known = plain(zone.name());
            let city = known.rsplit('/').next().unwrap_or_default();
            let whole = strsim::osa_distance(&given, &known);
            let part = strsim::osa_distance(given_city, city);
            let letters = given_city.chars().count();
            (whole.min(part) <= letters / 3).then_some((whole.min(part), whole, zone.name()))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().take(SUGGESTED_MAX).map(|(_, _, name)| name).collect()
}

/// Seconds that local time is ahead of UTC at an instant.
pub(super) fn offset_seconds(zone: Tz, utc_seconds: i64) -> i64 {
    let instant = DateTime::from_timestamp(utc_seconds, 0).unwrap_or_default();
    zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc().into()
}

/// Whether a local time, met at `offset`, has come before at a greater one.
pub(super) fn comes_again(zone: Tz, local_seconds: i64, offset: i64) -> bool {
    let local = DateTime::from_timestamp(local_seconds, 0).unwrap_or_default().naive_utc();
    match zone.offset_from_local_datetime(&local) {
        MappedLocalTime::Ambiguous(one, other) => {
            let greatest = one.fix().local_minus_utc().max(other.fix().local_minus_utc());
            i64::from(greatest) > offset
        }
        _ => false,
    }
}
