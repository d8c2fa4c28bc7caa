//! A scan over a list of files that is at hand: no log is read, and files that can have no row of the answer are left out by what the
//! log says of their columns, before one of them is opened.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Statistics};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::few_first::Listed;
use crate::lake::FileList;

/// The table, or some of its files.
#[derive(Debug)]
pub(super) struct FileScan {
    list: Arc<FileList>,
    places: Vec<usize>,
}

impl FileScan {
    /// A scan of the files at `places` of `list`.
    pub(super) fn new(list: Arc<FileList>, places: Vec<usize>) -> Self {
        Self { list, places }
    }

    /// The files in which `predicate` may be true of a row.
    fn places_for(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<usize> {
        // One that can not be held against statistics leaves every file in.
        let pruning = predicate.and_then(|predicate| {
            let schema = Arc::clone(&self.list.schema);
            PruningPredicateBuilder::new().with_file_schema(schema).build(Arc::clone(predicate))
        });
        match pruning.and_then(|pruning| pruning.prune(self.list.as_ref()).ok()) {
            Some(kept) => self.places.iter().copied().filter(|place| kept[*place]).collect(),
            None => self.places.clone(),
        }
    }
}

#[async_trait]
impl TableProvider for FileScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.list.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = &self.list.schema;
        let predicate = match conjunction(filters.to_vec()) {
            None => None,
            Some(filter) => {
                let columns = DFSchema::try_from(Arc::clone(schema))?;
                Some(state.create_physical_expr(filter, &columns)?)
            }
        };
        let places = self.places_for(predicate.as_ref());
        if places.is_empty() {
            let shown = match projection {
                Some(projection) => Arc::new(schema.project(projection)?),
                None => Arc::clone(schema),
            };
            return Ok(Arc::new(EmptyExec::new(shown)));
        }

        let runtime = state.runtime_env();
        let reader = CachedParquetFileReaderFactory::new(
            runtime.object_store(&self.list.store)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let global = state.config_options().execution.parquet.clone();
        let options = TableParquetOptions { global, ..TableParquetOptions::default() };
        let mut source = ParquetSource::new(self.list.table.clone())
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }

        let (mut rows, mut bytes) = (Some(0), 0);
        let files = places.into_iter().map(|place| {
            let listed = self.list.file(place);
            rows = rows.zip(listed.rows).map(|(all, more)| all + more);
            bytes += listed.file.object_meta.size;
            listed.file.clone().with_extension(Listed { list: Arc::clone(&self.list), place })
        });
        let files: FileGroup = files.collect();
        let statistics = Statistics {
            num_rows: rows.map_or(Precision::Absent, Precision::Exact),
            total_byte_size: usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact),
            column_statistics: Statistics::unknown_column(schema),
        };
        let config = FileScanConfigBuilder::new(self.list.store.clone(), Arc::new(source))
            .with_file_group(files)
            .with_statistics(statistics)
            .with_limit(limit)
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
