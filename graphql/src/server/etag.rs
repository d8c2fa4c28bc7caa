//! Answers that a client has already: a GET with `If-None-Match` gets 304 where its answer is still the same.

use poem::Response;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use super::negotiate::Media;
use crate::answer::{Answer, Stage};

/// Caches ask again each time: what an answer is depends on who asks, and on the versions that are there.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache");
const VARY: HeaderValue = HeaderValue::from_static("Accept, Authorization, Cookie, X-Api-Key");

/// What tells answers to GET apart that are whole; a weak one, since it is the same however the bytes are packed.
pub(super) fn of(answer: &Answer, media: Media) -> Option<HeaderValue> {
    if answer.stage != Stage::Executed || !answer.errors.is_empty() {
        return None;
    }
    let mut digest = Sha256::new();
    digest.update(media.content_type());
    digest.update(answer.json.as_bytes());
    let digest = format!("{:x}", digest.finalize());
    HeaderValue::from_str(&format!("W/\"{}\"", digest.get(..32)?)).ok()
}

/// Whether the client has what `tag` stands for.
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str().map(strong) else { return false };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    known
        .flat_map(|known| known.split(','))
        .any(|known| known.trim() == "*" || strong(known) == tag)
}

/// Nothing but that it is the same.
pub(super) fn not_modified() -> Response {
    Response::builder().status(StatusCode::NOT_MODIFIED).body(())
}

/// `response` with its tag.
pub(super) fn tagged(mut response: Response, tag: HeaderValue) -> Response {
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// `response`, which no cache gives to somebody else, nor without asking.
pub(super) fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(CACHE_CONTROL);
    headers.append(header::VARY, VARY);
    response
}
