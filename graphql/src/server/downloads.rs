//! `GET /v1/exports/{export}/{file}`: a file of an export, or some of its bytes.
//!
//! Who asks shows who they are by a header as everywhere, or has a link ([`crate::downloads`]). Files never change, so a client whose
//! connection broke goes on where it was, by `Range` and `If-Range`, and finds by `Repr-Digest` whether it has what was written.

use std::ops::Range as Bytes;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use engine::{Code, Error, ExportedFile, Principal, Result, Role, RunId};
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Body, Request, Response};

use super::trace::RequestIds;
use super::{App, Pass, Purpose, etag, pieces, wire};
use crate::downloads::{Download, Signed};
use crate::error::bad_input;

/// Nobody else's cache keeps it, and nothing on the way changes its bytes.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache, no-transform");

/// Answers with a file.
pub(super) async fn download(
    app: &App,
    path: &str,
    request: Request,
    ids: &RequestIds,
) -> Response {
    match found(app, path, &request, ids).await {
        Err(error) => wire::failed(&error, ids),
        Ok((pass, file)) => match answer(&file, request.method(), request.headers(), pass).await {
            Ok(response) => response,
            Err(error) => wire::failed(&error, ids),
        },
    }
}

/// The file, and who takes it where that was shown by more than a link.
async fn found(
    app: &App,
    path: &str,
    request: &Request,
    ids: &RequestIds,
) -> Result<(Option<Pass>, ExportedFile)> {
    let of = Download::at(path).ok_or_else(no_such_file)?;
    let parameters: Vec<(String, String)> =
        request.params().map_err(|error| bad_input(format!("the URL's parameters: {error}")))?;
    let service = &app.0.service.0;
    let (who, pass) = match Signed::of(&parameters)? {
        Some(link) => {
            let tenant = of.require(service.link_secret().await?, &link, Utc::now())?;
            (Principal::new(tenant, "a link to an export", &[Role::Reader]), None)
        }
        None => {
            let pass = app.0.door.enter(request, Purpose::Read).await?;
            (pass.who.clone(), Some(pass))
        }
    };
    app.0.let_in(&who, request, ids)?;
    if pass.is_some() {
        // The rule is the same as for the list `exports`.
        let run: RunId = of.export.parse().map_err(|_| no_such_file())?;
        service.runner.export_run(&who, run).await?;
        service.engine.exported(&who, &of.export).await?;
    }
    let file = service.engine.exported_file(&who.tenant, &of.export, &of.file).await?;
    Ok((pass, file))
}

fn no_such_file() -> Error {
    Error::user(Code::NotFound, "there is no such file; expected /v1/exports/EXPORT/FILE")
}

async fn answer(
    file: &ExportedFile,
    method: &Method,
    asked: &HeaderMap,
    pass: Option<Pass>,
) -> Result<Response> {
    let all = file.file.bytes;
    let tag = format!("\"{}\"", file.file.sha256);
    let tag = HeaderValue::from_str(&tag)
        .map_err(|e| Error::internal(format!("the tag of a file: {e}")))?;
    if etag::is_known(asked, &tag) {
        return Ok(described(etag::not_modified(), file, tag));
    }
    let (status, range) = match range(asked, &tag, all) {
        Asked::All => (StatusCode::OK, 0..all),
        Asked::Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Beyond => {
            let says = format!("Range: expected bytes below {all}, which the file has");
            let error = Error::user(Code::BadInput, says);
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let mut response = wire::body(status, "text/plain", error.to_string());
            set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{all}"));
            return Ok(response);
        }
    };
    let length = range.end - range.start;
    let body = match *method == Method::HEAD {
        true => Body::empty(),
        false => pieces::body(Taken(file.bytes(range.clone()).await?), pass),
    };
    let mut response = wire::body(status, file.media_type(), body);
    let headers = response.headers_mut();
    set(headers, header::CONTENT_LENGTH, &length.to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        let says = format!("bytes {}-{}/{all}", range.start, range.end.saturating_sub(1));
        set(headers, header::CONTENT_RANGE, &says);
    }
    let name = file.file.name.rsplit('/').next().unwrap_or_default();
    set(headers, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
    Ok(described(response, file, tag))
}

/// `response`, with what is true of the file whichever bytes are sent.
fn described(mut response: Response, file: &ExportedFile, tag: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    if let Some(digest) = bytes_of(&file.file.sha256) {
        let digest = format!("sha-256=:{}:", STANDARD.encode(digest));
        if let Ok(digest) = HeaderValue::from_str(&digest) {
            headers.insert("repr-digest", digest);
        }
    }
    response
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}

/// Which bytes are asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Some(Bytes<u64>),
    /// None that there are.
    Beyond,
}

/// Several ranges at once, and ones of another file than this, are answered by all of it, as they may be.
fn range(asked: &HeaderMap, tag: &HeaderValue, all: u64) -> Asked {
    let Some(text) = asked.get(header::RANGE).and_then(|text| text.to_str().ok()) else {
        return Asked::All;
    };
    if asked.get(header::IF_RANGE).is_some_and(|of| of != tag) {
        return Asked::All;
    }
    let Some((from, to)) = text.trim().strip_prefix("bytes=").and_then(|of| of.split_once('-'))
    else {
        return Asked::All;
    };
    let (from, to) = (from.trim(), to.trim());
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1).min(all)),
        (Ok(from), Err(_)) if to.is_empty() => (from, all),
        // The last so many, of which there may be fewer.
        (Err(_), Ok(last)) if from.is_empty() => (all.saturating_sub(last), all),
        _ => return Asked::All,
    };
    match from < to {
        true => Asked::Some(from..to),
        false => Asked::Beyond,
    }
}

/// The bytes, as the client takes them.
struct Taken(BoxStream<'static, Result<bytes::Bytes>>);

impl pieces::Sent for Taken {
    type Piece = bytes::Bytes;

    fn next(&mut self) -> BoxFuture<'_, Result<Option<bytes::Bytes>>> {
        Box::pin(self.0.try_next())
    }

    fn broken(&self, error: &Error) {
        tracing::warn!(detail = error.detail(), "a download is broken off");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_are_those_that_there_are() {
        let tag = HeaderValue::from_static("\"a\"");
        let asked = |text: &'static str, of: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(text));
            if let Some(of) = of {
                headers.insert(header::IF_RANGE, HeaderValue::from_static(of));
            }
            range(&headers, &tag, 100)
        };
        assert_eq!(asked("bytes=0-9", None), Asked::Some(0..10));
        assert_eq!(asked("bytes=90-", None), Asked::Some(90..100));
        assert_eq!(asked("bytes=90-500", None), Asked::Some(90..100));
        assert_eq!(asked("bytes=-10", None), Asked::Some(90..100));
        assert_eq!(asked("bytes=-500", None), Asked::Some(0..100));
        assert_eq!(asked("bytes=99-99", Some("\"a\"")), Asked::Some(99..100));
        assert_eq!(asked("bytes=99-99", Some("\"b\"")), Asked::All);
        assert_eq!(asked("bytes=100-", None), Asked::Beyond);
        assert_eq!(asked("bytes=-0", None), Asked::Beyond);
        assert_eq!(asked("bytes=0-1,5-9", None), Asked::All);
        assert_eq!(asked("rows=0-1", None), Asked::All);
        assert_eq!(asked("bytes=x", None), Asked::All);
        assert_eq!(range(&HeaderMap::new(), &tag, 100), Asked::All);
    }
}
