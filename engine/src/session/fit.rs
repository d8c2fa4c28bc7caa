//! A table made to show what its spec says.
//!
//! Tables of ours have exactly the columns of their spec. A table that another writer made may name and
//! type them as it likes; it is shown through a projection that renames and casts, which the optimiser
//! sees through, so that filters still reach the files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast,
};
use datasets::ColumnType;
use datasets::encode::json_texts;
use datasets::spec::TYPE_METADATA_KEY;

use super::carry::alike;
use super::scan::FileScan;
use super::sparing::Sparing;
use crate::error::Result;
use crate::identity::TenantId;
use crate::lake::Snapshot;
use crate::storage::Root;

/// The table of `snapshot`, a dataset of `tenant`, or of some of its files, with the columns of its spec.
pub(super) fn fitted(
    root: &Root,
    tenant: &TenantId,
    snapshot: &Snapshot,
    files: Option<Vec<String>>,
) -> Result<Arc<dyn TableProvider>> {
    let scan = Arc::new(Sparing(scan_of(root, tenant, snapshot, files)?));
    let native = scan.schema();
    let wanted = snapshot.entry.spec.arrow_schema();
    let same = native.fields().len() == wanted.fields().len()
        && native
            .fields()
            .iter()
            .zip(wanted.fields())
            .all(|(n, w)| n.name() == w.name() && n.data_type() == w.data_type());
    if same {
        return Ok(scan);
    }
    let columns = native.fields().iter().zip(wanted.fields()).map(|(native, wanted)| {
        let column = Expr::Column(Column::new_unqualified(native.name()));
        let expression = if native.data_type() == wanted.data_type() {
            column
        } else if wanted.data_type() == &DataType::Utf8 && native.data_type().is_nested() {
            ScalarUDF::new_from_impl(AsJson::new()).call(vec![column])
        } else if let Some(kind) = nested_type(wanted) {
            alike(column, wanted.name(), &kind)
        } else {
            cast(column, wanted.data_type().clone())
        };
        expression.alias(wanted.name())
    });
    let plan = LogicalPlanBuilder::scan("table", provider_as_source(scan), None)?
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn scan_of(
    root: &Root,
    tenant: &TenantId,
    snapshot: &Snapshot,
    files: Option<Vec<String>>,
) -> Result<Arc<dyn TableProvider>> {
    if let Some(list) = snapshot.files(root, tenant)
        && let Some(places) = list.places(files.as_deref())
    {
        return Ok(Arc::new(FileScan::new(list, places)));
    }
    Ok(Arc::new(snapshot.scan(files)?))
}

/// The type of a column with parts, whose names may be others in the files.
fn nested_type(wanted: &Field) -> Option<ColumnType> {
    let stated = wanted.metadata().get(TYPE_METADATA_KEY)?.parse::<ColumnType>().ok();
    stated.filter(ColumnType::is_nested)
}

/// A nested value as the text of a JSON document.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsJson {
    signature: Signature,
}

impl AsJson {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AsJson {
    fn name(&self) -> &str {
        "as_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [array] = arrays.as_slice() else {
            return Err(DataFusionError::Internal("as_json takes one argument".to_owned()));
        };
        Ok(ColumnarValue::Array(json_texts(array)?))
    }
}
