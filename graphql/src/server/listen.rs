//! Connections: how many there are, and how long each may wait.
//!
//! A connection is busy while a request of it is answered, until the last byte is taken, and as a WebSocket whose client said
//! who it is. Between that it waits, and a client that makes it wait too long loses it: for its first request, for a next one,
//! and for taking an answer. Reading a request does not count as life, or a byte now and then would hold a connection for ever.
//! Where all places are taken, whoever waits longest makes room for a newcomer; where nobody waits, the newcomer is told so.
//!
//! It speaks HTTP/1.1, and HTTP/2 where the client begins with it; in HTTP/2 a client can be alive on the connection and leave its
//! answers where they are, one beside another, so there each of them is looked after by itself (`streams.rs`).

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::Taken;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::compress::Accepted;
use super::socket::{PatientIo, Wire, refuse};
use super::streams::{self, Answering, Streams};
use super::tls::Tls;
use super::{App, Patience};

/// Least time that a connection has waited when it makes room for another.
const EVICTED_AFTER: Duration = Duration::from_secs(1);
/// Longest that a newcomer waits for a place.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(2);
/// The same where no connection can make room.
const BUSY_WAIT_MAX: Duration = Duration::from_millis(20);
/// Newcomers that wait for a place at a time, or are told that there is none; one more is closed without a word. They are an
/// eighth of all connections at most, and counted among them.
const NEWCOMERS_MAX: usize = 256;
/// Waits after an accept that failed, which is how it shows that descriptors are used up: from, to.
const ACCEPT_WAITS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Bytes that the system keeps of an answer for its client. It says that there is room again when a third is free: so the more,
/// the longer one that reads slowly looks as if it did not.
const SENDING_BYTES: usize = 512 << 10;
/// Longest that a connection takes to close when it waited too long.
const FAREWELL_MAX: Duration = Duration::from_millis(200);
/// Longest that a client which vanished without a word is waited for.
const VANISHED_AFTER: Duration = Duration::from_secs(60);

/// What is said to a client that there is no place for.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 44\r\n\r\nthe server has no place for one more client\n";

/// Serves connections until `shutdown` is ready, then waits for those that are busy, at most [`Patience::shutdown_max`].
pub(super) async fn serve(
    listener: TcpListener,
    app: App,
    tls: Option<Arc<Tls>>,
    connections_max: usize,
    shutdown: impl Future<Output = ()>,
) {
    let newcomers = NEWCOMERS_MAX.min(connections_max / 8).max(1);
    let server = Arc::new(Connections {
        patience: app.0.patience.clone(),
        tls,
        started: Instant::now(),
        places: Arc::new(Semaphore::new(connections_max.saturating_sub(newcomers).max(1))),
        newcomers: Arc::new(Semaphore::new(newcomers)),
        open: Mutex::default(),
        numbers: AtomicU64::default(),
    });
    let ends = Ends::default();
    let accepting = async {
        let mut wait = ACCEPT_WAITS.0;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "no connection can be accepted");
                    sleep(wait).await;
                    wait = (wait * 2).min(ACCEPT_WAITS.1);
                    continue;
                }
            };
            wait = ACCEPT_WAITS.0;
            if let Some(place) = server.free_place() {
                let connection = server.open(stream, peer, place);
                ends.tasks.spawn(connection.serve(app.clone(), ends.clone()));
                continue;
            }
            // Of those who would wait for a place, too many wait already.
            let Ok(turn) = Arc::clone(&server.newcomers).try_acquire_owned() else { continue };
            let (server, app, ends_too) = (Arc::clone(&server), app.clone(), ends.clone());
            ends.tasks.spawn(async move {
                match server.place().await {
                    Some(place) => {
                        drop(turn);
                        server.open(stream, peer, place).serve(app, ends_too).await;
                    }
                    // Before hands are shaken nothing can be said.
                    None if server.tls.is_some() => {}
                    None => {
                        refuse(stream, NO_PLACE).await;
                        drop(turn);
                    }
                }
            });
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = accepting => {}
    }
    drop(listener);
    let Ends { ending, ended, tasks } = ends;
    ending.cancel();
    let sockets = app.0.sockets.clone();
    let mutations = app.0.service.0.mutations.clone();
    for tracker in [&tasks, &sockets, &mutations] {
        tracker.close();
    }
    let all = async { tokio::join!(tasks.wait(), sockets.wait(), mutations.wait()) };
    if timeout(server.patience.shutdown_max, all).await.is_err() {
        // WebSockets were told, and go with the runtime.
        ended.cancel();
        tasks.wait().await;
    }
}

/// How connections end when the server does.
#[derive(Clone, Default)]
struct Ends {
    /// They finish what is under way.
    ending: CancellationToken,
    /// They stop.
    ended: CancellationToken,
    tasks: TaskTracker,
}

/// All connections of a server.
pub(super) struct Connections {
    pub(super) patience: Patience,
    tls: Option<Arc<Tls>>,
    started: Instant,
    places: Arc<Semaphore>,
    newcomers: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Life>>>,
    numbers: AtomicU64,
}

/// What is known of a connection while it is open.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// Whether a part of an answer waits for the client to take it.
    owes: AtomicBool,
    /// Whether a request came at all.
    asked: AtomicBool,
    /// When it was last busy, in milliseconds since the server started.
    idle_since_ms: AtomicU64,
    /// Told to make room, and whether it was.
    evicted: Notify,
    leaves: AtomicBool,
}

impl Connections {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn free_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// A place for one more, if need be that of the connection which waits longest.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let mut free = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        let until_ms = self.now_ms() + PLACE_WAIT_MAX.as_millis() as u64;
        loop {
            let Some((life, since_ms)) = self.longest_waiting() else {
                // Every place is busy: a moment, and no longer, for others want to hear that, too.
                return timeout(BUSY_WAIT_MAX, free).await.ok()?.ok();
            };
            let now_ms = self.now_ms();
            let waited = Duration::from_millis(now_ms.saturating_sub(since_ms));
            if waited >= EVICTED_AFTER {
                life.leaves.store(true, Ordering::Release);
                life.evicted.notify_one();
                return timeout(PLACE_WAIT_MAX, free).await.ok()?.ok();
            }
            let left = Duration::from_millis(until_ms.saturating_sub(now_ms));
            if left.is_zero() {
                return None;
            }
            // It may come back to life meanwhile, and then another one is the longest that waits.
            if let Ok(place) = timeout(left.min(EVICTED_AFTER - waited), free.as_mut()).await {
                return place.ok();
            }
        }
    }

    /// The connection that waits longest for its client, and since when.
    fn longest_waiting(&self) -> Option<(Arc<Life>, u64)> {
        let open = self.open.lock();
        let waits = |life: &&Arc<Life>| !life.is_busy() && !life.leaves.load(Ordering::Acquire);
        let idle = open.values().filter(waits);
        let since = idle.map(|life| (life, life.idle_since_ms.load(Ordering::Acquire)));
        since
            .min_by_key(|(_, since_ms)| *since_ms)
            .map(|(life, since_ms)| (Arc::clone(life), since_ms))
    }

    fn open(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Connection {
        // Answers are written in few pieces. What can not be set is as the system has it.
        let _ = stream.set_nodelay(true);
        let socket = SockRef::from(&stream);
        let _ = socket.set_send_buffer_size(SENDING_BYTES);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(VANISHED_AFTER));
        let local = stream.local_addr().ok();
        let life = Arc::new(Life::default());
        life.idle_since_ms.store(self.now_ms(), Ordering::Release);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, Arc::clone(&life));
        let io = PatientIo::new(stream, Arc::clone(self), Arc::clone(&life), number, place);
        Connection { io, server: Arc::clone(self), life, peer, local }
    }

    /// Notes that one is closed.
    pub(super) fn closed(&self, number: u64) {
        self.open.lock().remove(&number);
    }
}

struct Connection {
    io: PatientIo,
    server: Arc<Connections>,
    life: Arc<Life>,
    peer: SocketAddr,
    local: Option<SocketAddr>,
}

impl Connection {
    async fn serve(self, app: App, ends: Ends) {
        let Self { io, server, life, peer, local } = self;
        let tls = server.tls.as_deref();
        let opened = tokio::select! {
            opened = Wire::open(io, tls, server.patience.request_max) => opened,
            () = life.evicted.notified() => return,
            () = ends.ending.cancelled() => return,
        };
        let (wire, certificate) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%peer, %error, "closed: no hands were shaken");
                return;
            }
        };
        let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let service = hyper::service::service_fn({
            let (server, life) = (Arc::clone(&server), Arc::clone(&life));
            move |request: hyper::Request<Incoming>| {
                let busy = Busy::new(&server, &life);
                let mut request = streams::as_before_http2(request);
                let of = OfConnection {
                    server: Arc::clone(&server),
                    life: Arc::clone(&life),
                    client: Arc::clone(&busy.client),
                };
                request.extensions_mut().insert(of);
                if let Some(certificate) = &certificate {
                    request.extensions_mut().insert(certificate.clone());
                }
                let (method, accepted) = (request.method().clone(), Accepted::of(&request));
                let app = app.clone();
                let local = LocalAddr(local.map_or_else(Addr::default, Addr::from));
                let remote = RemoteAddr(Addr::from(peer));
                let scheme = scheme.clone();
                // Boxed: hyper keeps room for it as long as the connection is there, and few are answered at a time.
                Box::pin(async move {
                    let answer = app.get_response((request, local, remote, scheme).into()).await;
                    let answer = app.0.compressors.compress(answer.into(), accepted);
                    Ok::<_, Infallible>(answer.map(|body| Answering::new(body, &method, busy)))
                })
            }
        });
        let streams = Streams::new(&server.patience, ends.tasks.clone());
        let builder = streams.builder(&server.patience);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(wire), service);
        let mut connection = std::pin::pin!(connection);
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = sleep(life.patience_left(&server)) => {
                    if life.patience_left(&server).is_zero() {
                        tracing::debug!(%peer, "closed: it waited too long");
                        break;
                    }
                }
                () = life.evicted.notified() => {
                    if !life.is_busy() {
                        tracing::debug!(%peer, "closed: it made room");
                        break;
                    }
                    life.leaves.store(false, Ordering::Release);
                }
                () = streams.flooded() => {
                    tracing::debug!(%peer, "closed: it asked and did not wait for answers");
                    return;
                }
                () = ends.ending.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        _ = connection.as_mut() => return,
                        () = ends.ended.cancelled() => return,
                    }
                }
            }
        }
        // In HTTP/2 it is told which of its requests were heard.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(FAREWELL_MAX, connection).await;
    }
}

impl Life {
    /// Notes that a part of an answer waits for the client.
    pub(super) fn owes(&self) {
        self.owes.store(true, Ordering::Release);
    }

    /// Notes that none does.
    pub(super) fn owes_nothing(&self, server: &Connections) {
        if self.owes.swap(false, Ordering::AcqRel) {
            self.idle_since_ms.store(server.now_ms(), Ordering::Release);
        }
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0 || self.owes.load(Ordering::Acquire)
    }

    /// How long it may still wait; zero: it waited too long.
    fn patience_left(&self, server: &Connections) -> Duration {
        let most = match self.asked.load(Ordering::Acquire) {
            false => server.patience.request_max,
            true => server.patience.idle_max,
        };
        if self.is_busy() {
            return most;
        }
        let waited_ms = server.now_ms().saturating_sub(self.idle_since_ms.load(Ordering::Acquire));
        most.saturating_sub(Duration::from_millis(waited_ms))
    }
}

/// The connection that a request came by.
#[derive(Clone)]
pub(super) struct OfConnection {
    server: Arc<Connections>,
    life: Arc<Life>,
    client: Client,
}

/// The place of the tenant that a request is from, once that is known.
type Client = Arc<Mutex<Option<Taken>>>;

impl OfConnection {
    /// Keeps a place of the request's tenant until its answer is handed over.
    pub(super) fn hold(&self, place: Taken) {
        *self.client.lock() = Some(place);
    }

    /// Keeps it from being told to make room.
    pub(super) fn busy(&self) -> Busy {
        Busy::new(&self.server, &self.life)
    }

    /// Ready when it is told to make room.
    pub(super) async fn evicted(&self) {
        self.life.evicted.notified().await;
    }
}

/// Something that keeps a connection busy: a request that is being answered, a client that is known.
pub(super) struct Busy {
    server: Arc<Connections>,
    life: Arc<Life>,
    client: Client,
}

impl Busy {
    fn new(server: &Arc<Connections>, life: &Arc<Life>) -> Self {
        life.asked.store(true, Ordering::Release);
        life.busy.fetch_add(1, Ordering::AcqRel);
        Self { server: Arc::clone(server), life: Arc::clone(life), client: Arc::default() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.client.lock().take();
        self.life.idle_since_ms.store(self.server.now_ms(), Ordering::Release);
        self.life.busy.fetch_sub(1, Ordering::AcqRel);
    }
}
