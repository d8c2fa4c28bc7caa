//! Pairs that are given, such as those of a benchmark: learn from some, choose the threshold on others, and say of the
//! rest how probable it is that their two records are one. No blocking.

use analysis::curve::{self, Point};
use analysis::linkage::logistic::{Examples, Logistic};
use analysis::linkage::{ColumnBuilder, Features, Records};
use engine::{Error, Result};

use super::Field;
use crate::kinds::duplicates::NAME;
use crate::parameters::bad;

/// Two records: the values of each, in the order of the fields; none where missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// One record.
    pub left: Vec<Option<String>>,
    /// The other.
    pub right: Vec<Option<String>>,
}

/// A pair and whether its records are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledPair {
    /// The pair.
    pub pair: Pair,
    /// The truth.
    pub is_duplicate: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// The point that was chosen, and what it gives for pairs that were not learnt from.
    pub chosen: Point,
    /// For each pair of `test`: the probability that it is one record. It is taken from `chosen.threshold` on.
    pub probabilities: Vec<f64>,
}

/// Learns from `train`, chooses the threshold on `valid` and on parts of `train` that were held out, and scores `test`, whose labels
/// it can't see.
///
/// Fails on no fields, a record with another number of values, and labels of one kind only in `train` or `valid`.
pub fn match_pairs(
    fields: &[Field],
    train: &[LabelledPair],
    valid: &[LabelledPair],
    test: &[Pair],
) -> Result<Matched> {
    for (name, labelled) in [("train", train), ("valid", valid)] {
        let duplicates = labelled.iter().filter(|pair| pair.is_duplicate).count();
        if duplicates == 0 || duplicates == labelled.len() {
            let found = format!("found {duplicates} duplicates among {} pairs", labelled.len());
            return Err(bad(NAME, name, format!("expected duplicates and other pairs, {found}")));
        }
    }
    let all: Vec<&Pair> =
        train.iter().chain(valid).map(|labelled| &labelled.pair).chain(test).collect();
    let records = records(fields, &all, 2 * train.len())?;
    let of_records = Features::new(&records);
    let width = of_records.count();
    let features = |pair: usize| {
        let mut row = Vec::with_capacity(width);
        of_records.of_pair(2 * pair, 2 * pair + 1, &mut row);
        row
    };
    let examples = Examples {
        width,
        features: (0..train.len()).flat_map(features).collect(),
        labels: train.iter().map(|labelled| labelled.is_duplicate).collect(),
        ..Examples::default()
    };
    let learned = Logistic::learn(&examples, &|| false);
    let (model, held_out) = learned.ok_or_else(|| Error::internal("nobody stopped it"))?;
    let probability = |pair: usize| model.probability(&features(pair), 0.0);
    // The more pairs say how large F1 is, the better: those of `train` do, too, each by a model that did not see it.
    let of_valid = valid.iter().zip(train.len()..);
    let of_valid = of_valid.map(|(labelled, pair)| (probability(pair), labelled.is_duplicate));
    let scored: Vec<(f64, bool)> =
        held_out.into_iter().zip(examples.labels.iter().copied()).chain(of_valid).collect();
    let chosen = curve::best_of_calibrated(&scored)
        .ok_or_else(|| bad(NAME, "valid", "expected pairs, found none"))?;
    let probabilities = (train.len() + valid.len()..all.len()).map(probability).collect();
    Ok(Matched { chosen, probabilities })
}

/// The records of pair i are rows 2·i and 2·i + 1.
fn records(fields: &[Field], pairs: &[&Pair], learn_rows: usize) -> Result<Records> {
    if fields.is_empty() {
        return Err(bad(NAME, "fields", "expected at least one field, found none"));
    }
    let mut columns: Vec<ColumnBuilder> = fields.iter().cloned().map(ColumnBuilder::new).collect();
    for (number, pair) in pairs.iter().enumerate() {
        for record in [&pair.left, &pair.right] {
            if record.len() != fields.len() {
                let found = format!("found {} in pair {number}", record.len());
                return Err(bad(
                    NAME,
                    "fields",
                    format!("expected {} values, {found}", fields.len()),
                ));
            }
            for (column, value) in columns.iter_mut().zip(record) {
                column.push(value.as_deref());
            }
        }
    }
    Ok(Records { columns: columns.into_iter().map(|column| column.finish(learn_rows)).collect() })
}
