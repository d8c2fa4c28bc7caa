//! One trace id for a request, from the door to the kernels.
//!
//! A caller that traces sends W3C `traceparent`, and its id is taken over; otherwise there is a new
//! one. All spans below the request's span, those of the engine included, are inside that trace.

use std::sync::OnceLock;

use poem::http::HeaderMap;
use uuid::Uuid;

use crate::rates::Told;

/// The ids of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestIds {
    /// The trace that it belongs to: 32 hexadecimal digits.
    pub trace: String,
    /// The request itself, in errors and in the log.
    pub request: String,
    /// What is left of the rates of who asks, and for how many seconds nothing is.
    pub rates: OnceLock<(Told, Option<u64>)>,
}

impl RequestIds {
    /// Those of a request with these headers.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let given = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let trace = given.and_then(trace_id).unwrap_or_else(|| Uuid::now_v7().simple().to_string());
        Self { trace, request: Uuid::now_v7().to_string(), rates: OnceLock::new() }
    }
}

/// The trace id of a `traceparent`: version, trace id, parent id and flags, in hexadecimal digits.
fn trace_id(header: &str) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = header.trim().split('-').collect();
    let [version, trace, parent, flags, ..] = parts.as_slice() else { return None };
    let is_valid = (version.len(), trace.len(), parent.len(), flags.len()) == (2, 32, 16, 2)
        && [version, trace, parent, flags].into_iter().all(|part| is_hex(part))
        && *version != "ff"
        && (*version != "00" || parts.len() == 4)
        && trace.bytes().any(|b| b != b'0')
        && parent.bytes().any(|b| b != b'0');
    is_valid.then(|| (*trace).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_taken() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")).as_deref(), Some(id));
        for bad in [
            "",
            "00-short-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(trace_id(bad), None, "{bad:?}");
        }
    }
}
