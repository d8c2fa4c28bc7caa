//! Attacks by HTTP's own means: other pages, keys, sockets, slow clients, and requests that end in two places.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{DATASETS, JSON, KEY, MUTATION, SOON, Target, percent, refused};

/// The bound of what a client may take for its first request, for a piece of a body, and for a socket's first message.
const PATIENCE: Duration = Duration::from_secs(10);
const OPENING: &str = "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n";
const INIT: &str = r#"{"type": "connection_init"}"#;

fn subscribe(id: usize, query: &str) -> Vec<u8> {
    let payload = json!({ "query": query });
    text(&json!({"type": "subscribe", "id": id.to_string(), "payload": payload}).to_string())
}

fn text(message: &str) -> Vec<u8> {
    frame(0x81, message.as_bytes())
}

/// A client's frame, whose mask is of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0xfe);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// What a server said on a socket until it closed it, or said so many messages.
#[derive(Debug, Default)]
struct Said {
    messages: Vec<Value>,
    close: Option<u16>,
}

impl Said {
    /// Reads whole frames of a server, which have no mask.
    fn of(mut bytes: &[u8]) -> Self {
        let mut said = Self::default();
        while let [first, second, rest @ ..] = bytes {
            let (length, rest) = match (second, rest) {
                (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
                (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                    (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize, rest)
                }
                (126 | 127, _) => break,
                (length, rest) => (usize::from(*length), rest),
            };
            let Some((payload, rest)) = rest.split_at_checked(length) else { break };
            match (first, payload) {
                (0x81, payload) => said.messages.push(serde_json::from_slice(payload).unwrap()),
                (0x88, [high, low, ..]) => said.close = Some(u16::from_be_bytes([*high, *low])),
                _ => {}
            }
            bytes = rest;
        }
        said
    }
}

impl Target {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.server.address).await.unwrap()
    }

    /// Sends bytes as they are and reads what comes until the server closes, which it does soon where it was asked to and where it
    /// can not know what follows.
    async fn send_raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // Who is refused may find the connection closed before all is sent.
        let _ = stream.write_all(bytes).await;
        let answer = String::from_utf8_lossy(&read_to_end(&mut stream, SOON).await).into_owned();
        self.tells_nothing(&answer);
        answer
    }

    async fn socket(&self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(OPENING.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        stream
    }

    /// What is said on a new socket on which these frames come, until it is closed.
    async fn said_to(&self, frames: &[u8]) -> Said {
        let mut stream = self.socket().await;
        let _ = stream.write_all(frames).await;
        Said::of(&read_to_end(&mut stream, SOON).await)
    }
}

/// All that comes until the other side closes.
async fn read_to_end(stream: &mut TcpStream, most: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(most, async {
        let mut piece = [0; 65_536];
        // One that closes with bytes unread resets the connection; what it said first is there all the same.
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            bytes.extend(&piece[..length]);
        }
    });
    let ended = read.await;
    assert!(ended.is_ok(), "not closed within {most:?}: {}", String::from_utf8_lossy(&bytes));
    bytes
}

#[tokio::test]
async fn no_other_page_makes_a_browser_change_anything() {
    let target = Target::new(&[]).await;
    let mutation = json!({ "query": MUTATION }).to_string();
    let parts = format!(
        "--x\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{mutation}\r\n\
         --x\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n{{}}\r\n--x--\r\n"
    );
    for (kind, body) in [
        ("application/x-www-form-urlencoded", format!("query={}", percent(MUTATION))),
        ("multipart/form-data; boundary=x", parts),
        ("text/plain", mutation.clone()),
        ("application/graphql", MUTATION.to_owned()),
    ] {
        let request = target.request(Method::POST, "/graphql").header("content-type", kind);
        let answer = target.send(request.body(body)).await;
        refused(
            kind,
            &answer,
            415,
            "BAD_INPUT",
            &["application/json", kind.split(';').next().unwrap()],
        );
    }
    let answer = target.send(target.get(MUTATION)).await;
    refused("GET", &answer, 405, "BAD_INPUT", &["GET request", "mutation", "POST"]);
    let overridden = target.get(MUTATION).header("x-http-method-override", "POST");
    refused(
        "a GET that would be a POST",
        &target.send(overridden).await,
        405,
        "BAD_INPUT",
        &["GET request"],
    );
    let path = format!("/graphql?query={}", percent(MUTATION));
    let in_url = target.request(Method::POST, &path).header("content-type", JSON).body("{}");
    refused(
        "a POST with a query in its URL",
        &target.send(in_url).await,
        400,
        "BAD_INPUT",
        &["no `query`"],
    );
    for (name, value, named) in [
        ("origin", "http://evil.example", "another origin"),
        ("origin", "null", "another origin"),
        ("origin", "http://127.0.0.1:1", "another origin"),
        ("sec-fetch-site", "cross-site", "another origin"),
        ("sec-fetch-site", "same-site", "another origin"),
        ("host", "evil.example", "Host header"),
        ("host", "127.0.0.1.evil.example", "Host header"),
    ] {
        let what = format!("{name}: {value}");
        let answer = target.send(target.post(mutation.clone()).header(name, value)).await;
        refused(&what, &answer, 403, "FORBIDDEN", &[named]);
        let answer = target.send(target.get(DATASETS).header(name, value)).await;
        refused(&what, &answer, 403, "FORBIDDEN", &[named]);
        let request = target.request(Method::OPTIONS, "/graphql").header(name, value);
        let answer = request.send().await.unwrap();
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{answer:?}");
    }
    // A socket of another page.
    let opening = OPENING
        .replace("Connection: Upgrade", "Connection: Upgrade, close")
        .replace("\r\n\r\n", "\r\nOrigin: http://evil.example\r\n\r\n");
    assert!(target.send_raw(opening.as_bytes()).await.starts_with("HTTP/1.1 403 "));
    target.goes_on().await;
}

#[tokio::test]
async fn a_get_request_changes_nothing_in_whatever_form_it_asks_for_its_answer() {
    let target = Target::new(&[]).await;
    for accept in
        ["application/json", "application/graphql-response+json", "*/*", "text/event-stream"]
    {
        let answer = target.send(target.get(MUTATION).header("accept", accept)).await;
        let text = answer.body.to_string();
        assert!(text.contains("a GET request takes queries"), "{accept}: {answer:?}");
        target.goes_on().await;
    }
}

#[tokio::test]
async fn where_keys_are_required_nothing_else_opens() {
    let target = Target::new(&[("COLONNADE_API_KEY", KEY)]).await;
    let body = json!({ "query": DATASETS }).to_string();
    // {"alg":"none","typ":"JWT"}, {"alg":"None"} and {"alg":"HS256"}, of {"sub":"admin","roles":["admin"]}, without a signature.
    let claims = "eyJzdWIiOiJhZG1pbiIsInJvbGVzIjpbImFkbWluIl19";
    let heads =
        ["eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiJIUzI1NiJ9"];
    let mut wrong: Vec<(&str, String)> =
        heads.iter().map(|head| ("authorization", format!("Bearer {head}.{claims}."))).collect();
    let others = [
        ("authorization", format!("Basic {KEY}")),
        ("authorization", KEY.to_owned()),
        ("authorization", "Bearer".to_owned()),
        ("authorization", "Bearer null".to_owned()),
        ("authorization", format!("Bearer {}", &KEY[1..])),
        ("x-api-key", KEY.to_uppercase()),
        ("x-api-key", format!("Bearer {KEY}")),
        ("x-api-key", format!("{KEY}' OR '1'='1")),
        ("cookie", format!("key={KEY}; x-api-key={KEY}; authorization=Bearer {KEY}")),
        ("proxy-authorization", format!("Bearer {KEY}")),
    ];
    wrong.extend(others);
    for (name, value) in &wrong {
        let answer = target.send(target.post(body.clone()).header(*name, value)).await;
        refused(&format!("{name}: {value}"), &answer, 401, "UNAUTHENTICATED", &["key"]);
        assert!(!answer.body.to_string().contains(KEY), "{answer:?}");
    }
    for name in ["key", "api_key", "apikey", "access_token", "token", "authorization", "x-api-key"]
    {
        let path = format!("/graphql?{name}={KEY}");
        let posted = target.request(Method::POST, &path).header("content-type", JSON);
        let got = target.request(Method::GET, &format!("{path}&query={}", percent(DATASETS)));
        for request in [posted.body(body.clone()), got] {
            refused(name, &target.send(request).await, 401, "UNAUTHENTICATED", &["needs a key"]);
        }
    }
    // 64 KiB of headers are taken, and twice as many where they come at once.
    for (bytes, statuses) in
        [(60_000, &["401"][..]), (100_000, &["401", "431"]), (140_000, &["431"])]
    {
        for name in ["Authorization: Bearer ", "X-Api-Key: ", "Cookie: a="] {
            let long = "k".repeat(bytes);
            let request = format!(
                "POST /graphql HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{name}{long}\r\n\
                Content-Type: {JSON}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = target.send_raw(request.as_bytes()).await;
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert!(statuses.contains(&status), "{name}{bytes} bytes: {answer}");
            assert!(!answer.contains("kkkk"), "the key is in the answer");
        }
    }
    for payload in [
        json!(null),
        json!({"authorization": "Bearer x"}),
        json!({"authorization": {"a": KEY}}),
        json!({"key": KEY}),
    ] {
        let init = json!({"type": "connection_init", "payload": payload}).to_string();
        assert_eq!(target.said_to(&text(&init)).await.close, Some(4403), "{payload}");
    }
    assert!(!target.server.log().contains(KEY), "the key is in the log");
    target.goes_on().await;
}

#[tokio::test]
async fn a_socket_that_breaks_the_protocol_is_closed_with_its_code() {
    let target = Target::new(&[]).await;
    let inits = text(INIT).repeat(1_000);
    let deep = format!("{{\"type\": \"ping\", \"payload\": {}", "[".repeat(100_000));
    let greeted = |more: Vec<u8>| [text(INIT), more].concat();
    // Of a frame of a terabyte the head alone comes.
    let huge = [&[0x81, 0xff][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let pieces: Vec<u8> =
        (0..64u8).flat_map(|n| frame(u8::from(n == 0), &[b' '; 16 << 10])).collect();
    for (what, frames, close) in [
        ("a flood of greetings", inits, 4429),
        ("an operation before the greeting", subscribe(1, DATASETS), 4401),
        (
            "an operation without an id",
            greeted(text(r#"{"type": "subscribe", "id": "", "payload": {"query": "{ a }"}}"#)),
            4400,
        ),
        ("a batch", greeted(text(r#"[{"type": "ping"}, {"type": "ping"}]"#)), 4400),
        ("no JSON", greeted(text("{")), 4400),
        ("nested JSON", greeted(text(&deep)), 4400),
        ("a binary message", greeted(frame(0x82, b"{}")), 4400),
        ("a huge frame", greeted(huge), 1009),
        ("a huge message in small frames", greeted([pieces, frame(0x80, b" ")].concat()), 1009),
        ("no UTF-8", greeted(frame(0x81, b"\xff\xfe")), 1007),
        ("a frame without a mask", greeted(vec![0x81, 2, b'{', b'}']), 1002),
        ("an unknown kind of frame", greeted(frame(0x83, b"")), 1002),
        ("a long ping", greeted(frame(0x89, &[0; 126])), 1002),
    ] {
        assert_eq!(target.said_to(&frames).await.close, Some(close), "{what}");
    }
    target.goes_on().await;
}

#[tokio::test]
async fn a_flood_of_sockets_or_of_operations_on_one_leaves_the_others_alone() {
    const SUBSCRIPTIONS: usize = 100;
    const MORE: usize = 3_000;
    let target = Target::new(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(target.socket().await);
    }
    let (mut reader, mut writer) = target.socket().await.into_split();
    let writing = tokio::spawn(async move {
        writer.write_all(&text(INIT)).await.unwrap();
        for id in 0..SUBSCRIPTIONS + MORE {
            let query = "subscription { modelCallsChanged { version } }";
            writer.write_all(&subscribe(id, query)).await.unwrap();
        }
        // Two places are free again.
        for id in 0..2 {
            let complete = json!({"type": "complete", "id": id.to_string()}).to_string();
            writer.write_all(&text(&complete)).await.unwrap();
        }
        let aliases: String = (0..1_000).map(|n| format!("a{n}: __typename ")).collect();
        writer.write_all(&subscribe(0, &format!("{{ {aliases} }}"))).await.unwrap();
        writer.write_all(&subscribe(1, DATASETS)).await.unwrap();
        writer
    });
    let mut bytes = Vec::new();
    let reading = async {
        // What is expected ends with a refusal, and an answer that is complete, in either order.
        let is_all = |messages: Vec<Value>| {
            let of = |kind| messages.iter().filter(|message| message["type"] == kind).count();
            of("error") > MORE && of("complete") > 0
        };
        while !bytes.ends_with(b"}") || !is_all(Said::of(&bytes[..]).messages) {
            let mut piece = [0; 65_536];
            let length = reader.read(&mut piece).await.unwrap();
            assert!(length > 0, "it was closed: {:?}", Said::of(&bytes).close);
            bytes.extend(&piece[..length]);
        }
    };
    assert!(timeout(4 * SOON, reading).await.is_ok(), "no end of answers");
    let _writer = writing.await.unwrap();
    let messages = Said::of(&bytes).messages;
    let (mut of_number, mut of_aliases) = (0, 0);
    for refusal in messages.iter().filter(|message| message["type"] == "error") {
        let error = &refusal["payload"][0];
        let message = error["message"].as_str().unwrap();
        assert_eq!(error["extensions"]["code"], "LIMIT_EXCEEDED", "{refusal}");
        if refusal["id"] == "0" {
            assert!(message.starts_with("fields at the root: the limit is 20"), "{refusal}");
            of_aliases += 1;
        } else {
            assert!(
                message.starts_with("operations on one WebSocket: the limit is 100"),
                "{refusal}"
            );
            of_number += 1;
        }
    }
    assert_eq!((of_number, of_aliases), (MORE, 1));
    let next = messages.iter().find(|message| message["type"] == "next").unwrap();
    assert_eq!(next["payload"]["data"]["datasets"][0]["name"], "model_calls", "{next}");
    target.goes_on().await;
    drop(silent);
}

/// Sends a request's head, then a byte now and then, until the server has enough; answers what it said, and when.
async fn drip(target: &Target, head: &str) -> (String, Duration) {
    let (mut stream, began) = (target.connect().await, Instant::now());
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let dripping = async {
        while writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(300)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = reader.read_to_end(&mut said) => {}
        () = dripping => {}
        () = sleep(PATIENCE + SOON) => panic!("{head:?}: it is still open"),
    }
    (String::from_utf8_lossy(&said).into_owned(), began.elapsed())
}

/// The bounds are not among the settings; all are waited for at a time.
#[tokio::test]
async fn who_sends_slowly_or_nothing_is_closed_in_time() {
    let target = Target::new(&[]).await;
    let body = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {JSON}\r\n"
    );
    let known = format!("{body}Content-Length: 10000\r\n\r\n");
    let (line, header, dripped, silent, init, quick) = tokio::join!(
        drip(&target, "GET /"),
        drip(&target, "GET /graphql HTTP/1.1\r\nHost: localhost\r\nX-A: "),
        drip(&target, &known),
        async {
            let mut stream = target.connect().await;
            stream.write_all(known.as_bytes()).await.unwrap();
            let said = read_to_end(&mut stream, PATIENCE + SOON).await;
            String::from_utf8_lossy(&said).into_owned()
        },
        async { Said::of(&read_to_end(&mut target.socket().await, PATIENCE + SOON).await).close },
        async {
            for _ in 0..20 {
                sleep(Duration::from_millis(200)).await;
                target.goes_on().await;
            }
            read_to_end(&mut target.connect().await, PATIENCE + SOON).await
        },
    );
    for (what, (said, took)) in [("a line", &line), ("a header", &header)] {
        assert_eq!(said, "", "{what}");
        assert!(*took < PATIENCE + SOON, "{what}: {took:?}");
    }
    for said in [&dripped.0, &silent] {
        assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("too slowly"), "{said}");
        assert!(said.contains("BAD_INPUT") && said.contains("16 KiB a second"), "{said}");
    }
    assert_eq!(init, Some(4408));
    assert_eq!(quick, b"", "a client that asks nothing is told nothing");
    target.goes_on().await;
}

#[tokio::test]
async fn a_request_that_ends_in_two_places_is_one_request() {
    let target = Target::new(&[]).await;
    let body = json!({ "query": DATASETS }).to_string();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let planted = json!({ "query": MUTATION }).to_string();
    let head = format!("POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n");
    let smuggled = format!("{head}Content-Length: {}\r\n\r\n{planted}", planted.len());
    let length = format!("Content-Length: {}", body.len());
    let chunked = "Transfer-Encoding: chunked";
    for (what, status, request) in [
        (
            "a length before the end of chunks",
            "400",
            format!("{head}Content-Length: 6\r\n{chunked}\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "a length beyond the end of chunks",
            "200",
            format!(
                "{head}Content-Length: {}\r\n{chunked}\r\n\r\n{chunks}{smuggled}",
                chunks.len() + smuggled.len()
            ),
        ),
        (
            "a length within chunks",
            "200",
            format!("{head}{chunked}\r\nContent-Length: 4\r\n\r\n{chunks}{smuggled}"),
        ),
        (
            "two lengths",
            "400",
            format!("{head}{length}\r\nContent-Length: 5\r\n\r\n{body}{smuggled}"),
        ),
        ("a list of lengths", "400", format!("{head}{length}, 5\r\n\r\n{body}{smuggled}")),
        (
            "a length with a sign",
            "400",
            format!("{head}Content-Length: +{}\r\n\r\n{body}{smuggled}", body.len()),
        ),
        (
            "a length that is too long",
            "400",
            format!("{head}Content-Length: {}\r\n\r\n{body}", "9".repeat(30)),
        ),
        (
            "another coding",
            "400",
            format!("{head}Transfer-Encoding: xchunked\r\n\r\n{chunks}{smuggled}"),
        ),
        (
            "a coding after chunks",
            "400",
            format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n{chunks}{smuggled}"),
        ),
        (
            "a coding and a length",
            "400",
            format!("{head}Transfer-Encoding: identity\r\n{length}\r\n\r\n{body}{smuggled}"),
        ),
        (
            "a blank before the colon",
            "400",
            format!("{head}Transfer-Encoding : chunked\r\n{length}\r\n\r\n{body}{smuggled}"),
        ),
        (
            "a folded line",
            "400",
            format!("{head}X-A: a\r\n {chunked}\r\n{length}\r\n\r\n{body}{smuggled}"),
        ),
        (
            "a lone CR",
            "400",
            format!("{head}X-A: a\r{chunked}\r\n{length}\r\n\r\n{body}{smuggled}"),
        ),
        (
            "a chunk longer than a number",
            "400",
            format!("{head}{chunked}\r\n\r\n{}\r\n{body}", "F".repeat(20)),
        ),
        ("a chunk with a sign", "400", format!("{head}{chunked}\r\n\r\n-1\r\n{body}")),
        (
            "a long extension of a chunk",
            "400",
            format!("{head}{chunked}\r\n\r\n1;{}\r\n{body}", "a".repeat(100_000)),
        ),
        (
            "chunks in HTTP/1.0",
            "400",
            format!("{}{chunked}\r\n\r\n{chunks}{smuggled}", head.replace("1.1", "1.0")),
        ),
        (
            "very many headers",
            "431",
            format!("{head}{}{length}\r\n\r\n{body}", "X-A: a\r\n".repeat(1_000)),
        ),
        (
            "a long URL",
            "431",
            format!(
                "GET /graphql?query={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "a".repeat(100_000)
            ),
        ),
    ] {
        let answer = target.send_raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        target.goes_on().await;
    }
}
