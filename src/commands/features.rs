//! `colonnade feature` and `colonnade features`: features of entities that are kept up to date.

use chrono::Utc;
use datasets::DatasetName;
use engine::{Code, Error, Result};
use jobs::online::{Online, OnlineRequest};
use jobs::{FeatureViewState, features};
use serde_json::{Map, Value, json};

use super::{close, kept, open_to_read};
use crate::cli::{Feature, FeatureCommand};
use crate::config::Settings;
use crate::output::{Output, count, plain};

/// What this process is to others.
const LABEL: &str = "colonnade feature";

/// Makes, removes, shows or compares some.
pub async fn feature(arguments: Feature, settings: &Settings, output: &Output) -> Result<()> {
    match arguments.command {
        FeatureCommand::Apply { files, check } => {
            kept::apply::<features::Params>(&files, check, LABEL, settings, output).await
        }
        FeatureCommand::Remove { name } => {
            kept::remove::<features::Params>(&name, LABEL, settings, output).await
        }
        FeatureCommand::Get { view, entity } => get(&view, &entity, settings, output).await,
        FeatureCommand::Check { view } => check(&view, settings, output).await,
    }
}

/// Lists them.
pub async fn features(settings: &Settings, output: &Output) -> Result<()> {
    let row = |view: &FeatureViewState| {
        let of = &view.definition;
        vec![
            view.name.clone(),
            of.dataset.to_string(),
            of.entity.join(", "),
            plain(&of.features.keys().cloned().collect::<Vec<_>>().join(", ")),
            of.output.to_string(),
        ]
    };
    kept::list(
        &["feature view", "dataset", "entity", "features", "output"],
        row,
        LABEL,
        settings,
        output,
    )
    .await
}

async fn get(view: &str, entity: &[String], settings: &Settings, output: &Output) -> Result<()> {
    let view = DatasetName::new(view).map_err(Error::from)?;
    let mut named = Map::new();
    for pair in entity {
        let Some((name, value)) = pair.split_once('=') else {
            let says = format!("expected COLUMN=VALUE, found {pair:?}");
            return Err(Error::user(Code::BadInput, says));
        };
        if named.insert(name.to_owned(), Value::from(value)).is_some() {
            return Err(Error::user(Code::BadInput, format!("{name:?} stands there twice")));
        }
    }
    let request = OnlineRequest {
        view,
        features: None,
        entities: vec![named],
        now: Utc::now(),
        bytes_max: usize::MAX,
    };
    let who = settings.principal()?;
    let engine = open_to_read(settings).await?;
    let read = async {
        let online = Online::new(settings.memory()?.entities);
        let session = engine.session(&who, &[]).await?;
        online.read(&engine, &who, &session, &request).await
    };
    let read = read.await;
    let read = close(&engine, read).await?;
    let row: Value = serde_json::from_str(read.rows.first().map_or("null", String::as_str))
        .map_err(|error| Error::internal(format!("features as JSON: {error}")))?;
    if output.is_json() {
        return output
            .document(&json!({ "view": request.view, "version": read.version, "row": row }));
    }
    match (&row["at"], row["is_expired"].as_bool()) {
        (Value::Null, _) => return output.line("nothing is known of this entity"),
        (at, Some(true)) => {
            output.line(&format!("expired; known since {}", at.as_str().unwrap_or_default()))?;
        }
        (at, _) => output.line(&format!("known since {}", at.as_str().unwrap_or_default()))?,
    }
    for (name, value) in row["features"].as_object().into_iter().flatten() {
        output.line(&format!("{name}: {}", plain(&value.to_string())))?;
    }
    Ok(())
}

async fn check(view: &str, settings: &Settings, output: &Output) -> Result<()> {
    let view = DatasetName::new(view).map_err(Error::from)?;
    let who = settings.principal()?;
    let engine = open_to_read(settings).await?;
    let compared = async {
        let online = Online::new(settings.memory()?.entities);
        let session = engine.session(&who, &[]).await?;
        online.skew(&engine, &who, &session, &view).await
    };
    let compared = compared.await;
    let skew = close(&engine, compared).await?;
    match output.is_json() {
        true => output.document(&skew)?,
        false => output.line(&format!(
            "{view}: {} of {} entities are the same, {} are held that are not there",
            count(skew.equal),
            count(skew.entities),
            count(skew.not_there)
        ))?,
    }
    match skew.equal == skew.entities && skew.not_there == 0 {
        true => Ok(()),
        false => {
            let says = format!(
                "{view}: reads by entity differ from a query: {}",
                skew.differing.join(", ")
            );
            Err(Error::user(Code::Conflict, says))
        }
    }
}
