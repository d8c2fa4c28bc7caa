//! TLS with real handshakes: its files, and certificates of clients. What made them is `certificates/make.sh`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{Code, Role, TenantId};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::http2::{asked, get, spoken};
use super::{Rig, calls};
use crate::server::{
    ApiKey, CertificateRule, ClientAuthority, ClientCertificates, Patience, Server, ServerOptions,
    TlsOptions,
};

const SOON: Duration = Duration::from_secs(10);

/// A file beside this one.
fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/certificates").join(name)
}

fn tls(clients: ClientCertificates) -> TlsOptions {
    let (certificate, key) = (made("server.pem"), made("server.key"));
    TlsOptions { certificate, key, clients, refresh: Duration::from_millis(20) }
}

fn authority() -> ClientAuthority {
    ClientAuthority { certificates: made("ca.pem"), revoked: Some(made("revoked.crl.pem")) }
}

fn options(clients: ClientCertificates) -> ServerOptions {
    ServerOptions { tls: Some(tls(clients)), ..ServerOptions::default() }
}

fn chain(name: &str) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(made(&format!("{name}.pem"))).unwrap();
    found.map(Result::unwrap).collect()
}

/// A client that shows a certificate or none and speaks one of these.
async fn connected(
    address: &str,
    shows: Option<&str>,
    speaks: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(chain("ca").remove(0)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(made(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain(name), key).unwrap()
        }
    };
    config.alpn_protocols = speaks.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    timeout(SOON, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

/// An answer of HTTP/1.1, after which the connection goes on.
async fn answered<S>(stream: &mut S, request: &str) -> io::Result<(u16, String)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lengths = head.lines().filter_map(|line| line.strip_prefix("content-length: "));
            let length: usize = lengths.map(|length| length.parse::<usize>().unwrap()).sum();
            if body.len() >= length {
                return Ok((head[9..12].parse().unwrap(), body.to_owned()));
            }
        }
        let read = timeout(SOON, stream.read_buf(&mut bytes)).await.expect("no answer came")?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn query(query: &str, header: &str) -> String {
    let body = json!({ "query": query }).to_string();
    let length = body.len();
    format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{header}\r\n{body}"
    )
}

/// The answer to who shows this certificate, and this header.
async fn asks(
    address: &str,
    shows: Option<&str>,
    text: &str,
    header: &str,
) -> io::Result<(u16, Value)> {
    let mut stream = connected(address, shows, &[]).await?;
    let (status, body) = answered(&mut stream, &query(text, header)).await?;
    Ok((status, serde_json::from_str(&body).unwrap()))
}

#[tokio::test]
async fn it_is_spoken_through_by_http_1_and_http_2_as_the_client_says() {
    let rig = Rig::with_calls().await;
    let (address, stop, running) = rig.serve(options(ClientCertificates::None)).await;
    for speaks in [&[][..], &["http/1.1"]] {
        let mut stream = connected(&address, None, speaks).await.unwrap();
        assert_eq!(answered(&mut stream, HEALTH).await.unwrap(), (200, "ok\n".to_owned()));
        // The local user, on the same connection.
        let (status, body) =
            answered(&mut stream, &query("{ calls { version } }", "")).await.unwrap();
        assert!(status == 200 && body.contains("\"version\":1"), "{status} {body}");
    }
    let stream = connected(&address, None, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, _) = spoken(stream, 1 << 20).await;
    let file = asked(&requests, get("localhost", "/explorer/graphiql.min.js"), None).await.unwrap();
    assert!(file.0 == 200 && file.2.len() > 100_000, "{} {}", file.0, file.2.len());
    // One who waits does not keep the server from ending.
    let _waiting = connected(&address, None, &[]).await.unwrap();
    stop.send(()).unwrap();
    timeout(SOON, running).await.expect("the server goes on").unwrap();
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_and_who_says_nothing_is_not_waited_for() {
    let rig = Rig::new().await;
    let patience = Patience { request_max: Duration::from_millis(200), ..Patience::default() };
    let options = ServerOptions { patience, ..options(ClientCertificates::None) };
    let (address, _stop, _) = rig.serve(options).await;
    let mut plain = TcpStream::connect(&address).await.unwrap();
    let (status, body) = answered(&mut plain, HEALTH).await.unwrap();
    assert!(status == 400 && body.contains("https://"), "{status} {body}");
    for begin in [&b""[..], b"\x16\x03\x01\x02"] {
        let mut silent = TcpStream::connect(&address).await.unwrap();
        silent.write_all(begin).await.unwrap();
        let rest = timeout(SOON, silent.read_to_end(&mut Vec::new())).await;
        let _ = rest.expect("it was not closed");
    }
    let mut shaken = connected(&address, None, &[]).await.unwrap();
    let rest = timeout(SOON, shaken.read_to_end(&mut Vec::new())).await;
    let _ = rest.expect("it was not closed");
}

#[tokio::test]
async fn new_files_serve_new_connections_and_bad_ones_change_nothing() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    let take = |name: &str| {
        std::fs::copy(made(&format!("{name}.pem")), folder.path().join("it.pem")).unwrap();
        move |folder: &Path, key: &str| {
            std::fs::copy(made(&format!("{key}.key")), folder.join("it.key")).unwrap();
        }
    };
    take("server")(folder.path(), "server");
    let files = TlsOptions {
        certificate: folder.path().join("it.pem"),
        key: folder.path().join("it.key"),
        ..tls(ClientCertificates::None)
    };
    let (address, _stop, _) =
        rig.serve(ServerOptions { tls: Some(files), ..ServerOptions::default() }).await;
    let shown = async || {
        let stream = connected(&address, None, &[]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let (old, new) = (chain("server").remove(0), chain("renewed").remove(0));
    let mut open = connected(&address, None, &[]).await.unwrap();
    assert_eq!(answered(&mut open, HEALTH).await.unwrap().0, 200);
    // The certificate of one and the key of the other, for a moment in which they are looked at several times.
    let set_key = take("renewed");
    for _ in 0..10 {
        assert_eq!(shown().await, old);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    set_key(folder.path(), "renewed");
    let changed = async { while shown().await != new {} };
    timeout(SOON, changed).await.expect("the new certificate was not taken");
    assert_eq!(answered(&mut open, HEALTH).await.unwrap().0, 200);
    std::fs::write(folder.path().join("it.pem"), "no certificate").unwrap();
    std::fs::remove_file(folder.path().join("it.key")).unwrap();
    for _ in 0..10 {
        assert_eq!(shown().await, new);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    take("server")(folder.path(), "server");
    let changed = async { while shown().await != old {} };
    timeout(SOON, changed).await.expect("good files were not taken after bad ones");
    assert_eq!(answered(&mut open, HEALTH).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_file_that_is_wrong_at_the_start_is_named_and_tls_opens_to_nobody() {
    let rig = Rig::new().await;
    let bind = |tls: TlsOptions| {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = ServerOptions { listen, tls: Some(tls), ..ServerOptions::default() };
        Server::bind(rig.engine.clone(), rig.runner.clone(), options)
    };
    let none = || tls(ClientCertificates::None);
    let of = |certificates: &str, revoked: &str| {
        let (certificates, revoked) = (made(certificates), Some(made(revoked)));
        tls(ClientCertificates::Required(ClientAuthority { certificates, revoked }))
    };
    for (tls, says) in [
        (TlsOptions { key: made("none.key"), ..none() }, &["server.tls.key: ", "none.key: "][..]),
        (
            TlsOptions { key: made("client.key"), ..none() },
            &["server.tls.key: ", "client.key: expected the key of", "server.pem"],
        ),
        (
            TlsOptions { key: made("server.pem"), ..none() },
            &["server.tls.key: ", "server.pem: expected a private key in PEM"],
        ),
        (
            TlsOptions { certificate: made("server.key"), ..none() },
            &["server.tls.certificate: ", "server.key: expected a certificate in PEM, found none"],
        ),
        (
            of("server.key", "revoked.crl.pem"),
            &["server.tls.client_ca: ", "expected a certificate in PEM, found none"],
        ),
        (
            of("ca.pem", "ca.pem"),
            &[
                "server.tls.client_revoked: ",
                "ca.pem: expected a list of revoked certificates in PEM, found none",
            ],
        ),
    ] {
        let error = bind(tls).await.err().unwrap();
        assert_eq!(error.code(), Code::BadInput, "{error}");
        for says in says {
            assert!(error.to_string().contains(says), "{error} without {says:?}");
        }
    }
    let server = bind(none()).await.unwrap();
    assert_eq!(server.url(), format!("https://{}", server.address()));
    let options =
        ServerOptions { listen: "0.0.0.0:0".parse().unwrap(), ..options(ClientCertificates::None) };
    let error = Server::bind(rig.engine.clone(), rig.runner.clone(), options).await.err().unwrap();
    assert!(
        error.code() == Code::Forbidden && error.to_string().contains("also with TLS"),
        "{error}"
    );
}

/// Who the client's certificate is, as an admin.
fn rules() -> Vec<CertificateRule> {
    let field = "uri".parse().unwrap();
    let (value, tenant) = ("spiffe://shop.example/*".to_owned(), TenantId::default());
    vec![CertificateRule { field, value, tenant, role: Role::Admin, grants: None }]
}

fn keys() -> Vec<ApiKey> {
    vec![ApiKey::new("a key of the test", TenantId::default(), "by key", vec![Role::Reader])]
}

const KEY: &str = "Authorization: Bearer a key of the test\r\n";
const CALLS: &str = "{ calls { version } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_certificate_is_whom_the_rule_says() {
    let rig = Rig::with_calls().await;
    let options = ServerOptions {
        keys: keys(),
        certificates: rules(),
        ..options(ClientCertificates::Required(authority()))
    };
    let (address, _stop, _) = rig.serve(options).await;
    let (status, answer) = asks(&address, Some("client"), CALLS, "").await.unwrap();
    assert_eq!((status, &answer["data"]["calls"]["version"]), (200, &json!(1)), "{answer}");
    let by = "spiffe://shop.example/ns/prod/ingest";
    // A key that it makes ends with it, and the record says who it was.
    let create = |end: &str| {
        format!(
            "mutation {{ createKey(subject: \"a\", roles: [READER]{end}) {{ key {{ createdBy }} }} }}"
        )
    };
    let (_, answer) = asks(&address, Some("client"), &create(""), "").await.unwrap();
    let says = answer["errors"][0]["message"].as_str().unwrap();
    assert!(says.contains("outlive") && says.contains("2120-01-01"), "{says}");
    let end = ", expiresAt: \"2100-01-01T00:00:00Z\"";
    let (_, answer) = asks(&address, Some("client"), &create(end), "").await.unwrap();
    assert_eq!(answer["data"]["createKey"]["key"]["createdBy"], by, "{answer}");
    let audit = "{ audit(first: 10) { nodes { subject credential } } }";
    let recorded = async {
        loop {
            let (_, answer) = asks(&address, Some("client"), audit, "").await.unwrap();
            let acts = answer["data"]["audit"]["nodes"].as_array().cloned().unwrap_or_default();
            if acts.contains(&json!({"subject": by, "credential": "certificate"})) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, recorded).await.expect("the record does not say who it was");
    // Who shows a key besides is who that says; and one that is not known is not made up for.
    let (_, answer) = asks(&address, Some("client"), "{ keys { prefix } }", KEY).await.unwrap();
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("by key"), "{answer}");
    for wrong in
        ["Authorization: Bearer another\r\n", "Authorization: Basic YTpi\r\n", "X-Api-Key: \r\n"]
    {
        let (status, _) = asks(&address, Some("client"), CALLS, wrong).await.unwrap();
        assert_eq!(status, 401, "{wrong}");
    }
    // A page of another origin can not make its reader's browser ask.
    let page = "Origin: https://evil.example\r\n";
    assert_eq!(asks(&address, Some("client"), CALLS, page).await.unwrap().0, 403);
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_refused_in_the_handshake() {
    let rig = Rig::with_calls().await;
    let with = |clients| ServerOptions { keys: keys(), certificates: rules(), ..options(clients) };
    let (required, _stop, _) = rig.serve(with(ClientCertificates::Required(authority()))).await;
    let (optional, _stop_too, _) = rig.serve(with(ClientCertificates::Optional(authority()))).await;
    for bad in ["expired", "foreign", "revoked", "server"] {
        for address in [&required, &optional] {
            let refused = asks(address, Some(bad), CALLS, KEY).await;
            assert!(refused.is_err(), "{bad}: {refused:?}");
        }
    }
    assert!(asks(&required, None, CALLS, KEY).await.is_err());
    // Where it is optional, a key does; with neither nobody comes in, on loopback, too.
    assert_eq!(asks(&optional, None, CALLS, KEY).await.unwrap().0, 200);
    assert_eq!(asks(&optional, None, CALLS, "").await.unwrap().0, 401);
    assert_eq!(asks(&optional, Some("client"), CALLS, "").await.unwrap().0, 200);
    // One that is good and of which no rule knows is nobody.
    let mut options = with(ClientCertificates::Required(authority()));
    for rule in &mut options.certificates {
        rule.value = "spiffe://other.example/*".to_owned();
    }
    let (address, _stop, _) = rig.serve(options).await;
    let (status, answer) = asks(&address, Some("client"), CALLS, "").await.unwrap();
    assert!(status == 401 && answer.to_string().contains("auth.certificates"), "{status} {answer}");
}

#[tokio::test]
async fn a_certificate_alone_lets_nobody_in_where_no_rule_is_set_up() {
    let rig = Rig::with_calls().await;
    let options =
        ServerOptions { keys: keys(), ..options(ClientCertificates::Required(authority())) };
    let (address, _stop, _) = rig.serve(options).await;
    assert_eq!(asks(&address, Some("client"), CALLS, "").await.unwrap().0, 401);
    assert_eq!(asks(&address, Some("client"), CALLS, KEY).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_websocket_is_opened_through_tls_by_a_certificate() {
    let rig = Rig::with_calls().await;
    let options = ServerOptions {
        certificates: rules(),
        keys: keys(),
        ..options(ClientCertificates::Required(authority()))
    };
    let (address, _stop, _) = rig.serve(options).await;
    let opened = async |payload: Value| {
        let stream = connected(&address, Some("client"), &["http/1.1"]).await.unwrap();
        let mut request = "wss://localhost/graphql".into_client_request().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let init = json!({"type": "connection_init", "payload": payload});
        socket.send(Message::text(init.to_string())).await.unwrap();
        let first = timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
        (socket, first)
    };
    let (mut socket, first) = opened(json!({})).await;
    assert_eq!(first, Message::text(json!({"type": "connection_ack"}).to_string()));
    let payload = json!({"query": "subscription { callsChanged(since: 0) { version } }"});
    let subscribe = json!({"type": "subscribe", "id": "s", "payload": payload});
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    rig.append("calls", vec![calls().slice(0, 1)]).await;
    for version in ["\"version\":1", "\"version\":2"] {
        let message = timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
        assert!(message.to_text().unwrap().contains(version), "{message}");
    }
    // A key in the first message counts before the certificate.
    let (_, first) = opened(json!({"authorization": "Bearer another"})).await;
    assert!(
        matches!(&first, Message::Close(Some(close)) if u16::from(close.code) == 4403),
        "{first}"
    );
}
