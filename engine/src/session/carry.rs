//! The columns of one version as those of another: under other names, of other types, or not there yet.

use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
    ident, lit,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray};
use arrow::datatypes::{DataType, Field};
use datasets::conform::Carry;
use datasets::spec::TYPE_METADATA_KEY;
use datasets::{ColumnSpec, ColumnType};

use crate::catalog::DatasetEntry;
use crate::error::{Code, Error, Result};

/// `frame`, which has the columns of `then`, with those of `now`: one that came later is null.
pub(super) fn with_columns_of(
    frame: DataFrame,
    then: &DatasetEntry,
    now: &DatasetEntry,
) -> Result<DataFrame> {
    let schema = now.spec.arrow_schema();
    let columns = schema.fields().iter().map(|field| {
        let name = field.name();
        let column = match now.spec.column(name) {
            Some(column) => {
                let was = now.column_ids.name_then(name, &then.spec, &then.column_ids);
                was.and_then(|was| then.spec.column(was)).map(|was| carried(was, &column.data_type))
            }
            // One that is computed is known by its name.
            None => frame.schema().has_column_with_unqualified_name(name).then(|| ident(name)),
        };
        let null = || cast(lit(ScalarValue::Null), field.data_type().clone());
        column.unwrap_or_else(null).alias(name)
    });
    let columns: Vec<Expr> = columns.collect();
    Ok(frame.select(columns)?)
}

/// A column as one of type `to`; fails where a value would be another one.
pub(crate) fn carried(column: &ColumnSpec, to: &ColumnType) -> Expr {
    if column.data_type == *to {
        return ident(&column.name);
    }
    Carries::call(Asked::Values, ident(&column.name), &column.name, Some(&column.data_type), to)
}

/// A column of another writer's table as what it is taken for.
pub(super) fn alike(column: Expr, name: &str, to: &ColumnType) -> Expr {
    Carries::call(Asked::Alike, column, name, None, to)
}

/// The same, null where a value would be another one.
pub(crate) fn carried_or_null(column: &ColumnSpec, to: &ColumnType) -> Expr {
    if column.data_type == *to {
        return ident(&column.name);
    }
    Carries::call(Asked::OrNull, ident(&column.name), &column.name, Some(&column.data_type), to)
}

/// Whether a value of a column stays the same as one of type `to`.
pub(crate) fn fits(column: &ColumnSpec, to: &ColumnType) -> Expr {
    Carries::call(Asked::Fits, ident(&column.name), &column.name, Some(&column.data_type), to)
}

/// Whether some values of a column could be of type `to`.
pub(crate) fn has_way(column: &ColumnSpec, to: &ColumnType) -> bool {
    Carry::new(&column.field(), to).is_some()
}

/// Values of a column as those of another type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Carries {
    signature: Signature,
    column: String,
    from: String,
    to: String,
    asked: Asked,
}

/// What is asked of the way from one type to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    /// The values; one that would be another fails.
    Values,
    /// The values; null instead of one that would be another.
    OrNull,
    /// The values, where the types are one, and only what they call their parts is another.
    Alike,
    /// Which values stay what they are.
    Fits,
}

impl Carries {
    /// The call for `values`, those of `column`, of which the spec says type `from` where it has one.
    fn call(
        asked: Asked,
        values: Expr,
        column: &str,
        from: Option<&ColumnType>,
        to: &ColumnType,
    ) -> Expr {
        let function = ScalarUDF::new_from_impl(Self {
            signature: Signature::any(1, Volatility::Immutable),
            column: column.to_owned(),
            from: from.map(ColumnType::to_string).unwrap_or_default(),
            to: to.to_string(),
            asked,
        });
        function.call(vec![values])
    }

    fn to(&self) -> Result<ColumnType, DataFusionError> {
        self.to.parse().map_err(|e| DataFusionError::External(Box::new(Error::from(e))))
    }
}

impl ScalarUDFImpl for Carries {
    fn name(&self) -> &str {
        match self.asked {
            Asked::Fits => "fits_type",
            Asked::OrNull => "as_type_or_null",
            Asked::Values | Asked::Alike => "as_type",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(match self.asked {
            Asked::Fits => DataType::Boolean,
            Asked::Values | Asked::OrNull | Asked::Alike => self.to()?.arrow_type(),
        })
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [values] = arrays.as_slice() else {
            return Err(DataFusionError::Internal("as_type takes one argument".to_owned()));
        };
        let ours = |e: Error| DataFusionError::External(Box::new(e));
        let stated = [(TYPE_METADATA_KEY.to_owned(), self.from.clone())].into();
        let field = Field::new(&self.column, values.data_type().clone(), true);
        let way = match self.asked {
            Asked::Alike => Carry::alike,
            Asked::Values | Asked::OrNull | Asked::Fits => Carry::new,
        };
        let carry = way(&field.with_metadata(stated), &self.to()?).ok_or_else(|| {
            let (column, from, to) = (&self.column, &self.from, &self.to);
            let says = format!("column {column:?} was {from}, which can not be shown as {to}");
            ours(Error::user(Code::BadInput, says))
        })?;
        let (carried, unfit) = carry.apply(values, &self.column).map_err(|e| ours(e.into()))?;
        if self.asked == Asked::Fits {
            let fits = (0..values.len()).map(|row| Some(unfit.get(row).is_none()));
            return Ok(ColumnarValue::Array(Arc::new(fits.collect::<BooleanArray>())));
        }
        let first = (0..values.len()).find_map(|row| unfit.get(row));
        match first.filter(|_| self.asked != Asked::OrNull) {
            None => Ok(ColumnarValue::Array(carried)),
            Some(first) => {
                let says = format!("column {}", first.reason);
                Err(ours(Error::user(Code::BadInput, says)))
            }
        }
    }
}
