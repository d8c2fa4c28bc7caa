//! What is said of data that can not be read while a query runs: which datasets it was of, and who knows more.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;

use super::provider::PinnedSchema;
use crate::error::{Code, Error, Result};

/// Datasets that one message names.
const NAMED_MAX: usize = 3;

/// How many rows a plan under way has read.
#[derive(Clone)]
pub struct RowsRead(Arc<dyn ExecutionPlan>);

impl RowsRead {
    pub(super) fn of(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self(plan)
    }

    /// Rows that came out of what the plan begins with, those that a reader skipped left out.
    pub fn rows(&self) -> u64 {
        let (mut rows, mut plans) = (0, vec![&self.0]);
        while let Some(plan) = plans.pop() {
            let children = plan.children();
            if children.is_empty() {
                let of_plan = plan.metrics().and_then(|metrics| metrics.output_rows());
                rows += of_plan.unwrap_or_default() as u64;
            }
            plans.extend(children);
        }
        rows
    }
}

/// The datasets that a plan reads.
pub(super) struct Reading(BTreeSet<String>);

impl Reading {
    pub(super) fn of(plan: &LogicalPlan, schema: &PinnedSchema) -> Result<Self> {
        let mut names = BTreeSet::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && schema.require(scan.table_name.table()).is_ok()
            {
                names.insert(scan.table_name.table().to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Self(names))
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// `error` with what was read, where it says that the data can not be.
    pub(super) fn failed(&self, error: Error) -> Error {
        if error.code() != Code::StorageUnavailable || self.0.is_empty() {
            return error;
        }
        let mut names = String::new();
        for name in self.0.iter().take(NAMED_MAX) {
            let _ = write!(names, "{}{name}", if names.is_empty() { "" } else { ", " });
        }
        let more = match self.0.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" or {more} more"),
        };
        let refused = error.to_string().contains("refuses access");
        let error = error.while_doing(format_args!("reading {names}{more}"));
        match refused {
            true => error,
            false => error.with_advice("`colonnade doctor` says whether its files are whole"),
        }
    }

    /// The same of what `rows` may end with.
    pub(super) fn watches(self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let schema = rows.schema();
        let rows = rows.map_err(move |error| {
            DataFusionError::External(Box::new(self.failed(Error::from(error))))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}
