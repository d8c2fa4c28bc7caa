//! Answers made small, as their client says it can read them: zstd, brotli or gzip.
//!
//! poem has a middleware for it, which is not used: it also unpacks what is sent, without a bound; it can not be asked for zstd by name
//! and takes codings that were refused with `q=0`; it packs event streams, which then come late, and answers of a few bytes; and caches
//! are not told (`Vary`). Here 64 KiB at a time are packed when the client takes them, on the thread that writes them to the socket. How
//! many answers are packed at a time is bounded, for each needs memory as long as its client takes to read; who comes beyond that gets
//! the answer as it is.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use flate2::write::GzEncoder;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use poem::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smallest body that is packed, in bytes: a packet of the network holds as much.
const BYTES_MIN: u64 = 1 << 10;
/// Bodies that are packed at a time; each needs up to 1 MiB.
const AT_A_TIME_MAX: usize = 256;
/// Bytes that are packed at once, after which others have their turn.
const STEP_BYTES: usize = 64 << 10;
/// How hard each tries: where more time would make answers of JSON a few hundredths smaller.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Bits of the window in which repetitions are looked for: 128 KiB.
const WINDOW_BITS: u32 = 17;

/// A way to pack, the one that we like best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// As headers name it.
    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// What a request says of how its answer may be packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted(Option<Coding>);

impl Accepted {
    /// What this one says.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        match *request.method() == Method::HEAD {
            true => Self(None),
            false => Self(best(request.headers())),
        }
    }
}

/// The coding with the highest weight (RFC 9110, section 12.5.3), the first of ours among equals; none, where the answer as it is has
/// a higher one.
fn best(headers: &HeaderMap) -> Option<Coding> {
    let mut weights: [Option<u32>; 3] = [None; 3];
    let (mut any, mut identity) = (None, None);
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let listed = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for range in listed {
        let mut parts = range.split(';');
        let name = parts.next().unwrap_or_default().trim();
        // A weight that can not be read is none.
        let weight = parts.find_map(|part| weight(part.trim())).unwrap_or(Some(1_000)).unwrap_or(0);
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let known = Coding::ALL
            .iter()
            .position(|coding| is(coding.name()) || (*coding == Coding::Gzip && is("x-gzip")));
        match known.and_then(|at| weights.get_mut(at)) {
            Some(of) => *of = Some(weight),
            None if is("*") => any = Some(weight),
            None if is("identity") => identity = Some(weight),
            None => {}
        }
    }
    let weighed = Coding::ALL.into_iter().zip(weights);
    let weighed = weighed.map(|(coding, weight)| (coding, weight.or(any).unwrap_or(0)));
    // The first of equals.
    let mut best = None;
    for (coding, weight) in weighed.filter(|(_, weight)| *weight > 0) {
        if best.is_none_or(|(_, most)| weight > most) {
            best = Some((coding, weight));
        }
    }
    best.filter(|(_, weight)| identity.is_none_or(|identity| *weight >= identity))
        .map(|(coding, _)| coding)
}

/// `q=0.5`, in thousandths; none where it is something else, and none in it where it is no weight.
fn weight(parameter: &str) -> Option<Option<u32>> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight = value.trim().parse::<f64>().ok().filter(|weight| (0.0..=1.0).contains(weight));
    Some(weight.map(|weight| (weight * 1_000.0) as u32))
}

/// Packs answers, so many at a time.
pub(super) struct Compressors(Option<Arc<Semaphore>>);

impl Compressors {
    /// Those of a server.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self(is_wanted.then(|| Arc::new(Semaphore::new(AT_A_TIME_MAX))))
    }

    /// The answer, packed where its client can read it so and it is worth it.
    pub(super) fn compress<B>(
        &self,
        mut answer: Response<B>,
        Accepted(coding): Accepted,
    ) -> Response<Packed<B>>
    where
        B: Body<Data = Bytes, Error = io::Error>,
    {
        let Some(places) = &self.0 else { return answer.map(Packed::Plain) };
        if !is_worth_it(&answer) {
            return answer.map(Packed::Plain);
        }
        answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
        let place = Arc::clone(places).try_acquire_owned().ok();
        let packer = coding.zip(place).and_then(|(coding, place)| {
            Packer::new(coding, place)
                .inspect_err(|error| tracing::warn!(%error, "an answer is not packed"))
                .ok()
                .map(|packer| (coding, packer))
        });
        let Some((coding, packer)) = packer else { return answer.map(Packed::Plain) };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        headers.remove(header::CONTENT_LENGTH);
        answer.map(|body| Packed::Packing {
            body,
            left: Bytes::new(),
            packer: Some(Box::new(packer)),
        })
    }
}

/// Whether a body is text of some length, and not one that is sent event by event.
fn is_worth_it<B: Body>(answer: &Response<B>) -> bool {
    let headers = answer.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = text(header::CONTENT_TYPE);
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = match media.as_str() {
        "text/event-stream" => false,
        "application/json"
        | "application/javascript"
        | "application/x-ndjson"
        | "image/svg+xml" => true,
        media => media.starts_with("text/") || media.ends_with("+json"),
    };
    let length = answer.body().size_hint();
    let stated = text(header::CONTENT_LENGTH).parse().ok();
    is_text
        && length.exact().or(stated).unwrap_or(length.lower()) >= BYTES_MIN
        && answer.status() != StatusCode::PARTIAL_CONTENT
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !text(header::CACHE_CONTROL).contains("no-transform")
}

/// The body of an answer, packed or as it is.
pub(super) enum Packed<B> {
    /// As it is.
    Plain(B),
    /// Packed piece by piece.
    Packing {
        /// What is packed.
        body: B,
        /// What came of it and is not packed yet.
        left: Bytes,
        /// What packs it, until all is.
        packer: Option<Box<Packer>>,
    },
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for Packed<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let (body, left, packing) = match self.get_mut() {
            Self::Plain(body) => return Pin::new(body).poll_frame(context),
            Self::Packing { body, left, packer } => (body, left, packer),
        };
        let Some(packer) = packing else { return Poll::Ready(None) };
        if left.is_empty() {
            match ready!(Pin::new(body).poll_frame(context)) {
                // There are no trailers.
                Some(Ok(frame)) => *left = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let last = packing.take().map_or_else(|| Ok(Vec::new()), |it| it.finish());
                    return Poll::Ready(Some(last.map(|last| Frame::data(last.into()))));
                }
            }
        }
        let packed = packer.pack(&left.split_to(left.len().min(STEP_BYTES)))?;
        if packed.is_empty() {
            // It wants more before it gives anything; others have their turn first.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(packed.into()))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Packing { packer, .. } => packer.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Packing { .. } => SizeHint::new(),
        }
    }
}

/// What packs one body.
pub(super) struct Packer {
    encoder: Encoder,
    _place: OwnedSemaphorePermit,
}

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Packer {
    fn new(coding: Coding, place: OwnedSemaphorePermit) -> io::Result<Self> {
        let encoder = match coding {
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(WINDOW_BITS)?;
                Encoder::Zstd(encoder)
            }
            Coding::Brotli => {
                let out = STEP_BYTES / 4;
                let encoder =
                    brotli::CompressorWriter::new(Vec::new(), out, BROTLI_QUALITY, WINDOW_BITS);
                Encoder::Brotli(Box::new(encoder))
            }
            Coding::Gzip => {
                Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL)))
            }
        };
        Ok(Self { encoder, _place: place })
    }

    /// What is packed by now, this with it.
    fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match &mut self.encoder {
            Encoder::Zstd(encoder) => encoder.write_all(bytes)?,
            Encoder::Brotli(encoder) => encoder.write_all(bytes)?,
            Encoder::Gzip(encoder) => encoder.write_all(bytes)?,
        }
        Ok(match &mut self.encoder {
            Encoder::Zstd(encoder) => std::mem::take(encoder.get_mut()),
            Encoder::Brotli(encoder) => std::mem::take(encoder.get_mut()),
            Encoder::Gzip(encoder) => std::mem::take(encoder.get_mut()),
        })
    }

    /// The rest.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self.encoder {
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Gzip(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;

    use futures::{TryStreamExt as _, stream};

    use super::*;

    fn accepted(encodings: &str) -> Accepted {
        let request = Request::builder().header("accept-encoding", encodings).body(()).unwrap();
        Accepted::of(&request)
    }

    /// An answer in pieces, as the client of `encodings` gets it.
    async fn answer(
        compressors: &Compressors,
        media: &str,
        pieces: Vec<String>,
        encodings: &str,
    ) -> (HeaderMap, Bytes) {
        let length: usize = pieces.iter().map(String::len).sum();
        let pieces = stream::iter(pieces.into_iter().map(Ok::<_, io::Error>));
        let response = poem::Response::builder().content_type(media);
        let response = response.header(header::CONTENT_LENGTH, length);
        let body = poem::Body::from_bytes_stream(pieces.map_ok(Bytes::from));
        let packed = compressors.compress(response.body(body).into(), accepted(encodings));
        let response = poem::Response::from(packed);
        let headers = response.headers().clone();
        (headers, response.into_body().into_bytes().await.unwrap())
    }

    fn unpacked(coding: &str, bytes: &[u8]) -> String {
        let mut text = String::new();
        match coding {
            "zstd" => return String::from_utf8(zstd::decode_all(bytes).unwrap()).unwrap(),
            "br" => brotli::Decompressor::new(bytes, 4_096).read_to_string(&mut text),
            "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
            other => unreachable!("{other}"),
        }
        .unwrap();
        text
    }

    #[test]
    fn the_coding_that_is_liked_best_is_taken_and_none_that_is_refused() {
        for (encodings, coding) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("gzip", Some("gzip")),
            ("X-GZip", Some("gzip")),
            ("zstd;q=0.1, gzip;q=0.9", Some("gzip")),
            ("zstd;q=0, br; q=0.000, gzip ;q=0.5", Some("gzip")),
            ("*", Some("zstd")),
            ("zstd;q=0, *;q=0.5", Some("br")),
            ("gzip;q=0, *;q=0", None),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
            ("identity;q=0", None),
            ("gzip;q=many", None),
            ("gzip;q=-1", None),
            ("gzip;q=NaN", None),
            ("deflate, compress", None),
            ("", None),
        ] {
            assert_eq!(accepted(encodings).0.map(Coding::name), coding, "{encodings:?}");
        }
        let head = Request::head("/").header("accept-encoding", "gzip").body(()).unwrap();
        assert_eq!(Accepted::of(&head), Accepted(None));
    }

    #[tokio::test]
    async fn what_is_packed_is_the_same_when_it_is_unpacked() {
        let compressors = Compressors::new(true);
        let row =
            |i: usize| format!("{{\"id\": \"order-{i}\", \"amount\": {}.5}},", i * 7_919 % 10_007);
        let short: String = (0..100).map(row).collect();
        let long: Vec<String> =
            (0..30).map(|i| (i * 3_000..(i + 1) * 3_000).map(row).collect()).collect();
        let alike = vec!["a".repeat(2 << 20)];
        for coding in ["zstd", "br", "gzip"] {
            for pieces in [vec![short.clone()], long.clone(), alike.clone()] {
                let whole = pieces.concat();
                let (headers, bytes) =
                    answer(&compressors, "application/json; charset=utf-8", pieces, coding).await;
                assert_eq!(headers["content-encoding"], coding);
                assert_eq!(headers["vary"], "accept-encoding");
                assert!(!headers.contains_key("content-length"));
                assert!(
                    bytes.len() < whole.len() / 3,
                    "{coding}: {} of {}",
                    bytes.len(),
                    whole.len()
                );
                assert!(unpacked(coding, &bytes) == whole, "{coding}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_short_or_sent_by_event_or_packed_already_is_left_as_it_is() {
        let compressors = Compressors::new(true);
        let long = || vec!["a".repeat(BYTES_MIN as usize)];
        let (json, events) = ("application/json", "text/event-stream; charset=utf-8");
        for (media, pieces, encodings, varies) in [
            (json, vec!["a".repeat(BYTES_MIN as usize - 1)], "gzip", false),
            (events, long(), "gzip", false),
            ("multipart/mixed", long(), "gzip", false),
            ("application/vnd.apache.arrow.stream", long(), "gzip", false),
            (json, long(), "identity", true),
            (json, long(), "", true),
        ] {
            let whole = pieces.concat();
            let (headers, bytes) = answer(&compressors, media, pieces, encodings).await;
            assert!(!headers.contains_key("content-encoding"), "{media} {encodings}");
            assert_eq!(headers.contains_key("vary"), varies, "{media} {encodings}");
            assert_eq!(bytes, whole, "{media} {encodings}");
        }
        let unwanted = Compressors::new(false);
        let (headers, _) = answer(&unwanted, json, long(), "gzip").await;
        assert!(!headers.contains_key("content-encoding") && !headers.contains_key("vary"));
    }

    #[tokio::test]
    async fn beyond_so_many_at_a_time_answers_are_as_they_are_until_one_is_taken() {
        let compressors = Compressors::new(true);
        let begun = |compressors: &Compressors| {
            let response = poem::Response::builder().content_type("application/json");
            let response: Response<_> = response.body("a".repeat(5_000)).into();
            compressors.compress(response, accepted("gzip"))
        };
        let mut held: Vec<_> = (0..AT_A_TIME_MAX).map(|_| begun(&compressors)).collect();
        let is_packed =
            |answer: &Response<_>| answer.headers().contains_key(header::CONTENT_ENCODING);
        assert!(held.iter().all(is_packed));
        assert!(!is_packed(&begun(&compressors)));
        let taken = poem::Response::from(held.pop().unwrap());
        assert_eq!(unpacked("gzip", &taken.into_body().into_bytes().await.unwrap()).len(), 5_000);
        assert!(is_packed(&begun(&compressors)));
    }
}
