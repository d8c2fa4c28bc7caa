//! HTTP/2: many requests beside each other on one connection, each of which may wait no longer than on one of its own.
//!
//! What TCP says of a client in HTTP/1.1, that it takes nothing of its answer, is here said for each stream by the client, which can
//! be alive all the while. So an answer is handed over in pieces, and the next one is asked for when the client made room for that
//! before: a stream whose piece waits too long is reset, and the others go on.
//!
//! ```text
//!   Answering ──piece──▶ hyper ──room?──▶ h2 ──▶ socket
//!       │                                           a stream is a task of its own (`Streams` spawns it), in which
//!       └── Taking: a piece waits since … ◀── Watched   `Answering` finds its `Taking`
//! ```
//! Floods: h2 ends a connection on which many streams are reset before they are accepted (CVE-2023-44487), or on which headers go on
//! without an end. A client that waits until each is accepted and then resets it is ended here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use poem::http::{HeaderValue, Method, Version, header};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::Patience;
use super::listen::Busy;
use super::socket::Owed;

/// Bytes that are read ahead: a request's headers are refused when these are full, which is seen in HTTP/1.1 when more than half come
/// at once at twice as many.
const READ_BYTES_MAX: usize = 64 << 10;
/// Requests of one connection that are answered at a time.
const STREAMS_MAX: u32 = 100;
/// Bytes of bodies that a client may send before they are asked for: of one request, of all of a connection.
const WINDOWS_BYTES: (u32, u32) = (256 << 10, 512 << 10);
/// Bytes of one frame.
const FRAME_BYTES_MAX: u32 = 16 << 10;
/// Bytes of an answer that are handed over at once: what may lie here for a client that makes no room, of one request.
const PIECE_BYTES: usize = 16 << 10;
/// Streams that may be reset before they are accepted, and those that are reset here for what is wrong in them; then the connection
/// ends.
const RESET_UNSEEN_MAX: usize = 20;
const RESET_FOR_ERRORS_MAX: usize = 100;
/// Requests that a client may break off before they are answered, beyond those that were answered meanwhile; then the connection ends.
const BROKEN_OFF_MAX: usize = 200;
/// How long an answer to a sign of life is waited for.
const ALIVE_MAX: Duration = Duration::from_secs(20);

tokio::task_local! {
    /// The stream that a task is of. HTTP/1.1 has none.
    static TAKING: Arc<Taking>;
}

/// The streams of a connection. When this goes, they do.
pub(super) struct Streams {
    all: Arc<All>,
    _closed: DropGuard,
}

struct All {
    stalled_max: Duration,
    tasks: TaskTracker,
    closed: CancellationToken,
    /// Those of which a piece waits for the client.
    owing: AtomicUsize,
    broken_off: AtomicUsize,
    flooded: CancellationToken,
}

/// Makes each stream a task.
#[derive(Clone)]
pub(super) struct OfStreams(Arc<All>);

impl Streams {
    pub(super) fn new(patience: &Patience, tasks: TaskTracker) -> Self {
        let closed = CancellationToken::new();
        let all = All {
            stalled_max: patience.stalled_max,
            tasks,
            closed: closed.clone(),
            owing: AtomicUsize::new(0),
            broken_off: AtomicUsize::new(0),
            flooded: CancellationToken::new(),
        };
        Self { all: Arc::new(all), _closed: closed.drop_guard() }
    }

    /// What serves a connection: HTTP/2 where it begins so, else HTTP/1.1. Every bound stands here, also where hyper has the same.
    pub(super) fn builder(&self, patience: &Patience) -> auto::Builder<OfStreams> {
        let mut builder = auto::Builder::new(OfStreams(Arc::clone(&self.all)));
        builder.http1().timer(TokioTimer::new()).max_buf_size(READ_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(WINDOWS_BYTES.0)
            .initial_connection_window_size(WINDOWS_BYTES.1)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(PIECE_BYTES)
            // It also bounds the frames that a request's headers may go on for.
            .max_header_list_size(READ_BYTES_MAX as u32)
            .max_pending_accept_reset_streams(RESET_UNSEEN_MAX)
            .max_local_error_reset_streams(RESET_FOR_ERRORS_MAX)
            .keep_alive_interval(patience.heartbeat)
            .keep_alive_timeout(ALIVE_MAX);
        builder
    }

    /// Ready when too many requests were broken off.
    pub(super) async fn flooded(&self) {
        self.all.flooded.cancelled().await;
    }
}

impl All {
    /// Counts a request that has ended.
    fn ended(&self, is_answered: bool) {
        let counted = |count: usize| match is_answered {
            true => count.checked_sub(1),
            false => count.checked_add(1),
        };
        let before = self.broken_off.fetch_update(Ordering::AcqRel, Ordering::Acquire, counted);
        if !is_answered && before.is_ok_and(|before| before >= BROKEN_OFF_MAX) {
            self.flooded.cancel();
        }
    }
}

impl<F> hyper::rt::Executor<F> for OfStreams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let all = Arc::clone(&self.0);
        let taking = Arc::new(Taking::of(&all));
        let stream = Box::pin(TAKING.scope(Arc::clone(&taking), stream));
        self.0.tasks.spawn(async move {
            let watched = Watched { stream, taking: Arc::clone(&taking), timer: None };
            all.closed.run_until_cancelled(watched).await;
            all.ended(taking.is_answered.load(Ordering::Acquire));
        });
    }
}

/// What a client takes of an answer.
struct Taking {
    all: Arc<All>,
    is_answered: AtomicBool,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    owed: Owed,
    /// Bytes of the piece that waits, and which it is.
    piece: Option<usize>,
    number: u64,
}

impl Taking {
    fn of(all: &Arc<All>) -> Self {
        let (is_answered, waits) = (AtomicBool::new(false), Mutex::default());
        Self { all: Arc::clone(all), is_answered, waits }
    }

    /// Notes that a piece is handed over, for which the client is to make room.
    fn waits_for(&self, bytes: usize) {
        let mut waits = self.waits.lock();
        waits.number += 1;
        if waits.piece.replace(bytes).is_none() {
            self.all.owing.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Notes that it did.
    fn took(&self) {
        let mut waits = self.waits.lock();
        if let Some(bytes) = waits.piece.take() {
            waits.owed.taken(bytes);
            waits.owed.ended();
            self.all.owing.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The piece that waits now if one does, and how long it may.
    fn waiting(&self) -> Option<(u64, Duration)> {
        let mut waits = self.waits.lock();
        waits.piece?;
        let beside = self.all.owing.load(Ordering::Acquire);
        let left = waits.owed.left(self.all.stalled_max, beside);
        Some((waits.number, left))
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.took();
    }
}

/// A stream that ends when its client does not take its answer: what is dropped is reset.
struct Watched<F> {
    stream: Pin<Box<F>>,
    taking: Arc<Taking>,
    /// Runs while a piece waits, for that piece.
    timer: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some((number, left)) = this.taking.waiting() else {
            this.timer = None;
            return Poll::Pending;
        };
        let timer = match &mut this.timer {
            Some((of, timer)) if *of == number => timer,
            timer => &mut timer.insert((number, Box::pin(sleep(left)))).1,
        };
        ready!(timer.as_mut().poll(context));
        tracing::debug!("reset: the client did not take its answer");
        Poll::Ready(())
    }
}

/// The body of an answer, which is busy until it is handed over.
pub(super) struct Answering<B> {
    body: B,
    /// What is handed over next, in HTTP/2.
    left: Bytes,
    taking: Option<Arc<Taking>>,
    /// Whether the request was one for the headers alone. HTTP/1.1 knows by itself.
    is_head: bool,
    _busy: Busy,
}

impl<B: Body> Answering<B> {
    /// The answer to a request of this method that is as long busy; in HTTP/2 this is to be called in the task of its stream.
    pub(super) fn new(body: B, method: &Method, busy: Busy) -> Self {
        let taking = TAKING.try_with(Arc::clone).ok();
        let is_head = *method == Method::HEAD && taking.is_some();
        // Of one that has something in it, it is known when that is asked for.
        if let Some(taking) = taking.as_ref().filter(|_| is_head || body.is_end_stream()) {
            taking.is_answered.store(true, Ordering::Release);
        }
        Self { body, left: Bytes::new(), taking, is_head, _busy: busy }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let Some(taking) = &this.taking else {
            return Pin::new(&mut this.body).poll_frame(context);
        };
        taking.is_answered.store(true, Ordering::Release);
        taking.took();
        if this.left.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.left = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = this.left.split_to(this.left.len().min(PIECE_BYTES));
        taking.waits_for(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_head || (self.left.is_empty() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let (left, body) = (self.left.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + left);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}

/// A request of HTTP/2 with the headers that it has in HTTP/1.1 (RFC 9113, sections 8.3.1 and 8.2.3): its authority as `Host`, whatever
/// else it says there, and its cookies in one line.
pub(super) fn as_before_http2(mut request: hyper::Request<Incoming>) -> hyper::Request<Incoming> {
    if request.version() == Version::HTTP_2 {
        let host = request.uri().authority().map(|host| HeaderValue::from_str(host.as_str()));
        let headers = request.headers_mut();
        if let Some(Ok(host)) = host {
            headers.insert(header::HOST, host);
        }
        let cookies: Vec<&[u8]> =
            headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if cookies.len() > 1
            && let Ok(all) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
        {
            headers.insert(header::COOKIE, all);
        }
    }
    request
}
