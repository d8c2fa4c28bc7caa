//! WebSockets and event streams of somebody who has logged in.

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// A socket that a page of `origin` opens, and the cookie that it is given with it.
async fn open(
    browser: &Browser,
    origin: Option<&str>,
) -> Result<(Socket, Option<String>), tungstenite::Error> {
    let url = format!("ws://{}/graphql", browser.address);
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    headers.insert("cookie", browser.cookie().parse().unwrap());
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    let (mut socket, response) = connect_async(request).await?;
    let set = response.headers().get("set-cookie").map(|set| set.to_str().unwrap().to_owned());
    socket.send(Message::text(r#"{"type":"connection_init"}"#)).await.unwrap();
    Ok((socket, set))
}

/// The next message that is no sign of life; of a close its code and reason.
async fn next(socket: &mut Socket) -> Result<Value, (u16, String)> {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap();
        match message.unwrap().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["type"] != "ping" {
                    return Ok(message);
                }
                socket.send(Message::text(r#"{"type":"pong"}"#)).await.unwrap();
            }
            Message::Close(Some(close)) => {
                return Err((close.code.into(), close.reason.to_string()));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn pages_of_this_server_open_sockets_and_no_others_do() {
    let site = Site::new().await;
    let browser = site.logged_in().await;
    let (mut socket, _) = open(&browser, Some(PUBLIC)).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["type"], "connection_ack");
    for origin in
        [None, Some("https://evil.example"), Some("null"), Some("http://colonnade.example.org")]
    {
        match open(&browser, origin).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403),
            other => unreachable!("{origin:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_goes_on_with_a_session_ends_with_it() {
    let site = Site::new().await;
    let mut browser = site.logged_in().await;
    let csrf = browser.get("/auth/me").await.json()["csrfToken"].as_str().unwrap().to_owned();
    let (mut socket, _) = open(&browser, Some(PUBLIC)).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["type"], "connection_ack");
    let stream = browser.client.post(browser.url("/graphql")).header("cookie", browser.cookie());
    let stream = stream.header("accept", "text/event-stream").header(CSRF_HEADER, &csrf);
    let body = json!({"query": "subscription { callsChanged { version } }"}).to_string();
    let stream = stream.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(browser.post("/auth/logout", "", &[(CSRF_HEADER, &csrf)]).await.status, 200);
    let (code, reason) = next(&mut socket).await.unwrap_err();
    assert!(code == 4403 && reason.contains("the session was ended"), "{code} {reason}");
    let told = tokio::time::timeout(Duration::from_secs(10), stream.text()).await.unwrap().unwrap();
    assert!(told.contains("UNAUTHENTICATED") && told.contains("event: complete"), "{told}");
}

#[tokio::test]
async fn a_socket_ends_when_its_session_has_to_be_renewed_and_the_next_renews_it() {
    let site = Site::new().await;
    site.provider.says.lock().lasts = [2, 600];
    let browser = site.logged_in().await;
    let (mut socket, set) = open(&browser, Some(PUBLIC)).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["type"], "connection_ack");
    assert_eq!(set, None);
    let (code, reason) = next(&mut socket).await.unwrap_err();
    assert!(code == 4403 && reason.contains("renewed"), "{code} {reason}");
    let (mut socket, set) = open(&browser, Some(PUBLIC)).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap()["type"], "connection_ack");
    assert!(set.unwrap().starts_with(&format!("{SESSION}=")));
    assert_eq!(site.provider.says.lock().refreshed, 1);
}
