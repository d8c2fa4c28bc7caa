//! A condition that says nothing of the values that it fails at.
//!
//! The condition of a grant is held against rows that the one who asks does not see. `CAST(code AS INT) < 5` would fail at one of
//! them with its text, and which row that is the one who asks could choose.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datasets::DatasetName;

use crate::error::{Code, Error};

/// The condition, and whose grant it is of.
#[derive(Debug, Eq)]
pub(super) struct Quiet {
    pub(super) condition: Arc<dyn PhysicalExpr>,
    pub(super) dataset: DatasetName,
}

impl PartialEq for Quiet {
    fn eq(&self, other: &Self) -> bool {
        self.condition.eq(&other.condition) && self.dataset == other.dataset
    }
}

impl Hash for Quiet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.condition.hash(state);
        self.dataset.hash(state);
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "granted({})", self.dataset)
    }
}

impl PhysicalExpr for Quiet {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.condition.evaluate(batch).map_err(|error| {
            let dataset = &self.dataset;
            tracing::warn!(%dataset, %error, "a condition on rows fails at one of them");
            DataFusionError::External(Box::new(unfit(dataset)))
        })
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.condition]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match children.into_iter().next() {
            Some(condition) => Ok(Arc::new(Self { condition, dataset: self.dataset.clone() })),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a grant that does not fit the dataset, which says no more of either.
pub(super) fn unfit(dataset: &DatasetName) -> Error {
    let says = format!(
        "the grants of this principal do not fit {dataset} as it is, so nothing of it is shown; the server's log says why"
    );
    Error::user(Code::Forbidden, says)
}
