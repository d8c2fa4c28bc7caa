//! Rows that go told from those that stay, file by file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DFSchema, JoinType};
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, ExprSchemable, cast, ident, lit};
use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use futures::StreamExt;

use super::reshape::Was;
use super::{Coming, Going, Revision};
use crate::error::{Code, Error, Result};
use crate::identity::Version;
use crate::lake::{Came, Checked, FileWriter, Removal, Snapshot, Table};
use crate::session::{Session, for_constants_of, rows_of};

/// What the column is called that says where a row lies.
const FILE: &str = "__colonnade_file";

/// Keys that rows are held against, under names of their own.
#[derive(Clone)]
pub(crate) struct Keys {
    frame: DataFrame,
    names: Vec<String>,
    columns: Vec<String>,
}

impl Keys {
    /// Those of `rows`.
    pub(crate) fn of(rows: DataFrame, key: &[String]) -> Result<Self> {
        let names: Vec<String> = key.iter().map(|name| format!("__colonnade_key_{name}")).collect();
        let renamed = key.iter().zip(&names).map(|(column, name)| ident(column).alias(name));
        Ok(Self { frame: rows.select(renamed.collect::<Vec<_>>())?, names, columns: key.to_vec() })
    }

    /// The rows that have one of them, or none, as `kind` says.
    pub(crate) fn join(&self, rows: DataFrame, kind: JoinType) -> Result<DataFrame> {
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        Ok(rows.join(self.frame.clone(), kind, &columns, &names, None)?)
    }
}

/// Tells rows that go from those that stay.
pub(super) struct Sieve<'a> {
    pub(super) table: &'a Arc<Table>,
    pub(super) session: &'a Session,
    pub(super) going: Sifting,
    /// All columns, some of them changed.
    pub(super) changed: Option<Vec<Expr>>,
    /// What one of them held, where it is to be counted which rows are others then.
    pub(super) was: Option<Was>,
}

/// Which rows go.
pub(super) enum Sifting {
    None,
    All,
    Where(Expr),
    /// Those with these keys.
    Keys(Keys),
}

/// What was found in the files that were looked through.
#[derive(Default)]
pub(super) struct Sifted {
    pub(super) removal: Removal,
    pub(super) removed: u64,
    pub(super) copied: u64,
    pub(super) changed: u64,
    /// Rows among those that hold something else, where that was counted.
    pub(super) others: u64,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(
        table: &'a Arc<Table>,
        session: &'a Session,
        spec: &DatasetSpec,
        revision: &Revision,
        keys: Option<&RecordBatch>,
    ) -> Result<Self> {
        let going = match (&revision.going, keys) {
            (Going::All, _) => Sifting::All,
            (Going::Where(expression), _) => Sifting::Where(expression.clone()),
            (Going::SameKey, None) => Sifting::None,
            (Going::SameKey, Some(keys)) => {
                Sifting::Keys(Keys::of(session.context().read_batch(keys.clone())?, &spec.key)?)
            }
        };
        let changed = match &revision.coming {
            Coming::Changed(changed) => Some(changes(spec, changed)?),
            Coming::Nothing | Coming::Rows(_) => None,
        };
        Ok(Self { table, session, going, changed, was: None })
    }

    /// Goes on from version `from` to version `to`. False where all must begin anew.
    pub(super) async fn follow(
        &self,
        sifted: &mut Sifted,
        from: Version,
        to: Version,
        writer: &mut FileWriter,
        checked: &mut Checked,
    ) -> Result<bool> {
        // Where all rows go it says nothing in which file one lies.
        let all = matches!(self.going, Sifting::All);
        let came = if all {
            let Some(came) = self.table.came(from.0, to.0).await? else { return Ok(false) };
            came
        } else {
            let since = self.table.since(from.0, to.0, &sifted.removal).await?;
            if since.is_other {
                return Ok(false);
            }
            Vec::from_iter(
                (!since.added.is_empty()).then_some(Came { version: to, files: since.added }),
            )
        };
        for Came { version, files } in came {
            let snapshot = self.table.snapshot(version).await?;
            self.sift(sifted, &snapshot, Some(files), writer, checked).await?;
        }
        if all {
            sifted.removal = self.table.snapshot(to).await?.removal_of_all()?;
        }
        Ok(true)
    }

    /// Looks through all files of `snapshot`, or some.
    pub(super) async fn sift(
        &self,
        sifted: &mut Sifted,
        snapshot: &Snapshot,
        files: Option<Vec<String>>,
        writer: &mut FileWriter,
        checked: &mut Checked,
    ) -> Result<()> {
        if files.is_none() && self.changed.is_none() && matches!(self.going, Sifting::All) {
            let removal = snapshot.removal_of_all()?;
            if let Some(rows) = removal.size.rows {
                sifted.removed += rows;
                sifted.removal.and(removal);
                return Ok(());
            }
        }
        let frame = |files, column| rows_of(self.session, snapshot, files, column);
        let Some(matching) = self.matching(frame(files, Some(FILE))?, true)? else { return Ok(()) };
        let file = cast(ident(FILE), DataType::Utf8).alias(FILE);
        let counted = matching.aggregate(vec![file], vec![count(lit(1)).alias("rows")])?;
        let mut going = HashMap::new();
        for batch in counted.collect().await? {
            let names = batch.column(0).as_string::<i32>();
            let rows = batch.column(1).as_primitive::<Int64Type>();
            for (name, rows) in names.iter().flatten().zip(rows.values()) {
                going.insert(name.to_owned(), u64::try_from(*rows).unwrap_or_default());
            }
        }
        if going.is_empty() {
            return Ok(());
        }
        let removed = going.values().sum::<u64>();
        let (mut copied, mut changed) = (0, 0);
        let removal = snapshot.removal(self.table, &going)?;
        if !removal.with_others.is_empty() {
            let there = frame(Some(removal.with_others.clone()), None)?;
            if let Some(staying) = self.matching(there, false)? {
                let mut rows = staying.execute_stream().await?;
                while let Some(batch) = rows.next().await {
                    let batch = batch?;
                    copied += batch.num_rows() as u64;
                    writer.write(batch).await?;
                }
            }
        }
        if let Some(columns) = &self.changed
            && let Some(matching) =
                self.matching(frame(Some(going.into_keys().collect()), None)?, true)?
        {
            let columns =
                self.was.as_ref().map_or_else(|| columns.clone(), |was| was.beside(columns));
            let rows = for_constants_of(matching.select(columns)?)?;
            let mut rows = rows.execute_stream().await?;
            while let Some(batch) = rows.next().await {
                let batch = match &self.was {
                    None => checked.check(&batch?)?,
                    Some(was) => {
                        let (batch, before) = Was::apart(&batch?)?;
                        let batch = checked.check(&batch)?;
                        sifted.others += was.others(&batch, &before)?;
                        batch
                    }
                };
                changed += batch.num_rows() as u64;
                writer.write(batch).await?;
            }
        }
        // What was read once as a row that goes and once as one that does not would be lost.
        let is_whole = removal.size.rows.is_none_or(|rows| rows == removed + copied);
        if !is_whole || (self.changed.is_some() && changed != removed) {
            return Err(Error::internal(format!(
                "{:?} rows lay in files; {removed} were found to go, {copied} to stay and {changed} were changed",
                removal.size.rows
            )));
        }
        sifted.removed += removed;
        sifted.copied += copied;
        sifted.changed += changed;
        sifted.removal.and(removal);
        Ok(())
    }

    /// The rows of `frame` that go, or those that stay; nothing, where none goes.
    pub(super) fn matching(&self, frame: DataFrame, going: bool) -> Result<Option<DataFrame>> {
        Ok(Some(match &self.going {
            Sifting::None => return Ok(None),
            Sifting::All => frame.filter(lit(going))?,
            Sifting::Where(expression) => frame.filter(match going {
                true => expression.clone(),
                // Also where it is neither.
                false => expression.clone().is_not_true(),
            })?,
            Sifting::Keys(keys) => {
                keys.join(frame, if going { JoinType::LeftSemi } else { JoinType::LeftAnti })?
            }
        }))
    }
}

/// All columns of a spec, with some changed.
fn changes(spec: &DatasetSpec, changed: &[(String, Expr)]) -> Result<Vec<Expr>> {
    for (at, (name, _)) in changed.iter().enumerate() {
        let problem = if spec.columns.iter().all(|column| column.name != *name) {
            let columns: Vec<&str> = spec.columns.iter().map(|c| c.name.as_str()).collect();
            format!("there is no column {name:?} to be changed; there are {}", columns.join(", "))
        } else if spec.key.contains(name) {
            format!(
                "column {name:?} is of the key and stays as it is; delete the row, and send it anew"
            )
        } else if changed.iter().take(at).any(|(other, _)| other == name) {
            format!("column {name:?} is set twice")
        } else {
            continue;
        };
        return Err(Error::user(Code::BadInput, problem));
    }
    let schema = DFSchema::try_from(spec.arrow_schema())?;
    let column = |column: &ColumnSpec| match changed.iter().find(|(of, _)| *of == column.name) {
        Some((_, expression)) => rounded(expression, column, &schema).alias(&column.name),
        None => ident(&column.name),
    };
    Ok(spec.columns.iter().map(column).collect())
}

/// A number for a column of decimals, with as many digits behind the point as that has: as in SQL, where one is assigned.
fn rounded(expression: &Expr, column: &ColumnSpec, schema: &DFSchema) -> Expr {
    let is_number = expression.get_type(schema).is_ok_and(|kind| kind.is_numeric());
    match column.data_type {
        ColumnType::Decimal(..) if is_number => {
            cast(expression.clone(), column.data_type.arrow_type())
        }
        _ => expression.clone(),
    }
}
