//! `schedules`, `schedule(name:)`, and the mutations that add, pause, resume and remove one.

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, TypeRef,
};
use chrono::Utc;
use datasets::DatasetName;
use engine::{Error, Principal, Result, Role};
use jobs::{AT_ONCE_MAX, Backfill, NextTime, Progress, Runner, Schedule, ScheduleState, Trigger};
use kernels::GpuPolicy;

use super::super::resolve::{argument, nullable, objects, part, state, text_argument};
use super::super::scalars;
use super::runs::{priority, run_value, state_value};
use super::{big, instant, json, optional_instant};
use crate::error::bad_input;

/// Next times that a schedule shows.
const NEXT_TIMES: usize = 10;

/// `Schedule`, `ScheduleTime`, `ScheduleProgress`.
pub(crate) fn types() -> [Object; 3] {
    [schedule_type(), time_type(), progress_type()]
}

fn schedule_type() -> Object {
    let text = |name: &'static str, show: fn(&Schedule) -> &str| {
        part(name, TypeRef::named_nn(TypeRef::STRING), move |s: &ScheduleState| {
            Ok(show(&s.schedule).into())
        })
    };
    Object::new("Schedule")
        .description("When a job runs by itself.")
        .field(text("name", |s| &s.name))
        .field(text("job", |s| &s.job))
        .field(
            part("params", TypeRef::named_nn(scalars::JSON), |s: &ScheduleState| {
                json(&s.schedule.params)
            })
            .description("Parameters of the job, as they were given."),
        )
        .field(
            part("gpu", TypeRef::named("GpuPolicy"), |s: &ScheduleState| {
                let word = s.schedule.gpu.map(|gpu| gpu.to_string().to_uppercase());
                Ok(word.map_or(Value::Null, |word| Value::Enum(async_graphql::Name::new(word))))
            })
            .description("The server's own where it is null."),
        )
        .field(clock("cron", |cron, _, _| cron).description(
            "Minute, hour, day of month, month, day of week; null where no clock says when.",
        ))
        .field(clock("zone", |_, zone, _| zone).description("The time zone whose clock counts."))
        .field(clock("catchUp", |_, _, catch_up| catch_up).description(
            "What becomes of times that nobody was there for: none, latest or all run.",
        ))
        .field(part("jitterSeconds", TypeRef::named(TypeRef::INT), |s: &ScheduleState| {
            Ok(match &s.schedule.trigger {
                Trigger::Clock { jitter_seconds, .. } => (*jitter_seconds).into(),
                _ => Value::Null,
            })
        }))
        .field(
            change("onChange", TypeRef::STRING, |dataset, _, _| dataset.as_str().into())
                .description("The dataset whose changes it waits for."),
        )
        .field(
            change("rowsMin", scalars::BIG_INT, |_, rows, _| big(rows))
                .description("How many rows must have changed since it ran."),
        )
        .field(
            change("everySeconds", TypeRef::INT, |_, _, seconds| seconds.into())
                .description("The least time between two runs."),
        )
        .field(
            part("after", TypeRef::named(TypeRef::STRING), |s: &ScheduleState| {
                Ok(match &s.schedule.trigger {
                    Trigger::After { after } => after.as_str().into(),
                    _ => Value::Null,
                })
            })
            .description("The schedule, or the job, of which each run that succeeds starts one."),
        )
        .field(part("priority", TypeRef::named_nn(TypeRef::INT), |s: &ScheduleState| {
            Ok(s.schedule.priority.into())
        }))
        .field(text("createdBy", |s| &s.created_by))
        .field(part("createdAt", TypeRef::named_nn(scalars::DATE_TIME), |s: &ScheduleState| {
            Ok(instant(&s.schedule.created_at))
        }))
        .field(part("isPaused", TypeRef::named_nn(TypeRef::BOOLEAN), |s: &ScheduleState| {
            Ok(s.is_paused.into())
        }))
        .field(
            part("missed", TypeRef::named_nn(scalars::BIG_INT), |s: &ScheduleState| {
                Ok(big(s.missed))
            })
            .description("Times that came too late to run."),
        )
        .field(
            part("lastState", TypeRef::named("RunState"), |s: &ScheduleState| {
                Ok(s.last_state.map_or(Value::Null, state_value))
            })
            .description("How its newest run is. Null where it had none, or that was long ago."),
        )
        .field(
            part("lastSameAs", TypeRef::named(TypeRef::ID), |s: &ScheduleState| {
                Ok(s.last_same_as.map_or(Value::Null, |run| run.to_string().into()))
            })
            .description(
                "The earlier run whose results the newest run found unchanged, so the newest run wrote nothing.",
            ),
        )
        .field(
            Field::new("progress", TypeRef::named("ScheduleProgress"), |context| {
                let state = context.parent_value.downcast_ref::<ScheduleState>();
                let progress = state.and_then(|state| state.progress);
                FieldFuture::Value(progress.map(FieldValue::owned_any))
            })
            .description("How far a backfill is; null of what is none."),
        )
        .field(
            part("nextAt", TypeRef::named(scalars::DATE_TIME), |s: &ScheduleState| {
                Ok(optional_instant(s.next_at.as_ref()))
            })
            .description("Null while it is paused, and where no clock says it."),
        )
        .field(
            objects("nextTimes", TypeRef::named_nn_list_nn("ScheduleTime"), |s: &ScheduleState| {
                // One that is kept was readable when it was made.
                s.schedule.trigger.next_times(Utc::now(), NEXT_TIMES).unwrap_or_default()
            })
            .description("Its next ten times, also while it is paused."),
        )
}

/// A field of schedules on the clock, of line, zone and what becomes of missed times.
fn clock(name: &'static str, show: for<'a> fn(&'a str, &'a str, &'a str) -> &'a str) -> Field {
    part(name, TypeRef::named(TypeRef::STRING), move |s: &ScheduleState| {
        Ok(match &s.schedule.trigger {
            Trigger::Clock { cron, zone, catch_up, .. } => show(cron, zone, catch_up).into(),
            _ => Value::Null,
        })
    })
}

/// A field of schedules on changes.
fn change(
    name: &'static str,
    of: &'static str,
    show: fn(&DatasetName, u64, u32) -> Value,
) -> Field {
    part(name, TypeRef::named(of), move |s: &ScheduleState| {
        Ok(match &s.schedule.trigger {
            Trigger::Change { on_change, rows_min, every_seconds } => {
                show(on_change, *rows_min, *every_seconds)
            }
            _ => Value::Null,
        })
    })
}

fn progress_type() -> Object {
    let count = |name: &'static str, show: fn(&Progress) -> u64| {
        part(name, TypeRef::named_nn(TypeRef::INT), move |p: &Progress| Ok(show(p).into()))
    };
    Object::new("ScheduleProgress")
        .description("How far a backfill is, in partitions.")
        .field(count("total", |p| p.total))
        .field(count("done", |p| p.done).description("Those whose runs succeeded."))
        .field(
            count("failed", |p| p.failed).description("Those whose runs failed or were cancelled."),
        )
        .field(count("open", |p| p.open).description("Those whose runs wait or work."))
}

fn time_type() -> Object {
    Object::new("ScheduleTime")
        .description("A time of a schedule.")
        .field(part("at", TypeRef::named_nn(scalars::DATE_TIME), |t: &NextTime| Ok(instant(&t.at))))
        .field(
            part("local", TypeRef::named_nn(TypeRef::STRING), |t: &NextTime| {
                Ok(t.local.as_str().into())
            })
            .description(
                "What the clock of its zone shows, with its offset; `logicalTime` of the run.",
            ),
        )
}

/// The query fields.
pub(crate) fn queries() -> [Field; 2] {
    [
        Field::new("schedules", TypeRef::named_nn_list("Schedule"), |context| {
            let inner = context.ctx;
            nullable(inner, async move {
                let state = state(inner)?;
                let who = state.who(Role::Reader)?;
                let all = state.service().runner.schedules(who).await?;
                Ok(Some(FieldValue::list(all.into_iter().map(FieldValue::owned_any))))
            })
        })
        .description("Schedules, by name."),
        Field::new("schedule", TypeRef::named("Schedule"), |context| {
            let inner = context.ctx;
            nullable(inner, async move {
                let state = state(inner)?;
                let who = state.who(Role::Reader)?;
                let found = state.service().runner.schedule(who, &name(&context)).await?;
                Ok(Some(FieldValue::owned_any(found)))
            })
        })
        .description("One schedule.")
        .argument(name_argument()),
    ]
}

/// The mutations.
pub(crate) fn mutations() -> [Field; 8] {
    [
        backfill_field(),
        Field::new("addSchedule", TypeRef::named("Schedule"), |context| {
            let inner = context.ctx;
            nullable(inner, async move {
                let state = state(inner)?;
                let who = state.who(Role::Operator)?;
                let schedule = schedule_of(&context)?;
                let made = state.service().runner.add_schedule(who, schedule).await?;
                Ok(Some(FieldValue::owned_any(made)))
            })
        })
        .description("Adds a schedule: on the clock, on changes of a dataset, or after other runs. What was before is not made up for. Needs the role operator.")
        .argument(name_argument())
        .argument(InputValue::new("job", TypeRef::named_nn(TypeRef::STRING)))
        .argument(
            InputValue::new("cron", TypeRef::named(TypeRef::STRING)).description(
                "Minute, hour, day of month, month, day of week, like `30 2 * * 1-5`; or @hourly, @daily, @weekly, @monthly, @yearly. \
                 One of `cron`, `onChange` and `after` is needed.",
            ),
        )
        .argument(
            InputValue::new("onChange", TypeRef::named(TypeRef::STRING))
                .description("A dataset: run when its rows change."),
        )
        .argument(
            InputValue::new("rowsMin", TypeRef::named(TypeRef::INT))
                .description("With `onChange`: when so many rows have changed; 1 when absent."),
        )
        .argument(
            InputValue::new("everySeconds", TypeRef::named(TypeRef::INT)).description(
                "With `onChange`: not more often than once in so many seconds; 60 when absent.",
            ),
        )
        .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)).description(
            "The name of a schedule, or of a job: run after each run of it that succeeds.",
        ))
        .argument(
            InputValue::new("zone", TypeRef::named(TypeRef::STRING))
                .description("An IANA time zone; UTC when absent."),
        )
        .argument(InputValue::new("params", TypeRef::named(scalars::JSON)))
        .argument(InputValue::new("gpu", TypeRef::named("GpuPolicy")))
        .argument(
            InputValue::new("catchUp", TypeRef::named(TypeRef::STRING))
                .description("`none`, `latest` (when absent) or `all`."),
        )
        .argument(
            InputValue::new("jitterSeconds", TypeRef::named(TypeRef::INT))
                .description("Runs begin up to so many seconds after their time; 0 when absent."),
        )
        .argument(InputValue::new("priority", TypeRef::named(TypeRef::INT))),
        changing(
            "pauseSchedule",
            "Lets its times pass without runs; they are not made up for. Needs the role operator.",
            async |runner, who, name| runner.pause_schedule(&who, &name).await,
        ),
        changing(
            "resumeSchedule",
            "Lets it go on, from now. Needs the role operator.",
            async |runner, who, name| runner.resume_schedule(&who, &name).await,
        ),
        changing(
            "resetSchedule",
            "Moves its next time to the first one after now. Needs the role operator.",
            async |runner, who, name| runner.reset_schedule(&who, &name).await,
        ),
        changing(
            "cancelBackfill",
            "Pauses a backfill and cancels the runs of its open partitions. `backfill` with the same arguments continues it. Needs the \
             role operator.",
            async |runner, who, name| runner.cancel_backfill(&who, &name).await,
        ),
        run_field(),
        changing(
            "removeSchedule",
            "Removes it, and answers with it as it was; its runs stay. Needs the role operator.",
            async |runner, who, name| {
                let last = runner.schedule(&who, &name).await?;
                runner.remove_schedule(&who, &name).await?;
                Ok(last)
            },
        ),
    ]
}

fn run_field() -> Field {
    Field::new("runSchedule", TypeRef::named("Run"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let runner = &state.service().runner;
            let run = runner.run_schedule(who, &name(&context)).await?;
            Ok(Some(run_value(runner.get(who, run).await?)))
        })
    })
    .description(
        "Queues a run of a schedule now. Its next time does not change. Needs the role operator.",
    )
    .argument(name_argument())
}

fn backfill_field() -> Field {
    Field::new("backfill", TypeRef::named("Schedule"), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let asked = backfill_of(&context)?;
            let made = state.service().runner.backfill(who, &asked).await?;
            Ok(Some(FieldValue::owned_any(made)))
        })
    })
    .description(
        "Runs a job for each day or hour of the past, a few at a time and after whatever else waits. The same again has it go on, with \
         another run for each partition that failed. Needs the role operator.",
    )
    .argument(InputValue::new("job", TypeRef::named_nn(TypeRef::STRING)).description("One that has partitions: sql or exec."))
    .argument(
        InputValue::new("from", TypeRef::named_nn(TypeRef::STRING))
            .description("The first day, such as 2026-01-01."),
    )
    .argument(InputValue::new("to", TypeRef::named_nn(TypeRef::STRING)).description("The last day."))
    .argument(
        InputValue::new("every", TypeRef::named(TypeRef::STRING))
            .description("How long a partition is: `day` (when absent) or `hour`."),
    )
    .argument(
        InputValue::new("zone", TypeRef::named(TypeRef::STRING))
            .description("The IANA time zone whose days they are; UTC when absent."),
    )
    .argument(
        InputValue::new("atOnce", TypeRef::named(TypeRef::INT))
            .description("How many of its runs may wait or work at a time, 1 to 100; 2 when absent."),
    )
    .argument(InputValue::new("params", TypeRef::named(scalars::JSON)))
    .argument(InputValue::new("gpu", TypeRef::named("GpuPolicy")))
    .argument(
        InputValue::new("name", TypeRef::named(TypeRef::STRING))
            .description("Its name among schedules; made of the job and the days when absent."),
    )
}

fn backfill_of(context: &ResolverContext<'_>) -> Result<Backfill> {
    let text = |name: &str| text_argument(context, name);
    let params = argument(context, "params").unwrap_or_else(super::jobs::no_parameters);
    let params =
        params.into_json().map_err(|error| bad_input(format!("backfill.params: {error}")))?;
    let at_once = match argument(context, "atOnce") {
        None | Some(Value::Null) => Some(2),
        Some(Value::Number(number)) => {
            number.as_u64().and_then(|number| u32::try_from(number).ok())
        }
        Some(_) => None,
    };
    Ok(Backfill {
        name: text("name"),
        job: text("job").unwrap_or_default(),
        params,
        gpu: match text("gpu") {
            None => None,
            Some(word) => Some(word.to_lowercase().parse::<GpuPolicy>().map_err(Error::from)?),
        },
        from: text("from").unwrap_or_default(),
        to: text("to").unwrap_or_default(),
        every: text("every").unwrap_or_else(|| "day".to_owned()).parse()?,
        zone: text("zone").unwrap_or_else(|| "UTC".to_owned()),
        at_once: at_once
            .ok_or_else(|| bad_input(format!("backfill.atOnce: expected 1 to {AT_ONCE_MAX}")))?,
    })
}

/// A mutation of one schedule.
fn changing<F: Future<Output = Result<ScheduleState>> + Send>(
    field: &'static str,
    description: &'static str,
    change: impl Fn(Runner, Principal, String) -> F + Copy + Send + Sync + 'static,
) -> Field {
    Field::new(field, TypeRef::named("Schedule"), move |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?.clone();
            let changed = change(state.service().runner.clone(), who, name(&context)).await?;
            Ok(Some(FieldValue::owned_any(changed)))
        })
    })
    .description(description)
    .argument(name_argument())
}

fn name_argument() -> InputValue {
    InputValue::new("name", TypeRef::named_nn(TypeRef::STRING))
}

fn name(context: &ResolverContext<'_>) -> String {
    text_argument(context, "name").unwrap_or_default()
}

fn schedule_of(context: &ResolverContext<'_>) -> Result<Schedule> {
    let text = |name: &str, default: &str| {
        text_argument(context, name).unwrap_or_else(|| default.to_owned())
    };
    let params = argument(context, "params").unwrap_or_else(super::jobs::no_parameters);
    let params =
        params.into_json().map_err(|error| bad_input(format!("addSchedule.params: {error}")))?;
    let gpu = match text_argument(context, "gpu") {
        None => None,
        Some(word) => Some(word.to_lowercase().parse::<GpuPolicy>().map_err(Error::from)?),
    };
    let given = |name: &str| argument(context, name).is_some_and(|value| value != Value::Null);
    let number = |name: &str, default: u32| match argument(context, name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Number(number)) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| bad_input(format!("addSchedule.{name}: expected 0 or more"))),
        Some(_) => Err(bad_input(format!("addSchedule.{name}: expected a number"))),
    };
    let only = |with: &str, names: &[&str]| match names.iter().find(|name| given(name)) {
        Some(name) => Err(bad_input(format!("addSchedule.{name}: goes with `{with}` only"))),
        None => Ok(()),
    };
    let trigger = match (given("cron"), given("onChange"), given("after")) {
        (true, false, false) => {
            only("onChange", &["rowsMin", "everySeconds"])?;
            Trigger::Clock {
                cron: text("cron", ""),
                zone: text("zone", "UTC"),
                catch_up: text("catchUp", "latest"),
                jitter_seconds: number("jitterSeconds", 0)?,
            }
        }
        (false, true, false) => {
            only("cron", &["zone", "catchUp", "jitterSeconds"])?;
            Trigger::Change {
                on_change: DatasetName::new(text("onChange", "")).map_err(Error::from)?,
                rows_min: number("rowsMin", 1)?.into(),
                every_seconds: number("everySeconds", 60)?,
            }
        }
        (false, false, true) => {
            only("cron", &["zone", "catchUp", "jitterSeconds"])?;
            only("onChange", &["rowsMin", "everySeconds"])?;
            Trigger::After { after: text("after", "") }
        }
        _ => return Err(bad_input("addSchedule: expected one of `cron`, `onChange` and `after`")),
    };
    Ok(Schedule {
        name: name(context),
        job: text("job", ""),
        params,
        gpu,
        steps: Vec::new(),
        trigger,
        priority: priority(argument(context, "priority").as_ref())?,
        created_by: String::new(),
        created_at: Utc::now(),
    })
}
