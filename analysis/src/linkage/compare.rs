//! Two records side by side: for each field the level of agreement, all of them packed into one number.
//!
//! ```text
//!   bits     … 11 10 9 8 | 7 6 5 4 | 3 2 1 0        0 missing in either
//!   level      field 2   | field 1 | field 0        1 different … highest: the same standard form
//! ```

use super::column::{Column, MISSING};
use super::similarity::{level, similarity};
use super::{Compare, FIELDS_MAX, FieldLevels};

/// Levels of all fields of a pair.
pub type Pattern = u64;

const BITS: usize = 4;
const _: () = assert!(FIELDS_MAX * BITS <= Pattern::BITS as usize);

/// The level of a value that is missing in either record.
pub(super) const LEVEL_MISSING: u8 = 0;

/// Number of levels of a field, the missing one among them.
pub(super) fn levels(compare: Compare) -> usize {
    compare.thresholds().len() + 3
}

/// The level of two values that are the same.
pub fn level_same(compare: Compare) -> u8 {
    levels(compare) as u8 - 1
}

/// The level of a field in a pattern.
pub(super) fn level_of(pattern: Pattern, field: usize) -> u8 {
    (pattern >> (BITS * field)) as u8 & ((1 << BITS) - 1)
}

/// Records as columns, all of one length.
pub struct Records {
    /// One for each field.
    pub columns: Vec<Column>,
}

impl Records {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |column| column.places.len())
    }

    /// The similarity of two rows in a field; none where either has no value.
    pub fn similarity(&self, field: usize, a: usize, b: usize) -> Option<f64> {
        let column = &self.columns[field];
        let (x, y) = (column.places[a], column.places[b]);
        if x == MISSING || y == MISSING {
            return None;
        }
        if x == y {
            return Some(1.0);
        }
        Some(similarity(column, &column.values[x as usize], &column.values[y as usize]))
    }

    /// The levels of two rows.
    pub fn pattern(&self, a: usize, b: usize) -> Pattern {
        let mut pattern = 0;
        for (field, column) in self.columns.iter().enumerate() {
            pattern |= Pattern::from(self.level(field, column, a, b)) << (BITS * field);
        }
        pattern
    }

    fn level(&self, field: usize, column: &Column, a: usize, b: usize) -> u8 {
        let compare = column.field.compare;
        match self.similarity(field, a, b) {
            None => LEVEL_MISSING,
            Some(_) if column.places[a] == column.places[b] => level_same(compare),
            Some(alike) => level(compare, alike),
        }
    }

    /// Why two records are taken for one, in words: fields that agree, that are alike, that differ, that are missing.
    pub fn reason(&self, a: usize, b: usize) -> String {
        let (mut agree, mut alike, mut differ, mut missing) = (vec![], vec![], vec![], vec![]);
        for (field, column) in self.columns.iter().enumerate() {
            let name = column.field.column.as_str();
            let level = self.level(field, column, a, b);
            if level == LEVEL_MISSING {
                missing.push(name.to_owned());
            } else if level == level_same(column.field.compare) {
                agree.push(name.to_owned());
            } else if level == 1 {
                differ.push(name.to_owned());
            } else {
                let similarity = self.similarity(field, a, b).unwrap_or(0.0);
                alike.push(format!("{name} {similarity:.2} alike"));
            }
        }
        let verb = |names: &[String], one: &str, many: &str| match names {
            [] => None,
            [name] => Some(format!("{name} {one}")),
            [names @ .., last] => Some(format!("{} and {last} {many}", names.join(", "))),
        };
        let parts = [
            verb(&agree, "agrees", "agree"),
            (!alike.is_empty()).then(|| alike.join(", ")),
            verb(&differ, "differs", "differ"),
            verb(&missing, "missing", "missing"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}
