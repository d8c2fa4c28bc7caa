//! Rows that others are related to: in one query for all of a page, bounded, and of what is seen.

use arrow::array::RecordBatch;
use datasets::DatasetSpec;
use engine::{Claim, GrantSet, Grants, Principal};
use serde_json::{Value, json};

use super::{Rig, name, who};

/// Datasets that the query cases have beside `calls`.
pub(super) const NAMES: [&str; 2] = ["authors", "comments"];

const AUTHORS: &str = r#"
name = "authors"
key = ["name"]
columns = [{name = "name", type = "text"}, {name = "maker", type = "text", nullable = true}]
"#;
const COMMENTS: &str = r#"
name = "comments"
key = ["id"]
time_column = "at"
relations = [
    {column = "call_id", to = "calls", description = "The call that the note is about."},
    {name = "author_model", column = "model", to = "authors"},
    {name = "parent", column = "parent_id", to = "comments"},
]
columns = [
    {name = "id", type = "int32"},
    {name = "at", type = "timestamp"},
    {name = "call_id", type = "text", nullable = true},
    {name = "model", type = "text", nullable = true},
    {name = "parent_id", type = "int32", nullable = true},
    {name = "stars", type = "int32", nullable = true},
    {name = "body", type = "text"},
]
"#;

fn spec(text: &str) -> DatasetSpec {
    DatasetSpec::from_toml(text, "test").unwrap()
}

/// Comments on calls: some calls have many, some none; some comments are about no call, or about one that is not there.
fn comments() -> String {
    let calls = ["c0", "c1", "c0", "c3", "c9", "c0", "gone", "c1", "c0", "c5", "c0"];
    let mut lines = String::new();
    for (id, call) in calls.iter().enumerate() {
        let model = [Some("alpha"), None, Some("beta"), Some("nobody's")][id % 4];
        let line = json!({
            "id": id, "at": format!("2026-01-{:02}T0{}:00:00Z", 1 + id % 3, id % 10), "call_id": call, "model": model,
            "parent_id": (id > 4).then_some(id % 5), "stars": (id != 7).then_some(id * 7 % 5), "body": format!("note {id}"),
        });
        lines += &format!("{line}\n");
    }
    lines + &format!("{}\n", json!({"id": 11, "at": "2026-01-09T00:00:00Z", "body": "of none"}))
}

/// Creates the datasets, with their rows.
pub(super) async fn create(rig: &Rig) {
    rig.create(spec(AUTHORS)).await;
    rig.create(spec(COMMENTS)).await;
    let authors = "{\"name\": \"alpha\", \"maker\": \"northwind\"}\n{\"name\": \"beta\"}\n{\"name\": \"idle\", \"maker\": \"contoso\"}\n";
    rig.ingest("authors", authors).await;
    rig.ingest("comments", &comments()).await;
}

/// The rows of one.
pub(super) async fn rows(rig: &Rig, dataset: &str) -> RecordBatch {
    let session = rig.engine.session(&who(), &[]).await.unwrap();
    let table = session.table(&name(dataset)).await.unwrap();
    let schema = table.schema().as_arrow().clone();
    let batches = session.collect(table).await.unwrap();
    arrow::compute::concat_batches(&std::sync::Arc::new(schema), &batches).unwrap()
}

async fn rig() -> Rig {
    let rig = Rig::with_calls().await;
    create(&rig).await;
    rig
}

fn message(answer: &Value) -> String {
    answer["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
}

#[tokio::test]
async fn a_relation_is_there_when_the_other_dataset_is() {
    let rig = Rig::with_calls().await;
    rig.create(spec(COMMENTS)).await;
    let sdl = rig.service.sdl(&who()).await.unwrap();
    assert!(sdl.contains("type CommentsRelated") && !sdl.contains("authorModel"), "{sdl}");
    rig.create(spec(AUTHORS)).await;
    rig.ingest("comments", &comments()).await;
    let sdl = rig.service.sdl(&who()).await.unwrap();
    for field in ["authorModel: AuthorsRow", "call: CallsRow", "parent: CommentsRow"] {
        assert!(sdl.contains(field), "{field}: {sdl}");
    }
    let data = rig
        .data("{ comments(first: 1) { nodes { related { authorModel { name } call { id } } } } }");
    let expected = json!([{"related": {"authorModel": null, "call": {"id": "c0"}}}]);
    assert_eq!(data.await["comments"]["nodes"], expected);
    // Of another type it is none.
    let other =
        AUTHORS.replace("name = \"name\", type = \"text\"", "name = \"name\", type = \"int64\"");
    let rig = Rig::with_calls().await;
    rig.create(spec(&other)).await;
    let answer = rig.engine.create_dataset(&who(), spec(COMMENTS)).await.unwrap_err().to_string();
    assert!(
        answer.contains("relation \"author_model\": column \"model\" is text, and column \"name\" of dataset authors is int64"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_dataset_that_is_there_gets_the_relations_of_a_spec() {
    let rig = Rig::with_calls().await;
    let without = DatasetSpec { relations: vec![], ..spec(COMMENTS) };
    rig.create(without.clone()).await;
    assert!(!rig.service.sdl(&who()).await.unwrap().contains("related"));
    rig.engine.ensure_dataset(&who(), &spec(COMMENTS)).await.unwrap();
    assert!(rig.service.sdl(&who()).await.unwrap().contains("call: CallsRow"));
    // One that says nothing of them leaves them.
    rig.engine.ensure_dataset(&who(), &without).await.unwrap();
    let entry = rig.engine.catalog(&who()).await.unwrap().datasets[&name("comments")].clone();
    assert_eq!(entry.spec.relations, spec(COMMENTS).relations);
}

#[tokio::test]
async fn a_page_with_related_rows_of_related_rows_is_one_query_for_each_relation() {
    let rig = rig().await;
    let query = "{ calls(first: 10) { nodes { id related { comments(first: 2, orderBy: [{id: DESC}]) { totalCount hasMore \
                 nodes { id related { call { id related { comments { nodes { id } } } } } } } } } } }";
    let data = rig.data(query).await;
    let first = &data["calls"]["nodes"][0]["related"]["comments"];
    assert_eq!((&first["totalCount"], &first["hasMore"]), (&json!("5"), &json!(true)));
    let ids: Vec<_> = first["nodes"].as_array().unwrap().iter().map(|node| &node["id"]).collect();
    assert_eq!(ids, [&json!(10), &json!(8)]);
    let again = &first["nodes"][0]["related"]["call"];
    assert_eq!(
        (&again["id"], again["related"]["comments"]["nodes"].as_array().unwrap().len()),
        (&json!("c0"), 5)
    );
    let none = &data["calls"]["nodes"][2]["related"]["comments"];
    assert_eq!(none, &json!({"totalCount": "0", "hasMore": false, "nodes": []}));
}

#[tokio::test]
async fn keys_of_the_answer_have_a_relation_each() {
    let rig = rig().await;
    let query = "{ calls(first: 1) { nodes { related { one: comments(first: 1) { nodes { id } } two: comments(first: 2) { nodes { id } } } \
                 again: related { one: comments(first: 3) { nodes { id } } } } edges { node { related { one: comments(first: 1) { nodes { body } } } } } } }";
    let data = rig.data(query).await;
    let node = &data["calls"]["nodes"][0];
    let count = |related: &Value| related["nodes"].as_array().unwrap().len();
    assert_eq!(count(&node["related"]["one"]), 1);
    assert_eq!(count(&node["related"]["two"]), 2);
    assert_eq!(count(&node["again"]["one"]), 3);
    let edge = &data["calls"]["edges"][0]["node"];
    assert_eq!(edge["related"]["one"]["nodes"], json!([{"body": "note 0"}]));
    let query = "{ calls(first: 1) { nodes { related { comments(first: 1) { nodes { id } } } } edges { node { related { comments(first: 2) { nodes { id } } } } } } }";
    let says = message(&rig.ask(query).await);
    assert!(
        says.starts_with("related.comments: another relation, or one with other arguments"),
        "{says}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_relation_is_told_once_and_with_its_name() {
    let rig = rig().await;
    for (arguments, says) in [
        ("where: {body: {regex: \"(\"}}", "related.comments: where.body.regex"),
        ("first: 1001", "related.comments: first (rows of one page): the limit is 1000"),
        ("first: -1", "related.comments: first: expected a number of rows"),
    ] {
        let query = format!(
            "{{ calls {{ nodes {{ related {{ comments({arguments}) {{ nodes {{ id }} }} }} }} }} authors {{ totalCount }} }}"
        );
        let answer = rig.ask(&query).await;
        assert!(message(&answer).starts_with(says), "{says}: {answer:#}");
        assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
        assert_eq!(answer["data"], json!({"calls": null, "authors": {"totalCount": "3"}}));
    }
}

#[tokio::test]
async fn rows_that_are_equal_in_the_order_come_in_one_order() {
    let rig = Rig::new().await;
    rig.create(spec(
        "name = \"groups\"\nkey = [\"id\"]\ncolumns = [{name = \"id\", type = \"int32\"}]",
    ))
    .await;
    let keyless = "name = \"members\"\nrelations = [{column = \"group_id\", to = \"groups\"}]\ncolumns = [{name = \"group_id\", type = \"int32\"}, {name = \"name\", type = \"text\"}]";
    rig.create(spec(keyless)).await;
    rig.ingest("groups", "{\"id\": 1}\n{\"id\": 1}\n{\"id\": 2}\n").await;
    for part in 0..4 {
        let lines = (0..10).map(|n| {
            format!("{{\"group_id\": {}, \"name\": \"m{}\"}}\n", 1 + n % 2, part * 10 + n)
        });
        rig.ingest("members", &lines.collect::<String>()).await;
    }
    let query = "{ groups { nodes { id related { members(first: 7) { totalCount nodes { name } } } } } \
                 members(first: 3) { nodes { related { group { id } } } } }";
    let first = rig.data(query).await;
    for _ in 0..5 {
        assert_eq!(rig.data(query).await, first);
    }
    // Two rows of one key have the same related ones.
    assert_eq!(first["groups"]["nodes"][0], first["groups"]["nodes"][1]);
    assert_eq!(first["groups"]["nodes"][0]["related"]["members"]["totalCount"], "20");
}

#[tokio::test]
async fn related_rows_are_those_of_the_version_that_is_asked_for() {
    let rig = rig().await;
    let at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let more = json!({"id": 50, "at": "2026-01-09T00:00:00Z", "call_id": "c9", "body": "late"});
    rig.ingest("comments", &format!("{more}\n")).await;
    let count = |as_of: &str| {
        format!(
            "{{ calls(where: {{id: {{eq: \"c9\"}}}}{as_of}) {{ nodes {{ related {{ comments {{ totalCount }} }} }} }} }}"
        )
    };
    let now = rig.data(&count("")).await;
    assert_eq!(now["calls"]["nodes"][0]["related"]["comments"]["totalCount"], "2");
    let then = rig.data(&count(&format!(", asOf: {{time: \"{at}\"}}"))).await;
    assert_eq!(then["calls"]["nodes"][0]["related"]["comments"]["totalCount"], "1");
}

fn reader(set: Value) -> Principal {
    let set: GrantSet = serde_json::from_value(set).unwrap();
    let claims = [("team".to_owned(), Claim::Text("alpha".to_owned()))].into();
    Principal { grants: Grants::limited(set, claims).unwrap(), ..who() }
}

#[tokio::test]
async fn a_relation_shows_what_is_granted_and_no_more() {
    let rig = rig().await;
    let none = reader(json!({"datasets": {"comments": {}, "authors": {}}}));
    let sdl = rig.service.sdl(&none).await.unwrap();
    assert!(
        sdl.contains("authorModel") && !sdl.contains("CallsRow") && !sdl.contains("The call that"),
        "{sdl}"
    );
    let seen = rig.ask_as(&none, "{ dataset(name: \"comments\") { spec } }").await.to_string();
    assert!(!seen.contains("calls") && seen.contains("authors"), "{seen}");
    // A key or a column behind a mask is no relation.
    for masked in [
        json!({"comments": {"masks": {"call_id": "hash"}}, "calls": {}}),
        json!({"comments": {}, "calls": {"masks": {"id": "hash"}}}),
    ] {
        let me = reader(json!({"salt": "0123456789abcdef", "datasets": masked}));
        let sdl = rig.service.sdl(&me).await.unwrap();
        assert!(!sdl.contains("call: CallsRow") && sdl.contains("parent: CommentsRow"), "{sdl}");
    }
    let some = reader(json!({"datasets": {
        "calls": {"rows": "model = claim.team"}, "comments": {"rows": "stars >= 3", "masks": {"body": "hide"}}
    }}));
    let query = "{ comments { nodes { id related { call { id } } } } calls { nodes { id related { comments { totalCount nodes { id } } } } } }";
    let answer = rig.ask_as(&some, query).await;
    let calls = &answer["data"]["calls"]["nodes"];
    assert_eq!(calls.as_array().unwrap().len(), 3, "{answer:#}");
    // Of note 2 on c0 there are 4 stars, and of 4, 3, on c9, which is not seen.
    assert_eq!(
        calls[0],
        json!({"id": "c0", "related": {"comments": {"totalCount": "1", "nodes": [{"id": 2}]}}})
    );
    let comments = answer["data"]["comments"]["nodes"].as_array().unwrap();
    let of = |id: i64| comments.iter().find(|note| note["id"] == id).unwrap();
    assert_eq!(
        (of(2)["related"]["call"]["id"].as_str(), &of(4)["related"]["call"]),
        (Some("c0"), &Value::Null)
    );
    let hidden = "{ calls { nodes { related { comments { nodes { body } } } } } }";
    assert!(message(&rig.ask_as(&some, hidden).await).contains("body"));
}

#[tokio::test]
async fn a_subscription_has_no_related_rows_and_says_so() {
    let rig = rig().await;
    let query = "subscription { commentsChanged(since: 0) { added { nodes { id related { call { id } } } } } }";
    let answer = super::next(&mut rig.subscribe(query).await).await;
    assert!(
        message(&answer).starts_with("related: a subscription tells what changed in one dataset"),
        "{answer}"
    );
}

#[tokio::test]
async fn names_of_relations_never_meet() {
    let rig = Rig::new().await;
    let of = |dataset: &str, relations: &str| {
        let text = format!(
            "name = \"{dataset}\"\nkey = [\"id\"]\nrelations = [{relations}]\ncolumns = [{{name = \"id\", type = \"int32\"}}, {{name = \"a\", type = \"int32\"}}, {{name = \"b\", type = \"int32\"}}]"
        );
        spec(&text)
    };
    // One relation is called as another dataset, and another dataset has two of them.
    rig.create(of("hub", "{name = \"spoke\", column = \"a\", to = \"hub\"}, {name = \"hub\", column = \"b\", to = \"hub\"}")).await;
    rig.create(of("spoke", "{column = \"a\", to = \"hub\"}, {column = \"b\", to = \"hub\"}")).await;
    let sdl = rig.service.sdl(&who()).await.unwrap();
    let related = sdl.split("type HubRelated {").nth(1).unwrap().split('}').next().unwrap();
    for field in ["spoke: HubRow", "hub: HubRow", "hub_spoke(", "hub_hub(", "spoke_a(", "spoke_b("]
    {
        assert!(related.contains(field), "{field}: {related}");
    }
}

#[tokio::test]
async fn a_column_that_is_renamed_keeps_its_relation_and_one_that_is_dropped_takes_it_along() {
    let rig = rig().await;
    let alter = async |change: &str| {
        let query = format!("mutation {{ {change} {{ version }} }}");
        rig.data(&query).await;
    };
    alter("renameColumn(dataset: \"comments\", column: \"call_id\", to: \"about\")").await;
    let query = "{ comments(first: 1) { nodes { about related { call { id } } } } }";
    let nodes = rig.data(query).await["comments"]["nodes"].clone();
    assert_eq!(nodes, json!([{"about": "c0", "related": {"call": {"id": "c0"}}}]));
    alter("dropColumn(dataset: \"comments\", column: \"about\")").await;
    let sdl = rig.service.sdl(&who()).await.unwrap();
    assert!(sdl.contains("authorModel: AuthorsRow") && !sdl.contains("call: CallsRow"), "{sdl}");
}
