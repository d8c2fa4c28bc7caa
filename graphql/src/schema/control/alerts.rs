//! `alertDefinitions`, `alertSilences`, `defineAlert`, `removeAlert`, `acknowledgeAlert`, `silenceAlerts`, `endSilence`: which rows are a
//! reason to alert, and what people say of alerts. What became of them are datasets as any other.

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use chrono::Utc;
use engine::{Result, Role};
use jobs::{AlertDefinition, AlertRule, AlertState, Silence, alert_instant};
use serde_json::Value as Json;

use super::super::resolve::{argument, nullable, part, state, text_argument};
use super::super::scalars;
use super::{big, given, instant, json};
use crate::error::bad_input;

const ALERT: &str = "AlertDefinition";
const SILENCE: &str = "AlertSilence";

/// Arguments of `defineAlert`, the fields of a rule that they are, and what they say.
const FIELDS: [(&str, &str, &str); 17] = [
    ("dataset", "dataset", "The dataset whose commits it looks at."),
    ("where", "where", "Which rows it looks at, as SQL; every row when absent."),
    (
        "condition",
        "condition",
        "True of a row that is a reason to alert, as SQL. Expected, unless there is `freshness`.",
    ),
    ("value", "value", "The number that is shown, as SQL."),
    ("by", "by", "Columns; an alert is one for each combination of their values."),
    (
        "time",
        "time",
        "The column of a row's instant; when absent, that of the commit that brought it.",
    ),
    ("for", "for", "How long the condition must hold, such as `5m`; `0` when absent."),
    (
        "clear",
        "clear",
        "How long it must not hold before the alert is over, or `never`; `0` when absent.",
    ),
    (
        "expires",
        "expires",
        "It is over by itself so long after the last row on which the condition held.",
    ),
    ("stands", "stands", "Whether the last row stands until a newer one of its group comes."),
    (
        "freshness",
        "freshness",
        "Alert where no commit, or with `time` no row, is newer than that; instead of a condition.",
    ),
    ("severity", "severity", "`info`, `warning` or `critical`; `warning` when absent."),
    ("summary", "summary", "What is told, with `{value}` and `{column}` for each column of `by`."),
    (
        "repeat",
        "repeat",
        "Tell again every so long while it fires and nobody acknowledged it; from `1m` on.",
    ),
    (
        "escalate",
        "escalate",
        "Steps of an alert that nobody acknowledged, as [{\"after\": \"1h\", \"severity\": \"critical\"}].",
    ),
    ("group", "group", "Columns of `by`: alerts with equal values of them are told as one notice."),
    ("labels", "labels", "Texts that go with every notice, by name."),
];

/// `AlertDefinition`, `AlertSilence`.
pub(crate) fn types() -> [Object; 2] {
    let string = || TypeRef::named_nn(TypeRef::STRING);
    let text = |name: &'static str, show: fn(&AlertRule) -> String| {
        part(name, TypeRef::named_nn(TypeRef::STRING), move |of: &AlertState| {
            Ok(show(&of.rule).into())
        })
    };
    let optional = |name: &'static str, show: fn(&AlertRule) -> Option<&String>| {
        part(name, TypeRef::named(TypeRef::STRING), move |of: &AlertState| {
            Ok(show(&of.rule).map_or(Value::Null, |text| text.as_str().into()))
        })
    };
    let alert = Object::new(ALERT)
        .description("A rule that is held against each commit to a dataset; what became of it are rows of alerts and alert_events.")
        .field(text("name", |rule| rule.name.clone()))
        .field(text("dataset", |rule| rule.dataset.clone()))
        .field(optional("condition", |rule| rule.condition.as_ref()))
        .field(optional("where", |rule| rule.only.as_ref()))
        .field(part("by", TypeRef::named_nn_list_nn(TypeRef::STRING), |of: &AlertState| {
            Ok(of.rule.by.iter().map(|column| Value::from(column.as_str())).collect::<Vec<_>>().into())
        }))
        .field(text("severity", |rule| rule.severity.to_string()))
        .field(
            part("definition", TypeRef::named_nn(scalars::JSON), |of: &AlertState| json(&of.rule))
                .description("All of it, as it stands in alert_rules."),
        )
        .field(
            part("firing", TypeRef::named_nn(scalars::BIG_INT), |of: &AlertState| Ok(big(of.firing)))
                .description("How many of its alerts fire, whether somebody has them or not."),
        )
        .field(
            part("pending", TypeRef::named_nn(scalars::BIG_INT), |of: &AlertState| Ok(big(of.pending)))
                .description("How many would fire if it goes on."),
        );
    let silence = Object::new(SILENCE)
        .description(
            "Alerts that nobody is told of for a while; they are what they are all the same.",
        )
        .field(part("name", string(), |of: &Silence| Ok(of.name.as_str().into())))
        .field(part("rules", TypeRef::named_nn_list_nn(TypeRef::STRING), |of: &Silence| {
            Ok(of.rules.iter().map(|rule| Value::from(rule.as_str())).collect::<Vec<_>>().into())
        }))
        .field(
            part("group", TypeRef::named_nn(scalars::JSON), |of: &Silence| json(&of.group))
                .description("By column the value, or the values of which one, that an alert has."),
        )
        .field(part("from", TypeRef::named_nn(scalars::DATE_TIME), |of: &Silence| {
            Ok(instant(&of.from))
        }))
        .field(part("until", TypeRef::named_nn(scalars::DATE_TIME), |of: &Silence| {
            Ok(instant(&of.until))
        }))
        .field(part("reason", string(), |of: &Silence| Ok(of.reason.as_str().into())))
        .field(part("by", string(), |of: &Silence| Ok(of.by.as_str().into())));
    [alert, silence]
}

/// The query fields.
pub(crate) fn queries() -> [Field; 2] {
    let alerts = Field::new("alertDefinitions", TypeRef::named_nn_list(ALERT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Reader)?;
            let all = state.service().runner.alerts(who).await?;
            Ok(Some(FieldValue::list(all.into_iter().map(FieldValue::owned_any))))
        })
    })
    .description("Rules that are held against each commit, by name.");
    let silences = Field::new("alertSilences", TypeRef::named_nn_list(SILENCE), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Reader)?;
            let all = state.service().runner.silences(who).await?;
            Ok(Some(FieldValue::list(all.into_iter().map(FieldValue::owned_any))))
        })
    })
    .description("Silences that are not over, by name.");
    [alerts, silences]
}

/// The mutations.
pub(crate) fn mutations() -> [Field; 5] {
    [define_field(), remove_field(), acknowledge_field(), silence_field(), end_field()]
}

fn string(name: &str) -> InputValue {
    InputValue::new(name, TypeRef::named_nn(TypeRef::STRING))
}

fn optional(name: &str) -> InputValue {
    InputValue::new(name, TypeRef::named(TypeRef::STRING))
}

fn texts(name: &str) -> InputValue {
    InputValue::new(name, TypeRef::named_nn_list(TypeRef::STRING))
}

fn define_field() -> Field {
    let define = Field::new("defineAlert", TypeRef::named(ALERT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let asked = definition(&context)?;
            let runner = &state.service().runner;
            runner.define_alerts(who, std::slice::from_ref(&asked)).await?;
            Ok(Some(FieldValue::owned_any(runner.alert(who, asked.name()).await?)))
        })
    })
    .description(
        "Makes an alert what the arguments say, whether there was one of its name or not, and has what is there looked at; from then on \
         each commit is. Needs the role operator.",
    )
    .argument(string("name").description("Lower-case letters, digits, `_` and `-`, a letter first."));
    FIELDS.iter().fold(define, |field, (name, _, about)| {
        let of = match *name {
            "dataset" => TypeRef::named_nn(TypeRef::STRING),
            "by" | "group" => TypeRef::named_nn_list(TypeRef::STRING),
            "stands" => TypeRef::named(TypeRef::BOOLEAN),
            "escalate" | "labels" => TypeRef::named(scalars::JSON),
            _ => TypeRef::named(TypeRef::STRING),
        };
        field.argument(InputValue::new(*name, of).description(*about))
    })
}

fn definition(context: &ResolverContext<'_>) -> Result<AlertDefinition> {
    let names = FIELDS.map(|(name, field, _)| (name, field));
    let mut fields = given(context, "defineAlert", names)?;
    fields.retain(|_, value| !value.is_null());
    AlertDefinition::new(&text_argument(context, "name").unwrap_or_default(), fields)
}

fn remove_field() -> Field {
    Field::new("removeAlert", TypeRef::named(ALERT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let name = text_argument(&context, "name").unwrap_or_default();
            let (last, _) = state.service().runner.remove_alert(who, &name).await?;
            Ok(Some(FieldValue::owned_any(last)))
        })
    })
    .description("Removes an alert, and answers with it as it was: what fires of it is over. Needs the role operator.")
    .argument(string("name"))
}

fn acknowledge_field() -> Field {
    Field::new("acknowledgeAlert", TypeRef::named(ALERT), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let text = |name: &str| text_argument(&context, name).unwrap_or_default();
            let (rule, group, comment) = (text("rule"), text("group"), text("comment"));
            let runner = &state.service().runner;
            runner.acknowledge_alert(who, (&rule, &group), &comment).await?;
            Ok(Some(FieldValue::owned_any(runner.alert(who, &rule).await?)))
        })
    })
    .description(
        "Says that whoever asks has an alert that fires: until it is over, it is not told again and does not escalate. Needs the role \
         operator.",
    )
    .argument(string("rule"))
    .argument(optional("group").description("As alerts has it, such as `host=a`; empty, and so when absent, where a rule has one alert."))
    .argument(optional("comment"))
}

fn silence_field() -> Field {
    Field::new("silenceAlerts", TypeRef::named(SILENCE), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let asked = silence(&context)?;
            let made = state.service().runner.silence_alerts(who, asked).await?;
            Ok(Some(FieldValue::owned_any(made)))
        })
    })
    .description(
        "Has alerts be quiet for a while: they are what they are, and nobody is told. One of a name that was there takes the place of that. \
         Needs the role operator.",
    )
    .argument(string("name"))
    .argument(texts("rules").description("Alerts of these rules; of every rule when absent."))
    .argument(
        InputValue::new("group", TypeRef::named(scalars::JSON))
            .description("By column the value, or a list of them, that an alert has, as {\"host\": \"a\"}."),
    )
    .argument(optional("from").description("From then on: an instant, or a time from now such as `2h`; from now on when absent."))
    .argument(string("until").description("Up to then: an instant, or a time from now such as `2h`."))
    .argument(string("reason"))
}

fn silence(context: &ResolverContext<'_>) -> Result<Silence> {
    let text = |name: &str| text_argument(context, name);
    let now = Utc::now();
    let at = |name: &str, text: &str| {
        alert_instant(text, now)
            .map_err(|error| error.while_doing(format_args!("silenceAlerts.{name}")))
    };
    let rules = match argument(context, "rules") {
        Some(Value::List(rules)) => rules,
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    };
    let rules = rules.into_iter().filter_map(|rule| match rule {
        Value::String(rule) => Some(rule),
        _ => None,
    });
    let group = match argument(context, "group") {
        None | Some(Value::Null) => Json::Object(serde_json::Map::new()),
        Some(value) => {
            value.into_json().map_err(|error| bad_input(format!("silenceAlerts.group: {error}")))?
        }
    };
    let group = serde_json::from_value(group).map_err(|_| {
        bad_input("silenceAlerts.group: expected an object of texts, or of lists of texts")
    })?;
    Ok(Silence {
        name: text("name").unwrap_or_default(),
        rules: rules.collect(),
        group,
        from: text("from").map_or(Ok(now), |from| at("from", &from))?,
        until: at("until", &text("until").unwrap_or_default())?,
        reason: text("reason").unwrap_or_default(),
        by: String::new(),
        created_at: now,
    })
}

fn end_field() -> Field {
    Field::new("endSilence", TypeRef::named(SILENCE), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let name = text_argument(&context, "name").unwrap_or_default();
            let ended = state.service().runner.end_silence(who, &name).await?;
            Ok(Some(FieldValue::owned_any(ended)))
        })
    })
    .description("Ends a silence now: alerts that still fire are told. Needs the role operator.")
    .argument(string("name"))
}
