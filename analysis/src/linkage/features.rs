//! What logistic regression sees of a pair: for each field several similarities, the level, and whether it is missing; then what
//! the records say across their fields.
//!
//! Across fields, because one shop writes into a title what another has in a column of its own: whether a field's whole value
//! stands anywhere in the other record, which words of a text do not, whether the records share a model's number, whether
//! numbers with units agree. All of these are the same for (a, b) as for (b, a).

use std::cell::RefCell;
use std::collections::HashMap;

use super::Compare;
use super::FIELDS_MAX;
use super::column::{Column, Kind, MISSING, Words, idf};
use super::compare::{Records, level_same, levels};
use super::letters::{Letters, edits};
use super::similarity::{level, other_words, similarity, words_alike};
use super::standard::Quantity;

/// Similarities of a field of words, beside that of the field itself.
const OF_WORDS: usize = 6;
/// Whether its value stands in the other record.
const OF_WITHIN: usize = 2;
/// What of a text stands in no field of the other record.
const OF_LEFT: usize = 4;
/// Features of whole records, where they have words.
const OF_RECORD: usize = 7;

/// Fewest letters and digits of a value that is looked for in other fields.
const WITHIN_LETTERS: usize = 3;

/// Words of a text that are looked for in the other record.
const LEFT_WORDS_MAX: usize = 512;

/// Makes the features of pairs of records.
pub struct Features<'a> {
    records: &'a Records,
    /// By column and place in its vocabulary: the word among those of all columns.
    words: Vec<Vec<u32>>,
    /// By word: how rare it is.
    rarity: Vec<f64>,
    count: usize,
}

/// The words of a record's fields; none where a field has none.
type OfFields<'a> = [Option<&'a Words>; FIELDS_MAX];

thread_local! {
    /// The different words of either record of a pair, rising.
    static WORDS: RefCell<[Vec<u32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

fn takes_words(column: &Column) -> bool {
    matches!(column.field.compare, Compare::Name | Compare::Text | Compare::Exact)
}

impl<'a> Features<'a> {
    /// Features of pairs of `records`.
    pub fn new(records: &'a Records) -> Self {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut documents: Vec<u32> = Vec::new();
        let columns = records.columns.iter();
        let words = columns.map(|column| {
            let of_column = column.vocabulary.iter().zip(&column.documents);
            let of_column = of_column.map(|(word, with)| {
                let next = documents.len() as u32;
                let place = *known.entry(word.text.as_str()).or_insert(next);
                if place == next {
                    documents.push(0);
                }
                documents[place as usize] += with;
                place
            });
            of_column.collect()
        });
        let words = words.collect();
        let all = records.columns.iter().map(|column| column.learnt).max().unwrap_or_default();
        let rarity = documents.iter().map(|&with| idf(all, with)).collect();
        let of_field = |column: &Column| {
            let of_words = match column.field.compare {
                Compare::Text => OF_WORDS + OF_WITHIN + OF_LEFT,
                _ if takes_words(column) => OF_WORDS + OF_WITHIN,
                _ => 0,
            };
            2 + levels(column.field.compare) - 2 + of_words
        };
        let of_record = if records.columns.iter().any(takes_words) { OF_RECORD } else { 0 };
        let count = records.columns.iter().map(of_field).sum::<usize>() + of_record;
        Self { records, words, rarity, count }
    }

    /// How many features a pair has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends the features of two rows; NaN where a value is missing.
    pub fn of_pair(&self, a: usize, b: usize, features: &mut Vec<f64>) {
        let (first, second) = (self.words_of(a), self.words_of(b));
        WORDS.with_borrow_mut(|[one, other]| {
            self.all_words(&first, one);
            self.all_words(&second, other);
            for (field, column) in self.records.columns.iter().enumerate() {
                of_field(column, a, b, features);
                if takes_words(column) {
                    let found = [within(first[field], &second), within(second[field], &first)];
                    features.extend(least_and_most(found));
                }
                if column.field.compare == Compare::Text {
                    let left = [
                        self.left(field, first[field], other, &second),
                        self.left(field, second[field], one, &first),
                    ];
                    let is_missing = first[field].is_none() || second[field].is_none();
                    let of = |left: [f64; 2]| {
                        least_and_most(left.map(|left| (!is_missing).then_some(left)))
                    };
                    features.extend(of(left.map(|left| left.0)));
                    features.extend(of(left.map(|left| left.1)));
                }
            }
            if self.records.columns.iter().any(takes_words) {
                features.push(self.cosine(one, other));
                features.extend(codes(&first, &second));
                features.extend(quantities(&first, &second));
            }
        });
    }

    fn words_of(&self, row: usize) -> OfFields<'a> {
        let mut words = [None; FIELDS_MAX];
        for (of_field, column) in words.iter_mut().zip(&self.records.columns) {
            if let Some(Kind::Words(words)) = column.value(row).map(|value| &value.kind) {
                *of_field = Some(words);
            }
        }
        words
    }

    /// The different words of a record, rising.
    fn all_words(&self, of_fields: &OfFields<'_>, all: &mut Vec<u32>) {
        all.clear();
        for (words, places) in of_fields.iter().zip(&self.words) {
            let words = words.iter().flat_map(|words| &words.places);
            all.extend(words.map(|&word| places[word as usize]));
        }
        all.sort_unstable();
        all.dedup();
    }

    /// Of the words of a field those that stand nowhere in the other record: how rare all of them are, and the rarest.
    fn left(
        &self,
        field: usize,
        words: Option<&Words>,
        all_of_other: &[u32],
        other: &OfFields<'_>,
    ) -> (f64, f64) {
        let column = &self.records.columns[field];
        let (mut sum, mut most) = (0.0, 0.0_f64);
        for &word in words.iter().flat_map(|words| &words.places).take(LEFT_WORDS_MAX) {
            let place = self.words[field][word as usize];
            if all_of_other.binary_search(&place).is_err()
                && !stands_in(&column.vocabulary[word as usize], other)
            {
                let rarity = self.rarity[place as usize];
                sum += rarity;
                most = most.max(rarity);
            }
        }
        (sum, most)
    }

    /// Cosine of the TF-IDF weights of all words of the records.
    fn cosine(&self, a: &[u32], b: &[u32]) -> f64 {
        let weight = |word: &u32| self.rarity[*word as usize].powi(2);
        let shared: f64 = a.iter().filter(|word| b.binary_search(word).is_ok()).map(weight).sum();
        let lengths = [a, b].map(|words| words.iter().map(weight).sum::<f64>());
        if shared > 0.0 { shared / (lengths[0] * lengths[1]).sqrt() } else { 0.0 }
    }
}

/// Similarities of two values of a field.
fn of_field(column: &Column, a: usize, b: usize, features: &mut Vec<f64>) {
    let compare = column.field.compare;
    let (x, y) = (column.places[a], column.places[b]);
    // A level each, from the second up: a step where the similarity alone would be a line.
    let steps = levels(compare) - 2;
    let of_words = if takes_words(column) { OF_WORDS } else { 0 };
    if x == MISSING || y == MISSING {
        features.push(1.0);
        features.extend(std::iter::repeat_n(f64::NAN, 1 + steps + of_words));
        return;
    }
    let (first, second) = (&column.values[x as usize], &column.values[y as usize]);
    let mut push = |alike: f64| {
        let reached = if x == y { level_same(compare) } else { level(compare, alike) };
        let step = |step: usize| f64::from(u8::from(usize::from(reached) >= step + 2));
        features.extend([0.0, alike]);
        features.extend((0..steps).map(step));
    };
    let (Kind::Words(p), Kind::Words(q)) = (&first.kind, &second.kind) else {
        return push(similarity(column, first, second));
    };
    let (words, edits) = (words_alike(column, p, q), edits(&first.form, &second.form));
    push(if x == y { 1.0 } else { other_words(compare, (p, q), || words, || edits) });
    let (shared, of_both) = shared(p, q);
    let smaller = p.places.len().min(q.places.len()).max(1) as f64;
    features.extend([
        shared / of_both.max(1.0),
        shared / smaller,
        words.monge_elkan,
        words.soft_tfidf.iter().sum::<f64>() / 2.0,
        edits,
        cosine(p, q),
    ]);
}

/// Words that both have, and words that either has.
fn shared(a: &Words, b: &Words) -> (f64, f64) {
    let shared = a.places.iter().filter(|word| b.places.binary_search(word).is_ok()).count();
    (shared as f64, (a.places.len() + b.places.len() - shared) as f64)
}

/// Cosine of the TF-IDF weights.
fn cosine(a: &Words, b: &Words) -> f64 {
    let weight = |(word, weight): (&u32, &f64)| match b.places.binary_search(word) {
        Ok(at) => weight * b.weights[at],
        Err(_) => 0.0,
    };
    a.places.iter().zip(&a.weights).map(weight).sum::<f64>().min(1.0)
}

/// Whether letters and digits stand in a field of a record, spaces and marks aside.
fn stands_in(text: &Letters, record: &OfFields<'_>) -> bool {
    record.iter().flatten().any(|words| words.joined.contains(text))
}

/// Whether a value stands whole in the other record; none where there is no value, or a short one.
fn within(value: Option<&Words>, other: &OfFields<'_>) -> Option<f64> {
    let value = &value?.joined;
    value.text.chars().nth(WITHIN_LETTERS - 1)?;
    Some(f64::from(u8::from(stands_in(value, other))))
}

/// Of what is known of either record, the least and the most; NaN where nothing is.
fn least_and_most(of_records: [Option<f64>; 2]) -> [f64; 2] {
    let known = || of_records.into_iter().flatten();
    [known().fold(f64::NAN, f64::min), known().fold(f64::NAN, f64::max)]
}

/// What the codes of two records say: whether both have some and share none, whether one has none, and the part of either's that
/// stands in the other.
fn codes(a: &OfFields<'_>, b: &OfFields<'_>) -> [f64; 4] {
    let share = |of: &OfFields<'_>, other: &OfFields<'_>| {
        let (mut all, mut found) = (0_u32, 0_u32);
        for (field, words) in of.iter().enumerate() {
            for code in words.iter().flat_map(|words| &words.codes) {
                let before = of[..field].iter().flatten();
                if before.into_iter().any(|words| words.codes.contains(code)) {
                    continue;
                }
                all += 1;
                found += u32::from(stands_in(code, other));
            }
        }
        (all > 0).then(|| f64::from(found) / f64::from(all))
    };
    let shares = [share(a, b), share(b, a)];
    let bit = |is: bool| f64::from(u8::from(is));
    let [least, most] = least_and_most(shares);
    let is_missing = shares.iter().any(Option::is_none);
    [bit(!is_missing && most == 0.0), bit(is_missing), least, most]
}

/// Whether numbers with units of two records agree in a dimension, and whether they are others in one; NaN where the records have
/// no dimension in common.
fn quantities(a: &OfFields<'_>, b: &OfFields<'_>) -> [f64; 2] {
    let (mut agree, mut differ) = (f64::NAN, f64::NAN);
    for one in all_quantities(a) {
        let same = |of: &OfFields<'_>| -> Vec<f64> {
            let same = all_quantities(of).filter(|it| it.dimension == one.dimension);
            same.map(|it| it.value).collect()
        };
        let (first, second) = (same(a), same(b));
        if second.is_empty() {
            continue;
        }
        let is_equal = |x: f64, y: f64| (x - y).abs() <= 1e-6 * x;
        let is_there = first.iter().any(|&x| second.iter().any(|&y| is_equal(x, y)));
        agree = agree.max(f64::from(u8::from(is_there)));
        differ = differ.max(f64::from(u8::from(!is_there)));
    }
    [agree, differ]
}

fn all_quantities<'a>(record: &'a OfFields<'a>) -> impl Iterator<Item = &'a Quantity> {
    record.iter().flatten().flat_map(|words| &words.quantities)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Field;
    use super::super::column::ColumnBuilder;
    use super::*;

    fn records(columns: &[Compare], rows: &[&[Option<&str>]]) -> Records {
        let column = |(at, &compare): (usize, &Compare)| {
            let mut column = ColumnBuilder::new(Field { column: "c".into(), compare });
            rows.iter().for_each(|row| column.push(row[at]));
            column.finish(rows.len())
        };
        Records { columns: columns.iter().enumerate().map(column).collect() }
    }

    fn pair(records: &Records, a: usize, b: usize) -> Vec<f64> {
        let all = Features::new(records);
        let of = |a, b| {
            let mut features = Vec::new();
            all.of_pair(a, b, &mut features);
            assert_eq!(features.len(), all.count());
            features
        };
        let (there, back) = (of(a, b), of(b, a));
        let is_same = |(x, y): (&f64, &f64)| (x.is_nan() && y.is_nan()) || (x - y).abs() < 1e-9;
        assert!(there.iter().zip(&back).all(is_same), "{there:?} {back:?}");
        there
    }

    #[test]
    fn a_pair_has_a_similarity_the_levels_it_reaches_and_what_its_words_share() {
        let records = records(
            &[Compare::Digits, Compare::Exact],
            &[
                &[Some("1234567890"), Some("a b")],
                &[Some("1234567"), Some("a c d")],
                &[None, Some("a b")],
            ],
        );
        let other = pair(&records, 0, 1);
        // There, 0.7 alike, beyond 0.6, not beyond 0.8, not the same; there, not alike, different.
        assert_eq!(other[..5], [0.0, 0.7, 1.0, 0.0, 0.0]);
        assert_eq!(other[5..8], [0.0, 0.0, 0.0]);
        // One word of four, one of the two that the shorter has.
        assert_eq!(other[8..10], [0.25, 0.5]);
        let missing = pair(&records, 0, 2);
        assert!(missing[0] == 1.0 && missing[1..5].iter().all(|value| value.is_nan()));
        assert_eq!(missing[5..10], [0.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn what_one_writes_into_a_title_another_has_in_a_column() {
        let (title, model) = (Compare::Text, Compare::Exact);
        let records = records(
            &[title, model],
            &[
                &[Some("netgear powerline av 500 adapter"), Some("XAV-5001")],
                &[Some("netgear xav5001 powerline av 500 adapter kit"), None],
                &[Some("netgear xav2001 powerline av 200 adapter"), Some("xav2001")],
            ],
        );
        let of_title = 2 + levels(title) - 2 + OF_WORDS;
        let of_model = 2 + levels(model) - 2 + OF_WORDS;
        let features = Features::new(&records);
        let rarity = |word: &str| {
            let place =
                records.columns[0].vocabulary.iter().position(|it| it.text == word).unwrap();
            features.rarity[features.words[0][place] as usize]
        };

        let same = pair(&records, 0, 1);
        let (of_text, rest) = same[of_title..].split_at(OF_WITHIN + OF_LEFT);
        assert_eq!(of_text[..2], [0.0, 0.0], "neither title stands in the other record");
        // All words of one stand in the other; of those, but for the model that its own column has, one does not.
        assert_eq!(of_text[2..], [0.0, rarity("kit"), 0.0, rarity("kit")]);
        assert!(rest[..of_model].iter().skip(1).all(|value| value.is_nan()), "one has no model");
        assert_eq!(rest[of_model..of_model + 2], [1.0, 1.0], "it stands in the other's title");
        let of_record = &rest[of_model + OF_WITHIN..];
        assert_eq!(of_record.len(), OF_RECORD);
        assert!(of_record[0] > 0.4 && of_record[0] < 1.0, "{of_record:?}");
        assert_eq!(of_record[1..5], [0.0, 0.0, 1.0, 1.0], "they share their codes");

        let other = pair(&records, 1, 2);
        let of_record = &other[of_title + OF_WITHIN + OF_LEFT + of_model + OF_WITHIN..];
        assert_eq!(of_record[1..5], [1.0, 0.0, 0.0, 0.0], "they have others");
    }

    #[test]
    fn numbers_with_units_agree_whatever_the_unit() {
        let records = records(
            &[Compare::Text],
            &[
                &[Some("hard disk 1.5tb, 6 ft cable")],
                &[Some("disk of 1500 GB")],
                &[Some("a 2-TB disk with 72 inches of cable")],
                &[Some("a disk")],
            ],
        );
        let of = |a, b| {
            let features = pair(&records, a, b);
            [features[features.len() - 2], features[features.len() - 1]]
        };
        assert_eq!(of(0, 1), [1.0, 0.0]);
        assert_eq!(of(0, 2), [1.0, 1.0], "the length is the same, the size another");
        assert_eq!(of(1, 2), [0.0, 1.0]);
        assert!(of(0, 3).iter().all(|value| value.is_nan()));
    }
}
