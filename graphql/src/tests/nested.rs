//! Columns with parts: shown as objects, asked for by their parts, grouped by them, and changed.

use datasets::DatasetSpec;
use serde_json::{Value, json};

use super::{Rig, next};

const ROWS: &str = r#"{"id": 1, "address": {"city": "Bonn", "geo": {"lat": 50.5, "is_null": true}, "tags": ["a", null]}, "items": [{"sku": "x", "count": 2, "made": {"at": "2026-01-01"}}, {"sku": "y", "count": null}], "sizes": {"S": 1, "L": 9007199254740993}, "grid": [[1, null], null, []], "payload": {"a": {"b": [10, "eleven", true]}, "n": 1.10, "deep": {"0": null, "digits": 12345678901234567890.10}}}
{"id": 2, "address": {"city": "Ulm", "geo": {"lat": 48.5}}, "items": [], "sizes": {}, "payload": {"a": 7}}
{"id": 3, "address": {"city": "Bonn", "geo": null}, "items": [{"sku": "x", "count": 5}], "sizes": {"S": null}, "payload": [1]}
{"id": 4}
"#;

pub(super) async fn rig() -> Rig {
    let rig = Rig::new().await;
    let spec = r#"
        name = "orders"
        columns = [
            {name = "id", type = "int32"},
            {name = "address", type = "struct(city: text, geo: struct(lat: float64, is_null: bool), tags: list(text))", nullable = true},
            {name = "items", type = "list(struct(sku: text, count: int32, made: struct(at: date)))", nullable = true},
            {name = "sizes", type = "map(text, int64)", nullable = true},
            {name = "grid", type = "list(list(int32))", nullable = true},
            {name = "payload", type = "json", nullable = true},
            {name = "address_city", type = "text", nullable = true},
        ]
    "#;
    let spec = DatasetSpec::from_toml(&spec.replace("\n            ", ""), "orders").unwrap();
    rig.create(spec).await;
    let receipt = rig.ingest("orders", ROWS).await;
    assert_eq!((receipt.accepted, receipt.quarantined), (4, 0));
    rig
}

async fn ids(rig: &Rig, condition: &str) -> Vec<i64> {
    let query =
        format!("{{ orders(where: {condition}, orderBy: [{{id: ASC}}]) {{ nodes {{ id }} }} }}");
    let data = rig.data(&query).await;
    let nodes = data["orders"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn parts_are_shown_as_objects() {
    let rig = rig().await;
    let data = rig
        .data(
            "{ orders(orderBy: [{id: ASC}]) { nodes { address { city geo { lat isNull } tags } \
             items { sku count made { at } } sizes { key value } grid } } }",
        )
        .await;
    let nodes = &data["orders"]["nodes"];
    assert_eq!(
        nodes[0],
        json!({
            "address": {"city": "Bonn", "geo": {"lat": 50.5, "isNull": true}, "tags": ["a", null]},
            "items": [
                {"sku": "x", "count": 2, "made": {"at": "2026-01-01"}},
                {"sku": "y", "count": null, "made": null},
            ],
            "sizes": [{"key": "S", "value": "1"}, {"key": "L", "value": "9007199254740993"}],
            "grid": [[1, null], null, []],
        })
    );
    assert_eq!(nodes[2]["address"], json!({"city": "Bonn", "geo": null, "tags": null}));
    assert_eq!(nodes[2]["sizes"], json!([{"key": "S", "value": null}]));
    assert_eq!(nodes[3], json!({"address": null, "items": null, "sizes": null, "grid": null}));
    // Rows that the order does not tell apart are told apart by all that they hold.
    let data = rig.data("{ orders(first: 2) { nodes { id } pageInfo { endCursor } } }").await;
    let after = &data["orders"]["pageInfo"]["endCursor"];
    let more =
        rig.data(&format!("{{ orders(first: 9, after: {after}) {{ nodes {{ id }} }} }}")).await;
    assert_eq!(more["orders"]["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn documents_keep_their_digits() {
    let rig = rig().await;
    let answer = rig.text("{ orders(where: {id: {eq: 1}}) { nodes { p: payload } } }").await;
    let expected = r#"{"p":{"a":{"b":[10,"eleven",true]},"n":1.10,"deep":{"0":null,"digits":12345678901234567890.10}}}"#;
    assert!(answer.contains(expected), "{answer}");
}

#[tokio::test]
async fn units_of_parts_are_told() {
    let rig = Rig::new().await;
    let spec = r#"
        name = "calls"
        columns = [{name = "times", type = "list(struct(wait: int64 [ms], runs: struct(cpu: float64 [s])))", nullable = true}]
    "#;
    rig.create(DatasetSpec::from_toml(spec, "calls").unwrap()).await;
    rig.ingest("calls", "{\"times\": [{\"wait\": 7, \"runs\": {\"cpu\": 0.5}}]}\n").await;
    let types = "{ a: __type(name: \"Calls_Times\") { fields { description } } \
                 b: __type(name: \"Calls_Times_Runs\") { fields { description } } }";
    let data = rig.data(types).await;
    let told = |of: &str, at: usize| data[of]["fields"][at]["description"].clone();
    assert_eq!((told("a", 0), told("a", 1)), (json!("int64, in ms."), json!(null)));
    assert_eq!(told("b", 0), json!("float64, in s."));
}

#[tokio::test]
async fn rows_are_asked_for_by_parts() {
    let rig = rig().await;
    for (condition, expected) in [
        ("{address: {city: {eq: \"Bonn\"}}}", &[1, 3][..]),
        ("{address: {geo: {lat: {gt: 49}}}}", &[1]),
        ("{address: {geo: {isNull_: {eq: true}}}}", &[1]),
        ("{address: {geo: {isNull: true}}}", &[3, 4]),
        ("{address: {isNull: false, geo: {isNull: true}}}", &[3]),
        ("{address: {tags: {has: \"a\"}}}", &[1]),
        ("{not: {address: {city: {in: [\"Bonn\"]}}}}", &[2]),
        ("{items: {sku: {has: \"x\"}}}", &[1, 3]),
        ("{items: {sku: {has: \"y\"}, count: {has: 2}}}", &[1]),
        ("{items: {made: {at: {has: \"2026-01-01\"}}}}", &[1]),
        ("{items: {isNull: true}}", &[4]),
        ("{sizes: {hasKey: \"S\"}}", &[1, 3]),
        ("{sizes: {entry: {key: \"L\", value: {gt: \"9007199254740992\"}}}}", &[1]),
        ("{sizes: {entry: {key: \"S\", value: {isNull: false}}}}", &[1]),
        ("{grid: {isNull: false}}", &[1]),
        ("{payload: {at: {path: [\"a\", \"b\", \"0\"], integer: {eq: 10}}}}", &[1]),
        ("{payload: {at: [{path: [\"a\", \"b\", \"1\"], text: {startsWith: \"el\"}}]}}", &[1]),
        ("{payload: {at: {path: \"a\", integer: {gte: 7}}}}", &[2]),
        ("{payload: {at: {path: [\"a\", \"b\", \"2\"], boolean: {eq: true}}}}", &[1]),
        ("{payload: {at: {path: \"n\", number: {lt: 1.2}}}}", &[1]),
        ("{payload: {at: {path: \"a\", exists: true}}}", &[1, 2]),
        ("{payload: {at: {path: \"a\", exists: false}}}", &[3, 4]),
        ("{payload: {at: {path: \"0\", integer: {eq: 1}}}}", &[3]),
        ("{payload: {at: {path: [\"deep\", \"0\"], exists: true}}}", &[1]),
        ("{payload: {at: {path: [\"deep\", \"00\"], exists: true}}}", &[]),
    ] {
        assert_eq!(ids(&rig, condition).await, expected, "{condition}");
    }
    for (condition, says) in [
        ("{payload: {at: {path: [], exists: true}}}", "path: expected 1 to 32 names of members"),
        (
            "{sizes: {entry: {key: \"L\", value: {eq: \"x\"}}}}",
            "where.sizes.entry.value.eq: expected a 64-bit integer",
        ),
        ("{address: {city: {eq: null}}}", "where.address.city.eq: expected a value"),
    ] {
        let answer = rig.ask(&format!("{{ orders(where: {condition}) {{ totalCount }} }}")).await;
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn rows_are_grouped_by_parts() {
    let rig = rig().await;
    let data = rig
        .data(
            "{ ordersGroups(groupBy: [ADDRESS__CITY], orderBy: [{address_city: DESC}]) { \
             nodes { address_city count avg { address_geo_lat } max { address_geo_lat } } } }",
        )
        .await;
    let node = |city: Value, count: &str, lat: Value| json!({"address_city": city, "count": count, "avg": {"address_geo_lat": lat}, "max": {"address_geo_lat": lat}});
    let expected = [
        node(json!("Ulm"), "1", json!(48.5)),
        node(json!("Bonn"), "2", json!(50.5)),
        node(json!(null), "1", json!(null)),
    ];
    assert_eq!(data["ordersGroups"]["nodes"], json!(expected));
    // A column whose name looks like it is another.
    let data =
        rig.data("{ ordersGroups(groupBy: [ADDRESS_CITY]) { nodes { addressCity count } } }").await;
    assert_eq!(data["ordersGroups"]["nodes"], json!([{"addressCity": null, "count": "4"}]));
    let answer = rig.ask("{ ordersGroups { nodes { address_city } } }").await;
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("nodes.address_city: groups are not made by this column"),
        "{message}"
    );
}

#[tokio::test]
async fn parts_are_changed_and_told() {
    let rig = rig().await;
    let mut messages = rig
        .subscribe(
            "subscription { ordersChanged(since: 1, where: {address: {city: {eq: \"Jena\"}}}) { \
             added { nodes { id address { city } sizes { key value } } } removed { count } } }",
        )
        .await;
    let set = "set: {address: {city: \"Jena\", geo: {lat: 50.9}}, sizes: {XL: \"7\"}, items: [{sku: \"z\"}]}";
    let changed =
        format!("mutation {{ ordersUpdate(where: {{id: {{eq: 2}}}}, {set}) {{ rows }} }}");
    assert_eq!(rig.data(&changed).await["ordersUpdate"]["rows"], "1");
    let told = next(&mut messages).await;
    let row = json!({"id": 2, "address": {"city": "Jena"}, "sizes": [{"key": "XL", "value": "7"}]});
    assert_eq!(told["data"]["ordersChanged"]["added"]["nodes"], json!([row]), "{told}");
    assert_eq!(ids(&rig, "{items: {sku: {has: \"z\"}}}").await, [2]);
    for (set, says) in [
        (
            "{address: {town: \"Jena\"}}",
            "set.address: unknown field \"town\"; there are city, geo, tags",
        ),
        ("{address: \"Jena\"}", "set.address: expected an object, found \"Jena\""),
        ("{sizes: {XL: \"x\"}}", "set.sizes: \"XL\": expected int64, found \"x\""),
    ] {
        let answer = rig
            .ask(&format!("mutation {{ ordersUpdate(all: true, set: {set}) {{ rows }} }}"))
            .await;
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn conditions_on_items_support_some_every_and_none() {
    let rig = rig().await;
    for (condition, expected) in [
        // Each of these two conditions may hold for a different item.
        (r#"{items: {sku: {has: "y"}, count: {has: 2}}}"#, vec![1]),
        (r#"{items: {some: {sku: {eq: "y"}, count: {eq: 2}}}}"#, vec![]),
        (r#"{items: {some: {sku: {eq: "x"}, count: {gte: 3}}}}"#, vec![3]),
        ("{items: {every: {count: {gt: 0}}}}", vec![2, 3]),
        (r#"{items: {none: {sku: {eq: "y"}}}}"#, vec![2, 3]),
        (r#"{items: {some: {made: {at: {gte: "2026-01-01"}}}}}"#, vec![1]),
        (r#"{items: {sku: {every: {eq: "x"}}}}"#, vec![2, 3]),
        ("{items: {some: {}}}", vec![1, 3]),
        ("{items: {some: null}}", vec![1, 2, 3, 4]),
        (r#"{address: {tags: {some: {startsWith: "a"}}}}"#, vec![1]),
        ("{address: {tags: {some: {isNull: true}}}}", vec![1]),
        ("{address: {tags: {every: {isNull: false}}}}", vec![]),
        (r#"{not: {items: {some: {sku: {eq: "y"}}}}}"#, vec![2, 3]),
    ] {
        assert_eq!(ids(&rig, condition).await, expected, "{condition}");
    }
}
