//! A writer that is emptied while an encoder fills it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

use crate::error::{Code, Error};
use crate::stop::current;

/// Bytes of one allocation. A long answer has many, so that it is not copied as it grows.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes that are not reserved. Most answers are read before they exceed this.
const UNRESERVED_BYTES: usize = 1 << 20;

/// Bytes that were written but not taken yet. Clones share them.
///
/// A write fails with `CANCELLED` once the task that writes is cancelled, and with `RESOURCES_EXHAUSTED` if the memory
/// pool has no room for the bytes.
#[derive(Clone, Debug, Default)]
pub struct Pieces(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    reservation: Option<MemoryReservation>,
}

impl Pieces {
    /// Empty pieces that count against `pool`.
    pub(crate) fn counted(pool: &Arc<dyn MemoryPool>) -> Self {
        let reservation = MemoryConsumer::new("encoded rows").register(pool);
        Self(Arc::new(Mutex::new(Held { reservation: Some(reservation), ..Held::default() })))
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.lock().bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the first chunk, at most 256 KiB.
    pub fn take_some(&self) -> Option<Bytes> {
        let mut held = self.0.lock();
        let chunk = held.chunks.pop_front()?;
        held.bytes -= chunk.len();
        held.release();
        Some(chunk.into())
    }

    /// Takes all bytes.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Bytes {
        let chunks = std::iter::from_fn(|| self.take_some());
        chunks.collect::<Vec<_>>().concat().into()
    }
}

impl Held {
    /// Reserves room for `bytes` more.
    fn reserve(&self, bytes: usize) -> io::Result<()> {
        if current().is_some_and(|task| task.is_cancelled()) {
            return Err(io::Error::other(Error::user(
                Code::Cancelled,
                "the client closed the connection",
            )));
        }
        let Some(reservation) = &self.reservation else { return Ok(()) };
        let needed = self.bytes.saturating_add(bytes);
        let missing = needed.saturating_sub(UNRESERVED_BYTES + reservation.size());
        reservation.try_grow(missing).map_err(|error| io::Error::other(Error::from(error)))
    }

    fn release(&self) {
        let needed = self.bytes.saturating_sub(UNRESERVED_BYTES);
        if let Some(reservation) = self.reservation.as_ref().filter(|held| held.size() > needed) {
            reservation.resize(needed);
        }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len();
        while !bytes.is_empty() {
            let room = self.chunks.back().map_or(0, |last| CHUNK_BYTES.saturating_sub(last.len()));
            let (some, rest) = bytes.split_at(bytes.len().min(match room {
                0 => CHUNK_BYTES,
                room => room,
            }));
            match self.chunks.back_mut().filter(|_| room > 0) {
                Some(last) => {
                    if last.capacity() - last.len() < some.len() {
                        let most = CHUNK_BYTES - last.len();
                        last.reserve_exact(some.len().max(last.len()).min(most));
                    }
                    last.extend_from_slice(some);
                }
                None => self.chunks.push_back(some.to_vec()),
            }
            bytes = rest;
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = self.0.lock();
        held.reserve(bytes.len())?;
        held.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use kernels::Control;

    use super::*;
    use crate::error::find;
    use crate::stop::stopped_by;

    #[test]
    fn long_answers_count_against_the_pool_until_they_are_taken() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(3 << 20));
        let mut pieces = Pieces::counted(&pool);
        let bytes: Vec<u8> = (0..100_003).map(|at| (at % 251) as u8).collect();
        for _ in 0..35 {
            pieces.write_all(&bytes).unwrap();
        }
        assert_eq!(pool.reserved(), 35 * bytes.len() - UNRESERVED_BYTES);
        let code = |error: io::Error| find::<Error>(&error).map(Error::code);
        let whole = vec![0; 2 << 20];
        assert_eq!(code(pieces.write_all(&whole).unwrap_err()), Some(Code::ResourcesExhausted));
        let mut taken = pieces.take_some().unwrap().to_vec();
        assert_eq!(taken.len(), CHUNK_BYTES);
        taken.extend(pieces.take());
        assert_eq!(taken, bytes.repeat(35));
        assert!(pieces.is_empty() && pieces.take_some().is_none());
        assert_eq!(pool.reserved(), 0);
    }

    #[tokio::test]
    async fn nothing_is_written_for_a_client_that_left() {
        let control = Control::new();
        control.cancel();
        let written = stopped_by(control, async { Pieces::default().write_all(b"row") }).await;
        let error = written.unwrap_err();
        assert_eq!(find::<Error>(&error).map(Error::code), Some(Code::Cancelled));
    }
}
