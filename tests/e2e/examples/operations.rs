//! The pages on what is done, by whom, and what it costs.

use serde_json::json;

use super::Reader;
use crate::made;

#[tokio::test]
async fn the_examples_of_the_page_on_processes_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("orders.csv"), made::orders()).unwrap();
    reader.types("setup", "colonnade ingest workflow_steps orders.csv").await;
    reader.read("docs/processes.md").await;
    let query = "{ processCases(where: {cost: {gt: 0}}) { nodes { caseId deviations } } processModels { nodes { casesThatFit cases } } }";
    let found = reader.served().await.data(query).await;
    let odd = json!([{ "caseId": "o7", "deviations": ["missing: check"] }]);
    assert_eq!(found["processCases"]["nodes"], odd, "{found}");
    assert_eq!(found["processModels"]["nodes"], json!([{ "casesThatFit": "9", "cases": "10" }]));
}

#[tokio::test]
async fn the_examples_of_the_page_on_predictions_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("orders.csv"), made::orders()).unwrap();
    std::fs::write(reader.file("helpdesk.csv"), made::helpdesk()).unwrap();
    reader.types("setup", "colonnade ingest workflow_steps orders.csv").await;
    reader.types("setup", "colonnade ingest helpdesk helpdesk.csv --create").await;
    reader.read("docs/predictions.md").await;
    let query = "{ casePredictions(where: {source: {eq: \"helpdesk\"}}, orderBy: [{caseId: ASC}]) \
                 { nodes { caseId lastActivity suggestedActivity suggestionCases suggestionSuccess otherwiseCases } } \
                 predictionAccuracy(where: {source: {eq: \"helpdesk\"}, isChosen: {eq: true}}) { nodes { target cases } } }";
    let found = reader.served().await.data(query).await;
    let open = |case: &str| {
        json!({
            "caseId": case, "lastActivity": "reply", "suggestedActivity": "escalate",
            "suggestionCases": "66", "suggestionSuccess": 1.0, "otherwiseCases": "131",
        })
    };
    let expected = json!([open("t197"), open("t198"), open("t199")]);
    assert_eq!(found["casePredictions"]["nodes"], expected, "{found}");
    let targets = found["predictionAccuracy"]["nodes"].as_array().unwrap();
    assert!(targets.len() == 3 && targets.iter().all(|of| of["cases"] == "39"), "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_costs_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("calls.csv"), made::calls()).unwrap();
    std::fs::write(reader.file("prices.json"), made::prices()).unwrap();
    reader.types("setup", "colonnade ingest model_calls calls.csv").await;
    reader.read("docs/costs.md").await;
    // The price changed in the middle of the second day; one model is in no list.
    let query = "{ modelCosts(where: {dimension: {eq: \"all\"}}, orderBy: [{at: ASC}]) { nodes { calls unpricedCalls cost } } \
                 unpricedCalls { nodes { model why calls } } }";
    let found = reader.served().await.data(query).await;
    let days = json!([
        { "calls": "24", "unpricedCalls": "1", "cost": "0.069000000000000000" },
        { "calls": "24", "unpricedCalls": "1", "cost": "0.061800000000000000" },
    ]);
    assert_eq!(found["modelCosts"]["nodes"], days, "{found}");
    let new = json!([{ "model": "borealis", "why": "its model is not listed", "calls": "2" }]);
    assert_eq!(found["unpricedCalls"]["nodes"], new, "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_reconciling_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(
        reader.file("orders.csv"),
        "id,amount,customer\no-1,10.00,Bob\no-2,20.00,A Lee\no-3,5.00,Cid\n",
    )
    .unwrap();
    std::fs::write(
        reader.file("ledger.csv"),
        "id,amount,customer\no-2,20.50,Ann L.\no-1,10.009,Bob\no-4,1.00,Dan\n",
    )
    .unwrap();
    reader.types("setup", "colonnade ingest orders orders.csv --create").await;
    reader.types("setup", "colonnade ingest ledger ledger.csv --create").await;
    reader.read("docs/reconcile.md").await;
    let query = "{ reconciliations(where: {kind: {eq: \"differs\"}}, orderBy: [{key: ASC}, {columnName: ASC}]) { nodes { key columnName value decidedBy } } }";
    let found = reader.served().await.data(query).await;
    let expected = json!([
        { "key": "o-1", "columnName": "amount", "value": "10.009", "decidedBy": "rule" },
        { "key": "o-2", "columnName": "amount", "value": "20.5", "decidedBy": "rule" },
        { "key": "o-2", "columnName": "customer", "value": "Ann Lee", "decidedBy": "answer" },
    ]);
    assert_eq!(found["reconciliations"]["nodes"], expected, "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_agents_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("calls.csv"), made::calls()).unwrap();
    std::fs::write(reader.file("trials.csv"), made::trials()).unwrap();
    reader.types("setup", "colonnade ingest model_calls calls.csv").await;
    reader.types("setup", "colonnade ingest trials trials.csv --create").await;
    reader.read("docs/agents.md").await;
    let query = "{ agentComparisons(where: {source: {eq: \"trials\"}}, orderBy: [{measure: ASC}]) { nodes { measure way difference better } } }";
    let found = reader.served().await.data(query).await;
    let expected = json!([
        { "measure": "seconds", "way": "paired", "difference": 0.0, "better": null },
        { "measure": "success", "way": "paired", "difference": -0.5, "better": "a" },
    ]);
    assert_eq!(found["agentComparisons"]["nodes"], expected, "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_routing_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("calls.csv"), made::calls()).unwrap();
    std::fs::write(reader.file("judged.csv"), made::judged()).unwrap();
    reader.types("setup", "colonnade ingest model_calls calls.csv").await;
    reader.types("setup", "colonnade ingest judged judged.csv --create").await;
    std::fs::write(reader.file("twice.csv"), made::twice()).unwrap();
    reader.types("setup", "colonnade ingest twice twice.csv --create").await;
    reader.read("docs/routing.md").await;
    let query = "{ chains: routingPolicies(where: {recommended: {eq: true}, source: {eq: \"twice\"}}) { nodes { loss saving } } \
                 routingPolicies(where: {recommended: {eq: true}, source: {eq: \"judged\"}}) { nodes { policy requests routed quality loss } } \
                 routingRules(where: {source: {eq: \"judged\"}, policy: {startsWith: \"cheapest\"}}) { nodes { kind model requests } } }";
    let found = reader.served().await.data(query).await;
    // Half of the later requests are easy ones; those cost a tenth by the cheap model.
    let policies = json!([{
        "policy": "cheapest by kind, 0.01 worse at most", "requests": "1200", "routed": "600", "quality": 0.875, "loss": 0.0,
    }]);
    assert_eq!(found["routingPolicies"]["nodes"], policies, "{found}");
    // A tenth of all, and the whole of the quarter that the cheap one is not sure of.
    assert_eq!(found["chains"]["nodes"], json!([{ "loss": 0.0, "saving": 0.65 }]), "{found}");
    let rules = json!([{ "kind": "easy", "model": "cheap", "requests": "600" }]);
    assert_eq!(found["routingRules"]["nodes"], rules, "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_drift_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("calls.csv"), made::calls()).unwrap();
    std::fs::write(reader.file("answers.csv"), made::answers()).unwrap();
    reader.types("setup", "colonnade ingest model_calls calls.csv").await;
    reader.types("setup", "colonnade ingest answers answers.csv --create").await;
    reader.read("docs/drift.md").await;
    let query = "{ drifts { nodes { subject columnName startedAt toldAt state } } }";
    let found = reader.served().await.data(query).await;
    let expected = json!([{
        "subject": "wordy", "columnName": "tokens", "startedAt": "2026-01-31T00:00:00Z", "toldAt": "2026-02-02T00:00:00Z", "state": "open",
    }]);
    assert_eq!(found["drifts"]["nodes"], expected, "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_gateways_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("requests.csv"), made::requests()).unwrap();
    std::fs::write(reader.file("trainings.csv"), made::trainings()).unwrap();
    reader.read("docs/gateway.md").await;
    let query = r#"{ metricValues(where: {metric: {eq: "training_gain_per_1000_usd"}}, orderBy: [{series: ASC}]) { nodes { series at value } }
                     routingShares(where: {series: {eq: "b"}}) { nodes { at value } } }"#;
    let found = reader.served().await.data(query).await;
    let values: Vec<f64> = found["metricValues"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (of["value"].as_f64().unwrap() * 1e6).round() / 1e6)
        .collect();
    // 0.01 for 100 dollars; 0.04 for 15, of which 5 were lost.
    assert_eq!(values, [0.1, 2.666667], "{found}");
    let shares = found["routingShares"]["nodes"].as_array().unwrap();
    assert!(shares.len() == 4 && shares.iter().all(|of| of["value"] == 0.1), "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_accuracy_answer() {
    let mut reader = Reader::new(&[], &[]);
    for (name, rows) in ["answers", "shadow_answers", "checked"].into_iter().zip(made::checked()) {
        std::fs::write(reader.file(&format!("{name}.csv")), rows).unwrap();
        reader.types("setup", &format!("colonnade ingest {name} {name}.csv --create")).await;
    }
    reader.read("docs/accuracy.md").await;
    let query = r#"{ modelComparisons { nodes { modelA modelB rows better } }
                     modelAccuracy(where: {isWorse: {eq: true}}, orderBy: [{at: ASC}]) { nodes { model at } } }"#;
    let found = reader.served().await.data(query).await;
    let better = json!([{ "modelA": "m@1", "modelB": "m@2", "rows": "1200", "better": "m@2" }]);
    assert_eq!(found["modelComparisons"]["nodes"], better, "{found}");
    let worse = json!([
        { "model": "m@1", "at": "2026-02-02T00:00:00Z" }, { "model": "m@1", "at": "2026-02-09T00:00:00Z" },
    ]);
    assert_eq!(found["modelAccuracy"]["nodes"], worse, "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_quality_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("visits.csv"), made::visits()).unwrap();
    std::fs::write(reader.file("visitors.csv"), made::visitors()).unwrap();
    reader.types("setup", "colonnade ingest visits visits.csv --create").await;
    reader.types("setup", "colonnade ingest visitors visitors.csv --create").await;
    reader.read("docs/quality.md").await;
    let query = "{ qualityChecks(where: {isFine: {eq: false}}, orderBy: [{checkName: ASC}]) { nodes { checkName columnName at value } } }";
    let found = reader.served().await.data(query).await;
    let expected = json!([
        { "checkName": "nulls", "columnName": "email", "at": "2026-02-13T00:00:00Z", "value": 0.5 },
        { "checkName": "orphans", "columnName": "user_id", "at": "2026-02-13T00:00:00Z", "value": 0.1 },
    ]);
    assert_eq!(found["qualityChecks"]["nodes"], expected, "{found}");
}

#[tokio::test]
async fn the_examples_of_the_page_on_traces_answer() {
    let mut reader = Reader::new(&[], &[]);
    let step = json!({
        "case_id": "c-1", "activity": "execute_tool search", "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z",
        "attributes": { "gen_ai.tool.name": "search", "otel": { "resource": { "service.name": "shop" } } },
    });
    std::fs::write(reader.file("steps.ndjson"), format!("{step}\n")).unwrap();
    reader.types("setup", "colonnade ingest workflow_steps steps.ndjson").await;
    reader.read("docs/otlp.md").await;
}

#[tokio::test]
async fn the_examples_of_the_page_on_features_answer() {
    let mut reader = Reader::new(&[], &[]);
    std::fs::write(reader.file("purchases.csv"), made::purchases()).unwrap();
    let asked = "customer,asked_at,left\nc0,2026-02-08T12:00:00Z,true\nc0,2025-12-31T00:00:00Z,false\nc0,2026-03-11T12:00:00Z,true\n";
    std::fs::write(reader.file("churn.csv"), asked).unwrap();
    reader.read("docs/features.md").await;
    // What happened on day 9 is known from day 39 on; the newest of those known on day 38 is of day 36.
    let query = "{ trainingSet(orderBy: [{askedAt: ASC}]) { nodes { lastAmount purchases customerLoadAt } } }";
    let found = reader.served().await.data(query).await;
    let expected = json!([
        { "lastAmount": null, "purchases": null, "customerLoadAt": null },
        { "lastAmount": 36.5, "purchases": "12", "customerLoadAt": "2026-02-06T00:00:00Z" },
        { "lastAmount": 66.5, "purchases": "23", "customerLoadAt": "2026-03-11T00:00:00Z" },
    ]);
    assert_eq!(found["trainingSet"]["nodes"], expected, "{found}");
    let query =
        "{ onlineFeatures(view: \"customer_load\", entities: [{customer: \"c0\"}]) { rows } }";
    let rows = reader.served().await.data(query).await["onlineFeatures"]["rows"].clone();
    // The last became known in April, and counted for 90 days.
    let row = (&rows[0]["at"], &rows[0]["is_expired"], &rows[0]["features"]["last_amount"]);
    assert_eq!(row, (&json!("2026-04-10T00:00:00Z"), &json!(true), &json!(null)), "{rows}");
}
