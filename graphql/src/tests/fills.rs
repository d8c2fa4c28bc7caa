//! Parts of time without rows, through clock changes, and where there are too many.

use datasets::DatasetSpec;
use serde_json::{Value, json};

use super::Rig;

async fn rig(rows: &[(&str, &str, i64)]) -> Rig {
    let rig = Rig::new().await;
    let text = "name = \"reads\"\nkey = [\"id\"]\ntime_column = \"at\"\ncolumns = [{name = \"id\", type = \"int32\"}, \
                {name = \"at\", type = \"timestamp\", nullable = true}, {name = \"of\", type = \"text\"}, {name = \"n\", type = \"int64\"}]";
    rig.create(DatasetSpec::from_toml(text, "test").unwrap()).await;
    let line = |(id, (at, of, n)): (usize, &(&str, &str, i64))| {
        let at = (!at.is_empty()).then_some(at);
        json!({"id": id, "at": at, "of": of, "n": n}).to_string() + "\n"
    };
    rig.ingest("reads", &rows.iter().enumerate().map(line).collect::<String>()).await;
    rig
}

async fn begins(rig: &Rig, every: &str) -> Vec<Value> {
    let query = format!("{{ readsGroups(every: {{{every}}}, first: 1000) {{ nodes {{ at }} }} }}");
    let data = rig.data(&query).await;
    data["readsGroups"]["nodes"].as_array().unwrap().iter().map(|node| node["at"].clone()).collect()
}

#[tokio::test]
async fn days_and_hours_are_those_of_the_clock_through_its_changes() {
    let rig = rig(&[("2026-03-27T12:00:00Z", "a", 1), ("2026-03-30T12:00:00Z", "a", 2)]).await;
    let days = begins(&rig, "width: \"1d\", timezone: \"Europe/Berlin\", fill: ZERO").await;
    let expected =
        ["26T23", "27T23", "28T23", "29T22"].map(|day| json!(format!("2026-03-{day}:00:00Z")));
    assert_eq!(days, expected);
    let months = begins(&rig, "width: \"1mo\", timezone: \"Europe/Berlin\", fill: ZERO").await;
    assert_eq!(months, [json!("2026-02-28T23:00:00Z")]);
    // The 29th has no third hour. Six hours are six hours all the same.
    let parts = begins(&rig, "width: \"6h\", timezone: \"Europe/Berlin\", fill: NULL").await;
    assert_eq!(parts.len(), 13);
    assert!(parts.contains(&json!("2026-03-29T05:00:00Z")), "{parts:?}");
}

#[tokio::test]
async fn each_group_is_filled_for_itself_and_rows_without_a_time_stay() {
    let rows = [
        ("2026-01-01T00:00:00Z", "a", 10),
        ("2026-01-04T00:00:00Z", "a", 40),
        ("2026-01-02T00:00:00Z", "b", 7),
        ("", "a", 1),
    ];
    let rig = rig(&rows).await;
    let query = "{ readsGroups(groupBy: [OF], every: {width: \"1d\", fill: LINEAR}, orderBy: [{of: ASC}]) { totalCount nodes { \
                 of at isFilled count sum { n } previous { count sum { n } } change { sum { n } } } } }";
    let data = rig.data(query).await;
    let nodes = data["readsGroups"]["nodes"].as_array().unwrap();
    assert_eq!(data["readsGroups"]["totalCount"], "6");
    let sums: Vec<_> = nodes.iter().map(|node| node["sum"]["n"].as_str().unwrap()).collect();
    assert_eq!(sums, ["10", "20", "30", "40", "1", "7"]);
    assert_eq!((&nodes[1]["isFilled"], &nodes[1]["count"]), (&json!(true), &json!("0")));
    assert_eq!(nodes[0]["previous"], Value::Null);
    assert_eq!(nodes[3]["previous"], json!({"count": "0", "sum": {"n": "30"}}));
    assert_eq!(nodes[3]["change"], json!({"sum": {"n": "10"}}));
    assert_eq!((&nodes[4]["at"], &nodes[4]["previous"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_gap_of_too_many_parts_is_refused_and_says_what_helps() {
    let rig = rig(&[("1990-01-01T00:00:00Z", "a", 1), ("2026-01-01T00:00:00Z", "a", 2)]).await;
    let query = "{ readsGroups(every: {width: \"1m\", fill: ZERO}) { nodes { at } } }";
    let answer = rig.ask(query).await;
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "BAD_INPUT", "{answer}");
    assert!(error["message"].as_str().unwrap().contains("choose a longer width"), "{answer}");
    assert_eq!(begins(&rig, "width: \"1y\", fill: ZERO").await.len(), 37);
}

#[tokio::test]
async fn the_rest_of_a_top_is_of_its_rows_and_no_null_key_is_taken_for_it() {
    let rows =
        [("a", 1), ("a", 2), ("b", 5), ("b", 9), ("c", 100), ("d", 200), ("d", 0), ("d", 300)];
    let rows: Vec<_> = rows.iter().map(|(of, n)| ("2026-01-01T00:00:00Z", *of, *n)).collect();
    let rig = rig(&rows).await;
    let query = "{ readsGroups(groupBy: [OF], top: 1) { totalCount nodes { of isOther isTotal count median { n } countDistinct { of } } } }";
    let data = rig.data(query).await;
    let other = json!({"of": null, "isOther": true, "isTotal": false, "count": "5", "median": {"n": 5.0}, "countDistinct": {"of": "3"}});
    assert_eq!(data["readsGroups"]["nodes"][1], other);
    assert_eq!(data["readsGroups"]["totalCount"], "2");
    for (arguments, says) in [
        ("top: 0", "top: expected a number of groups, 1 or more"),
        ("top: 1001", "top (groups): the limit is 1000, found 1001"),
        ("top: 2, totals: CUBE", "top: expected no `having` and no `totals` beside it"),
        (
            "top: 2, every: {width: \"1d\"}, orderBy: [{at: ASC}]",
            "orderBy.at: `top` ranks groups over all time",
        ),
        (
            "every: {width: \"1d\", fill: ZERO}, totals: ALL",
            "totals: expected no `every.fill` beside them",
        ),
    ] {
        let query =
            format!("{{ readsGroups(groupBy: [OF], {arguments}) {{ nodes {{ count }} }} }}");
        let answer = rig.ask(&query).await;
        let message =
            answer["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{query}: {answer}"));
        assert!(message.starts_with(says), "{message}");
    }
}
