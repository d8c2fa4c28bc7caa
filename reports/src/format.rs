//! Values as people read them: thousands apart, few digits, units, days. One way for tables, figures, texts and axes.

use chrono::{DateTime, NaiveDate};
use serde::Deserialize;

use crate::value::Value;

/// What kind of thing a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// By what the value is: whole numbers whole, others with four significant digits.
    #[default]
    Auto,
    /// A number with thousands apart.
    Number,
    /// A number with few digits and k, M, G.
    Compact,
    /// A share of 1 as a percentage.
    Percent,
    /// An amount of money, in `unit`.
    Money,
    /// Bytes, as KiB, MiB and so on.
    Bytes,
    /// A length of time in seconds (`unit` may be `ms`, `s`, `min`, `h` or `d`), in the unit that it is read best in.
    Duration,
    /// The day of an instant.
    Date,
    /// The instant, to the minute, in UTC.
    Instant,
}

/// Names of all kinds, for errors.
pub const KINDS: &str = "auto, number, compact, percent, money, bytes, duration, date or instant";

/// Units of lengths of time.
const DURATIONS: [&str; 6] = ["us", "ms", "s", "min", "h", "d"];

/// How a value is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Format {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Digits behind the point; by the kind and value where it is left out.
    pub decimals: Option<u8>,
    /// The unit, as in `usd` or `ms`.
    pub unit: Option<String>,
}

/// What stands for no value.
pub const NONE: &str = "–";

impl Format {
    /// `percent`, `percent(1)`, `money(2, usd)`: as placeholders write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => {
                let inner = rest.trim_end().strip_suffix(')');
                (name.trim(), inner.ok_or_else(|| format!("{text:?} has no closing bracket"))?)
            }
            None => (text.trim(), ""),
        };
        let kind = Kind::deserialize(
            serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name),
        )
        .map_err(|_| format!("format {name:?}: expected {KINDS}"))?;
        let mut format = Self { kind, ..Self::default() };
        for argument in arguments.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            match argument.parse::<u8>() {
                Ok(decimals) if decimals <= MOST_DECIMALS => format.decimals = Some(decimals),
                Ok(decimals) => {
                    return Err(format!("{decimals} decimals: at most {MOST_DECIMALS}"));
                }
                Err(_) => format.unit = Some(argument.to_owned()),
            }
        }
        format.check()?;
        Ok(format)
    }

    /// Fails where its unit is none that its kind has.
    pub fn check(&self) -> Result<(), String> {
        let Some(unit) = self.unit.as_deref() else { return Ok(()) };
        let expected = match self.kind {
            Kind::Duration if !DURATIONS.contains(&unit) => "us, ms, s, min, h or d",
            Kind::Money if unit.len() != 3 || !unit.bytes().all(|b| b.is_ascii_alphabetic()) => {
                "the three letters of a currency, as usd"
            }
            Kind::Percent | Kind::Bytes | Kind::Date | Kind::Instant => "none",
            _ => return Ok(()),
        };
        Err(format!("unit {unit:?}: expected {expected}"))
    }

    /// A value with its unit.
    pub fn apply(&self, value: &Value) -> String {
        match value {
            Value::Null => NONE.to_owned(),
            Value::Text(text) => text.clone(),
            Value::Truth(true) => "yes".to_owned(),
            Value::Truth(false) => "no".to_owned(),
            Value::Date(day) => date(*day),
            Value::Instant(at) if self.kind == Kind::Date => date(at.date_naive()),
            Value::Instant(at) => instant(*at),
            Value::Integer(number) => self.integer(*number),
            Value::Decimal { digits, scale } => self.decimal(*digits, *scale),
            Value::Number(number) => self.number(*number),
        }
    }

    fn integer(&self, number: i128) -> String {
        match self.kind {
            Kind::Auto | Kind::Number if self.decimals.unwrap_or(0) == 0 => {
                self.with_unit(grouped(&number.to_string()))
            }
            #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
            _ => self.number(number as f64),
        }
    }

    /// Exactly, where all digits are asked for.
    fn decimal(&self, digits: i128, scale: u8) -> String {
        #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
        let number = digits as f64 / 10_f64.powi(i32::from(scale));
        match (self.kind, self.decimals) {
            (Kind::Number, None) => self.with_unit(grouped(&exact(digits, scale))),
            _ => self.number(number),
        }
    }

    /// A number with its unit.
    pub fn number(&self, number: f64) -> String {
        if !number.is_finite() {
            return NONE.to_owned();
        }
        match self.kind {
            Kind::Auto | Kind::Date | Kind::Instant => {
                let decimals = self.decimals.map_or_else(|| significant(number, 4), usize::from);
                let text = fixed(number, decimals);
                self.with_unit(if self.decimals.is_some() { text } else { trimmed(text) })
            }
            Kind::Number => {
                let decimals = self.decimals.map_or_else(|| significant(number, 4), usize::from);
                self.with_unit(fixed(number, decimals))
            }
            Kind::Compact => self.with_unit(compact(number, self.decimals)),
            Kind::Percent => {
                let percent = number * 100.0;
                let decimals =
                    self.decimals.map_or_else(|| significant(percent, 3).min(2), usize::from);
                format!("{}\u{a0}%", fixed(percent, decimals))
            }
            Kind::Money => self.money(number),
            Kind::Bytes => bytes(number, self.decimals),
            Kind::Duration => duration(number * self.seconds(), self.decimals),
        }
    }

    fn money(&self, number: f64) -> String {
        let least = number.abs() < 0.01 && number != 0.0;
        let decimals =
            self.decimals.map_or(if least { significant(number, 2) } else { 2 }, usize::from);
        let text = fixed(number.abs(), decimals);
        let sign = if number < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
            "−"
        } else {
            ""
        };
        let unit = self.unit.as_deref().unwrap_or("");
        match symbol(unit) {
            Some(symbol) => format!("{sign}{symbol}{text}"),
            None if unit.is_empty() => format!("{sign}{text}"),
            None => format!("{sign}{text}\u{a0}{unit}"),
        }
    }

    /// A number short enough for an axis, without its unit but for signs of money and percent.
    pub fn tick(&self, number: f64, step: f64) -> String {
        match self.kind {
            Kind::Percent => {
                let decimals = places(step * 100.0);
                format!("{}\u{a0}%", fixed(number * 100.0, decimals))
            }
            Kind::Money => {
                let sign = symbol(self.unit.as_deref().unwrap_or("")).unwrap_or("");
                let minus = if number < 0.0 { "−" } else { "" };
                format!("{minus}{sign}{}", short(number.abs(), step))
            }
            Kind::Bytes => bytes(number, Some(0)),
            Kind::Duration => duration_tick(number * self.seconds()),
            _ => short(number, step),
        }
    }

    /// What the numbers of an axis are in, where its ticks do not say it.
    pub fn axis_unit(&self) -> Option<&str> {
        let unit = self.unit.as_deref()?;
        match self.kind {
            Kind::Percent | Kind::Bytes | Kind::Duration => None,
            Kind::Money if symbol(unit).is_some() => None,
            _ => Some(unit),
        }
    }

    fn seconds(&self) -> f64 {
        match self.unit.as_deref() {
            Some("us") => 1e-6,
            Some("ms") => 1e-3,
            Some("min") => 60.0,
            Some("h") => 3_600.0,
            Some("d") => 86_400.0,
            _ => 1.0,
        }
    }

    fn with_unit(&self, text: String) -> String {
        match self.unit.as_deref() {
            None | Some("") => text,
            Some(unit) => format!("{text}\u{a0}{unit}"),
        }
    }
}

/// Digits behind the point that a template may ask for.
pub const MOST_DECIMALS: u8 = 9;

/// `2026-01-31`.
pub fn date(day: NaiveDate) -> String {
    day.format("%Y-%m-%d").to_string()
}

/// `2026-01-31 12:00`, which does not break.
pub fn instant(at: DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d\u{a0}%H:%M").to_string()
}

fn symbol(unit: &str) -> Option<&'static str> {
    match unit.to_ascii_lowercase().as_str() {
        "usd" => Some("$"),
        "eur" => Some("€"),
        "gbp" => Some("£"),
        "jpy" => Some("¥"),
        _ => None,
    }
}

/// Decimals that leave so many significant digits.
fn significant(number: f64, digits: i32) -> usize {
    if number == 0.0 || !number.is_finite() {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "an exponent")]
    let before = number.abs().log10().floor() as i32 + 1;
    usize::try_from((digits - before).clamp(0, i32::from(MOST_DECIMALS))).unwrap_or(0)
}

/// Decimals that a multiple of a step has.
fn places(step: f64) -> usize {
    (0..=9)
        .find(|places| {
            let scaled = step * 10_f64.powi(*places);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1e-12)
        })
        .map_or(9, |places| usize::try_from(places).unwrap_or(0))
}

fn fixed(number: f64, decimals: usize) -> String {
    let text = grouped(&format!("{number:.decimals$}"));
    // −0.0, and what rounds to it
    let is_zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if is_zero { text.trim_start_matches('−').to_owned() } else { text }
}

fn trimmed(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Thousands apart, and the sign that is as wide as plus.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("−", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut text = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

fn exact(digits: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let sign = if digits < 0 { "-" } else { "" };
    let text = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

const PREFIXES: [(f64, &str); 5] = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

fn compact(number: f64, decimals: Option<u8>) -> String {
    let (scaled, prefix) = PREFIXES
        .iter()
        .find(|(size, _)| number.abs() >= *size * 0.9995)
        .map_or((number, ""), |(size, prefix)| (number / size, *prefix));
    let places = decimals.map_or_else(|| significant(scaled, 3), usize::from);
    let text = fixed(scaled, places);
    format!("{}{prefix}", if decimals.is_some() { text } else { trimmed(text) })
}

/// For an axis: as many digits as tell neighbours apart.
fn short(number: f64, step: f64) -> String {
    let (size, prefix) =
        PREFIXES.iter().find(|(size, _)| number.abs() >= *size).copied().unwrap_or((1.0, ""));
    if number.abs() < 10_000.0 {
        return trimmed(fixed(number, places(step)));
    }
    format!("{}{prefix}", trimmed(fixed(number / size, places(step / size).min(3))))
}

fn bytes(number: f64, decimals: Option<u8>) -> String {
    let mut scaled = number;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if scaled.abs() < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    let places =
        decimals.map_or_else(|| if unit == "B" { 0 } else { significant(scaled, 3) }, usize::from);
    format!("{}\u{a0}{unit}", fixed(scaled, places))
}

fn duration(seconds: f64, decimals: Option<u8>) -> String {
    let (size, unit) = match seconds.abs() {
        0.0 => (1.0, "s"),
        s if s < 1e-3 => (1e-6, "µs"),
        s if s < 0.9995 => (1e-3, "ms"),
        s if s < 119.5 => (1.0, "s"),
        s if s < 7_170.0 => (60.0, "min"),
        s if s < 172_000.0 => (3_600.0, "h"),
        _ => (86_400.0, "d"),
    };
    let scaled = seconds / size;
    let places = decimals.map_or_else(|| significant(scaled, 3), usize::from);
    format!("{}\u{a0}{unit}", fixed(scaled, places))
}

/// Without digits that say nothing.
fn duration_tick(seconds: f64) -> String {
    let text = duration(seconds, None);
    match text.split_once('\u{a0}') {
        Some((number, unit)) => format!("{}\u{a0}{unit}", trimmed(number.to_owned())),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_edge_have_a_text_and_units_are_those_of_their_kind() {
        for number in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, -1e308, f64::NAN, f64::INFINITY] {
            for kind in
                ["auto", "number", "compact", "percent", "money(usd)", "bytes", "duration(d)"]
            {
                assert!(!format(kind).number(number).is_empty(), "{kind} {number}");
            }
        }
        for wrong in ["duration(parsec)", "percent(x)", "money(2, usdd)", "bytes(kb)"] {
            let error = Format::parse(wrong).unwrap_err();
            assert!(error.contains("unit"), "{error}");
        }
    }

    fn format(text: &str) -> Format {
        Format::parse(text).unwrap()
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        for (how, number, expected) in [
            ("auto", 1_234_567.891, "1,234,568"),
            ("auto", 12.5, "12.5"),
            ("auto", 1_234.5, "1,234"),
            ("auto", 0.1234, "0.1234"),
            ("compact", 1_234.5, "1.23k"),
            ("compact", 0.1234, "0.123"),
            ("percent", 1_234.5, "123,450\u{a0}%"),
            ("bytes", 1_234.5, "1.21\u{a0}KiB"),
            ("duration", 1_234.5, "20.6\u{a0}min"),
            ("duration", 0.1234, "123\u{a0}ms"),
            ("auto", -0.000_12, "−0.00012"),
            ("number(2)", -1_234.567, "−1,234.57"),
            ("number(0)", -0.2, "0"),
            ("compact", 1_234_567.0, "1.23M"),
            ("compact", 999.0, "999"),
            ("percent", 0.1234, "12.3\u{a0}%"),
            ("percent(0)", 1.0, "100\u{a0}%"),
            ("money(2, usd)", -1_234.5, "−$1,234.50"),
            ("money(usd)", 0.00123, "$0.0012"),
            ("money(2, CHF)", 5.0, "5.00\u{a0}CHF"),
            ("bytes", 1_536.0, "1.50\u{a0}KiB"),
            ("duration(ms)", 1_500.0, "1.50\u{a0}s"),
            ("duration(h)", 50.0, "2.08\u{a0}d"),
            ("number(1, ms)", 3.16, "3.2\u{a0}ms"),
        ] {
            assert_eq!(format(how).number(number), expected, "{how} of {number}");
        }
        assert_eq!(format("auto").number(f64::NAN), NONE);
    }

    #[test]
    fn whole_numbers_and_decimals_keep_their_digits() {
        let large = Value::Integer(i128::from(i64::MAX));
        assert_eq!(format("auto").apply(&large), "9,223,372,036,854,775,807");
        let exact = Value::Decimal { digits: -1_234_567_890_123_456_789, scale: 9 };
        assert_eq!(format("number").apply(&exact), "−1,234,567,890.123456789");
        assert_eq!(format("number").apply(&Value::Decimal { digits: 5, scale: 3 }), "0.005");
    }

    #[test]
    fn ticks_are_short_and_differ() {
        let format = Format::default();
        let ticks: Vec<String> =
            [0.0, 25_000.0, 50_000.0].map(|n| format.tick(n, 25_000.0)).to_vec();
        assert_eq!(ticks, ["0", "25k", "50k"]);
        assert_eq!(format.tick(0.3, 0.1), "0.3");
        assert_eq!(format.tick(2_500_000.0, 500_000.0), "2.5M");
    }

    #[test]
    fn a_format_that_is_none_says_which_there_are() {
        let error = Format::parse("percnt(1)").unwrap_err();
        assert!(error.contains("percnt") && error.contains("percent"), "{error}");
        assert!(Format::parse("percent(1").unwrap_err().contains("bracket"));
        assert!(Format::parse("number(40)").unwrap_err().contains("at most 9"));
    }
}
