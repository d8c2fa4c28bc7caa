//! What the fields of one column of separated values look like, counted, and which type that makes it.

use std::fmt;

use super::Hint;
use crate::column_type::ColumnType;
use crate::parse::{self, quoted};
use crate::read::{CsvOptions, DateOrder, Place};

/// Precision of decimals that are found, where it is enough.
const PRECISION: u8 = 18;
/// Digits behind the point of what is taken for an amount.
const SCALES: std::ops::RangeInclusive<usize> = 2..=4;

/// Most digits of a decimal.
const DIGITS_MAX: usize = 38;

/// Longer fields are no numbers or dates.
const OTHERWISE_MAX_BYTES: usize = 40;

/// What a field looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Bool,
    Int,
    /// More digits than 64 bits hold.
    Long,
    Decimal,
    Float,
    Date,
    Timestamp,
    Text,
}

impl Look {
    const ALL: [Self; 8] = [
        Self::Bool,
        Self::Int,
        Self::Long,
        Self::Decimal,
        Self::Float,
        Self::Date,
        Self::Timestamp,
        Self::Text,
    ];
    /// Those that can be of one type.
    const FAMILIES: [&[Self]; 3] = [
        &[Self::Bool],
        &[Self::Int, Self::Long, Self::Decimal, Self::Float],
        &[Self::Date, Self::Timestamp],
    ];
}

/// The index of numbers in [`Look::FAMILIES`].
const NUMBERS: usize = 1;

/// The fields of a column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: [u64; Look::ALL.len()],
    /// The first of each look: its row and line, and what it says.
    firsts: [Option<(u64, u64, String)>; Look::ALL.len()],
    /// Most digits before the point, and least and most behind it.
    whole: usize,
    fraction: Option<(usize, usize)>,
    /// Those that would be more than text, were they said to be written so.
    otherwise: [u64; OTHERWISE.len()],
    /// Fields that can only be numbers with a comma between thousands.
    grouped: u64,
}

/// Whether a field is written in some way.
type IsWritten = fn(&str) -> bool;

/// Ways to write that are not as usual.
const OTHERWISE: [(Hint, IsWritten); 4] = [
    (Hint::DecimalComma, has_decimal_comma),
    (Hint::ThousandsMark, has_thousands_mark),
    (Hint::DayFirst, |field| is_date(field, DateOrder::DayFirst)),
    (Hint::MonthFirst, |field| is_date(field, DateOrder::MonthFirst)),
];

fn has_decimal_comma(field: &str) -> bool {
    // Three digits may be thousands.
    let fraction = field.split_once(',').map(|(_, fraction)| fraction.len());
    let options = CsvOptions { decimal_comma: true, ..CsvOptions::default() };
    fraction.is_some_and(|digits| digits != 3)
        && options.usual_number(field).is_some_and(|text| text.parse::<f64>().is_ok())
}

fn has_thousands_mark(field: &str) -> bool {
    let options = CsvOptions { thousands_mark: Some(','), ..CsvOptions::default() };
    field.contains(',')
        && options.usual_number(field).is_some_and(|text| text.parse::<f64>().is_ok())
}

/// Whether a number with commas can only be grouped by thousands. A decimal comma is never followed by a point and never
/// repeated.
fn is_grouped(field: &str) -> bool {
    has_thousands_mark(field) && (field.contains('.') || field.matches(',').count() > 1)
}

fn is_date(field: &str, order: DateOrder) -> bool {
    let options = CsvOptions { date_order: Some(order), ..CsvOptions::default() };
    let text = options.usual_instant(field);
    text.is_some_and(|text| {
        parse::date_days(&text).or(parse::timestamp_us(&text).map(|_| 0)).is_some()
    })
}

/// The most digits after the point that a float has.
const FRACTION_DIGITS_MAX: usize = 1_074;

/// Whether a number with `fraction` digits after its point is a float to its last digit, as programs print floats.
fn is_exact_float(text: &str, fraction: usize) -> bool {
    fraction <= FRACTION_DIGITS_MAX
        && text.parse::<f64>().is_ok_and(|value| format!("{value:.fraction$}") == text)
}

/// The type of a column, and what was against another one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) data_type: ColumnType,
    pub(crate) because: Option<Because>,
    /// What most fields of a text would be, were they said to be written so.
    pub(crate) otherwise: Vec<Hint>,
    /// Whether the column becomes numbers if commas separate thousands, and some fields have no other reading.
    pub(crate) is_grouped: bool,
}

/// Why a column is not of the type that most of its fields are, or of which it is though some are not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Because {
    /// What most are.
    pub(super) most: ColumnType,
    /// Those that are not, and of how many.
    pub(super) exceptions: u64,
    pub(super) of: u64,
    /// The first of them.
    pub(super) row: u64,
    pub(super) line: u64,
    pub(super) text: String,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { most, exceptions, of, row, line, text } = self;
        let (are, text) = (if *exceptions == 1 { "is" } else { "are" }, quoted(text));
        write!(
            f,
            "{exceptions} of {of} values {are} not {most}, the first in row {row} on line {line}: {text}"
        )
    }
}

impl Tally {
    /// Counts the field of a row.
    pub(crate) fn add(&mut self, field: &str, at: Place, options: &CsvOptions) {
        if field.is_empty() || options.is_null(field) {
            return;
        }
        let look = self.look(field, options);
        if look == Look::Text && field.len() < OTHERWISE_MAX_BYTES {
            for (count, (_, is)) in self.otherwise.iter_mut().zip(OTHERWISE) {
                *count += u64::from(is(field));
            }
            self.grouped += u64::from(is_grouped(field));
        }
        self.count_look(look, field, at);
    }

    /// Counts a field with a known look.
    pub(crate) fn count_look(&mut self, look: Look, field: &str, at: Place) {
        self.counts[look as usize] += 1;
        let first = &mut self.firsts[look as usize];
        if first.is_none() {
            *first = Some((at.row, at.line, field.chars().take(parse::BYTES_SHOWN).collect()));
        }
    }

    fn look(&mut self, field: &str, options: &CsvOptions) -> Look {
        if field.eq_ignore_ascii_case("true") || field.eq_ignore_ascii_case("false") {
            return Look::Bool;
        }
        if let Some(text) = options.usual_number(field)
            && text.parse::<f64>().is_ok()
        {
            return self.number(&text);
        }
        if let Some(text) = options.usual_instant(field) {
            if parse::date_days(&text).is_some() {
                return Look::Date;
            }
            if parse::timestamp_us(&text).is_some() {
                return Look::Timestamp;
            }
        }
        Look::Text
    }

    fn number(&mut self, text: &str) -> Look {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        // Leading zeros are part of a code, not of a number.
        if parse::has_leading_zero(text) {
            return Look::Text;
        }
        // So is a plus before digits alone, as in +49170123.
        if matches!(digits, [b'+', digits @ ..] if is_digits(digits)) {
            return Look::Text;
        }
        let (whole, fraction) = match digits.iter().position(|b| *b == b'.') {
            Some(at) => (&digits[..at], Some(&digits[at + 1..])),
            None => (digits, None),
        };
        if !is_digits(whole) || fraction.is_some_and(|fraction| !is_digits(fraction)) {
            return Look::Float;
        }
        let Some(fraction) = fraction else {
            return match (text.parse::<i64>(), whole.len()) {
                (Ok(_), length) => {
                    self.whole = self.whole.max(length);
                    Look::Int
                }
                (Err(_), ..=DIGITS_MAX) => Look::Long,
                (Err(_), _) => Look::Text,
            };
        };
        if whole.len() + fraction.len() > DIGITS_MAX && !is_exact_float(text, fraction.len()) {
            return Look::Text;
        }
        self.whole = self.whole.max(whole.len());
        let (least, most) = self.fraction.unwrap_or((fraction.len(), fraction.len()));
        self.fraction = Some((least.min(fraction.len()), most.max(fraction.len())));
        Look::Decimal
    }

    fn count(&self, looks: &[Look]) -> u64 {
        looks.iter().map(|look| self.counts[*look as usize]).sum()
    }

    /// The type of the column: that of all fields, or of the share `mostly` of them.
    pub(crate) fn decide(&self, mostly: f64) -> Finding {
        let mut finding = self.found(mostly);
        let of: u64 = self.counts.iter().sum();
        if finding.data_type == ColumnType::Text && of > 0 {
            let otherwise = self.otherwise.iter().zip(OTHERWISE);
            finding.otherwise = otherwise
                .filter(|(count, _)| **count * 2 > of)
                .map(|(_, (what, _))| what)
                .collect();
            let at = OTHERWISE.iter().position(|(hint, _)| *hint == Hint::ThousandsMark);
            let marked = at.map_or(0, |at| self.otherwise[at]);
            let numbers = self.count(Look::FAMILIES[NUMBERS]) + marked;
            finding.is_grouped = self.grouped > 0 && numbers as f64 >= mostly * of as f64;
        }
        finding
    }

    fn found(&self, mostly: f64) -> Finding {
        let of: u64 = self.counts.iter().sum();
        let of_type = |data_type| Finding {
            data_type,
            because: None,
            otherwise: Vec::new(),
            is_grouped: false,
        };
        let family = Look::FAMILIES.iter().max_by_key(|family| self.count(family));
        let Some((family, fitting)) = family.map(|family| (*family, self.count(family))) else {
            return of_type(ColumnType::Text);
        };
        if fitting == 0 {
            return of_type(ColumnType::Text);
        }
        let most = self.type_of(family);
        if fitting == of {
            return of_type(most);
        }
        let others = Look::ALL.iter().filter(|look| !family.contains(look));
        let first = others.filter_map(|look| self.firsts[*look as usize].as_ref()).min();
        let (row, line, text) = first.cloned().unwrap_or_default();
        let because = Because { most: most.clone(), exceptions: of - fitting, of, row, line, text };
        let is_enough = fitting as f64 >= mostly * of as f64;
        Finding {
            data_type: if is_enough { most } else { ColumnType::Text },
            // Where only few are of a type, nobody wonders that the column is not.
            because: (is_enough || fitting * 2 >= of).then_some(because),
            otherwise: Vec::new(),
            is_grouped: false,
        }
    }

    fn type_of(&self, family: &[Look]) -> ColumnType {
        let has = |look: Look| self.counts[look as usize] > 0;
        if family.contains(&Look::Bool) {
            return ColumnType::Bool;
        }
        if family.contains(&Look::Date) {
            return if has(Look::Timestamp) { ColumnType::Timestamp } else { ColumnType::Date };
        }
        match (has(Look::Float), has(Look::Decimal), has(Look::Long)) {
            (false, false, false) => ColumnType::Int64,
            (false, false, true) => ColumnType::Decimal(38, 0),
            (false, true, false) => match self.fraction {
                // Amounts: all fractions have the same few digits.
                Some((least, most)) if least == most && SCALES.contains(&most) => {
                    match self.whole + most {
                        0..=18 => ColumnType::Decimal(PRECISION, most as u8),
                        19..=DIGITS_MAX => ColumnType::Decimal(38, most as u8),
                        _ => ColumnType::Text,
                    }
                }
                _ => ColumnType::Float64,
            },
            _ => ColumnType::Float64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fields: &[&str], options: &CsvOptions, mostly: f64) -> (String, Option<String>) {
        let mut tally = Tally::default();
        for (row, field) in (1_u64..).zip(fields) {
            tally.add(field, Place { row, line: row + 1 }, options);
        }
        let Finding { data_type, because, .. } = tally.decide(mostly);
        (data_type.to_string(), because.map(|because| because.to_string()))
    }

    #[test]
    fn fields_make_a_type() {
        let plain = |fields: &[&str]| found(fields, &CsvOptions::default(), 1.0).0;
        for (fields, data_type) in [
            (&["1", "", "2"][..], "int64"),
            (&["1", "2.5"], "float64"),
            (&["12.50", "3.99", "10"], "decimal(18,2)"),
            (&["12.50", "3.9"], "float64"),
            (&["0.1234", "12.0000"], "decimal(18,4)"),
            (&["1234567890123456.25"], "decimal(18,2)"),
            (&["0.12345", "0.54321"], "float64"),
            (&["1.5", "2.5"], "float64"),
            (&["12345678901234567.25"], "decimal(38,2)"),
            (&["007", "1"], "text"),
            (&["+49170123", "+4930"], "text"),
            (&["+1.5", "-0.5"], "float64"),
            (&["18446744073709551615", "1"], "decimal(38,0)"),
            (&["18446744073709551615", "1.25"], "float64"),
            (&["1e3", "1.25"], "float64"),
            (&["1234567890123456789012345678901234567890.99", "1.10"], "text"),
            (&["123456789012345678901234567890123456.99", "1.10"], "decimal(38,2)"),
            (&["1234567890123456789012345678901234567890", "1"], "text"),
            (&["0.333333333333333333333333333333333333333", "1.5"], "text"),
            // All digits of a float.
            (&["0.1000000000000000055511151231257827021181583404541015625", "1.5"], "float64"),
            (&["+00.5", "1.5"], "text"),
            (&["2024-01-01", "2024-01-01 10:00:00"], "timestamp"),
            (&["2024-01-01"], "date"),
            (&["true", "False"], "bool"),
            (&["true", "1"], "text"),
            (&["", ""], "text"),
            (&[], "text"),
        ] {
            assert_eq!(plain(fields), data_type, "{fields:?}");
        }
    }

    #[test]
    fn more_digits_than_a_float_has_make_a_text() {
        let longest = "0.".to_owned() + &"1".repeat(70_000);
        for digits in [longest, format!("0.{}1", "0".repeat(1_080))] {
            assert_eq!(found(&[&digits], &CsvOptions::default(), 1.0).0, "text");
        }
        let least = format!("{:.1074}", f64::from_bits(1));
        assert_eq!(found(&[&least], &CsvOptions::default(), 1.0).0, "float64");
    }

    #[test]
    fn what_is_against_a_type_is_told_with_its_row() {
        let usual = CsvOptions::default();
        let fields = ["1", "2", "three", "4", "five"];
        let says = "2 of 5 values are not int64, the first in row 3 on line 4: \"three\"";
        assert_eq!(found(&fields, &usual, 1.0), ("text".to_owned(), Some(says.to_owned())));
        assert_eq!(found(&fields, &usual, 0.6), ("int64".to_owned(), Some(says.to_owned())));
        assert_eq!(found(&fields, &usual, 0.61).0, "text");
        assert_eq!(found(&["x", "y", "3"], &usual, 1.0), ("text".to_owned(), None));
        assert_eq!(found(&["x", "y", "z", "3"], &usual, 0.2).0, "int64");
    }

    #[test]
    fn fields_are_read_as_they_are_said_to_be_written() {
        let options = CsvOptions {
            decimal_comma: true,
            date_order: Some(DateOrder::DayFirst),
            nulls: vec!["k.A.".to_owned()],
            ..CsvOptions::default()
        };
        let read = |fields: &[&str]| found(fields, &options, 1.0).0;
        assert_eq!(read(&["1.234,50", "k.A.", "-3,99"]), "decimal(18,2)");
        assert_eq!(read(&["1.234", "5"]), "int64");
        assert_eq!(read(&["1.23", "5"]), "text");
        assert_eq!(read(&["31.12.2026", "2026-01-01"]), "date");
        assert_eq!(read(&["31.12.2026 09:30", "1.1.2026"]), "timestamp");
        assert_eq!(read(&["12/31/2026"]), "text");
    }

    #[test]
    fn a_text_that_could_be_more_says_what() {
        let otherwise = |fields: &[&str]| {
            let mut tally = Tally::default();
            for field in fields {
                tally.add(field, Place { row: 1, line: 1 }, &CsvOptions::default());
            }
            tally.decide(1.0).otherwise
        };
        let (comma, day, month) = (Hint::DecimalComma, Hint::DayFirst, Hint::MonthFirst);
        assert_eq!(otherwise(&["3,99", "1.234,50", "free"]), [comma]);
        assert_eq!(otherwise(&["1,234", "12,500"]), [Hint::ThousandsMark]);
        assert_eq!(otherwise(&["1,234.50", "1,2"]), []);
        assert_eq!(otherwise(&["31.12.2026", "01.02.2026 09:30"]), [day]);
        assert_eq!(otherwise(&["01/02/2026"]), [day, month]);
        assert_eq!(otherwise(&["12/31/2026", "1/2/2026", "2/2/2026"]), [day, month]);
        assert_eq!(otherwise(&["red", "green"]), []);
    }

    #[test]
    fn thousands_commas_are_found_where_no_other_reading_fits() {
        let is_grouped = |fields: &[&str], mostly: f64| {
            let mut tally = Tally::default();
            for field in fields {
                tally.add(field, Place { row: 1, line: 1 }, &CsvOptions::default());
            }
            tally.decide(mostly).is_grouped
        };
        assert!(is_grouped(&["1,234.50", "999.00", "12,500"], 1.0));
        assert!(is_grouped(&["1,234,567"], 1.0));
        // Only the user knows whether the comma separates thousands or a fraction.
        assert!(!is_grouped(&["1,234", "12,500"], 1.0));
        assert!(!is_grouped(&["1,234.50", "free"], 1.0));
        assert!(is_grouped(&["1,234.50", "free"], 0.5));
        assert!(!is_grouped(&["1,23,456.50"], 1.0));
        let marked = CsvOptions { thousands_mark: Some(','), ..CsvOptions::default() };
        assert_eq!(found(&["1,234.50", "999.00"], &marked, 1.0).0, "decimal(18,2)");
        assert_eq!(found(&["1,234", "5"], &marked, 1.0).0, "int64");
    }
}
