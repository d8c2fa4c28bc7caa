//! A sort that keeps few rows is given those first that it keeps.
//!
//! The last fifty by time lie at the end of the newest of many files. DataFusion begins with the files and row groups that have the
//! least (or greatest) values, and passes over the others once what it holds is ahead of all of them. But it does not look through
//! a condition, and what the log says of the files it does not know. Here both are made up for.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as Named, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, SortOrderPushdownResult};

use super::nan::may_be_nan;
use crate::lake::FileList;

/// Statistics of columns that are put beside the files of one scan, at most: of more, looking at them is what takes time.
const STATISTICS_MAX: usize = 50_000;

/// Rows that pass a condition and are handed on to the sort, where there are as many.
const ROWS_AT_ONCE_MIN: usize = 1 << 10;

/// Where a file that is scanned stands in its list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) list: Arc<FileList>,
    pub(super) place: usize,
}

/// The rule.
#[derive(Debug)]
pub(super) struct FewFirst;

impl PhysicalOptimizerRule for FewFirst {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let plan = plan.transform_down(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else {
                return Ok(Transformed::no(node));
            };
            let Some(few) = sort.fetch() else { return Ok(Transformed::no(node)) };
            let Some(input) = in_order(sort.input(), sort.expr(), few)? else {
                return Ok(Transformed::no(node));
            };
            let sort = SortExec::new(sort.expr().clone(), input)
                .with_fetch(sort.fetch())
                .with_preserve_partitioning(sort.preserve_partitioning());
            Ok(Transformed::yes(Arc::new(sort) as Arc<dyn ExecutionPlan>))
        });
        plan.map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "few_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `plan`, of which the first `few` rows are kept, with its files read in about this order; `None` where they can not be.
fn in_order(
    plan: &Arc<dyn ExecutionPlan>,
    order: &[PhysicalSortExpr],
    few: usize,
) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        return files_in_order(source, order);
    }
    let Some(order) = below(plan, order) else { return Ok(None) };
    let [child] = plan.children()[..] else { return Ok(None) };
    let Some(child) = in_order(child, &order, few)? else { return Ok(None) };
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        // It gathers rows before it hands them on, and until then the sort learns nothing.
        let rows = few.max(ROWS_AT_ONCE_MIN).min(filter.batch_size());
        let filter = FilterExecBuilder::from(filter).with_input(child).with_batch_size(rows);
        return Ok(Some(Arc::new(filter.build()?)));
    }
    let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(vec![child], anew).map(Some)
}

/// The order of what goes into `plan`, so far as it is of columns, where what comes out has this one.
fn below(
    plan: &Arc<dyn ExecutionPlan>,
    order: &[PhysicalSortExpr],
) -> Option<Vec<PhysicalSortExpr>> {
    let schema = plan.children().first()?.schema();
    let same = |column: &Column| Some(column.clone());
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let Some(shown) = filter.projection() else { return moved(order, same) };
        return moved(order, |column| {
            let index = *shown.get(column.index())?;
            Some(Column::new(schema.fields().get(index)?.name(), index))
        });
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return moved(order, |column| {
            projection.expr().get(column.index())?.expr.downcast_ref::<Column>().cloned()
        });
    }
    let lets_pass = plan.downcast_ref::<RepartitionExec>().is_some()
        || plan.downcast_ref::<CoalescePartitionsExec>().is_some()
        || plan.downcast_ref::<CooperativeExec>().is_some();
    if lets_pass { moved(order, same) } else { None }
}

/// The first terms of `order` that are columns, each where it came from.
fn moved(
    order: &[PhysicalSortExpr],
    from: impl Fn(&Column) -> Option<Column>,
) -> Option<Vec<PhysicalSortExpr>> {
    let terms = order.iter().map_while(|term| {
        let column = from(term.expr.downcast_ref::<Column>()?)?;
        Some(PhysicalSortExpr::new(Arc::new(column), term.options))
    });
    let terms: Vec<_> = terms.collect();
    (!terms.is_empty()).then_some(terms)
}

fn files_in_order(
    source: &DataSourceExec,
    order: &[PhysicalSortExpr],
) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
    let Some(config) = source.data_source().downcast_ref::<FileScanConfig>() else {
        return Ok(None);
    };
    let columns = order.iter().map_while(|term| term.expr.downcast_ref::<Column>());
    let columns: Vec<&str> = columns.map(Column::name).collect();
    let groups = with_bounds(&config.file_groups, &columns);
    let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).build();
    Ok(match config.try_pushdown_sort(order)? {
        SortOrderPushdownResult::Inexact { inner } => Some(Arc::new(DataSourceExec::new(inner))),
        SortOrderPushdownResult::Exact { .. } | SortOrderPushdownResult::Unsupported => None,
    })
}

/// The files, each with the values between which these columns lie in it, where their list knows.
fn with_bounds(groups: &[FileGroup], columns: &[&str]) -> Vec<FileGroup> {
    let files: usize = groups.iter().map(FileGroup::len).sum();
    let with_bounds = |file: &PartitionedFile| {
        let bounds = file.extensions.get::<Listed>().filter(|listed| {
            files > 1 && listed.list.schema.fields().len().saturating_mul(files) <= STATISTICS_MAX
        });
        match bounds.and_then(|listed| bounds_of(listed, columns)) {
            Some(bounds) => file.clone().with_statistics(Arc::new(bounds)),
            None => file.clone(),
        }
    };
    groups.iter().map(|group| group.iter().map(with_bounds).collect()).collect()
}

/// Bounds are values that no row goes beyond, not always ones that a row has. So how many rows are null is left out, without which
/// no reader takes a column for constant whose bounds are equal.
fn bounds_of(listed: &Listed, columns: &[&str]) -> Option<Statistics> {
    let schema: &Schema = &listed.list.schema;
    let mut statistics = Statistics::new_unknown(schema);
    let mut is_known = false;
    for name in columns {
        let Ok(index) = schema.index_of(name) else { continue };
        if may_be_nan(schema.field(index).data_type()) {
            continue;
        }
        let (least, greatest) = listed.list.bounds(&Named::from_name(*name), listed.place);
        let known = |value: Option<ScalarValue>| match value.filter(|value| !value.is_null()) {
            Some(value) => Precision::Exact(value),
            None => Precision::Absent,
        };
        let column = statistics.column_statistics.get_mut(index)?;
        column.min_value = known(least);
        column.max_value = known(greatest);
        is_known |= column.min_value != Precision::Absent;
    }
    is_known.then_some(statistics)
}
