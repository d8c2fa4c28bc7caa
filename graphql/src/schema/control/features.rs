//! `featureViews`, `defineFeature`, `removeFeature`: features of entities that are kept up to date; `onlineFeatures`: those of entities as
//! they are now; `featureSkew`: whether these are what a query gives.

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldValue, InputValue, Object, ResolverContext, TypeRef};
use chrono::Utc;
use datasets::DatasetName;
use engine::{Error, Result, Role};
use jobs::online::{ENTITIES_MAX, OnlineRequest, OnlineRows, Skew};
use jobs::{FeatureView, FeatureViewState, features};
use serde_json::{Map, Value as Json};

use super::super::resolve::{argument, nullable, object, part, state, text_argument};
use super::super::scalars;
use super::{CONDITION, EVERY_SECONDS, FieldOf, TIME_COLUMN, big, given, json};
use crate::error::{bad_input, over_limit};

const VIEW: &str = "FeatureView";
const ONLINE: &str = "OnlineFeatures";
const SKEW: &str = "FeatureSkew";

/// Arguments of `defineFeature` and the fields of a definition that they are.
const FIELDS: [FieldOf; 9] = [
    ("dataset", "dataset", "The dataset whose rows features are made of."),
    ("entity", "entity", "The columns that name an entity."),
    (
        "features",
        "features",
        "Features by name: an expression of a row, of which the newest row's counts, or a measure of rows, as \
         `{measure: \"count(*)\", window: \"7d\"}`.",
    ),
    CONDITION,
    TIME_COLUMN,
    ("knownColumn", "known_column", "The column of the instant at which a row was known."),
    (
        "knownAt",
        "known_at",
        "Columns that are known later than their row, each with the column of the instant at which it is.",
    ),
    ("ttl", "ttl", "How long a value holds, such as `7d`; for ever when absent."),
    EVERY_SECONDS,
];

/// `FeatureView`, `OnlineFeatures`, `FeatureSkew`.
pub(crate) fn types() -> [Object; 3] {
    let text = |name: &'static str, show: fn(&FeatureViewState) -> String| {
        part(name, TypeRef::named_nn(TypeRef::STRING), move |of: &FeatureViewState| {
            Ok(show(of).into())
        })
    };
    let view = Object::new(VIEW)
        .description("Features of entities that are kept up to date, which are rows of its output.")
        .field(text("name", |of| of.name.clone()))
        .field(text("dataset", |of| of.definition.dataset.to_string()))
        .field(text("output", |of| of.definition.output.to_string()))
        .field(part(
            "entity",
            TypeRef::named_nn_list_nn(TypeRef::STRING),
            |of: &FeatureViewState| {
                let names = of.definition.entity.iter().map(|name| Value::from(name.as_str()));
                Ok(names.collect::<Vec<_>>().into())
            },
        ))
        .field(
            part("definition", TypeRef::named_nn(scalars::JSON), |of: &FeatureViewState| {
                json(&of.definition)
            })
            .description("What is computed, as parameters of the job features."),
        )
        .field(
            object("schedule", TypeRef::named_nn("Schedule"), |of: &FeatureViewState| {
                of.schedule.clone()
            })
            .description("What keeps it up to date: `pauseSchedule` has it rest."),
        );
    let online = Object::new(ONLINE)
        .description("Features of entities as they are now.")
        .field(
            part("version", TypeRef::named_nn(scalars::BIG_INT), |of: &OnlineRows| {
                Ok(big(of.version.0))
            })
            .description("The version of the view."),
        )
        .field(
            part("rows", TypeRef::named_nn_list_nn(scalars::JSON), |of: &OnlineRows| {
                let row = |text: &String| {
                    let row: Json = serde_json::from_str(text)
                        .map_err(|error| Error::internal(format!("features as JSON: {error}")))?;
                    json(&row)
                };
                Ok(of.rows.iter().map(row).collect::<Result<Vec<Value>>>()?.into())
            })
            .description(
                "One for each entity, in their order: `entity`, `at`, since when its values are known (null where nothing is), `is_expired`, \
                 and `features`, null where it is unknown or expired.",
            ),
        );
    let number = |name: &'static str, show: fn(&Skew) -> u64| {
        part(name, TypeRef::named_nn(scalars::BIG_INT), move |of: &Skew| Ok(big(show(of))))
    };
    let skew = Object::new(SKEW)
        .description("Whether what is held for reads by entity is what a query of the view gives.")
        .field(number("version", |of| of.version.0))
        .field(number("entities", |of| of.entities).description("Entities of the view."))
        .field(number("equal", |of| of.equal).description("Those of which both say the same."))
        .field(
            number("notThere", |of| of.not_there)
                .description("Entities that are held and are none of the view's."),
        )
        .field(
            part("differing", TypeRef::named_nn_list_nn(TypeRef::STRING), |of: &Skew| {
                Ok(of
                    .differing
                    .iter()
                    .map(|row| Value::from(row.as_str()))
                    .collect::<Vec<_>>()
                    .into())
            })
            .description("Some of which they differ, as JSON."),
        );
    [view, online, skew]
}

/// The query fields.
pub(crate) fn queries() -> [Field; 3] {
    let views = Field::new("featureViews", TypeRef::named_nn_list(VIEW), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Reader)?;
            let all = state.service().runner.definitions::<features::Params>(who).await?;
            Ok(Some(FieldValue::list(all.into_iter().map(FieldValue::owned_any))))
        })
    })
    .description("Feature views that are kept up to date, by name.");
    let online = Field::new("onlineFeatures", TypeRef::named(ONLINE), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who_in_part(Role::Reader)?;
            let most = ENTITIES_MAX.min(state.service().limits.page_rows_max);
            let request = OnlineRequest {
                view: view_of(&context)?,
                features: names(&context)?,
                entities: entities(&context, most)?,
                now: Utc::now(),
                bytes_max: state.service().limits.answer_bytes_max,
            };
            let session = state.session(&[]).await?;
            let found = state.service().runner.online(who, &session, &request).await?;
            Ok(Some(FieldValue::owned_any(found)))
        })
    })
    .description("Features of entities as they are now, held in memory.")
    .argument(
        InputValue::new("view", TypeRef::named_nn(TypeRef::STRING))
            .description("A feature view, or another dataset whose key ends with its time column."),
    )
    .argument(
        InputValue::new("entities", TypeRef::named_nn_list_nn(scalars::JSON))
            .description("The entities, each an object of the columns that name it."),
    )
    .argument(
        InputValue::new("features", TypeRef::named_nn_list(TypeRef::STRING))
            .description("Which features; all when absent."),
    );
    let skew = Field::new("featureSkew", TypeRef::named(SKEW), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who_in_part(Role::Reader)?;
            let view = view_of(&context)?;
            let session = state.session(&[]).await?;
            let skew = state.service().runner.online_skew(who, &session, &view).await?;
            Ok(Some(FieldValue::owned_any(skew)))
        })
    })
    .description(
        "Compares what is held of a feature view with what a query of it gives, entity by entity.",
    )
    .argument(InputValue::new("view", TypeRef::named_nn(TypeRef::STRING)));
    [views, online, skew]
}

/// The mutations.
pub(crate) fn mutations() -> [Field; 2] {
    let define = Field::new("defineFeature", TypeRef::named(VIEW), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let names = FIELDS.map(|(name, field, _)| (name, field));
            let fields = given(&context, "defineFeature", names)?;
            let name = text_argument(&context, "name").unwrap_or_default();
            let asked = [FeatureView::new(&name, fields)?];
            let mut made = state.service().runner.define(who, &asked).await?;
            Ok(made.pop().map(|(view, _, _)| FieldValue::owned_any(view)))
        })
    })
    .description(
        "Makes a feature view what the arguments say, whether there was one of its name or not, and has it computed. Needs the role operator.",
    )
    .argument(
        InputValue::new("name", TypeRef::named_nn(TypeRef::STRING))
            .description("Lower-case letters, digits and `_`, a letter first: also that of the dataset of its features."),
    );
    let define = FIELDS.iter().fold(define, |field, (name, _, about)| {
        let of = match *name {
            "dataset" => TypeRef::named_nn(TypeRef::STRING),
            "entity" => TypeRef::named_nn_list_nn(TypeRef::STRING),
            "features" => TypeRef::named_nn(scalars::JSON),
            "knownAt" => TypeRef::named(scalars::JSON),
            "everySeconds" => TypeRef::named(TypeRef::INT),
            _ => TypeRef::named(TypeRef::STRING),
        };
        field.argument(InputValue::new(*name, of).description(*about))
    });
    let remove = Field::new("removeFeature", TypeRef::named(VIEW), |context| {
        let inner = context.ctx;
        nullable(inner, async move {
            let state = state(inner)?;
            let who = state.who(Role::Operator)?;
            let name = text_argument(&context, "name").unwrap_or_default();
            let runner = &state.service().runner;
            let last = runner.remove_definition::<features::Params>(who, &name).await?;
            Ok(Some(FieldValue::owned_any(last)))
        })
    })
    .description(
        "Has a feature view kept up to date no more, and answers with it as it was; its rows stay. Needs the role operator.",
    )
    .argument(InputValue::new("name", TypeRef::named_nn(TypeRef::STRING)));
    [define, remove]
}

fn view_of(context: &ResolverContext<'_>) -> Result<DatasetName> {
    let name = text_argument(context, "view").unwrap_or_default();
    DatasetName::new(name).map_err(|error| bad_input(format!("view: {error}")))
}

fn names(context: &ResolverContext<'_>) -> Result<Option<Vec<String>>> {
    match argument(context, "features") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::List(all)) => {
            let name = |value| match value {
                Value::String(name) => Ok(name),
                other => Err(bad_input(format!("features: expected names, found {other}"))),
            };
            all.into_iter().map(name).collect::<Result<_>>().map(Some)
        }
        Some(Value::String(name)) => Ok(Some(vec![name])),
        Some(other) => Err(bad_input(format!("features: expected names, found {other}"))),
    }
}

fn entities(context: &ResolverContext<'_>, most: usize) -> Result<Vec<Map<String, Json>>> {
    let all = match argument(context, "entities") {
        Some(Value::List(all)) => all,
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Err(bad_input("entities: expected a list of objects")),
    };
    if all.len() > most {
        return Err(over_limit("entities", most, all.len()));
    }
    let one = |(at, value): (usize, Value)| {
        let wrong = |says: String| bad_input(format!("entities: {}: {says}", at + 1));
        match value.into_json().map_err(|error| wrong(error.to_string()))? {
            Json::Object(entity) => Ok(entity),
            other => {
                Err(wrong(format!("expected an object of the columns that name it, found {other}")))
            }
        }
    };
    all.into_iter().enumerate().map(one).collect()
}
