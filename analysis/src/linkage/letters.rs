//! How alike texts are by their letters: Jaro–Winkler and edits, 0 to 1.
//!
//! Most words are short and of ASCII. For them Jaro's similarity is kept in two registers instead of lists: a comparison of records
//! is hundreds of those of words.

use rapidfuzz::distance::{jaro_winkler, osa};

/// Texts longer than this are compared by their words alone: the edit distance is quadratic.
const EDIT_CHARACTERS: usize = 256;

/// Letters of either word, or of a name without its spaces, that Jaro–Winkler looks at, the first ones: it is quadratic as well.
const LETTERS_MAX: usize = 256;

/// Letters that have a bit each.
const BITS: usize = u64::BITS as usize;

/// Winkler's: the part of what is missing to 1 that a letter of a common beginning gives, the letters that count, and the
/// similarity below which none does.
const OF_BEGINNING: f64 = 0.1;
const BEGINNING_MAX: usize = 4;
const BEGINNING_COUNTS_FROM: f64 = 0.7;

/// The Jaro–Winkler similarity.
pub(super) fn letters_alike(a: &str, b: &str) -> f64 {
    if a.len().max(b.len()) <= BITS && a.is_ascii() && b.is_ascii() {
        return with_beginning(a.as_bytes(), b.as_bytes());
    }
    jaro_winkler::similarity(first_letters(a).chars(), first_letters(b).chars())
}

fn first_letters(text: &str) -> &str {
    text.char_indices().nth(LETTERS_MAX).map_or(text, |(end, _)| &text[..end])
}

fn with_beginning(a: &[u8], b: &[u8]) -> f64 {
    let alike = jaro(a, b);
    if alike <= BEGINNING_COUNTS_FROM {
        return alike;
    }
    let beginning = a.iter().zip(b).take(BEGINNING_MAX).take_while(|(x, y)| x == y).count();
    alike + OF_BEGINNING * beginning as f64 * (1.0 - alike)
}

/// Jaro's similarity of at most [`BITS`] letters.
fn jaro(a: &[u8], b: &[u8]) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.is_empty() {
        return f64::from(u8::from(long.is_empty()));
    }
    let reach = (long.len() / 2).saturating_sub(1);
    let (mut of_short, mut of_long) = (0_u64, 0_u64);
    for (at, letter) in short.iter().enumerate() {
        let from = at.saturating_sub(reach);
        let near = &long[from..(at + reach + 1).min(long.len())];
        let is_free = |place: usize| of_long >> place & 1 == 0;
        let mut same = near.iter().zip(from..).filter(|(other, _)| *other == letter);
        if let Some((_, place)) = same.find(|(_, place)| is_free(*place)) {
            of_long |= 1 << place;
            of_short |= 1 << at;
        }
    }
    let matches = f64::from(of_short.count_ones());
    if matches == 0.0 {
        return 0.0;
    }
    let mut moved = 0_u32;
    while of_short != 0 {
        let (x, y) = (of_short.trailing_zeros(), of_long.trailing_zeros());
        moved += u32::from(short[x as usize] != long[y as usize]);
        of_short &= of_short - 1;
        of_long &= of_long - 1;
    }
    let of_lengths = matches / short.len() as f64 + matches / long.len() as f64;
    (of_lengths + (matches - f64::from(moved / 2)) / matches) / 3.0
}

/// One minus the edits over the longer length. A swap of neighbours is one edit (optimal string alignment).
pub(super) fn edits(a: &str, b: &str) -> f64 {
    let is_ascii = a.is_ascii() && b.is_ascii();
    let count = |text: &str| if is_ascii { text.len() } else { text.chars().count() };
    let length = count(a).max(count(b));
    if length > EDIT_CHARACTERS || length == 0 {
        return 0.0;
    }
    let edits = if is_ascii {
        osa::distance(a.bytes(), b.bytes())
    } else {
        osa::distance(a.chars(), b.chars())
    };
    1.0 - edits as f64 / length as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_compared_by_their_first_letters() {
        let long = |end: &str| format!("{}{end}", "é".repeat(1_000_000));
        assert_eq!(letters_alike(&long("a"), &long("b")), 1.0);
        assert_eq!(first_letters("ab"), "ab");
        assert_eq!(first_letters(&long("")).chars().count(), LETTERS_MAX);
    }

    #[test]
    fn edits_are_counted_by_letters_of_any_script() {
        assert_eq!((edits("abcd", "abdc"), edits("äbcd", "äbdc")), (0.75, 0.75));
        assert_eq!((edits("", ""), edits(&"a".repeat(257), "a")), (0.0, 0.0));
        // Textbook optimal string alignment: no letter is edited twice.
        assert_eq!(edits("ca", "abc"), 0.0);
    }

    #[test]
    fn short_words_are_as_alike_as_the_library_says() {
        let mut words = vec![String::new()];
        for at in 0.. {
            if words[at].len() == 5 {
                break;
            }
            let longer = ["a", "b", "c"].map(|letter| format!("{}{letter}", words[at]));
            words.extend(longer);
        }
        // As long as the registers, and nearly.
        words.extend((59..=BITS).map(|length| "abacbc".repeat(11)[..length].to_owned()));
        words.extend((59..=BITS).map(|length| "ccab".repeat(16)[64 - length..].to_owned()));
        assert_eq!((words.len(), words.iter().map(String::len).max()), (376, Some(BITS)));
        for a in &words {
            for b in &words {
                let expected = jaro_winkler::similarity(a.chars(), b.chars());
                let found = letters_alike(a, b);
                assert!((found - expected).abs() < 1e-12, "{a} {b}: {found} {expected}");
            }
        }
    }
}
