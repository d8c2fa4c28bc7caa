//! One field of all records: its different values in standard form, each once, and which of them every row has.
//!
//! ```text
//!   rows     "Smith"  "SMITH "  null  "Jones"
//!   places      0        0      MISSING  1
//!   values   0: smith (2 rows)   1: jones (1 row)
//! ```
//!
//! Memory: 4 bytes a row, and each different value with its words.

use std::collections::HashMap;

use super::letters::Letters;
use super::standard::{self, Day, Quantity};
use super::{Compare, Field};

/// The place of a value that is not there.
pub(super) const MISSING: u32 = u32::MAX;

/// A value in standard form.
#[derive(Clone, Debug)]
pub struct Value {
    /// As words, digits, a number or YYYYMMDD: two values are the same where these are.
    pub form: String,
    pub(super) kind: Kind,
}

/// What a value is compared by.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Words(Words),
    Digits,
    Number(Quantity),
    Day(Day),
}

/// The words of a value.
#[derive(Clone, Debug)]
pub(super) struct Words {
    /// The form without spaces.
    pub(super) joined: Letters,
    /// Places in the vocabulary, each once, rising.
    pub(super) places: Vec<u32>,
    /// TF-IDF weights of those words; their squares add up to 1.
    pub(super) weights: Vec<f64>,
    /// What may be the number of a model.
    pub(super) codes: Vec<Letters>,
    /// Numbers with units.
    pub(super) quantities: Vec<Quantity>,
}

/// A field of all records.
pub struct Column {
    /// What the column is.
    pub field: Field,
    /// By row: the place of its value, or [`MISSING`].
    pub places: Vec<u32>,
    /// The different values.
    pub values: Vec<Value>,
    /// Rows with the value.
    pub counts: Vec<u32>,
    /// The different words of all values.
    pub(super) vocabulary: Vec<Letters>,
    /// Of the values that are learnt from: those with each word, and all.
    pub(super) documents: Vec<u32>,
    pub(super) learnt: u32,
    /// Rows that have text that could not be read as what the field is.
    pub unreadable: u64,
    /// One of those.
    pub unreadable_example: Option<String>,
    pub(super) bytes: usize,
}

/// A column that is being read.
pub struct ColumnBuilder {
    column: Column,
    known: HashMap<String, u32>,
    word_places: HashMap<String, u32>,
}

/// Beside its text, what a value takes: the structures above and an entry of the table of known ones.
const VALUE_BYTES: usize = 192;

impl ColumnBuilder {
    /// A column without rows.
    pub fn new(field: Field) -> Self {
        let column = Column {
            field,
            places: Vec::new(),
            values: Vec::new(),
            counts: Vec::new(),
            vocabulary: Vec::new(),
            documents: Vec::new(),
            learnt: 0,
            unreadable: 0,
            unreadable_example: None,
            bytes: 0,
        };
        Self { column, known: HashMap::new(), word_places: HashMap::new() }
    }

    /// Bytes taken so far.
    pub fn bytes(&self) -> usize {
        self.column.bytes
    }

    /// Adds a row.
    pub fn push(&mut self, text: Option<&str>) {
        self.column.bytes += size_of::<u32>();
        let place = text.map_or(MISSING, |text| self.place(text));
        if let Some(count) = self.column.counts.get_mut(place as usize) {
            *count += 1;
        }
        self.column.places.push(place);
    }

    fn place(&mut self, text: &str) -> u32 {
        let Some((form, kind)) = self.standard(text) else {
            if !text.trim().is_empty() {
                self.column.unreadable += 1;
                self.column.unreadable_example.get_or_insert_with(|| text.to_owned());
            }
            return MISSING;
        };
        if let Some(&place) = self.known.get(&form) {
            return place;
        }
        let place = self.column.values.len() as u32;
        self.column.bytes += 3 * form.len() + VALUE_BYTES;
        self.known.insert(form.clone(), place);
        let kind = match kind {
            Some(kind) => kind,
            None => Kind::Words(self.words(&form, text)),
        };
        self.column.values.push(Value { form, kind });
        self.column.counts.push(0);
        place
    }

    /// The standard form; no kind where it is words.
    fn standard(&self, text: &str) -> Option<(String, Option<Kind>)> {
        match self.column.field.compare {
            Compare::Name | Compare::Text | Compare::Exact => {
                let words = standard::words(text);
                (!words.is_empty()).then_some((words, None))
            }
            Compare::Digits => {
                let digits = standard::digits(text);
                (!digits.is_empty()).then_some((digits, Some(Kind::Digits)))
            }
            Compare::Number => {
                let quantity = standard::quantity(text)?;
                let form = match quantity.dimension {
                    Some(dimension) => format!("{} {dimension:?}", quantity.value),
                    None => quantity.value.to_string(),
                };
                Some((form, Some(Kind::Number(quantity))))
            }
            Compare::Date => {
                let day = standard::day(text)?;
                let form = String::from_utf8_lossy(&day.digits).into_owned();
                Some((form, Some(Kind::Day(day))))
            }
        }
    }

    fn words(&mut self, form: &str, text: &str) -> Words {
        let mut places: Vec<u32> = Vec::new();
        for word in form.split(' ') {
            let next = self.column.vocabulary.len() as u32;
            let place = *self.word_places.entry(word.to_owned()).or_insert(next);
            if place == next {
                self.column.vocabulary.push(Letters::new(word.to_owned()));
                self.column.bytes += 2 * word.len() + VALUE_BYTES / 2;
            }
            places.push(place);
        }
        places.sort_unstable();
        places.dedup();
        self.column.bytes += places.len() * (size_of::<u32>() + size_of::<f64>());
        let codes = standard::codes(text).into_iter().take(PARTS_MAX);
        let codes: Vec<Letters> = codes.map(Letters::new).collect();
        let mut quantities = standard::quantities(text);
        quantities.truncate(PARTS_MAX);
        self.column.bytes +=
            codes.iter().map(|code| code.text.len() + size_of::<Letters>()).sum::<usize>();
        self.column.bytes += quantities.len() * size_of::<Quantity>();
        let joined = form.chars().filter(|letter| *letter != ' ').take(JOINED_MAX).collect();
        let joined = Letters::new(joined);
        Words { joined, places, weights: Vec::new(), codes, quantities }
    }

    /// Ends the column. How rare a word is (the inverse document frequency) is learnt from the first `learn_rows` rows.
    pub fn finish(self, learn_rows: usize) -> Column {
        let mut column = self.column;
        let mut learn = vec![false; column.values.len()];
        for &place in column.places.iter().take(learn_rows) {
            if let Some(learn) = learn.get_mut(place as usize) {
                *learn = true;
            }
        }
        let mut documents = vec![0_u32; column.vocabulary.len()];
        let mut total = 0_u32;
        for (value, _) in column.values.iter().zip(&learn).filter(|(_, learn)| **learn) {
            if let Kind::Words(words) = &value.kind {
                total += 1;
                words.places.iter().for_each(|&word| documents[word as usize] += 1);
            }
        }
        let idf = |word: u32| idf(total, documents[word as usize]);
        for value in &mut column.values {
            if let Kind::Words(words) = &mut value.kind {
                words.weights = words.places.iter().map(|&word| idf(word)).collect();
                let length = words.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
                words.weights.iter_mut().for_each(|weight| *weight /= length);
            }
        }
        (column.documents, column.learnt) = (documents, total);
        column
    }
}

/// Numbers of models, and numbers with units, of a value that are looked at.
const PARTS_MAX: usize = 64;
/// Letters of a value that others are looked for in.
const JOINED_MAX: usize = 4_096;

/// How rare a word is that stands in some of all values: ln(1 + N / (1 + n)), never 0, so that a word that all have still counts
/// a little.
pub(super) fn idf(all: u32, some: u32) -> f64 {
    (1.0 + f64::from(all.max(1)) / (1.0 + f64::from(some))).ln()
}

impl Column {
    /// The value of a row.
    pub fn value(&self, row: usize) -> Option<&Value> {
        self.values.get(self.places[row] as usize)
    }

    /// Rows without a value.
    pub fn missing(&self) -> usize {
        self.places.iter().filter(|place| **place == MISSING).count()
    }
}
