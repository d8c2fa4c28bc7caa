//! What logistic regression sees of a pair: for each field several similarities, the level, and whether it is missing.

use super::column::{Kind, MISSING, Words};
use super::compare::{Records, level_same, levels};
use super::similarity::{edits, level, monge_elkan, similarity, soft_tfidf};

/// Similarities of a field of words, beside that of the field itself.
const OF_WORDS: usize = 6;

/// How many features pairs of these records have.
pub fn count(records: &Records) -> usize {
    let of_field = |column: &super::column::Column| {
        let words = if takes_words(column) { OF_WORDS } else { 0 };
        2 + levels(column.field.compare) - 2 + words
    };
    records.columns.iter().map(of_field).sum()
}

fn takes_words(column: &super::column::Column) -> bool {
    use super::Compare::{Exact, Name, Text};
    matches!(column.field.compare, Name | Text | Exact)
}

/// Appends the features of two rows; NaN where a value is missing.
pub fn of_pair(records: &Records, a: usize, b: usize, features: &mut Vec<f64>) {
    for column in &records.columns {
        let compare = column.field.compare;
        let (x, y) = (column.places[a], column.places[b]);
        // A level each, from the second up: a step where the similarity alone would be a line.
        let steps = levels(compare) - 2;
        let words = if takes_words(column) { OF_WORDS } else { 0 };
        if x == MISSING || y == MISSING {
            features.push(1.0);
            features.extend(std::iter::repeat_n(f64::NAN, 1 + steps + words));
            continue;
        }
        let (first, second) = (&column.values[x as usize], &column.values[y as usize]);
        let alike = similarity(column, first, second);
        let reached = if x == y { level_same(compare) } else { level(compare, alike) };
        features.extend([0.0, alike]);
        features
            .extend((0..steps).map(|step| f64::from(u8::from(usize::from(reached) >= step + 2))));
        if let (Kind::Words(p), Kind::Words(q)) = (&first.kind, &second.kind) {
            let (shared, of_both) = shared(p, q);
            let smaller = p.places.len().min(q.places.len()).max(1) as f64;
            features.extend([
                shared / of_both.max(1.0),
                shared / smaller,
                monge_elkan(column, p, q),
                (soft_tfidf(column, p, q) + soft_tfidf(column, q, p)) / 2.0,
                edits(&first.form, &second.form),
                cosine(p, q),
            ]);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::super::column::ColumnBuilder;
    use super::super::{Compare, Field};
    use super::*;

    #[test]
    fn a_pair_has_a_similarity_the_levels_it_reaches_and_what_its_words_share() {
        let mut columns = [Compare::Digits, Compare::Exact]
            .map(|compare| ColumnBuilder::new(Field { column: "c".into(), compare }));
        for (digits, words) in
            [(Some("1234567890"), "a b"), (Some("1234567"), "a c d"), (None, "a b")]
        {
            columns[0].push(digits);
            columns[1].push(Some(words));
        }
        let records = Records { columns: columns.into_iter().map(|c| c.finish(3)).collect() };
        let pair = |a, b| {
            let mut features = Vec::new();
            of_pair(&records, a, b, &mut features);
            assert_eq!(features.len(), count(&records));
            features
        };
        let other = pair(0, 1);
        // There, 0.7 alike, beyond 0.6, not beyond 0.8, not the same; there, not alike, different.
        assert_eq!(other[..5], [0.0, 0.7, 1.0, 0.0, 0.0]);
        assert_eq!(other[5..8], [0.0, 0.0, 0.0]);
        // One word of four, one of the two that the shorter has.
        assert_eq!(other[8..10], [0.25, 0.5]);
        let missing = pair(0, 2);
        assert!(missing[0] == 1.0 && missing[1..5].iter().all(|value| value.is_nan()));
        assert_eq!(missing[5..10], [0.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
