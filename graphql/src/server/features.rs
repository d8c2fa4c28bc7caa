//! `GET` and `POST /v1/features/{view}`: features of entities as they are now.
//!
//! `GET /v1/features/user_load?user_id=u1` asks for one entity; the body of a `POST` is `{"entities": [{"user_id": "u1"}, …]}`, and
//! `"features": ["calls_1d"]` beside it where not all of them are wanted.

use chrono::Utc;
use datasets::DatasetName;
use engine::{Error, Result, Role};
use jobs::online::{ENTITIES_MAX, OnlineRequest};
use poem::http::{Method, StatusCode};
use poem::{Request, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::trace::RequestIds;
use super::{App, Purpose, body, wire};
use crate::error::{bad_input, over_limit};

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    entities: Vec<Map<String, Value>>,
    #[serde(default)]
    features: Option<Vec<String>>,
}

/// Answers with a row for each entity.
pub(super) async fn features(
    app: &App,
    view: &str,
    request: Request,
    ids: &RequestIds,
) -> Response {
    match answered(app, view, request, ids).await {
        Ok(text) => wire::body(StatusCode::OK, "application/json", text),
        Err(error) => wire::failed(&error, ids),
    }
}

async fn answered(app: &App, view: &str, mut request: Request, ids: &RequestIds) -> Result<String> {
    let is_post = request.method() == Method::POST;
    // It changes nothing, and a page of somebody else may not have it asked all the same.
    let purpose = if is_post { Purpose::Change } else { Purpose::Read };
    let who = app.0.door.enter(&request, purpose).await?.who;
    app.0.let_in(&who, &request, ids)?;
    who.require_in_part(Role::Reader)?;
    let view = DatasetName::new(view).map_err(Error::from)?;
    let limits = &app.0.service.0.limits;
    let asked = match is_post {
        false => {
            let named: Vec<(String, String)> = request
                .params()
                .map_err(|error| bad_input(format!("the URL's parameters: {error}")))?;
            let mut entity = Map::new();
            for (name, value) in named {
                if entity.insert(name.clone(), value.into()).is_some() {
                    return Err(bad_input(format!(
                        "the URL's parameters: {name:?} stands there twice"
                    )));
                }
            }
            Asked { entities: vec![entity], features: None }
        }
        true => {
            let mut held = app.0.requests.begin(&who.tenant);
            let sent = request.take_body();
            let reading = body::Reading {
                what: "the request",
                bytes_max: limits.request_bytes_max,
                patience: &app.0.patience,
                held: &mut held,
            };
            let bytes = reading.read(sent, request.headers()).await?;
            serde_json::from_slice(&bytes).map_err(|error| {
                bad_input(format!(
                    "the body: expected {{\"entities\": [{{\"user_id\": \"u1\"}}]}} as JSON: {error}"
                ))
            })?
        }
    };
    let most = ENTITIES_MAX.min(limits.page_rows_max);
    if asked.entities.is_empty() {
        return Err(bad_input(format!("entities: expected 1 to {most}, found 0")));
    }
    if asked.entities.len() > most {
        return Err(over_limit("entities", most, asked.entities.len()));
    }
    let service = &app.0.service.0;
    let session = service.engine.session(&who, &[]).await?;
    let Asked { entities, features } = asked;
    let bytes_max = limits.answer_bytes_max;
    let request = OnlineRequest { view, features, entities, now: Utc::now(), bytes_max };
    let found = service.runner.online(&who, &session, &request).await?;
    let rows = found.rows.join(",");
    Ok(format!("{{\"view\":\"{}\",\"version\":{},\"rows\":[{rows}]}}", request.view, found.version))
}
