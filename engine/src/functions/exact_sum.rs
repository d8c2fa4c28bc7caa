//! `sum` of whole numbers and decimals in 128 bits, which fails where the sum does not fit its type. Of anything else it is DataFusion's.

use std::mem::size_of_val;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Decimal128Type, DecimalType, Field, FieldRef, Int64Type, UInt64Type,
};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, ExprSchemable,
    GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature, cast,
};

use crate::error::{Code, Error, type_in_words};

/// Digits of a decimal of 128 bits.
const DIGITS_MAX: u8 = 38;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExactSum {
    function: Arc<AggregateUDF>,
    /// Whether whole numbers become a decimal, which all sums of them fit.
    is_wide: bool,
}

/// What is widened.
const WIDE_SUM_OF: &str = "sum";

static WIDE_SUM: LazyLock<AggregateUDF> = LazyLock::new(|| {
    AggregateUDF::new_from_impl(ExactSum { is_wide: true, ..ExactSum::new(sum_udaf()) })
});

/// The sum of whole numbers, as a decimal of 38 digits.
pub fn wide_sum(of: Expr) -> Expr {
    WIDE_SUM.call(vec![cast(of, DataType::Int64)])
}

/// `aggregate`, if it is a sum of whole numbers, as the sum that has room for all of them.
pub(crate) fn widened(aggregate: Expr, schema: &DFSchema) -> Expr {
    match aggregate {
        Expr::AggregateFunction(mut call)
            if call.func.name() == WIDE_SUM_OF && !call.params.distinct =>
        {
            let is_whole = |of: &Expr| of.get_type(schema).is_ok_and(|kind| kind.is_integer());
            if let [of] = &mut call.params.args[..]
                && is_whole(of)
            {
                *of = cast(std::mem::take(of), DataType::Int64);
                call.func = Arc::new(WIDE_SUM.clone());
            }
            Expr::AggregateFunction(call)
        }
        other => other,
    }
}

impl ExactSum {
    /// From DataFusion's own.
    pub(crate) fn new(function: Arc<AggregateUDF>) -> Self {
        Self { function, is_wide: false }
    }
}

/// Whether sums of this type are ours.
fn is_exact(kind: &DataType) -> bool {
    matches!(kind, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(_, _))
}

/// What is kept of a sum that is not at its end.
fn state_type(kind: &DataType) -> DataType {
    let scale = if let DataType::Decimal128(_, scale) = kind { *scale } else { 0 };
    DataType::Decimal128(DIGITS_MAX, scale)
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        if self.is_wide { "wide_sum" } else { self.function.name() }
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        if self.is_wide { Ok(state_type(&DataType::Int64)) } else { self.function.return_type(of) }
    }

    fn accumulator(&self, of: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !is_exact(of.return_field.data_type()) {
            return self.function.accumulator(of);
        }
        let kind = of.return_field.data_type().clone();
        Ok(match of.is_distinct {
            true => Box::new(SumOfDifferent { kind, different: self.function.accumulator(of)? }),
            false => Box::new(Sum { kind, sum: 0, count: 0 }),
        })
    }

    fn create_sliding_accumulator(&self, of: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match of.is_distinct || !is_exact(of.return_field.data_type()) {
            true => self.function.create_sliding_accumulator(of),
            false => self.accumulator(of),
        }
    }

    fn state_fields(&self, of: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if of.is_distinct || !is_exact(of.return_field.data_type()) {
            return self.function.state_fields(of);
        }
        let (name, kind) = (format_state_name(of.name, "sum"), state_type(of.return_type()));
        Ok(vec![Arc::new(Field::new(name, kind, true))])
    }

    fn groups_accumulator_supported(&self, of: AccumulatorArgs<'_>) -> bool {
        self.function.groups_accumulator_supported(of)
    }

    fn create_groups_accumulator(
        &self,
        of: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let kind = of.return_field.data_type().clone();
        match is_exact(&kind) {
            true => Ok(Box::new(Sums { kind, sums: Vec::new(), has_some: Vec::new() })),
            false => self.function.create_groups_accumulator(of),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, of: &DataType) -> SetMonotonicity {
        self.function.inner().set_monotonicity(of)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

fn too_large(kind: &DataType) -> DataFusionError {
    let instead = match kind {
        DataType::Decimal128(_, _) => "as floats they go further: CAST(… AS DOUBLE)",
        _ => "as decimals they go further: CAST(… AS DECIMAL(38, 0))",
    };
    let says = format!("sum: the sum is no {}; {instead}", type_in_words(kind));
    DataFusionError::External(Box::new(Error::user(Code::BadInput, says)))
}

fn plus(sum: i128, value: i128, kind: &DataType) -> Result<i128> {
    sum.checked_add(value).ok_or_else(|| too_large(kind))
}

/// The values of a column, or what was kept of sums of it, with their places.
fn each(values: &ArrayRef, mut of: impl FnMut(usize, i128) -> Result<()>) -> Result<()> {
    fn of_type<T: ArrowPrimitiveType<Native: Into<i128>>>(
        values: &PrimitiveArray<T>,
        mut of: impl FnMut(usize, i128) -> Result<()>,
    ) -> Result<()> {
        if values.null_count() == 0 {
            let mut values = values.values().iter().enumerate();
            return values.try_for_each(|(row, &value)| of(row, value.into()));
        }
        let mut values = values.iter().enumerate();
        values.try_for_each(|(row, value)| value.map_or(Ok(()), |value| of(row, value.into())))
    }
    match values.data_type() {
        DataType::Int64 => of_type(values.as_primitive::<Int64Type>(), &mut of),
        DataType::UInt64 => of_type(values.as_primitive::<UInt64Type>(), &mut of),
        DataType::Decimal128(_, _) => of_type(values.as_primitive::<Decimal128Type>(), &mut of),
        other => Err(DataFusionError::Internal(format!("sum of 128 bits of {other}"))),
    }
}

fn first(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    columns.first().ok_or_else(|| DataFusionError::Internal("sum of no column".to_owned()))
}

/// Sums of `kind`.
fn finished(kind: &DataType, sums: &[i128], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    fn narrow<T: ArrowPrimitiveType<Native: TryFrom<i128>>>(
        kind: &DataType,
        sums: &[i128],
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let narrow = |&sum| T::Native::try_from(sum).map_err(|_| too_large(kind));
        let sums = sums.iter().map(narrow).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(PrimitiveArray::<T>::new(sums.into(), nulls)))
    }
    match kind {
        DataType::Int64 => narrow::<Int64Type>(kind, sums, nulls),
        DataType::UInt64 => narrow::<UInt64Type>(kind, sums, nulls),
        DataType::Decimal128(precision, scale) => {
            for &sum in sums {
                Decimal128Type::validate_decimal_precision(sum, *precision, *scale)
                    .map_err(|_| too_large(kind))?;
            }
            decimals(sums.to_vec(), kind.clone(), nulls)
        }
        other => Err(DataFusionError::Internal(format!("sum of 128 bits as {other}"))),
    }
}

fn decimals(sums: Vec<i128>, kind: DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    Ok(Arc::new(Decimal128Array::new(sums.into(), nulls).with_data_type(kind)))
}

/// One sum.
#[derive(Debug)]
struct Sum {
    kind: DataType,
    sum: i128,
    count: u64,
}

impl Sum {
    fn one(&self, array: ArrayRef) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&array, 0)
    }

    fn nulls(&self) -> Option<NullBuffer> {
        (self.count == 0).then(|| NullBuffer::new_null(1))
    }
}

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Self { kind, sum, count } = self;
        each(first(values)?, |_, value| {
            *sum = plus(*sum, value, kind)?;
            *count += 1;
            Ok(())
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Self { kind, sum, count } = self;
        each(first(values)?, |_, value| {
            *sum = sum.checked_sub(value).ok_or_else(|| too_large(kind))?;
            *count -= 1;
            Ok(())
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.one(finished(&self.kind, &[self.sum], self.nulls())?)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.one(decimals(vec![self.sum], state_type(&self.kind), self.nulls())?)?])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of all different values, which DataFusion's own gathers.
#[derive(Debug)]
struct SumOfDifferent {
    kind: DataType,
    different: Box<dyn Accumulator>,
}

impl Accumulator for SumOfDifferent {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.different.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.different.merge_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = Sum { kind: self.kind.clone(), sum: 0, count: 0 };
        for state in self.different.state()? {
            let lists = state.to_array()?;
            sum.update_batch(&[Arc::clone(lists.as_list::<i32>().values())])?;
        }
        sum.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.different.state()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.different.size()
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct Sums {
    kind: DataType,
    sums: Vec<i128>,
    has_some: Vec<bool>,
}

impl Sums {
    fn taken(&mut self, of: EmitTo) -> (Vec<i128>, Option<NullBuffer>) {
        let sums = of.take_needed(&mut self.sums);
        let has_some = of.take_needed(&mut self.has_some);
        (sums, Some(NullBuffer::from(has_some)).filter(|nulls| nulls.null_count() > 0))
    }
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.sums.resize(count, 0);
        self.has_some.resize(count, false);
        let Self { kind, sums, has_some } = self;
        let outside = || DataFusionError::Internal("sum: a group that is none".to_owned());
        each(first(values)?, |row, value| {
            if filter.is_some_and(|filter| filter.is_null(row) || !filter.value(row)) {
                return Ok(());
            }
            let &group = groups.get(row).ok_or_else(outside)?;
            let sum = sums.get_mut(group).ok_or_else(outside)?;
            *sum = plus(*sum, value, kind)?;
            *has_some.get_mut(group).ok_or_else(outside)? = true;
            Ok(())
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.update_batch(states, groups, None, count)
    }

    fn evaluate(&mut self, of: EmitTo) -> Result<ArrayRef> {
        let (sums, nulls) = self.taken(of);
        finished(&self.kind, &sums, nulls)
    }

    fn state(&mut self, of: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, nulls) = self.taken(of);
        Ok(vec![decimals(sums, state_type(&self.kind), nulls)?])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = first(values)?;
        let (mut sums, mut has_some) = (vec![0; values.len()], vec![false; values.len()]);
        each(values, |row, value| {
            let is_asked = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if is_asked
                && let (Some(sum), Some(has_some)) = (sums.get_mut(row), has_some.get_mut(row))
            {
                (*sum, *has_some) = (value, true);
            }
            Ok(())
        })?;
        Ok(vec![decimals(sums, state_type(&self.kind), Some(NullBuffer::from(has_some)))?])
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self.sums.capacity() * size_of::<i128>()
            + self.has_some.capacity() * size_of::<bool>()
    }
}
