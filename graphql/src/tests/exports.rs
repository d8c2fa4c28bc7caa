//! Exports that are made by a mutation and taken over a real port: by who may see them, by links, and in parts.

use engine::{Claim, Grant, GrantSet, Grants, Mask, Principal, Role};
use serde_json::{Value, json};

use super::{Rig, who};
use crate::server::{ApiKey, ServerOptions};

const ABOUT: &str = "{ id state rows bytes expiresAt requestedBy manifest \
    files { name rows bytes sha256 path url } run { error { message } } }";

async fn made(rig: &Rig, of: &Principal, arguments: &str) -> Value {
    let query = format!("mutation {{ createExport({arguments}, wait: true) {ABOUT} }}");
    let answer = rig.ask_as(of, query.as_str()).await;
    assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
    let export = answer["data"]["createExport"].clone();
    assert_eq!(export["state"], "SUCCEEDED", "{export:#}");
    export
}

struct Http {
    address: String,
    client: reqwest::Client,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Http {
    async fn of(rig: &Rig) -> Self {
        Self::with(rig, ServerOptions::default()).await
    }

    async fn with(rig: &Rig, options: ServerOptions) -> Self {
        let (address, stop, _) = rig.serve(options).await;
        Self { address, client: reqwest::Client::new(), _stop: stop }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = self.client.get(format!("http://{}{path}", self.address));
        headers
            .iter()
            .fold(request, |r, (name, value)| r.header(*name, *value))
            .send()
            .await
            .unwrap()
    }

    async fn status(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.get(path, headers).await.status().as_u16()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_made_told_of_and_taken() {
    let rig = Rig::with_calls().await;
    let export = made(&rig, &who(), "dataset: \"calls\", format: CSV, columns: [\"id\"]").await;
    assert_eq!((&export["rows"], &export["requestedBy"]), (&json!("10"), &json!("local")));
    assert_eq!(export["manifest"]["datasets"], json!([{"dataset": "calls", "version": 1}]));
    assert!(export["expiresAt"].is_string());
    let http = Http::of(&rig).await;
    let file = &export["files"][0];
    for path in [text(&file["path"]), text(&file["url"])] {
        let answer = http.get(path, &[]).await;
        let headers = answer.headers().clone();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert_eq!(headers["content-type"], "text/csv");
        assert_eq!(headers["content-length"], text(&file["bytes"]));
        assert_eq!(headers["accept-ranges"], "bytes");
        assert_eq!(headers["content-disposition"], "attachment; filename=\"part-00000.csv\"");
        assert_eq!(headers["etag"], format!("\"{}\"", text(&file["sha256"])));
        let body = answer.text().await.unwrap();
        assert!(body.starts_with("id\nc0\n") && body.lines().count() == 11, "{body}");
        // A part of it, none where it is known, and what is beyond it.
        let tag = headers["etag"].to_str().unwrap().to_owned();
        let part = http.get(path, &[("range", "bytes=3-4"), ("if-range", &tag)]).await;
        assert_eq!(part.status().as_u16(), 206);
        assert_eq!(part.headers()["content-range"], format!("bytes 3-4/{}", text(&file["bytes"])));
        assert_eq!(part.text().await.unwrap(), "c0");
        assert_eq!(http.status(path, &[("if-none-match", &tag)]).await, 304);
        assert_eq!(http.status(path, &[("range", "bytes=9999-")]).await, 416);
        let other = http.get(path, &[("range", "bytes=3-4"), ("if-range", "\"other\"")]).await;
        assert_eq!(other.status().as_u16(), 200);
        let head = http.client.head(format!("http://{}{path}", http.address)).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], text(&file["bytes"]));
        assert!(head.bytes().await.unwrap().is_empty());
        assert_eq!(
            http.client
                .post(format!("http://{}{path}", http.address))
                .send()
                .await
                .unwrap()
                .status(),
            405
        );
    }
    let listed = rig.data(&format!("{{ exports(first: 5) {ABOUT} }}")).await;
    assert_eq!(listed["exports"][0]["files"][0]["sha256"], file["sha256"]);
    // It goes, and its links with it.
    let id = text(&export["id"]);
    rig.data(&format!("mutation {{ deleteExport(id: \"{id}\") {{ id files {{ name }} }} }}")).await;
    for path in [text(&file["path"]), text(&file["url"])] {
        assert_eq!(http.status(path, &[]).await, 404);
    }
    let gone =
        rig.data(&format!("{{ export(id: \"{id}\") {{ state rows files {{ name }} }} }}")).await;
    assert_eq!(gone["export"], json!({"state": "SUCCEEDED", "rows": null, "files": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_good_for_its_file_and_its_time_alone() {
    let rig = Rig::with_calls().await;
    let export = made(&rig, &who(), "dataset: \"calls\"").await;
    let other = made(&rig, &who(), "dataset: \"calls\", format: NDJSON").await;
    let http = Http::of(&rig).await;
    let file = &export["files"][0];
    let (path, query) = text(&file["url"]).split_once('?').unwrap();
    let other_path = text(&other["files"][0]["path"]);
    // One digit of the signature is another.
    let (said, last) = query.split_at(query.len() - 1);
    let other_query = format!("{said}{}", if last == "0" { "1" } else { "0" });
    for (path, status) in [
        (format!("{path}?{query}"), 200),
        (format!("{other_path}?{query}"), 404),
        (format!("{path}?{}", query.replace("expires=", "expires=1")), 404),
        (format!("{path}?{}", query.replace("tenant=default", "tenant=other")), 404),
        (format!("{path}?{other_query}"), 404),
        (format!("{path}?{query}&key=x"), 400),
        (format!("{path}?tenant=default"), 404),
        (
            path.replace(
                "part-00000.parquet",
                "..%2f..%2fcalls%2f_delta_log%2f00000000000000000000.json",
            ),
            404,
        ),
        (path.replace("part-00000.parquet", "_manifest.json"), 200),
        ("/v1/exports/x".to_owned(), 404),
        ("/v1/exports/x/y".to_owned(), 404),
    ] {
        let found = http.status(&path, &[]).await;
        assert_eq!(found, status, "{path}");
    }
    let query = format!("{{ export(id: {}) {{ files {{ url(expiresIn: 2) }} }} }}", export["id"]);
    let soon = rig.data(&query).await["export"]["files"][0]["url"].clone();
    let soon = text(&soon).to_owned();
    assert_eq!(http.status(&soon, &[]).await, 200);
    tokio::time::sleep(std::time::Duration::from_millis(3_100)).await;
    let late = http.get(&soon, &[]).await;
    assert_eq!(late.status().as_u16(), 403);
    assert!(late.text().await.unwrap().contains("the link expired at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_part_exports_and_takes_that_part() {
    let rig = Rig::with_calls().await;
    let part = |rows: &str, subject: &str| {
        let masks = [("model".to_owned(), Mask::Hash)].into();
        let grant = Grant { rows: Some(rows.to_owned()), masks };
        let salt = Some("sixteen letters or more".to_owned());
        let set = GrantSet { salt, datasets: [("calls".to_owned(), grant)].into() };
        let claims = [("team".to_owned(), Claim::Text("eu".to_owned()))].into();
        Principal {
            grants: Grants::limited(set, claims).unwrap(),
            roles: vec![Role::Reader],
            subject: subject.to_owned(),
            ..who()
        }
    };
    let (few, fewer) = (part("id IN ('c0', 'c1')", "few"), part("id = 'c0'", "fewer"));
    let whole = made(&rig, &who(), "dataset: \"calls\", format: NDJSON").await;
    let own = made(&rig, &few, "dataset: \"calls\", format: NDJSON").await;
    assert_eq!((&own["rows"], &own["manifest"]["is_part"]), (&json!("2"), &json!(true)));
    // The link shows what they see, whoever takes it.
    let http = Http::of(&rig).await;
    let lines = http.get(text(&own["files"][0]["url"]), &[]).await.text().await.unwrap();
    let masked: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((lines.lines().count(), text(&masked["model"]).len()), (2, 32), "{lines}");
    for (of, export, is_seen) in [
        (&few, &own, true),
        (&who(), &own, true),
        (&few, &whole, false),
        (&fewer, &own, false),
        (&Principal { tenant: "other".parse().unwrap(), ..who() }, &own, false),
    ] {
        let query =
            format!("{{ export(id: \"{}\") {{ rows files {{ url }} }} }}", text(&export["id"]));
        let answer = rig.ask_as(of, query.as_str()).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(code.is_null(), is_seen, "{of:?} {answer:#}");
        assert!(is_seen || code == "NOT_FOUND", "{answer:#}");
        let delete =
            format!("mutation {{ deleteExport(id: \"{}\") {{ id }} }}", text(&export["id"]));
        if !is_seen {
            let answer = rig.ask_as(of, delete.as_str()).await;
            assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND", "{answer:#}");
        }
    }
    // The same subject, which sees less by now, sees that there was one, and not what is in it.
    let narrowed = Principal { subject: "few".to_owned(), ..fewer.clone() };
    let query = format!(
        "{{ export(id: \"{}\") {{ state rows files {{ url }} run {{ summary stages {{ rowsOut }} inputs {{ rows }} }} }} }}",
        text(&own["id"])
    );
    let answer = rig.ask_as(&narrowed, query.as_str()).await;
    let run = json!({"summary": null, "stages": [], "inputs": [{"rows": null}]});
    let expected = json!({"state": "SUCCEEDED", "rows": null, "files": [], "run": run});
    assert_eq!(answer["data"]["export"], expected, "{answer:#}");
    let listed = rig.ask_as(&few, "{ exports { id } }").await;
    assert_eq!(listed["data"]["exports"], json!([{"id": own["id"]}]));
    // What a reader may not do with runs it may not do by this way.
    let answer = rig
        .ask_as(&few, "mutation { runJob(job: \"export\", params: {dataset: \"calls\"}) { id } }")
        .await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{answer:#}");
    let mine = format!("mutation {{ deleteExport(id: \"{}\") {{ id }} }}", text(&own["id"]));
    assert_eq!(rig.ask_as(&few, mine.as_str()).await["data"]["deleteExport"]["id"], own["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_callers_who_can_list_an_export_can_download_its_files() {
    let rig = Rig::with_calls().await;
    let grant = Grant { rows: Some("id = 'c0'".to_owned()), masks: [].into() };
    let set = GrantSet { salt: None, datasets: [("calls".to_owned(), grant)].into() };
    let part = Grants::limited(set, [].into()).unwrap();
    let key = |subject: &str, grants: &Grants| ApiKey {
        grants: grants.clone(),
        ..ApiKey::new(subject, who().tenant, subject, vec![Role::Reader])
    };
    let principal = |subject: &str| Principal {
        grants: part.clone(),
        ..Principal::new(who().tenant, subject, &[Role::Reader])
    };
    let keys = vec![key("one", &part), key("two", &part), key("whole", &Grants::all())];
    let http = Http::with(&rig, ServerOptions { keys, ..ServerOptions::default() }).await;
    let of_one = made(&rig, &principal("one"), "dataset: \"calls\", format: CSV").await;
    let whole = made(&rig, &who(), "dataset: \"calls\", format: CSV").await;
    for (subject, is_seen) in [("one", [true, false]), ("two", [false, false])] {
        let listed = rig.ask_as(&principal(subject), "{ exports { id } }").await;
        for (export, is_seen) in [&of_one, &whole].into_iter().zip(is_seen) {
            let ids = listed["data"]["exports"].as_array().unwrap();
            assert_eq!(ids.contains(&json!({"id": export["id"]})), is_seen, "{listed}");
            for file in [text(&export["files"][0]["path"]), &manifest(export)] {
                let status = http.status(file, &[("x-api-key", subject)]).await;
                assert_eq!(status, if is_seen { 200 } else { 404 }, "{subject} {file}");
            }
            // A link needs no key.
            assert_eq!(http.status(text(&export["files"][0]["url"]), &[]).await, 200);
        }
    }
    for export in [&of_one, &whole] {
        let path = text(&export["files"][0]["path"]);
        assert_eq!(http.status(path, &[("x-api-key", "whole")]).await, 200);
        assert_eq!(http.status(path, &[]).await, 401);
    }
}

fn manifest(export: &Value) -> String {
    format!("/v1/exports/{}/_manifest.json", text(&export["id"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_export_is_told() {
    let rig = Rig::with_calls().await;
    for (arguments, says) in [
        ("dataset: \"cals\"", "did you mean calls?"),
        ("dataset: \"calls\", sql: \"SELECT 1\"", "found both"),
        ("format: CSV", "expected a dataset, or a query"),
        ("dataset: \"calls\", keepDays: 0", "expected 1 to 3650"),
        ("sql: \"SELECT 1\", asOf: {version: 1}", "it goes with `dataset`"),
        ("dataset: \"calls\", asOf: {version: 9}", "9"),
        ("dataset: \"calls\", format: XLSX, packing: GZIP", "as they always are"),
    ] {
        let query = format!("mutation {{ createExport({arguments}, wait: true) {{ id }} }}");
        let answer = rig.ask(&query).await;
        let message = text(&answer["errors"][0]["message"]);
        assert!(message.contains(says), "{arguments}: {message}");
    }
    // What is seen only when it is read is told by the run.
    let query = "mutation { createExport(dataset: \"calls\", columns: [\"modl\"], wait: true) \
                 { state run { error { message } } files { name } } }";
    let answer = rig.data(query).await;
    let message = text(&answer["createExport"]["run"]["error"]["message"]);
    assert!(message.contains("did you mean model?"), "{message}");
    made(&rig, &who(), "dataset: \"calls\"").await;
    for (seconds, is_good) in [(0, false), (1, true), (604_800, true), (604_801, false)] {
        let query = format!("{{ exports(first: 1) {{ files {{ url(expiresIn: {seconds}) }} }} }}");
        let answer = rig.ask(&query).await;
        let message = answer["errors"][0]["message"].as_str().unwrap_or_default();
        assert_eq!(message.contains("expected 1 to 604800"), !is_good, "{answer:#}");
    }
}
