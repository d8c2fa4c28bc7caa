//! `POST /v1/sql`, over a real port.

use arrow::ipc::reader::StreamReader;
use engine::{Grant, GrantSet, Grants, Mask, Principal, Role};
use serde_json::{Value, json};

use super::{Rig, who};
use crate::server::{ApiKey, ServerOptions};
use crate::service::sql::{Encoded, SqlRequest};

const ARROW: &str = "application/vnd.apache.arrow.stream";

async fn ask(address: &str, accept: &str, body: Value) -> reqwest::Response {
    let client = reqwest::Client::new();
    let request = client.post(format!("http://{address}/v1/sql")).header("accept", accept);
    let request = request.header("content-type", "application/json");
    request.body(body.to_string()).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_answered_in_the_form_that_is_liked_best() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let sql = "SELECT id, latency_ms FROM calls WHERE id < $to ORDER BY id";
    let body = json!({"sql": sql, "parameters": {"to": "c3"}, "asOf": {"calls": 1}});
    for (accept, content_type, expected) in [
        ("text/csv", "text/csv; charset=utf-8; header=present", "id,latency_ms\nc0,"),
        ("application/x-ndjson", "application/x-ndjson", "{\"id\":\"c0\","),
        ("application/json", "application/json", "[{\"id\":\"c0\","),
        ("*/*", "application/json", "[{\"id\":\"c0\","),
    ] {
        let answer = ask(&address, accept, body.clone()).await;
        assert_eq!(answer.status(), 200, "{accept}");
        assert_eq!(answer.headers()["content-type"], content_type);
        assert_eq!(answer.headers()["x-colonnade-versions"], "{\"calls\":1}");
        let text = answer.text().await.unwrap();
        assert!(text.starts_with(expected), "{text}");
    }
    let bytes = ask(&address, ARROW, body).await.bytes().await.unwrap();
    let reader = StreamReader::try_new(&bytes[..], None).unwrap();
    assert_eq!(reader.schema().metadata()["colonnade.versions"], "{\"calls\":1}");
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_query_is_told() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    for (body, status, says) in [
        (json!({"sql": "SELECT modl FROM calls"}), 400, "modl"),
        (json!({"sql": "SELECT 1 FROM cals"}), 404, "did you mean calls?"),
        (json!({"sql": "DELETE FROM calls"}), 400, "SELECT"),
        (json!({"sql": "SELECT * FROM 'secret.parquet'"}), 404, "secret.parquet"),
        (json!({"sql": "COPY calls TO 'x.csv'"}), 400, "COPY"),
        (json!({"sql": "EXPLAIN ANALYZE SELECT id FROM calls"}), 400, "EXPLAIN"),
        (json!({"sql": "/* a */ EXPLAIN SELECT id FROM calls"}), 400, "EXPLAIN"),
        (json!({"sql": "SHOW ALL"}), 400, "SHOW"),
        (json!({"sql": "SELECT * FROM information_schema.df_settings"}), 400, "information_schema"),
        (
            json!({"sql": "SELECT (SELECT count(*) FROM information_schema.tables) AS n"}),
            400,
            "information_schema",
        ),
        (json!({"sql": "SELECT $a AS b", "parameters": {"c": 1}}), 400, "$a"),
        (json!({"sql": "SELECT 1", "parameters": {"a": [1]}}), 400, "parameters.a"),
        (json!({"sql": "SELECT 1 AS a FROM calls", "asOf": {"calls": 9}}), 404, "9"),
        (json!({"sql": "SELECT 1", "asOf": {"calls": "soon"}}), 400, "asOf.calls"),
        (
            json!({"sql": "SELECT arrow_cast(9223372036854775807, 'Timestamp(Second, None)')"}),
            400,
            "9223372036854775807",
        ),
        (
            json!({"sql": "SELECT [arrow_cast(9223372036854775807, 'Date64')]"}),
            400,
            "9223372036854775807",
        ),
        (
            json!({"sql": "SELECT arrow_cast(9223372036854775807, 'Duration(Second)')"}),
            400,
            "duration",
        ),
        (json!({"query": "SELECT 1"}), 400, "query"),
        (json!([]), 400, "expected"),
    ] {
        let answer = ask(&address, "text/csv", body.clone()).await;
        let (found, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(found == status && text.contains(says), "{body}: {found} {text}");
    }
    let answer = ask(&address, "image/png", json!({"sql": "SELECT 1"})).await;
    assert_eq!(answer.status(), 400);
    let get = reqwest::get(format!("http://{address}/v1/sql")).await.unwrap();
    assert_eq!(get.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_part_asks_that_part() {
    let rig = Rig::with_calls().await;
    rig.append("calls", vec![super::calls()]).await;
    let masks = [("model".to_owned(), Mask::Hide)].into();
    let grant = Grant { rows: Some("id < 'c2'".to_owned()), masks };
    let set = GrantSet { salt: None, datasets: [("calls".to_owned(), grant)].into() };
    let part = Principal {
        grants: Grants::limited(set, [].into()).unwrap(),
        roles: vec![Role::Reader],
        ..who()
    };
    let request =
        |sql: &str| SqlRequest { sql: sql.to_owned(), parameters: [].into(), pins: Vec::new() };
    let csv = engine::ExportOptions::of(engine::Form::Csv);
    let text = async |sql: &str| {
        let options = csv.clone();
        let encode = move |about: &_, session: &_| Encoded::new(about, session, &options);
        let mut rows = {
            let request = request(sql);
            rig.service.sql(&part, || Ok(request), usize::MAX, encode)
        }
        .await?;
        let mut text = Vec::new();
        while let Some(piece) = rows.pieces.next().await? {
            text.extend_from_slice(&piece);
        }
        Ok::<_, engine::Error>(String::from_utf8(text).unwrap())
    };
    assert_eq!(
        text("SELECT count(*) AS n, max(id) AS last FROM calls").await.unwrap(),
        "n,last\n4,c1\n"
    );
    assert!(text("SELECT model FROM calls").await.is_err());
    assert!(text("SELECT * FROM audit").await.is_err());
    // Nobody comes in without a key where there are keys.
    let keys = vec![ApiKey {
        secret_sha256: [7; 32],
        tenant: who().tenant,
        subject: "reader".to_owned(),
        roles: vec![Role::Reader],
        grants: Grants::all(),
    }];
    let (address, _stop, _) = rig.serve(ServerOptions { keys, ..ServerOptions::default() }).await;
    let answer = ask(&address, "text/csv", json!({"sql": "SELECT 1"})).await;
    assert_eq!(answer.status(), 401);
}
