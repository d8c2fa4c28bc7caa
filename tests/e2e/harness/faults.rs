//! A proxy before a store that does what networks and stores do now and then: it is slow, refuses, loses an answer after the
//! work was done, and cuts a transfer in its middle.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Slow(Duration),
    Refused,
    CutRequest,
    CutAnswer,
    LostAnswer,
}

/// The proxy. Dropping it ends it.
pub struct FaultyStore {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    store: String,
    client: reqwest::Client,
    random: Mutex<ChaCha8Rng>,
    /// How many of 100 requests have a fault.
    percent: u32,
    passed: AtomicU64,
    /// In the order of [`Fault`].
    faults: [AtomicU64; 5],
}

impl FaultyStore {
    /// Before the store at this URL; so many requests of a hundred have a fault.
    pub async fn before(store: &str, percent: u32, random: ChaCha8Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            store: store.trim_end_matches('/').to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            random: Mutex::new(random),
            percent,
            passed: AtomicU64::new(0),
            faults: Default::default(),
        });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Self { url, shared, serving }
    }
}

impl Drop for FaultyStore {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [slow, refused, cut_requests, cut_answers, lost] =
            self.shared.faults.each_ref().map(|count| count.load(Ordering::Relaxed));
        write!(
            f,
            "{} requests as they were, {slow} slow, {refused} refused, {cut_requests} cut, {cut_answers} answers cut, {lost} lost",
            self.shared.passed.load(Ordering::Relaxed)
        )
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(shared.clone(), request));
            // A connection that was cut is one of the faults.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Shared {
    fn draw(&self) -> Option<Fault> {
        let mut random = self.random.lock().unwrap();
        if !random.random_ratio(self.percent, 100) {
            return None;
        }
        Some(match random.random_range(0..5) {
            0 => Fault::Slow(Duration::from_millis(random.random_range(50..500))),
            1 => Fault::Refused,
            2 => Fault::CutRequest,
            3 => Fault::CutAnswer,
            _ => Fault::LostAnswer,
        })
    }

    fn count(&self, fault: Option<Fault>) {
        let counted = match fault {
            None => &self.passed,
            Some(Fault::Slow(_)) => &self.faults[0],
            Some(Fault::Refused) => &self.faults[1],
            Some(Fault::CutRequest) => &self.faults[2],
            Some(Fault::CutAnswer) => &self.faults[3],
            Some(Fault::LostAnswer) => &self.faults[4],
        };
        counted.fetch_add(1, Ordering::Relaxed);
    }
}

fn cut(why: impl fmt::Display) -> io::Error {
    io::Error::other(why.to_string())
}

/// All of an answer, or a part and an error, at which the connection is closed.
type Answer =
    Either<Full<Bytes>, StreamBody<stream::Iter<std::vec::IntoIter<io::Result<Frame<Bytes>>>>>>;

async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Answer>> {
    let fault = shared.draw();
    shared.count(fault);
    let (parts, mut body) = request.into_parts();
    match fault {
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        Some(Fault::Refused) => {
            let says =
                "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
            let mut refusal = Response::new(Either::Left(Full::from(says)));
            *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(refusal);
        }
        Some(Fault::CutRequest) => {
            let _ = body.frame().await;
            return Err(cut("the request was cut"));
        }
        Some(Fault::CutAnswer | Fault::LostAnswer) | None => {}
    }
    let bytes = body.collect().await.map_err(cut)?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let sent = shared.client.request(parts.method.clone(), format!("{}{path}", shared.store));
    let answer = sent.headers(parts.headers).body(bytes).send().await.map_err(cut)?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let mut bytes = answer.bytes().await.map_err(cut)?;
    if fault == Some(Fault::LostAnswer) {
        return Err(cut("the answer was lost"));
    }
    for hop in [CONNECTION, TRANSFER_ENCODING] {
        headers.remove(hop);
    }
    if parts.method != Method::HEAD {
        headers.insert(CONTENT_LENGTH, bytes.len().into());
    }
    let mut response = Response::new(match fault {
        Some(Fault::CutAnswer) => {
            bytes.truncate(bytes.len() / 2);
            let parts = vec![Ok(Frame::data(bytes)), Err(cut("the answer was cut"))];
            Either::Right(StreamBody::new(stream::iter(parts)))
        }
        _ => Either::Left(Full::new(bytes)),
    });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
