//! Expressions that rows may fail, such as a cast of a text that is no number. A query fails with the first of them; what is kept of many
//! writers' rows must not. Here such a row has no value, and is counted.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::Utc;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema};
use datafusion::error::{DataFusionError, Result as OfQuery};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, ident,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use parking_lot::Mutex;

use super::whole::exact;
use crate::error::{Code, Error, Result};
use crate::functions::{RESULT_BYTES_MAX, SAFE_DIVIDE, widened};

/// Rows of which each is looked at by itself where one of them can't be computed.
const ALONE_MAX: usize = 32;

/// Rows that something could not be computed of, by what it is.
#[derive(Debug, Default)]
pub struct Uncomputed(Mutex<BTreeMap<String, (u64, String)>>);

impl Uncomputed {
    /// What could not be computed, of how many of the rows that it was asked of, and why not of the first of them.
    pub fn told(&self) -> Vec<(String, u64, String)> {
        let rows = self.0.lock();
        rows.iter().map(|(of, (count, because))| (of.clone(), *count, because.clone())).collect()
    }

    /// Of what is read several times the rows count once.
    fn note(&self, of: &Expr, rows: u64, error: &Error) {
        let mut all = self.0.lock();
        let known = all.entry(of.human_display().to_string());
        let (most, _) = known.or_insert_with(|| (0, error.to_string()));
        *most = rows.max(*most);
    }
}

/// `expression`, null of rows that it can't be computed of. What no row fails stays as it is, and so can be asked of files.
pub(super) fn or_null(
    state: &SessionState,
    expression: Expr,
    schema: &DFSchema,
    uncomputed: &Arc<Uncomputed>,
) -> Result<Expr> {
    let simplify = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_query_execution_start_time(Some(Utc::now()))
        .build();
    let simplifier = ExprSimplifier::new(simplify);
    let expression = exact(simplifier.coerce(expression, schema)?, schema)?.data;
    let expression = simplifier.simplify(expression)?;
    let mut parts =
        split_conjunction_owned(expression).into_iter().map(|part| {
            match never_fails(&part, schema)? {
                true => Ok(part),
                false => wrapped(state, part, schema, uncomputed),
            }
        });
    let first = parts.next().unwrap_or_else(|| Err(Error::internal("an expression of no parts")));
    parts.try_fold(first?, |all, part| Ok(all.and(part?)))
}

/// An aggregate that no row fails: what it takes of a row that it can't be computed of is null, and sums of whole numbers have room for all
/// of them, as decimals of 38 digits.
pub(super) fn aggregate_or_null(
    state: &SessionState,
    aggregate: Expr,
    schema: &DFSchema,
    uncomputed: &Arc<Uncomputed>,
) -> Result<Expr> {
    let Expr::AggregateFunction(mut call) = widened(aggregate, schema) else {
        return Err(Error::internal("or_null: expected an aggregate"));
    };
    let of_row = |of: &mut Expr| {
        *of = or_null(state, std::mem::take(of), schema, uncomputed)?;
        Ok::<_, Error>(())
    };
    call.params.args.iter_mut().try_for_each(of_row)?;
    if let Some(filter) = &mut call.params.filter {
        of_row(filter)?;
    }
    Ok(Expr::AggregateFunction(call))
}

/// Whether no row fails it, as far as its parts tell.
fn never_fails(expression: &Expr, schema: &DFSchema) -> Result<bool> {
    let is_float = |of: &Expr| of.get_type(schema).is_ok_and(|kind| kind.is_floating());
    let is_number = |of: &Expr| of.get_type(schema).is_ok_and(|kind| kind.is_numeric());
    let mut never = true;
    expression.apply(|part| {
        let is_sure = match part {
            Expr::Column(_) | Expr::Literal(..) | Expr::Not(_) | Expr::Between(_) => true,
            Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsFalse(_) => true,
            Expr::IsUnknown(_) | Expr::IsNotTrue(_) | Expr::IsNotFalse(_) => true,
            Expr::IsNotUnknown(_) | Expr::InList(_) | Expr::Case(_) => true,
            Expr::Like(like) => matches!(like.pattern.as_ref(), Expr::Literal(..)),
            Expr::BinaryExpr(of) => match of.op {
                Operator::And | Operator::Or | Operator::Eq | Operator::NotEq => true,
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => true,
                Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => true,
                Operator::Plus | Operator::Minus | Operator::Multiply => {
                    is_float(&of.left) && is_float(&of.right)
                }
                _ => false,
            },
            Expr::Cast(of) => *of.field.data_type() == DataType::Float64 && is_number(&of.expr),
            Expr::ScalarFunction(call) => call.name() == SAFE_DIVIDE,
            _ => false,
        };
        never &= is_sure;
        Ok(if is_sure { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(never)
}

fn wrapped(
    state: &SessionState,
    expression: Expr,
    schema: &DFSchema,
    uncomputed: &Arc<Uncomputed>,
) -> Result<Expr> {
    let mut columns: Vec<_> = expression.column_refs().into_iter().cloned().collect();
    if columns.is_empty() {
        return Ok(expression);
    }
    columns.sort_unstable();
    let field = |column| Ok::<_, Error>(schema.field_from_column(column)?.as_ref().clone());
    let fields = columns.iter().map(field).collect::<Result<Vec<Field>>>()?;
    let fields: Vec<Field> = fields.into_iter().map(|field| field.with_nullable(true)).collect();
    let kind = expression.get_type(schema)?;
    let arguments = columns.into_iter().map(Expr::Column).collect::<Vec<_>>();
    let by_name = expression.clone().transform_up(|part| {
        Ok(match part {
            Expr::Column(column) => Transformed::yes(ident(column.name)),
            part => Transformed::no(part),
        })
    })?;
    let fields = Arc::new(Schema::new(fields));
    let columns = DFSchema::try_from(fields.as_ref().clone())?;
    let function = ScalarUDF::new_from_impl(OrNull {
        computed: state.create_physical_expr(by_name.data, &columns)?,
        signature: Signature::any(arguments.len(), Volatility::Immutable),
        uncomputed: Arc::clone(uncomputed),
        failed: AtomicU64::new(0),
        expression,
        fields,
        kind,
    });
    Ok(function.call(arguments))
}

/// The value of an expression of some columns, or null.
#[derive(Debug)]
struct OrNull {
    expression: Expr,
    computed: Arc<dyn PhysicalExpr>,
    fields: SchemaRef,
    kind: DataType,
    signature: Signature,
    uncomputed: Arc<Uncomputed>,
    /// Rows that it failed of so far.
    failed: AtomicU64,
}

impl PartialEq for OrNull {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
            && self.fields == other.fields
            && Arc::ptr_eq(&self.uncomputed, &other.uncomputed)
    }
}

impl Eq for OrNull {}

impl Hash for OrNull {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

impl ScalarUDFImpl for OrNull {
    fn name(&self) -> &str {
        "or_null"
    }

    fn schema_name(&self, _: &[Expr]) -> OfQuery<String> {
        Ok(self.expression.schema_name().to_string())
    }

    fn display_name(&self, _: &[Expr]) -> OfQuery<String> {
        Ok(self.expression.to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> OfQuery<DataType> {
        Ok(self.kind.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> OfQuery<ColumnarValue> {
        let rows = arguments.number_rows;
        let column = |(of, field): (&ColumnarValue, &Arc<Field>)| {
            let array = of.to_array(rows)?;
            OfQuery::Ok(match array.data_type() == field.data_type() {
                true => array,
                false => cast(&array, field.data_type())?,
            })
        };
        let columns = arguments.args.iter().zip(self.fields.fields()).map(column);
        let columns = columns.collect::<OfQuery<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.fields), columns, &options)?;
        let mut because = None;
        let mut rows = 0;
        let mut failed = |_, error: &Error| {
            rows += 1;
            because.get_or_insert_with(|| error.clone());
        };
        let values = evaluate_or_null(self.computed.as_ref(), &batch, &mut failed)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        if let Some(because) = because {
            let all = self.failed.fetch_add(rows, Ordering::Relaxed) + rows;
            self.uncomputed.note(&self.expression, all, &because);
        }
        Ok(ColumnarValue::Array(values))
    }
}

/// The values of an expression of all rows of `batch`, null of those that it can't be computed of. `failed` hears which, and why.
pub fn evaluate_or_null(
    expression: &dyn PhysicalExpr,
    batch: &RecordBatch,
    failed: &mut dyn FnMut(usize, &Error),
) -> Result<ArrayRef> {
    let mut found = Found::default();
    halves(expression, batch, 0, &mut found, failed)?;
    let parts: Vec<&dyn Array> = found.parts.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parts)?)
}

/// Values of some of the rows, and their bytes.
#[derive(Default)]
struct Found {
    parts: Vec<ArrayRef>,
    bytes: u64,
}

impl Found {
    /// Parts that are small enough each are not to be larger together than a whole may be.
    fn add(&mut self, values: ArrayRef) -> Result<()> {
        self.bytes += values.get_array_memory_size() as u64;
        self.parts.push(values);
        if self.bytes <= RESULT_BYTES_MAX {
            return Ok(());
        }
        let says = format!(
            "an expression makes more than {RESULT_BYTES_MAX} bytes of some thousand rows; expected less"
        );
        Err(Error::user(Code::LimitExceeded, says))
    }
}

/// The values of `batch`, whose first row is the one numbered `first`; where some fail, of its halves.
fn halves(
    expression: &dyn PhysicalExpr,
    batch: &RecordBatch,
    first: usize,
    found: &mut Found,
    failed: &mut dyn FnMut(usize, &Error),
) -> Result<()> {
    let rows = batch.num_rows();
    let values = expression.evaluate(batch).and_then(|values| values.into_array(rows));
    let error = match values {
        Ok(values) => {
            return found.add(values);
        }
        Err(error) => Error::from(error),
    };
    // None of these is of a row.
    if matches!(error.code(), Code::Cancelled | Code::ResourcesExhausted | Code::Internal) {
        return Err(error);
    }
    if rows <= 1 {
        failed(first, &error);
        return found.add(new_null_array(&expression.data_type(&batch.schema())?, rows));
    }
    // Of few rows each by itself: where many fail, halves of halves do as well.
    let size = if rows <= ALONE_MAX { 1 } else { rows / 2 };
    let mut at = 0;
    while at < rows {
        let count = size.min(rows - at);
        halves(expression, &batch.slice(at, count), first + at, found, failed)?;
        at += count;
    }
    Ok(())
}
