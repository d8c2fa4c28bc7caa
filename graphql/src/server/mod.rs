//! The server: one port, a few routes, and nothing on them that the service does not decide.

mod auth;
mod body;
mod compress;
mod cors;
mod downloads;
mod etag;
mod explorer;
mod features;
mod flight;
mod health;
mod http;
mod ingest;
mod listen;
mod negotiate;
mod otlp;
mod pieces;
mod route;
mod rows;
mod socket;
mod sql;
mod sse;
mod streams;
mod tls;
mod trace;
mod uploads;
mod websocket;
mod wire;

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use engine::{Code, Engine, Error, Places, Principal, Result};
use jobs::Runner;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, Request, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use auth::{
    ApiKey, CertificateField, CertificateRule, ClaimRules, Issuer, JwksSource, JwtAlgorithm,
    JwtOptions, JwtRole, JwtTenant, OidcOptions, PublicUrl, SealingSecret, Secret,
};
use auth::{Certificates, Door, Pass, Purpose, Sessions, Tokens, oidc};
use compress::Compressors;
use cors::Cors;
pub use cors::CorsOptions;
use listen::OfConnection;
use route::Route;
use tls::Tls;
pub use tls::{ClientAuthority, ClientCertificates, TlsOptions};
use trace::RequestIds;
use uploads::Uploads;

use crate::error::busy;
use crate::limits::Limits;
use crate::rates::Rates;
use crate::service::Service;
use crate::trusted::TrustedDocuments;

/// Where the server listens when nothing else is said.
pub const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8642);

/// Time between two looks for exports whose time is over.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// Bytes of all GraphQL requests that are read, half of them of one tenant; further ones wait.
const REQUESTS_BYTES_MAX: usize = 64 << 20;

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// That of Flight SQL, where it is spoken.
    pub flight: Option<SocketAddr>,
    /// Who is let in, beside those who have keys of control state. Where there are neither: the local user, and only on a loopback
    /// address.
    pub keys: Vec<ApiKey>,
    /// Whose tokens are taken, if anybody's are.
    pub jwt: Option<JwtOptions>,
    /// Where people log in, if anybody does.
    pub oidc: Option<OidcOptions>,
    /// TLS, where it is spoken.
    pub tls: Option<TlsOptions>,
    /// Which certificates of clients let somebody in; the first that one meets counts.
    pub certificates: Vec<CertificateRule>,
    /// Pages of other origins that may ask.
    pub cors: Option<CorsOptions>,
    /// Whether answers are packed for those who can read them so.
    pub compression: bool,
    /// What a request may ask for.
    pub limits: Limits,
    /// Documents that are known by ids, and whether only they are taken.
    pub documents: TrustedDocuments,
    /// How clients are waited for.
    pub patience: Patience,
}

/// How long the server waits for its clients.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For the first request of a connection.
    pub request_max: Duration,
    /// For the first message of a WebSocket (then it is closed with 4408).
    pub init_max: Duration,
    /// For the next request of a connection.
    pub idle_max: Duration,
    /// For the next bytes of a body that is being sent.
    pub body_max: Duration,
    /// For a client to take some of what is sent (then its connection is closed).
    pub stalled_max: Duration,
    /// Between two signs of life that are asked for on an idle connection.
    pub heartbeat: Duration,
    /// For the rest of a request that is refused, so that its sender comes to read why.
    pub refused_max: Duration,
    /// For connections to end when the server does.
    pub shutdown_max: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            flight: None,
            keys: Vec::new(),
            jwt: None,
            oidc: None,
            tls: None,
            certificates: Vec::new(),
            cors: None,
            compression: true,
            limits: Limits::default(),
            documents: TrustedDocuments::default(),
            patience: Patience::default(),
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request_max: Duration::from_secs(10),
            init_max: Duration::from_secs(10),
            idle_max: Duration::from_secs(60),
            body_max: Duration::from_secs(10),
            stalled_max: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            refused_max: Duration::from_secs(10),
            shutdown_max: Duration::from_secs(10),
        }
    }
}

/// Fails where others than this machine could connect to a server that lets the local user in.
pub fn require_loopback(listen: SocketAddr) -> Result<()> {
    if listen.ip().is_loopback() {
        return Ok(());
    }
    Err(Error::user(
        Code::Forbidden,
        format!(
            "listen on {listen}: without API keys the server binds to loopback only, also with TLS; make a key by `colonnade keys create`, configure \
             one, or listen on 127.0.0.1"
        ),
    ))
}

/// A server that has its port.
pub struct Server {
    app: App,
    listener: Listener,
    flight: Option<Listener>,
    tls: Option<Arc<Tls>>,
}

/// A port that was taken.
struct Listener {
    on: TcpListener,
    address: SocketAddr,
}

impl Listener {
    async fn bind(listen: SocketAddr) -> Result<Self> {
        let on = TcpListener::bind(listen).await.map_err(|error| bind_error(listen, error))?;
        let address = on.local_addr().map_err(|error| bind_error(listen, error))?;
        Ok(Self { on, address })
    }
}

impl Server {
    /// Takes the port. Fails when it is taken (CONFLICT), and when others than this machine could
    /// connect without a key (FORBIDDEN); and when a file for TLS is not what it should be (BAD_INPUT).
    pub async fn bind(engine: Engine, runner: Runner, options: ServerOptions) -> Result<Self> {
        let listen = options.listen;
        let tokens = match options.jwt {
            Some(jwt) => Some(Box::pin(Tokens::open(jwt)).await?),
            None => None,
        };
        let sessions = match options.oidc {
            Some(oidc) => Some(Box::pin(Sessions::open(oidc)).await?),
            None => None,
        };
        let cors = Cors(options.cors);
        let mut door = Door::new(options.keys, runner.key_ring().await?, tokens, sessions);
        if !options.certificates.is_empty() {
            let (rules, cors) = (options.certificates, cors.clone());
            door = door.with_certificates(Certificates { rules, cors });
        }
        let tls = match options.tls {
            Some(tls) => Some(Tls::open(tls).await?),
            None => None,
        };
        if !door.needs_key() {
            [Some(listen), options.flight].into_iter().flatten().try_for_each(require_loopback)?;
        }
        let listener = Listener::bind(listen).await?;
        let flight = match options.flight {
            Some(listen) => Some(Listener::bind(listen).await?),
            None => None,
        };
        let uploads = Uploads::new(options.limits.ingest_in_flight_bytes_max);
        let requests = Uploads::new(REQUESTS_BYTES_MAX);
        let clients = match door.is_of_one_tenant() {
            true => Places::of_one_tenant(options.limits.connections_max),
            false => Places::new(options.limits.connections_max),
        };
        let sockets = TaskTracker::new();
        let rates = Rates::new(&options.limits);
        let service = Service::taking(engine, runner, options.limits, options.documents)?;
        let inner = AppInner {
            service,
            door,
            cors,
            compressors: Compressors::new(options.compression),
            patience: options.patience,
            rates,
            uploads,
            requests,
            clients,
            sockets,
        };
        Ok(Self { app: App(Arc::new(inner), Speaks::Http), listener, flight, tls })
    }

    /// The address that it has, with the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    #[cfg(test)]
    pub(crate) fn service(&self) -> &Service {
        &self.app.0.service
    }

    /// Where it is asked, as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// Where Flight SQL is spoken, as its clients write it.
    pub fn flight_url(&self) -> Option<String> {
        let scheme = if self.tls.is_some() { "grpc+tls" } else { "grpc" };
        self.flight.as_ref().map(|flight| format!("{scheme}://{}", flight.address))
    }

    /// Serves until `shutdown` is ready: then it takes no more connections, ends subscriptions, and
    /// waits for requests that are under way.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let ending = self.app.0.service.0.ending.clone();
        let connections_max = self.app.0.service.0.limits.connections_max;
        let signal = async {
            shutdown.await;
            ending.cancel();
        };
        tracing::info!(address = %self.listener.address, "serving");
        let looked_through = tokio::spawn(self.app.clone().look_through());
        let swept = tokio::spawn(self.app.clone().sweep());
        let followed = CancellationToken::new();
        let following = tokio::spawn(self.app.clone().follow_keys(followed.clone()));
        let files_followed = self.tls.clone().map(|tls| {
            let until = followed.clone();
            tokio::spawn(async move { tls.keep(until).await })
        });
        match self.flight {
            None => {
                listen::serve(self.listener.on, self.app, self.tls, connections_max, signal).await
            }
            Some(flight) => {
                // A quarter of all connections.
                let of_flight = (connections_max / 4).max(1);
                let others = connections_max.saturating_sub(of_flight).max(1);
                let until = ending.clone();
                let app = App(Arc::clone(&self.app.0), Speaks::Flight);
                let tls = self.tls.clone();
                let flight = listen::serve(flight.on, app, tls, of_flight, until.cancelled());
                let http = listen::serve(self.listener.on, self.app, self.tls, others, signal);
                tokio::join!(http, flight);
            }
        }
        looked_through.abort();
        swept.abort();
        if let Some(following) = files_followed {
            following.abort();
        }
        // Requests that are under way ended before, and their keys were used.
        followed.cancel();
        if let Err(error) = following.await {
            tracing::warn!(%error, "keys were not followed to the end");
        }
        Ok(())
    }
}

fn bind_error(listen: SocketAddr, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::AddrInUse => Error::user(
            Code::Conflict,
            format!(
                "listen on {listen}: the address is in use by another program; --listen takes another, port 0 a free one"
            ),
        ),
        ErrorKind::PermissionDenied => Error::user(
            Code::Forbidden,
            format!("listen on {listen}: this user may not bind that port"),
        ),
        ErrorKind::AddrNotAvailable => Error::user(
            Code::BadInput,
            format!("listen on {listen}: this machine does not have that address"),
        ),
        _ => {
            let message = format!("listen on {listen} failed: {error}");
            Error::environment(Code::Internal, message, error)
        }
    }
}

/// What all connections share, and what is spoken on them.
#[derive(Clone)]
struct App(Arc<AppInner>, Speaks);

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http,
    Flight,
}

struct AppInner {
    service: Service,
    door: Door,
    cors: Cors,
    compressors: Compressors,
    patience: Patience,
    rates: Rates,
    uploads: Uploads,
    /// Requests that are read.
    requests: Uploads,
    /// Connections that are busy for a tenant. Where there are several, one has half of them.
    clients: Places,
    /// WebSockets that are open.
    sockets: TaskTracker,
}

impl AppInner {
    /// Counts a request of `who`, and as one of its tenant until its answer is handed over.
    fn let_in(&self, who: &Principal, request: &Request, ids: &RequestIds) -> Result<()> {
        let (told, refused) = match self.rates.take(who) {
            Ok(told) => (told, None),
            Err(often) => (often.told, Some((often.error, often.seconds))),
        };
        // There is one request of these ids.
        let _ = ids.rates.set((told, refused.as_ref().map(|(_, seconds)| *seconds)));
        if let Some((error, _)) = refused {
            return Err(error);
        }
        let Some(connection) = request.extensions().get::<OfConnection>() else { return Ok(()) };
        let Some(place) = self.clients.try_take(&who.tenant) else {
            let what = "requests and WebSockets of one tenant at a time";
            return Err(busy(what, self.clients.share()));
        };
        connection.hold(place);
        Ok(())
    }
}

impl Endpoint for App {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let ids = RequestIds::new(request.headers());
        let route = match self.1 {
            Speaks::Http => Route::of(request.uri().path()),
            Speaks::Flight => Route::Flight,
        };
        let label = route.label();
        let span = tracing::info_span!(
            "request",
            trace_id = ids.trace,
            request_id = ids.request,
            route = label,
            method = %request.method(),
        );
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = match self.0.cors.preflight(&request, &ids) {
            Some(told) => told,
            None => Box::pin(self.renewed(route, request, &ids)).instrument(span.clone()).await,
        };
        let took = started.elapsed();
        let status = response.status();
        self.0.service.0.meter.request(label, status.as_u16(), took);
        span.in_scope(|| {
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                tracing::info!(status = status.as_u16(), "refused");
            }
            tracing::debug!(
                status = status.as_u16(),
                took_ms = took.as_millis() as u64,
                "answered"
            );
        });
        let headers = response.headers_mut();
        self.0.cors.tell(origin.as_ref(), headers);
        for (name, value) in [("x-trace-id", &ids.trace), ("x-request-id", &ids.request)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some((told, wait)) = ids.rates.get() {
            wire::tell_rates(headers, told, *wait);
        }
        Ok(response)
    }
}

impl App {
    /// Opens the datasets of all who may come, so that `/readyz` tells of damage before somebody meets it.
    async fn look_through(self) {
        for who in self.0.door.tenants() {
            if let Err(error) = self.0.service.0.engine.catalog(&who).await {
                tracing::warn!(tenant = %who.tenant, detail = error.detail(), "datasets can not be listed");
            }
        }
    }

    /// Removes exports whose time is over, now and then.
    async fn sweep(self) {
        loop {
            if let Err(error) = self.0.service.0.engine.sweep_exports(Utc::now()).await {
                tracing::warn!(detail = error.detail(), "exports whose time is over stay there");
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    async fn follow_keys(self, until: CancellationToken) {
        self.0.door.follow(until).await;
    }

    /// Answers, after the session of who asks was renewed, should it have to be.
    /// What a route answers is held apart from who waits for it: each of them alone is large, and a thread's stack would hold all.
    async fn renewed(&self, route: Route, mut request: Request, ids: &RequestIds) -> Response {
        if !route.asks_who() {
            return Box::pin(self.route(route, request, ids)).await;
        }
        match Box::pin(self.0.door.renew(request.headers_mut())).await {
            Ok(cookie) => {
                let mut response = Box::pin(self.route(route, request, ids)).await;
                if let Some(cookie) = cookie {
                    response.headers_mut().append(header::SET_COOKIE, cookie);
                }
                response
            }
            Err(error) if route == Route::Graphql => {
                wire::graphql_failure(wire::status(error.code()), &error, ids)
            }
            Err(error) => wire::failed(&error, ids),
        }
    }

    async fn route(&self, route: Route, request: Request, ids: &RequestIds) -> Response {
        let method = request.method().clone();
        let is_read = method == Method::GET || method == Method::HEAD;
        match route {
            // As HTTP/2 opens WebSockets (RFC 8441), and clients tunnels.
            _ if method == Method::CONNECT => {
                let says =
                    "CONNECT is not taken; WebSockets are opened on a connection of HTTP/1.1";
                let error = Error::user(Code::BadInput, says);
                wire::failure(StatusCode::METHOD_NOT_ALLOWED, &error, ids)
            }
            Route::Graphql => etag::private(Box::pin(http::graphql(self, request, ids)).await),
            Route::Ingest(dataset) if method == Method::POST => {
                Box::pin(ingest::ingest(self, &dataset, request, ids)).await
            }
            Route::Sql if method == Method::POST => Box::pin(sql::sql(self, request, ids)).await,
            Route::Traces if method == Method::POST => {
                Box::pin(otlp::traces(self, request, ids)).await
            }
            Route::Features(view) if is_read || method == Method::POST => {
                Box::pin(features::features(self, &view, request, ids)).await
            }
            Route::Features(_) => wire::method_not_allowed("GET, POST", ids),
            Route::Ingest(_) | Route::Sql | Route::Traces => wire::method_not_allowed("POST", ids),
            Route::Download(path) if is_read => {
                Box::pin(downloads::download(self, &path, request, ids)).await
            }
            Route::Explorer(file) if is_read => explorer::file(&file, ids),
            Route::Auth(step) => Box::pin(oidc::answer(self, &step, request, ids)).await,
            Route::Health if is_read => health::alive(),
            Route::Ready if is_read => health::ready(self, &request, ids).await,
            Route::Metrics if is_read => health::metrics(self, &request, ids).await,
            Route::Flight => Box::pin(flight::answer(self, request, ids)).await,
            Route::Unknown => wire::failure(
                StatusCode::NOT_FOUND,
                &Error::user(
                    Code::NotFound,
                    "there is nothing at this path; expected /, /graphql, /v1/ingest/{dataset}, /v1/features/{view}, /v1/traces, /v1/sql, /v1/exports/{export}/{file}, /auth/login, \
                     /healthz, /readyz or /metrics",
                ),
                ids,
            ),
            _ => wire::method_not_allowed("GET", ids),
        }
    }
}
