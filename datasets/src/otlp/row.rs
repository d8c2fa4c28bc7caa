//! One span as a step of a workflow and, if it is a call of a model, as that.
//!
//! What the conventions call otherwise today than they did before is looked for by all its names, the newest first.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::attributes::{ATTRIBUTES_BYTES_MAX, Kept, shortened};
use super::message::{Any, AnyValue, Scope, Span, Status};

/// Longest text of a column but `attributes` and `error`.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Longest text of the column `error`; a longer one is cut.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Most tokens of a call: sums of many have room.
const TOKENS_MAX: i64 = 1_000_000_000_000;
/// How much more than its latency a call's first token may take, by how times are rounded.
const ROUNDED_MS: f64 = 0.001;

/// Operations that are calls of a model.
const CALLS: [&str; 4] = ["chat", "text_completion", "generate_content", "embeddings"];
const OPERATION: &str = "gen_ai.operation.name";
const REQUEST_MODEL: &str = "gen_ai.request.model";
const AGENT_NAME: &str = "gen_ai.agent.name";
const AGENT_ID: &str = "gen_ai.agent.id";
const CONVERSATION: &str = "gen_ai.conversation.id";
const ERROR_TYPE: &str = "error.type";
const PROVIDERS: [&str; 2] = ["gen_ai.provider.name", "gen_ai.system"];
const MODELS: [&str; 2] = ["gen_ai.response.model", REQUEST_MODEL];
const USERS: [&str; 2] = ["enduser.id", "user.id"];
const INPUT_TOKENS: [&str; 2] = ["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"];
const OUTPUT_TOKENS: [&str; 2] = ["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"];
const CACHED_TOKENS: [&str; 2] =
    ["gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"];
const CACHE_WRITE_TOKENS: [&str; 3] = [
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
];
const REASONING_TOKENS: [&str; 1] = ["gen_ai.usage.reasoning.output_tokens"];
const SERVICE_TIERS: [&str; 2] =
    ["openai.response.service_tier", "gen_ai.openai.response.service_tier"];
/// Not of the conventions, which know no tickets.
const TICKET: &str = "ticket.id";
/// Seconds from the request to the first token: that of the conventions, and those of OpenLIT and vLLM.
const TO_FIRST_TOKEN: [&str; 3] = [
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.server.time_to_first_token",
    "gen_ai.latency.time_to_first_token",
];
/// Events of which the first is the first token, as OpenLLMetry and others have them.
const FIRST_TOKEN_EVENTS: [&str; 3] =
    ["llm.content.completion.chunk", "gen_ai.content.chunk", "first_token"];
const SPAN_KINDS: [&str; 6] =
    ["unspecified", "internal", "server", "client", "producer", "consumer"];
const STATUS_ERROR: i32 = 2;
const STATUS_CODES: [&str; 3] = ["unset", "ok", "error"];

/// Where spans come from.
#[derive(Debug, Default)]
pub(super) struct Origin {
    pub(super) resource: Kept,
    pub(super) scope: Scope,
}

/// A row of `workflow_steps`.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    case_id: String,
    activity: String,
    started_at: String,
    ended_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    attributes: Map<String, Value>,
}

/// A row of `model_calls`.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    id: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
    workflow_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<String>,
    latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_first_token_ms: Option<f64>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The rows of a span, or what is wrong with it, as what stands after "a span".
pub(super) fn rows_of(span: &Span, origin: &Origin) -> Result<(Step, Option<Call>), String> {
    if !is_id(&span.trace_id, 16) {
        return Err("whose trace id is not 16 bytes, of which one is not zero".into());
    }
    if !is_id(&span.span_id, 8) {
        return Err("whose id is not 8 bytes, of which one is not zero".into());
    }
    let is_root = span.parent_span_id.iter().all(|byte| *byte == 0);
    if !is_root && span.parent_span_id.len() != 8 {
        return Err("whose parent's id is not 8 bytes".into());
    }
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    if start == 0 {
        return Err("without a start".into());
    }
    if end < start {
        return Err("whose end is before the start".into());
    }
    let known = Known::of(span);
    let trace = hex(&span.trace_id);
    let operation = known.text(&[OPERATION])?;
    let case_id = known.text(&[CONVERSATION])?.unwrap_or_else(|| trace.clone());
    let step = Step {
        case_id: case_id.clone(),
        activity: known.activity(operation.as_deref(), &span.name)?,
        started_at: instant(start),
        ended_at: instant(end),
        resource: known.text(&[AGENT_NAME, AGENT_ID])?,
        attributes: attributes(span, origin, &trace, is_root),
    };
    let is_call = match &operation {
        Some(operation) => CALLS.contains(&operation.as_str()),
        // The conventions' first versions named no operation.
        None => known.text(&[REQUEST_MODEL])?.is_some(),
    };
    if !is_call {
        return Ok((step, None));
    }
    let latency_ms = (end - start) as f64 / 1e6;
    let input_tokens = known.tokens(&INPUT_TOKENS)?;
    let cached_tokens = known.tokens(&CACHED_TOKENS)?;
    if let (Some(input), Some(cached)) = (input_tokens, cached_tokens)
        && cached > input
    {
        return Err("with more cached tokens than input tokens, of which they are a part".into());
    }
    let (status, error) = outcome(span.status.as_ref(), known.text(&[ERROR_TYPE])?);
    let call = Call {
        id: format!("{trace}-{}", hex(&span.span_id)),
        at: instant(start),
        user_id: known.text(&USERS)?,
        agent_id: known.text(&[AGENT_ID, AGENT_NAME])?,
        workflow_id: case_id,
        provider: known.text(&PROVIDERS)?,
        model: known.text(&MODELS)?,
        operation,
        input_tokens,
        output_tokens: known.tokens(&OUTPUT_TOKENS)?,
        cached_tokens,
        cache_write_tokens: known.tokens(&CACHE_WRITE_TOKENS)?,
        reasoning_tokens: known.tokens(&REASONING_TOKENS)?,
        service_tier: known.text(&SERVICE_TIERS)?,
        ticket_id: known.text(&[TICKET])?,
        latency_ms,
        time_to_first_token_ms: known.first_token_ms(span, latency_ms)?,
        status,
        error,
    };
    Ok((step, Some(call)))
}

/// A span as errors name it.
pub(super) fn named(span: &Span) -> String {
    let (trace, id) = (hex(&span.trace_id), hex(&span.span_id));
    format!("{:?}, {id:?} of trace {trace:?}", shortened(&span.name, 80))
}

/// Attributes of a span by their keys; of several with one key the last.
struct Known<'a>(HashMap<&'a str, &'a Any>);

impl<'a> Known<'a> {
    fn of(span: &'a Span) -> Self {
        let values = span.attributes.iter().filter_map(|pair| {
            let value: &AnyValue = pair.value.as_ref()?;
            Some((pair.key.as_str(), value.value.as_ref()?))
        });
        Self(values.collect())
    }

    /// The first of these that is a text and not empty; numbers are ids here, too.
    fn text(&self, keys: &[&str]) -> Result<Option<String>, String> {
        for key in keys {
            let text = match self.0.get(key) {
                Some(Any::Text(text)) if !text.trim().is_empty() => text.clone(),
                Some(Any::Int(number)) => number.to_string(),
                Some(Any::Bool(value)) => value.to_string(),
                _ => continue,
            };
            if text.len() > TEXT_BYTES_MAX {
                return Err(format!("whose {key} is longer than {TEXT_BYTES_MAX} bytes"));
            }
            return Ok(Some(text));
        }
        Ok(None)
    }

    /// The first of these that is there, which must be a number of tokens.
    fn tokens(&self, keys: &[&str]) -> Result<Option<i64>, String> {
        let Some((key, value)) = self.first(keys) else { return Ok(None) };
        let number = match value {
            Any::Int(number) => Some(*number),
            // Exact up to 2^53.
            Any::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Some(*number as i64)
            }
            Any::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number > TOKENS_MAX => {
                Err(format!("whose {key} is above {TOKENS_MAX}"))
            }
            Some(number) if number >= 0 => Ok(Some(number)),
            Some(_) => Err(format!("whose {key} is negative")),
            None => Err(format!("whose {key} is no whole number")),
        }
    }

    fn first<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &'a Any)> {
        keys.iter().find_map(|key| Some((*key, *self.0.get(key)?)))
    }

    /// As the conventions name spans: the operation, and what it is done with.
    fn activity(&self, operation: Option<&str>, span_name: &str) -> Result<String, String> {
        let Some(operation) = operation else {
            let name = shortened(span_name.trim(), TEXT_BYTES_MAX);
            return Ok(if name.is_empty() { "unnamed" } else { name }.to_owned());
        };
        let with = match operation {
            "execute_tool" => "gen_ai.tool.name",
            "create_agent" | "invoke_agent" => AGENT_NAME,
            "invoke_workflow" => "gen_ai.workflow.name",
            "retrieval" => "gen_ai.data_source.id",
            _ => REQUEST_MODEL,
        };
        Ok(match self.text(&[with])? {
            Some(with) => format!("{operation} {with}"),
            None => operation.to_owned(),
        })
    }

    fn first_token_ms(&self, span: &Span, latency_ms: f64) -> Result<Option<f64>, String> {
        let start = span.start_time_unix_nano;
        let (what, first_ms) = match self.first(&TO_FIRST_TOKEN) {
            Some((key, Any::Double(seconds))) => (key, seconds * 1e3),
            Some((key, Any::Int(seconds))) => (key, *seconds as f64 * 1e3),
            Some((key, Any::Text(seconds))) => match seconds.trim().parse::<f64>() {
                Ok(seconds) => (key, seconds * 1e3),
                Err(_) => return Err(format!("whose {key} is no number")),
            },
            Some((key, _)) => return Err(format!("whose {key} is no number")),
            None => {
                let is_first = |name: &str| FIRST_TOKEN_EVENTS.contains(&name);
                let events = span.events.iter().filter(|event| is_first(&event.name));
                let Some(first) = events.min_by_key(|event| event.time_unix_nano) else {
                    return Ok(None);
                };
                let Some(after) = first.time_unix_nano.checked_sub(start) else {
                    return Err("whose first token came before it started".into());
                };
                ("first token", after as f64 / 1e6)
            }
        };
        if !first_ms.is_finite() || first_ms < 0.0 {
            return Err(format!("whose {what} is no time that passed"));
        }
        if first_ms > latency_ms + ROUNDED_MS {
            return Err(format!("whose {what} is after its end"));
        }
        Ok(Some(first_ms.min(latency_ms)))
    }
}

/// How a call ended, and what went wrong.
fn outcome(status: Option<&Status>, error_type: Option<String>) -> (&'static str, Option<String>) {
    let (code, message) = status.map_or((0, ""), |of| (of.code, of.message.trim()));
    if code != STATUS_ERROR && error_type.is_none() {
        return ("ok", None);
    }
    let is_timeout =
        error_type.as_ref().is_some_and(|of| of.to_ascii_lowercase().contains("timeout"));
    let mut error = error_type.unwrap_or_default();
    if !message.is_empty() {
        let between = if error.is_empty() { "" } else { ": " };
        error = format!("{error}{between}{message}");
    }
    let kept = shortened(&error, ERROR_BYTES_MAX);
    if kept.len() < error.len() {
        error = format!("{kept}… (cut, {} bytes in all)", error.len());
    }
    (if is_timeout { "timeout" } else { "error" }, Some(error).filter(|of| !of.is_empty()))
}

/// All attributes of a span by their keys, and under `otel` what it is beside them.
fn attributes(span: &Span, origin: &Origin, trace: &str, is_root: bool) -> Map<String, Value> {
    let Kept { mut values, mut cut, left_out } = Kept::of(&span.attributes, ATTRIBUTES_BYTES_MAX);
    let mut otel = Map::new();
    let mut tell = |key: &str, value: Value| otel.insert(key.to_owned(), value);
    tell("trace_id", json!(trace));
    tell("span_id", json!(hex(&span.span_id)));
    if !is_root {
        tell("parent_span_id", json!(hex(&span.parent_span_id)));
    }
    tell("name", json!(shortened(&span.name, TEXT_BYTES_MAX)));
    tell("kind", json!(number_named(span.kind, &SPAN_KINDS)));
    let (code, message) = span.status.as_ref().map_or((0, ""), |of| (of.code, &of.message));
    tell("status", json!(number_named(code, &STATUS_CODES)));
    if !message.is_empty() {
        tell("status_message", json!(shortened(message, ERROR_BYTES_MAX)));
    }
    if !origin.scope.name.is_empty() {
        tell("scope", json!(shortened(&origin.scope.name, TEXT_BYTES_MAX)));
    }
    if !origin.scope.version.is_empty() {
        tell("scope_version", json!(shortened(&origin.scope.version, TEXT_BYTES_MAX)));
    }
    tell("resource", Value::Object(origin.resource.values.clone()));
    for (key, what) in &origin.resource.cut {
        cut.insert(format!("resource.{key}"), what.clone());
    }
    if values.contains_key("otel") {
        cut.insert("otel".to_owned(), json!("left out: the name is taken by this"));
    }
    if !cut.is_empty() {
        tell("cut", Value::Object(cut));
    }
    let left_out = left_out + origin.resource.left_out;
    if left_out > 0 {
        tell("left_out", json!(left_out));
    }
    values.insert("otel".to_owned(), Value::Object(otel));
    values
}

/// A number of an enumeration by its name, where it has one.
fn number_named(number: i32, names: &[&str]) -> String {
    let name = usize::try_from(number).ok().and_then(|at| names.get(at));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

fn is_id(bytes: &[u8], length: usize) -> bool {
    bytes.len() == length && bytes.iter().any(|byte| *byte != 0)
}

/// At most 16 bytes: no id has more.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Nanoseconds since 1970, to the microsecond: later ones than a u64 has are none.
fn instant(nanoseconds: u64) -> String {
    let at = DateTime::<Utc>::from_timestamp_micros((nanoseconds / 1_000) as i64);
    at.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Micros, true)
}
