//! Standard forms: what is left of a value when the way it is written does not count.
//!
//! | compared as | standard form | missing when |
//! |---|---|---|
//! | `name`, `text`, `exact` | lower-case words of letters and digits, single spaces; apostrophes are dropped | no word is left |
//! | `digits` | the ASCII digits | there is none |
//! | `number` | the first number, in the base unit where the unit is known | there is no number |
//! | `date` | year, month, day; eight digits that are no date stay eight digits | neither is there |

use chrono::NaiveDate;

/// Lower-case words, one space between them. `&#40;` and the five named entities of XML are read first.
pub(super) fn words(text: &str) -> String {
    let text = unescape(text);
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for letter in text.chars() {
        if letter.is_alphanumeric() {
            if gap && !out.is_empty() {
                out.push(' ');
            }
            gap = false;
            out.extend(letter.to_lowercase());
        } else if !matches!(letter, '\'' | '’' | '`') {
            gap = true;
        }
    }
    out
}

/// Longest entity that is looked for, in bytes.
const ENTITY_BYTES: usize = 10;

fn unescape(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(ENTITY_BYTES).position(|byte| byte == b';');
        let letter = end.and_then(|end| entity(&rest[1..end]).map(|letter| (letter, end)));
        match letter {
            Some((letter, end)) => {
                out.push(letter);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out.into()
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => name.strip_prefix('#')?.parse().ok().and_then(char::from_u32),
    }
}

/// The ASCII digits of a text.
pub(super) fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// A number and what it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantity {
    /// In the base unit of its dimension.
    pub(super) value: f64,
    /// None where no known unit follows the number.
    pub(super) dimension: Option<Dimension>,
}

/// What units can be converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dimension {
    Gram,
    Metre,
    Litre,
    Second,
    Byte,
    Percent,
}

const UNITS: [(&str, Dimension, f64); 29] = [
    ("mg", Dimension::Gram, 1e-3),
    ("g", Dimension::Gram, 1.0),
    ("kg", Dimension::Gram, 1e3),
    ("lb", Dimension::Gram, 453.592_37),
    ("lbs", Dimension::Gram, 453.592_37),
    ("oz", Dimension::Gram, 28.349_523_125),
    ("mm", Dimension::Metre, 1e-3),
    ("cm", Dimension::Metre, 1e-2),
    ("m", Dimension::Metre, 1.0),
    ("km", Dimension::Metre, 1e3),
    ("in", Dimension::Metre, 0.0254),
    ("inch", Dimension::Metre, 0.0254),
    ("inches", Dimension::Metre, 0.0254),
    ("ft", Dimension::Metre, 0.3048),
    ("foot", Dimension::Metre, 0.3048),
    ("feet", Dimension::Metre, 0.3048),
    ("ml", Dimension::Litre, 1e-3),
    ("cl", Dimension::Litre, 1e-2),
    ("l", Dimension::Litre, 1.0),
    ("ms", Dimension::Second, 1e-3),
    ("s", Dimension::Second, 1.0),
    ("min", Dimension::Second, 60.0),
    ("h", Dimension::Second, 3600.0),
    ("kb", Dimension::Byte, 1e3),
    ("mb", Dimension::Byte, 1e6),
    ("gb", Dimension::Byte, 1e9),
    ("tb", Dimension::Byte, 1e12),
    ("%", Dimension::Percent, 1.0),
    ("percent", Dimension::Percent, 1.0),
];

/// Quantities and codes of a value that are looked at, the first ones.
const OF_VALUE_MAX: usize = 16;

/// The numbers within a text that are followed by a unit, without their signs.
pub(super) fn quantities(text: &str) -> Vec<Quantity> {
    let mut rest = text;
    let next = || {
        let (quantity, end) = next_quantity(rest)?;
        rest = &rest[end..];
        Some(quantity)
    };
    std::iter::from_fn(next)
        .filter_map(|found| {
            let found = found?;
            found.dimension.map(|_| Quantity { value: found.value.abs(), ..found })
        })
        .take(OF_VALUE_MAX)
        .collect()
}

/// Fewest letters and digits of a code.
const CODE_LETTERS: usize = 4;

/// What in a text may be the number of a model or an article: letters and digits without a space between, among them a digit,
/// marks left out. In lower case, each once.
pub(super) fn codes(text: &str) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    for token in text.split_whitespace() {
        if !token.bytes().any(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let code: String =
            token.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        if code.chars().nth(CODE_LETTERS - 1).is_some() && !codes.contains(&code) {
            codes.push(code);
        }
        if codes.len() == OF_VALUE_MAX {
            break;
        }
    }
    codes
}

/// The first number of a text: a sign, digits with commas between thousands, a point and digits, an exponent.
pub(super) fn quantity(text: &str) -> Option<Quantity> {
    next_quantity(text)?.0
}

/// The same, nothing where it is no number that there is, and where it ends.
fn next_quantity(text: &str) -> Option<(Option<Quantity>, usize)> {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(u8::is_ascii_digit)?;
    let mut end = start;
    let mut number = String::new();
    if start > 0 && bytes[start - 1] == b'.' {
        number.push_str("0.");
    }
    let negative = bytes[..start].trim_ascii_end().ends_with(b"-");
    while let Some(&byte) = bytes.get(end) {
        let next_is_digit = bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        match byte {
            b'0'..=b'9' => number.push(char::from(byte)),
            b'.' if next_is_digit && !number.contains(['.', 'e']) => number.push('.'),
            b',' if next_is_digit && !number.contains('.') => {}
            b'e' | b'E' if !number.contains('e') && exponent_follows(&bytes[end + 1..]) => {
                number.push('e');
                if !next_is_digit {
                    end += 1;
                    number.push(char::from(bytes[end]));
                }
            }
            _ => break,
        }
        end += 1;
    }
    let Ok(value) = number.parse::<f64>() else { return Some((None, end)) };
    // Zero has no sign.
    let value = if negative && value != 0.0 { -value } else { value };
    let unit = text[end..].trim_start();
    let unit = unit.strip_prefix('-').unwrap_or(unit);
    let letters = unit.find(|letter: char| !letter.is_alphabetic() && letter != '%');
    let unit = unit[..letters.unwrap_or(unit.len())].to_lowercase();
    let known = UNITS.iter().find(|known| known.0 == unit);
    let value = value * known.map_or(1.0, |known| known.2);
    let quantity = Quantity { value, dimension: known.map(|known| known.1) };
    Some((value.is_finite().then_some(quantity), end))
}

fn exponent_follows(rest: &[u8]) -> bool {
    match rest {
        [b'+' | b'-', digit, ..] => digit.is_ascii_digit(),
        [digit, ..] => digit.is_ascii_digit(),
        [] => false,
    }
}

/// A day, or eight digits that were meant to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Day {
    /// Year, month and day as YYYYMMDD.
    pub(super) digits: [u8; 8],
    /// Days since the first of year 1; none where the digits are no date.
    pub(super) number: Option<i32>,
}

impl Day {
    fn of(year: u32, month: u32, day: u32) -> Option<Self> {
        use chrono::Datelike;
        if year > 9999 || month > 99 || day > 99 {
            return None;
        }
        let mut digits = [0; 8];
        let mut rest = year * 10_000 + month * 100 + day;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let date = NaiveDate::from_ymd_opt(year as i32, month, day);
        Some(Self { digits, number: date.map(|date| date.num_days_from_ce()) })
    }

    /// The same with month and day the other way round.
    pub(super) fn turned(&self) -> [u8; 8] {
        let [a, b, c, d, m, n, x, y] = self.digits;
        [a, b, c, d, x, y, m, n]
    }
}

/// Reads YYYYMMDD, YYYY-MM-DD (a time may follow), and D/M/YYYY with `/`, `.` or `-`; where the day can only be the
/// second number, M/D/YYYY.
pub(super) fn day(text: &str) -> Option<Day> {
    let text = text.trim();
    let parts: Vec<&str> = text
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .take(3)
        .collect();
    let number = |part: &str| part.parse::<u32>().ok();
    match parts[..] {
        [whole] if whole.len() == 8 => {
            Day::of(number(&whole[..4])?, number(&whole[4..6])?, number(&whole[6..])?)
        }
        [year, month, day] if year.len() == 4 => {
            Day::of(number(year)?, number(month)?, number(day)?)
        }
        [first, second, year] if year.len() == 4 => {
            let (first, second, year) = (number(first)?, number(second)?, number(year)?);
            if second > 12 && first <= 12 {
                return Day::of(year, first, second);
            }
            Day::of(year, second, first)
        }
        _ => None,
    }
}

/// American Soundex of the letters A to Z of a word (Knuth, "The Art of Computer Programming" 3, section 6): its first letter
/// and three digits. None without such a letter.
pub(super) fn soundex(word: &str) -> Option<String> {
    let mut letters =
        word.bytes().map(|byte| byte.to_ascii_uppercase()).filter(u8::is_ascii_uppercase);
    let first = letters.next()?;
    let mut code = String::from(char::from(first));
    let mut last = sound(first);
    for letter in letters {
        match sound(letter) {
            // H and W do not part two letters of one sound, vowels do.
            None if matches!(letter, b'H' | b'W') => {}
            None => last = None,
            found if found == last => {}
            found => {
                code.extend(found.map(char::from));
                last = found;
                if code.len() == 4 {
                    break;
                }
            }
        }
    }
    while code.len() < 4 {
        code.push('0');
    }
    Some(code)
}

fn sound(letter: u8) -> Option<u8> {
    match letter {
        b'B' | b'F' | b'P' | b'V' => Some(b'1'),
        b'C' | b'G' | b'J' | b'K' | b'Q' | b'S' | b'X' | b'Z' => Some(b'2'),
        b'D' | b'T' => Some(b'3'),
        b'L' => Some(b'4'),
        b'M' | b'N' => Some(b'5'),
        b'R' => Some(b'6'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn case_punctuation_and_entities_do_not_matter_in_words() {
        assert_eq!(words("  O'Neill,\tST. &amp; Übergröße "), "oneill st übergröße");
        assert_eq!(words("IPA &#40;strong&#41; &copy; & co"), "ipa strong copy co");
        assert_eq!(words(" - / "), "");
        assert_eq!(digits("404/351 -9533"), "4043519533");
    }

    #[test]
    fn a_number_is_read_with_its_unit() {
        let read = |text| quantity(text).map(|q| (q.value, q.dimension));
        assert_eq!(read("8.10 %"), Some((8.1, Some(Dimension::Percent))));
        assert_eq!(read("$1,234.50"), Some((1234.5, None)));
        assert_eq!(read("1.5kg"), Some((1500.0, Some(Dimension::Gram))));
        assert_eq!(read("about -3e2 pieces"), Some((-300.0, None)));
        assert_eq!(read("12 eggs"), Some((12.0, None)));
        assert_eq!((read("-"), read("")), (None, None));
        assert_eq!(read("1e999"), None);
    }

    #[test]
    fn codes_and_quantities_stand_within_texts() {
        let found =
            codes("New-HON S60ABCQ metal, 4 shelves 34-1/2W (r85wh1-wide) s60abcq 2011 é1é2");
        assert_eq!(found, ["s60abcq", "3412w", "r85wh1wide", "2011", "é1é2"]);
        assert_eq!(codes(&"ab12 cd34 ".repeat(4)), ["ab12", "cd34"]);
        let many: Vec<String> = (1000..1100).map(|n| n.to_string()).collect();
        assert_eq!(codes(&many.join(" ")).len(), OF_VALUE_MAX);
        let found: Vec<f64> = quantities("b-150 ft roll, 2.5in, 12 eggs, 1e999 kg, 3-lbs")
            .iter()
            .map(|q| q.value)
            .collect();
        assert_eq!(found, [150.0 * 0.3048, 2.5 * 0.0254, 3.0 * 453.592_37]);
        assert!(quantities("no number").is_empty());
    }

    #[test]
    fn dates_are_read_in_the_usual_orders_and_broken_ones_keep_their_digits() {
        let read = |text| day(text).map(|day| String::from_utf8(day.digits.to_vec()).unwrap());
        for text in ["19560409", "1956-04-09", "1956-04-09T12:00:00Z", "9/4/1956", "09.04.1956"] {
            assert_eq!(read(text).unwrap(), "19560409", "{text}");
        }
        assert_eq!(read("12/31/1999").unwrap(), "19991231");
        let broken = day("19081141").unwrap();
        assert_eq!((broken.number, broken.turned()), (None, *b"19084111"));
        assert_eq!((day("soon"), day("12"), day("1/2"), day("")), (None, None, None, None));
    }

    #[test]
    fn soundex_is_that_of_the_book() {
        let cases = [
            ("Euler", "E460"),
            ("Gauss", "G200"),
            ("Hilbert", "H416"),
            ("Knuth", "K530"),
            ("Lloyd", "L300"),
            ("Lukasiewicz", "L222"),
            ("Ashcraft", "A261"),
            ("Tymczak", "T522"),
            ("Pfister", "P236"),
        ];
        for (word, code) in cases {
            assert_eq!(soundex(word).as_deref(), Some(code), "{word}");
        }
        assert_eq!(soundex("42"), None);
    }
}
