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
const OF_LONGEST_BEGINNING: f64 = OF_BEGINNING * BEGINNING_MAX as f64;

/// More than what rounding adds to a similarity.
const ROUNDING: f64 = 1e-9;

/// A word, or a text without its spaces, and what tells at once how alike another one can be at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letters {
    pub(super) text: String,
    /// A bit for each letter that is there; rare ones share bits.
    seen: u64,
    /// Letters that are compared.
    count: u16,
    /// Those beyond the first of each bit.
    repeated: u16,
    /// The first byte; 0 where there is none.
    first: u8,
    /// Whether each is a byte, and has a bit for its place.
    is_short: bool,
}

impl Letters {
    pub(super) fn new(text: String) -> Self {
        let bit = |letter: char| match letter {
            'a'..='z' => letter as u32 - 'a' as u32,
            '0'..='9' => 26 + letter as u32 - '0' as u32,
            _ => 36 + letter as u32 % 28,
        };
        let count = text.chars().take(LETTERS_MAX).count() as u16;
        let is_short = text.len() <= BITS && text.is_ascii();
        let seen = |letters: &mut dyn Iterator<Item = char>| {
            letters.fold(0, |seen, letter| seen | 1_u64 << bit(letter))
        };
        let compared = seen(&mut text.chars().take(LETTERS_MAX));
        let repeated = count - compared.count_ones() as u16;
        // Of all letters, for what the text contains.
        let seen = seen(&mut text.chars());
        let first = text.bytes().next().unwrap_or_default();
        Self { text, seen, count, repeated, first, is_short }
    }

    /// The Jaro–Winkler similarity.
    pub(super) fn alike(&self, other: &Self) -> f64 {
        let (a, b) = (self.text.as_str(), other.text.as_str());
        if self.is_short && other.is_short {
            return with_beginning(a.as_bytes(), b.as_bytes());
        }
        jaro_winkler::similarity(first_letters(a).chars(), first_letters(b).chars())
    }

    /// What the similarity is not above.
    pub(super) fn alike_at_most(&self, other: &Self) -> f64 {
        let shared = (self.seen & other.seen).count_ones();
        if shared == 0 {
            return if self.count == other.count {
                f64::from(u8::from(self.count == 0))
            } else {
                0.0
            };
        }
        // Of a letter that both have, as many match as the one has that has fewer.
        let (least, most) = (self.count.min(other.count), self.count.max(other.count));
        let matches = (shared + u32::from(self.repeated.min(other.repeated))).min(least.into());
        let of_both = f64::from(matches * u32::from(least + most));
        let jaro = of_both / f64::from(3 * u32::from(least) * u32::from(most)) + 1.0 / 3.0;
        let has_beginning = jaro > BEGINNING_COUNTS_FROM && self.first == other.first;
        let missing = if has_beginning { (1.0 - jaro) * OF_LONGEST_BEGINNING } else { 0.0 };
        jaro + missing + ROUNDING
    }

    pub(super) fn contains(&self, part: &Self) -> bool {
        self.seen & part.seen == part.seen && self.text.contains(&part.text)
    }
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
        let letters = |text: &str| Letters::new(long(text));
        assert_eq!(letters("a").alike(&letters("b")), 1.0);
        assert!(letters("a").alike_at_most(&letters("b")) >= 1.0);
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
        words.extend(["", "é", "éa", "😀b", "ça va"].map(String::from));
        let words: Vec<Letters> = words.into_iter().map(Letters::new).collect();
        let mut closely = 0;
        for a in &words {
            for b in &words {
                let expected = jaro_winkler::similarity(a.text.chars(), b.text.chars());
                let (found, most) = (a.alike(b), a.alike_at_most(b));
                assert!((found - expected).abs() < 1e-12, "{a:?} {b:?}: {found} {expected}");
                assert!(found <= most, "{a:?} {b:?}: {found} {most}");
                closely += u32::from(most < found + 0.2);
            }
        }
        assert!(closely > 70_000, "a bound that says something: {closely}");
    }

    #[test]
    fn what_has_all_letters_of_a_word_may_contain_it() {
        let [whole, part, other] =
            ["xav5001kit", "5001k", "1005k"].map(|text| Letters::new(text.into()));
        assert!(whole.contains(&part) && !whole.contains(&other) && !part.contains(&whole));
        let far = Letters::new(format!("{}z", "a".repeat(1000)));
        assert!(far.contains(&Letters::new("az".into())));
    }
}
