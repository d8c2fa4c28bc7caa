//! Aggregates that look at all rows of a group at once.
//!
//! A correlation matrix or a forecast is no fold over rows: it needs them all. The rows of a group are kept as
//! they come, as Arrow arrays, merged across partitions, and handed over whole at the end. What is kept counts
//! against the query's memory.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use kernels::Execution;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::arguments::{Shared, beyond, stopped};

/// What is computed from the rows of a group.
pub(super) trait Analysis:
    Debug + Clone + PartialEq + Eq + Hash + Send + Sync + 'static
{
    /// Its options, once they are read from the query.
    type Options: Debug + Clone + Send + Sync + 'static;

    /// Name of the function.
    fn name(&self) -> &'static str;

    /// The types that arguments of the types `given` are cast to; an error says how the function is called.
    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>>;

    /// How many of the arguments, from the first, are columns; the others are options.
    fn columns(&self) -> usize;

    /// The columns of an answer, of which the function returns a list.
    fn answer(&self, given: &[DataType]) -> Result<Vec<Field>>;

    /// Reads the options.
    fn options(&self, given: &[Arc<dyn PhysicalExpr>]) -> Result<Self::Options>;

    /// Computes the answer's columns.
    fn compute(
        &self,
        columns: &[ArrayRef],
        options: &Self::Options,
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>>;
}

/// An analysis as an aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Gather<A> {
    analysis: A,
    signature: Signature,
    execution: Shared,
}

impl<A: Analysis> Gather<A> {
    pub(super) fn new(analysis: A, execution: Shared) -> Self {
        Self { analysis, signature: Signature::user_defined(Volatility::Immutable), execution }
    }
}

impl<A: Analysis> AggregateUDFImpl for Gather<A> {
    fn name(&self) -> &str {
        self.analysis.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.analysis.coerce(given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        let rows = DataType::Struct(self.analysis.answer(given)?.into());
        Ok(DataType::List(Arc::new(Field::new_list_field(rows, true))))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let columns = arguments.input_fields.iter().take(self.analysis.columns());
        Ok(columns
            .enumerate()
            .map(|(index, field)| {
                let item = Field::new_list_field(field.data_type().clone(), true);
                let name = format!("{}[{index}]", arguments.name);
                Arc::new(Field::new(name, DataType::List(Arc::new(item)), true))
            })
            .collect())
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if arguments.is_distinct {
            return plan_err!(
                "{}: DISTINCT is not taken; choose the rows in a subquery",
                self.analysis.name()
            );
        }
        let columns = self.analysis.columns();
        let types: Vec<DataType> = arguments
            .expr_fields
            .iter()
            .take(columns)
            .map(|field| field.data_type().clone())
            .collect();
        Ok(Box::new(Gathered {
            options: self.analysis.options(arguments.exprs.get(columns..).unwrap_or(&[]))?,
            analysis: self.analysis.clone(),
            execution: self.execution.clone(),
            kept: vec![Vec::new(); types.len()],
            bytes: 0,
            types,
            returns: arguments.return_field.data_type().clone(),
        }))
    }
}

/// The rows of a group so far.
#[derive(Debug)]
struct Gathered<A: Analysis> {
    analysis: A,
    options: A::Options,
    execution: Shared,
    types: Vec<DataType>,
    returns: DataType,
    kept: Vec<Vec<ArrayRef>>,
    /// What `kept` takes.
    bytes: usize,
}

/// A piece of so many values stays as it is.
const PIECE_VALUES: usize = 1 << 16;
/// Values of one array: their places are numbers of 32 bits.
const VALUES_MAX: usize = i32::MAX as usize;

impl<A: Analysis> Gathered<A> {
    /// Keeps the rows of an array that others share, and nothing else of it. Small pieces become large ones: rows may come one by one.
    fn keep(&mut self, place: usize, rows: &ArrayRef) -> Result<()> {
        if self.execution.control.is_cancelled() {
            return Err(stopped(self.analysis.name()));
        }
        let Some(kept) = self.kept.get_mut(place).filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        // With a second part, though it is empty, `concat` copies.
        let mut own = concat(&[rows.as_ref(), &new_empty_array(rows.data_type())])?;
        let (mut from, mut values) = (kept.len(), values_of(&own));
        for part in kept.iter().rev().map(values_of) {
            if part > values || part >= PIECE_VALUES {
                break;
            }
            (from, values) = (from - 1, values + part);
        }
        if from < kept.len() {
            let parts = kept.split_off(from);
            self.bytes -= parts.iter().map(|part| part.get_array_memory_size()).sum::<usize>();
            let parts: Vec<&dyn Array> = parts.iter().chain([&own]).map(AsRef::as_ref).collect();
            own = concat(&parts)?;
        }
        self.bytes += own.get_array_memory_size();
        kept.push(own);
        Ok(())
    }

    fn whole(&self) -> Result<Vec<ArrayRef>> {
        self.kept
            .iter()
            .zip(&self.types)
            .map(|(parts, data_type)| {
                let count: usize = parts.iter().map(values_of).sum();
                if count > VALUES_MAX {
                    let name = self.analysis.name();
                    return Err(beyond(format!(
                        "{name}: a group has {count} values; at most {VALUES_MAX} are taken"
                    )));
                }
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                match parts.as_slice() {
                    [] => Ok(new_empty_array(data_type)),
                    parts => Ok(concat(parts)?),
                }
            })
            .collect()
    }
}

impl<A: Analysis> Accumulator for Gathered<A> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.iter().enumerate().try_for_each(|(place, column)| self.keep(place, column))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (place, state) in states.iter().enumerate() {
            let lists = state.as_any().downcast_ref::<ListArray>().ok_or_else(|| {
                internal_datafusion_err!(
                    "{}: the state is {}",
                    self.analysis.name(),
                    state.data_type()
                )
            })?;
            for rows in lists.iter().flatten() {
                self.keep(place, &rows)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let whole = self.whole()?;
        Ok(whole.into_iter().map(|column| ScalarValue::List(Arc::new(one_list(column)))).collect())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let rows = self.whole()?;
        // Of many groups each takes its time.
        if self.execution.control.is_cancelled() {
            return Err(stopped(self.analysis.name()));
        }
        let compute = || self.analysis.compute(&rows, &self.options, &self.execution);
        // Others go on meanwhile, where there are threads for them.
        let columns = match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(compute)?,
            _ => compute()?,
        };
        let DataType::List(item) = &self.returns else {
            return Err(internal_datafusion_err!("{} returns no list", self.analysis.name()));
        };
        let DataType::Struct(fields) = item.data_type() else {
            return Err(internal_datafusion_err!("{} returns no rows", self.analysis.name()));
        };
        let rows = arrow::array::StructArray::try_new(fields.clone(), columns, None)?;
        Ok(ScalarValue::List(Arc::new(one_list(Arc::new(rows)))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}

/// How many values an array holds, of lists and texts those within.
fn values_of(column: &ArrayRef) -> usize {
    let inner = |offsets: &[i32]| match offsets {
        [first, .., last] => usize::try_from(last - first).unwrap_or(0),
        _ => 0,
    };
    let inner = match column.data_type() {
        DataType::List(_) => inner(column.as_list::<i32>().value_offsets()),
        DataType::Utf8 => inner(column.as_string::<i32>().value_offsets()),
        DataType::Binary => inner(column.as_binary::<i32>().value_offsets()),
        _ => 0,
    };
    inner.max(column.len())
}

/// A list array of one list.
fn one_list(rows: ArrayRef) -> ListArray {
    let field = Arc::new(Field::new_list_field(rows.data_type().clone(), true));
    ListArray::new(field, OffsetBuffer::from_lengths([rows.len()]), rows, None)
}
