//! The rows to learn from: read, corrected, and split so that no text is on two sides.

use std::collections::HashMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{cast, ident, lit};
use datasets::DatasetName;
use engine::{Code, Error, Result, Session, did_you_mean};
use futures::StreamExt;
use models::{Labels, Numbers, same_text_groups};

use super::NAME;
use super::params::Params;
use crate::parameters::bad;
use crate::registry::embedders::model_error;
pub(super) use crate::registry::sides::Side;
use crate::registry::sides::{inner_side, side};
use crate::run::context::RunContext;
use crate::tables::input::{InputTable, is_text};
use crate::texts::{RowText, TextSource};

/// Labelled rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) ids: Vec<String>,
    pub(super) texts: Vec<RowText>,
    pub(super) labels: Vec<String>,
    /// Whether the label is one by hand.
    pub(super) by_hand: Vec<bool>,
    /// The columns of numbers that were read, and those of the first row, then of the next.
    pub(super) number_columns: Vec<String>,
    pub(super) numbers: Vec<f64>,
}

/// What became of the rows that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) without_id: u64,
    pub(super) without_label: u64,
}

/// Rows by class and side.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) labels: Labels,
    pub(super) rows: Rows,
    /// The class of each row; none for a label out of scope or one that nothing is learned from.
    pub(super) classes: Vec<Option<usize>>,
    pub(super) sides: Vec<Side>,
    pub(super) out_of_scope: Vec<bool>,
    /// Rows to be judged by of which a copy is learned from: they are left out of all sides.
    pub(super) repeated: Vec<bool>,
    /// What is learned from beside texts.
    pub(super) numbers: Numbers,
}

impl Rows {
    /// The numbers of rows in these columns, of the first row, then of the next; none of a column that was not read.
    fn numbers<'a>(&self, rows: &[usize], columns: impl Iterator<Item = &'a str>) -> Vec<f64> {
        let place = |name: &str| self.number_columns.iter().position(|column| column == name);
        let places: Vec<usize> = columns.filter_map(place).collect();
        let of = |row: &usize| {
            let start = row * self.number_columns.len();
            places.iter().filter_map(move |place| self.numbers.get(start + place)).copied()
        };
        rows.iter().flat_map(of).collect()
    }
}

impl Prepared {
    /// The rows of a side that have a class.
    pub(super) fn of(&self, side: Side) -> Vec<usize> {
        let there = |row: &usize| {
            self.sides[*row] == side && self.classes[*row].is_some() && !self.repeated[*row]
        };
        (0..self.classes.len()).filter(there).collect()
    }

    /// The rows of a side that are out of scope.
    pub(super) fn outside(&self, side: Side) -> Vec<usize> {
        let there = |row: &usize| self.sides[*row] == side && self.out_of_scope[*row];
        (0..self.classes.len()).filter(there).collect()
    }

    /// Rows to be judged by whose label nothing was learned of.
    pub(super) fn unseen(&self) -> usize {
        (0..self.classes.len())
            .filter(|row| {
                self.sides[*row] == Side::HeldOut
                    && self.classes[*row].is_none()
                    && !self.out_of_scope[*row]
            })
            .count()
    }

    pub(super) fn texts(&self, rows: &[usize]) -> Vec<&str> {
        rows.iter().map(|row| self.rows.texts[*row].whole()).collect()
    }

    /// What is embedded of rows by an encoder that takes so many texts of each.
    pub(super) fn inputs(&self, rows: &[usize], fields: usize) -> Vec<&str> {
        rows.iter().flat_map(|row| self.rows.texts[*row].inputs(fields)).collect()
    }

    /// The numbers of rows that are learned from so.
    pub(super) fn numbers(&self, rows: &[usize], numbers: &Numbers) -> Vec<f64> {
        self.rows.numbers(rows, numbers.names())
    }

    pub(super) fn classes(&self, rows: &[usize]) -> Vec<usize> {
        rows.iter().filter_map(|row| self.classes[*row]).collect()
    }
}

/// Fails with `BAD_INPUT` naming the parameter when a column is not there or of a wrong type.
pub(super) async fn check(session: &Session, params: &Params) -> Result<()> {
    let (texts, numbers) = (&params.text_columns, &params.feature_columns);
    let table = source(params, texts, numbers).check(session).await?;
    table.check("label_column", &params.label_column, "a text", is_text)
}

fn source<'a>(
    params: &'a Params,
    columns: &'a [String],
    number_columns: &'a [String],
) -> TextSource<'a> {
    TextSource {
        job: NAME,
        dataset: &params.dataset,
        id_column: &params.id_column,
        text_columns: columns,
        number_columns,
        order_column: params.time_column.as_deref(),
        order_parameter: "time_column",
    }
}

/// Reads the labelled rows, the oldest first where there is a time, with the numbers that are learned from, and those of `other`, the model
/// that is in use.
pub(super) async fn read(
    ctx: &RunContext,
    params: &Params,
    other: Option<&Numbers>,
) -> Result<(Rows, Dropped, u64)> {
    let mut stage = ctx.stage("read");
    let corrected = match &params.corrections {
        Some(dataset) => corrections(ctx, dataset, &params.dataset).await?,
        None => HashMap::new(),
    };
    check(ctx.session(), params).await?;
    let mut columns = vec![params.label_column.clone()];
    columns.extend(params.text_columns.iter().cloned());
    let mut number_columns = params.feature_columns.clone();
    let others = other.into_iter().flat_map(Numbers::names).map(str::to_owned);
    let others: Vec<String> = others.filter(|name| !number_columns.contains(name)).collect();
    number_columns.extend(others);
    let mut reader = source(params, &columns, &number_columns).read(ctx).await?;
    let mut dropped = Dropped::default();
    let mut rows = Rows { number_columns, ..Rows::default() };
    let (mut bytes, bytes_max) = (0, ctx.memory_budget_bytes() / 4);
    let mut corrections_used = 0;
    while let Some(batch) = reader.next().await? {
        for row in 0..batch.len() {
            let Some(id) = batch.id(row) else {
                dropped.without_id += 1;
                continue;
            };
            let given = batch.text(row, 0).filter(|label| !label.trim().is_empty());
            let by_hand = corrected.get(id).map(String::as_str);
            corrections_used += u64::from(by_hand.is_some());
            let Some(label) = by_hand.or(given) else {
                dropped.without_label += 1;
                continue;
            };
            let text = batch.row_text(row, 1..columns.len());
            bytes += id.len() + label.len() + text.bytes() + 2 * size_of::<String>();
            bytes += rows.number_columns.len() * size_of::<f64>();
            if bytes > bytes_max {
                return Err(Error::user(
                    Code::ResourcesExhausted,
                    format!(
                        "{NAME}: the texts and numbers of {} take more than a quarter of the memory budget, {bytes_max} bytes: \
                         take a larger budget",
                        params.dataset
                    ),
                ));
            }
            rows.ids.push(id.to_owned());
            rows.labels.push(label.to_owned());
            rows.by_hand.push(by_hand.is_some());
            rows.texts.push(text);
            rows.numbers.extend(batch.numbers(row));
        }
        ctx.check()?;
    }
    stage.record.rows_in = reader.rows_read;
    stage.record.bytes_read = reader.bytes_read;
    stage.record.rows_out = rows.ids.len() as u64;
    stage.finish();
    Ok((rows, dropped, corrections_used))
}

/// The last label by hand of each row.
async fn corrections(
    ctx: &RunContext,
    dataset: &DatasetName,
    source: &DatasetName,
) -> Result<HashMap<String, String>> {
    let table = InputTable::open(ctx.session(), NAME, dataset).await?;
    for column in ["source", "id", "label"] {
        table.check("corrections", column, "a text", is_text)?;
    }
    table.check("corrections", "at", "a timestamp", DataType::is_temporal)?;
    let text = |name: &str| cast(ident(name), DataType::Utf8);
    let frame = table
        .frame
        .filter(ident("source").eq(lit(source.as_str())))?
        .sort(vec![ident("at").sort(true, true), ident("label").sort(true, true)])?
        .select(vec![text("id"), text("label")])?;
    let mut rows = ctx.session().stream(frame).await?;
    let mut found = HashMap::new();
    while let Some(batch) = rows.next().await.transpose()? {
        let (ids, labels) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        for row in 0..batch.num_rows() {
            if ids.is_valid(row) && labels.is_valid(row) && !labels.value(row).trim().is_empty() {
                found.insert(ids.value(row).to_owned(), labels.value(row).to_owned());
            }
        }
    }
    Ok(found)
}

/// A number for each row, the same for copies: rows of the same text, given by `groups`, and the same numbers in these columns.
fn copies(rows: &Rows, groups: &[u64], columns: &[String]) -> Vec<u64> {
    if columns.is_empty() {
        return groups.to_vec();
    }
    let copy = |(row, group): (usize, &u64)| {
        let numbers = rows.numbers(&[row], columns.iter().map(String::as_str));
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        let bytes: Vec<u8> = group.to_le_bytes().into_iter().chain(numbers).collect();
        analysis::fnv(&bytes)
    };
    groups.iter().enumerate().map(copy).collect()
}

/// Gives every row its side and its class.
pub(super) fn prepare(rows: Rows, params: &Params) -> Result<Prepared> {
    let texts: Vec<&str> = rows.texts.iter().map(RowText::whole).collect();
    let groups = same_text_groups(&texts);
    let is_outside = |label: &String| params.out_of_scope_label.as_ref() == Some(label);
    let out_of_scope: Vec<bool> = rows.labels.iter().map(is_outside).collect();
    if let Some(label) = &params.out_of_scope_label
        && !out_of_scope.contains(&true)
    {
        let known =
            rows.labels.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>();
        let near = did_you_mean(label, known.into_iter());
        let meant = near.map(|near| format!("; {near}")).unwrap_or_default();
        let problem = format!("none of the {} labelled rows is {label:?}{meant}", rows.ids.len());
        return Err(bad(NAME, "out_of_scope_label", problem));
    }
    let oldest_held_out = ((rows.ids.len() as f64) * (1.0 - params.held_out)).ceil() as usize;
    let sides: Vec<Side> = groups
        .iter()
        .enumerate()
        .map(|(row, group)| {
            let (validation, seed) = (params.validation, params.seed);
            match params.time_column {
                Some(_) if row >= oldest_held_out => Side::HeldOut,
                Some(_) => inner_side(*group, validation, seed),
                None => side(*group, params.held_out, validation, seed),
            }
        })
        .collect();
    let learned = |row: &usize| sides[*row] == Side::Train && !out_of_scope[*row];
    let train: Vec<usize> = (0..rows.ids.len()).filter(learned).collect();
    let names = train.iter().map(|row| rows.labels[*row].as_str());
    let labels = Labels::of_rows(names).map_err(|problem| {
        let text = format!("{problem} among the {} rows to learn from", train.len());
        bad(NAME, "label_column", text)
    })?;
    let copies = copies(&rows, &groups, &params.feature_columns);
    let known: std::collections::HashSet<u64> = train.iter().map(|row| copies[*row]).collect();
    let repeated = |row: usize| sides[row] != Side::Train && known.contains(&copies[row]);
    let repeated = (0..rows.ids.len()).map(repeated).collect();
    let classes = rows
        .labels
        .iter()
        .zip(&out_of_scope)
        .map(|(label, outside)| labels.number(label).filter(|_| !outside))
        .collect();
    let numbers = match &params.feature_columns[..] {
        [] => Numbers::default(),
        columns => {
            let learned = rows.numbers(&train, columns.iter().map(String::as_str));
            Numbers::learn(columns, &learned).map_err(model_error)?
        }
    };
    let prepared = Prepared { labels, rows, classes, sides, out_of_scope, repeated, numbers };
    for (side, name) in [(Side::Validation, "validation"), (Side::HeldOut, "held_out")] {
        if prepared.of(side).is_empty() {
            let count = prepared.rows.ids.len();
            let text =
                format!("none of the {count} labelled rows is left for it: take a larger part");
            return Err(bad(NAME, name, text));
        }
    }
    if params.out_of_scope_recall.is_some() && prepared.outside(Side::Validation).is_empty() {
        let problem = "none of the rows out of scope is left to choose by: take a larger `validation`, or label more";
        return Err(bad(NAME, "out_of_scope_recall", problem));
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rows(count: usize) -> Rows {
        Rows {
            ids: (0..count).map(|row| row.to_string()).collect(),
            // Every third text is the one before in other letters.
            texts: (0..count)
                .map(|row| format!("Text {}", row - usize::from(row % 3 == 2)))
                .map(|text| RowText::of(std::iter::once(Some(&text[..]))))
                .collect(),
            labels: (0..count).map(|row| format!("class {}", row % 2)).collect(),
            by_hand: vec![false; count],
            ..Rows::default()
        }
    }

    #[test]
    fn no_text_is_on_two_sides_and_more_rows_move_none() {
        let params = Params::default();
        let few = prepare(rows(900), &params).unwrap();
        let more = prepare(rows(1800), &params).unwrap();
        assert_eq!(few.sides[..], more.sides[..900]);
        for row in (2..900).step_by(3) {
            assert_eq!(few.sides[row], few.sides[row - 1]);
        }
        let held_out = few.of(Side::HeldOut).len();
        assert!((140..=220).contains(&held_out), "{held_out}");
        assert!(few.repeated.iter().all(|repeated| !repeated));
        let other = Params { seed: 1, ..params };
        assert_ne!(prepare(rows(900), &other).unwrap().sides, few.sides);
    }

    #[test]
    fn by_time_the_newest_are_held_out_and_texts_that_were_learned_from_are_not_judged_by() {
        let params = Params { time_column: Some("at".into()), ..Params::default() };
        let mut all = rows(100);
        all.texts[90] = all.texts[0].clone();
        all.labels[95] = "new".into();
        let found = prepare(all, &params).unwrap();
        assert!((0..80).all(|row| found.sides[row] != Side::HeldOut));
        assert!((80..100).all(|row| found.sides[row] == Side::HeldOut));
        assert_eq!(found.repeated[90], found.sides[0] == Side::Train);
        assert_eq!((found.unseen(), found.classes[95]), (1, None));
    }

    #[test]
    fn what_nothing_can_be_learned_from_is_refused() {
        let mut one = rows(50);
        one.labels.fill("only".into());
        let message = prepare(one, &Params::default()).unwrap_err().to_string();
        assert!(message.contains("expected at least 2 classes, found 1"), "{message}");
        let none = prepare(Rows::default(), &Params::default()).unwrap_err().to_string();
        assert!(none.contains("expected rows, found none"), "{none}");
        let outside = Params { out_of_scope_label: Some("class 1".into()), ..Params::default() };
        assert!(prepare(rows(50), &outside).is_err());
        let typo = Params { out_of_scope_label: Some("clas 1".into()), ..Params::default() };
        let message = prepare(rows(50), &typo).unwrap_err().to_string();
        let expected = "parameter \"out_of_scope_label\": none of the 50 labelled rows is \"clas 1\"; did you mean class 1";
        assert!(message.contains(expected), "{message}");
    }
}
