//! Bodies that are sent a piece at a time.

use std::future::pending;
use std::io;

use bytes::Bytes;
use engine::{Error, Result};
use futures::future::BoxFuture;
use futures::stream;
use poem::Body;

use super::Pass;

/// What has pieces.
pub(super) trait Sent: Send + 'static {
    /// The next piece, once the client has the one before; none behind the last.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>>;
    /// Says that it is not sent to its end.
    fn broken(&self, error: &Error);
}

/// The pieces of `sent`. Who asked, where that was shown, may be let in no longer while it goes on; then, and where a piece can not be made,
/// the connection ends, so that nobody takes for whole what is not.
pub(super) fn body(sent: impl Sent, pass: Option<Pass>) -> Body {
    let pieces = stream::unfold(Some((sent, pass)), |going| async move {
        let (mut sent, pass) = going?;
        let over = async {
            match &pass {
                Some(pass) => pass.over().await,
                None => pending().await,
            }
        };
        let piece = tokio::select! {
            piece = sent.next() => piece,
            why = over => Err(why),
        };
        match piece {
            Ok(piece) => Some((Ok(piece?), Some((sent, pass)))),
            Err(error) => {
                sent.broken(&error);
                Some((Err(io::Error::other("the answer is not whole")), None))
            }
        }
    });
    Body::from_bytes_stream(pieces)
}
