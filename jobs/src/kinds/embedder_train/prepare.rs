//! Pairs into groups of texts that mean the same, and groups into a part to learn from, one to end by and one to be
//! judged by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datasets::DatasetName;
use engine::{Code, Error, Result};
use futures::StreamExt;
use models::same_text_groups;

use super::NAME;
use super::params::Params;
use crate::parameters::bad;
use crate::registry::sides::{Side, share, side};
use crate::run::context::RunContext;
use crate::tables::input::{InputTable, is_text};
use crate::texts::TextSource;

/// Pairs of ids, the smaller first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct IdPairs {
    /// Said or found to mean the same.
    same: BTreeSet<(String, String)>,
    /// Said to mean something else.
    other: BTreeSet<(String, String)>,
}

/// Texts, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Prepared {
    pub(super) texts: Vec<String>,
    /// Those that mean the same, by group; a group has at least two.
    pub(super) groups: Vec<Group>,
    /// Texts without a duplicate.
    pub(super) others: Vec<usize>,
    pub(super) counts: Counts,
}

/// Texts that mean the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) texts: Vec<usize>,
    /// Pairs of neighbours in `texts`.
    pub(super) pairs: Vec<(usize, usize)>,
    pub(super) side: Side,
}

/// What there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) pairs: usize,
    /// Of rows that are not there.
    pub(super) pairs_without_rows: usize,
    /// Said to be none, but joined by others.
    pub(super) pairs_contradicted: usize,
    pub(super) rows_without_id: u64,
}

impl Prepared {
    /// The groups of a side, by their number.
    pub(super) fn of(&self, side: Side) -> impl Iterator<Item = (usize, &Group)> {
        self.groups.iter().enumerate().filter(move |(_, group)| group.side == side)
    }

    /// The texts of a side's groups and of `others`, with their groups: the latter have one each.
    pub(super) fn grouped(&self, side: Side, others: &[usize]) -> (Vec<&str>, Vec<usize>) {
        let own = self.of(side).flat_map(|(at, group)| group.texts.iter().map(move |t| (*t, at)));
        let alone = others.iter().enumerate().map(|(at, text)| (*text, self.groups.len() + at));
        own.chain(alone).map(|(text, group)| (self.texts[text].as_str(), group)).unzip()
    }
}

/// Reads the pairs that the parameters name.
pub(super) async fn read_pairs(ctx: &RunContext, params: &Params) -> Result<IdPairs> {
    let mut stage = ctx.stage("pairs");
    let mut found = IdPairs::default();
    if let Some(dataset) = &params.pairs {
        let least = params.min_similarity;
        each_pair(ctx, params, "pairs", dataset, "similarity", |pair, similarity| {
            if similarity >= least {
                found.same.insert(pair);
            }
        })
        .await?;
    }
    if let Some(dataset) = &params.labels {
        each_pair(ctx, params, "labels", dataset, "is_duplicate", |pair, is_duplicate| {
            // The last word counts.
            if is_duplicate > 0.0 {
                found.other.remove(&pair);
                found.same.insert(pair);
            } else {
                found.same.remove(&pair);
                found.other.insert(pair);
            }
        })
        .await?;
    }
    stage.record.rows_out = found.same.len() as u64;
    stage.finish();
    Ok(found)
}

/// Calls `take` with every pair of the source and the number that stands beside it.
async fn each_pair(
    ctx: &RunContext,
    params: &Params,
    parameter: &str,
    dataset: &DatasetName,
    value: &str,
    mut take: impl FnMut((String, String), f64),
) -> Result<()> {
    let table = InputTable::open(ctx.session(), NAME, dataset).await?;
    let id_fits = |t: &DataType| t.is_integer() || is_text(t);
    table.check(parameter, "source", "a text", is_text)?;
    table.check(parameter, "id_a", "a text or whole number", id_fits)?;
    table.check(parameter, "id_b", "a text or whole number", id_fits)?;
    let number = |t: &DataType| t.is_numeric() || *t == DataType::Boolean;
    table.check(parameter, value, "a number or a boolean", number)?;
    let has = |name: &str| table.frame.schema().fields().iter().any(|field| field.name() == name);
    let (is_timed, has_grounds) = (has("at"), has("grounds"));
    let order = ["at", "id_a", "id_b"].iter().skip(usize::from(!is_timed));
    let order = order.map(|name| ident(*name).sort(true, true)).collect();
    let text = |name: &str| cast(ident(name), DataType::Utf8);
    let columns: Vec<Expr> =
        vec![text("id_a"), text("id_b"), cast(ident(value), DataType::Float64)];
    let mut frame = table.frame.filter(ident("source").eq(lit(params.dataset.as_str())))?;
    if has_grounds {
        // Pairs that an embedder found teach it nothing.
        let is_semantic = ident("grounds").eq(lit("semantic"));
        frame = frame.filter(is_semantic.is_not_true())?;
    }
    let mut rows = ctx.session().stream(frame.sort(order)?.select(columns)?).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        let ids = |at: usize| -> &StringArray { batch.column(at).as_string::<i32>() };
        let values = batch.column(2).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            if ids(0).is_null(row) || ids(1).is_null(row) || values.is_null(row) {
                let problem = format!("dataset {dataset}: expected no nulls, found one");
                return Err(bad(NAME, parameter, problem));
            }
            let (a, b) = (ids(0).value(row), ids(1).value(row));
            if a != b {
                take((a.min(b).to_owned(), a.max(b).to_owned()), values.value(row));
            }
        }
    }
    Ok(())
}

/// Reads the rows of the pairs, and some others.
pub(super) async fn read_texts(
    ctx: &RunContext,
    params: &Params,
    pairs: &IdPairs,
) -> Result<(Rows, u64)> {
    let mut stage = ctx.stage("read");
    let wanted: BTreeSet<&str> =
        pairs.same.iter().flat_map(|(a, b)| [a.as_str(), b.as_str()]).collect();
    let source = TextSource {
        job: NAME,
        dataset: &params.dataset,
        id_column: &params.id_column,
        text_columns: &params.text_columns,
        number_columns: &[],
        order_column: None,
        order_parameter: "order_column",
    };
    let mut reader = source.read(ctx).await?;
    let (mut rows, mut without_id) = (Rows::default(), 0);
    let (mut bytes, bytes_max) = (0, ctx.memory_budget_bytes() / 4);
    while let Some(batch) = reader.next().await? {
        for row in 0..batch.len() {
            let Some(id) = batch.id(row) else {
                without_id += 1;
                continue;
            };
            let text = batch.texts(row).collect::<Vec<_>>().join("\n");
            if text.trim().is_empty() {
                continue;
            }
            let hash = same_text_groups(&[&text])[0];
            if !wanted.contains(id) {
                rows.offer(hash, text, params);
                continue;
            }
            bytes += id.len() + text.len() + 2 * size_of::<String>();
            if bytes > bytes_max {
                return Err(Error::user(
                    Code::ResourcesExhausted,
                    format!(
                        "{NAME}: the texts of the pairs take more than a quarter of the memory budget, {bytes_max} bytes: \
                         take a larger budget, or a higher min_similarity"
                    ),
                ));
            }
            rows.own.insert(id.to_owned(), (hash, text));
        }
        ctx.check()?;
    }
    stage.record.rows_in = reader.rows_read;
    stage.record.bytes_read = reader.bytes_read;
    stage.record.rows_out = rows.own.len() as u64;
    stage.finish();
    Ok((rows, without_id))
}

/// Rows by what they are for.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Those of pairs, by id: what is the same for the same text, and the text.
    own: BTreeMap<String, (u64, String)>,
    /// Some of the others, by a number that the seed gives to their text.
    others: BTreeMap<(u64, u64), String>,
}

impl Rows {
    /// Keeps the text if its number is among the lowest.
    fn offer(&mut self, hash: u64, text: String, params: &Params) {
        let place = (share(hash, !params.seed).to_bits(), hash);
        let is_full = self.others.len() >= params.others;
        if is_full && self.others.last_key_value().is_none_or(|(last, _)| *last <= place) {
            return;
        }
        self.others.insert(place, text);
        if self.others.len() > params.others {
            self.others.pop_last();
        }
    }
}

/// Groups the texts of the pairs. Rows of the same text, but for case, punctuation and spaces, are one text.
pub(super) fn prepare(
    params: &Params,
    pairs: &IdPairs,
    rows: Rows,
    rows_without_id: u64,
) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    prepared.counts.pairs = pairs.same.len();
    prepared.counts.rows_without_id = rows_without_id;
    let mut text_of: HashMap<u64, usize> = HashMap::new();
    let mut hashes: Vec<u64> = Vec::new();
    let mut place_of: HashMap<&str, usize> = HashMap::new();
    for (id, (hash, text)) in &rows.own {
        let place = *text_of.entry(*hash).or_insert_with(|| {
            prepared.texts.push(text.clone());
            hashes.push(*hash);
            prepared.texts.len() - 1
        });
        place_of.insert(id, place);
    }
    let mut parents: Vec<usize> = (0..prepared.texts.len()).collect();
    for (a, b) in &pairs.same {
        match (place_of.get(a.as_str()), place_of.get(b.as_str())) {
            (Some(a), Some(b)) => join(&mut parents, *a, *b),
            _ => prepared.counts.pairs_without_rows += 1,
        }
    }
    let refuted: BTreeSet<(usize, usize)> = pairs
        .other
        .iter()
        .filter_map(|(a, b)| {
            let (a, b) = (*place_of.get(a.as_str())?, *place_of.get(b.as_str())?);
            Some((a.min(b), a.max(b)))
        })
        .collect();
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for text in 0..parents.len() {
        members.entry(root(&mut parents, text)).or_default().push(text);
    }
    for (a, b) in &refuted {
        let is_joined = a != b && root(&mut parents, *a) == root(&mut parents, *b);
        prepared.counts.pairs_contradicted += usize::from(is_joined);
    }
    for texts in members.into_values().filter(|texts| texts.len() > 1) {
        let first = texts.iter().map(|text| hashes[*text]).min().unwrap_or_default();
        let next = texts.windows(2).map(|two| (two[0], two[1]));
        let neighbours = next.filter(|pair| !refuted.contains(pair)).collect();
        let side = side(first, params.held_out, params.validation, params.seed);
        prepared.groups.push(Group { texts, pairs: neighbours, side });
    }
    for ((_, hash), text) in rows.others {
        if text_of.contains_key(&hash) {
            continue;
        }
        prepared.others.push(prepared.texts.len());
        prepared.texts.push(text);
    }
    check(params, &prepared)?;
    Ok(prepared)
}

fn check(params: &Params, prepared: &Prepared) -> Result<()> {
    let groups = prepared.groups.len();
    if groups == 0 {
        let problem = format!(
            "expected pairs of rows of {} whose texts differ, found none among {} pairs",
            params.dataset, prepared.counts.pairs
        );
        return Err(bad(NAME, "pairs", problem));
    }
    for (side, least, name) in [
        (Side::Train, 2, "pairs"),
        (Side::Validation, 1, "validation"),
        (Side::HeldOut, 1, "held_out"),
    ] {
        let found = prepared.of(side).filter(|(_, group)| !group.pairs.is_empty()).count();
        if found < least {
            let problem = format!(
                "expected at least {least} groups of duplicates for it, found {found} of {groups}: more pairs, or \
                 another share"
            );
            return Err(bad(NAME, name, problem));
        }
    }
    Ok(())
}

fn root(parents: &mut [usize], mut text: usize) -> usize {
    while parents[text] != text {
        parents[text] = parents[parents[text]];
        text = parents[text];
    }
    text
}

/// The smaller number stands for both.
fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rows(texts: &[(&str, &str)], others: &[&str], params: &Params) -> Rows {
        let own = texts.iter().map(|(id, text)| {
            ((*id).to_owned(), (same_text_groups(&[text])[0], (*text).to_owned()))
        });
        let mut rows = Rows { own: own.collect(), others: BTreeMap::new() };
        for text in others {
            rows.offer(same_text_groups(&[text])[0], (*text).to_owned(), params);
        }
        rows
    }

    fn pairs(same: &[(&str, &str)], other: &[(&str, &str)]) -> IdPairs {
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        IdPairs { same: of(same), other: of(other) }
    }

    #[test]
    fn rows_of_one_text_are_one_and_what_was_refuted_is_no_pair() {
        let params = Params { held_out: 0.5, validation: 0.5, ..Params::default() };
        let names: Vec<(String, String)> =
            (0..60).map(|n| (format!("x{n}"), format!("Text of {}", n / 2 * 100 + n))).collect();
        let mut texts: Vec<(&str, &str)> =
            names.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        texts.extend([("a", "One!"), ("b", "one"), ("c", "uno"), ("d", "eins"), ("e", "un")]);
        let mut same: Vec<(&str, &str)> =
            names.chunks(2).map(|two| (two[0].0.as_str(), two[1].0.as_str())).collect();
        same.extend([("a", "c"), ("b", "d"), ("d", "e"), ("e", "gone")]);
        let found = pairs(&same, &[("c", "e"), ("c", "d"), ("b", "x3")]);
        let others = ["uno", "tutto", "niente"];
        let found = prepare(&params, &found, rows(&texts, &others, &params), 0).unwrap();
        assert_eq!(found.groups.len(), 31);
        let group = found.groups.iter().find(|group| group.texts.len() > 2).unwrap();
        let names: Vec<&str> = group.texts.iter().map(|text| found.texts[*text].as_str()).collect();
        // One and uno, eins and un are pairs; uno and eins were refuted.
        assert_eq!(names, ["One!", "uno", "eins", "un"]);
        assert_eq!(group.pairs.len(), 2);
        assert_eq!(found.others.len(), 2);
        let counts = found.counts;
        assert_eq!(
            (counts.pairs, counts.pairs_without_rows, counts.pairs_contradicted),
            (34, 1, 2)
        );
        let (texts, groups) = found.grouped(Side::HeldOut, &found.others);
        assert_eq!(texts.len(), groups.len());
        let alone = groups.iter().filter(|group| **group >= 31).count();
        assert_eq!(alone, 2);
    }

    #[test]
    fn the_same_others_are_kept_in_any_order() {
        let params = Params { others: 3, ..Params::default() };
        let texts = ["a b", "c d", "e f", "g h", "i j", "k l"];
        let kept = |order: &[&str]| rows(&[], order, &params).others;
        let mut turned = texts;
        turned.reverse();
        assert_eq!(kept(&texts), kept(&turned));
        assert_eq!(kept(&texts).len(), 3);
    }

    #[test]
    fn too_few_groups_are_refused_by_name() {
        let params = Params::default();
        let says = |same: &[(&str, &str)]| {
            let texts = [("a", "one"), ("b", "One"), ("c", "two"), ("d", "three")];
            let rows = rows(&texts, &[], &params);
            prepare(&params, &pairs(same, &[]), rows, 0).unwrap_err().to_string()
        };
        let none = says(&[("a", "b")]);
        assert!(none.contains("whose texts differ, found none among 1 pairs"), "{none}");
        let few = says(&[("a", "c")]);
        assert!(few.contains("expected at least"), "{few}");
    }
}
