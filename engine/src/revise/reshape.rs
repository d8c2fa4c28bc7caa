//! Changes of a dataset's columns.
//!
//! A column more is said in the table's metadata alone. For one that is called otherwise, goes, or gets another type, all rows are
//! written anew, as one commit: whatever reads Delta tables then finds them under the new names and types, and older versions as they
//! were. Rows that were read for the columns of before are refused from then on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::Int64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, cast, ident, lit, not};
use datafusion::scalar::ScalarValue;
use datasets::spec::PartitionTransform;
use datasets::{
    ColumnSpec, ColumnType, DatasetSpec, DimensionSpec, Evolution, LoadSettings, MeasureSpec,
    Validation, did_you_mean,
};

use crate::bus::CommitKind;
use crate::error::{Code, Error, Result};
use crate::identity::Version;
use crate::lake::{Author, Head, Proposal, Renamed, Table};
use crate::session::{
    carried, carried_or_null, check_semantics, fits, has_way, made_of, rename_in_semantics,
    require_kept,
};

/// Rows that an error names.
const ROWS_TOLD: usize = 8;

/// A change of a dataset's columns.
#[derive(Clone, Debug)]
pub enum Reshape {
    /// One more, which the rows that are there leave empty.
    Add(ColumnSpec),
    /// Another name.
    Rename {
        /// Which column.
        column: String,
        /// What it is to be called.
        to: String,
    },
    /// One less.
    Drop {
        /// Which column.
        column: String,
    },
    /// Another type.
    Retype {
        /// Which column.
        column: String,
        /// What its values are to be.
        to: ColumnType,
        /// What they come from, where not from what they are: then whoever says so answers for what is lost.
        using: Option<Expr>,
    },
    /// The columns that name a row, where none did.
    Key(Vec<String>),
    /// A measure, in the place of one of its name.
    Measure(MeasureSpec),
    /// A dimension, in the place of one of its name.
    Dimension(DimensionSpec),
    /// One less of the measures and dimensions.
    Undeclare {
        /// Which.
        name: String,
    },
    /// How rows are loaded: settings of [`LoadSettings`], and `evolution`.
    Settings {
        /// Settings by name and value. `null` replaces the stored spellings.
        set: Vec<(String, String)>,
        /// Settings to remove.
        unset: Vec<String>,
    },
}

/// A change of columns that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshaped {
    /// The version that has the columns.
    pub version: Version,
    /// Rows that were written anew.
    pub rows: u64,
    /// Bytes of the files that were written.
    pub bytes: u64,
    /// Checks of the spec that went with a column.
    pub checks: usize,
}

/// A change of columns, on the columns that there are.
pub(super) struct Reshaping {
    /// The spec from then on.
    pub(super) spec: Arc<DatasetSpec>,
    /// All columns, from those that there are.
    pub(super) columns: Vec<Expr>,
    pub(super) renamed: Option<Renamed>,
    /// What values are to be, where they must stay the same.
    retyped: Option<(ColumnSpec, ColumnType)>,
    /// Whether columns name a row now that did not.
    pub(super) is_keyed: bool,
    /// What a column held, where it was said what it is to be.
    pub(super) was: Option<Was>,
}

impl Reshape {
    /// How much more a dataset has then of what a tenant may have so much of.
    pub(crate) fn wider(&self, spec: &DatasetSpec) -> usize {
        match self {
            Self::Add(column) => column.width(),
            Self::Retype { column, to, .. } => {
                let there = spec.column(column).map_or(0, |it| it.data_type.fields());
                to.fields().saturating_sub(there)
            }
            Self::Measure(of) => usize::from(spec.measures.iter().all(|it| it.name != of.name)),
            Self::Dimension(of) => usize::from(spec.dimensions.iter().all(|it| it.name != of.name)),
            Self::Rename { .. }
            | Self::Drop { .. }
            | Self::Key(_)
            | Self::Undeclare { .. }
            | Self::Settings { .. } => 0,
        }
    }

    /// The spec from then on; fails where a dataset can not have it.
    pub(crate) fn spec_after(&self, spec: &DatasetSpec) -> Result<DatasetSpec> {
        let mut after = spec.clone();
        let fail = |problem: String| Err(Error::user(Code::BadInput, problem));
        let is_there = |name: &str| spec.column(name).is_some() || is_computed(spec, name);
        match self {
            Self::Add(column) => {
                if is_there(&column.name) {
                    return fail(format!("there is a column {:?} already", column.name));
                }
                if !column.nullable {
                    return fail(format!(
                        "column {:?} is to be never empty, and rows that are there have no value for it",
                        column.name
                    ));
                }
                after.columns.push(column.clone());
            }
            Self::Rename { column, to } => {
                require_free(spec, column, "be renamed")?;
                if is_there(to) {
                    return fail(format!("there is a column {to:?} already"));
                }
                rename(&mut after, column, to);
            }
            Self::Drop { column } => {
                require_free(spec, column, "be dropped")?;
                if spec.key.contains(column) {
                    return fail(format!(
                        "column {column:?} is of the key, which names each row; it can not be dropped"
                    ));
                }
                if spec.time_column.as_ref() == Some(column) {
                    return fail(format!(
                        "column {column:?} says when a row happened; it can not be dropped"
                    ));
                }
                if let Some(partition) = source_of(spec, column) {
                    return fail(format!(
                        "column {column:?} can not be dropped: the partition {partition:?} is computed from it"
                    ));
                }
                if let Some(what) = made_of(spec, column) {
                    return fail(format!(
                        "column {column:?} can not be dropped: {what} is made of it; change or drop that first"
                    ));
                }
                after.columns.retain(|of| of.name != *column);
                after.validations.retain(|check| !check.columns().contains(&column.as_str()));
                after.relations.retain(|relation| relation.column != *column);
            }
            Self::Retype { column, to, using } => {
                let was = require_free(spec, column, "get another type")?;
                if let Some(partition) = source_of(spec, column) {
                    return fail(format!(
                        "column {column:?} can not get another type: the partition {partition:?} is computed from it"
                    ));
                }
                if spec.key.contains(column) {
                    return fail(format!(
                        "column {column:?} is of the key, and keys that are told apart now might be the same then; its type stays"
                    ));
                }
                if was.data_type == *to && using.is_none() {
                    return fail(format!("column {column:?} is {to} already"));
                }
                if using.is_none() && !has_way(was, to) {
                    return fail(format!(
                        "column {column:?} is {}, which does not become {to} by itself; say how, as an expression of the columns",
                        was.data_type
                    ));
                }
                for of in &mut after.columns {
                    if of.name == *column {
                        of.data_type = to.clone();
                    }
                }
            }
            Self::Key(columns) => {
                if !spec.key.is_empty() {
                    let key = spec.key.join(", ");
                    return fail(format!("the dataset has the key {key}, which stays"));
                }
                if columns.is_empty() {
                    return fail("expected at least one column as the key".to_owned());
                }
                for column in columns {
                    require_free(spec, column, "be of the key")?;
                }
                let of_key = after.columns.iter_mut().filter(|of| columns.contains(&of.name));
                of_key.for_each(|column| column.nullable = false);
                after.key.clone_from(columns);
                after.check_new()?;
            }
            Self::Measure(of) => {
                match after.measures.iter_mut().find(|it| it.name == of.name) {
                    Some(there) => there.clone_from(of),
                    None => after.measures.push(of.clone()),
                }
                after.check()?;
                check_semantics(&after)?;
            }
            Self::Dimension(of) => {
                match after.dimensions.iter_mut().find(|it| it.name == of.name) {
                    Some(there) => there.clone_from(of),
                    None => after.dimensions.push(of.clone()),
                }
                after.check()?;
                check_semantics(&after)?;
            }
            Self::Undeclare { name } => {
                after.dimensions.retain(|it| it.name != *name);
                after.measures.retain(|it| it.name != *name);
                if after.dimensions.len() + after.measures.len()
                    == spec.dimensions.len() + spec.measures.len()
                {
                    return Err(undeclared(spec, name));
                }
            }
            Self::Settings { set, unset } => set_settings(&mut after, set, unset)?,
        }
        after.check()?;
        require_kept(spec, &after)?;
        Ok(after)
    }
}

/// Changes how rows are loaded into a dataset.
fn set_settings(spec: &mut DatasetSpec, set: &[(String, String)], unset: &[String]) -> Result<()> {
    for name in unset {
        spec.load.clear(name)?;
    }
    if set.iter().any(|(name, _)| name == "null") {
        spec.load.clear("null")?;
    }
    for (name, value) in set {
        match (name.as_str(), value.as_str()) {
            ("evolution", "fixed") => spec.evolution = Evolution::Fixed,
            ("evolution", "add_nullable") => spec.evolution = Evolution::AddNullable,
            ("evolution", _) => {
                let says = format!("evolution {value:?}: expected fixed or add_nullable");
                return Err(Error::user(Code::BadInput, says));
            }
            _ if LoadSettings::has(name) => spec.load.set(name, value)?,
            _ => {
                let names = LoadSettings::NAMES.join(", ");
                let message = format!("setting {name:?}: expected one of evolution, {names}");
                return Err(Error::user(Code::BadInput, message));
            }
        }
    }
    Ok(())
}

impl Reshaping {
    /// Nothing where no row has to be written.
    pub(super) fn new(reshape: &Reshape, spec: &DatasetSpec) -> Result<Option<Self>> {
        let after = reshape.spec_after(spec)?;
        let (mut renamed, mut retyped, mut was) = (None, None, None);
        let column = |name: &str| -> Result<Expr> {
            Ok(match reshape {
                Reshape::Rename { column, to } if to == name => ident(column).alias(to),
                Reshape::Retype { column, using: Some(using), .. } if column == name => {
                    using.clone().alias(name)
                }
                Reshape::Retype { column, to, using: None } if column == name => {
                    carried(require(spec, column)?, to).alias(name)
                }
                _ => ident(name),
            })
        };
        let columns = after.columns.iter().map(|of| column(&of.name));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        match reshape {
            Reshape::Add(_)
            | Reshape::Measure(_)
            | Reshape::Dimension(_)
            | Reshape::Undeclare { .. }
            | Reshape::Settings { .. } => return Ok(None),
            Reshape::Rename { column, to } => {
                renamed = Some(Renamed { from: column.clone(), to: to.clone() });
            }
            Reshape::Retype { column, to, using: None } => {
                retyped = Some((require(spec, column)?.clone(), to.clone()));
            }
            Reshape::Retype { column, to, using: Some(_) } => {
                was = Some(Was::new(require(spec, column)?, to));
            }
            Reshape::Drop { .. } | Reshape::Key(_) => {}
        }
        let is_keyed = matches!(reshape, Reshape::Key(_));
        Ok(Some(Self { is_keyed, spec: Arc::new(after), columns, renamed, retyped, was }))
    }

    /// Fails where values of `rows` would be others, or do not name a row, and says of which rows.
    pub(super) async fn require_fit(&self, rows: DataFrame) -> Result<()> {
        if self.is_keyed {
            return self.require_key(rows).await;
        }
        let Some((column, to)) = &self.retyped else { return Ok(()) };
        let unfit = rows.filter(not(fits(column, to)))?;
        let of_key = self.spec.key.iter().filter(|name| **name != column.name);
        let shown = of_key.map(ident).chain([ident(&column.name)]).collect();
        let Some((rows, first)) = some(unfit, shown).await? else { return Ok(()) };
        let word = if rows == 1 { "value is" } else { "values are" };
        Err(Error::user(
            Code::BadInput,
            format!(
                "column {:?}: {rows} {word} not {to} without loss: {first}; nothing was changed",
                column.name
            ),
        ))
    }

    /// Fails where a row of `rows` has no key, or one that another has.
    async fn require_key(&self, rows: DataFrame) -> Result<()> {
        let key: Vec<Expr> = self.spec.key.iter().map(ident).collect();
        let named = self.spec.key.join(", ");
        let refused = |problem: String| {
            Error::user(Code::BadInput, format!("key {named}: {problem}; nothing was changed"))
        };
        let is_empty = key.iter().map(|column| column.clone().is_null()).reduce(Expr::or);
        if let Some(is_empty) = is_empty
            && let Some((rows, first)) = some(rows.clone().filter(is_empty)?, key.clone()).await?
        {
            let word = if rows == 1 { "row has" } else { "rows have" };
            return Err(refused(format!("{rows} {word} no value there: {first}")));
        }
        let times = rows.aggregate(key.clone(), vec![count(lit(1)).alias("rows")])?;
        let several = times.filter(ident("rows").gt(lit(1_i64)))?;
        let shown = key.into_iter().chain([ident("rows")]).collect();
        match some(several, shown).await? {
            None => Ok(()),
            Some((1, first)) => Err(refused(format!("1 is of more than one row: {first}"))),
            Some((keys, first)) => {
                Err(refused(format!("{keys} are of more than one row: {first}")))
            }
        }
    }

    /// What its commit says beside the files.
    pub(super) fn complete(&self, proposal: Proposal) -> Proposal {
        let is_other = proposal.revised.is_some_and(|revised| revised.removed > 0);
        Proposal {
            kind: Some(if is_other { CommitKind::Revise } else { CommitKind::Schema }),
            spec: Some(self.spec.as_ref().clone()),
            reshapes: true,
            renamed: self.renamed.clone(),
            ..proposal
        }
    }
}

/// What a column held, for it to be seen which rows are others now.
#[derive(Clone)]
pub(super) struct Was {
    column: String,
    /// Its values as ones of the type that it has now, and whether that is not what they were.
    before: [Expr; 2],
}

impl Was {
    fn new(column: &ColumnSpec, to: &ColumnType) -> Self {
        let before = match has_way(column, to) {
            true => [carried_or_null(column, to), not(fits(column, to))],
            false => {
                [cast(lit(ScalarValue::Null), to.arrow_type()), ident(&column.name).is_not_null()]
            }
        };
        Self { column: column.name.clone(), before }
    }

    /// These columns, and behind them what this one held.
    pub(super) fn beside(&self, columns: &[Expr]) -> Vec<Expr> {
        let names = ["__colonnade_was", "__colonnade_unfit"];
        let before = self.before.iter().zip(names).map(|(of, name)| of.clone().alias(name));
        columns.iter().cloned().chain(before).collect()
    }

    /// The columns alone, and what this one held.
    pub(super) fn apart(batch: &RecordBatch) -> Result<(RecordBatch, Vec<ArrayRef>)> {
        let width = batch.num_columns().saturating_sub(2);
        let columns = batch.project(&(0..width).collect::<Vec<_>>())?;
        Ok((columns, batch.columns().iter().skip(width).cloned().collect()))
    }

    /// How many rows hold something else now.
    pub(super) fn others(&self, now: &RecordBatch, before: &[ArrayRef]) -> Result<u64> {
        let (Some(now), [was, unfit]) = (now.column_by_name(&self.column), before) else {
            return Err(Error::internal("a column that gets another type is gone"));
        };
        let compare = make_comparator(now, was, SortOptions::default())?;
        let unfit = unfit.as_boolean();
        let is_other = |row: &usize| unfit.value(*row) || compare(*row, *row).is_ne();
        Ok((0..now.len()).filter(is_other).count() as u64)
    }
}

/// How many rows there are, if any, and these columns of the first of them.
async fn some(rows: DataFrame, shown: Vec<Expr>) -> Result<Option<(u64, String)>> {
    let counted = rows.clone().aggregate(vec![], vec![count(lit(1)).alias("rows")])?;
    let counted = counted.collect().await?;
    let counted = counted.first().map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0));
    let count = counted.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    if count == 0 {
        return Ok(None);
    }
    let first = told(&rows.select(shown)?.limit(0, Some(ROWS_TOLD))?.collect().await?)?;
    let more = if count > first.len() as u64 { ", …" } else { "" };
    Ok(Some((count, first.join(", ") + more)))
}

/// Rows as `(id = 7, price = abc)`.
fn told(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("null");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns = columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let values = schema.fields().iter().zip(&columns).map(|(field, column)| {
                let text = column.value(row).to_string();
                let mut short: String = text.chars().take(80).collect();
                if short.len() < text.len() {
                    short.push('…');
                }
                format!("{} = {short}", field.name())
            });
            rows.push(format!("({})", values.collect::<Vec<_>>().join(", ")));
        }
    }
    Ok(rows)
}

/// The author of what is said of a dataset beside its rows.
pub(super) struct Add<'a>(pub(super) &'a Reshape);

#[async_trait]
impl Author for Add<'_> {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        let spec = self.0.spec_after(&head.spec)?;
        Ok(Some(Proposal { spec: Some(spec), ..Proposal::without_rows() }))
    }
}

/// The error for what is neither a measure nor a dimension.
fn undeclared(spec: &DatasetSpec, name: &str) -> Error {
    let dimensions = spec.dimensions.iter().map(|it| it.name.as_str());
    let names: Vec<&str> =
        dimensions.chain(spec.measures.iter().map(|it| it.name.as_str())).collect();
    let all = || match names.is_empty() {
        true => "it declares none".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    let says = did_you_mean(name, names.iter().copied()).unwrap_or_else(all);
    Error::user(Code::NotFound, format!("there is no measure and no dimension {name:?}; {says}"))
}

fn require<'a>(spec: &'a DatasetSpec, name: &str) -> Result<&'a ColumnSpec> {
    spec.column(name).ok_or_else(|| {
        let names = || spec.columns.iter().map(|column| column.name.as_str());
        let all = || format!("there are {}", names().collect::<Vec<_>>().join(", "));
        let says = did_you_mean(name, names()).unwrap_or_else(all);
        Error::user(Code::NotFound, format!("there is no column {name:?}; {says}"))
    })
}

/// The column, if no folder of files is called after its values.
fn require_free<'a>(spec: &'a DatasetSpec, name: &str, may_not: &str) -> Result<&'a ColumnSpec> {
    let says = if is_computed(spec, name) {
        "it is computed from another"
    } else if spec.partition_by.iter().any(|partition| partition.column == name) {
        "it splits the dataset into partitions"
    } else {
        return require(spec, name);
    };
    Err(Error::user(Code::BadInput, format!("column {name:?} can not {may_not}: {says}")))
}

fn is_computed(spec: &DatasetSpec, name: &str) -> bool {
    spec.computed_partitions().any(|partition| partition.column == name)
}

/// The partition that is computed from a column.
fn source_of<'a>(spec: &'a DatasetSpec, name: &str) -> Option<&'a str> {
    let mut computed = spec.computed_partitions();
    let is_from = |from: &Option<String>| from.as_deref() == Some(name);
    computed.find(|partition| is_from(&partition.from)).map(|partition| partition.column.as_str())
}

/// `spec` with a column under another name, wherever it stands.
fn rename(spec: &mut DatasetSpec, from: &str, to: &str) {
    let change = |name: &mut String| {
        if name == from {
            to.clone_into(name);
        }
    };
    spec.columns.iter_mut().for_each(|column| change(&mut column.name));
    spec.key.iter_mut().for_each(change);
    spec.time_column.iter_mut().for_each(change);
    rename_in_semantics(spec, from, to);
    for relation in &mut spec.relations {
        // It is called as before.
        relation.name = Some(relation.name().to_owned());
        change(&mut relation.column);
        if relation.to == spec.name {
            relation.to_column.iter_mut().for_each(change);
        }
    }
    for partition in &mut spec.partition_by {
        if partition.transform != PartitionTransform::Identity {
            partition.from.iter_mut().for_each(change);
        }
    }
    for validation in &mut spec.validations {
        match validation {
            Validation::Range { column, .. }
            | Validation::Finite { column }
            | Validation::NonEmpty { column }
            | Validation::MaxBytes { column, .. }
            | Validation::OneOf { column, .. }
            | Validation::Matches { column, .. }
            | Validation::ValidJson { column } => change(column),
            Validation::Ordered { low, high } => {
                change(low);
                change(high);
            }
        }
    }
}
