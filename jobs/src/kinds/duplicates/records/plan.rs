//! From the rules of a request to blocks, and rules where the request has none.
//!
//! **Without rules**, each field that may tell records apart makes one: names by Soundex of the whole, texts of [`MINHASH_WORDS`]
//! words and more by MinHash, numbers none, all others by their whole value. A rule that would make more than [`PAIRS_A_ROW`]
//! pairs a row is too broad; the broad ones are joined two by two instead (both keys the same), and a join that is still
//! too broad is left out. Reports name all of them with the number of their pairs.

use analysis::fnv;
use analysis::linkage::Records;
use analysis::linkage::blocking::{self, Blocks};
use engine::{Code, Error, Result};
use kernels::minhash::{MinHashOptions, Shingles, TextsView, signatures};
use kernels::{Execution, MatrixViewMut};
use serde_json::{Value, json};

use super::{Compare, Key, Part, Rule};
use crate::kinds::duplicates::NAME;
use crate::parameters::bad;

/// Mean number of words from which on a text is blocked by MinHash.
const MINHASH_WORDS: f64 = 4.0;

/// Bands and values of a band for such a text: two texts that share half of their words meet in one with 98 %, those that
/// share a fifth with 48 %.
const MINHASH: (usize, usize) = (16, 2);

/// Pairs for each row from which on a rule is too broad to be chosen unasked.
const PAIRS_A_ROW: u64 = 50;

/// Rules after MinHash's were split into their bands.
const BLOCKS_MAX: usize = 128;

/// Bytes of a row in the blocks of one rule.
pub(crate) const ROW_BYTES: usize = 3 * size_of::<u32>();

/// Blocks, and rules that were not taken.
pub(crate) struct Plan {
    pub(super) blocks: Vec<Blocks>,
    left_out: Vec<(String, u64)>,
}

impl Plan {
    /// Pairs that the rules make, those that several make counted as often.
    pub(super) fn pairs(&self) -> u64 {
        blocking::pairs(&self.blocks)
    }

    /// What the rules are and make.
    pub(super) fn report(&self) -> Value {
        let rule = |blocks: &Blocks| {
            json!({
                "rule": blocks.name,
                "rows": blocks.rows(),
                "pairs": blocks.pairs(),
                "blocks_cut": blocks.cut.blocks,
                "rows_in_cut_blocks": blocks.cut.rows,
                "pairs_left_out": blocks.cut.pairs,
            })
        };
        let left_out = |(rule, pairs): &(String, u64)| json!({"rule": rule, "pairs": pairs});
        json!({
            "rules": self.blocks.iter().map(rule).collect::<Vec<_>>(),
            "rules_too_broad": self.left_out.iter().map(left_out).collect::<Vec<_>>(),
        })
    }
}

/// Makes the blocks of `rules`, or of rules of its own where there are none.
pub(crate) fn plan(
    records: &Records,
    rules: &[Rule],
    block_rows_max: usize,
    execution: &Execution,
) -> Result<Plan> {
    let maker = Maker { records, block_rows_max, execution };
    let plan = if rules.is_empty() { maker.choose()? } else { maker.make(rules)? };
    if plan.blocks.len() > BLOCKS_MAX {
        let found = format!("found {}", plan.blocks.len());
        let expected = format!("expected at most {BLOCKS_MAX} rules, each band of MinHash counted");
        return Err(bad(NAME, "blocking", format!("{expected}, {found}")));
    }
    Ok(plan)
}

struct Maker<'a> {
    records: &'a Records,
    block_rows_max: usize,
    execution: &'a Execution,
}

impl Maker<'_> {
    fn make(&self, rules: &[Rule]) -> Result<Plan> {
        let mut blocks = Vec::new();
        for rule in rules {
            match rule {
                Rule::Equal { keys } => blocks.push(self.equal(keys)?),
                Rule::Sorted { keys, window } => {
                    let keys_of_rows = blocking::text_keys(self.records, &self.fields(keys)?);
                    blocks.push(Blocks::sorted(
                        format!("sorted by {}", name(keys)),
                        keys_of_rows,
                        *window,
                    ));
                }
                Rule::Minhash { columns, bands, values } => {
                    blocks.extend(self.minhash(columns, *bands, *values)?);
                }
            }
        }
        Ok(Plan { blocks, left_out: Vec::new() })
    }

    fn choose(&self) -> Result<Plan> {
        let broad_pairs = PAIRS_A_ROW.saturating_mul(self.records.len() as u64);
        let mut plan = Plan { blocks: Vec::new(), left_out: Vec::new() };
        let mut broad: Vec<Key> = Vec::new();
        let take = |plan: &mut Plan, blocks: Blocks| {
            let pairs = blocks.pairs() + blocks.cut.pairs;
            let fits = pairs <= broad_pairs;
            if fits {
                plan.blocks.push(blocks);
            } else {
                plan.left_out.push((blocks.name, pairs));
            }
            fits
        };
        for (field, column) in self.records.columns.iter().enumerate() {
            let column_name = column.field.column.clone();
            let part = match column.field.compare {
                Compare::Number => continue,
                Compare::Name => Part::Soundex,
                _ => Part::Whole,
            };
            if column.field.compare == Compare::Text
                && blocking::mean_words(self.records, field) >= MINHASH_WORDS
            {
                for blocks in self.minhash(&[column_name], MINHASH.0, MINHASH.1)? {
                    take(&mut plan, blocks);
                }
                continue;
            }
            let key = Key { column: column_name, part, characters: 0 };
            if !take(&mut plan, self.equal(std::slice::from_ref(&key))?) {
                broad.push(key);
            }
        }
        for (index, first) in broad.iter().enumerate() {
            for second in &broad[index + 1..] {
                take(&mut plan, self.equal(&[first.clone(), second.clone()])?);
            }
        }
        if plan.blocks.is_empty() {
            return Err(self.nothing_fits(&plan));
        }
        Ok(plan)
    }

    fn nothing_fits(&self, plan: &Plan) -> Error {
        let rules: Vec<String> =
            plan.left_out.iter().map(|(rule, pairs)| format!("{rule}: {pairs} pairs")).collect();
        let found =
            if rules.is_empty() { "fields of numbers alone".into() } else { rules.join(", ") };
        let expected = format!(
            "none is given, and of `fields` none makes blocks of at most {PAIRS_A_ROW} pairs a row; found {found}"
        );
        bad(NAME, "blocking", expected)
    }

    fn equal(&self, keys: &[Key]) -> Result<Blocks> {
        let hashes = blocking::keys(self.records, &self.fields(keys)?);
        let name = format!("same {}", name(keys));
        Ok(Blocks::equal(name, self.records, &hashes, self.block_rows_max))
    }

    fn minhash(&self, columns: &[String], bands: usize, values: usize) -> Result<Vec<Blocks>> {
        let fields: Vec<usize> =
            columns.iter().map(|column| self.field(column)).collect::<Result<_>>()?;
        let (mut bytes, mut offsets) = (Vec::new(), vec![0_i64]);
        for row in 0..self.records.len() {
            for &field in &fields {
                if let Some(value) = self.records.columns[field].value(row) {
                    bytes.extend_from_slice(value.form.as_bytes());
                    bytes.push(b' ');
                }
            }
            offsets.push(bytes.len() as i64);
        }
        let options = MinHashOptions {
            shingles: Shingles::Words(1),
            functions: bands * values,
            ..MinHashOptions::default()
        };
        let rows = self.records.len();
        let mut signed = vec![0_u32; rows * options.functions];
        let room = MatrixViewMut::new(&mut signed, rows, options.functions)?;
        signatures(TextsView::new(&bytes, &offsets[..])?, &options, room, self.execution)?;
        let band = |band: usize| {
            let key = |row: usize| {
                let start = row * options.functions + band * values;
                let values = &signed[start..start + values];
                // A row without words has u32::MAX everywhere.
                let has_words = values.iter().any(|value| *value != u32::MAX);
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                has_words.then(|| fnv(&bytes))
            };
            let keys: Vec<Option<u64>> = (0..rows).map(key).collect();
            let name = format!("words of {} alike, band {}", columns.join(" and "), band + 1);
            Blocks::equal(name, self.records, &keys, self.block_rows_max)
        };
        Ok((0..bands).map(band).collect())
    }

    fn fields(&self, keys: &[Key]) -> Result<Vec<(usize, Key)>> {
        keys.iter().map(|key| Ok((self.field(&key.column)?, key.clone()))).collect()
    }

    fn field(&self, name: &str) -> Result<usize> {
        let columns = &self.records.columns;
        columns.iter().position(|column| column.field.column == name).ok_or_else(|| {
            let known: Vec<_> = columns.iter().map(|column| column.field.column.as_str()).collect();
            let known = known.join(", ");
            bad(NAME, "blocking", format!("{name:?} is none of `fields`; expected one of {known}"))
        })
    }
}

fn name(keys: &[Key]) -> String {
    let part = |key: &Key| match key.part {
        Part::Whole => key.column.clone(),
        Part::Prefix => format!("first {} of {}", key.characters, key.column),
        Part::Suffix => format!("last {} of {}", key.characters, key.column),
        Part::Digits => format!("digits of {}", key.column),
        Part::Soundex => format!("sound of {}", key.column),
    };
    keys.iter().map(part).collect::<Vec<_>>().join(" and ")
}

/// The error for more pairs than may be compared.
pub(super) fn too_many(plan: &Plan, candidates_max: u64) -> Error {
    let mut rules: Vec<(u64, &str)> =
        plan.blocks.iter().map(|blocks| (blocks.pairs(), blocks.name.as_str())).collect();
    rules.sort_unstable_by(|a, b| b.cmp(a));
    let rules: Vec<String> =
        rules.iter().take(5).map(|(pairs, rule)| format!("{rule}: {pairs}")).collect();
    Error::user(
        Code::LimitExceeded,
        format!(
            "{NAME}: the rules of `blocking` make {} pairs to compare; at most `candidates_max`, {candidates_max}, are \
             allowed: take narrower rules or a smaller `block_rows_max`. Most are made by {}",
            plan.pairs(),
            rules.join("; ")
        ),
    )
}
