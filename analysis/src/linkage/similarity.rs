//! How alike two values of a field are, 0 to 1; 1 for values whose standard forms are the same.
//!
//! - `name`: the larger of Jaro–Winkler of the letters without spaces (Winkler, "String comparator metrics and enhanced
//!   decision rules in the Fellegi–Sunter model of record linkage", 1990) and, where either has several words, Monge–Elkan
//!   over Jaro–Winkler of words (Monge & Elkan, "The field matching problem", 1996), the mean of both directions.
//! - `text`: the larger of SoftTFIDF with Jaro–Winkler of at least 0.9 (Cohen, Ravikumar & Fienberg, "A comparison of string
//!   distance metrics for name-matching tasks", 2003) and one minus the Damerau–Levenshtein distance over the longer length.
//! - `exact`: 1 or 0.
//! - `digits`: one minus the Damerau–Levenshtein distance over the longer length.
//! - `number`: 1 − |a − b| / max(|a|, |b|), at least 0; 0 where the units can't be converted into each other.
//! - `date`: 0.95 with day and month the other way round, 0.9 with one digit wrong or two neighbours swapped, 0.6 at most 31 days
//!   apart, 0.3 in the same year, else 0.

use super::column::{Column, Kind, Value, Words};
use super::letters::edits;
use super::standard::{Day, Quantity};
use super::{Compare, FieldLevels};

/// Least Jaro–Winkler similarity of two words that SoftTFIDF takes for one.
const SAME_WORD: f64 = 0.9;

/// Words of either text that are looked at, the first ones: the comparison of words is quadratic, too.
const WORDS_MAX: usize = 64;

/// How alike two values are.
pub(super) fn similarity(column: &Column, a: &Value, b: &Value) -> f64 {
    if a.form == b.form {
        return 1.0;
    }
    match (&a.kind, &b.kind) {
        (Kind::Words(x), Kind::Words(y)) => {
            let words = || words_alike(column, x, y);
            other_words(column.field.compare, (x, y), words, || edits(&a.form, &b.form))
        }
        (Kind::Number(x), Kind::Number(y)) => number(x, y),
        (Kind::Day(x), Kind::Day(y)) => day(x, y),
        _ => edits(&a.form, &b.form),
    }
}

/// The level of a similarity below 1: 1 for the least.
pub(super) fn level(compare: Compare, similarity: f64) -> u8 {
    1 + compare.thresholds().iter().filter(|least| similarity >= **least).count() as u8
}

impl FieldLevels for Compare {
    fn thresholds(self) -> &'static [f64] {
        match self {
            Self::Name => &[0.8, 0.92],
            Self::Text => &[0.4, 0.6, 0.85],
            Self::Exact => &[],
            Self::Digits => &[0.6, 0.8],
            Self::Number => &[0.8, 0.95, 0.99],
            Self::Date => &[0.25, 0.5, 0.85],
        }
    }
}

/// How alike two values of other words are, by what is known or can be found of these and of the edits between them.
pub(super) fn other_words(
    compare: Compare,
    (a, b): (&Words, &Words),
    words: impl FnOnce() -> WordsAlike,
    edits: impl FnOnce() -> f64,
) -> f64 {
    match compare {
        Compare::Name => {
            let whole = a.joined.alike(&b.joined);
            let has_several = a.places.len() > 1 || b.places.len() > 1;
            if has_several { whole.max(words().monge_elkan) } else { whole }
        }
        Compare::Text => words().soft_tfidf[0].max(edits()),
        _ => 0.0,
    }
}

/// How alike the words of two values are, of one look at each pair of words.
#[derive(Clone, Copy)]
pub(super) struct WordsAlike {
    /// Monge–Elkan, the mean of both directions.
    pub(super) monge_elkan: f64,
    /// SoftTFIDF of the words of the first, and of those of the second.
    pub(super) soft_tfidf: [f64; 2],
}

/// The word of the other value that is most like a word.
#[derive(Clone, Copy, Default)]
struct Best {
    alike: f64,
    /// The weight of the one that is taken for the same; 0 where none is.
    weight: f64,
}

impl Best {
    fn see(&mut self, alike: f64, weight: f64) {
        if alike > self.alike {
            self.alike = alike;
            self.weight = if alike >= SAME_WORD { weight } else { 0.0 };
        }
    }
}

pub(super) fn words_alike(column: &Column, a: &Words, b: &Words) -> WordsAlike {
    let [mut of_a, mut of_b] = [[Best::default(); WORDS_MAX]; 2];
    let of_a = &mut of_a[..a.places.len().min(WORDS_MAX)];
    let of_b = &mut of_b[..b.places.len().min(WORDS_MAX)];
    // A word that both have is like none so much.
    for ((word, weight), best) in b.places.iter().zip(&b.weights).zip(&mut *of_b) {
        if let Ok(at) = a.places[..of_a.len()].binary_search(word) {
            of_a[at] = Best { alike: 1.0, weight: *weight };
            *best = Best { alike: 1.0, weight: a.weights[at] };
        }
    }
    for ((&word, &weight), best) in a.places.iter().zip(&a.weights).zip(&mut *of_a) {
        let letters = &column.vocabulary[word as usize];
        for ((&other, &other_weight), best_of_b) in b.places.iter().zip(&b.weights).zip(&mut *of_b)
        {
            let least = best.alike.min(best_of_b.alike);
            if least == 1.0 {
                continue;
            }
            let others = &column.vocabulary[other as usize];
            if letters.alike_at_most(others) <= least {
                continue;
            }
            let alike = letters.alike(others);
            best.see(alike, other_weight);
            best_of_b.see(alike, weight);
        }
    }
    let sums = [(&*of_a, &a.weights), (&*of_b, &b.weights)].map(|(bests, weights)| {
        let alike = bests.iter().map(|best| best.alike).sum::<f64>() / bests.len() as f64;
        let soft =
            bests.iter().zip(weights).map(|(best, weight)| weight * best.weight * best.alike);
        (alike, soft.sum::<f64>().min(1.0))
    });
    WordsAlike { monge_elkan: (sums[0].0 + sums[1].0) / 2.0, soft_tfidf: [sums[0].1, sums[1].1] }
}

fn number(a: &Quantity, b: &Quantity) -> f64 {
    if let (Some(x), Some(y)) = (a.dimension, b.dimension)
        && x != y
    {
        return 0.0;
    }
    let larger = a.value.abs().max(b.value.abs());
    if larger == 0.0 { 1.0 } else { (1.0 - (a.value - b.value).abs() / larger).max(0.0) }
}

fn day(a: &Day, b: &Day) -> f64 {
    if a.turned() == b.digits {
        return 0.95;
    }
    if one_slip(&a.digits, &b.digits) {
        return 0.9;
    }
    if let (Some(x), Some(y)) = (a.number, b.number)
        && x.abs_diff(y) <= 31
    {
        return 0.6;
    }
    if a.digits[..4] == b.digits[..4] { 0.3 } else { 0.0 }
}

/// Whether one digit differs, or two neighbours are swapped.
fn one_slip(a: &[u8; 8], b: &[u8; 8]) -> bool {
    let differ: Vec<usize> = (0..8).filter(|&at| a[at] != b[at]).collect();
    match differ[..] {
        [_] => true,
        [x, y] => y == x + 1 && a[x] == b[y] && a[y] == b[x],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Field;
    use super::super::column::ColumnBuilder;
    use super::super::letters::Letters;
    use super::*;

    fn alike(compare: Compare, a: &str, b: &str) -> f64 {
        let mut column = ColumnBuilder::new(Field { column: "c".into(), compare });
        // Others, so that a word has a weight.
        for text in [a, b, "the end", "the beginning", "the middle"] {
            column.push(Some(text));
        }
        let column = column.finish(5);
        let similarity =
            |a, b| similarity(&column, column.value(a).unwrap(), column.value(b).unwrap());
        assert!((similarity(0, 1) - similarity(1, 0)).abs() < 1e-12, "{a} {b}");
        similarity(0, 1)
    }

    #[test]
    fn names_are_compared_by_letters_and_by_words() {
        // Winkler's own examples (1990, table 1).
        for (a, b, expected) in
            [("martha", "marhta", 0.961), ("dwayne", "duane", 0.84), ("dixon", "dicksonx", 0.813)]
        {
            let found = alike(Compare::Name, a, b);
            assert!((found - expected).abs() < 1e-3, "{a} {b}: {found}");
        }
        assert_eq!(alike(Compare::Name, "Mc Donald", "McDonald"), 1.0);
        assert_eq!(alike(Compare::Name, "Anna Maria", "Maria Anna"), 1.0);
    }

    #[test]
    fn a_word_that_is_nearly_shared_counts_by_how_near_it_is() {
        let mut column = ColumnBuilder::new(Field { column: "c".into(), compare: Compare::Text });
        for text in ["flinders", "flindres"] {
            column.push(Some(text));
        }
        let column = column.finish(2);
        let words = |row: usize| match &column.value(row).unwrap().kind {
            Kind::Words(words) => words,
            _ => unreachable!(),
        };
        // One word each, of weight 1.
        let letters = |text: &str| Letters::new(text.into());
        let near = letters("flinders").alike(&letters("flindres"));
        let alike = words_alike(&column, words(0), words(1));
        assert!(alike.soft_tfidf.iter().all(|soft| (soft - near).abs() < 1e-12));
    }

    #[test]
    fn texts_are_compared_by_rare_words_first() {
        let rare = alike(Compare::Text, "the flinders", "flinders");
        let frequent = alike(Compare::Text, "the flinders", "the");
        assert!(rare > 0.8 && frequent < 0.5 && rare > frequent, "{rare} {frequent}");
        assert!(alike(Compare::Text, "pridham street", "pridhamstreet") > 0.9);
        assert!(alike(Compare::Text, "flinders street", "flindres strete") > 0.85);
    }

    #[test]
    fn numbers_dates_and_digits_are_compared_as_what_they_are() {
        use Compare::{Date, Digits, Exact, Number};
        assert!((alike(Number, "90", "100") - 0.9).abs() < 1e-12);
        assert_eq!((alike(Number, "1.5 kg", "1500g"), alike(Number, "5 %", "5 kg")), (1.0, 0.0));
        assert_eq!((alike(Number, "-5", "5"), alike(Number, "0", "0.0")), (0.0, 1.0));
        assert_eq!(alike(Date, "1956-04-09", "9/4/1956"), 1.0);
        assert_eq!(alike(Date, "19560409", "19560904"), 0.95);
        assert_eq!(
            (alike(Date, "19560409", "19560408"), alike(Date, "19560413", "19560431")),
            (0.9, 0.9)
        );
        assert_eq!(
            (alike(Date, "19560428", "19560515"), alike(Date, "19560409", "19561130")),
            (0.6, 0.3)
        );
        assert_eq!(alike(Date, "19560409", "20011130"), 0.0);
        assert!((alike(Digits, "404-261-7379", "404/216-7379") - 0.9).abs() < 1e-12);
        assert_eq!((alike(Exact, "NSW ", "nsw"), alike(Exact, "nsw", "vic")), (1.0, 0.0));
    }
}
