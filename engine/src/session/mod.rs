//! Sessions: a tenant's datasets, each at one version, to be queried with SQL and plans.
//!
//! A session belongs to one request. It shares the memory pool, the spill folder and the caches with
//! all others (`runtime`), and pins the version of every dataset at its start, so that a query that
//! names a dataset twice sees it once. Only what a query names is opened (`provider`).

mod arrows;
mod batches;
mod breadth;
mod cancellation;
mod carry;
mod changes;
mod coalescing;
mod constants;
mod digits;
mod expression;
mod few_first;
mod files;
mod fit;
mod guard;
mod instants;
mod interrupt;
mod nan;
mod not_in;
mod opaque;
mod optimizer_barrier;
mod or_null;
mod parsing;
mod parts;
mod planning_cost;
mod prepared;
mod provider;
mod query;
mod quiet;
mod reading;
mod row_width;
mod rows;
mod running;
mod runtime;
mod scan;
mod semantics;
mod sliding;
mod sparing;
mod spill_folder;
mod spilling;
mod sql;
mod stopping;
mod subqueries;
mod walk;
mod whole;
mod wrapper_exec;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::common::DFSchema;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use futures::TryStreamExt;
use futures::future::BoxFuture;

pub(crate) use carry::{carried, carried_or_null, fits, has_way};
pub use changes::Changes;
pub(crate) use constants::{compares, for_constants_of};
use expression::Quotients;
pub use or_null::{Uncomputed, evaluate_or_null};
pub(crate) use parts::Part;
pub use prepared::{Described, NamedValues};
pub use query::SqlQuery;
pub use reading::RowsRead;
pub(crate) use row_width::is_pattern;
pub(crate) use rows::rows_of;
pub use semantics::{Dimension, Measure, Semantics, Shape};
pub(crate) use semantics::{
    check as check_semantics, keep_known, made_of, rename as rename_in_semantics, require_kept,
};
pub use sql::{Planned, SqlStatements};

use crate::catalog::Catalog;
use crate::error::{Code, Error, Result};
use crate::export::Pieces;
use crate::functions::claim;
use crate::grants::Grants;
use crate::identity::{TenantId, Version};
use crate::lake::Lake;
use crate::options::EngineOptions;
use crate::seen::Seen;
use crate::storage::Root;
use opaque::Opaque;
use provider::{Guarding, PinnedSchema};
use reading::Reading;
use stopping::{Stoppable, stoppable};

/// Whether a condition has a word by which something else is said each time, be it that of a function or not.
pub(crate) fn asks_for_time(condition: &str) -> bool {
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let condition = condition.to_lowercase();
    let mut words = condition.split(|letter| !is_of_word(letter));
    words.any(|word| word.starts_with("current_") || query::UNSTEADY.contains(word))
}

/// The claims that a condition of grants asks for.
pub(crate) fn claims_in(condition: &str) -> std::collections::BTreeSet<String> {
    sql::joined_behind(condition, guard::CLAIM).1
}

/// The catalogue and schema that a dataset's name is looked up in.
pub const CATALOG: &str = "colonnade";
/// See [`CATALOG`].
pub const SCHEMA: &str = "datasets";

/// Which version of a dataset a session sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AsOf {
    /// The newest.
    #[default]
    Latest,
    /// This one.
    Version(Version),
    /// The one that was the newest at an instant.
    Time(DateTime<Utc>),
}

/// Makes sessions.
pub(crate) struct Sessions {
    template: Opaque<SessionState>,
    /// Plans conditions of grants.
    planner: Opaque<SessionContext>,
    seen: Seen,
}

/// A tenant's datasets, each at one version from start to end.
#[derive(Clone)]
pub struct Session {
    context: Opaque<SessionContext>,
    schema: Arc<PinnedSchema>,
}

impl Sessions {
    pub(crate) fn new(options: &EngineOptions, root: &Root) -> Result<Self> {
        let template = runtime::template(options, root)?;
        let planner = Opaque::new(SessionContext::new_with_state(template.clone()));
        Ok(Self { template: Opaque::new(template), planner, seen: Seen::default() })
    }

    /// The tenant's datasets, as far as `grants` go.
    pub(crate) async fn catalog(
        &self,
        lake: &Lake,
        tenant: &TenantId,
        grants: &Grants,
    ) -> Result<Arc<Catalog>> {
        Ok(self.seen_of(&lake.catalog(tenant).await?, grants))
    }

    fn seen_of(&self, whole: &Arc<Catalog>, grants: &Grants) -> Arc<Catalog> {
        self.seen.catalog(whole, grants, |now, part| guard::fits(&self.planner, now, part))
    }

    /// Fails where what `grants` say of a dataset that they name does not fit it. Gives the names of those that are not there.
    pub(crate) fn require_fitting(&self, whole: &Catalog, grants: &Grants) -> Result<Vec<String>> {
        let mut absent = Vec::new();
        for named in grants.named().filter(|name| *name != crate::grants::OTHERS) {
            // One that is expected may come with other columns.
            let found = whole.datasets.iter().find(|(name, _)| name.as_str() == named);
            let Some((name, entry)) = found else {
                absent.push(named.to_owned());
                continue;
            };
            if let Some(part) = grants.part_of(name) {
                guard::require_fitting(&self.planner, entry, &part)?;
            }
        }
        Ok(absent)
    }

    /// Opens a session in which there is what `grants` let see.
    pub(crate) async fn open(
        &self,
        lake: &Arc<Lake>,
        tenant: &TenantId,
        grants: &Grants,
        pins: &[(DatasetName, AsOf)],
    ) -> Result<Session> {
        self.open_with(lake, tenant, grants, pins, false).await
    }

    /// The same, in which datasets that are expected and are not there yet are empty, where `expecting`.
    #[tracing::instrument(name = "session", skip_all, fields(%tenant))]
    pub(crate) async fn open_with(
        &self,
        lake: &Arc<Lake>,
        tenant: &TenantId,
        grants: &Grants,
        pins: &[(DatasetName, AsOf)],
        expecting: bool,
    ) -> Result<Session> {
        let whole = lake.catalog(tenant).await?;
        let catalog = self.seen_of(&whole, grants);
        let expected = expecting.then_some(&catalog.expected).into_iter().flatten();
        let there = catalog.datasets.iter().chain(expected);
        let mut versions: BTreeMap<DatasetName, Version> =
            there.map(|(name, entry)| (name.clone(), entry.version)).collect();
        for (dataset, as_of) in pins {
            let is_expected = expecting && catalog.expected.contains_key(dataset);
            if !is_expected && (!grants.is_all() || grants.hides(dataset)) {
                catalog.dataset(dataset)?;
            }
            if is_expected && lake.find(tenant, dataset).await?.is_none() {
                require_first(dataset, *as_of)?;
                continue;
            }
            // Also finds a dataset that came after the catalogue was read.
            let table = lake.table(tenant, dataset).await?;
            let version = match as_of {
                // Together with all others, where it was there then.
                AsOf::Latest => match versions.get(dataset) {
                    Some(version) => *version,
                    None => table.entry().version,
                },
                AsOf::Version(version) => {
                    lake.require_version(&table, *version).await?;
                    *version
                }
                AsOf::Time(at) => lake.version_at(tenant, dataset, *at).await?,
            };
            versions.insert(dataset.clone(), version);
        }
        lake.metrics().sessions.add(1);
        let guarding = (!grants.is_all()).then(|| Guarding {
            whole,
            grants: grants.clone(),
            planner: self.planner.clone(),
        });
        self.with_versions(lake, catalog, versions, guarding)
    }

    /// Opens one in which these datasets are as they were: at a version, or not there yet.
    pub(crate) async fn open_as_it_was(
        &self,
        lake: &Arc<Lake>,
        tenant: &TenantId,
        datasets: &[(DatasetName, Option<Version>)],
    ) -> Result<Session> {
        let pins: Vec<(DatasetName, AsOf)> = (datasets.iter())
            .filter_map(|(name, version)| Some((name.clone(), AsOf::Version((*version)?))))
            .collect();
        let session = self.open(lake, tenant, &Grants::all(), &pins).await?;
        let mut catalog = Catalog::clone(session.catalog());
        let mut versions: BTreeMap<DatasetName, Version> = session.pins().into_iter().collect();
        for (name, _) in datasets.iter().filter(|(_, version)| version.is_none()) {
            catalog.datasets.remove(name);
            versions.remove(name);
        }
        self.with_versions(lake, Arc::new(catalog), versions, None)
    }

    fn with_versions(
        &self,
        lake: &Arc<Lake>,
        catalog: Arc<Catalog>,
        versions: BTreeMap<DatasetName, Version>,
        guarding: Option<Guarding>,
    ) -> Result<Session> {
        let schema = Arc::new(PinnedSchema::new(Arc::clone(lake), catalog, versions, guarding));
        let list = MemoryCatalogProviderList::new();
        let provider = MemoryCatalogProvider::new();
        provider.register_schema(SCHEMA, Arc::clone(&schema) as _)?;
        datafusion::catalog::CatalogProviderList::register_catalog(
            &list,
            CATALOG.to_owned(),
            Arc::new(provider),
        );
        // To build one anew takes a quarter of a millisecond.
        let mut state = SessionState::clone(&self.template);
        state.register_catalog_list(Arc::new(list));
        Ok(Session { context: Opaque::new(SessionContext::new_with_state(state)), schema })
    }
}

/// Fails where something else is asked for than the first version, which a dataset has before it is there.
fn require_first(dataset: &DatasetName, as_of: AsOf) -> Result<()> {
    let asked = match as_of {
        AsOf::Latest | AsOf::Version(Version(0)) => return Ok(()),
        AsOf::Version(version) => format!("version {version}"),
        AsOf::Time(at) => format!("a version of {}", at.to_rfc3339()),
    };
    let says =
        format!("{dataset} has no rows yet and no {asked}; expected version 0, which is empty");
    Err(Error::user(Code::NotFound, says))
}

impl Session {
    /// The same, for plans that are executed by one thread, and give rows in the order of their files.
    pub(crate) fn in_order(&self) -> Self {
        let config = self.context.copied_config().with_target_partitions(1);
        let state = SessionStateBuilder::new_from_existing(self.context.state());
        let state = state.with_config(config).build();
        let context = Opaque::new(SessionContext::new_with_state(state));
        Self { context, schema: Arc::clone(&self.schema) }
    }

    /// A query: SELECT, WITH, EXPLAIN, SHOW or DESCRIBE. Anything that would change something is
    /// BAD_INPUT.
    #[tracing::instrument(name = "sql", skip_all, fields(tenant = %self.schema.catalog().tenant))]
    pub fn sql<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move { sql::plan(&self.context, self.schema.as_ref(), text).await })
    }

    /// The same for whoever has this machine: quoted names may be those of files, and `COPY … TO 'file'` says where rows go, which
    /// is the caller's to do.
    pub fn sql_with_files<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Planned>> {
        Box::pin(async move {
            self.schema.knows_files();
            sql::plan_with_files(&self.context, self.schema.as_ref(), text).await
        })
    }

    /// A query that is kept, with its values by name.
    pub fn query<'a>(
        &'a self,
        query: &'a SqlQuery,
        values: &'a BTreeMap<String, ScalarValue>,
    ) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move { query.plan(&self.context, self.schema.as_ref(), values).await })
    }

    /// What is known of a query before its values are.
    pub fn described<'a>(&'a self, query: &'a SqlQuery) -> BoxFuture<'a, Result<Described>> {
        Box::pin(async move { query.described(&self.context, self.schema.as_ref()).await })
    }

    /// A dataset at its pinned version. Its columns have the types of the spec's Arrow schema.
    pub fn table<'a>(&'a self, dataset: &'a DatasetName) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move {
            let source = provider_as_source(self.schema.open(dataset.as_str()).await?);
            let plan = LogicalPlanBuilder::scan(dataset.as_str(), source, None)?.build()?;
            let frame = DataFrame::new(self.context.state(), plan);
            Ok(batches::frame_of(self.schema.row_bytes([dataset.as_str()]), frame))
        })
    }

    /// A dataset at its pinned version, with the columns of the newest: under their names and of their types of today, null where
    /// they came later.
    pub fn table_of_today<'a>(
        &'a self,
        dataset: &'a DatasetName,
    ) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move {
            let frame = self.table(dataset).await?;
            let Some(now) = self.schema.catalog().datasets.get(dataset) else { return Ok(frame) };
            let then = self.schema.entry(dataset).await?;
            let same = then.spec.columns == now.spec.columns && then.column_ids == now.column_ids;
            if same || then.version >= now.version {
                return Ok(frame);
            }
            carry::with_columns_of(frame, &then, now)
        })
    }

    /// A condition on the columns of a dataset, as it stands in SQL behind WHERE.
    pub fn condition<'a>(
        &'a self,
        dataset: &'a DatasetName,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Expr>> {
        Box::pin(async move {
            let columns = self.columns(dataset).await?;
            expression::condition(&self.context, &columns, text, Quotients::OfSql)
        })
    }

    /// A value from the columns of a dataset, as it stands in SQL behind SET.
    pub fn expression<'a>(
        &'a self,
        dataset: &'a DatasetName,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Expr>> {
        Box::pin(async move {
            let columns = self.columns(dataset).await?;
            expression::expression(&self.context, &columns, text, Quotients::OfSql)
        })
    }

    /// A condition whose quotients are those of measures: floats, and null where there is nothing to divide by.
    pub fn safe_condition<'a>(
        &'a self,
        dataset: &'a DatasetName,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Expr>> {
        Box::pin(async move {
            let columns = self.columns(dataset).await?;
            expression::condition(&self.context, &columns, text, Quotients::Safe)
        })
    }

    /// A value whose quotients are those of measures.
    pub fn safe_expression<'a>(
        &'a self,
        dataset: &'a DatasetName,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Expr>> {
        Box::pin(async move {
            let columns = self.columns(dataset).await?;
            expression::expression(&self.context, &columns, text, Quotients::Safe)
        })
    }

    /// `expression` of columns of `schema`, null of rows that it can't be computed of; these are counted.
    pub fn or_null(
        &self,
        expression: Expr,
        schema: &DFSchema,
        uncomputed: &Arc<Uncomputed>,
    ) -> Result<Expr> {
        or_null::or_null(&self.context.state(), expression, schema, uncomputed)
    }

    /// The same of an aggregate: rows that what it takes can't be computed of are none to it, and sums of whole numbers are decimals,
    /// which all of them fit.
    pub fn aggregate_or_null(
        &self,
        aggregate: Expr,
        schema: &DFSchema,
        uncomputed: &Arc<Uncomputed>,
    ) -> Result<Expr> {
        or_null::aggregate_or_null(&self.context.state(), aggregate, schema, uncomputed)
    }

    /// The columns of a dataset by their names alone, so that what is said of them holds for each view of them.
    async fn columns(&self, dataset: &DatasetName) -> Result<DFSchema> {
        Ok(self.table(dataset).await?.schema().clone().strip_qualifiers())
    }

    /// The version that this session sees of `dataset`.
    pub fn version(&self, dataset: &DatasetName) -> Option<Version> {
        self.schema.versions().get(dataset).copied()
    }

    /// Bytes that are no rows, by the name that a row has for them.
    pub fn artifact<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.schema.artifact(name))
    }

    /// Every dataset with the version that this session sees.
    pub fn pins(&self) -> Vec<(DatasetName, Version)> {
        self.schema.versions().iter().map(|(name, version)| (name.clone(), *version)).collect()
    }

    /// What the one who asks may see: all that is here, and nothing else of the tenant is.
    pub fn grants(&self) -> Grants {
        self.schema.grants()
    }

    /// The catalogue as it was when the session was opened.
    pub fn catalog(&self) -> &Arc<Catalog> {
        self.schema.catalog()
    }

    /// Runs a plan; rows come as they are made. Errors in the stream become ours with `Error::from`.
    pub fn stream(&self, frame: DataFrame) -> BoxFuture<'_, Result<SendableRecordBatchStream>> {
        Box::pin(async move { Ok(self.stream_counted(frame).await?.0) })
    }

    /// The same, with a count of the rows that were read so far.
    pub fn stream_counted(
        &self,
        frame: DataFrame,
    ) -> BoxFuture<'_, Result<(SendableRecordBatchStream, RowsRead)>> {
        Box::pin(async move {
            let reading = Reading::of(frame.logical_plan(), &self.schema)?;
            let (frame, context, stop) = stoppable(frame)?;
            let begun = async {
                let plan = stop.plan(frame).await?;
                Ok((execute_stream(Arc::clone(&plan), context)?, RowsRead::of(plan)))
            };
            match begun.await {
                Ok((rows, read)) => Ok((Stoppable::wrap(reading.watches(rows), stop), read)),
                Err(error) => Err(stop.why(reading.failed(error))),
            }
        })
    }

    /// Runs a plan to its end. The result must fit into memory.
    pub fn collect(&self, frame: DataFrame) -> BoxFuture<'_, Result<Vec<RecordBatch>>> {
        Box::pin(async move { Ok(self.stream(frame).await?.try_collect().await?) })
    }

    /// Counts rows against the memory of queries until they are dropped. RESOURCES_EXHAUSTED if there is no room.
    pub fn hold(&self, batch: &RecordBatch) -> Result<()> {
        let pool = &self.context.runtime_env().memory_pool;
        // Columns may share memory, which counts once.
        claim(batch, pool);
        MemoryConsumer::new("rows of an answer").register(pool).try_grow(1)?;
        Ok(())
    }

    /// Empty pieces for encoded rows. They count against the memory of queries.
    pub fn pieces(&self) -> Pieces {
        Pieces::counted(&self.context.runtime_env().memory_pool)
    }

    /// The DataFusion session below, for plans over data that is no dataset (a job's intermediate
    /// batches). Tables registered in it are seen by this session only.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("pins", &self.schema.versions()).finish()
    }
}
