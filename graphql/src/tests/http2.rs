//! HTTP/2 as clients meet it who keep to it, and as those do who do not.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use poem::http::{HeaderMap, Method, Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Rig, calls};
use crate::server::{Patience, ServerOptions};

const SOON: Duration = Duration::from_secs(10);

/// A connection on which the client makes so much room for each answer.
pub(super) async fn spoken<S>(
    stream: S,
    room: u32,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Option<Reason>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(room).initial_connection_window_size(16 << 20);
    // Its own bounds are not what is tried here.
    builder.max_concurrent_reset_streams(100_000).initial_max_send_streams(100);
    let (requests, connection) = builder.handshake(stream).await.unwrap();
    // Why it ended, where the server said it.
    let ended =
        tokio::spawn(async move { connection.await.err().and_then(|error| error.reason()) });
    (requests, ended)
}

async fn connected(address: &str) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Option<Reason>>) {
    spoken(TcpStream::connect(address).await.unwrap(), 1 << 20).await
}

pub(super) fn get(address: &str, path: &str) -> Request<()> {
    Request::get(format!("http://{address}{path}")).body(()).unwrap()
}

fn post(address: &str, path: &str) -> Request<()> {
    let request = Request::post(format!("http://{address}{path}"));
    request.header("content-type", "application/json").body(()).unwrap()
}

/// All of an answer's body; room is made for more as it comes.
pub(super) async fn whole(mut body: RecvStream) -> Result<String, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

/// The answer to a request with this body.
pub(super) async fn asked(
    requests: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<String>,
) -> Result<(u16, HeaderMap, String), h2::Error> {
    let mut ready = requests.clone().ready().await?;
    let (response, mut sending) = ready.send_request(request, body.is_none())?;
    if let Some(body) = body {
        sending.send_data(body.into(), true)?;
    }
    let response = timeout(SOON, response).await.expect("no answer came")?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok((status, headers, whole(response.into_body()).await?))
}

/// A frame as it is written.
fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = (content.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

async fn graphql(requests: &SendRequest<Bytes>, address: &str, query: &str) -> (u16, Value) {
    let body = json!({ "query": query }).to_string();
    let (status, _, text) = asked(requests, post(address, "/graphql"), Some(body)).await.unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn many_are_answered_beside_each_other_on_one_connection() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let (requests, _) = connected(&address).await;
    let query = "{ calls(first: 1) { nodes { id } } }";
    let all = (0..50).map(|_| graphql(&requests, &address, query));
    for (status, answer) in futures::future::join_all(all).await {
        assert_eq!((status, &answer["data"]["calls"]["nodes"][0]["id"]), (200, &json!("c0")));
    }
    // What it may at most was said at the beginning.
    assert_eq!(requests.current_max_send_streams(), 100);
    // Of one that asks for the headers alone nothing else comes.
    let mut head = get(&address, "/explorer/graphiql.min.js");
    *head.method_mut() = Method::HEAD;
    let (status, headers, text) = asked(&requests, head, None).await.unwrap();
    assert_eq!((status, text.as_str()), (200, ""));
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/javascript"));
}

#[tokio::test]
async fn the_authority_is_the_host_whatever_else_is_said_and_pages_of_others_are_refused() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let (requests, _) = connected(&address).await;
    let body = || Some(json!({"query": "{ datasets { name } }"}).to_string());
    let mut evil = post("evil.example", "/graphql");
    let (status, _, text) = asked(&requests, evil.clone(), body()).await.unwrap();
    assert!(status == 403 && text.contains("Host header"), "{status} {text}");
    evil.headers_mut().insert("host", address.parse().unwrap());
    let (status, ..) = asked(&requests, evil, body()).await.unwrap();
    assert_eq!(status, 403);
    let mut page = post(&address, "/graphql");
    page.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    let (status, _, text) = asked(&requests, page, body()).await.unwrap();
    assert!(status == 403 && text.contains("another origin"), "{status} {text}");
}

#[tokio::test]
async fn a_websocket_is_told_to_come_by_http_1() {
    let rig = Rig::new().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let (requests, _) = connected(&address).await;
    let mut connect = Request::new(());
    *connect.method_mut() = Method::CONNECT;
    *connect.uri_mut() = address.parse().unwrap();
    let (status, _, text) = asked(&requests, connect, None).await.unwrap();
    assert!(status == 405 && text.contains("HTTP/1.1"), "{status} {text}");
    assert_eq!(asked(&requests, get(&address, "/healthz"), None).await.unwrap().0, 200);
}

#[tokio::test]
async fn bounds_of_a_request_hold_for_each_stream() {
    let rig = Rig::with_calls().await;
    let patience = Patience { body_max: Duration::from_millis(200), ..Patience::default() };
    let (address, _stop, _) =
        rig.serve(ServerOptions { patience, ..ServerOptions::default() }).await;
    let (requests, _) = connected(&address).await;
    let large = json!({"query": "x".repeat(2 << 20)}).to_string();
    let mut ready = requests.clone().ready().await.unwrap();
    let mut request = post(&address, "/graphql");
    request.headers_mut().insert("content-length", large.len().into());
    let (response, mut sending) = ready.send_request(request, false).unwrap();
    sending.send_data(large.into(), true).unwrap();
    let response = timeout(SOON, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 413);
    // One that stalls is told, and the others are answered meanwhile.
    let mut ready = requests.clone().ready().await.unwrap();
    let (stalled, mut sending) = ready.send_request(post(&address, "/graphql"), false).unwrap();
    sending.send_data("{".into(), false).unwrap();
    assert_eq!(asked(&requests, get(&address, "/healthz"), None).await.unwrap().0, 200);
    let response = timeout(SOON, stalled).await.unwrap().unwrap();
    assert_eq!(response.status(), 400);
    let text = whole(response.into_body()).await.unwrap();
    assert!(text.contains("came too slowly"), "{text}");
    let mut wordy = get(&address, "/healthz");
    wordy.headers_mut().insert("x-long", "a".repeat(100 << 10).parse().unwrap());
    let refused = asked(&requests, wordy, None).await;
    // By the status, or by the stream's end where even that much was not read.
    assert!(refused.as_ref().map_or(true, |(status, ..)| *status == 431), "{refused:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_reset_and_the_others_go_on() {
    let rig = Rig::new().await;
    let patience = Patience { stalled_max: Duration::from_millis(300), ..Patience::default() };
    let (address, _stop, _) =
        rig.serve(ServerOptions { patience, ..ServerOptions::default() }).await;
    let (requests, _) = spoken(TcpStream::connect(&address).await.unwrap(), 20 << 10).await;
    let large = || get(&address, "/explorer/graphiql.min.js");
    let mut ready = requests.clone().ready().await.unwrap();
    let (response, _) = ready.send_request(large(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut came = 0;
    // No room is made for more than came at first.
    let ended = loop {
        match timeout(SOON, body.data()).await.expect("it is waited for without an end") {
            Some(Ok(piece)) => came += piece.len(),
            Some(Err(error)) => break error,
            None => panic!("all of it came"),
        }
    };
    assert!(ended.is_reset() && ended.reason() == Some(Reason::CANCEL), "{ended}");
    assert!(came <= 20 << 10, "{came}");
    // Who makes room gets all of it on the same connection.
    let (status, _, text) = asked(&requests, large(), None).await.unwrap();
    assert!(status == 200 && text.len() > 100_000, "{status} {}", text.len());
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection_and_others_are_served() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let (other, _) = connected(&address).await;
    let query = "{ calls(first: 1) { nodes { id } } }";
    // `GET /` of localhost, and its end, a thousand times in one breath.
    let headers = b"\x82\x86\x84\x01\x09localhost";
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    for stream in (0..1_000).map(|i| 2 * i + 1) {
        flood.extend(frame(1, 5, stream, headers));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let flooding = async {
        stream.write_all(&flood).await.unwrap();
        let mut said = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut said).await;
        said
    };
    let served = async {
        for _ in 0..20 {
            assert_eq!(graphql(&other, &address, query).await.0, 200);
        }
    };
    let both = async { tokio::join!(flooding, served) };
    let (said, ()) = timeout(SOON, both).await.expect("the connection goes on");
    let mut left = said.as_slice();
    let mut farewells = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = left {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (content, after) = rest.split_at(length.min(rest.len()));
        if *kind == 7 {
            farewells.push(u32::from_be_bytes(content[4..8].try_into().unwrap()));
        }
        left = after;
    }
    assert_eq!(farewells.last(), Some(&u32::from(Reason::ENHANCE_YOUR_CALM)), "{said:?}");
    assert_eq!(graphql(&other, &address, query).await.0, 200);
}

#[tokio::test]
async fn requests_that_are_broken_off_once_they_are_heard_end_the_connection() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let (requests, ended) = connected(&address).await;
    // Waits for a body that does not come, so it is not answered before it is broken off.
    let begun = async || {
        let mut ready = requests.clone().ready().await?;
        ready.send_request(post(&address, "/graphql"), false)
    };
    // What is answered says that what came before was heard.
    let heard = async || asked(&requests, get(&address, "/healthz"), None).await;
    // Who is answered as often as it breaks off may go on.
    for _ in 0..300 {
        let (_response, mut sending) = begun().await.unwrap();
        heard().await.unwrap();
        sending.send_reset(Reason::CANCEL);
    }
    assert!(!ended.is_finished());
    let flood = async {
        loop {
            let mut all = Vec::new();
            for _ in 0..50 {
                let Ok(one) = begun().await else { return };
                all.push(one);
            }
            if heard().await.is_err() {
                return;
            }
            for (_, sending) in &mut all {
                sending.send_reset(Reason::CANCEL);
            }
        }
    };
    timeout(SOON, flood).await.expect("the flood goes on");
    timeout(SOON, ended).await.expect("the connection goes on").unwrap();
}

#[tokio::test]
async fn headers_without_an_end_end_the_connection() {
    let rig = Rig::new().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    // `:method GET`, and then a header that is never at its end; each frame is too short to be over a bound by itself.
    stream.write_all(&frame(1, 0, 1, &[0x82])).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let reading = tokio::spawn(async move { drop(read.read_to_end(&mut Vec::new()).await) });
    let going_on = frame(9, 0, 1, b"\x00\x01a\x01b");
    let flood = async { while write.write_all(&going_on).await.is_ok() {} };
    timeout(SOON, flood).await.expect("the flood goes on");
    timeout(SOON, reading).await.expect("the connection goes on").unwrap();
    let mut other = TcpStream::connect(&address).await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    timeout(SOON, other.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_connection_that_waits_is_closed_and_told_so() {
    let rig = Rig::new().await;
    let idle_max = Duration::from_millis(300);
    let patience = Patience {
        request_max: idle_max,
        idle_max,
        heartbeat: Duration::from_millis(20),
        ..Patience::default()
    };
    let (address, _stop, _) =
        rig.serve(ServerOptions { patience, ..ServerOptions::default() }).await;
    let (requests, ended) = connected(&address).await;
    assert_eq!(asked(&requests, get(&address, "/healthz"), None).await.unwrap().0, 200);
    // Signs of life are answered meanwhile, and are no life.
    let reason = timeout(SOON, ended).await.expect("it was not closed").unwrap();
    assert_eq!(reason, None);
}

#[tokio::test]
async fn what_is_under_way_is_finished_when_the_server_ends() {
    let rig = Rig::with_calls().await;
    let (address, stop, running) = rig.serve(ServerOptions::default()).await;
    let (requests, ended) = connected(&address).await;
    let mut ready = requests.clone().ready().await.unwrap();
    let mut request = post(&address, "/graphql");
    request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    request.headers_mut().insert("accept-encoding", "gzip, br, zstd".parse().unwrap());
    let (response, mut sending) = ready.send_request(request, false).unwrap();
    let query = json!({"query": "subscription { callsChanged(since: 0) { version } }"}).to_string();
    sending.send_data(query.into(), true).unwrap();
    let response: Response<RecvStream> = response.await.unwrap();
    // Events are not packed: each is there when it is sent.
    assert!(!response.headers().contains_key("content-encoding"));
    let mut body = response.into_body();
    let first = timeout(SOON, body.data()).await.unwrap().unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("\"version\":1"));
    rig.append("calls", vec![calls().slice(0, 1)]).await;
    let second = timeout(SOON, body.data()).await.unwrap().unwrap().unwrap();
    assert!(String::from_utf8_lossy(&second).contains("\"version\":2"));
    stop.send(()).unwrap();
    let rest = timeout(SOON, whole(body)).await.unwrap().unwrap();
    assert!(!rest.contains("complete"), "{rest}");
    timeout(SOON, running).await.expect("the server goes on").unwrap();
    timeout(SOON, ended).await.expect("the connection goes on").unwrap();
}
