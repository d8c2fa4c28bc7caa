//! Findings in words: a person who is woken by one must be able to tell from a sentence what was seen.

use chrono::{DateTime, SecondsFormat, Utc};

/// 0 at the limit, 50 at twice, 80 at five times, 90 at ten times the limit.
pub(crate) fn severity(found: f64, limit: f64) -> f64 {
    (100.0 * (1.0 - limit / found)).clamp(0.0, 100.0)
}

/// How often something is, of a chance of 10^-rarity.
pub(crate) fn one_in(rarity: f64) -> String {
    match rarity {
        r if r > 6.0 => "fewer than one in a million".to_owned(),
        r => format!("one in {}", number(10_f64.powf(r).round())),
    }
}

pub(crate) fn instant(micros: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(micros).map_or_else(
        || format!("{micros} µs"),
        |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
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
    fn chances_are_said_as_far_as_they_mean_something() {
        let said = [2.0, 2.5, 6.0, 6.1, 60.0, f64::INFINITY].map(one_in);
        let beyond = "fewer than one in a million";
        assert_eq!(said[..3], ["one in 100", "one in 316", "one in 1000000"]);
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
