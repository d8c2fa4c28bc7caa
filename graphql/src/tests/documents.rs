//! Documents by their ids, and answers that a client has already, over a real port.

use serde_json::{Value, json};

use super::Rig;
use super::http::{JSON, client};
use crate::server::ServerOptions;
use crate::trusted::TrustedDocuments;

const COUNT: &str = "query Count($id: ID!) { calls(where: {id: {eq: $id}}) { totalCount } }";

fn options(only: bool) -> ServerOptions {
    let manifest = json!({"count": COUNT, "two": "{ a: __typename b: __typename }"}).to_string();
    let documents = TrustedDocuments::read(&manifest, "documents.json", only).unwrap();
    ServerOptions { documents, ..ServerOptions::default() }
}

#[tokio::test]
async fn a_document_is_asked_for_by_its_id() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, options(true)).await;
    let one = json!({"data": {"calls": {"totalCount": "1"}}});
    let body = json!({"documentId": "count", "variables": {"id": "c1"}}).to_string();
    let (status, _, answer) = client.post("/graphql", &[JSON], body).await;
    assert_eq!((status, &answer["data"]), (200, &one["data"]), "{answer}");
    let path = "/graphql?documentId=count&variables=%7B%22id%22%3A%22c1%22%7D";
    let (status, _, answer) = client.get(path, &[]).await;
    assert_eq!((status, &answer["data"]), (200, &one["data"]), "{answer}");
    const NEW: (&str, &str) = ("accept", "application/graphql-response+json");
    for (body, status, code) in [
        (json!({"documentId": "other"}), 404, "NOT_FOUND"),
        (json!({"query": "{ calls { totalCount } }"}), 403, "FORBIDDEN"),
        (json!({"query": "{ __schema { queryType { name } } }"}), 403, "FORBIDDEN"),
        (json!({}), 400, "BAD_INPUT"),
        (json!({"documentId": 7}), 400, "BAD_INPUT"),
    ] {
        let (found, _, answer) = client.post("/graphql", &[JSON, NEW], body.to_string()).await;
        let error = &answer["errors"][0]["extensions"]["code"];
        assert_eq!((found, error), (status, &Value::from(code)), "{body}\n{answer}");
    }
}

#[tokio::test]
async fn a_get_is_answered_in_short_where_the_client_has_the_answer() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, options(false)).await;
    let path = "/graphql?query=%7Bcalls%7BtotalCount%7D%7D";
    let (status, headers, answer) = client.get(path, &[]).await;
    assert_eq!((status, &answer["data"]["calls"]["totalCount"]), (200, &json!("10")));
    let tag = headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(headers["cache-control"], "private, no-cache");
    let strong = tag.trim_start_matches("W/").to_owned();
    for known in [tag.clone(), strong, format!("\"other\", {tag}"), "*".to_owned()] {
        let (status, headers, body) = client.get(path, &[("if-none-match", &known)]).await;
        assert_eq!((status, body), (304, json!("")), "{known}");
        assert_eq!(headers["etag"], tag.as_str());
    }
    // Another form is another answer, and so is that of another version.
    let form = ("accept", "application/graphql-response+json");
    assert_eq!(client.get(path, &[form, ("if-none-match", &tag)]).await.0, 200);
    rig.append("calls", vec![super::calls().slice(0, 1)]).await;
    let (status, headers, answer) = client.get(path, &[("if-none-match", &tag)]).await;
    assert_eq!((status, &answer["data"]["calls"]["totalCount"]), (200, &json!("11")));
    assert_ne!(headers["etag"], tag.as_str());
    // Errors have none, and neither has what was posted.
    let (_, headers, _) = client.get("/graphql?query=%7Bnothing%7D", &[]).await;
    assert!(!headers.contains_key("etag"));
    let body = json!({"query": "{ calls { totalCount } }"}).to_string();
    let (status, headers, _) = client.post("/graphql", &[JSON, ("if-none-match", "*")], body).await;
    assert!(status == 200 && !headers.contains_key("etag"));
}
