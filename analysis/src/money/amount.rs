//! Amounts of money, exact.

use std::fmt;
use std::ops::AddAssign;

/// Digits of an amount behind the point.
pub const AMOUNT_SCALE: i8 = 18;
/// One unit of a currency.
const ONE: i128 = 1_000_000_000_000_000_000;
/// The largest amount that a decimal of 38 digits holds.
const MOST: i128 = 10i128.pow(38) - 1;

/// An amount in 10^-18 of a currency's unit: prices of a token have up to 12 digits behind the point, and nothing of them is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

impl Amount {
    /// Of so many 10^-18.
    pub fn of_atto(atto: i128) -> Self {
        Self(atto.clamp(-MOST, MOST))
    }

    /// In 10^-18.
    pub fn atto(self) -> i128 {
        self.0
    }

    /// A decimal of `value` times 10^-`scale`, rounded half to even where it has more digits; none where it is too large.
    pub fn of_decimal(value: i128, scale: i8) -> Option<Self> {
        let digits = i32::from(AMOUNT_SCALE) - i32::from(scale);
        let power = 10i128.checked_pow(digits.unsigned_abs());
        let atto = match (digits >= 0, power) {
            (true, Some(power)) => value.checked_mul(power)?,
            (true, None) => return (value == 0).then_some(Self(0)),
            (false, Some(power)) => half_even(value, power),
            (false, None) => 0,
        };
        (atto.abs() <= MOST).then_some(Self(atto))
    }

    /// A number as it is written, such as `2.5e-06`; none where it is no number or too large.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |of: &str| of.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
        if !is_digits(unsigned) || !is_digits(part) || unsigned.len() + part.len() == 0 {
            return None;
        }
        // Zeros at the end say nothing, and would be too many digits.
        let part = part.trim_end_matches('0');
        let digits: i128 = format!("{unsigned}{part}").parse().ok()?;
        let digits = if whole.starts_with('-') { -digits } else { digits };
        let scale = i32::try_from(part.len()).ok()?.checked_sub(exponent)?;
        match i8::try_from(scale) {
            Ok(scale) => Self::of_decimal(digits, scale),
            Err(_) if digits == 0 || scale > 0 => Some(Self(0)),
            Err(_) => None,
        }
    }

    /// The same by the shortest decimal that means this number, as it was written before someone read it as one.
    pub fn of_float(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self::parse(&format!("{value:e}"))).flatten()
    }

    /// So many times; none where it is too large.
    pub fn times(self, count: i64) -> Option<Self> {
        let atto = self.0.checked_mul(i128::from(count))?;
        (atto.abs() <= MOST).then_some(Self(atto))
    }

    /// As a float, which is near it.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / ONE as f64
    }
}

/// `value / by`, rounded, halves to the even one.
fn half_even(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, (value % by).abs());
    let is_up = match rest.cmp(&(by - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
    };
    quotient + if is_up { value.signum() } else { 0 }
}

/// At the ends of what there is it stays.
impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = Self::of_atto(self.0.saturating_add(other.0));
    }
}

/// Exact, without zeros at the end beyond the second digit.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (
            self.0.unsigned_abs() / ONE.unsigned_abs(),
            self.0.unsigned_abs() % ONE.unsigned_abs(),
        );
        let part = format!("{part:018}");
        let part = part.trim_end_matches('0');
        write!(f, "{sign}{whole}.{part:0<2}")
    }
}
