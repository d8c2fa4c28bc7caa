//! Arrow Flight SQL: how ADBC, JDBC and the tools on top of them ask, on an address of its own.
//!
//! ```text
//!  connection (as everywhere: TLS, patience, places) ─▶ door ─▶ rates ─▶ gRPC ─▶ service.rs ─▶ rows of `Service::sql`
//! ```
//!
//! Nothing is kept for a client between two of its calls. What it gets to show again is the whole of what it asked (`statement.rs`):
//! a ticket names the versions that its query reads, so that rows are those that were described, and is good for whoever may see them,
//! after a restart, too.

mod catalogue;
mod service;
mod statement;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::flight_service_server::FlightServiceServer;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use engine::{Code, Error, Result, Role};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Body, Request, Response};
use tonic::Status;

use self::service::Flight;
use super::trace::RequestIds;
use super::{App, Pass, Purpose, body, wire};
use crate::error::{bad_input, status_message};

/// How a name and a password are packed. Clients in Go leave out the `=` at the end.
const PASSWORDS: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What every path of it begins with.
const PATH: &str = "/arrow.flight.protocol.FlightService/";
/// Bytes of one call: a query of a mebibyte, and its values.
const CALL_BYTES_MAX: usize = 3 << 20;
/// Where a client shows its name and password for a token.
const HANDSHAKE: &str = "Handshake";

/// Answers a call.
pub(super) async fn answer(app: &App, mut request: Request, ids: &RequestIds) -> Response {
    let of_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    let is_call = request.method() == Method::POST
        && request.headers().get(header::CONTENT_TYPE).is_some_and(of_grpc);
    if !is_call {
        let says = "Arrow Flight SQL is spoken at this address; expected a client of it, such as \
                    adbc_driver_flightsql.dbapi.connect(\"grpc://HOST:PORT\"); GraphQL is at the other address";
        let error = Error::user(Code::BadInput, says);
        return wire::failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error, ids);
    }
    match Box::pin(let_in(app, &mut request, ids)).await {
        Ok(pass) => match Box::pin(whole(app, &pass, &mut request)).await {
            Ok(()) => {
                request.extensions_mut().insert(pass);
                called(app, request).await
            }
            Err(error) => refused(&error),
        },
        Err(error) => refused(&error),
    }
}

async fn let_in(app: &App, request: &mut Request, ids: &RequestIds) -> Result<Pass> {
    with_password(request.headers_mut())?;
    let pass = app.0.door.enter(&*request, Purpose::Change).await?;
    app.0.let_in(&pass.who, request, ids)?;
    pass.who.require_in_part(Role::Reader)?;
    Ok(pass)
}

/// Reads what is asked to its end, as everywhere within bounds of bytes and time: no call has more than a query and its values. Who logs
/// in has said who they are in the headers, and may wait for the answer before they end what they send.
async fn whole(app: &App, pass: &Pass, request: &mut Request) -> Result<()> {
    let sent = request.take_body();
    if request.uri().path().strip_prefix(PATH) == Some(HANDSHAKE) {
        return Ok(());
    }
    let mut held = app.0.requests.begin(&pass.who.tenant);
    let reading = body::Reading {
        what: "the call",
        bytes_max: CALL_BYTES_MAX,
        patience: &app.0.patience,
        held: &mut held,
    };
    let bytes = reading.read(sent, request.headers()).await?;
    request.set_body(bytes);
    request.extensions_mut().insert(Arc::new(held));
    Ok(())
}

/// Who has a name and a password shows a key as the password.
fn with_password(headers: &mut HeaderMap) -> Result<()> {
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        let says = "Authorization: expected one such header, found several";
        return Err(Error::user(Code::Unauthenticated, says));
    }
    let Some(shown) = headers.get(header::AUTHORIZATION) else { return Ok(()) };
    let Some(packed) = shown.to_str().ok().and_then(|shown| {
        let (scheme, packed) = shown.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then_some(packed)
    }) else {
        return Ok(());
    };
    let wrong = || {
        let says = "Authorization: expected Basic with a name, a colon and a key in base64, or Bearer with a key";
        Error::user(Code::Unauthenticated, says)
    };
    let text = PASSWORDS.decode(packed.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(wrong)?;
    let (_, key) = text.split_once(':').ok_or_else(wrong)?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| wrong())?;
    bearer.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, bearer);
    Ok(())
}

async fn called(app: &App, request: Request) -> Response {
    // A client that logs in gets back what it is to show from now on.
    let token = match request.uri().path().strip_prefix(PATH) {
        Some(HANDSHAKE) => request.headers().get(header::AUTHORIZATION).cloned(),
        _ => None,
    };
    let (parts, body) = request.into_parts();
    let body: BoxBody<Bytes, io::Error> = body.into();
    let mut call = hyper::Request::new(tonic::body::Body::new(body));
    *call.method_mut() = parts.method;
    *call.uri_mut() = parts.uri;
    *call.version_mut() = parts.version;
    *call.headers_mut() = parts.headers;
    *call.extensions_mut() = parts.extensions;
    let mut server = FlightServiceServer::new(Flight::new(app.0.service.clone()));
    let answered = tower_service::Service::call(&mut server, call).await;
    let mut response = sent(answered.unwrap_or_else(|never| match never {}));
    if let Some(token) = token {
        response.headers_mut().insert(header::AUTHORIZATION, token);
    }
    response
}

/// An answer that is an error alone.
fn refused(error: &Error) -> Response {
    sent(status(error).into_http())
}

fn sent(answer: hyper::Response<tonic::body::Body>) -> Response {
    let (parts, body) = answer.into_parts();
    let mut response =
        Response::from(Body::from(OneAtATime(Mutex::new(body)).map_err(io::Error::other).boxed()));
    response.set_status(parts.status);
    *response.headers_mut() = parts.headers;
    response
}

/// A body of gRPC, which others may hold as well.
struct OneAtATime(Mutex<tonic::body::Body>);

impl hyper::body::Body for OneAtATime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(self.0.get_mut()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

/// An error as gRPC has it. Its code stands before the message, and in the metadata.
fn status(error: &Error) -> Status {
    use tonic::Code as Grpc;
    let code = match error.code() {
        Code::BadInput => Grpc::InvalidArgument,
        Code::Unauthenticated => Grpc::Unauthenticated,
        Code::Forbidden => Grpc::PermissionDenied,
        Code::NotFound => Grpc::NotFound,
        Code::Conflict => Grpc::FailedPrecondition,
        Code::LimitExceeded | Code::TooMany | Code::ResourcesExhausted => Grpc::ResourceExhausted,
        Code::Internal => Grpc::Internal,
        _ => Grpc::Unavailable,
    };
    let mut status =
        Status::new(code, format!("{}: {}", error.code().as_str(), status_message(error)));
    if let Ok(name) = error.code().as_str().parse() {
        status.metadata_mut().insert("x-colonnade-code", name);
    }
    status
}

/// The pass of a call.
fn pass_of<T>(request: &tonic::Request<T>) -> Result<Pass, Status> {
    let pass = request.extensions().get::<Pass>();
    pass.cloned().ok_or_else(|| Status::internal("nobody was let in"))
}

/// What this server does not do.
fn not_here(says: &str) -> Status {
    status(&bad_input(says))
}
