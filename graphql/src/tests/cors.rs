//! Pages of other origins, and packed answers, over a real port.

use std::io::Read as _;

use engine::{Role, TenantId};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;

use super::Rig;
use crate::server::{ApiKey, CorsOptions, ServerOptions};

const PAGE: &str = "https://app.example.org";

async fn asked(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, HeaderMap, Vec<u8>) {
    let mut request =
        reqwest::Client::new().request(method.clone(), format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if method == Method::POST {
        let body = json!({"query": "{ __schema { types { name description } } }"}).to_string();
        request = request.header("content-type", "application/json").body(body);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.bytes().await.unwrap().to_vec())
}

fn keys() -> Vec<ApiKey> {
    vec![ApiKey::new("a key of the test", TenantId::default(), "a", vec![Role::Reader])]
}

const KEY: (&str, &str) = ("authorization", "Bearer a key of the test");

#[tokio::test]
async fn a_page_that_is_listed_may_ask_and_others_may_not() {
    let rig = Rig::with_calls().await;
    let cors = CorsOptions::new(&[PAGE.to_owned()]).unwrap().with_credentials().unwrap();
    let options = ServerOptions { keys: keys(), cors: Some(cors), ..ServerOptions::default() };
    let (address, _stop, _) = rig.serve(options).await;
    let wish = ("access-control-request-method", "POST");
    let preflight = [("origin", PAGE), wish, ("access-control-request-headers", "authorization")];
    let (status, headers, _) = asked(&address, Method::OPTIONS, "/graphql", &preflight).await;
    assert_eq!(status, 204);
    assert_eq!(headers["access-control-allow-origin"], PAGE);
    assert_eq!(headers["access-control-allow-credentials"], "true");
    assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    let allowed = headers["access-control-allow-headers"].to_str().unwrap();
    assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");
    assert_eq!(headers["vary"], "origin");

    let other = [("origin", "https://app.example.org.evil"), wish];
    let (status, headers, body) = asked(&address, Method::OPTIONS, "/graphql", &other).await;
    assert_eq!((status, headers.get("access-control-allow-origin")), (403, None));
    let says = String::from_utf8(body).unwrap();
    assert!(says.contains("app.example.org.evil") && says.contains("server.cors"), "{says}");

    let (status, headers, _) =
        asked(&address, Method::POST, "/graphql", &[KEY, ("origin", PAGE)]).await;
    assert_eq!((status, &headers["access-control-allow-origin"]), (200, &PAGE.parse().unwrap()));
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("x-request-id"));
    // The page sees why it is refused, and one that is not listed sees nothing. The server's own need not be.
    let (status, headers, _) = asked(&address, Method::POST, "/graphql", &[("origin", PAGE)]).await;
    assert_eq!((status, &headers["access-control-allow-origin"]), (401, &PAGE.parse().unwrap()));
    let own = format!("http://{address}");
    for origin in ["https://evil.example", own.as_str()] {
        let (status, headers, _) =
            asked(&address, Method::POST, "/graphql", &[KEY, ("origin", origin)]).await;
        assert_eq!((status, headers.get("access-control-allow-origin")), (200, None), "{origin}");
        let vary: Vec<_> = headers.get_all("vary").iter().collect();
        assert!(vary.contains(&&"origin".parse().unwrap()), "{vary:?}");
    }
}

#[tokio::test]
async fn anybodys_pages_may_ask_without_credentials_and_none_by_default() {
    let rig = Rig::with_calls().await;
    let cors = Some(CorsOptions::new(&["*".to_owned()]).unwrap());
    let (address, _stop, _) =
        rig.serve(ServerOptions { keys: keys(), cors, ..ServerOptions::default() }).await;
    let page = [KEY, ("origin", PAGE)];
    let (_, headers, _) = asked(&address, Method::POST, "/graphql", &page).await;
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let (address, _stop, _) =
        rig.serve(ServerOptions { keys: keys(), ..ServerOptions::default() }).await;
    let wish = [("origin", PAGE), ("access-control-request-method", "POST"), KEY];
    let (status, headers, _) = asked(&address, Method::OPTIONS, "/graphql", &wish).await;
    assert_eq!((status, headers.get("access-control-allow-origin")), (405, None));
    let (status, headers, _) = asked(&address, Method::POST, "/graphql", &page).await;
    assert_eq!((status, headers.get("access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn a_page_that_is_listed_is_not_the_local_user() {
    let rig = Rig::with_calls().await;
    let cors = Some(CorsOptions::new(&[PAGE.to_owned()]).unwrap());
    let (address, _stop, _) = rig.serve(ServerOptions { cors, ..ServerOptions::default() }).await;
    let (status, ..) = asked(&address, Method::POST, "/graphql", &[("origin", PAGE)]).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn answers_are_packed_for_those_who_can_read_them_so() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let (_, _, whole) = asked(&address, Method::POST, "/graphql", &[]).await;
    assert!(whole.len() > 10_000, "{}", whole.len());
    for coding in ["zstd", "br", "gzip"] {
        let asks = [("accept-encoding", coding)];
        let (status, headers, bytes) = asked(&address, Method::POST, "/graphql", &asks).await;
        assert_eq!((status, &headers["content-encoding"]), (200, &coding.parse().unwrap()));
        assert!(headers.get_all("vary").iter().any(|it| it == "accept-encoding"), "{headers:?}");
        assert!(bytes.len() < whole.len() / 2, "{coding}: {} of {}", bytes.len(), whole.len());
        let mut unpacked = Vec::new();
        match coding {
            "zstd" => unpacked = zstd::decode_all(bytes.as_slice()).unwrap(),
            "br" => drop(
                brotli::Decompressor::new(bytes.as_slice(), 4_096)
                    .read_to_end(&mut unpacked)
                    .unwrap(),
            ),
            _ => drop(
                flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).unwrap(),
            ),
        }
        assert!(unpacked == whole, "{coding}");
    }
    let (_, headers, short) =
        asked(&address, Method::GET, "/healthz", &[("accept-encoding", "gzip")]).await;
    assert_eq!((headers.get("content-encoding"), short.as_slice()), (None, &b"ok\n"[..]));
    let file = "/explorer/graphiql.min.js";
    let (_, headers, _) = asked(&address, Method::GET, file, &[("accept-encoding", "br")]).await;
    assert_eq!(headers["content-encoding"], "br");
    let (_, headers, _) = asked(&address, Method::HEAD, file, &[("accept-encoding", "br")]).await;
    assert!(!headers.contains_key("content-encoding"));
}
