//! Request bodies, read to their end and never beyond a bound.

use std::io::Read;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use engine::{Error, Result};
use flate2::read::MultiGzDecoder;
use futures::{TryStream, TryStreamExt};
use poem::Body;
use poem::http::{HeaderMap, header};
use tokio::time::timeout;

use super::Patience;
use super::uploads::Held;
use crate::error::{bad_input, over_limit};

/// Rate at which a body comes at least, once the longest wait for one piece of it is over.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// Bytes that are unpacked in one step.
const UNPACKED_AT_ONCE_BYTES: usize = 1 << 20;
/// Bytes that are made room for before they come.
const FORESEEN_BYTES_MAX: u64 = 1 << 20;

/// `Content-Length`, when it is stated.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Most of a refused body that is read and thrown away. A client that is still sending when the connection
/// closes sees a broken pipe and never the answer.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// How a body is read.
pub(super) struct Reading<'a> {
    /// What it is called in errors.
    pub(super) what: &'a str,
    /// Most bytes that are taken.
    pub(super) bytes_max: usize,
    /// Longest wait for its next bytes, and for the rest of a body that is refused.
    pub(super) patience: &'a Patience,
    /// Where its bytes are counted.
    pub(super) held: &'a mut Held,
}

impl Reading<'_> {
    /// Reads all of `body`. Refuses it when its stated length is over the bound, else as soon as it is; when it ends before its
    /// stated length; and when it comes too slowly.
    pub(super) async fn read(self, body: Body, headers: &HeaderMap) -> Result<Bytes> {
        let Self { what, bytes_max, patience, held } = self;
        let wait_max = patience.body_max;
        let stated = content_length(headers);
        let mut stream = std::pin::pin!(body.into_bytes_stream());
        if let Some(stated) = stated.filter(|stated| *stated > bytes_max as u64) {
            discard(stream, patience.refused_max).await;
            return Err(over_limit(&format!("bytes of {what}"), bytes_max, stated));
        }
        let foreseen = stated.map_or(0, |stated| stated.min(FORESEEN_BYTES_MAX));
        let mut bytes = BytesMut::with_capacity(foreseen as usize);
        let mut waited = Duration::ZERO;
        loop {
            let began = Instant::now();
            let Ok(next) = timeout(wait_max, stream.try_next()).await else {
                return Err(stalled(what, bytes.len(), wait_max));
            };
            waited += began.elapsed();
            match next {
                Ok(Some(chunk)) => {
                    if bytes.len() + chunk.len() > bytes_max {
                        let found = format!("more than {}", bytes.len());
                        discard(stream, patience.refused_max).await;
                        return Err(over_limit(&format!("bytes of {what}"), bytes_max, found));
                    }
                    held.grow(bytes.len() + chunk.len()).await?;
                    bytes.extend_from_slice(&chunk);
                }
                Ok(None) => break,
                Err(_) => return Err(truncated(what, bytes.len(), stated)),
            }
            if waited > wait_max && (bytes.len() as u64) < waited.as_secs() * BYTES_PER_SECOND_MIN {
                return Err(stalled(what, bytes.len(), waited));
            }
        }
        match stated {
            Some(stated) if stated != bytes.len() as u64 => {
                Err(truncated(what, bytes.len(), Some(stated)))
            }
            _ => Ok(bytes.freeze()),
        }
    }
}

fn stalled(what: &str, found: usize, waited: Duration) -> Error {
    bad_input(format!(
        "{what} came too slowly: {found} bytes, and {} s of waiting for them; expected {} KiB a second; nothing was \
         taken, send less at a time",
        waited.as_secs(),
        BYTES_PER_SECOND_MIN >> 10
    ))
}

/// Reads on without keeping anything, within bounds, so that the sender comes to read the refusal.
async fn discard<S>(mut stream: S, time_max: Duration)
where
    S: TryStream<Ok = Bytes> + Unpin,
{
    let read = async {
        let mut discarded = 0;
        while let Ok(Some(chunk)) = stream.try_next().await {
            discarded += chunk.len();
            if discarded > DISCARDED_BYTES_MAX {
                break;
            }
        }
    };
    // Whatever ends it, the refusal is sent.
    let _ = timeout(time_max, read).await;
}

fn truncated(what: &str, found: usize, stated: Option<u64>) -> Error {
    let expected = match stated {
        Some(stated) => format!("{stated} bytes"),
        None => "the closing chunk".to_owned(),
    };
    bad_input(format!(
        "{what} was cut off: expected {expected}, found {found} bytes; nothing was taken"
    ))
}

/// Unpacks gzip, at most to `bytes_max`, step by step: between them it waits for room, and no thread does.
pub(super) async fn gunzip(
    packed: Bytes,
    what: &str,
    bytes_max: usize,
    mut held: Held,
) -> Result<(Bytes, Held)> {
    let packed_bytes = packed.len();
    let mut reader = MultiGzDecoder::new(packed.reader());
    let mut unpacked = Vec::new();
    loop {
        let before = unpacked.len();
        // One byte more than is taken tells that there is more.
        let step = UNPACKED_AT_ONCE_BYTES.min(bytes_max + 1 - before);
        held.grow(packed_bytes + before + step).await?;
        let read = move || {
            let result = reader.by_ref().take(step as u64).read_to_end(&mut unpacked);
            (reader, unpacked, result)
        };
        let stopped = |error| Error::internal(format!("unpacking a body: {error}"));
        let (reader_after, unpacked_after, result) =
            tokio::task::spawn_blocking(read).await.map_err(stopped)?;
        (reader, unpacked) = (reader_after, unpacked_after);
        result.map_err(|error| bad_input(format!("{what}: not readable as gzip: {error}")))?;
        if unpacked.len() > bytes_max {
            return Err(over_limit(&format!("bytes of {what}, unpacked"), bytes_max, "more"));
        }
        if unpacked.len() - before < step {
            return Ok((Bytes::from(unpacked), held));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;
    use crate::server::uploads::Uploads;

    #[tokio::test]
    async fn what_is_unpacked_waits_for_room() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&vec![0; 3 << 20]).unwrap();
        let packed = Bytes::from(packer.finish().unwrap());
        let tenant = "a".parse().unwrap();
        let uploads = Uploads::new(4 << 20);
        let mut others = [uploads.begin(&tenant), uploads.begin(&tenant)];
        // One has all room of the tenant, and one its lane.
        others[0].grow(2 << 20).await.unwrap();
        others[1].grow(1).await.unwrap();
        let unpacking = gunzip(packed, "it", 8 << 20, uploads.begin(&tenant));
        let mut unpacking = std::pin::pin!(unpacking);
        assert!(timeout(Duration::from_millis(50), unpacking.as_mut()).await.is_err());
        drop(others);
        let (bytes, _held) = unpacking.await.unwrap();
        assert_eq!(bytes.len(), 3 << 20);
    }
}
