//! Changes as they are committed: each version once and in order, whatever breaks in between.

use std::time::Duration;

use futures_util::StreamExt;
use graphql_client::{Error as GraphqlError, Response};
use graphql_ws_client::graphql::StreamingOperation;
use graphql_ws_client::{Client, Error as SocketError, Subscription};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::Failed;
use crate::documents::{Follow, follow};
use crate::http::{Server, wait_before};

pub type Change = follow::FollowModelCallsChanged;
/// Why it is not possible now, and may be later.
type Passing = String;

/// Who says nothing for so long is sent a ping; who says nothing three times as long is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// What a socket is closed with where it would not help to come back: a wrong request or protocol, a key that does not let in.
const NOT_AGAIN: [u16; 4] = [4400, 4401, 4403, 4406];
/// Errors that pass; so does one that says when to ask again.
const PASSING: [&str; 4] =
    ["RESOURCES_EXHAUSTED", "DEVICE_UNAVAILABLE", "STORAGE_UNAVAILABLE", "TIMEOUT"];

/// What happens after version `since`. It goes on until `take` fails, or the server refuses.
pub async fn follow(
    server: &Server,
    mut since: i64,
    mut take: impl FnMut(&Change) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut attempt = 0;
    loop {
        let broke = match subscribe(server, since).await? {
            Ok(mut answers) => loop {
                let Some(answer) = answers.next().await else { break "it broke off".to_owned() };
                let change = match change(answer?)? {
                    Ok(change) => change,
                    Err(passing) => break passing,
                };
                require_whole(&change, since)?;
                take(&change)?;
                since = change.version;
                attempt = 0;
            },
            Err(passing) => passing,
        };
        let wait = wait_before(attempt);
        eprintln!("follow: {broke}; again after version {since} in {wait:.0?}");
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

/// Subscribes, or says why that is not possible now.
async fn subscribe(
    server: &Server,
    since: i64,
) -> Result<Result<Subscription<StreamingOperation<Follow>>, Passing>, Failed> {
    let url = format!("{}/graphql", server.url.replacen("http", "ws", 1));
    let mut request = url.into_client_request()?;
    let protocol = HeaderValue::from_static("graphql-transport-ws");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let payload = match &server.authorization {
        Some(authorization) => json!({ "authorization": authorization }),
        None => json!({}),
    };
    let operation = StreamingOperation::new(follow::Variables { since });
    let subscribed = async {
        let (socket, _) = match connect_async(request).await {
            Ok(connected) => connected,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let client = Client::build(socket).payload(payload)?;
        let client = client.keep_alive_interval(SILENCE).keep_alive_retries(0);
        match client.subscribe(operation).await {
            Err(SocketError::Close(code, why)) if NOT_AGAIN.contains(&code) => {
                Err(format!("the server refuses the connection: {code} {why}").into())
            }
            Err(error) => Ok(Err(error.to_string())),
            Ok(answers) => Ok(Ok(answers)),
        }
    };
    let silent = |_| Ok(Err(format!("no answer within {SILENCE:?}")));
    tokio::time::timeout(SILENCE, subscribed).await.unwrap_or_else(silent)
}

/// The change that is told, or an error that passes.
fn change(answer: Response<follow::ResponseData>) -> Result<Result<Change, Passing>, Failed> {
    match answer {
        Response { data: Some(data), errors: None, .. } => Ok(Ok(data.model_calls_changed)),
        Response { errors, .. } => {
            let errors = errors.unwrap_or_default();
            match errors.first() {
                Some(error) if passes(error) => Ok(Err(error.message.clone())),
                _ => Err(format!("{errors:?}").into()),
            }
        }
    }
}

fn passes(error: &GraphqlError) -> bool {
    let told = |name| error.extensions.as_ref().and_then(|extensions| extensions.get(name));
    let code = told("code").and_then(Value::as_str).unwrap_or_default();
    PASSING.contains(&code) || told("retryAfter").is_some()
}

/// A change that does not follow the one before, or of which only the first rows came, would be lost rows.
fn require_whole(change: &Change, since: i64) -> Result<(), Failed> {
    let Change { previous_version, version, added, removed, .. } = change;
    if *previous_version != since {
        let says = format!(
            "expected the change after version {since}, found that after {previous_version}"
        );
        return Err(says.into());
    }
    for (count, came) in [(&added.count, added.nodes.len()), (&removed.count, removed.nodes.len())]
    {
        if *count != came.to_string() {
            let says = format!("version {version} changes {count} rows, and {came} came with it");
            return Err(format!("{says}: createExport(since: {since}) has all").into());
        }
    }
    Ok(())
}
