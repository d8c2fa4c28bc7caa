//! Measures of groups where floats are odd, times are missing, or much is asked of each row.

use datasets::DatasetSpec;
use serde_json::json;

use super::Rig;

async fn rig() -> Rig {
    let rig = Rig::new().await;
    let spec = "name = \"odd\"\nkey = [\"id\"]\ntime_column = \"at\"\ncolumns = [\
                {name = \"id\", type = \"int64\"}, {name = \"at\", type = \"timestamp\", nullable = true}, \
                {name = \"f\", type = \"float64\", nullable = true}, {name = \"s\", type = \"text\", nullable = true}]";
    rig.create(DatasetSpec::from_toml(spec, "test").unwrap()).await;
    // Neither the order of keys nor that of the file is that of times.
    let rows = r#"
{"id": 1, "at": "2026-01-03T00:00:00Z", "f": 0.0, "s": "third"}
{"id": 2, "at": "2026-01-01T00:00:00Z", "f": -0.0, "s": null}
{"id": 3, "at": "2026-01-02T00:00:00Z", "f": 1.5, "s": "a\\b"}
{"id": 4, "f": null, "s": "ab"}
{"id": 5, "at": "2026-01-02T00:00:00Z", "f": 1.5, "s": "second, by its key"}
"#;
    rig.ingest("odd", rows.trim_start()).await;
    rig
}

#[tokio::test]
async fn one_zero_is_counted_and_rows_without_a_time_are_at_no_end() {
    let rig = rig().await;
    let query = "{ oddGroups { nodes { countDistinct { f s } approxDistinct { f } first { id s } last { id s } \
                 early: last(where: {at: {lt: \"2026-01-03T00:00:00Z\"}}) { s } } } }";
    let expected = json!({
        "countDistinct": {"f": "2", "s": "4"},
        "approxDistinct": {"f": "2"},
        "first": {"id": "2", "s": "a\\b"},
        "last": {"id": "1", "s": "third"},
        "early": {"s": "second, by its key"},
    });
    assert_eq!(rig.data(query).await["oddGroups"]["nodes"][0], expected);
}

#[tokio::test]
async fn a_backslash_in_a_regex_is_one() {
    let rig = rig().await;
    for (regex, ids) in
        [(r"a\\\\b", vec!["3"]), (r"^a\\\\", vec!["3"]), (r"^ab$", vec!["4"]), (r"\\\\", vec!["3"])]
    {
        let query = format!("{{ odd(where: {{s: {{regex: \"{regex}\"}}}}) {{ nodes {{ id }} }} }}");
        let found = rig.data(&query).await;
        let expected: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        assert_eq!(found["odd"]["nodes"], json!(expected), "{regex}");
    }
}

#[tokio::test]
async fn filters_of_measures_cost_and_are_bounded() {
    let rig = rig().await;
    let code = async |query: &str, variables| {
        let answer = rig.ask_with(query, variables).await;
        let error = answer["errors"][0].clone();
        (
            error["extensions"]["code"].clone(),
            error["message"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let any = |many: usize| json!({"w": {"or": vec![json!({"s": {"contains": "x"}}); many]}});
    let measures = "a: sum(where: $w) { f } b: avg(where: $w) { f } c: max(where: {or: [$w, {id: {eq: 1}}]}) { f }";
    let query =
        format!("query($w: OddWhere!) {{ oddGroups(first: 1) {{ nodes {{ {measures} }} }} }}");
    let cost = rig.ask_with(&query, any(100)).await["extensions"]["cost"].as_u64().unwrap();
    assert!(cost > 3 * 100 * 5, "{cost}");
    // Those of all filters of a field are counted together.
    let (limit, message) = code(&query, any(1_200)).await;
    assert_eq!(limit, "LIMIT_EXCEEDED", "{message}");
    assert!(message.contains("conditions in where"), "{message}");
    let many = |of: usize, filter: &dyn Fn(usize) -> String| {
        let fields: Vec<_> =
            (0..of).map(|at| format!("f{at}: count(where: {{{}}})", filter(at))).collect();
        format!("{{ oddGroups {{ nodes {{ {} }} }} }}", fields.join(" "))
    };
    let (limit, message) = code(&many(33, &|at| format!("id: {{eq: {at}}}")), json!({})).await;
    assert_eq!((limit, message.contains("different filters")), (json!("LIMIT_EXCEEDED"), true));
    let (limit, message) =
        code(&many(17, &|at| format!("s: {{regex: \"{at}\"}}")), json!({})).await;
    assert_eq!((limit, message.contains("regular expressions")), (json!("LIMIT_EXCEEDED"), true));
    let same = many(100, &|_| "s: {regex: \"^t\"}".to_owned());
    assert_eq!(rig.data(&same).await["oddGroups"]["nodes"][0]["f99"], "1");
}

#[tokio::test]
async fn a_key_of_the_answer_has_one_filter_or_none() {
    let rig = rig().await;
    let ask = |one: &str, two: &str| {
        format!("{{ oddGroups {{ x: nodes {{ {one} }} y: nodes {{ {two} }} }} }}")
    };
    let few = "c: count(where: {id: {lt: 3}})";
    for other in ["c: count", "c: count(where: {id: {lt: 2}})"] {
        for query in [ask(few, other), ask(other, few)] {
            let answer = rig.ask(&query).await;
            let message = answer["errors"][0]["message"].as_str().unwrap();
            assert!(message.starts_with("c: measures with other filters"), "{query}: {answer}");
        }
    }
    let both = rig.data(&ask(few, "c: count(where: {id: {lt: 3}}) d: count")).await;
    assert_eq!(both["oddGroups"]["x"], json!([{"c": "2"}]));
    assert_eq!(both["oddGroups"]["y"], json!([{"c": "2", "d": "5"}]));
}
