//! Whether the steps of a pipeline can read what is there and what the steps before them make: each is planned on a root in memory
//! whose datasets have the columns of those, and no rows.

use datasets::{DatasetName, DatasetSpec};
use engine::{Access, Code, Engine, EngineOptions, Error, Principal, Result, Role};

use super::Graph;
use crate::run::runner::Runner;

/// Memory of that root: nothing is read.
const MEMORY_BYTES: usize = 64 << 20;

/// Fails with which step can not read what, and why.
pub(super) async fn check(
    runner: &Runner,
    who: &Principal,
    pipeline: &str,
    graph: &Graph,
) -> Result<()> {
    let options = EngineOptions {
        root: "memory:".to_owned(),
        memory_budget_bytes: MEMORY_BYTES,
        threads: 1,
        gpu: kernels::GpuPolicy::Off,
        access: Access::Writer { holder: "the check of a pipeline".to_owned() },
        ..EngineOptions::default()
    };
    let trial = Engine::open(options).await?;
    let checked = check_on(&trial, runner, who, pipeline, graph).await;
    trial.shutdown().await?;
    checked
}

async fn check_on(
    trial: &Engine,
    runner: &Runner,
    who: &Principal,
    pipeline: &str,
    graph: &Graph,
) -> Result<()> {
    let me = Principal { roles: vec![Role::Operator, Role::Writer, Role::Reader], ..who.clone() };
    let catalog = runner.engine().catalog(who).await?;
    for node in &graph.nodes {
        let doing =
            |e: Error| e.while_doing(format_args!("pipeline {pipeline}, step {}", node.step.name));
        for input in &node.inputs {
            let made = trial.catalog(&me).await?.datasets.contains_key(input);
            match catalog.datasets.get(input) {
                _ if made => {}
                Some(there) => make(trial, &me, &there.spec).await?,
                None => return Err(doing(not_there(runner, input))),
            }
        }
        let job = runner.jobs().get(&node.step.job)?;
        let params = job.canonical(&node.step.params)?;
        let session = trial.session(&me, &[]).await?;
        for spec in job.plan(&session, &params).await.map_err(doing)? {
            // Columns that are known when it has run only are those that are there, if any are.
            let spec = match catalog.datasets.get(&spec.name) {
                Some(there) if spec.columns.is_empty() => &there.spec,
                _ => &spec,
            };
            if !trial.catalog(&me).await?.datasets.contains_key(&spec.name) {
                make(trial, &me, spec).await.map_err(doing)?;
            }
        }
    }
    Ok(())
}

async fn make(trial: &Engine, me: &Principal, spec: &DatasetSpec) -> Result<()> {
    match spec.derived {
        true => trial.ensure_derived(me, spec).await?,
        false => trial.ensure_dataset(me, spec).await?,
    };
    Ok(())
}

fn not_there(runner: &Runner, input: &DatasetName) -> Error {
    let makers = runner.jobs().makers(input);
    let maker = match makers.is_empty() {
        true => String::new(),
        false => format!("; it is made by {}", makers.join(" or ")),
    };
    Error::user(
        Code::NotFound,
        format!("dataset {input} is not there, and no step before makes it{maker}"),
    )
}
