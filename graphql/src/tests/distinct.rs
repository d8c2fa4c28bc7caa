//! Combinations of values in pages, while others commit.

use serde_json::{Value, json};

use super::{Rig, calls};

async fn pages(rig: &Rig, rows: usize, arguments: &str, way: (&str, &str, &str)) -> Vec<Value> {
    let (first, after, cursor) = way;
    let (mut all, mut from) = (Vec::new(), String::new());
    loop {
        let query = format!(
            "{{ callsDistinct(columns: [MODEL, RETRIES], {first}: {rows}{arguments}{from}) {{ nodes {{ model retries }} pageInfo {{ startCursor endCursor hasNextPage hasPreviousPage }} }} }}"
        );
        let page = rig.data(&query).await["callsDistinct"].take();
        let mut nodes = page["nodes"].as_array().unwrap().clone();
        if first == "last" {
            nodes.extend(all);
            all = nodes;
        } else {
            all.extend(nodes);
        }
        let has_more = if first == "last" { "hasPreviousPage" } else { "hasNextPage" };
        if page["pageInfo"][has_more] == json!(false) {
            return all;
        }
        // Whatever is committed meanwhile.
        rig.append("calls", vec![calls()]).await;
        from = format!(", {after}: {}", page["pageInfo"][cursor]);
    }
}

#[tokio::test]
async fn pages_of_any_size_and_either_way_have_each_combination_once() {
    for order in ["", ", orderBy: [{retries: DESC}]", ", orderBy: [{model: DESC_NULLS_FIRST}]"] {
        let rig = Rig::with_calls().await;
        let whole = pages(&rig, 100, order, ("first", "after", "endCursor")).await;
        assert_eq!(whole.len(), 7, "{whole:?}");
        for rows in [1, 2, 4] {
            for way in [("first", "after", "endCursor"), ("last", "before", "startCursor")] {
                assert_eq!(pages(&rig, rows, order, way).await, whole, "{order} {rows} {way:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_cursor_is_of_its_columns_and_a_version() {
    let rig = Rig::with_calls().await;
    let cursor = |columns: &str| {
        format!("{{ callsDistinct(columns: {columns}, first: 1) {{ pageInfo {{ endCursor }} }} }}")
    };
    let mine = rig.data(&cursor("[MODEL]")).await["callsDistinct"]["pageInfo"]["endCursor"].clone();
    for query in [
        format!("{{ callsDistinct(columns: [ID], after: {mine}) {{ nodes {{ id }} }} }}"),
        format!(
            "{{ callsDistinct(columns: [MODEL], where: {{retries: {{eq: 1}}}}, after: {mine}) {{ nodes {{ model }} }} }}"
        ),
        format!("{{ calls(orderBy: [{{model: ASC}}], after: {mine}) {{ nodes {{ model }} }} }}"),
        format!(
            "{{ callsDistinct(columns: [MODEL], after: {mine}, asOf: {{version: 0}}) {{ nodes {{ model }} }} }}"
        ),
    ] {
        let answer = rig.ask(&query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{query}: {answer}");
        assert!(
            answer["errors"][0]["message"].as_str().unwrap().starts_with("after: "),
            "{answer}"
        );
    }
}
