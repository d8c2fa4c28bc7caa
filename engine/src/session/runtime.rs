//! What all sessions share: memory, disk to spill to, the store, the functions.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use kernels::{Budget, Execution};

use super::batches::BATCH_ROWS;
use super::constants::ConstantsFit;
use super::digits::DecimalDigits;
use super::few_first::FewFirst;
use super::instants::{InstantsMeet, MicrosecondTypes};
use super::interrupt::{interrupted, interrupted_physical};
use super::nan::NothingLearntOfFloats;
use super::not_in::NotInOnce;
use super::running::Queries;
use super::sliding::WindowsMoveWithoutCancellation;
use super::spill_folder::SpillFolder;
use super::whole::WholeNumbersFit;
use super::{CATALOG, SCHEMA};
use crate::error::{Code, Error, Result};
use crate::functions::{self, NestedLiterals};
use crate::options::EngineOptions;
use crate::storage::Root;

/// Consumers that an error for want of memory names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// Bytes of files from which on they are read side by side: to find a row, opening one twice costs more than reading it once.
const SPLIT_BYTES_MIN: usize = 4 << 20;

/// The rule before which all others have said what is sorted where.
const AFTER_SORTS_ARE_PUSHED: &str = "EnsureCooperative";

/// The rule that leaves conditions to the reader of files alone.
const FILTERS_TO_FILES: &str = "FilterPushdown";

/// What plans expressions of specs, without a root and without rows. It knows what a session knows.
pub(super) fn planner() -> Result<SessionState> {
    let mut state = SessionStateBuilder::new()
        .with_config(config())
        .with_default_features()
        .with_expr_planners(expression_planners())
        .with_type_planner(Arc::new(MicrosecondTypes))
        .with_analyzer_rules(first_rules())
        .with_analyzer_rule(Arc::new(WholeNumbersFit))
        .build();
    functions::register(&mut state, Execution::default())?;
    Ok(state)
}

/// DataFusion's own rules, after the rule that must run before types are coerced.
fn first_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(InstantsMeet));
    rules
}

/// DataFusion's own planners of expressions, and those that replace a part of them.
fn expression_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners = SessionStateDefaults::default_expr_planners();
    planners.insert(0, Arc::new(NestedLiterals::default()));
    planners.push(Arc::new(DecimalDigits));
    planners
}

/// What is read the same way wherever a query is planned.
fn config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let settings = config.options_mut();
    // One layout of text everywhere: that of the spec's Arrow schema.
    settings.execution.parquet.schema_force_view_types = false;
    settings.sql_parser.map_string_types_to_utf8view = false;
    config
}

/// The disk budget for spills: the option, or half of the free space at startup if that is less.
/// The store may be on the same disk.
fn spill_bytes_max(options: &EngineOptions) -> u64 {
    let folder = options.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
    let free = fs4::available_space(folder);
    free.map_or(options.spill_budget_bytes, |free| options.spill_budget_bytes.min(free / 2))
}

/// The state that every session begins with.
pub(super) fn template(options: &EngineOptions, root: &Root) -> Result<SessionState> {
    let parent = options.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
    let created = std::fs::create_dir_all(&parent).and_then(|()| SpillFolder::create(&parent));
    let folder = match created {
        Ok(folder) => Some(folder),
        // Without a temporary folder, queries run until one has to spill.
        Err(_) if options.spill_dir.is_none() => None,
        Err(error) => {
            let doing = format!("cannot use the folder for spills {}", parent.display());
            return Err(Error::environment(Code::BadInput, doing, error));
        }
    };
    let mut disk = DiskManagerBuilder::default();
    if let Some(folder) = &folder {
        disk = disk.with_mode(DiskManagerMode::Directories(vec![folder.path().to_owned()]));
    }
    let disk = disk.with_max_temp_directory_size(spill_bytes_max(options));
    // A kernel's own memory comes on top of the rows that the query holds.
    let of_kernels = options.memory_budget_bytes / 3;
    // Fair: an operator that can spill does so rather than starve another query's.
    let pool = FairSpillPool::new(options.memory_budget_bytes - of_kernels);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, CONSUMERS_NAMED)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    runtime.register_object_store(root.location(), Arc::clone(root.store()));

    let mut config = config()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(options.threads.max(1))
        .with_batch_size(BATCH_ROWS);
    let queries = Arc::new(Queries::default());
    if let Some(most) = options.resident_bytes_max {
        queries.keep_below(most);
    }
    config.set_extension(queries);
    // The folder is removed with the last session.
    config.set_extension(Arc::new(folder));
    let settings = config.options_mut();
    settings.execution.parquet.pushdown_filters = true;
    settings.optimizer.repartition_file_min_size = SPLIT_BYTES_MIN;
    settings.execution.parquet.reorder_filters = true;

    // A file's reader drops a condition that it can not put to the file as it is stored, and says nothing (apache/datafusion#22384):
    // what is looked for is held against the rows again, which are few by then, and no rule takes that out.
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != FILTERS_TO_FILES);
    // Before a sort tells the files what it learns.
    let place = rules.iter().position(|rule| rule.name() == AFTER_SORTS_ARE_PUSHED);
    rules.insert(place.unwrap_or(rules.len()), Arc::new(FewFirst));
    rules.push(Arc::new(NothingLearntOfFloats));

    let mut state = SessionStateBuilder::new()
        .with_physical_optimizer_rules(interrupted_physical(rules))
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_expr_planners(expression_planners())
        .with_type_planner(Arc::new(MicrosecondTypes))
        .with_analyzer_rules(first_rules())
        .with_optimizer_rules(interrupted(Optimizer::new().rules))
        .with_analyzer_rule(Arc::new(WholeNumbersFit))
        .with_analyzer_rule(Arc::new(WindowsMoveWithoutCancellation))
        .with_analyzer_rule(Arc::new(NotInOnce))
        .with_optimizer_rule(Arc::new(ConstantsFit))
        .build();
    let execution =
        Execution { gpu: options.gpu, budget: Budget::host(of_kernels), ..Execution::default() };
    functions::register(&mut state, execution)?;
    Ok(state)
}
