//! What is computed of groups.

use datasets::ColumnType;

use super::measures::Measure;
use crate::shape::Shape;

/// What is computed of a group, over the rows that one of the filters takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Computed {
    /// What.
    pub of: Measured,
    /// The filter, as a position among those of the request.
    pub filter: Option<usize>,
}

/// What groups are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Measured {
    /// The number of rows.
    Rows,
    /// A column.
    Column {
        /// How.
        measure: &'static Measure,
        /// The column, as a position in the shape.
        column: usize,
        /// The other column of a measure of two.
        with: Option<usize>,
    },
    /// What the spec declares, by its place among the measures of the shape.
    Declared(usize),
}

impl Computed {
    /// The rows that a filter takes, counted.
    pub(crate) fn rows(filter: Option<usize>) -> Self {
        Self { of: Measured::Rows, filter }
    }

    /// What the spec declares, over the rows that a filter takes.
    pub(crate) fn declared(number: usize, filter: Option<usize>) -> Self {
        Self { of: Measured::Declared(number), filter }
    }

    /// The column of a plan that has it.
    pub(crate) fn name(&self) -> String {
        let filter = self.filter.map(|filter| format!("_{filter}")).unwrap_or_default();
        match self.of {
            Measured::Rows => format!("_count_0{filter}"),
            Measured::Declared(number) => format!("_declared_{number}{filter}"),
            Measured::Column { measure, column, with } => {
                let with = with.map(|with| format!("_with_{with}")).unwrap_or_default();
                format!("_{}_{column}{with}{filter}", measure.field)
            }
        }
    }

    /// The type of its values.
    pub(crate) fn result(&self, shape: &Shape) -> Option<ColumnType> {
        match self.of {
            Measured::Rows => Some(ColumnType::Int64),
            Measured::Declared(number) => shape.measures.get(number).map(|it| it.kind().clone()),
            Measured::Column { measure, column, .. } => {
                measure.family.result(shape, shape.at(column))
            }
        }
    }
}
