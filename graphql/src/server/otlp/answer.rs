//! Answers of OTLP, in the encoding of the request.

use datasets::otlp::Encoding;
use engine::{Code, Error};
use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};
use prost::Message;
use serde_json::json;

use crate::error::status_message;
use crate::server::ingest::Refusal;
use crate::server::trace::RequestIds;
use crate::server::wire;

/// How a client speaks, and is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Protobuf,
    Json,
}

/// opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse
#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportTracePartialSuccess>,
}

/// opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess
#[derive(Clone, PartialEq, Message)]
struct ExportTracePartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// google.rpc.Status
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Speech {
    /// That of a media type, which has no parameters.
    pub(super) fn of(media: &str) -> Option<Self> {
        let is = |of: Self| media.eq_ignore_ascii_case(of.media());
        [Self::Protobuf, Self::Json].into_iter().find(|of| is(*of))
    }

    pub(super) fn encoding(self) -> Encoding {
        match self {
            Self::Protobuf => Encoding::Protobuf,
            Self::Json => Encoding::Json,
        }
    }

    fn media(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The answer to spans of which so many were rejected; of those that are passed over nothing is said.
    pub(super) fn taken(self, rejected: u64, problems: &str) -> Response {
        let rejected = (rejected > 0).then_some(rejected);
        let body = match self {
            Self::Protobuf => {
                let partial_success = rejected.map(|spans| ExportTracePartialSuccess {
                    rejected_spans: i64::try_from(spans).unwrap_or(i64::MAX),
                    error_message: problems.to_owned(),
                });
                ExportTraceServiceResponse { partial_success }.encode_to_vec()
            }
            // Numbers of 64 bits are texts, as protobuf has them in JSON.
            Self::Json => match rejected {
                None => b"{}".to_vec(),
                Some(spans) => {
                    let partial =
                        json!({"rejectedSpans": spans.to_string(), "errorMessage": problems});
                    json!({"partialSuccess": partial}).to_string().into_bytes()
                }
            },
        };
        wire::body(StatusCode::OK, self.media(), body)
    }

    /// The answer to spans that were not taken: a google.rpc.Status.
    pub(super) fn refused(self, refusal: &Refusal, ids: &RequestIds) -> Response {
        let (status, error) = match refusal {
            Refusal::MediaType(error) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, error),
            // Whoever ends now is there again soon, or another is.
            Refusal::Error(error) if error.code() == Code::Cancelled => {
                (StatusCode::SERVICE_UNAVAILABLE, error)
            }
            Refusal::Error(error) => (wire::status(error.code()), error),
        };
        let message = format!("{} (request {})", told(error), ids.request);
        let code = grpc_code(error.code());
        let body = match self {
            Self::Protobuf => Status { code, message }.encode_to_vec(),
            Self::Json => json!({"code": code, "message": message}).to_string().into_bytes(),
        };
        let mut response = wire::told_when(error.code(), wire::body(status, self.media(), body));
        if error.code() == Code::Cancelled {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn told(error: &Error) -> String {
    format!("{}: {}", error.code(), status_message(error))
}

/// The code of gRPC, by its number.
fn grpc_code(code: Code) -> i32 {
    match code {
        Code::BadInput => 3,
        Code::Timeout => 4,
        Code::NotFound => 5,
        Code::Forbidden => 7,
        Code::LimitExceeded | Code::TooMany => 8,
        Code::Conflict => 9,
        Code::Internal => 13,
        Code::ResourcesExhausted
        | Code::DeviceUnavailable
        | Code::StorageUnavailable
        | Code::Cancelled => 14,
        Code::Unauthenticated => 16,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_as_what_exporters_send_again() {
        let ids = RequestIds::new(&Default::default());
        for (code, status, grpc, again) in [
            (Code::BadInput, 400, 3, false),
            (Code::LimitExceeded, 413, 8, false),
            (Code::TooMany, 429, 8, true),
            (Code::ResourcesExhausted, 503, 14, true),
            (Code::Cancelled, 503, 14, true),
        ] {
            let refusal = Refusal::Error(Error::user(code, "as it is"));
            for speech in [Speech::Protobuf, Speech::Json] {
                let response = speech.refused(&refusal, &ids);
                assert_eq!(response.status().as_u16(), status, "{code:?}");
                assert_eq!(response.headers()[header::CONTENT_TYPE], speech.media());
                assert_eq!(response.headers().contains_key(header::RETRY_AFTER), again, "{code:?}");
                assert_eq!(grpc_code(code), grpc);
            }
        }
    }
}
