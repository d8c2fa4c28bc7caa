//! `runs`, `run(id:)`, `runJob`, `cancelRun`, and the subscription `runUpdates`.

use std::any::Any;
use std::ops::RangeInclusive;

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext,
    SubscriptionField, SubscriptionFieldFuture, TypeRef,
};
use chrono::{DateTime, Utc};
use engine::{AsOf, Error, Principal, Result, Role, RunId};
use futures::StreamExt;
use futures::future::BoxFuture;
use jobs::{
    Attempt, DatasetVersion, Estimate, Routine, RunError, RunFilter, RunHandle, RunRecord,
    RunRequest, RunState, Runner, StageRecord,
};
use kernels::GpuPolicy;

use super::super::connection::first;
use super::super::resolve::{argument, nullable, objects, part, state, text_argument};
use super::super::scalars;
use super::{big, instant, json, optional_instant};
use crate::error::{bad_input, to_graphql};
use crate::plan::as_of::as_of;
use crate::subscribe::runs::run_updates;

/// Runs that `runs` gives when `first` is absent.
const RUNS_DEFAULT: usize = 20;

/// What `runJob` takes as `priority`.
const PRIORITIES: RangeInclusive<i32> = -100..=100;

const STATES: [RunState; 5] = [
    RunState::Queued,
    RunState::Running,
    RunState::Succeeded,
    RunState::Failed,
    RunState::Cancelled,
];

const POLICIES: [(GpuPolicy, &str); 3] = [
    (GpuPolicy::Required, "No usable GPU is an error before work starts."),
    (GpuPolicy::Preferred, "A GPU where there is one and it helps; the run says which and why."),
    (GpuPolicy::Off, "The processor."),
];

/// `RunState` and `GpuPolicy`.
pub(crate) fn enums() -> [Enum; 2] {
    let states = STATES
        .iter()
        .fold(Enum::new("RunState").description("How far a run is."), |states, state| {
            states.item(EnumItem::new(state.as_str().to_uppercase()))
        });
    let policies = POLICIES.iter().fold(
        Enum::new("GpuPolicy").description("Whether a GPU must, may or must not be used."),
        |policies, (policy, description)| {
            let item = EnumItem::new(policy.to_string().to_uppercase());
            policies.item(item.description(*description))
        },
    );
    [states, policies]
}

/// `Run`, `RunAttempt`, `RunDataset`, `RunStage`, `RunError`, `RunEstimate`.
pub(crate) fn types() -> [Object; 6] {
    [run_type(), attempt_type(), dataset_type(), stage_type(), error_type(), estimate_type()]
}

fn run_type() -> Object {
    let text = || TypeRef::named_nn(TypeRef::STRING);
    Object::new("Run")
        .description("One execution of a job.")
        .field(part("id", TypeRef::named_nn(TypeRef::ID), |r: &RunRecord| {
            Ok(r.id.to_string().into())
        }))
        .field(part("job", text(), |r: &RunRecord| Ok(r.job.as_str().into())))
        .field(part("state", TypeRef::named_nn("RunState"), |r: &RunRecord| {
            Ok(state_value(r.state))
        }))
        .field(
            part("progress", TypeRef::named_nn(TypeRef::FLOAT), |r: &RunRecord| {
                let progress = if r.progress.is_finite() { r.progress } else { 0.0 };
                Ok(progress.clamp(0.0, 1.0).into())
            })
            .description("Part done, 0 to 1."),
        )
        .field(
            part("activity", TypeRef::named(scalars::JSON), |r: &RunRecord| json(&r.activity))
                .description(
                    "What the step under way says of itself: of a training its step, loss and rate. \
                     Null before and after.",
                ),
        )
        .field(
            part("params", TypeRef::named_nn(scalars::JSON), |r: &RunRecord| json(&r.params))
                .description("The parameters with defaults filled in."),
        )
        .field(
            objects("inputs", TypeRef::named_nn_list_nn("RunDataset"), |r: &RunRecord| {
                r.inputs.clone()
            })
            .description("What it reads, pinned when it was requested."),
        )
        .field(
            objects("outputs", TypeRef::named_nn_list_nn("RunDataset"), |r: &RunRecord| {
                r.outputs.clone()
            })
            .description("What it committed."),
        )
        .field(
            objects("attempts", TypeRef::named_nn_list_nn("RunAttempt"), |r: &RunRecord| {
                r.attempts.clone()
            })
            .description("The tries before the one that counts: each ended by an error that can pass."),
        )
        .field(
            part("workersLost", TypeRef::named_nn(TypeRef::INT), |r: &RunRecord| {
                Ok(r.workers_lost.into())
            })
            .description("How often the process ended that was at it, before it did: others took it over."),
        )
        .field(
            part("nextAttemptAt", TypeRef::named(scalars::DATE_TIME), |r: &RunRecord| {
                Ok(optional_instant(r.next_attempt_at.as_ref()))
            })
            .description("When it is tried again. Null while it works and after its end."),
        )
        .field(
            part("waitsFor", TypeRef::named(TypeRef::STRING), |r: &RunRecord| {
                Ok(r.waits_for.as_deref().map_or(Value::Null, Value::from))
            })
            .description("What it has to wait for, where that is more than its turn: as where no worker is there to take it."),
        )
        .field(
            part("priority", TypeRef::named_nn(TypeRef::INT), |r: &RunRecord| Ok(r.priority.into()))
                .description("Higher is sooner."),
        )
        .field(
            Field::new("estimate", TypeRef::named("RunEstimate"), |context| {
                let run = context.parent_value.downcast_ref::<RunRecord>();
                let estimate = run.and_then(|run| run.estimate);
                FieldFuture::Value(estimate.map(FieldValue::owned_any))
            })
            .description("What it was thought to need when it was asked for; its stages have what it took."),
        )
        .field(
            part("deadlineAt", TypeRef::named(scalars::DATE_TIME), |r: &RunRecord| {
                Ok(optional_instant(r.deadline_at.as_ref()))
            })
            .description("When it is to have ended; null where nothing was said."),
        )
        .field(
            part("schedule", TypeRef::named(TypeRef::STRING), |r: &RunRecord| {
                Ok(r.schedule.as_deref().map_or(Value::Null, Value::from))
            })
            .description("The schedule that it is of."),
        )
        .field(
            part("logicalTime", TypeRef::named(TypeRef::STRING), |r: &RunRecord| {
                Ok(r.logical_time.as_deref().map_or(Value::Null, Value::from))
            })
            .description("The time of the schedule that it stands for, as the clock of its zone shows it."),
        )
        .field(
            objects("stages", TypeRef::named_nn_list_nn("RunStage"), |r: &RunRecord| {
                r.stages.clone()
            })
            .description("Its steps in order, with device and cost."),
        )
        .field(part("requestedBy", text(), |r: &RunRecord| Ok(r.requested_by.as_str().into())))
        .field(part("requestedAt", TypeRef::named_nn(scalars::DATE_TIME), |r: &RunRecord| {
            Ok(instant(&r.requested_at))
        }))
        .field(part("startedAt", TypeRef::named(scalars::DATE_TIME), |r: &RunRecord| {
            Ok(optional_instant(r.started_at.as_ref()))
        }))
        .field(part("finishedAt", TypeRef::named(scalars::DATE_TIME), |r: &RunRecord| {
            Ok(optional_instant(r.finished_at.as_ref()))
        }))
        .field(
            part("repeatedOf", TypeRef::named(TypeRef::ID), |r: &RunRecord| {
                Ok(r.repeated_of.map_or(Value::Null, |run| run.to_string().into()))
            })
            .description("The run whose results this one found instead of making them again."),
        )
        .field(
            part("nothingWritten", TypeRef::named_nn(TypeRef::BOOLEAN), |r: &RunRecord| {
                Ok(r.nothing_written().is_some().into())
            })
            .description(
                "Whether the run succeeded and wrote nothing, because `repeatedOf` had committed the same results.",
            ),
        )
        .field(
            part("asItWas", TypeRef::named(TypeRef::ID), |r: &RunRecord| {
                Ok(r.as_it_was.map_or(Value::Null, |run| run.to_string().into()))
            })
            .description(
                "The run that this one does again as it was. Nothing is committed: its summary compares what came out.",
            ),
        )
        .field(
            error_field(TypeRef::named("RunError"), |r: &RunRecord| r.error.clone())
                .description("Why it failed or was cancelled."),
        )
        .field(
            part("summary", TypeRef::named(scalars::JSON), |r: &RunRecord| json(&r.summary))
                .description("What the job says of its result."),
        )
}

fn error_field<T: Any + Send + Sync>(
    kind: TypeRef,
    error: impl Fn(&T) -> Option<RunError> + Send + Sync + 'static,
) -> Field {
    Field::new("error", kind, move |context| {
        let error = context.parent_value.downcast_ref::<T>().and_then(&error);
        FieldFuture::Value(error.map(FieldValue::owned_any))
    })
}

fn attempt_type() -> Object {
    Object::new("RunAttempt")
        .description("A try of a run that ended by an error that can pass.")
        .field(part("startedAt", TypeRef::named_nn(scalars::DATE_TIME), |a: &Attempt| {
            Ok(instant(&a.started_at))
        }))
        .field(part("endedAt", TypeRef::named_nn(scalars::DATE_TIME), |a: &Attempt| {
            Ok(instant(&a.ended_at))
        }))
        .field(error_field(TypeRef::named_nn("RunError"), |a: &Attempt| Some(a.error.clone())))
}

fn estimate_type() -> Object {
    let size = || TypeRef::named_nn(scalars::BIG_INT);
    Object::new("RunEstimate")
        .description("What a run was thought to need: by the size of its inputs, and by what runs of its kind took before.")
        .field(
            part("rows", size(), |e: &Estimate| Ok(big(e.rows)))
                .description("Rows of the inputs; 0 when their files do not say."),
        )
        .field(
            part("bytesRead", size(), |e: &Estimate| Ok(big(e.bytes_read)))
                .description("Bytes of the inputs' files."),
        )
        .field(
            part("memoryBytes", size(), |e: &Estimate| Ok(big(e.memory_bytes)))
                .description("Main memory; it waits until so much is free, or all of its worker's is."),
        )
        .field(
            part("deviceBytes", size(), |e: &Estimate| Ok(big(e.device_bytes)))
                .description("Memory of a GPU, where it uses one."),
        )
        .field(
            part("seconds", TypeRef::named(TypeRef::FLOAT), |e: &Estimate| {
                Ok(e.seconds.map_or(Value::Null, Value::from))
            })
            .description("How long it works; null where none of its kind ran before."),
        )
}

fn error_type() -> Object {
    Object::new("RunError")
        .description("Why a run ended without a result.")
        .field(part("code", TypeRef::named_nn(TypeRef::STRING), |e: &RunError| {
            Ok(e.code.as_str().into())
        }))
        .field(part("message", TypeRef::named_nn(TypeRef::STRING), |e: &RunError| {
            Ok(e.message.as_str().into())
        }))
}

fn dataset_type() -> Object {
    Object::new("RunDataset")
        .description("A dataset at a version.")
        .field(part("dataset", TypeRef::named_nn(TypeRef::STRING), |d: &DatasetVersion| {
            Ok(d.dataset.as_str().into())
        }))
        .field(part("version", TypeRef::named_nn(TypeRef::INT), |d: &DatasetVersion| {
            Ok(d.version.0.into())
        }))
        .field(part("rows", TypeRef::named(scalars::BIG_INT), |d: &DatasetVersion| {
            Ok(d.rows.map_or(Value::Null, big))
        }))
}

fn stage_type() -> Object {
    let text = |name: &'static str, show: fn(&StageRecord) -> &str| {
        part(name, TypeRef::named_nn(TypeRef::STRING), move |s: &StageRecord| Ok(show(s).into()))
    };
    let seconds = |name: &'static str, show: fn(&StageRecord) -> f64| {
        part(name, TypeRef::named_nn(TypeRef::FLOAT), move |s: &StageRecord| {
            let seconds = show(s);
            Ok(if seconds.is_finite() { seconds } else { 0.0 }.into())
        })
    };
    let number = |name: &'static str, show: fn(&StageRecord) -> u64| {
        part(name, TypeRef::named_nn(scalars::BIG_INT), move |s: &StageRecord| Ok(big(show(s))))
    };
    Object::new("RunStage")
        .description("A step of a run.")
        .field(text("name", |s| &s.name))
        .field(text("device", |s| &s.device))
        .field(text("reason", |s| &s.reason))
        .field(seconds("wallSeconds", |s| s.wall_seconds))
        .field(seconds("cpuSeconds", |s| s.cpu_seconds).description(
            "Processor time of the process meanwhile, shared out equally among the steps that were under way; of a program, what that took too.",
        ))
        .field(seconds("gpuSeconds", |s| s.gpu_seconds))
        .field(number("rowsIn", |s| s.rows_in))
        .field(number("rowsOut", |s| s.rows_out))
        .field(number("bytesRead", |s| s.bytes_read))
        .field(number("bytesWritten", |s| s.bytes_written))
        .field(number("peakMemoryBytes", |s| s.peak_memory_bytes).description(
            "The most memory that the process had while the step went on, other work of it included; of a program, what that had.",
        ))
        .field(part("facts", TypeRef::named(scalars::JSON), |s: &StageRecord| json(&s.facts)))
}

pub(super) fn state_value(state: RunState) -> Value {
    Value::Enum(async_graphql::Name::new(state.as_str().to_uppercase()))
}

pub(super) fn run_value<'a>(run: RunRecord) -> FieldValue<'a> {
    FieldValue::owned_any(run)
}

fn run_id(context: &ResolverContext<'_>, name: &str) -> Result<Option<RunId>> {
    text_argument(context, name)
        .map(|text| text.parse::<RunId>().map_err(|error| error.while_doing(name)))
        .transpose()
}

pub(super) fn required_run_id(context: &ResolverContext<'_>) -> Result<RunId> {
    run_id(context, "id")?.ok_or_else(|| bad_input("id: expected a run's id"))
}

/// The query field `runs`.
pub(crate) fn runs_field() -> Field {
    Field::new("runs", TypeRef::named_nn_list("Run"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Reader)?;
            let service = state.service();
            let wanted = text_argument(&context, "state");
            let filter = RunFilter {
                job: text_argument(&context, "job"),
                state: wanted.map(|state| state.to_lowercase().parse()).transpose()?,
                limit: match argument(&context, "first") {
                    None => RUNS_DEFAULT,
                    given => first(given.as_ref(), &service.limits)?,
                },
                before: run_id(&context, "before")?,
                routine: match argument(&context, "routine") {
                    Some(Value::Boolean(true)) => Routine::Shown,
                    _ => Routine::Hidden,
                },
            };
            let runs = service.runner.list(who, filter).await?;
            Ok(Some(FieldValue::list(runs.into_iter().map(run_value))))
        })
    })
    .description("Runs, newest first.")
    .argument(
        InputValue::new("job", TypeRef::named(TypeRef::STRING)).description("Only of this job."),
    )
    .argument(
        InputValue::new("state", TypeRef::named("RunState")).description("Only in this state."),
    )
    .argument(
        InputValue::new("first", TypeRef::named(TypeRef::INT))
            .description(format!("At most so many; {RUNS_DEFAULT} when absent.")),
    )
    .argument(
        InputValue::new("before", TypeRef::named(TypeRef::ID))
            .description("Only runs requested before this one: the last id of the page before."),
    )
    .argument(InputValue::new("routine", TypeRef::named(TypeRef::BOOLEAN)).description(
        "Includes runs of alerts, which a schedule starts every half a minute. Otherwise they are listed only if they failed or \
         were cancelled, or if `job` names them.",
    ))
}

/// The query field `run`.
pub(crate) fn run_field() -> Field {
    Field::new("run", TypeRef::named("Run"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Reader)?;
            let id = required_run_id(&context)?;
            let run = state.service().runner.get(who, id).await?;
            Ok(Some(run_value(run)))
        })
    })
    .description("One run.")
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
}

/// The mutation `runJob`.
pub(crate) fn run_job_field() -> Field {
    Field::new("runJob", TypeRef::named("Run"), |context| {
        let inner = context.ctx;
        nullable(inner, async move { run_job(&context).await.map(|run| Some(run_value(run))) })
    })
    .description("Requests a run of a job. Needs the role operator.")
    .argument(InputValue::new("job", TypeRef::named_nn(TypeRef::STRING)))
    .argument(
        InputValue::new("params", TypeRef::named(scalars::JSON))
            .description("Parameters; `Job.parametersSchema` says which."),
    )
    .argument(InputValue::new("gpu", TypeRef::named("GpuPolicy")))
    .argument(
        InputValue::new("inputs", TypeRef::named_nn_list("RunInput"))
            .description("Input datasets at other versions than the newest."),
    )
    .argument(InputValue::new("priority", TypeRef::named(TypeRef::INT)).description(
        "Higher is sooner, -100 to 100: each step is as if it had been asked for a minute earlier. 0 when absent.",
    ))
    .argument(InputValue::new("deadline", TypeRef::named(scalars::DATE_TIME)).description(
        "When it is to have ended: one that waits then does not begin, and one at work is stopped.",
    ))
    .argument(InputValue::new("wait", TypeRef::named(TypeRef::BOOLEAN)).description(
        "Answer when the run has ended. A run that takes longer than the server's bound is answered as \
         it then is.",
    ))
}

async fn run_job(context: &ResolverContext<'_>) -> Result<RunRecord> {
    let state = state(context.ctx)?;
    let who = state.who(Role::Operator)?;
    let service = state.service();
    let params = argument(context, "params").unwrap_or_else(super::jobs::no_parameters);
    let params =
        params.into_json().map_err(|error| bad_input(format!("runJob.params: {error}")))?;
    if !params.is_object() {
        return Err(bad_input(format!("runJob.params: expected an object, found {params}")));
    }
    let gpu = match text_argument(context, "gpu") {
        None => None,
        Some(name) => Some(name.to_lowercase().parse::<GpuPolicy>().map_err(Error::from)?),
    };
    let request = RunRequest {
        job: text_argument(context, "job").unwrap_or_default(),
        params,
        gpu,
        pins: pins(argument(context, "inputs").as_ref())?,
        priority: priority(argument(context, "priority").as_ref())?,
        deadline_at: deadline(text_argument(context, "deadline"))?,
    };
    let handle = service.runner.submit(who, request).await?;
    let (id, queued) = (handle.id(), handle.record());
    // The run is queued. Even if waiting or the database fails, the answer contains its id.
    match waited_for(context, handle).await {
        Ok(Some(ended)) => Ok(ended),
        _ => Ok(service.runner.get(who, id).await.unwrap_or(queued)),
    }
}

/// The record of a run that has ended, where its end is to be waited for and came within the server's bound.
pub(super) async fn waited_for(
    context: &ResolverContext<'_>,
    handle: RunHandle,
) -> Result<Option<RunRecord>> {
    if argument(context, "wait") != Some(Value::Boolean(true)) {
        return Ok(None);
    }
    let state = state(context.ctx)?;
    // A run goes on whether or not somebody waits for it.
    let ended = tokio::time::timeout(state.service().limits.run_wait_max, handle.wait());
    state.wait_for(ended).await?.ok().transpose()
}

fn deadline(text: Option<String>) -> Result<Option<DateTime<Utc>>> {
    let read = |text: String| {
        let at = DateTime::parse_from_rfc3339(&text);
        at.map(|at| at.with_timezone(&Utc)).map_err(|e| {
            bad_input(format!(
                "runJob.deadline: expected a time such as 2026-01-31T06:00:00Z, found {text:?}: {e}"
            ))
        })
    };
    text.map(read).transpose()
}

pub(super) fn priority(value: Option<&Value>) -> Result<i32> {
    let given = match value {
        None => return Ok(0),
        Some(Value::Number(number)) => number.as_i64(),
        Some(_) => None,
    };
    given
        .and_then(|given| i32::try_from(given).ok())
        .filter(|given| PRIORITIES.contains(given))
        .ok_or_else(|| bad_input("priority: expected -100 to 100"))
}

fn pins(value: Option<&Value>) -> Result<Vec<(datasets::DatasetName, AsOf)>> {
    let inputs = match value {
        None => return Ok(Vec::new()),
        Some(Value::List(inputs)) => inputs.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    inputs
        .iter()
        .map(|input| {
            let Value::Object(fields) = input else {
                return Err(bad_input(format!("inputs: expected objects, found {input}")));
            };
            let name = match fields.get("dataset") {
                Some(Value::String(name)) => name.as_str(),
                _ => "",
            };
            Ok((datasets::DatasetName::new(name)?, as_of(fields.get("asOf"))?))
        })
        .collect()
}

/// The mutation `retryRun`.
pub(crate) fn retry_field() -> Field {
    again_field("retryRun", |runner, who, id| Box::pin(runner.retry(who, id))).description(
        "Requests the work of a run that failed or was cancelled again, on what its inputs are now. That of a partition of a backfill \
         counts for its partition. Needs the role operator.",
    )
}

/// The mutation `rerunAsItWas`.
pub(crate) fn as_it_was_field() -> Field {
    again_field("rerunAsItWas", |runner, who, id| Box::pin(runner.rerun(who, id))).description(
        "Requests the work of a run that succeeded again, on the versions that it read then. Nothing is committed: the summary of the \
         new run has `is_same` and, for each output, the rows and digests then and now. Needs the role operator.",
    )
}

/// A mutation that requests the work of another run.
fn again_field(
    name: &'static str,
    again: for<'a> fn(&'a Runner, &'a Principal, RunId) -> BoxFuture<'a, Result<RunHandle>>,
) -> Field {
    Field::new(name, TypeRef::named("Run"), move |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let run = again(&state.service().runner, who, required_run_id(&context)?).await?;
            Ok(Some(run_value(run.record())))
        })
    })
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
}

/// The mutation `cancelRun`.
pub(crate) fn cancel_field() -> Field {
    Field::new("cancelRun", TypeRef::named("Run"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let id = required_run_id(&context)?;
            // It waits for the run to stop.
            let cancelled = state.service().runner.cancel(who, id);
            let run = state.wait_for(cancelled).await??;
            Ok(Some(run_value(run)))
        })
    })
    .description("Cancels a run that has not ended. Needs the role operator.")
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
}

/// The subscription field `runUpdates`.
pub(crate) fn updates_field() -> SubscriptionField {
    SubscriptionField::new("runUpdates", TypeRef::named_nn("Run"), |context| {
        SubscriptionFieldFuture::new(async move {
            let updates = async {
                let state = state(context.ctx)?;
                let who = state.who(Role::Reader)?.clone();
                let id = required_run_id(&context)?;
                run_updates(state.service().clone(), who, id).await
            };
            let updates = updates.await.map_err(|error| to_graphql(&error))?;
            Ok(updates.map(|update| match update {
                Ok(run) => Ok(run_value(run)),
                Err(error) => Err(to_graphql(&error)),
            }))
        })
    })
    .description(
        "A run as it is now, then each change of its state or progress, to its end. A client that is \
         slower than the changes gets the newest.",
    )
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
}
