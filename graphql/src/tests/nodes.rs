//! Rows by their ids among all rows of all datasets.

use engine::{Claim, GrantSet, Grants, Principal};
use serde_json::{Value, json};

use super::{Rig, related, who};

async fn rig() -> Rig {
    let rig = Rig::with_calls().await;
    related::create(&rig).await;
    rig
}

async fn id(rig: &Rig, who: &Principal, query: &str) -> String {
    let answer = rig.ask_as(who, query).await;
    let (_, field) = answer["data"].as_object().unwrap().iter().next().unwrap();
    field["nodes"][0]["nodeId"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
}

const CALL: &str = "{ calls(where: {id: {eq: \"c3\"}}) { nodes { nodeId } } }";

#[tokio::test]
async fn an_id_names_its_row_whatever_dataset_it_is_of() {
    let rig = rig().await;
    let call = id(&rig, &who(), CALL).await;
    let note = id(&rig, &who(), "{ comments(where: {id: {eq: 4}}) { nodes { nodeId } } }").await;
    let query = format!(
        "{{ node(id: \"{call}\") {{ __typename nodeId ... on CallsRow {{ model related {{ comments {{ nodes {{ id nodeId }} }} }} }} }} \
         nodes(ids: [\"{note}\", \"none\", \"{call}\", \"{note}\"]) {{ __typename ... on CallsRow {{ id }} ... on CommentsRow {{ body }} }} }}"
    );
    let data = rig.data(&query).await;
    assert_eq!(data["node"]["nodeId"], json!(call));
    assert_eq!(data["node"]["__typename"], "CallsRow");
    assert_eq!(data["node"]["model"], "alpha");
    assert_eq!(data["node"]["related"]["comments"]["nodes"][0]["id"], 3);
    let note = json!({"__typename": "CommentsRow", "body": "note 4"});
    assert_eq!(data["nodes"], json!([note, {"__typename": "CallsRow", "id": "c3"}, note]));
}

#[tokio::test]
async fn a_key_of_several_columns_and_several_rows_of_one_key_have_one_row() {
    let rig = Rig::new().await;
    let text = "name = \"pairs\"\nkey = [\"a\", \"b\"]\ncolumns = [{name = \"a\", type = \"int64\"}, {name = \"b\", type = \"timestamp\"}, {name = \"n\", type = \"int32\"}]";
    rig.create(datasets::DatasetSpec::from_toml(text, "test").unwrap()).await;
    let line =
        |a: i64, n: i64| format!("{{\"a\": {a}, \"b\": \"2026-01-0{a}T00:00:00Z\", \"n\": {n}}}\n");
    rig.ingest("pairs", &(line(1, 1) + &line(1, 2) + &line(2, 3) + &line(1, 4))).await;
    let data = rig.data("{ pairs { nodes { nodeId a n } } }").await;
    let rows = data["pairs"]["nodes"].as_array().unwrap();
    assert_eq!((&rows[0]["nodeId"], rows.len()), (&rows[1]["nodeId"], 4));
    let query = format!(
        "{{ nodes(ids: [{}, {}]) {{ ... on PairsRow {{ a b n }} }} }}",
        rows[0]["nodeId"], rows[3]["nodeId"]
    );
    let first = rig.data(&query).await;
    assert_eq!(first["nodes"].as_array().unwrap().len(), 2, "{first}");
    assert_eq!((&first["nodes"][1]["n"], &first["nodes"][0]["a"]), (&json!(3), &json!("1")));
    for _ in 0..3 {
        assert_eq!(rig.data(&query).await, first);
    }
}

#[tokio::test]
async fn what_is_not_seen_is_as_what_is_not_there() {
    let rig = rig().await;
    let other = Principal { tenant: "tenant-b".parse().unwrap(), ..who() };
    rig.engine.create_dataset(&other, super::calls_spec()).await.unwrap();
    let mine = id(&rig, &who(), CALL).await;
    let ask = |id: &str| {
        format!("{{ node(id: \"{id}\") {{ nodeId }} nodes(ids: [\"{id}\"]) {{ nodeId }} }}")
    };
    let nothing = json!({"node": null, "nodes": []});
    let reader = |set: Value| {
        let set: GrantSet = serde_json::from_value(set).unwrap();
        let claims = [("team".to_owned(), Claim::Text("beta".to_owned()))].into();
        Principal { grants: Grants::limited(set, claims).unwrap(), ..who() }
    };
    let of_others = reader(json!({"datasets": {"comments": {}}}));
    let of_beta = reader(json!({"datasets": {"calls": {"rows": "model = claim.team"}}}));
    let masked = reader(
        json!({"salt": "0123456789abcdef", "datasets": {"calls": {"masks": {"id": "hash"}}}}),
    );
    for (who, id) in [
        (&other, mine.as_str()),
        (&of_others, &mine),
        (&of_beta, &mine),
        (&masked, &mine),
        (&of_beta, ""),
        (&of_beta, "AAAAAAAAAAAAAAAAAAAA"),
        (&of_beta, &"A".repeat(5_000)),
    ] {
        let answer = rig.ask_as(who, ask(id)).await;
        assert_eq!(answer["data"], nothing, "{id}: {answer:#}");
        assert!(answer.get("errors").is_none(), "{answer:#}");
    }
    assert!(!rig.service.sdl(&masked).await.unwrap().contains("type CallsRow implements RowNode"));
    assert_eq!(rig.data(&ask(&mine)).await["node"]["nodeId"], json!(mine));
    let many = vec![format!("\"{mine}\""); 101].join(", ");
    let answer = rig.ask(&format!("{{ nodes(ids: [{many}]) {{ nodeId }} }}")).await;
    let says = answer["errors"][0]["message"].as_str().unwrap();
    assert_eq!(says, "ids: the limit is 100, found 101");
}
