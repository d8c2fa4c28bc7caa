//! Answers that are rows alone: CSV, lines of JSON and Arrow, as their clients read them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use async_graphql::Request;
use datasets::DatasetSpec;
use engine::{Claim, ExportOptions, Form, GrantSet, Grants, NestedAs, Principal};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Rig, calls, cast_to, document, nested, who};
use crate::limits::Limits;
use crate::rows::AboutRows;
use crate::server::{Patience, ServerOptions};
use crate::service::Accepts;

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// The rows that `who` is given in one form, or the answer that says what is wrong.
async fn rows_as(
    rig: &Rig,
    who: &Principal,
    query: &str,
    form: Form,
) -> Result<(AboutRows, Vec<u8>), Value> {
    let mut options = ExportOptions::of(form);
    options.csv.nested = NestedAs::Columns;
    let request = Request::new(query);
    let rows = rig.service.rows(who, request, "id", Accepts::Single, options).await;
    let mut rows = rows.map_err(|answer| document(&answer))?;
    let mut bytes = Vec::new();
    while let Some(piece) = rows.pieces.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    Ok((rows.about.clone(), bytes))
}

async fn text(rig: &Rig, query: &str, form: Form) -> String {
    let (_, bytes) = rows_as(rig, &who(), query, form).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Rows as JSON, a line of the answer each, and what is told beside them.
pub(super) async fn lines(rig: &Rig, query: &str) -> (AboutRows, Vec<Value>) {
    let (about, bytes) = rows_as(rig, &who(), query, Form::Ndjson).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), about.rows);
    (about, lines)
}

fn batch_of(bytes: &[u8]) -> RecordBatch {
    let reader = StreamReader::try_new(bytes, None).unwrap();
    let schema = reader.schema();
    let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

async fn ask(
    address: &str,
    accept: &str,
    query: &str,
) -> (StatusCode, HeaderMap, reqwest::Result<bytes::Bytes>) {
    let request = reqwest::Client::new()
        .post(format!("http://{address}/graphql"))
        .header("accept", accept)
        .header("content-type", "application/json")
        .body(json!({ "query": query }).to_string());
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone(), response.bytes().await)
}

const ALL: &str = "{ calls(first: 3) { nodes { id when: at model inputTokens retries latencyMs cost day isOk \
                   payload digest tags embedding } } }";

#[tokio::test]
async fn columns_of_all_types_are_read_back_from_arrow_under_their_aliases() {
    let rig = Rig::with_calls().await;
    let (about, bytes) = rows_as(&rig, &who(), ALL, Form::ArrowStream).await.unwrap();
    assert_eq!((about.rows, about.has_next, about.version.0), (3, true, 1));
    let read = batch_of(&bytes);
    let schema = read.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let expected = [
        "id",
        "when",
        "model",
        "inputTokens",
        "retries",
        "latencyMs",
        "cost",
        "day",
        "isOk",
        "payload",
        "digest",
        "tags",
        "embedding",
    ];
    assert_eq!(names, expected);
    let told = |name: &str| schema.metadata().get(name).cloned();
    assert_eq!(told("colonnade.version").as_deref(), Some("1"));
    assert_eq!(told("colonnade.has_next_page").as_deref(), Some("true"));
    assert_eq!(told("colonnade.end_cursor"), about.end_cursor);
    // Every value as it was written, a NaN and a number beyond doubles among them.
    for (at, column) in calls().columns().iter().enumerate() {
        assert_eq!(read.column(at), &column.slice(0, 3), "{}", names[at]);
    }
    assert!(read.column(5).as_primitive::<Float64Type>().value(1).is_nan());
}

#[tokio::test]
async fn rows_are_lines_of_csv_and_of_json() {
    let rig = Rig::with_calls().await;
    let expected = "id,when,model,inputTokens,retries,latencyMs,cost,day,isOk,payload,digest,tags,embedding\n\
        c0,2026-01-01T00:00:00Z,alpha,10,0,1.5,0.000000,2026-01-01,true,\"{\"\"a\"\":1}\",AP8=,\"[\"\"x\"\",\"\"y, z\"\"]\",\"[0.0,1.0]\"\n\
        c1,2026-01-01T01:00:00.000001Z,beta,20,1,NaN,,2026-01-01,false,\"[1,2]\",Af8=,[],\n\
        c2,2026-01-01T02:00:00.000002Z,,9007199254740993,2,3.25,2.000002,2026-01-01,true,,Av8=,,\"[0.2,1.0]\"\n";
    assert_eq!(text(&rig, ALL, Form::Csv).await, expected);
    let (about, lines) = lines(&rig, ALL).await;
    assert_eq!(about.rows, 3);
    assert_eq!(
        lines[1],
        json!({
            "id": "c1", "when": "2026-01-01T01:00:00.000001Z", "model": "beta", "inputTokens": 20,
            "retries": 1, "latencyMs": "NaN", "cost": null, "day": "2026-01-01", "isOk": false,
            "payload": [1, 2], "digest": "Af8=", "tags": [], "embedding": null,
        })
    );
    let nothing = "{ calls(where: {id: {eq: \"none\"}}) { nodes { id } } }";
    assert_eq!(text(&rig, nothing, Form::Csv).await, "id\n");
    assert_eq!(text(&rig, nothing, Form::Ndjson).await, "");
    let (about, bytes) = rows_as(&rig, &who(), nothing, Form::ArrowStream).await.unwrap();
    assert_eq!((about.rows, about.has_next, about.end_cursor), (0, false, None));
    assert_eq!(batch_of(&bytes).num_rows(), 0);
    let none = "{ calls(first: 0) { nodes { id } } }";
    let (about, _) = rows_as(&rig, &who(), none, Form::Csv).await.unwrap();
    assert_eq!((about.rows, about.has_next, about.end_cursor), (0, true, None));
}

#[tokio::test]
async fn parts_are_structures_in_arrow_and_columns_in_csv() {
    let rig = nested::rig().await;
    let query = "{ orders(orderBy: [{id: ASC}]) { nodes { n: id address { town: city geo { lat } } address { tags } \
                 items { sku made { at } } sizes { value } grid ...P } } } \
                 fragment P on OrdersRow { payload n: id }";
    let csv = text(&rig, query, Form::Csv).await;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "n,address.town,address.geo.lat,address.tags,items,sizes,grid,payload");
    assert!(
        lines[1].starts_with(
            "1,Bonn,50.5,\"[\"\"a\"\",null]\",\"[{\"\"sku\"\":\"\"x\"\",\"\"made\"\":{\"\"at\"\":\"\"2026-01-01\"\"}},\
             {\"\"sku\"\":\"\"y\"\",\"\"made\"\":null}]\",\
             \"[{\"\"value\"\":1},{\"\"value\"\":9007199254740993}]\",\"[[1,null],null,[]]\","
        ),
        "{}",
        lines[1]
    );
    assert_eq!(lines[4], "4,,,,,,,");
    let (_, bytes) = rows_as(&rig, &who(), query, Form::ArrowStream).await.unwrap();
    let read = batch_of(&bytes);
    let address = read.column_by_name("address").unwrap().as_struct();
    assert_eq!(address.column_names(), ["town", "geo", "tags"]);
    assert_eq!(address.column(0).as_string::<i32>().value(1), "Ulm");
    assert!(address.is_null(3) && address.is_valid(2) && address.column(1).is_null(2));
    let items = read.column_by_name("items").unwrap().as_list::<i32>();
    let made = items.value(0).as_struct().column_by_name("made").unwrap().clone();
    assert_eq!(made.as_struct().column(0).data_type(), &DataType::Date32);
    let sizes = read.column_by_name("sizes").unwrap().as_list::<i32>().value(0);
    let sizes = sizes.as_struct().column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(sizes, [1, 9_007_199_254_740_993]);
}

#[tokio::test]
async fn groups_and_combinations_are_rows_too() {
    let rig = Rig::with_calls().await;
    let query = "{ callsGroups(groupBy: [MODEL], where: {model: {in: [\"alpha\", \"beta\"]}}, totals: ALL) { nodes { \
                 model n: count ok: count(where: {isOk: {eq: true}}) sum { inputTokens all: cost } isTotal grouping } } }";
    assert_eq!(
        text(&rig, query, Form::Csv).await,
        "model,n,ok,sum.inputTokens,sum.all,isTotal,grouping\n\
         alpha,3,2,80,9.000009,false,\"[\"\"MODEL\"\"]\"\n\
         beta,2,0,80,5.000005,false,\"[\"\"MODEL\"\"]\"\n\
         ,5,2,160,14.000014,true,[]\n"
    );
    let (about, bytes) = rows_as(&rig, &who(), query, Form::ArrowStream).await.unwrap();
    assert_eq!((about.rows, about.has_next, about.end_cursor), (3, false, None));
    let sums = batch_of(&bytes).column_by_name("sum").unwrap().clone();
    assert!(matches!(sums.as_struct().column(1).data_type(), DataType::Decimal128(_, 6)));
    let query = "{ callsGroups(every: {width: \"4h\", fill: ZERO}, first: 2) { nodes { at count isFilled isOther change { count } } } }";
    let (about, groups) = lines(&rig, query).await;
    assert!(about.has_next);
    assert_eq!(
        groups,
        [
            json!({"at": "2026-01-01T00:00:00Z", "count": 4, "isFilled": false, "isOther": false, "change": null}),
            json!({"at": "2026-01-01T04:00:00Z", "count": 4, "isFilled": false, "isOther": false, "change": {"count": 0}}),
        ]
    );
    let distinct = |after: &str| {
        format!("{{ callsDistinct(columns: [MODEL], first: 2{after}) {{ nodes {{ model }} }} }}")
    };
    let (about, _) = lines(&rig, &distinct("")).await;
    let after = format!(", after: \"{}\"", about.end_cursor.unwrap());
    assert_eq!(text(&rig, &distinct(&after), Form::Csv).await, "model\nalpha\nbeta\n");
}

#[tokio::test]
async fn a_page_of_rows_goes_on_where_one_of_json_ended_and_back() {
    let rig = Rig::with_calls().await;
    let query = |after: &str| {
        format!(
            "{{ calls(orderBy: [{{model: DESC}}], first: 3{after}) {{ nodes {{ id }} PAGE }} }}"
        )
    };
    let json_of = |query: String| query.replace("PAGE", "pageInfo { endCursor }");
    let first = rig.data(&json_of(query(""))).await["calls"].clone();
    let after = format!(", after: {}", first["pageInfo"]["endCursor"]);
    // What is committed meanwhile is not of the version that is gone through.
    rig.append("calls", vec![calls().slice(0, 2)]).await;
    let (about, second) = lines(&rig, &query(&after).replace("PAGE", "")).await;
    assert_eq!((about.version.0, about.has_next), (1, true));
    let after = format!(", after: \"{}\"", about.end_cursor.unwrap());
    let third = rig.data(&json_of(query(&after))).await["calls"].clone();
    let (about, third_lines) = lines(&rig, &query(&after).replace("PAGE", "")).await;
    assert_eq!(json!(third_lines), third["nodes"]);
    let after = format!(", after: \"{}\"", about.end_cursor.unwrap());
    let (about, fourth) = lines(&rig, &query(&after).replace("PAGE", "")).await;
    assert!(!about.has_next);
    let all = [first["nodes"].as_array().unwrap().clone(), second, third_lines, fourth].concat();
    let ids: Vec<&str> = all.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["c9", "c1", "c5", "c0", "c3", "c6", "c4", "c7", "c2", "c8"]);
}

#[tokio::test]
async fn grants_and_masks_hold_in_every_form() {
    let rig = Rig::with_calls().await;
    let set = json!({"salt": "0123456789abcdef", "datasets": {"calls": {
        "rows": "model = claim.team", "masks": {"id": "hash", "input_tokens": "bucket 50", "payload": "hide"}
    }}});
    let set: GrantSet = serde_json::from_value(set).unwrap();
    let claims = [("team".to_owned(), Claim::Text("alpha".to_owned()))].into();
    let me = Principal { grants: Grants::limited(set, claims).unwrap(), ..who() };
    let query = "{ calls(first: 100, orderBy: [{at: ASC}]) { nodes { id model inputTokens } } }";
    let (about, bytes) = rows_as(&rig, &me, query, Form::Csv).await.unwrap();
    assert_eq!((about.rows, about.has_next), (3, false));
    let csv = String::from_utf8(bytes).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.len(), 3);
    for row in &rows {
        assert_eq!((row[0].len(), row[1]), (32, "alpha"), "{csv}");
        assert!(row[2].is_empty() || row[2].parse::<i64>().unwrap() % 50 == 0, "{csv}");
    }
    let (_, bytes) = rows_as(&rig, &me, query, Form::ArrowStream).await.unwrap();
    let read = batch_of(&bytes);
    let hashes: Vec<&str> = read.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(hashes, rows.iter().map(|row| row[0]).collect::<Vec<_>>());
    let groups = "{ callsGroups(groupBy: [MODEL]) { nodes { model count } } }";
    let (_, bytes) = rows_as(&rig, &me, groups, Form::Csv).await.unwrap();
    assert_eq!(bytes, b"model,count\nalpha,3\n");
    let hidden = "{ calls { nodes { payload } } }";
    let answer = rows_as(&rig, &me, hidden, Form::Csv).await.unwrap_err();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{answer}");
    let other: GrantSet = serde_json::from_value(json!({"datasets": {"other": {}}})).unwrap();
    let nobody = Principal { grants: Grants::limited(other, Default::default()).unwrap(), ..who() };
    let hidden = rows_as(&rig, &nobody, query, Form::Csv).await.unwrap_err();
    let missing = rows_as(&rig, &nobody, &query.replace("calls", "cells"), Form::Csv).await;
    let told = |answer: Value| answer.to_string().replace("cells", "calls");
    assert_eq!(told(hidden), told(missing.unwrap_err()));
}

#[tokio::test]
async fn what_is_no_rows_is_told_with_what_would_be() {
    let rig = Rig::with_calls().await;
    let cases = [
        ("{ calls { nodes { id } } callsGroups { nodes { count } } }", "2 fields at the root"),
        (
            "{ runs { id } }",
            "the field runs: in text/csv one field of a dataset is answered; expected",
        ),
        ("{ __typename }", "the field __typename"),
        ("subscription { callsChanged { version } }", "Accept: text/event-stream"),
        ("mutation { dropDataset(name: \"calls\") { name } }", "a mutation"),
        ("{ calls { totalCount nodes { id } } }", "calls.totalCount: rows alone are answered"),
        ("{ calls { pageInfo { endCursor } nodes { id } } }", "calls.pageInfo: rows alone"),
        ("{ calls { edges { node { id } } } }", "calls.edges: rows alone"),
        ("{ callsGroups { hasMore nodes { count } } }", "callsGroups.hasMore: rows alone"),
        ("{ callsDistinct(columns: [MODEL]) { totalCount } }", "callsDistinct.totalCount"),
        ("{ calls { nodes { id __typename } } }", "calls.nodes.__typename: columns alone"),
        (
            "{ calls { nodes { nodeId } } }",
            "calls.nodes.nodeId: ids of rows are answered as JSON only",
        ),
        (
            "{ callsGroups { nodes { count __typename } } }",
            "callsGroups.nodes.__typename: expected",
        ),
        ("{ calls(last: 2) { nodes { id } } }", "expected `first` and `after`"),
        ("{ calls(first: -1) { nodes { id } } }", "first: expected a number of rows"),
        ("{ calls { nodes { nothing } } }", "nothing"),
        ("{ calls(where: {model: {regex: \"(\"}}) { nodes { id } } }", "regex"),
        ("{ calls {", "expected"),
    ];
    for (query, says) in cases {
        let answer = rows_as(&rig, &who(), query, Form::Csv).await.unwrap_err();
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(says), "{query}: {message:?} does not say {says:?}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{query}");
    }
    assert_eq!(rig.data("{ calls { version } }").await["calls"]["version"], 1);
}

#[tokio::test]
async fn headers_and_statuses_say_what_csv_has_no_place_for() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let query = "{ calls(first: 2) { nodes { id } } }";
    let (status, headers, body) = ask(&address, "text/csv, application/json;q=0.5", query).await;
    assert_eq!((status.as_u16(), &body.unwrap()[..]), (200, &b"id\nc0\nc1\n"[..]));
    let told = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(told("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(told("x-colonnade-dataset"), "calls");
    assert_eq!(told("x-colonnade-version"), "1");
    assert_eq!(told("x-colonnade-rows"), "2");
    assert_eq!(told("x-colonnade-has-next-page"), "true");
    let next = format!(
        "{{ calls(first: 9, after: \"{}\") {{ nodes {{ id }} }} }}",
        told("x-colonnade-end-cursor")
    );
    let (_, headers, body) = ask(&address, "text/csv;header=absent", &next).await;
    assert_eq!(&body.unwrap()[..], b"c2\nc3\nc4\nc5\nc6\nc7\nc8\nc9\n");
    assert_eq!(headers["x-colonnade-has-next-page"], "false");
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8; header=absent");
    let (_, headers, body) = ask(&address, ARROW, query).await;
    assert_eq!(headers["content-type"], ARROW);
    assert_eq!(batch_of(&body.unwrap()).num_rows(), 2);
    let (_, headers, body) = ask(&address, "application/x-ndjson", query).await;
    assert_eq!(headers["content-type"], "application/x-ndjson");
    assert_eq!(&body.unwrap()[..], b"{\"id\":\"c0\"}\n{\"id\":\"c1\"}\n");
    // Who likes JSON as well as rows has JSON, and everything in it.
    let (_, headers, _) = ask(&address, "application/json, text/csv", query).await;
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    for (accept, query, status, code) in [
        ("text/csv", "{ calls { totalCount } }", 400, "BAD_INPUT"),
        ("text/csv", "{ calls { nothing } }", 400, "BAD_INPUT"),
        ("text/csv", "{ calls(first: 1000001) { nodes { id } } }", 413, "LIMIT_EXCEEDED"),
        ("text/csv", "{ calls(asOf: {version: 99}) { nodes { id } } }", 404, "NOT_FOUND"),
        ("text/csv;formulas=no", query, 400, "BAD_INPUT"),
        ("application/vnd.apache.parquet", query, 406, "BAD_INPUT"),
    ] {
        let (found, headers, body) = ask(&address, accept, query).await;
        let answer: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(found.as_u16(), status, "{query}: {answer}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
        assert!(headers["content-type"].to_str().unwrap().contains("json"));
    }
    // By GET it is a link.
    let link = format!("http://{address}/graphql");
    let get = |query: &'static str| {
        reqwest::Client::new().get(&link).header("accept", "text/csv").query(&[("query", query)])
    };
    let answer = get("{ callsGroups { nodes { count } } }").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "count\n10\n");
    let refused = get("mutation { dropDataset(name: \"calls\") { name } }").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 405);
}

/// A dataset of so many rows, each of which has a long text.
async fn long_rows(limits: &Limits, rows: usize) -> Rig {
    let rig = Rig::with_limits(limits.clone()).await;
    let spec = "name = \"long\"\nkey = [\"id\"]\ncolumns = [{name = \"id\", type = \"text\"}, {name = \"body\", type = \"text\"}]";
    let spec = DatasetSpec::from_toml(spec, "long").unwrap();
    let schema = spec.arrow_schema();
    rig.create(spec).await;
    let ids: Vec<String> = (0..rows).map(|row| format!("{row:06}")).collect();
    let bodies: Vec<String> = ids.iter().map(|id| format!("={id}").repeat(80)).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(ids)), Arc::new(StringArray::from(bodies))];
    rig.append("long", vec![cast_to(&schema, columns)]).await;
    rig
}

#[tokio::test]
async fn a_long_page_comes_in_pieces_and_is_longer_than_one_of_json() {
    let rig = long_rows(&Limits::default(), 5_000).await;
    let query = "{ long(first: 5000) { nodes { body id } } }";
    let refused = rig.ask(query).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "LIMIT_EXCEEDED");
    let options = ExportOptions::of(Form::Csv);
    let request = Request::new(query);
    let rows = rig.service.rows(&who(), request, "id", Accepts::Single, options).await;
    let mut rows = rows.map_err(|answer| document(&answer)).unwrap();
    let (mut pieces, mut longest, mut bytes) = (0, 0, Vec::new());
    while let Some(piece) = rows.pieces.next().await.unwrap() {
        (pieces, longest) = (pieces + 1, longest.max(piece.len()));
        bytes.extend_from_slice(&piece);
    }
    assert!(pieces >= 3 && longest < 4 << 20, "{pieces} pieces, one of {longest} bytes");
    let text = String::from_utf8(bytes).unwrap();
    let ids = text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap());
    assert!(ids.eq((0..5_000).map(|row| format!("{row:06}"))));
    let (_, arrow) = rows_as(&rig, &who(), query, Form::ArrowStream).await.unwrap();
    assert_eq!(batch_of(&arrow).num_rows(), 5_000);
    let formulas = "text/csv;formulas=escaped";
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let (_, _, body) = ask(&address, formulas, "{ long(first: 1) { nodes { body } } }").await;
    assert!(body.unwrap().starts_with(b"body\n'=000000=000000"));
}

#[tokio::test]
async fn a_page_that_is_too_long_has_no_end_that_looks_like_one() {
    let limits = Limits { stream_bytes_max: 2 << 20, ..Limits::default() };
    let rig = long_rows(&limits, 5_000).await;
    let (address, _stop, _) = rig.serve(ServerOptions { limits, ..Default::default() }).await;
    for accept in ["text/csv", ARROW] {
        let query = "{ long(first: 5000) { nodes { body } } }";
        let (status, headers, body) = ask(&address, accept, query).await;
        assert_eq!(
            (status.as_u16(), &headers["x-colonnade-rows"]),
            (200, &"5000".parse().unwrap())
        );
        assert!(body.is_err(), "{accept}: a broken answer looks whole");
    }
    let (_, _, body) = ask(&address, ARROW, "{ long(first: 300) { nodes { body } } }").await;
    assert_eq!(batch_of(&body.unwrap()).num_rows(), 300);
    let page = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    let page = page.text().await.unwrap();
    for line in ["colonnade_streamed_pages_total 3", "colonnade_streamed_pages_broken_total 2"] {
        assert!(page.contains(line), "no {line} in\n{page}");
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_frees_its_place_for_the_next() {
    let limits = Limits { streams_at_a_time_max: 1, ..Limits::default() };
    let rig = long_rows(&limits, 45_000).await;
    let patience = Patience { stalled_max: Duration::from_millis(300), ..Patience::default() };
    let options = ServerOptions { limits, patience, ..ServerOptions::default() };
    let (address, _stop, _) = rig.serve(options).await;
    let query = json!({"query": "{ long(first: 45000) { nodes { body } } }"}).to_string();
    let mut stalled = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: {address}\r\naccept: text/csv\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{query}",
        query.len()
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 512];
    let read = stalled.read(&mut first).await.unwrap();
    let first = String::from_utf8_lossy(&first[..read]);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    // The next waits until the server has lost its patience with the one before.
    let next = ask(&address, "text/csv", "{ long(first: 1) { nodes { id } } }");
    let (status, _, body) = tokio::time::timeout(Duration::from_secs(20), next).await.unwrap();
    assert_eq!((status.as_u16(), &body.unwrap()[..]), (200, &b"id\n000000\n"[..]));
    // What was sent before is there, and no end.
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}
