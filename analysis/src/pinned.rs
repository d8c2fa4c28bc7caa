//! Results of tests as text, held against files beside the code: `pinned/NAME.txt` of the crate whose test it is.
//!
//! Such a file says what comes out of made input with many turns, so that no number of it changes unseen. Whether the numbers are
//! right is for the other tests, which hold them against formulas and other programs. `UPDATE_PINNED=1` writes the files anew.

use std::fmt::Debug;
use std::path::Path;

/// Digits of a number that are kept.
const DIGITS: usize = 7;
/// The last of them may be another on another machine.
const TOLERANCE: f64 = 2e-6;

/// What a test found, line by line.
#[derive(Default)]
pub struct Pinned(String);

impl Pinned {
    /// Adds a line.
    pub fn line(&mut self, name: &str, found: &impl Debug) {
        self.push(&format!("{name}: {found:?}"));
    }

    /// Adds lines of text as they are, but for the length of numbers.
    pub fn text(&mut self, name: &str, lines: &[String]) {
        self.push(&format!("{name}:"));
        lines.iter().for_each(|line| self.push(&format!("  {line}")));
    }

    fn push(&mut self, line: &str) {
        self.0.push_str(short(line).trim_end());
        self.0.push('\n');
    }

    /// Says where this is something else than `pinned/NAME.txt` holds.
    pub fn against(&self, name: &str) -> Result<(), String> {
        let path = Path::new("pinned").join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_PINNED").is_some() {
            let written =
                std::fs::create_dir_all("pinned").and_then(|()| std::fs::write(&path, &self.0));
            return written.map_err(|error| format!("{}: {error}", path.display()));
        }
        let known = std::fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let (mut known, mut found) = (known.lines(), self.0.lines());
        for at in 1.. {
            match (known.next(), found.next()) {
                (None, None) => break,
                (known, found) if is_same(known, found) => {}
                (known, found) => {
                    let [known, found] = [known, found].map(|line| line.unwrap_or("nothing"));
                    let at = format!("{}:{at}", path.display());
                    return Err(format!("{at}: expected\n{known}\nfound\n{found}"));
                }
            }
        }
        Ok(())
    }
}

/// A text in pieces: numbers, and what is between them.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let is_digit = move |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_sign = move |at: usize| bytes.get(at) == Some(&b'-') && is_digit(at + 1);
    let mut from = 0;
    std::iter::from_fn(move || {
        bytes.get(from)?;
        let is_number = is_digit(from) || is_sign(from);
        let mut to = from + 1;
        while to < bytes.len() {
            let exponent = bytes[to] == b'e' && (is_digit(to + 1) || is_sign(to + 1));
            let goes_on = match is_number {
                true => is_digit(to) || bytes[to] == b'.' || exponent,
                false => !is_digit(to) && !is_sign(to),
            };
            if !goes_on {
                break;
            }
            to += if is_number && exponent { 2 } else { 1 };
        }
        let piece = text.get(from..to);
        from = to;
        piece
    })
}

/// Whether a number is none of the whole ones, which are as they are.
fn is_rounded(piece: &str) -> bool {
    piece.contains(['.', 'e'])
}

fn short(text: &str) -> String {
    let short = |piece: &str| match piece.parse::<f64>() {
        Ok(number) if piece.len() > DIGITS && is_rounded(piece) => {
            let rounded: f64 = format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number);
            format!("{rounded:?}")
        }
        _ => piece.to_owned(),
    };
    pieces(text).map(short).collect()
}

fn is_same(known: Option<&str>, found: Option<&str>) -> bool {
    let (Some(known), Some(found)) = (known, found) else { return false };
    if known == found {
        return true;
    }
    let close = |(known, found): (&str, &str)| {
        known == found
            || match (known.parse::<f64>(), found.parse::<f64>()) {
                (Ok(one), Ok(other)) if is_rounded(known) && is_rounded(found) => {
                    (one - other).abs() <= TOLERANCE * one.abs().max(other.abs())
                }
                _ => false,
            }
    };
    let (known, found): (Vec<&str>, Vec<&str>) = (pieces(known).collect(), pieces(found).collect());
    known.len() == found.len() && known.into_iter().zip(found).all(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_within_rounding_and_texts_to_the_letter() {
        let same = |known, found| is_same(Some(known), Some(found));
        assert!(same("a: [1.25, 3]", "a: [1.2500001, 3]") && same("1.5e-7 m", "1.5000001e-7 m"));
        assert!(!same("a: [1.25, 3]", "a: [1.2501, 3]") && !same("1.5e-7 m", "1.5e-8 m"));
        assert!(!same("a 1.0", "b 1.0") && !same("1.0", "-1.0") && !same("1 2", "1"));
        assert!(same("(-1e-17)", "(-1.0000001e-17)") && !same("1e-20", "1e-30"));
        assert!(!same("0.0", "1e-30") && !same("604800000000", "604800000001"));
        assert!(!same("3", "4") && !same("3", "3.0000001") && !is_same(None, Some("")));
        assert_eq!(
            short("Some(0.123456789) 1234567890 é 1.23456789e-12"),
            "Some(0.1234568) 1234567890 é 1.234568e-12"
        );
    }
}
