//! What somebody said of pairs of rows, out of a dataset.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, LargeStringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{cast, ident, lit};
use datasets::DatasetName;
use engine::Result;
use futures::StreamExt;

use super::NAME;
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::tables::columns::texts;
use crate::tables::input::{InputTable, is_text};
use crate::texts::labels::pairs_spec;

/// Unknown ids of labels that an error names.
const UNKNOWN_NAMED: usize = 3;

/// Whether two rows are one, as somebody said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) is_duplicate: bool,
}

/// How many labels say either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) duplicates: usize,
    pub(super) others: usize,
}

impl Kinds {
    /// Of labels; fails where there are some, all of one kind.
    pub(super) fn of(labels: &[Label]) -> Result<Self> {
        let duplicates = labels.iter().filter(|label| label.is_duplicate).count();
        let kinds = Self { duplicates, others: labels.len() - duplicates };
        if !labels.is_empty() && kinds.fewer() == 0 {
            let problem = format!("expected duplicates and other pairs, {kinds}");
            return Err(bad(NAME, "labels", problem));
        }
        Ok(kinds)
    }

    /// Labels of the kind that there are fewer of.
    pub(super) fn fewer(self) -> usize {
        self.duplicates.min(self.others)
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "found {} duplicates and {} other pairs", self.duplicates, self.others)
    }
}

/// The rows of a dataset of labels, in its order.
pub(super) struct Judged {
    dataset: DatasetName,
    /// Whether people label one pair after the other, and may change their mind.
    is_by_hand: bool,
    rows: Vec<(String, String, bool)>,
}

impl Judged {
    /// Reads what `dataset` says of rows of `source`.
    pub(super) async fn read(
        ctx: &RunContext,
        dataset: &DatasetName,
        source: &DatasetName,
    ) -> Result<Self> {
        let table = InputTable::open(ctx.session(), NAME, dataset).await?;
        let id_fits = |t: &DataType| t.is_integer() || is_text(t);
        table.check("labels", "id_a", "a text or whole number", id_fits)?;
        table.check("labels", "id_b", "a text or whole number", id_fits)?;
        let truth = |t: &DataType| t.is_integer() || *t == DataType::Boolean;
        table.check("labels", "is_duplicate", "a boolean, or 0 and 1", truth)?;
        let is_duplicate = cast(cast(ident("is_duplicate"), DataType::Boolean), DataType::Utf8);
        let columns = vec![
            cast(ident("id_a"), DataType::Utf8).alias("id_a"),
            cast(ident("id_b"), DataType::Utf8).alias("id_b"),
            is_duplicate.alias("is_duplicate"),
        ];
        let (mut frame, is_by_hand) = (table.frame, *dataset == pairs_spec().name);
        if is_by_hand {
            let order = ["at", "id_a", "id_b"].map(|name| ident(name).sort(true, true));
            frame = frame.filter(ident("source").eq(lit(source.as_str())))?.sort(order.to_vec())?;
        }
        let mut batches = ctx.session().stream(frame.select(columns)?).await?;
        let mut judged = Self { dataset: dataset.clone(), is_by_hand, rows: Vec::new() };
        while let Some(batch) = batches.next().await.transpose()? {
            ctx.check()?;
            let columns = [texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?];
            if columns.iter().any(|column| column.null_count() > 0) {
                return Err(judged.bad("expected no nulls, found one"));
            }
            let [a, b, is_duplicate] = &columns;
            judged.rows.extend((0..batch.num_rows()).map(|row| {
                let is_duplicate = is_duplicate.value(row) == "true";
                (a.value(row).to_owned(), b.value(row).to_owned(), is_duplicate)
            }));
        }
        Ok(judged)
    }

    /// All rows that it speaks of.
    pub(super) fn ids(&self) -> HashSet<&str> {
        self.rows.iter().flat_map(|(a, b, _)| [a.as_str(), b.as_str()]).collect()
    }

    /// The labels of rows with these ids. Fails on ids that are not there, unless the pairs were labelled by hand: then the
    /// row was deleted since; and on pairs that are labelled both ways.
    pub(super) fn labels(&self, ids: &LargeStringArray) -> Result<Vec<Label>> {
        let places: HashMap<&str, usize> = ids.iter().flatten().zip(0..).collect();
        let mut labels: HashMap<(usize, usize), bool> = HashMap::new();
        let (mut unknown, mut unknown_count) = (Vec::new(), 0);
        for (a, b, is_duplicate) in &self.rows {
            let (Some(&x), Some(&y)) = (places.get(a.as_str()), places.get(b.as_str())) else {
                for id in [a, b].into_iter().filter(|id| !places.contains_key(id.as_str())) {
                    unknown_count += 1;
                    if unknown.len() < UNKNOWN_NAMED {
                        unknown.push(format!("{id:?}"));
                    }
                }
                continue;
            };
            if x == y {
                return Err(self.bad(format!("expected two rows, found {a:?} twice")));
            }
            // By hand the last word counts.
            let before = labels.insert((x.min(y), x.max(y)), *is_duplicate);
            if before == Some(!is_duplicate) && !self.is_by_hand {
                let problem = format!("expected one label for {a:?} and {b:?}, found both");
                return Err(self.bad(problem));
            }
        }
        if unknown_count > 0 && !self.is_by_hand {
            let named = unknown.join(", ");
            return Err(self.bad(format!(
                "expected ids of rows that are compared, found {unknown_count} others, such as {named}"
            )));
        }
        let mut labels: Vec<Label> =
            labels.into_iter().map(|((a, b), is_duplicate)| Label { a, b, is_duplicate }).collect();
        labels.sort_unstable_by_key(|label| (label.a, label.b));
        Ok(labels)
    }

    fn bad(&self, problem: impl std::fmt::Display) -> engine::Error {
        bad(NAME, "labels", format!("dataset {}: {problem}", self.dataset))
    }
}
