//! Casts and constants that copy values which rows share, with a bound.
//!
//! A view or a key of a dictionary takes a few bytes for each row, and the text that a cast makes of it takes all of its bytes. So
//! does a nested value as text. The result of a subquery is one value that operators repeat for each row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::format::DEFAULT_CAST_OPTIONS;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::memory::Memory;
use super::sizes::{NUMBER_BYTES, Sizes};
use super::slices::{Bound, call_bounded, spread};
use super::widths::is_shared;

/// What is done with the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Copy {
    /// It is cast, to null where `or_null` and it cannot be.
    Cast { to: FieldRef, or_null: bool },
    /// It stays as it is.
    Constant,
}

#[derive(Clone, Debug)]
pub(super) struct Copies {
    copy: Copy,
    /// The expression as a query shows it.
    shown: String,
    signature: Signature,
    memory: Memory,
}

/// Whether a cast may write more bytes than it reads. It does so for values that rows share, and
/// for nested values that become text.
pub(super) fn copies(from: &DataType, to: &DataType) -> bool {
    from != to && is_long(to) && (is_shared(from) || from.is_nested())
}

/// A call that casts `value`, with a bound on its result. Plans show the call as `shown`.
pub(super) fn bounded_cast(
    value: Expr,
    to: FieldRef,
    or_null: bool,
    shown: String,
    memory: &Memory,
) -> Expr {
    call(Copy::Cast { to, or_null }, value, shown, memory)
}

/// The result of a subquery of type `of`, with a bound. `None` if all values of the type are short.
pub(super) fn bounded_constant(subquery: &Expr, of: &DataType, memory: &Memory) -> Option<Expr> {
    let shown = subquery.schema_name().to_string();
    is_long(of).then(|| call(Copy::Constant, subquery.clone(), shown, memory))
}

/// The subquery of a bounded constant; anything else as it is. A comparison repeats no constant.
pub(super) fn without_bound(expression: Expr) -> Expr {
    match expression {
        Expr::ScalarFunction(mut call)
            if call
                .func
                .inner()
                .downcast_ref::<Copies>()
                .is_some_and(|of| of.copy == Copy::Constant)
                && call.args.len() == 1 =>
        {
            call.args.remove(0)
        }
        other => other,
    }
}

fn call(copy: Copy, value: Expr, shown: String, memory: &Memory) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let copies = Copies { copy, shown, signature, memory: memory.clone() };
    ScalarUDF::new_from_impl(copies).call(vec![value])
}

/// Whether values of a type may be long.
pub(super) fn is_long(of: &DataType) -> bool {
    of.is_nested()
        || is_shared(of)
        || matches!(
            of,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary
        )
}

/// Bytes of the field names in the text of one value.
fn names_bytes(of: &DataType) -> u64 {
    match of {
        DataType::Struct(fields) => fields
            .iter()
            .map(|field| field.name().len() as u64 + names_bytes(field.data_type()) + 4)
            .fold(0, u64::saturating_add),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => names_bytes(item.data_type()),
        DataType::Dictionary(_, value) => names_bytes(value),
        _ => 0,
    }
}

impl Copies {
    /// The same call, whose results count against `memory`.
    pub(super) fn within(&self, memory: &Memory) -> Self {
        Self { memory: memory.clone(), ..self.clone() }
    }
}

// The memory is not compared: it is the query's, or will be.
impl PartialEq for Copies {
    fn eq(&self, other: &Self) -> bool {
        self.copy == other.copy && self.shown == other.shown
    }
}

impl Eq for Copies {}

impl Hash for Copies {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.copy.hash(state);
        self.shown.hash(state);
    }
}

impl ScalarUDFImpl for Copies {
    fn name(&self) -> &str {
        match self.copy {
            Copy::Cast { .. } => "CAST",
            Copy::Constant => "subquery",
        }
    }

    fn schema_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.shown.clone())
    }

    fn display_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.shown.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        match (&self.copy, of) {
            (Copy::Cast { to, .. }, _) => Ok(to.data_type().clone()),
            (Copy::Constant, [of, ..]) => Ok(of.clone()),
            (Copy::Constant, []) => Err(exec_datafusion_err!("a constant without a value")),
        }
    }

    fn return_field_from_args(&self, of: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let Some(value) = of.arg_fields.first() else {
            return Err(exec_datafusion_err!("{}: no value", self.shown));
        };
        Ok(match &self.copy {
            Copy::Cast { to, or_null } => {
                let is_nullable = *or_null || value.is_nullable();
                Arc::new(Field::new(&self.shown, to.data_type().clone(), is_nullable))
            }
            Copy::Constant => Arc::clone(value),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = arguments.args.as_slice() else {
            return Err(exec_datafusion_err!("{}: expected one value", self.shown));
        };
        let (to, or_null) = match &self.copy {
            Copy::Constant => {
                return spread(self.name(), &self.memory, value.clone(), arguments.number_rows);
            }
            Copy::Cast { to, or_null } => (to.data_type(), *or_null),
        };
        let (bytes, values) = (Sizes::bytes(value), Sizes::values(value)?);
        let names = names_bytes(&value.data_type());
        let bound = Bound::of(&arguments, false, |row| {
            let each = values.at(row).saturating_add(1).saturating_mul(NUMBER_BYTES);
            // The text of a list of structs repeats the field names for each item.
            let names = names.saturating_mul(values.at(row).max(1));
            bytes.at(row).saturating_add(each).saturating_add(names)
        });
        let mut options = DEFAULT_CAST_OPTIONS;
        options.safe = or_null;
        call_bounded(self.name(), &self.memory, &bound, arguments, |arguments| {
            match arguments.args.first() {
                Some(value) => value.cast_to(to, Some(&options)),
                None => Err(exec_datafusion_err!("{}: no value", self.shown)),
            }
        })
    }
}
