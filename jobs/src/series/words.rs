//! Findings in words: a person who is woken by one must be able to tell from a sentence what was seen.

use chrono::{DateTime, SecondsFormat, Utc};

/// 0 at the limit, 50 at twice, 80 at five times, 90 at ten times the limit.
pub(crate) fn severity(found: f64, limit: f64) -> f64 {
    (100.0 * (1.0 - limit / found)).clamp(0.0, 100.0)
}

/// How often something with a chance of 10^-rarity happens.
pub(crate) fn once_in(rarity: f64, what: &str) -> String {
    match rarity {
        r if r > 6.0 => format!("less than once in a million {what}"),
        r => format!("once in {} {what}", number(10_f64.powf(r).round())),
    }
}

pub(crate) fn instant(micros: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(micros).map_or_else(
        || format!("{micros} µs"),
        |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

/// Units of time, the longest first, with their seconds.
const UNITS: [(&str, f64); 4] =
    [("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0), ("second", 1.0)];

/// A length of time in the longest unit that it reaches.
pub(crate) fn duration(seconds: f64) -> String {
    let fits = |(_, size): &&(&str, f64)| seconds.abs() >= *size;
    let (unit, size) = UNITS.iter().find(fits).unwrap_or(&("second", 1.0));
    let count = number(seconds / size);
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// Four digits that count, as a person writes them.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..9).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = usize::try_from(3 - magnitude).unwrap_or(0);
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        let texts: Vec<String> =
            [0.0, 93.1, 41.0, 8.2346, 0.001234567, 123456.789, -2.0, 1e12, 1e-9, 0.1 + 0.2]
                .map(number)
                .into();
        assert_eq!(
            texts,
            ["0", "93.1", "41", "8.235", "0.001235", "123457", "-2", "1.000e12", "1.000e-9", "0.3"]
        );
    }

    #[test]
    fn a_duration_is_in_its_longest_unit() {
        let texts = [259_200.0, 86_400.0, 5_400.0, 1_500.0, 59.0, 0.25].map(duration);
        assert_eq!(
            texts,
            ["3 days", "1 day", "1.5 hours", "25 minutes", "59 seconds", "0.25 seconds"]
        );
    }

    #[test]
    fn chances_are_said_as_far_as_they_mean_something() {
        let said = [2.0, 2.5, 6.0, 6.1, 60.0, f64::INFINITY].map(|of| once_in(of, "days"));
        let beyond = "less than once in a million days";
        assert_eq!(said[..3], ["once in 100 days", "once in 316 days", "once in 1000000 days"]);
        assert_eq!(said[3..], [beyond; 3]);
    }

    #[test]
    fn severity_is_a_share_of_the_way_from_the_limit_to_infinity() {
        assert_eq!(
            [6.0, 12.0, 30.0, 60.0, 3.0].map(|z| severity(z, 6.0).round()),
            [0.0, 50.0, 80.0, 90.0, 0.0]
        );
        assert_eq!(severity(f64::INFINITY, 6.0), 100.0);
    }
}
