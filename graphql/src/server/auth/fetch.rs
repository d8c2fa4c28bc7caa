//! What is asked of an identity provider: over lines that can be trusted, for as long as somebody would wait, and no more than a little.

use std::time::Duration;

use engine::{Code, Error, Result};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, StatusCode, Url};

/// Longest document.
pub(super) const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// How long it may take to read one.
const READ_TIME_MAX: Duration = Duration::from_secs(5);

/// Who asks. What an answer says of another place is not followed.
pub(super) fn client() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder().redirect(Policy::none()).timeout(READ_TIME_MAX);
    client.build().map_err(|error| {
        Error::environment(Code::Internal, "a client for the identity provider", error)
    })
}

/// An address that nobody in between can answer for; why not, where it is none.
pub(super) fn address(text: &str) -> Result<Url, &'static str> {
    let url: Url = text.parse().map_err(|_| "it is no address")?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err("whoever is in between could put keys of their own in the place"),
    }
}

/// The answer to a request: its status and its bytes.
pub(super) async fn document(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), String> {
    let mut response = request.send().await.map_err(|e| says(&e.without_url()))?;
    let mut bytes = Vec::new();
    while let Some(some) = response.chunk().await.map_err(|e| says(&e.without_url()))? {
        if bytes.len() + some.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("expected at most {DOCUMENT_BYTES_MAX} bytes, found more"));
        }
        bytes.extend_from_slice(&some);
    }
    Ok((response.status(), bytes))
}

/// What went wrong, with what was behind it.
fn says(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
