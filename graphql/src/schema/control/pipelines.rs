//! `pipelines`, `pipeline(name:)`, `lineage`, and the mutations that make a pipeline, begin a run of one, have it go on, and stop it.

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use datasets::DatasetName;
use engine::{Principal, Result, Role};
use jobs::{
    Lineage, LineageEdge, LineageKind, LineageNode, PipelineEdge, PipelineNode, PipelineRun,
    PipelineState, Runner, Schedule, StepState,
};

use super::super::connection::first;
use super::super::resolve::{argument, nullable, object, objects, part, state, text_argument};
use super::super::scalars;
use super::runs::state_value;
use super::{instant, json, optional_instant};

/// Runs of a pipeline that `runs` gives when `first` is absent.
const RUNS_DEFAULT: usize = 20;
/// The most that it gives.
const RUNS_MAX: usize = 100;

/// `Pipeline`, its parts, and `Lineage`.
pub(crate) fn types() -> [Object; 8] {
    [
        pipeline_type(),
        node_type(),
        edge_type(),
        run_type(),
        step_type(),
        lineage_type(),
        lineage_node_type(),
        lineage_edge_type(),
    ]
}

fn text() -> TypeRef {
    TypeRef::named_nn(TypeRef::STRING)
}

fn names(all: &[DatasetName]) -> Value {
    Value::List(all.iter().map(|name| name.as_str().into()).collect())
}

fn pipeline_type() -> Object {
    Object::new("Pipeline")
        .description("Jobs of which one waits for another.")
        .field(part("name", text(), |p: &PipelineState| {
            Ok(p.schedule.schedule.name.as_str().into())
        }))
        .field(
            part("waitsFor", text(), |p: &PipelineState| {
                Ok(p.schedule.schedule.trigger.says().into())
            })
            .description("What begins its runs, in words."),
        )
        .field(
            object("schedule", TypeRef::named_nn("Schedule"), |p: &PipelineState| {
                p.schedule.clone()
            })
            .description(
                "What begins its runs; it is paused, resumed and removed as every schedule.",
            ),
        )
        .field(
            objects("nodes", TypeRef::named_nn_list_nn("PipelineNode"), |p: &PipelineState| {
                p.graph.nodes.clone()
            })
            .description("Its steps, each behind all that it waits for."),
        )
        .field(objects("edges", TypeRef::named_nn_list_nn("PipelineLink"), |p: &PipelineState| {
            p.graph.edges.clone()
        }))
        .field(
            Field::new("runs", TypeRef::named_nn_list("PipelineRun"), |context| {
                let inner = context.ctx;
                nullable(inner, async move {
                    let of = context.parent_value.try_downcast_ref::<PipelineState>();
                    let Ok(of) = of else { return Ok(None) };
                    let state = state(inner)?;
                    let who = state.who(Role::Reader)?;
                    let limit = match argument(&context, "first") {
                        None => RUNS_DEFAULT,
                        given => first(given.as_ref(), &state.service().limits)?.min(RUNS_MAX),
                    };
                    let runs = state.service().runner.last_runs(who, of, limit).await?;
                    Ok(Some(FieldValue::list(runs.into_iter().map(FieldValue::owned_any))))
                })
            })
            .description("Its runs, newest first.")
            .argument(
                InputValue::new("first", TypeRef::named(TypeRef::INT))
                    .description(format!("{RUNS_DEFAULT} when absent, {RUNS_MAX} at most.")),
            ),
        )
}

fn node_type() -> Object {
    Object::new("PipelineNode")
        .description("A step of a pipeline.")
        .field(part("name", text(), |n: &PipelineNode| Ok(n.step.name.as_str().into())))
        .field(part("job", text(), |n: &PipelineNode| Ok(n.step.job.as_str().into())))
        .field(part("params", TypeRef::named_nn(scalars::JSON), |n: &PipelineNode| {
            json(&n.step.params)
        }))
        .field(
            part("inputs", TypeRef::named_nn_list_nn(TypeRef::STRING), |n: &PipelineNode| {
                Ok(names(&n.inputs))
            })
            .description("The datasets that it reads."),
        )
        .field(
            part("outputs", TypeRef::named_nn_list_nn(TypeRef::STRING), |n: &PipelineNode| {
                Ok(names(&n.outputs))
            })
            .description("The datasets that it commits to."),
        )
}

fn edge_type() -> Object {
    Object::new("PipelineLink")
        .description("That a step waits for another.")
        .field(part("from", text(), |e: &PipelineEdge| Ok(e.from.as_str().into())))
        .field(part("to", text(), |e: &PipelineEdge| Ok(e.to.as_str().into())))
        .field(
            part("datasets", TypeRef::named_nn_list_nn(TypeRef::STRING), |e: &PipelineEdge| {
                Ok(names(&e.datasets))
            })
            .description(
                "What the one makes and the other reads; none, where only the order was asked for.",
            ),
        )
}

fn run_type() -> Object {
    Object::new("PipelineRun")
        .description("A run of a pipeline.")
        .field(part("id", TypeRef::named_nn(TypeRef::ID), |r: &PipelineRun| {
            Ok(r.id.as_str().into())
        }))
        .field(part("state", TypeRef::named_nn("RunState"), |r: &PipelineRun| {
            Ok(state_value(r.state))
        }))
        .field(
            part("logicalTime", text(), |r: &PipelineRun| Ok(r.logical_time.as_str().into()))
                .description(
                    "What it stands for: a time, a version of a dataset, another run; its own id where it was begun by hand.",
                ),
        )
        .field(part("dueAt", TypeRef::named_nn(scalars::DATE_TIME), |r: &PipelineRun| {
            Ok(instant(&r.due_at))
        }))
        .field(objects("steps", TypeRef::named_nn_list_nn("PipelineStep"), |r: &PipelineRun| {
            r.steps.clone()
        }))
}

fn step_type() -> Object {
    Object::new("PipelineStep")
        .description("A step of a run of a pipeline.")
        .field(part("name", text(), |s: &StepState| Ok(s.name.as_str().into())))
        .field(
            part("state", TypeRef::named("RunState"), |s: &StepState| {
                Ok(s.state.map_or(Value::Null, state_value))
            })
            .description("Null while it waits for other steps."),
        )
        .field(
            part("run", TypeRef::named(TypeRef::ID), |s: &StepState| {
                Ok(s.run.map_or(Value::Null, |run| run.to_string().into()))
            })
            .description("Its run; null before it has one."),
        )
}

fn lineage_type() -> Object {
    Object::new("Lineage")
        .description("What was made of what, as the records of the last runs that succeeded tell.")
        .field(objects("nodes", TypeRef::named_nn_list_nn("LineageNode"), |l: &Lineage| {
            l.nodes.clone()
        }))
        .field(objects("edges", TypeRef::named_nn_list_nn("LineageLink"), |l: &Lineage| {
            l.edges.clone()
        }))
}

fn lineage_node_type() -> Object {
    Object::new("LineageNode")
        .description("A dataset, a model, or the runs of a job that write the same datasets.")
        .field(part("id", TypeRef::named_nn(TypeRef::ID), |n: &LineageNode| {
            Ok(n.id.as_str().into())
        }))
        .field(
            part("kind", text(), |n: &LineageNode| {
                Ok(match n.kind {
                    LineageKind::Dataset => "dataset".into(),
                    LineageKind::Model => "model".into(),
                    LineageKind::Job => "job".into(),
                })
            })
            .description("`dataset`, `model` or `job`."),
        )
        .field(part("name", text(), |n: &LineageNode| Ok(n.name.as_str().into())))
        .field(
            part("run", TypeRef::named(TypeRef::ID), |n: &LineageNode| {
                Ok(n.run.map_or(Value::Null, |run| run.to_string().into()))
            })
            .description("The last run: of the job, or that made the dataset or model; null where no run did."),
        )
        .field(
            part("at", TypeRef::named(scalars::DATE_TIME), |n: &LineageNode| {
                Ok(optional_instant(n.at.as_ref()))
            })
            .description("When that ended."),
        )
        .field(
            part("runs", TypeRef::named_nn(TypeRef::INT), |n: &LineageNode| Ok(n.runs.into()))
                .description("Of a job how many of its runs were looked at."),
        )
}

fn lineage_edge_type() -> Object {
    Object::new("LineageLink")
        .description("That one was read for, or made by, another.")
        .field(part("from", TypeRef::named_nn(TypeRef::ID), |e: &LineageEdge| {
            Ok(e.from.as_str().into())
        }))
        .field(part("to", TypeRef::named_nn(TypeRef::ID), |e: &LineageEdge| {
            Ok(e.to.as_str().into())
        }))
        .field(
            part("version", TypeRef::named(scalars::BIG_INT), |e: &LineageEdge| {
                Ok(e.version.map_or(Value::Null, super::big))
            })
            .description("Of a dataset the version that the last run read or made."),
        )
}

/// The query fields.
pub(crate) fn queries() -> [Field; 3] {
    [
        Field::new("pipelines", TypeRef::named_nn_list("Pipeline"), |context| {
            let inner = context.ctx;
            nullable(inner, async move {
                let state = state(inner)?;
                let who = state.who(Role::Reader)?;
                let all = state.service().runner.pipelines(who).await?;
                Ok(Some(FieldValue::list(all.into_iter().map(FieldValue::owned_any))))
            })
        })
        .description("Pipelines, by name."),
        Field::new("pipeline", TypeRef::named("Pipeline"), |context| {
            let inner = context.ctx;
            nullable(inner, async move {
                let state = state(inner)?;
                let who = state.who(Role::Reader)?;
                let found = state.service().runner.pipeline(who, &name(&context)).await?;
                Ok(Some(FieldValue::owned_any(found)))
            })
        })
        .description("One pipeline.")
        .argument(name_argument()),
        Field::new("lineage", TypeRef::named("Lineage"), |context| {
            let inner = context.ctx;
            nullable(inner, async move {
                let state = state(inner)?;
                let who = state.who(Role::Reader)?;
                let of = text_argument(&context, "of");
                let lineage = state.service().runner.lineage(who, of.as_deref()).await?;
                Ok(Some(FieldValue::owned_any(lineage)))
            })
        })
        .description("What was made of what: all of it, or what one dataset or model came from and what came of it.")
        .argument(
            InputValue::new("of", TypeRef::named(TypeRef::STRING))
                .description("A dataset, a model as `name@version`, or the id of a node."),
        ),
    ]
}

/// The mutations.
pub(crate) fn mutations() -> [Field; 4] {
    [
        Field::new("applyPipeline", TypeRef::named("Pipeline"), |context| {
            let inner = context.ctx;
            nullable(inner, async move {
                let state = state(inner)?;
                let who = state.who(Role::Operator)?;
                let definition = text_argument(&context, "definition").unwrap_or_default();
                let asked = Schedule::from_toml(&definition, "definition")?;
                let made = state.service().runner.apply_pipelines(who, vec![asked]).await?.pop();
                Ok(made.map(|(made, _)| FieldValue::owned_any(made)))
            })
        })
        .description(
            "Makes a pipeline what its definition says, whether there was one of its name or not. A run of it that goes on does so with \
             the new steps. Needs the role operator.",
        )
        .argument(
            InputValue::new("definition", TypeRef::named_nn(TypeRef::STRING))
                .description("TOML, as a file of pipelines has it; it says the name."),
        ),
        changing(
            "runPipeline",
            "Begins a run of a pipeline. CONFLICT while one goes on. Needs the role operator.",
            async |runner, who, name, _| runner.run_pipeline(&who, &name).await,
        ),
        changing(
            "retryPipeline",
            "Has a run of a pipeline go on that failed or was cancelled: steps that failed run again, and those behind them follow. \
             Needs the role operator.",
            async |runner, who, name, run| {
                runner.retry_pipeline(&who, &name, run.as_deref()).await
            },
        )
        .argument(run_argument()),
        changing(
            "cancelPipeline",
            "Stops a run of a pipeline: no step begins any more, and those at work are cancelled. Needs the role operator.",
            async |runner, who, name, run| {
                runner.cancel_pipeline(&who, &name, run.as_deref()).await
            },
        )
        .argument(run_argument()),
    ]
}

/// A mutation of the runs of one pipeline.
fn changing<F: Future<Output = Result<PipelineRun>> + Send>(
    field: &'static str,
    description: &'static str,
    change: impl Fn(Runner, Principal, String, Option<String>) -> F + Copy + Send + Sync + 'static,
) -> Field {
    Field::new(field, TypeRef::named("PipelineRun"), move |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?.clone();
            let runner = state.service().runner.clone();
            let run = text_argument(&context, "run");
            let changed = change(runner, who, name(&context), run).await?;
            Ok(Some(FieldValue::owned_any(changed)))
        })
    })
    .description(description)
    .argument(name_argument())
}

fn name_argument() -> InputValue {
    InputValue::new("name", TypeRef::named_nn(TypeRef::STRING))
}

fn run_argument() -> InputValue {
    InputValue::new("run", TypeRef::named(TypeRef::ID))
        .description("A run of the pipeline; its last when absent.")
}

fn name(context: &ResolverContext<'_>) -> String {
    text_argument(context, "name").unwrap_or_default()
}
