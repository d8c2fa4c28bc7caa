//! A table that hands its files no more of a filter than helps them.
//!
//! The Delta library turns each value of an `IN` and each condition into a node of a chain that it walks by recursion, for each
//! file anew, and DataFusion does the same for each column's statistics. A filter of many parts hardly skips a file that way,
//! and costs more than reading it; it is held against the rows instead.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::TableType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use super::nan::without_statistics;
use super::optimizer_barrier::OptimizerBarrier;
use super::row_width::is_pattern;

/// Most parts (columns, values, operators) of the filters that reach the files.
const PARTS_MAX: usize = 300;

/// The table.
#[derive(Debug)]
pub(super) struct Sparing(pub(super) Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for Sparing {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = self.0.schema();
        let filters = filters.iter().map(|filter| without_statistics(filter, &schema));
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        let scan = self.0.scan(state, projection, &filters, limit).await?;
        Ok(match projection.is_some_and(Vec::is_empty) || loses_limits(&scan) {
            true => OptimizerBarrier::with_statistics(scan),
            false => scan,
        })
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let mut left = PARTS_MAX;
        let takes = |filter: &&Expr| match parts(filter, left)? {
            parts if parts > left => Ok(TableProviderFilterPushDown::Unsupported),
            // A reader would match the pattern with all rows of a batch in one call, and no statistics help with patterns.
            _ if has_pattern(filter)? => Ok(TableProviderFilterPushDown::Unsupported),
            parts => {
                left -= parts;
                let takes = self.0.supports_filters_pushdown(&[filter])?;
                Ok(match takes.first() {
                    None | Some(TableProviderFilterPushDown::Unsupported) => {
                        TableProviderFilterPushDown::Unsupported
                    }
                    // No reader of files is relied on: it leaves conditions out that it can not put to them.
                    Some(_) => TableProviderFilterPushDown::Inexact,
                })
            }
        };
        filters.iter().map(takes).collect()
    }
}

/// Whether a plan says that a limit may be handed on below it, and has nothing below that keeps one: a scan of columns that are the same in
/// a whole file is such a plan, and all rows came where a few were asked for.
fn loses_limits(scan: &Arc<dyn ExecutionPlan>) -> bool {
    scan.children().is_empty()
        && scan.supports_limit_pushdown()
        && scan.with_fetch(Some(1)).is_none()
}

/// Parts of `filter`; one more than `most` for all that have more.
fn parts(filter: &Expr, most: usize) -> Result<usize, DataFusionError> {
    let mut parts = 0;
    filter.apply(|_| {
        parts += 1;
        Ok(if parts > most { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(parts)
}

fn has_pattern(filter: &Expr) -> Result<bool, DataFusionError> {
    filter.exists(|part| {
        Ok(match part {
            Expr::BinaryExpr(of) => is_pattern(&of.op),
            Expr::SimilarTo(_) => true,
            Expr::ScalarFunction(call) => call.func.name().starts_with("regexp_"),
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::logical_expr::{col, lit};
    use datafusion::prelude::in_list;

    use super::*;

    #[test]
    fn every_value_of_a_list_is_a_part() {
        let list = |values: i64| in_list(col("a"), (0..values).map(lit).collect(), false);
        assert_eq!(parts(&list(3), 10).unwrap(), 5);
        assert_eq!(parts(&list(1_000), 10).unwrap(), 11);
        assert_eq!(parts(&col("a").eq(lit(1)).and(col("b").gt(lit(2))), 10).unwrap(), 7);
    }
}
