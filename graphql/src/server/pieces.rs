//! Bodies that are sent a piece at a time.

use std::future::pending;
use std::io;

use bytes::Bytes;
use engine::{Error, Result};
use futures::future::BoxFuture;
use futures::stream::{self, Stream, TryStreamExt as _};
use poem::Body;

use super::Pass;

/// What has pieces.
pub(super) trait Sent: Send + 'static {
    /// What it is sent as.
    type Piece: Send;
    /// The next piece, once the client has the one before; none behind the last.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Self::Piece>>>;
    /// Says that it is not sent to its end.
    fn broken(&self, error: &Error);
}

/// The pieces of `sent`. Who asked, where that was shown, may be let in no longer while it goes on; then, and where a piece can not be made,
/// they end with an error.
pub(super) fn of<S: Sent>(
    sent: S,
    pass: Option<Pass>,
) -> impl Stream<Item = Result<S::Piece>> + Send {
    stream::unfold(Some((sent, pass)), |going| async move {
        let (mut sent, pass) = going?;
        let over = async {
            match &pass {
                Some(pass) => pass.over().await,
                None => pending().await,
            }
        };
        let piece = tokio::select! {
            piece = sent.next() => piece,
            over = over => Err(over.why()),
        };
        match piece {
            Ok(piece) => Some((Ok(piece?), Some((sent, pass)))),
            Err(error) => {
                sent.broken(&error);
                Some((Err(error), None))
            }
        }
    })
}

/// The same as a body. Where they end with an error the connection does, so that nobody takes for whole what is not.
pub(super) fn body(sent: impl Sent<Piece = Bytes>, pass: Option<Pass>) -> Body {
    let pieces = of(sent, pass).map_err(|_| io::Error::other("the answer is not whole"));
    Body::from_bytes_stream(pieces)
}
