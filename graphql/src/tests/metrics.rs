//! Metrics that are made, shown, computed and removed through GraphQL.

use serde_json::{Value, json};

use super::Rig;

const SHOWN: &str = "{ name dataset measure where dimensions interval unit owner target direction assumptions output }";

fn define(more: &str) -> String {
    format!("mutation {{ defineMetric(name: \"slow-calls\", dataset: \"calls\", {more}) {SHOWN} }}")
}

/// Waits until the newest run ended well.
async fn computed(rig: &Rig) {
    for _ in 0..200 {
        let newest = rig.data("{ runs(first: 1) { job state } }").await["runs"][0].take();
        match newest["state"].as_str() {
            Some("SUCCEEDED") => return,
            Some("QUEUED" | "RUNNING") | None => {}
            Some(_) => panic!("{newest}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no run of it ended");
}

#[tokio::test]
async fn a_metric_with_a_target_is_made_shown_computed_and_removed() {
    let rig = Rig::with_calls().await;
    let more = "measure: \"count(*) * $usd\", where: \"retries < $most\", dimensions: \"model\", interval: \"2h\", \
                unit: \"USD\", owner: \"ops\", target: 12.5, direction: \"down\", assumptions: {usd: 3, most: 99.5}";
    let made = rig.data(&define(more)).await["defineMetric"].take();
    let expected = json!({
        "name": "slow-calls", "dataset": "calls", "measure": "count(*) * $usd", "where": "retries < $most",
        "dimensions": ["model"], "interval": "2h", "unit": "USD", "owner": "ops", "target": 12.5,
        "direction": "down", "assumptions": {"usd": 3.0, "most": 99.5}, "output": "metric_values",
    });
    assert_eq!(made, expected);
    computed(&rig).await;
    let listed = rig.data(&format!("{{ metricDefinitions {SHOWN} }}")).await;
    assert_eq!(listed["metricDefinitions"], json!([expected]));
    let values = "{ metricValues { totalCount nodes { metric owner target direction isMet assumptions value } } }";
    let values = rig.data(values).await["metricValues"].take();
    assert!(values["totalCount"].as_str().is_some_and(|count| count != "0"), "{values}");
    let nodes = values["nodes"].as_array().unwrap();
    let told = |node: &Value| {
        let is_met = node["value"].as_f64().map(|value| value <= 12.5);
        assert_eq!(node["isMet"], is_met.map_or(Value::Null, Value::from), "{node}");
        assert_eq!((&node["owner"], &node["direction"]), (&json!("ops"), &json!("down")));
    };
    nodes.iter().for_each(told);
    let removed = rig.data("mutation { removeMetric(name: \"slow-calls\") { name target } }").await;
    assert_eq!(removed["removeMetric"], json!({"name": "slow-calls", "target": 12.5}));
    assert_eq!(rig.data("{ metricDefinitions { name } }").await["metricDefinitions"], json!([]));
}

#[tokio::test]
async fn what_is_no_metric_is_refused_by_the_argument_that_is_wrong() {
    let rig = Rig::with_calls().await;
    for (more, says) in [
        ("target: 1", "direction"),
        ("target: 1, direction: \"left\"", "direction"),
        ("measure: \"sum(cost) * $usd\"", "usd"),
        ("assumptions: {usd: 1}", "usd"),
        ("assumptions: {usd: \"a\"}", "assumptions"),
        ("measure: \"sum(costs)\"", "costs"),
        ("interval: \"soon\"", "interval"),
        ("where: \"retries <\"", "where"),
    ] {
        let answer = rig.ask(&define(more)).await;
        let error = &answer["errors"][0];
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(says), "{more}: {answer}");
        assert_eq!(error["extensions"]["code"], "BAD_INPUT", "{more}: {answer}");
    }
    assert_eq!(rig.data("{ metricDefinitions { name } }").await["metricDefinitions"], json!([]));
}
