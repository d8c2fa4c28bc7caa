//! `POST /v1/sql`: a query, and its rows as they come, in the form that `Accept` likes best.
//!
//! The body is `{"sql": "SELECT … WHERE cost > $least", "parameters": {"least": 0.01}, "asOf": {"model_calls": 5}}`. Who asks sees what
//! their grants show, as everywhere. An error before the first row is an answer with its status; one behind it breaks the connection off.

use std::collections::BTreeMap;

use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use engine::{AsOf, ExportOptions, Form, Result, Role, Version};
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;
use serde_json::Value;

use super::negotiate::{Media, negotiate};
use super::rows::Rows;
use super::trace::RequestIds;
use super::{App, Pass, Purpose, body, pieces, wire};
use crate::error::bad_input;
use crate::service::sql::{Encoded, SqlAnswer, SqlRequest, said};

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    sql: String,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    #[serde(default)]
    as_of: BTreeMap<DatasetName, Value>,
}

/// Answers with rows.
pub(super) async fn sql(app: &App, request: Request, ids: &RequestIds) -> Response {
    match answered(app, request, ids).await {
        Ok((rows, pass, content_type)) => streamed(rows, pass, content_type),
        Err(error) => wire::failed(&error, ids),
    }
}

async fn answered(
    app: &App,
    mut request: Request,
    ids: &RequestIds,
) -> Result<(SqlAnswer<Encoded>, Pass, &'static str)> {
    // It changes nothing, and a page of somebody else may not have it asked all the same.
    let pass = app.0.door.enter(&request, Purpose::Change).await?;
    app.0.let_in(&pass.who, &request, ids)?;
    pass.who.require_in_part(Role::Reader)?;
    let accept = request.headers().get(header::ACCEPT).map(|value| value.to_str());
    let accept = accept.transpose().map_err(|_| bad_input("Accept: expected printable ASCII"))?;
    let (options, content_type) = match negotiate(accept)? {
        Some(media @ Media::Rows(rows)) => (rows.options(), media.content_type()),
        Some(Media::Json) => (ExportOptions::of(Form::Json), "application/json"),
        _ => {
            return Err(bad_input(
                "Accept: expected application/vnd.apache.arrow.stream, application/x-ndjson, text/csv or application/json",
            ));
        }
    };
    let mut held = app.0.requests.begin(&pass.who.tenant);
    let sent = request.take_body();
    let reading = body::Reading {
        what: "the query",
        bytes_max: app.0.service.0.limits.request_bytes_max,
        patience: &app.0.patience,
        held: &mut held,
    };
    let bytes = reading.read(sent, request.headers()).await?;
    let asked: Asked = serde_json::from_slice(&bytes).map_err(|error| {
        bad_input(format!("the body: expected {{\"sql\": \"SELECT …\"}} as JSON: {error}"))
    })?;
    let parameters = asked.parameters.into_iter().map(|(name, value)| match scalar(&value) {
        Some(scalar) => Ok((name, scalar)),
        None => Err(bad_input(format!(
            "parameters.{name}: expected a text, a number, true, false or null, found {value}"
        ))),
    });
    let pins =
        asked.as_of.into_iter().map(|(name, value)| Ok((name.clone(), as_of(&name, &value)?)));
    let query = SqlRequest {
        sql: asked.sql,
        parameters: parameters.collect::<Result<_>>()?,
        pins: pins.collect::<Result<_>>()?,
    };
    let bytes_max = app.0.service.0.limits.stream_bytes_max;
    let encode = move |about: &_, session: &_| Encoded::new(about, session, &options);
    let rows = app.0.service.sql(&pass.who, || Ok(query), bytes_max, encode).await?;
    Ok((rows, pass, content_type))
}

fn scalar(value: &Value) -> Option<ScalarValue> {
    Some(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(Some(*flag)),
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => ScalarValue::Int64(Some(whole)),
            None => ScalarValue::Float64(Some(number.as_f64()?)),
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

fn as_of(name: &DatasetName, value: &Value) -> Result<AsOf> {
    let wrong = || {
        bad_input(format!(
            "asOf.{name}: expected a version (5) or an instant (\"2026-01-01T00:00:00Z\"), found {value}"
        ))
    };
    match value {
        Value::Number(version) => {
            version.as_u64().map(|v| AsOf::Version(Version(v))).ok_or_else(wrong)
        }
        Value::String(at) => {
            let at = chrono::DateTime::parse_from_rfc3339(at).map_err(|_| wrong())?;
            Ok(AsOf::Time(at.to_utc()))
        }
        _ => Err(wrong()),
    }
}

fn streamed(rows: SqlAnswer<Encoded>, pass: Pass, content_type: &'static str) -> Response {
    let SqlAnswer { about, pieces } = rows;
    let sent = Rows { of: "a query".to_owned(), pieces };
    let mut response = wire::body(StatusCode::OK, content_type, pieces::body(sent, Some(pass)));
    if let Ok(versions) = HeaderValue::from_str(&said(&about.versions)) {
        response.headers_mut().insert(HeaderName::from_static("x-colonnade-versions"), versions);
    }
    response
}
