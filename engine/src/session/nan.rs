//! NaN, of which no statistics know.
//!
//! Here NaN is greater than every number and equal to itself. The least and the greatest value that a file states of a column leave it
//! out. Who skips by them passes over rows of which a condition is true; who takes a column for constant where both are equal reads
//! another value. So conditions reach the files with their floats behind a function that gives them back as they are: rows are held
//! against such a condition, statistics are not. What a query learns only while it runs (the least of the first ten so far) is kept
//! from files where it is about floats.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

/// Whether a value of this type is, or has in it, a number that may be NaN.
pub(super) fn may_be_nan(kind: &DataType) -> bool {
    match kind {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => may_be_nan(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| may_be_nan(field.data_type())),
        DataType::Dictionary(_, value) => may_be_nan(value),
        _ => false,
    }
}

/// `condition` on columns of `schema`, so that statistics of those that may be NaN are not asked.
pub(super) fn without_statistics(
    condition: &Expr,
    schema: &Schema,
) -> Result<Expr, DataFusionError> {
    let hidden = condition.clone().transform_up(|part| {
        let is_float = match &part {
            Expr::Column(column) => schema
                .field_with_name(&column.name)
                .is_ok_and(|field| may_be_nan(field.data_type())),
            _ => false,
        };
        Ok(match is_float {
            true => {
                let function = AsItIs { signature: Signature::any(1, Volatility::Immutable) };
                Transformed::yes(ScalarUDF::new_from_impl(function).call(vec![part]))
            }
            false => Transformed::no(part),
        })
    });
    hidden.map(|hidden| hidden.data)
}

/// A value as it is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsItIs {
    signature: Signature,
}

impl ScalarUDFImpl for AsItIs {
    fn name(&self) -> &str {
        "as_it_is"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType, DataFusionError> {
        let internal = || DataFusionError::Internal("as_it_is of nothing".to_owned());
        of.first().cloned().ok_or_else(internal)
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let internal = || DataFusionError::Internal("as_it_is of nothing".to_owned());
        arguments.args.into_iter().next().ok_or_else(internal)
    }
}

/// Takes from the readers of files what a query learns of floats while it runs. What learns it does not rely on its being applied.
#[derive(Debug)]
pub(super) struct NothingLearntOfFloats;

impl PhysicalOptimizerRule for NothingLearntOfFloats {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let plan = plan.transform_up(|node| {
            let reader = node.downcast_ref::<DataSourceExec>();
            let files = reader.and_then(|reader| reader.downcast_to_file_source::<ParquetSource>());
            let Some((config, source)) = files else { return Ok(Transformed::no(node)) };
            let Some(filter) = source.filter() else { return Ok(Transformed::no(node)) };
            let parts = split_conjunction(&filter);
            let stay = parts.iter().filter(|part| !is_learnt_of_floats(part, config.file_schema()));
            let stay: Vec<_> = stay.map(|part| Arc::clone(part)).collect();
            if stay.len() == parts.len() {
                return Ok(Transformed::no(node));
            }
            let source = source.with_predicate(conjunction(stay));
            let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source));
            let reader = DataSourceExec::from_data_source(config.build());
            Ok(Transformed::yes(reader as Arc<dyn ExecutionPlan>))
        });
        plan.map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "nothing_learnt_of_floats"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is_learnt_of_floats(part: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let mut is_learnt = false;
    let looked = part.apply(|part| {
        is_learnt |= part.downcast_ref::<DynamicFilterPhysicalExpr>().is_some();
        Ok(if is_learnt { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    let is_float = |name: &str| match schema.field_with_name(name) {
        Ok(field) => may_be_nan(field.data_type()),
        Err(_) => false,
    };
    looked.is_ok()
        && is_learnt
        && collect_columns(part).iter().any(|column| is_float(column.name()))
}
