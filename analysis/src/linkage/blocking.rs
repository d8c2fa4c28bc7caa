//! Which pairs are looked at: those that agree in at least one of several rules.
//!
//! A rule puts each row into one block at most and gives it a rank there; a row is paired with the next `window` rows of its
//! block. That is all there is, for every kind of rule:
//!
//! - `equal`: rows with the same key are a block. Up to `block_rows_max` rows all pairs of it are made; a larger block is cut: sorted
//!   by the whole record, each row is paired with the next `block_rows_max` only (a sorted neighbourhood), and what is left out is counted.
//! - `sorted`: all rows are one block in the order of a key (Hernández & Stolfo, "The merge/purge problem for large databases", 1995).
//! - `minhash`: a rule of its own for each band of a MinHash signature over words: rows that agree in a band are a block.
//!
//! ```text
//!   rule 0   order  7 3 9 | 1 4 | 2        blocks in a row; a row is found at its position
//!   pair (3, 9) of rule 2 is made only where neither rule 0 nor rule 1 makes it
//! ```
//!
//! Whether an earlier rule makes a pair is seen from both rows' blocks and positions, so that each pair comes once without
//! a set of those that were made. Memory: 12 bytes a row and rule. Time: the pairs, with duplicates.

use super::column::{Kind, MISSING};
use super::compare::Records;
use super::standard::soundex;
use super::{Key, Part};
use crate::fnv;

/// The block of rows that have no key.
const NO_BLOCK: u32 = u32::MAX;

/// What a rule makes of the rows.
pub struct Blocks {
    /// How the rule is called in reports.
    pub name: String,
    /// By row.
    block: Vec<u32>,
    position: Vec<u32>,
    /// Rows with a block, block after block.
    order: Vec<u32>,
    window: usize,
    /// What was left out.
    pub cut: Cut,
}

/// What was left out of blocks that are too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Blocks that are too large.
    pub blocks: u64,
    /// Their rows.
    pub rows: u64,
    /// Pairs of theirs that are not made.
    pub pairs: u64,
}

impl Blocks {
    /// Blocks of rows with the same key; none: no block.
    pub fn equal(
        name: String,
        records: &Records,
        keys: &[Option<u64>],
        block_rows_max: usize,
    ) -> Self {
        let mut rows: Vec<(u64, u32)> =
            keys.iter().zip(0..).filter_map(|(key, row)| key.map(|key| (key, row))).collect();
        rows.sort_unstable();
        let mut cut = Cut::default();
        for block in rows.chunk_by_mut(|a, b| a.0 == b.0) {
            let size = block.len();
            if size > block_rows_max {
                cut.blocks += 1;
                cut.rows += size as u64;
                cut.pairs += pairs_of(size, size) - pairs_of(size, block_rows_max);
                block.sort_by_cached_key(|&(_, row)| (whole(records, row as usize), row));
            }
        }
        let mut blocks = Self {
            name,
            block: vec![NO_BLOCK; keys.len()],
            position: vec![0; keys.len()],
            order: rows.iter().map(|&(_, row)| row).collect(),
            window: block_rows_max,
            cut,
        };
        for (number, block) in (0..).zip(rows.chunk_by(|a, b| a.0 == b.0)) {
            block.iter().for_each(|&(_, row)| blocks.block[row as usize] = number);
        }
        blocks.number();
        blocks
    }

    /// One block in the order of texts, with so many neighbours for each row.
    pub fn sorted(name: String, keys: Vec<Option<String>>, window: usize) -> Self {
        let mut blocks = Self {
            name,
            block: keys.iter().map(|key| if key.is_some() { 0 } else { NO_BLOCK }).collect(),
            position: vec![0; keys.len()],
            order: Vec::new(),
            window,
            cut: Cut::default(),
        };
        let mut rows: Vec<(String, u32)> =
            keys.into_iter().zip(0..).filter_map(|(key, row)| Some((key?, row))).collect();
        rows.sort_unstable();
        blocks.order = rows.into_iter().map(|(_, row)| row).collect();
        blocks.number();
        blocks
    }

    fn number(&mut self) {
        for (&row, position) in self.order.iter().zip(0..) {
            self.position[row as usize] = position;
        }
    }

    /// Pairs that the rule makes, those that others make, too, among them.
    pub fn pairs(&self) -> u64 {
        let of_one = |a: &u32, b: &u32| self.block[*a as usize] == self.block[*b as usize];
        self.order.chunk_by(of_one).map(|block| pairs_of(block.len(), self.window)).sum()
    }

    /// Number of rows that have a block.
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    fn makes(&self, a: usize, b: usize) -> bool {
        self.block[a] == self.block[b]
            && self.block[a] != NO_BLOCK
            && self.position[a].abs_diff(self.position[b]) as usize <= self.window
    }
}

/// Pairs of `rows` rows at most `window` apart.
fn pairs_of(rows: usize, window: usize) -> u64 {
    let window = window.min(rows.saturating_sub(1)) as u64;
    window * rows as u64 - window * (window + 1) / 2
}

/// Calls `each` for every pair whose first row stands at `positions` of the rule `rules[rule]` and that no earlier rule
/// makes; the smaller row first.
pub(super) fn pairs_at(
    rules: &[Blocks],
    rule: usize,
    positions: std::ops::Range<usize>,
    each: &mut dyn FnMut(usize, usize),
) {
    let (earlier, blocks) = (&rules[..rule], &rules[rule]);
    for position in positions {
        let a = blocks.order[position] as usize;
        let next = blocks.order.iter().skip(position + 1).take(blocks.window);
        for &b in next {
            let b = b as usize;
            if blocks.block[a] != blocks.block[b] {
                break;
            }
            if !earlier.iter().any(|rule| rule.makes(a, b)) {
                each(a.min(b), a.max(b));
            }
        }
    }
}

/// Pairs that the rules make, those that several make counted as often.
pub fn pairs(rules: &[Blocks]) -> u64 {
    rules.iter().map(Blocks::pairs).sum()
}

/// Whether any rule makes a pair.
pub fn makes(rules: &[Blocks], a: usize, b: usize) -> bool {
    rules.iter().any(|rule| rule.makes(a, b))
}

/// The key of every row: none where a part of it is missing.
pub fn keys(records: &Records, parts: &[(usize, Key)]) -> Vec<Option<u64>> {
    let columns: Vec<Vec<Option<u64>>> = parts
        .iter()
        .map(|(field, key)| {
            let values = &records.columns[*field].values;
            values
                .iter()
                .map(|value| part(&value.form, key).map(|text| fnv(text.as_bytes())))
                .collect()
        })
        .collect();
    let of_row = |row: usize| {
        let mut bytes = Vec::with_capacity(8 * parts.len());
        for ((field, _), hashes) in parts.iter().zip(&columns) {
            let place = records.columns[*field].places[row];
            if place == MISSING {
                return None;
            }
            bytes.extend(hashes[place as usize]?.to_le_bytes());
        }
        Some(fnv(&bytes))
    };
    (0..records.len()).map(of_row).collect()
}

/// The same as text, to sort by.
pub fn text_keys(records: &Records, parts: &[(usize, Key)]) -> Vec<Option<String>> {
    let of_row = |row: usize| {
        let texts: Option<Vec<String>> = parts
            .iter()
            .map(|(field, key)| part(&records.columns[*field].value(row)?.form, key))
            .collect();
        texts.map(|texts| texts.join("\u{1}"))
    };
    (0..records.len()).map(of_row).collect()
}

fn part(form: &str, key: &Key) -> Option<String> {
    let text = match key.part {
        Part::Whole => form.to_owned(),
        Part::Prefix => form.chars().take(key.characters).collect(),
        Part::Suffix => {
            let letters: Vec<char> = form.chars().collect();
            letters[letters.len().saturating_sub(key.characters)..].iter().collect()
        }
        Part::Digits => super::standard::digits(form),
        // What has no letter stands for itself.
        Part::Soundex => soundex(form).unwrap_or_else(|| form.to_owned()),
    };
    (!text.is_empty()).then_some(text)
}

/// A record as one text, to sort the rows of a block that is too large by.
fn whole(records: &Records, row: usize) -> String {
    let forms =
        records.columns.iter().map(|column| column.value(row).map_or("", |value| &value.form));
    forms.collect::<Vec<_>>().join("\u{1}")
}

/// Mean number of words of a field's values.
pub fn mean_words(records: &Records, field: usize) -> f64 {
    let column = &records.columns[field];
    let words: usize = column
        .values
        .iter()
        .map(|value| match &value.kind {
            Kind::Words(words) => words.places.len(),
            _ => 1,
        })
        .sum();
    words as f64 / column.values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::super::column::ColumnBuilder;
    use super::super::{Compare, Field};
    use super::*;

    fn records(values: &[&str]) -> Records {
        let field = Field { column: "name".into(), compare: Compare::Name };
        let mut column = ColumnBuilder::new(field);
        values.iter().for_each(|value| column.push(Some(value).filter(|v| !v.is_empty()).copied()));
        Records { columns: vec![column.finish(values.len())] }
    }

    fn all_pairs(rules: &[Blocks]) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (rule, blocks) in rules.iter().enumerate() {
            for position in 0..blocks.rows() {
                pairs_at(rules, rule, position..position + 1, &mut |a, b| pairs.push((a, b)));
            }
        }
        pairs
    }

    #[test]
    fn each_pair_that_a_rule_makes_comes_once() {
        let names: Vec<String> = (0..60).map(|i| format!("{} x{}", i % 7, i % 11)).collect();
        let records = records(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let keys = |of: &dyn Fn(usize) -> Option<u64>| (0..60).map(of).collect::<Vec<_>>();
        let by_7 = keys(&|row| (row % 10 != 3).then_some(row as u64 % 7));
        let by_5 = keys(&|row| Some(row as u64 % 5));
        let texts = (0..60).map(|row| (row % 9 != 0).then(|| format!("{:03}", row * 37 % 60)));
        let rules = [
            Blocks::equal("by 7".into(), &records, &by_7, 100),
            Blocks::equal("by 5".into(), &records, &by_5, 100),
            Blocks::sorted("sorted".into(), texts.clone().collect(), 3),
        ];
        let mut in_order: Vec<(String, usize)> =
            texts.enumerate().filter_map(|(row, text)| Some((text?, row))).collect();
        in_order.sort();
        let place = |row| in_order.iter().position(|entry| entry.1 == row);
        let expected: HashSet<(usize, usize)> = (0..60)
            .flat_map(|b| (0..b).map(move |a| (a, b)))
            .filter(|&(a, b)| {
                let near = match (place(a), place(b)) {
                    (Some(a), Some(b)) => a.abs_diff(b) <= 3,
                    _ => false,
                };
                (by_7[a].is_some() && by_7[a] == by_7[b]) || by_5[a] == by_5[b] || near
            })
            .collect();
        let found = all_pairs(&rules);
        assert_eq!(found.len(), expected.len());
        assert_eq!(found.into_iter().collect::<HashSet<_>>(), expected);
        assert!(expected.iter().all(|&(a, b)| makes(&rules, a, b)));
        assert!(!makes(&rules, 3, 10), "row 3 has no key of the first rule");
    }

    #[test]
    fn a_block_that_is_too_large_is_cut_and_what_is_left_out_is_counted() {
        let names: Vec<String> = (0..9).map(|i| format!("n{}", 8 - i)).collect();
        let records = records(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut keys = vec![Some(1); 9];
        keys[8] = Some(2);
        let blocks = [Blocks::equal("all".into(), &records, &keys, 3)];
        // 8 rows: each with the next 3 in the order of the names, 3·8 − (1 + 2 + 3).
        assert_eq!((blocks[0].pairs(), blocks[0].cut), (18, Cut { blocks: 1, rows: 8, pairs: 10 }));
        let found = all_pairs(&blocks);
        assert_eq!(found.len(), 18);
        assert!(found.iter().all(|(a, b)| b - a <= 3 && *b < 8));
    }

    #[test]
    fn keys_are_made_of_parts_and_a_missing_part_is_no_key() {
        let records = records(&["Smith 12", "smyth 99", "", "O'Brien 12"]);
        let key = |part, characters| [(0, Key { column: "name".into(), part, characters })];
        let texts = |part, characters| text_keys(&records, &key(part, characters));
        let some = |texts: [&str; 2]| texts.map(|text| Some(text.to_owned()));
        assert_eq!(texts(Part::Soundex, 0)[..2], some(["S530", "S530"]));
        assert_eq!(texts(Part::Prefix, 2)[..2], some(["sm", "sm"]));
        assert_eq!(texts(Part::Suffix, 4)[..2], some(["h 12", "h 99"]));
        assert_eq!(
            texts(Part::Digits, 0),
            [Some("12".into()), Some("99".into()), None, Some("12".into())]
        );
        assert_eq!(texts(Part::Whole, 0)[3].as_deref(), Some("obrien 12"));
        let hashes = keys(&records, &key(Part::Digits, 0));
        assert!(hashes[0] == hashes[3] && hashes[0] != hashes[1] && hashes[2].is_none());
    }
}
