//! `metricDefinitions`, `defineMetric` and `removeMetric`: measures that are kept up to date as series; `rateInsight`: what a person says
//! of an insight.

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use datasets::DatasetName;
use engine::{Commit, Error, Result, Role};
use jobs::insight_feedback::rate;
use jobs::{MetricDefinition, MetricState, metric};

use super::super::resolve::{nullable, object, part, state, text_argument};
use super::super::scalars;
use super::{CONDITION, EVERY_SECONDS, FieldOf, TIME_COLUMN, big, given, json};

const METRIC: &str = "MetricDefinition";
const RATED: &str = "RatedInsight";

/// Arguments of `defineMetric` and the fields of a definition that they are.
const FIELDS: [FieldOf; 13] = [
    ("dataset", "dataset", "The dataset whose rows are measured."),
    (
        "measure",
        "measure",
        "What is computed of the rows of each interval, such as `sum(cost_usd) / count(*)`, or a declared measure; `count(*)` when absent.",
    ),
    CONDITION,
    (
        "dimensions",
        "dimensions",
        "Columns of which each combination of values is a series of its own.",
    ),
    ("interval", "interval", "Length of an interval, such as `5m`; `1h` when absent."),
    TIME_COLUMN,
    ("empty", "empty", "What an interval without rows is: `zero`, `missing`, or `auto`."),
    ("unit", "unit", "What the values are in, such as `USD`."),
    ("owner", "owner", "Who answers for it."),
    ("target", "target", "What each value should reach, or not exceed, as `direction` says."),
    ("direction", "direction", "Which way is better, `up` or `down`: a target needs it."),
    (
        "assumptions",
        "assumptions",
        "Numbers by name that are assumed: `{usd_per_hour: 42}` says what `$usd_per_hour` is in `measure` and `where`.",
    ),
    EVERY_SECONDS,
];

/// `MetricDefinition`, `RatedInsight`.
pub(crate) fn types() -> [Object; 2] {
    let text = |name: &'static str, show: fn(&MetricState) -> String| {
        part(name, TypeRef::named_nn(TypeRef::STRING), move |of: &MetricState| Ok(show(of).into()))
    };
    let optional = |name: &'static str, show: fn(&MetricState) -> Option<&String>| {
        part(name, TypeRef::named(TypeRef::STRING), move |of: &MetricState| {
            Ok(show(of).map_or(Value::Null, |text| text.as_str().into()))
        })
    };
    let metric = Object::new(METRIC)
        .description("A measure of a dataset's rows that is kept up to date as series, whose values are in its output.")
        .field(text("name", |of| of.name.clone()))
        .field(text("dataset", |of| of.definition.dataset.to_string()))
        .field(text("measure", |of| of.definition.measure.clone()))
        .field(optional("where", |of| of.definition.condition.as_ref()))
        .field(part("dimensions", TypeRef::named_nn_list_nn(TypeRef::STRING), |of: &MetricState| {
            let names = of.definition.dimensions.iter().map(|name| Value::from(name.as_str()));
            Ok(names.collect::<Vec<_>>().into())
        }))
        .field(text("interval", |of| of.definition.interval.to_string()))
        .field(optional("unit", |of| of.definition.unit.as_ref()))
        .field(optional("owner", |of| of.definition.owner.as_ref()))
        .field(part("target", TypeRef::named(TypeRef::FLOAT), |of: &MetricState| {
            Ok(of.definition.target.map_or(Value::Null, Value::from))
        }))
        .field(part("direction", TypeRef::named(TypeRef::STRING), |of: &MetricState| {
            Ok(of.definition.direction.map_or(Value::Null, |way| way.as_str().into()))
        }))
        .field(part("assumptions", TypeRef::named_nn(scalars::JSON), |of: &MetricState| {
            json(&of.definition.assumptions)
        }))
        .field(text("output", |of| of.definition.output.to_string()))
        .field(
            object("schedule", TypeRef::named_nn("Schedule"), |of: &MetricState| {
                of.schedule.clone()
            })
            .description("What keeps it up to date: `pauseSchedule` has it rest."),
        );
    let rated = Object::new(RATED)
        .description("A word on an insight that was committed.")
        .field(part("dataset", TypeRef::named_nn(TypeRef::STRING), |of: &Commit| {
            Ok(of.dataset.as_str().into())
        }))
        .field(
            part("version", TypeRef::named_nn(scalars::BIG_INT), |of: &Commit| {
                Ok(big(of.version.0))
            })
            .description("The version of that dataset that holds it."),
        );
    [metric, rated]
}

/// The query field.
pub(crate) fn query() -> Field {
    Field::new("metricDefinitions", TypeRef::named_nn_list(METRIC), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Reader)?;
            let all = state.service().runner.definitions::<metric::Params>(who).await?;
            Ok(Some(FieldValue::list(all.into_iter().map(FieldValue::owned_any))))
        })
    })
    .description("Metrics that are kept up to date, by name.")
}

/// The mutations.
pub(crate) fn mutations() -> [Field; 3] {
    let define = Field::new("defineMetric", TypeRef::named(METRIC), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let asked = [definition(&context)?];
            let mut made = state.service().runner.define(who, &asked).await?;
            Ok(made.pop().map(|(metric, _, _)| FieldValue::owned_any(metric)))
        })
    })
    .description(
        "Makes a metric what the arguments say, whether there was one of its name or not, and has it computed. Its values are rows of \
         metric_values, whose `series` every job that looks at series reads. Needs the role operator.",
    )
    .argument(InputValue::new("name", TypeRef::named_nn(TypeRef::STRING)).description(
        "Lower-case letters, digits, `_` and `-`, a letter first.",
    ));
    let define = FIELDS.iter().fold(define, |field, (name, _, about)| {
        let of = match *name {
            "dataset" => TypeRef::named_nn(TypeRef::STRING),
            "dimensions" => TypeRef::named_nn_list(TypeRef::STRING),
            "everySeconds" => TypeRef::named(TypeRef::INT),
            "target" => TypeRef::named(TypeRef::FLOAT),
            "assumptions" => TypeRef::named(scalars::JSON),
            _ => TypeRef::named(TypeRef::STRING),
        };
        field.argument(InputValue::new(*name, of).description(*about))
    });
    let remove = Field::new("removeMetric", TypeRef::named(METRIC), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let name = text_argument(&context, "name").unwrap_or_default();
            let last = state.service().runner.remove_definition::<metric::Params>(who, &name).await?;
            Ok(Some(FieldValue::owned_any(last)))
        })
    })
    .description(
        "Has a metric kept up to date no more, and answers with it as it was; its values stay. Needs the role operator.",
    )
    .argument(InputValue::new("name", TypeRef::named_nn(TypeRef::STRING)));
    [define, remove, rate_field()]
}

fn definition(context: &ResolverContext<'_>) -> Result<MetricDefinition> {
    let names = FIELDS.map(|(name, field, _)| (name, field));
    let fields = given(context, "defineMetric", names)?;
    MetricDefinition::new(&text_argument(context, "name").unwrap_or_default(), fields)
}

fn rate_field() -> Field {
    Field::new("rateInsight", TypeRef::named(RATED), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Writer)?;
            let text = |name: &str| text_argument(&context, name);
            let dataset = text("dataset").unwrap_or_else(|| "insights".to_owned());
            let dataset = DatasetName::new(dataset).map_err(Error::from)?;
            let (id, verdict) = (text("id").unwrap_or_default(), text("verdict").unwrap_or_default());
            let (verdict, comment) = (verdict.to_lowercase().parse()?, text("comment"));
            let engine = &state.service().engine;
            let commit = rate(engine, who, &dataset, &id, verdict, comment.as_deref()).await?;
            Ok(Some(FieldValue::owned_any(commit)))
        })
    })
    .description(
        "Says of an insight that it is useful, known or wrong: the next run of the job insights minds it. Needs the role writer.",
    )
    .argument(InputValue::new("id", TypeRef::named_nn(TypeRef::ID)))
    .argument(
        InputValue::new("verdict", TypeRef::named_nn(TypeRef::STRING))
            .description("`useful`: its like counts for more; `known`: it is not said again; `wrong`: nor that, and its like counts for less."),
    )
    .argument(InputValue::new("comment", TypeRef::named(TypeRef::STRING)))
    .argument(
        InputValue::new("dataset", TypeRef::named(TypeRef::STRING))
            .description("The dataset that has it; insights when absent."),
    )
}
