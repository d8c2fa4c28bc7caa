//! Records that describe the same thing: several fields each, written differently, partly missing.
//!
//! 1. [`standard`], [`column`]: what does not count is taken off each value; each different value is kept once.
//! 2. [`blocking`]: of all pairs, those that agree in at least one of several rules are looked at.
//! 3. [`letters`], [`similarity`], [`compare`]: each field of a pair is at a level between "different" and "the same", or missing.
//! 4. [`fellegi_sunter`]: what the levels say together, learnt without labels; or [`logistic`]: learnt from labels, of
//!    [`features`].
//!
//! [`candidates`] does it for all pairs of the blocks on all threads.

pub mod blocking;
mod candidates;
mod column;
mod compare;
mod features;
pub mod fellegi_sunter;
mod letters;
pub mod logistic;
mod similarity;
mod standard;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use candidates::{Candidates, Halted, RecordLink};
pub use column::{Column, ColumnBuilder, Value};
pub use compare::{Pattern, Records, level_same};
pub use features::Features;

/// Most fields: their levels are packed into 64 bits.
pub const FIELDS_MAX: usize = 16;

/// A column of a record and how its values are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The column.
    pub column: String,
    /// What its values are.
    pub compare: Compare,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// A name of one or a few words: Jaro–Winkler, and Monge–Elkan of its words.
    Name,
    /// Several words: SoftTFIDF, and Damerau–Levenshtein of the whole.
    Text,
    /// The same words or not.
    Exact,
    /// Digits, such as of a telephone number or postcode: Damerau–Levenshtein.
    Digits,
    /// A number, perhaps with a unit: relative difference.
    Number,
    /// A date: days apart, one digit wrong, day and month the other way round.
    Date,
}

impl Compare {
    /// Whether some values are far more frequent than others, so that it matters which value two records share.
    fn has_terms(self) -> bool {
        matches!(self, Self::Name | Self::Text | Self::Exact | Self::Digits)
    }
}

/// The similarities at which the levels of a field begin, between "different" and "the same".
trait FieldLevels {
    fn thresholds(self) -> &'static [f64];
}

/// A part of a blocking key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// One of the columns of `fields`.
    pub column: String,
    /// What is taken of its value in standard form. Default: whole.
    #[serde(default)]
    pub part: Part,
    /// How many characters `prefix` and `suffix` take. Default: 4.
    #[serde(default = "four")]
    pub characters: usize,
}

fn four() -> usize {
    4
}

/// A part of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Its first characters.
    Prefix,
    /// Its last characters.
    Suffix,
    /// Its digits.
    Digits,
    /// The American Soundex code of its letters A to Z.
    Soundex,
}
