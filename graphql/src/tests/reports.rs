//! Reports that are made by the server, and downloaded.

use engine::{Grant, GrantSet, Grants, Mask, Principal, Role};
use serde_json::{Value, json};

use super::{Rig, who};
use crate::server::ServerOptions;

const TEMPLATE: &str = r#"
title = "Calls"

[parameters.least]
type = "text"
default = "c0"

[queries.calls]
sql = "SELECT id, model FROM calls WHERE id >= $least ORDER BY id"

[queries.tickets]
sql = "SELECT count(*) AS n FROM tickets_of_nobody"

[[sections]]
type = "table"
title = "Calls by id"
query = "calls"
columns = [{ column = "id" }]

[[sections]]
type = "table"
title = "Models"
query = "calls"
optional = true
columns = [{ column = "model" }]

[[sections]]
type = "table"
title = "Tickets"
query = "tickets"
optional = true
columns = [{ column = "n" }]
"#;

const CREATE: &str = "mutation($template: String, $name: String, $parameters: JSON, $pages: [ReportPage!]) { createReport(template: $template, name: $name, \
                      parameters: $parameters, pages: $pages, wait: true) { id state run { error { code message } } \
                      files { name bytes url } } }";

async fn create(rig: &Rig, who: &Principal, variables: Value) -> Value {
    let request = async_graphql::Request::new(CREATE);
    let variables = async_graphql::Variables::from_json(variables);
    rig.ask_as(who, request.variables(variables)).await
}

async fn page(address: &str, report: &Value) -> (String, String) {
    let url = report["files"][0]["url"].as_str().unwrap();
    let answer = reqwest::get(format!("http://{address}{url}")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_made_and_downloaded() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let variables = json!({"template": TEMPLATE, "parameters": {"least": "c2"}});
    let made = create(&rig, &who(), variables).await;
    let report = &made["data"]["createReport"];
    assert_eq!(report["state"], "SUCCEEDED", "{made}");
    assert_eq!(report["files"][0]["name"], "report.html");
    let (kind, text) = page(&address, report).await;
    assert!(kind.starts_with("text/html"), "{kind}");
    assert!(text.contains(">c2<") && !text.contains(">c1<"), "{text}");
    assert!(text.contains("calls@1") && text.contains("there is no dataset tickets_of_nobody"));
    let id = report["id"].as_str().unwrap();
    rig.engine.verify_exported(&who(), id).await.unwrap();
    // It is one of the exports, and goes as they do.
    let query = "{ exports { id files { name } manifest } }";
    let listed = rig.ask(query).await;
    assert_eq!(listed["data"]["exports"][0]["id"], report["id"], "{listed}");
    assert_eq!(listed["data"]["exports"][0]["manifest"]["source"]["report"], "Calls");
    let ready = rig.ask("{ reportTemplates { name description } }").await;
    let names: Vec<&str> = (ready["data"]["reportTemplates"].as_array().unwrap().iter())
        .map(|template| template["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["operations-week", "model-costs", "data-quality"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_part_has_a_report_of_that_part() {
    let rig = Rig::with_calls().await;
    let (address, _stop, _) = rig.serve(ServerOptions::default()).await;
    let masks = [("model".to_owned(), Mask::Hide)].into();
    let grant = Grant { rows: Some("id < 'c2'".to_owned()), masks };
    let set = GrantSet { salt: None, datasets: [("calls".to_owned(), grant)].into() };
    let part = Principal {
        subject: "narrow".to_owned(),
        grants: Grants::limited(set, [].into()).unwrap(),
        roles: vec![Role::Reader],
        ..who()
    };
    let template = TEMPLATE.replace("SELECT id, model FROM calls", "SELECT id FROM calls");
    let template = template.replace("{ column = \"model\" }", "{ column = \"id\" }");
    let made = create(&rig, &part, json!({"template": template})).await;
    let report = &made["data"]["createReport"];
    assert_eq!(report["state"], "SUCCEEDED", "{made}");
    let (_, text) = page(&address, report).await;
    assert!(text.contains(">c1<") && !text.contains(">c2<"), "{text}");
    assert!(text.contains("of the part of the data"));
    // A column that is kept back is no column, and fails where it is needed.
    let made = create(&rig, &part, json!({"template": TEMPLATE})).await;
    assert_eq!(made["data"]["createReport"]["state"], "FAILED", "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_report_is_told() {
    let rig = Rig::with_calls().await;
    for (variables, says) in [
        (json!({}), "expected the name of a report"),
        (json!({"name": "operations-wek"}), "operations-week"),
        (json!({"name": "model-costs", "template": TEMPLATE}), "found both"),
        (json!({"template": "titel = 1"}), "titel"),
        (json!({"template": TEMPLATE, "pages": ["HTML", "HTML"]}), "at most once"),
        (json!({"template": TEMPLATE, "pages": ["PDF"]}), "makes no PDF"),
        (
            json!({"template": TEMPLATE.replace("SELECT id, model", "SELECT id, repeat(model, 2000000) AS model").replace(" ORDER BY id", "")}),
            "fewer or shorter rows",
        ),
        (json!({"template": TEMPLATE, "parameters": {"most": "1"}}), "most"),
        (json!({"template": TEMPLATE.replace("ORDER BY id", "ORDER BY idd")}), "idd"),
        (json!({"template": TEMPLATE.replace("SELECT id", "DELETE id")}), "queries.calls"),
        (json!({"template": TEMPLATE.replace("FROM calls", "FROM cals")}), "cals"),
    ] {
        let made = create(&rig, &who(), variables.clone()).await;
        assert!(made.to_string().contains(says), "{variables}: {made}");
    }
}
