//! Connections: how many there are, and how long each may wait.
//!
//! A connection is busy while a request of it is answered, until the last byte is taken, and as a WebSocket whose client said
//! who it is. Between that it waits, and a client that makes it wait too long loses it: for its first request, for a next one,
//! and for taking an answer. Reading a request does not count as life, or a byte now and then would hold a connection for ever.
//! Where all places are taken, whoever waits longest makes room for a newcomer; where nobody waits, the newcomer is told so.
//!
//! It is HTTP/1.1: in HTTP/2 a client can be alive on the connection and leave its answers where they are, one beside another.
//! Who wants it has it from the proxy that also ends TLS.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use engine::Taken;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
/// Longest that a refusal takes.
const REFUSING_MAX: Duration = Duration::from_millis(500);
/// Waits after an accept that failed, which is how it shows that descriptors are used up: from, to.
const ACCEPT_WAITS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Bytes that are read ahead: a request's headers are refused when these are full, which is seen when more than half come at once
/// at twice as many.
const READ_BYTES_MAX: usize = 64 << 10;
/// Bytes that the system keeps of an answer for its client. It says that there is room again when a third is free: so the more,
/// the longer one that reads slowly looks as if it did not.
const SENDING_BYTES: usize = 512 << 10;
/// Rate at which a client takes its answers at least, once the longest wait for it to take some is over.
const BYTES_PER_SECOND_MIN: f64 = (16 << 10) as f64;
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
    connections_max: usize,
    shutdown: impl Future<Output = ()>,
) {
    let newcomers = NEWCOMERS_MAX.min(connections_max / 8).max(1);
    let server = Arc::new(Connections {
        patience: app.0.patience.clone(),
        started: Instant::now(),
        places: Arc::new(Semaphore::new(connections_max.saturating_sub(newcomers).max(1))),
        newcomers: Arc::new(Semaphore::new(newcomers)),
        open: Mutex::default(),
        numbers: AtomicU64::default(),
    });
    let (ending, ended) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
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
                tasks.spawn(connection.serve(app.clone(), ending.clone(), ended.clone()));
                continue;
            }
            // Of those who would wait for a place, too many wait already.
            let Ok(turn) = Arc::clone(&server.newcomers).try_acquire_owned() else { continue };
            let (server, app) = (Arc::clone(&server), app.clone());
            let (ending, ended) = (ending.clone(), ended.clone());
            tasks.spawn(async move {
                match server.place().await {
                    Some(place) => {
                        drop(turn);
                        server.open(stream, peer, place).serve(app, ending, ended).await;
                    }
                    None => {
                        refuse(stream).await;
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

/// Says that there is no place. What the client sent is read for a moment: were it left, the client would see a reset and
/// never the answer.
async fn refuse(mut stream: TcpStream) {
    let said = async {
        stream.write_all(NO_PLACE).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4_096];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // It is gone in either case.
    let _ = timeout(REFUSING_MAX, said).await;
}

/// All connections of a server.
struct Connections {
    patience: Patience,
    started: Instant,
    places: Arc<Semaphore>,
    newcomers: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Life>>>,
    numbers: AtomicU64,
}

/// What is known of a connection while it is open.
#[derive(Debug, Default)]
struct Life {
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
        let io = PatientIo {
            stream,
            server: Arc::clone(self),
            life: Arc::clone(&life),
            number,
            owed: Owed::default(),
            pending: None,
            _place: place,
        };
        Connection { io, server: Arc::clone(self), life, peer, local }
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
    async fn serve(self, app: App, ending: CancellationToken, ended: CancellationToken) {
        let Self { io, server, life, peer, local } = self;
        let service = hyper::service::service_fn({
            let (server, life) = (Arc::clone(&server), Arc::clone(&life));
            move |mut request: hyper::Request<Incoming>| {
                let busy = Busy::new(&server, &life);
                request.extensions_mut().insert(OfConnection {
                    server: Arc::clone(&server),
                    life: Arc::clone(&life),
                    client: Arc::clone(&busy.client),
                });
                let app = app.clone();
                let local = LocalAddr(local.map_or_else(Addr::default, Addr::from));
                let remote = RemoteAddr(Addr::from(peer));
                // Boxed: hyper keeps room for it as long as the connection is there, and few are answered at a time.
                Box::pin(async move {
                    let answer = app.get_response((request, local, remote, Scheme::HTTP).into());
                    let answer: hyper::Response<_> = answer.await.into();
                    Ok::<_, Infallible>(answer.map(|body| Answering { body, _busy: busy }))
                })
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).max_buf_size(READ_BYTES_MAX);
        let connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        loop {
            tokio::select! {
                _ = connection.as_mut() => break,
                () = sleep(life.patience_left(&server)) => {
                    if life.patience_left(&server).is_zero() {
                        tracing::debug!(%peer, "closed: it waited too long");
                        return;
                    }
                }
                () = life.evicted.notified() => {
                    if !life.is_busy() {
                        tracing::debug!(%peer, "closed: it made room");
                        return;
                    }
                    life.leaves.store(false, Ordering::Release);
                }
                () = ending.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        _ = connection.as_mut() => break,
                        () = ended.cancelled() => return,
                    }
                }
            }
        }
    }
}

impl Life {
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

/// The body of an answer, which is busy until it is handed over.
struct Answering<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that has a place, and ends when its client does not take what is written.
struct PatientIo {
    stream: TcpStream,
    server: Arc<Connections>,
    life: Arc<Life>,
    number: u64,
    owed: Owed,
    /// Runs while the client takes nothing of what waits for it.
    pending: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

/// How long parts of answers waited for the client, and what it took meanwhile, since it last owed nothing for long.
#[derive(Debug, Default)]
struct Owed {
    since: Option<Instant>,
    until: Option<Instant>,
    before: Duration,
    taken_bytes: f64,
}

impl Owed {
    /// How long the client may leave what waits for it now, when it may take nothing for `stalled_max`.
    fn left(&mut self, stalled_max: Duration) -> Duration {
        if self.since.is_none() {
            if self.until.is_none_or(|until| until.elapsed() > stalled_max) {
                *self = Self::default();
            }
            self.since = Some(Instant::now());
        }
        let owed = self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let earned = Duration::from_secs_f64(self.taken_bytes / BYTES_PER_SECOND_MIN);
        (stalled_max + earned).saturating_sub(owed).min(stalled_max)
    }

    fn ended(&mut self) {
        if let Some(since) = self.since.take() {
            self.before += since.elapsed();
            self.until = Some(Instant::now());
        }
    }
}

impl Drop for PatientIo {
    fn drop(&mut self) {
        self.server.open.lock().remove(&self.number);
    }
}

impl PatientIo {
    /// Notes what came of a write; fails when the client took nothing for too long.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            self.pending = None;
            self.owed.taken_bytes += *result.as_ref().unwrap_or(&0) as f64;
            return written;
        }
        self.life.owes.store(true, Ordering::Release);
        let (stalled_max, owed) = (self.server.patience.stalled_max, &mut self.owed);
        let pending = self.pending.get_or_insert_with(|| Box::pin(sleep(owed.left(stalled_max))));
        ready!(pending.as_mut().poll(context));
        let says = "the client did not take its answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, says)))
    }

    /// Notes that all that there was is taken.
    fn flushed(&mut self) {
        self.pending = None;
        self.owed.ended();
        if self.life.owes.swap(false, Ordering::AcqRel) {
            self.life.idle_since_ms.store(self.server.now_ms(), Ordering::Release);
        }
    }
}

impl AsyncRead for PatientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PatientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_byte_now_and_then_has_no_more_time_than_who_takes_nothing() {
        let most = Duration::from_secs(30);
        let near = |left: Duration, seconds: f64| (left.as_secs_f64() - seconds).abs() < 1.0;
        let owed = |before: u64, taken_bytes: f64| Owed {
            since: Some(Instant::now()),
            until: None,
            before: Duration::from_secs(before),
            taken_bytes,
        };
        assert!(near(Owed::default().left(most), 30.0));
        assert!(near(owed(20, 10.0).left(most), 10.0));
        assert_eq!(owed(31, 10.0).left(most), Duration::ZERO);
        assert!(near(owed(40, 20.0 * BYTES_PER_SECOND_MIN).left(most), 10.0));
        assert!(near(owed(40, 90.0 * BYTES_PER_SECOND_MIN).left(most), 30.0));
        // It counts on where it stopped a moment ago.
        let mut again = owed(20, 0.0);
        again.ended();
        assert!(near(again.left(most), 10.0));
    }
}
