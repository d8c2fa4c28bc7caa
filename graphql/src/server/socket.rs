//! The socket of a connection: it has a place, ends when its client does not take what is written, and may be spoken to through TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::listen::{Connections, Life};
use super::tls::{OfClient, Tls};

/// Rate at which a client takes its answers at least, once the longest wait for it to take some is over.
const BYTES_PER_SECOND_MIN: f64 = (16 << 10) as f64;

/// What is said to a client that speaks no TLS where nothing else is spoken.
const NO_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 46\r\n\r\n\
    this server speaks TLS: ask it by https://...\n";

/// Longest that a refusal takes.
const REFUSING_MAX: Duration = Duration::from_millis(500);

/// Says why there is no connection. What the client sent is read for a moment: were it left, the client would see a reset and never
/// the answer.
pub(super) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, says: &[u8]) {
    let said = async {
        stream.write_all(says).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4_096];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // It is gone in either case.
    let _ = timeout(REFUSING_MAX, said).await;
}

/// What requests come through.
pub(super) enum Wire {
    /// The socket itself.
    Plain(PatientIo),
    /// TLS over it.
    Tls(Box<TlsStream<PatientIo>>),
}

impl Wire {
    /// Shakes hands where there is TLS. Fails after `patience`, as with what is no handshake.
    pub(super) async fn open(
        io: PatientIo,
        tls: Option<&Tls>,
        patience: Duration,
    ) -> io::Result<(Self, Option<OfClient>)> {
        let Some(tls) = tls else { return Ok((Self::Plain(io), None)) };
        let shaken = timeout(patience, async {
            let mut first = [0];
            io.peek(&mut first).await?;
            // Every method begins with a capital, and no record of TLS does.
            if first[0].is_ascii_uppercase() {
                refuse(io, NO_TLS).await;
                return Err(io::Error::other("it speaks no TLS"));
            }
            tls.accept(io).await
        });
        let slow = || io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
        let (stream, certificate) = shaken.await.map_err(|_| slow())??;
        Ok((Self::Tls(Box::new(stream)), certificate))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A socket that has a place, and ends when its client does not take what is written.
pub(super) struct PatientIo {
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
pub(super) struct Owed {
    since: Option<Instant>,
    until: Option<Instant>,
    before: Duration,
    taken_bytes: f64,
}

impl Owed {
    /// How long the client may leave what waits for it now, when it may take nothing for `stalled_max`, and `beside` such answers wait
    /// for it, this one among them: they share what it takes at least.
    pub(super) fn left(&mut self, stalled_max: Duration, beside: usize) -> Duration {
        if self.since.is_none() {
            if self.until.is_none_or(|until| until.elapsed() > stalled_max) {
                *self = Self::default();
            }
            self.since = Some(Instant::now());
        }
        let owed = self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let share = BYTES_PER_SECOND_MIN / beside.max(1) as f64;
        let earned = Duration::from_secs_f64(self.taken_bytes / share);
        (stalled_max + earned).saturating_sub(owed).min(stalled_max)
    }

    /// Notes that the client took so many bytes.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.taken_bytes += bytes as f64;
    }

    /// Notes that nothing waits for it.
    pub(super) fn ended(&mut self) {
        if let Some(since) = self.since.take() {
            self.before += since.elapsed();
            self.until = Some(Instant::now());
        }
    }
}

impl Drop for PatientIo {
    fn drop(&mut self) {
        self.server.closed(self.number);
    }
}

impl PatientIo {
    /// A socket in the place that it was given.
    pub(super) fn new(
        stream: TcpStream,
        server: Arc<Connections>,
        life: Arc<Life>,
        number: u64,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let owed = Owed::default();
        Self { stream, server, life, number, owed, pending: None, _place: place }
    }

    /// The first bytes that the client sent, which are left there.
    async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(bytes).await
    }

    /// Notes what came of a write; fails when the client took nothing for too long.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            self.pending = None;
            self.owed.taken(*result.as_ref().unwrap_or(&0));
            return written;
        }
        self.life.owes();
        let (stalled_max, owed) = (self.server.patience.stalled_max, &mut self.owed);
        let pending =
            self.pending.get_or_insert_with(|| Box::pin(sleep(owed.left(stalled_max, 1))));
        ready!(pending.as_mut().poll(context));
        let says = "the client did not take its answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, says)))
    }

    /// Notes that all that there was is taken.
    fn flushed(&mut self) {
        self.pending = None;
        self.owed.ended();
        self.life.owes_nothing(&self.server);
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
        let left = |mut owed: Owed| owed.left(most, 1);
        assert!(near(left(Owed::default()), 30.0));
        assert!(near(left(owed(20, 10.0)), 10.0));
        assert_eq!(left(owed(31, 10.0)), Duration::ZERO);
        assert!(near(left(owed(40, 20.0 * BYTES_PER_SECOND_MIN)), 10.0));
        assert!(near(left(owed(40, 90.0 * BYTES_PER_SECOND_MIN)), 30.0));
        // Four answers beside each other share the rate.
        assert!(near(owed(40, 5.0 * BYTES_PER_SECOND_MIN).left(most, 4), 10.0));
        // It counts on where it stopped a moment ago.
        let mut again = owed(20, 0.0);
        again.ended();
        assert!(near(left(again), 10.0));
    }
}
