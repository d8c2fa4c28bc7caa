//! Rows on their way to a client: a place of a stream, a turn for each piece, and nothing held while the client takes one.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use engine::{Error, Principal, Result, Taken};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::{Room, Service, ServiceInner, before, in_time, no_places, too_late};
use crate::error::busy;

/// Bytes that are handed over at once, about.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// What is made a piece at a time.
pub(crate) trait InPieces: Send + Sized + 'static {
    /// What it is made into.
    type Piece: Piece;
    /// The next piece; none behind the last. Where this fails the answer is not whole, and is not to look so.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Self::Piece>>> + Send;
}

/// A part of an answer.
pub(crate) trait Piece: Send + 'static {
    /// Bytes that it takes.
    fn bytes(&self) -> usize;
}

impl Piece for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// What there is of an answer when its first piece was made.
pub(crate) struct Begun<P: InPieces> {
    pub(crate) rows: P,
    pub(crate) piece: Option<P::Piece>,
    /// Of the piece.
    pub(crate) room: Option<Room>,
    /// Of rows that are there whole.
    pub(crate) held: Option<Room>,
}

/// An answer that a client reads piece by piece. At its deadline it releases its resources, even if the client reads nothing.
pub(crate) struct Streamed<P: InPieces> {
    service: Arc<ServiceInner>,
    who: Principal,
    going: Arc<Between<P>>,
    is_over: bool,
    until: Instant,
    _deadline: AbortOnDropHandle<()>,
}

/// Where an answer is between two pieces, and where its deadline finds it.
struct Between<P: InPieces>(Mutex<AtDeadline<P>>);

struct AtDeadline<P: InPieces> {
    /// None while a piece is made, after the last, and after the deadline.
    going: Option<Going<P>>,
    /// Whether the deadline has passed: nothing is put back then, since nobody would release it.
    is_over: bool,
}

impl<P: InPieces> Between<P> {
    fn new(going: Going<P>) -> Self {
        Self(Mutex::new(AtDeadline { going: Some(going), is_over: false }))
    }

    fn take(&self) -> Option<Going<P>> {
        self.0.lock().going.take()
    }

    /// Puts back what was taken. False after the deadline, when it is released.
    fn put_back(&self, going: Going<P>) -> bool {
        let mut at = self.0.lock();
        if at.is_over {
            return false;
        }
        at.going = Some(going);
        true
    }

    /// Releases what the answer holds, now or when it would be put back.
    fn end(&self) {
        let mut at = self.0.lock();
        at.is_over = true;
        let going = at.going.take();
        drop(at);
        drop(going);
    }
}

/// What an answer holds between two pieces.
struct Going<P: InPieces> {
    /// What is not made yet.
    rows: Option<P>,
    /// Made, and not taken.
    piece: Option<P::Piece>,
    /// Of the piece that the client takes.
    room: Option<Room>,
    /// Of rows that are there whole.
    held: Option<Room>,
    _place: Taken,
}

impl Service {
    /// Waits for a place for one more streamed answer.
    pub(super) async fn stream_place(&self, who: &Principal) -> Result<Taken> {
        let limits = &self.0.limits;
        let waiting_max = limits.queries_waiting_max;
        let place = async {
            let place = self.0.streams.queue_of(who, 1, waiting_max).await.map_err(no_places)?;
            let what = "streamed pages of one tenant that wait, half of them of one subject";
            place.ok_or_else(|| busy(what, waiting_max))
        };
        in_time(limits.operation_time_max, place).await
    }

    /// The answer that was begun, in its place.
    pub(super) fn streamed<P: InPieces>(
        &self,
        who: &Principal,
        begun: Begun<P>,
        began: Instant,
        place: Taken,
    ) -> Streamed<P> {
        let Begun { rows, piece, room, held } = begun;
        self.0.meter.streams_begun.add(1);
        self.0.meter.stream_bytes.add(bytes_of(&piece) as u64);
        let until = began + self.0.limits.stream_time_max;
        let going = Going { rows: Some(rows), piece, room, held, _place: place };
        let going = Arc::new(Between::new(going));
        let ends = Arc::downgrade(&going);
        let deadline = tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            if let Some(going) = ends.upgrade() {
                going.end();
            }
        });
        Streamed {
            service: Arc::clone(&self.0),
            who: who.clone(),
            going,
            is_over: false,
            until,
            _deadline: AbortOnDropHandle::new(deadline),
        }
    }
}

/// Bytes of a piece.
pub(super) fn bytes_of(piece: &Option<impl Piece>) -> usize {
    piece.as_ref().map_or(0, Piece::bytes)
}

impl<P: InPieces> Streamed<P> {
    /// Counts it as one that is not whole.
    pub(crate) fn count_broken(&self) {
        self.service.meter.streams_broken.add(1);
    }

    /// The next piece, once the client has the one before; none behind the last. Where this fails the answer is not whole.
    pub(crate) async fn next(&mut self) -> Result<Option<P::Piece>> {
        if self.is_over {
            return Ok(None);
        }
        let service = Arc::clone(&self.service);
        let time_max = service.limits.stream_time_max;
        let going = self.going.take();
        let Some(mut going) = going.filter(|_| Instant::now() < self.until) else {
            return Err(too_late(time_max));
        };
        if let Some(piece) = going.piece.take() {
            self.put_back(going)?;
            return Ok(Some(piece));
        }
        going.room = None;
        let Some(mut rows) = going.rows.take() else {
            self.is_over = true;
            return Ok(None);
        };
        let work = async {
            // Who has room for all rows waits for none beside it, which others like it would wait for, too.
            let (held, place) = match &going.held {
                None => (Some(service.turn(&self.who).await?), None),
                Some(_) => (None, Some(service.place(&self.who).await?)),
            };
            let work = async move {
                let piece = rows.piece().await?;
                let room = held.map(|held| held.room.of(bytes_of(&piece)));
                drop(place);
                Ok::<_, Error>((rows, piece, room))
            };
            service.lanes.run(&self.who.tenant, work).await.flatten()
        };
        let (rows, piece, room) = before(self.until, time_max, work).await?;
        if piece.is_some() {
            (going.rows, going.room) = (Some(rows), room);
            self.put_back(going)?;
        } else {
            self.is_over = true;
        }
        service.meter.stream_bytes.add(bytes_of(&piece) as u64);
        Ok(piece)
    }
    fn put_back(&self, going: Going<P>) -> Result<()> {
        match self.going.put_back(going) {
            true => Ok(()),
            false => Err(too_late(self.service.limits.stream_time_max)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::{Places, TenantId};

    use super::*;

    struct Nothing;

    impl InPieces for Nothing {
        type Piece = Bytes;

        async fn piece(&mut self) -> Result<Option<Bytes>> {
            Ok(None)
        }
    }

    /// Places for one answer, and what an answer has that holds it.
    fn held() -> (Places, Between<Nothing>) {
        let places = Places::new(1);
        let place = places.try_take(&TenantId::default()).unwrap();
        let piece = Some(Bytes::from_static(b"piece"));
        let going = Going { rows: Some(Nothing), piece, room: None, held: None, _place: place };
        (places, Between::new(going))
    }

    fn is_free(places: &Places) -> bool {
        places.try_take(&TenantId::default()).is_some()
    }

    #[test]
    fn a_piece_that_is_ready_at_the_deadline_is_released() {
        let (places, between) = held();
        let going = between.take().unwrap();
        between.end();
        assert!(!is_free(&places), "it is being made");
        assert!(!between.put_back(going));
        assert!(between.take().is_none() && is_free(&places));
    }

    #[test]
    fn what_waits_for_its_client_at_the_deadline_is_released() {
        let (places, between) = held();
        let going = between.take().unwrap();
        assert!(between.put_back(going));
        assert!(!is_free(&places));
        between.end();
        assert!(between.take().is_none() && is_free(&places));
    }
}
