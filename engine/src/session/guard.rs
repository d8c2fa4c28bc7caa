//! A table of which the one who asks sees a part: some rows, some columns, some of them behind a mask.
//!
//! A view would not hide these rows: DataFusion would merge its filter with that of the query. A
//! filter of the query could then run first, and fail on a hidden row (`1 / (salary - 100)`). So
//! hidden rows are removed and masks are applied below an optimizer barrier, which no filter and no
//! statistics pass.
//!
//! Filters of the query are still pushed to the files, to skip rows, if they cannot fail and read
//! only columns without a mask.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type,
    Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ToDFSchema};
use datafusion::datasource::TableType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TableProviderFilterPushDown, Volatility, cast, ident, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use sha2::{Digest as _, Sha256};

use super::carry::carried_or_null;
use super::expression::{self, Quotients};
use super::optimizer_barrier::OptimizerBarrier;
use super::quiet::{Quiet, unfit};
use super::sql::joined_behind;
use crate::catalog::DatasetEntry;
use crate::error::{Code, Error, Result};
use crate::grants::{Mask, Part, hex, seen};

/// The word before a claim's name in a condition.
pub(crate) const CLAIM: &str = "claim";
/// Hexadecimal digits of a hash: more than any two values of a column could have in common.
const HASH_DIGITS: usize = 32;
/// Letters that a text must have for its last four to be shown.
const LAST_FOUR_OF: usize = 8;

/// A table, and what the catalogue says of it, as the one who asks sees them.
pub(super) struct Guarded {
    pub(super) table: Arc<dyn TableProvider>,
    pub(super) entry: Arc<DatasetEntry>,
}

/// Whether `part` fits a dataset as it is now. Why it does not is in the log, for whoever gives grants, and not in the error.
pub(super) fn fits(planner: &SessionContext, now: &DatasetEntry, part: &Part<'_>) -> Result<()> {
    checked(fitting(planner, now, part), now)
}

/// The same for whoever gives them, who is told why.
pub(super) fn require_fitting(
    planner: &SessionContext,
    now: &DatasetEntry,
    part: &Part<'_>,
) -> Result<()> {
    fitting(planner, now, part).map_err(|error| {
        Error::user(Code::BadInput, format!("grants: of {}: {error}", now.spec.name))
    })
}

fn fitting(planner: &SessionContext, now: &DatasetEntry, part: &Part<'_>) -> Result<()> {
    part.check(now)?;
    row_filter(planner, now, now, part).map(drop)
}

fn checked<T>(fitting: Result<T>, now: &DatasetEntry) -> Result<T> {
    let dataset = &now.spec.name;
    fitting.map_err(|error| {
        tracing::warn!(%dataset, %error, "grants do not fit a dataset");
        unfit(dataset)
    })
}

/// `table`, which is as `then` says, for one who sees `part` of what the dataset is `now`.
pub(super) fn guarded(
    planner: &SessionContext,
    table: Arc<dyn TableProvider>,
    then: &DatasetEntry,
    now: &DatasetEntry,
    part: &Part<'_>,
) -> Result<Guarded> {
    checked(part.check(now), now)?;
    let masks = part.masks_then(now, &then.spec, &then.column_ids);
    let entry = seen(then, part, &masks);
    let rows = checked(row_filter(planner, then, now, part), now)?;
    let (whole, shown) = (table.schema(), entry.spec.arrow_schema());
    let columns = whole.fields().iter().enumerate().filter_map(|(place, field)| {
        // One that is computed of a masked one is no column of the entry.
        shown.field_with_name(field.name()).ok()?;
        Some(Shown { place, field: Arc::clone(field), mask: masks.get(field.name()).copied() })
    });
    let columns: Vec<Shown> = columns.collect();
    let schema = Schema::new(columns.iter().map(|it| Arc::clone(&it.field)).collect::<Vec<_>>());
    let (schema, salt, dataset) = (Arc::new(schema), part.salt.into(), now.spec.name.clone());
    let table = Arc::new(Guard { table, schema, columns, rows, salt, dataset });
    Ok(Guarded { table, entry: Arc::new(entry) })
}

/// The condition on rows, on the columns of `then`; none where all are seen.
fn row_filter(
    planner: &SessionContext,
    then: &DatasetEntry,
    now: &DatasetEntry,
    part: &Part<'_>,
) -> Result<Option<Expr>> {
    let Some(text) = &part.grant.rows else { return Ok(None) };
    let (text, claims) = joined_behind(text, CLAIM);
    let value = |name: &String| Some((format!("{CLAIM}.{name}"), part.claims.get(name)?.value()));
    let values: Option<BTreeMap<String, ScalarValue>> = claims.iter().map(value).collect();
    let Some(values) = values else {
        // Of one of whom that is not known.
        return Ok(Some(lit(false)));
    };
    let spec = now.spec.arrow_schema();
    let claims = values.iter().map(|(name, value)| Field::new(name, value.data_type(), true));
    let fields: Vec<FieldRef> = spec.fields().iter().cloned().chain(claims.map(Arc::new)).collect();
    let schema = DFSchema::try_from(Schema::new(fields))?;
    let condition = expression::condition(planner, &schema, &text, Quotients::OfSql)?;
    for column in condition.column_refs() {
        if let Some(renamed) = now.column_ids.renamed_from(column.name(), &now.spec) {
            let name = column.name();
            let says = format!(
                "condition {text:?}: {name:?} is another column than {renamed:?}, which was called so"
            );
            return Err(Error::user(Code::Forbidden, says));
        }
    }
    let bound = condition.transform_up(|part| match part {
        Expr::Column(column) => match values.get(column.name()) {
            Some(value) => Ok(Transformed::yes(lit(value.clone()))),
            None => column_then(column, then, now),
        },
        part => Ok(Transformed::no(part)),
    })?;
    Ok(Some(bound.data))
}

/// What a column of `now` was.
fn column_then(
    column: Column,
    then: &DatasetEntry,
    now: &DatasetEntry,
) -> std::result::Result<Transformed<Expr>, DataFusionError> {
    let name = column.name();
    let Some(column) = now.spec.column(name) else {
        // A partition, which is known by its name.
        let is_there = then.spec.arrow_schema().field_with_name(name).is_ok();
        let null = || cast(lit(ScalarValue::Null), DataType::Utf8);
        return Ok(Transformed::yes(if is_there { ident(name) } else { null() }));
    };
    let was = now.column_ids.name_then(name, &then.spec, &then.column_ids);
    Ok(Transformed::yes(match was.and_then(|was| then.spec.column(was)) {
        Some(was) => carried_or_null(was, &column.data_type),
        // It came later.
        None => cast(lit(ScalarValue::Null), column.data_type.arrow_type()),
    }))
}

/// A column that is shown.
#[derive(Debug)]
struct Shown {
    /// Where it stands in the table.
    place: usize,
    field: FieldRef,
    mask: Option<Mask>,
}

/// The table.
struct Guard {
    table: Arc<dyn TableProvider>,
    schema: SchemaRef,
    columns: Vec<Shown>,
    rows: Option<Expr>,
    salt: Arc<str>,
    dataset: DatasetName,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("columns", &self.columns).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Guard {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> std::result::Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let shown: Vec<&Shown> = match projection {
            None => self.columns.iter().collect(),
            Some(places) => places.iter().filter_map(|place| self.columns.get(*place)).collect(),
        };
        let whole = self.table.schema();
        let mut read: Vec<usize> = shown.iter().map(|it| it.place).collect();
        let mut passed: Vec<Expr> = filters.to_vec();
        if let Some(rows) = &self.rows {
            for column in rows.column_refs() {
                read.push(whole.index_of(column.name())?);
            }
            let taken = self.table.supports_filters_pushdown(&[rows])?;
            let is_taken =
                taken.first().is_some_and(|it| *it != TableProviderFilterPushDown::Unsupported);
            if is_taken && can_not_fail(rows) {
                passed.push(rows.clone());
            }
        }
        read.sort_unstable();
        read.dedup();
        let limit = limit.filter(|_| passed.is_empty() && self.rows.is_none());
        let mut plan = self.table.scan(state, Some(&read), &passed, limit).await?;
        let schema = plan.schema().to_dfschema()?;
        if let Some(rows) = &self.rows {
            let condition = state.create_physical_expr(rows.clone(), &schema)?;
            let condition = Quiet { condition, dataset: self.dataset.clone() };
            plan = Arc::new(FilterExec::try_new(Arc::new(condition), plan)?);
        }
        let columns = shown.into_iter().map(|column| {
            let name = column.field.name();
            let value = match column.mask {
                None => ident(name),
                Some(mask) => Masked::call(mask, &self.salt, ident(name)),
            };
            Ok((state.create_physical_expr(value, &schema)?, name.clone()))
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, DataFusionError>>()?;
        let plan = ProjectionExec::try_new(columns, plan)?;
        Ok(OptimizerBarrier::without_statistics(Arc::new(plan)))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> std::result::Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let taken = self.table.supports_filters_pushdown(filters)?;
        let passes = |(filter, taken): (&&Expr, TableProviderFilterPushDown)| {
            let is_plain = |column: &&Column| {
                let found = self.columns.iter().find(|it| it.field.name() == column.name());
                found.is_some_and(|it| it.mask.is_none())
            };
            let passes = can_not_fail(filter) && filter.column_refs().iter().all(is_plain);
            match passes {
                true if taken != TableProviderFilterPushDown::Unsupported => {
                    TableProviderFilterPushDown::Inexact
                }
                _ => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().zip(taken).map(passes).collect())
    }
}

/// Whether a condition is true or false, or null, whatever the values of its columns are.
fn can_not_fail(filter: &Expr) -> bool {
    match filter {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Not(of) | Expr::IsNull(of) | Expr::IsNotNull(of) => can_not_fail(of),
        Expr::Between(it) => [&it.expr, &it.low, &it.high].into_iter().all(|it| can_not_fail(it)),
        Expr::InList(it) => can_not_fail(&it.expr) && it.list.iter().all(can_not_fail),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            use Operator as O;
            let compares =
                matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::And | O::Or);
            compares && can_not_fail(left) && can_not_fail(right)
        }
        _ => false,
    }
}

/// A value behind a mask.
#[derive(PartialEq, Eq, Hash)]
struct Masked {
    mask: Mask,
    salt: Arc<str>,
    signature: Signature,
}

impl fmt::Debug for Masked {
    /// Without the salt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masked").field("mask", &self.mask).finish_non_exhaustive()
    }
}

impl Masked {
    fn call(mask: Mask, salt: &Arc<str>, value: Expr) -> Expr {
        let signature = Signature::any(1, Volatility::Immutable);
        let function = Self { mask, salt: Arc::clone(salt), signature };
        ScalarUDF::new_from_impl(function).call(vec![value])
    }

    fn text(&self, text: &str) -> String {
        match self.mask {
            Mask::LastFour => {
                let letters: Vec<char> = text.chars().collect();
                let shown = match letters.len() {
                    LAST_FOUR_OF.. => &letters[letters.len() - 4..],
                    _ => &[],
                };
                std::iter::once(&'…').chain(shown).collect()
            }
            _ => {
                let mut digest = Sha256::new();
                // The length keeps another salt and text apart that are the same together.
                digest.update((self.salt.len() as u64).to_le_bytes());
                digest.update(self.salt.as_bytes());
                digest.update(text.as_bytes());
                let mut text = hex(&digest.finalize());
                text.truncate(HASH_DIGITS);
                text
            }
        }
    }

    fn apply(&self, values: &ArrayRef) -> Option<ArrayRef> {
        Some(match (self.mask, values.data_type()) {
            (Mask::Hash | Mask::LastFour, DataType::Utf8) => {
                let texts = values.as_string::<i32>().iter();
                let masked: StringArray = texts.map(|it| it.map(|it| self.text(it))).collect();
                Arc::new(masked)
            }
            (Mask::Bucket(width), DataType::Int32) => {
                let width = i64::try_from(width).ok()?;
                let begin =
                    |value: i32| i32::try_from(floor(value.into(), width)).unwrap_or(i32::MIN);
                let masked: Int32Array = values.as_primitive::<Int32Type>().unary(begin);
                Arc::new(masked)
            }
            (Mask::Bucket(width), DataType::Int64) => {
                let width = i64::try_from(width).ok()?;
                let masked: Int64Array =
                    values.as_primitive::<Int64Type>().unary(|value| floor(value, width));
                Arc::new(masked)
            }
            (Mask::Bucket(width), DataType::Float32) => {
                let width = width as f32;
                let masked: Float32Array = values
                    .as_primitive::<Float32Type>()
                    .unary(|value| (value / width).floor() * width);
                Arc::new(masked)
            }
            (Mask::Bucket(width), DataType::Float64) => {
                let width = width as f64;
                let masked: Float64Array = values
                    .as_primitive::<Float64Type>()
                    .unary(|value| (value / width).floor() * width);
                Arc::new(masked)
            }
            (Mask::Bucket(width), DataType::Decimal128(precision, scale)) => {
                let one = 10_i128.checked_pow(u32::try_from(*scale).ok()?)?;
                let width = one.checked_mul(width.into())?;
                // The least that the type has, where the range begins below it.
                let least = 1 - 10_i128.checked_pow(u32::from(*precision))?;
                let masked: Decimal128Array = values
                    .as_primitive::<Decimal128Type>()
                    .unary(|value| value.saturating_sub(value.rem_euclid(width)).max(least));
                Arc::new(masked.with_data_type(values.data_type().clone()))
            }
            (Mask::Span(micros), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
                let micros = i64::try_from(micros).ok()?;
                let masked: TimestampMicrosecondArray = values
                    .as_primitive::<TimestampMicrosecondType>()
                    .unary(|value| floor(value, micros));
                Arc::new(masked.with_timezone_opt(zone.clone()))
            }
            _ => return None,
        })
    }
}

/// The begin of the range of `width` that `value` is in; the least number there is, where that is below it.
fn floor(value: i64, width: i64) -> i64 {
    value.saturating_sub(value.rem_euclid(width))
}

impl ScalarUDFImpl for Masked {
    fn name(&self) -> &str {
        "masked"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> std::result::Result<DataType, DataFusionError> {
        kinds.first().cloned().ok_or_else(one_argument)
    }

    fn return_field_from_args(
        &self,
        arguments: ReturnFieldArgs<'_>,
    ) -> std::result::Result<FieldRef, DataFusionError> {
        arguments.arg_fields.first().cloned().ok_or_else(one_argument)
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> std::result::Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let values = arrays.first().ok_or_else(one_argument)?;
        let masked = self.apply(values).ok_or_else(|| {
            let says = format!("a mask does not fit values of type {}", values.data_type());
            DataFusionError::External(Box::new(Error::user(Code::Forbidden, says)))
        })?;
        Ok(ColumnarValue::Array(masked))
    }
}

fn one_argument() -> DataFusionError {
    DataFusionError::Internal("masked takes one argument".to_owned())
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::col;

    use super::*;

    fn masked(mask: Mask, text: &str) -> String {
        let signature = Signature::any(1, Volatility::Immutable);
        Masked { mask, salt: "0123456789abcdef".into(), signature }.text(text)
    }

    #[test]
    fn the_last_four_letters_are_those_of_a_text_that_has_more() {
        assert_eq!(masked(Mask::LastFour, "4111111111111234"), "…1234");
        assert_eq!(masked(Mask::LastFour, "äöüßÄÖÜ1"), "…ÄÖÜ1");
        for short in ["", "1234", "1234567"] {
            assert_eq!(masked(Mask::LastFour, short), "…");
        }
    }

    #[test]
    fn a_hash_tells_equal_texts_and_no_others() {
        let of = |text| masked(Mask::Hash, text);
        assert_eq!(of("a@example.org"), of("a@example.org"));
        assert_ne!(of("a@example.org"), of("b@example.org"));
        assert_eq!(of("").len(), HASH_DIGITS);
        assert!(!hex(&Sha256::digest("a")).starts_with(&of("a")));
    }

    #[test]
    fn ranges_begin_below_what_is_in_them() {
        assert_eq!((floor(250, 100), floor(-1, 100), floor(-100, 100)), (200, -100, -100));
        assert_eq!((floor(i64::MIN, 100), floor(i64::MAX, 1)), (i64::MIN, i64::MAX));
    }

    #[test]
    fn only_comparisons_can_not_fail() {
        let fails = col("a") / col("b");
        for (filter, passes) in [
            (col("a").eq(lit(1)), true),
            (
                col("a")
                    .eq(lit(1))
                    .and(col("b").is_null())
                    .or(col("c").in_list(vec![lit(1)], true)),
                true,
            ),
            (col("a").between(lit(1), lit(2)), true),
            (fails.clone().gt(lit(1)), false),
            (col("a").eq(lit(1)).and(fails.gt(lit(1))), false),
            (cast(col("a"), DataType::Int64).eq(lit(1)), false),
        ] {
            assert_eq!(can_not_fail(&filter), passes, "{filter}");
        }
    }
}
