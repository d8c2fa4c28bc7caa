//! Request bodies, read to their end and never beyond a bound.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine::{Code, Error, Result};
use flate2::read::MultiGzDecoder;
use futures::{TryStream, TryStreamExt};
use poem::Body;
use poem::http::{HeaderMap, header};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{bad_input, over_limit};

/// The unit in which held uploads are counted.
pub(super) const UPLOAD_UNIT_BYTES: usize = 16 << 10;

/// `Content-Length`, when it is stated.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Most of a refused body that is read and thrown away. A client that is still sending when the connection
/// closes sees a broken pipe and never the answer.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// Reads all of `body`. Refuses it when its stated length is over `bytes_max`, else as soon as it is; and
/// when it ends before its stated length. What is refused is waited for as long as `refused_max`.
pub(super) async fn read(
    body: Body,
    headers: &HeaderMap,
    what: &str,
    bytes_max: usize,
    refused_max: Duration,
) -> Result<Bytes> {
    let stated = content_length(headers);
    let mut stream = std::pin::pin!(body.into_bytes_stream());
    if let Some(stated) = stated.filter(|stated| *stated > bytes_max as u64) {
        discard(stream, refused_max).await;
        return Err(over_limit(&format!("bytes of {what}"), bytes_max, stated));
    }
    let mut bytes = BytesMut::with_capacity(stated.map_or(0, |n| n as usize));
    loop {
        match stream.try_next().await {
            Ok(Some(chunk)) => {
                if bytes.len() + chunk.len() > bytes_max {
                    let found = format!("more than {}", bytes.len());
                    discard(stream, refused_max).await;
                    return Err(over_limit(&format!("bytes of {what}"), bytes_max, found));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(None) => break,
            Err(_) => return Err(truncated(what, bytes.len(), stated)),
        }
    }
    match stated {
        Some(stated) if stated != bytes.len() as u64 => {
            Err(truncated(what, bytes.len(), Some(stated)))
        }
        _ => Ok(bytes.freeze()),
    }
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
    let _ = tokio::time::timeout(time_max, read).await;
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

/// Unpacks gzip, at most to `bytes_max`.
pub(super) async fn gunzip(packed: Bytes, what: &str, bytes_max: usize) -> Result<Bytes> {
    let what = what.to_owned();
    let unpack = move || {
        let mut unpacked = Vec::new();
        let mut reader = MultiGzDecoder::new(packed.as_ref()).take(bytes_max as u64 + 1);
        reader
            .read_to_end(&mut unpacked)
            .map_err(|error| bad_input(format!("{what}: not readable as gzip: {error}")))?;
        match unpacked.len() > bytes_max {
            true => Err(over_limit(&format!("bytes of {what}, unpacked"), bytes_max, "more")),
            false => Ok(Bytes::from(unpacked)),
        }
    };
    tokio::task::spawn_blocking(unpack)
        .await
        .map_err(|error| Error::internal(format!("unpacking a body: {error}")))?
}

/// Waits until `bytes` more of uploads may be held.
pub(super) async fn reserve(
    uploads: &Semaphore,
    bytes: usize,
    held_max: usize,
) -> Result<SemaphorePermit<'_>> {
    let units = bytes.min(held_max).div_ceil(UPLOAD_UNIT_BYTES).max(1);
    let most = (held_max / UPLOAD_UNIT_BYTES).max(1);
    let units = u32::try_from(units.min(most)).unwrap_or(u32::MAX);
    uploads
        .acquire_many(units)
        .await
        .map_err(|_| Error::user(Code::Cancelled, "the server is ending"))
}
