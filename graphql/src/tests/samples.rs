//! Samples: the same rows for the same seed, in pages, combinations and groups.

use std::collections::BTreeSet;

use datasets::DatasetSpec;
use serde_json::Value;

use super::Rig;

async fn rig(key: &str) -> Rig {
    let rig = Rig::new().await;
    let text = format!(
        "name = \"reads\"\n{key}\ncolumns = [{{name = \"id\", type = \"int32\"}}, {{name = \"of\", type = \"text\"}}]"
    );
    rig.create(DatasetSpec::from_toml(&text, "test").unwrap()).await;
    for part in 0..4 {
        let lines =
            (0..500).map(|n| format!("{{\"id\": {}, \"of\": \"g{}\"}}\n", n * 4 + part, n % 3));
        rig.ingest("reads", &lines.collect::<String>()).await;
    }
    rig
}

async fn ids(rig: &Rig, sample: &str) -> BTreeSet<i64> {
    let query =
        format!("{{ reads(first: 1000, sample: {{{sample}}}) {{ totalCount nodes {{ id }} }} }}");
    let data = rig.data(&query).await;
    let nodes = data["reads"]["nodes"].as_array().unwrap();
    let ids: BTreeSet<i64> = nodes.iter().map(|node| node["id"].as_i64().unwrap()).collect();
    assert_eq!(data["reads"]["totalCount"], ids.len().to_string());
    ids
}

#[tokio::test]
async fn a_seed_says_which_rows_and_nothing_else_does() {
    for key in ["key = [\"id\"]", ""] {
        let rig = rig(key).await;
        let some = ids(&rig, "rows: 50, seed: 3").await;
        assert_eq!(some.len(), 50);
        assert_eq!(ids(&rig, "rows: 50, seed: 3").await, some);
        let others = ids(&rig, "rows: 50, seed: 4").await;
        assert!(others.intersection(&some).count() < 15, "{others:?} {some:?}");
        // More of the same seed are those and others.
        assert!(ids(&rig, "rows: 80, seed: 3").await.is_superset(&some));
        let tenth = ids(&rig, "fraction: 0.1, seed: 3").await;
        assert!((140..260).contains(&tenth.len()), "{}", tenth.len());
        assert!(ids(&rig, "fraction: 0.2, seed: 3").await.is_superset(&tenth));
        assert_eq!(
            rig.data("{ reads(sample: {fraction: 1}) { totalCount } }").await["reads"]["totalCount"],
            "2000"
        );
    }
}

#[tokio::test]
async fn pages_combinations_and_groups_are_of_the_sample() {
    let rig = rig("key = [\"id\"]").await;
    let whole = ids(&rig, "rows: 30, seed: 1").await;
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let query = format!(
            "{{ reads(first: 7, sample: {{rows: 30, seed: 1}}{after}) {{ nodes {{ id }} pageInfo {{ endCursor hasNextPage }} }} }}"
        );
        let page = rig.data(&query).await["reads"].take();
        all.extend(
            page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_i64().unwrap()),
        );
        if page["pageInfo"]["hasNextPage"] == Value::Bool(false) {
            break;
        }
        after = format!(", after: {}", page["pageInfo"]["endCursor"]);
    }
    assert_eq!((all.len(), all.into_iter().collect::<BTreeSet<_>>()), (30, whole));
    let other = format!("{{ reads(sample: {{rows: 30, seed: 2}}{after}) {{ nodes {{ id }} }} }}");
    let message = rig.ask(&other).await["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("another dataset"), "{message}");
    let data = rig.data("{ readsGroups(sample: {rows: 30, seed: 1}) { nodes { count } } readsDistinct(columns: [ID], sample: {rows: 30, seed: 1}) { totalCount } }").await;
    assert_eq!(data["readsGroups"]["nodes"][0]["count"], "30");
    assert_eq!(data["readsDistinct"]["totalCount"], "30");
}

#[tokio::test]
async fn what_is_no_sample_says_what_one_is() {
    let rig = rig("").await;
    for (sample, says) in [
        ("{}", "sample: expected either `rows` or `fraction`"),
        ("{rows: 1, fraction: 0.5}", "sample: expected either `rows` or `fraction`"),
        ("{rows: 0}", "sample.rows: expected a number of rows, 1 or more"),
        ("{rows: 100001}", "sample.rows: the limit is 100000, found 100001"),
        ("{fraction: 0}", "sample.fraction: expected more than 0, and 1 at most"),
        ("{fraction: 1.5}", "sample.fraction: expected more than 0, and 1 at most"),
    ] {
        let answer = rig.ask(&format!("{{ reads(sample: {sample}) {{ totalCount }} }}")).await;
        assert_eq!(answer["errors"][0]["message"], says, "{answer}");
    }
}
