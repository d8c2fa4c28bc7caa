//! The schema follows the catalogue.

use datasets::DatasetSpec;
use engine::{Code, Principal, Role, TenantId};
use serde_json::json;

use super::{Rig, calls_spec, name, who};
use crate::reference;

fn spec(name: &str, columns: &[&str]) -> DatasetSpec {
    let columns: Vec<String> =
        columns.iter().map(|c| format!("{{name = \"{c}\", type = \"int64\"}}")).collect();
    let text = format!("name = \"{name}\"\ncolumns = [{}]", columns.join(", "));
    DatasetSpec::from_toml(&text, "test").unwrap()
}

#[tokio::test]
async fn a_new_dataset_is_in_the_schema_of_the_next_request() {
    let rig = Rig::new().await;
    let missing = rig.ask("{ calls { version } }").await;
    assert_eq!(missing["errors"][0]["extensions"]["code"], "BAD_INPUT");
    assert!(missing.get("data").is_none());
    rig.create(calls_spec()).await;
    assert_eq!(rig.data("{ calls { version } }").await["calls"]["version"], 0);
    let mut wider = spec("grown", &["a"]);
    wider.evolution = datasets::Evolution::AddNullable;
    rig.create(wider.clone()).await;
    assert!(rig.ask("{ grown { nodes { added } } }").await.get("data").is_none());
    let added = datasets::ColumnSpec {
        name: "added".to_owned(),
        nullable: true,
        ..wider.columns[0].clone()
    };
    wider.columns.push(added);
    rig.engine.ensure_dataset(&who(), &wider).await.unwrap();
    assert_eq!(rig.data("{ grown { nodes { added } } }").await, json!({"grown": {"nodes": []}}));
}

#[tokio::test]
async fn datasets_of_any_name_have_fields_of_their_own() {
    let rig = Rig::new().await;
    for dataset in ["jobs", "x", "x_groups", "x_changed", "x_rows", "a1", "a_1"] {
        rig.engine
            .ensure_dataset(&who(), &spec(dataset, &["and", "count", "a1", "a_1", "sum"]))
            .await
            .unwrap();
    }
    let sdl = rig.service.sdl(&who()).await.unwrap();
    for field in [
        "xGroupsRows(",
        "xChangedRows(",
        "xRowsRows(",
        "jobsRows(",
        "\ta1(",
        "\ta_1(",
        "and_:",
        "count_:",
    ] {
        assert!(sdl.contains(field), "no {field} in\n{sdl}");
    }
    let data = rig
        .data("{ xGroups(groupBy: [COUNT]) { nodes { count count_ sum { count a_1 } } } x(where: {and: [{and_: {eq: 1}}]}) { nodes { and a1 a_1 } } }")
        .await;
    assert_eq!(data, json!({"xGroups": {"nodes": []}, "x": {"nodes": []}}));
}

#[tokio::test]
async fn the_definition_language_is_the_same_from_outside() {
    let rig = Rig::with_calls().await;
    let sdl = crate::sdl(&rig.engine, &who()).await.unwrap();
    assert_eq!(sdl, rig.service.sdl(&who()).await.unwrap());
    for line in ["calls(", "callsGroups(", "callsChanged(", "scalar BigInt", "runJob("] {
        assert!(sdl.contains(line), "no {line} in\n{sdl}");
    }
}

#[tokio::test]
async fn roles_decide_what_a_principal_may_do_and_tenants_what_it_sees() {
    let rig = Rig::with_calls().await;
    let ask = |roles: Vec<Role>, tenant: &str, query: &'static str| {
        let who = Principal::new(tenant.parse::<TenantId>().unwrap(), "someone", &roles);
        let service = rig.service.clone();
        async move {
            let request = async_graphql::Request::new(query);
            match service.answer(&who, request, "id", crate::Accepts::Single).await {
                crate::Answers::One(answer) => super::document(&answer),
                crate::Answers::Many(_) => panic!("a stream"),
            }
        }
    };
    let run = "mutation { runJob(job: \"anomalies\") { id } }";
    let create = "mutation { createDataset(spec: {name: \"d\", columns: [{name: \"a\", type: \"text\"}]}) { name } }";
    for query in [run, create] {
        let answer = ask(vec![Role::Reader], "default", query).await;
        assert_eq!(
            answer["errors"][0]["extensions"]["code"],
            Code::Forbidden.as_str(),
            "{answer:#}"
        );
    }
    let answer = ask(Vec::new(), "default", "{ datasets { name } }").await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], Code::Forbidden.as_str());
    let answer = ask(vec![Role::Writer], "default", "{ datasets { name } }").await;
    assert!(answer.get("errors").is_none(), "a writer reads as well: {answer:#}");
    let answer = ask(vec![Role::Reader], "other", "{ datasets { name } }").await;
    assert_eq!(answer["data"], json!({"datasets": []}), "{answer:#}");
    let answer = ask(vec![Role::Reader], "other", "{ calls { version } }").await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT");
    let answer = ask(vec![Role::Reader, Role::Writer], "other", create).await;
    assert_eq!(answer["data"]["createDataset"]["name"], "d", "{answer:#}");
    assert!(rig.engine.catalog(&who()).await.unwrap().dataset(&name("d")).is_err());
}

#[tokio::test]
async fn a_dataset_may_be_called_like_anything_that_the_schema_has() {
    let rig = Rig::new().await;
    let fields = "{ __schema { queryType { fields { name } } subscriptionType { fields { name } } mutationType { fields { name } } } }";
    let fields = rig.data(fields).await;
    let mut names: Vec<String> = Vec::new();
    for root in ["queryType", "subscriptionType", "mutationType"] {
        let fields = fields["__schema"][root]["fields"].as_array().unwrap().iter();
        for field in fields.filter_map(|field| field["name"].as_str()) {
            let letter = |c: char| match c.is_ascii_uppercase() {
                true => format!("_{}", c.to_ascii_lowercase()),
                false => c.to_string(),
            };
            names.push(field.chars().map(letter).collect());
        }
    }
    assert!(names.contains(&"schedules".to_owned()) && names.len() > 20, "{names:?}");
    for dataset in names {
        // Names that are kept for Colonnade's own have one of that name.
        if rig.engine.ensure_dataset(&who(), &spec(&dataset, &["a"])).await.is_ok() {
            let answer = rig.ask("{ __typename schedules { name } }").await;
            assert_eq!(answer["data"]["__typename"], "Query", "{dataset}: {answer}");
        }
    }
}

/// `docs/schema.md` is what the server says. `UPDATE_DOCS=1` writes it.
#[tokio::test]
async fn the_page_on_the_schema_is_that_of_the_server() {
    let about = "What a server takes and gives whose root has the built-in dataset `model_calls` alone: each other dataset has the same \
                 fields under its own name, with its own columns. `colonnade schema --markdown` prints this page for the datasets of a root, \
                 and `colonnade schema` the definition language, which code generators take.";
    let spec = datasets::specs::by_name("model_calls").unwrap();
    let rig = Rig::expecting(vec![spec]).await;
    let sdl = rig.service.sdl(&who()).await.unwrap();
    let page = reference::page(&sdl, "Schema reference", about).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == written, "docs/schema.md is another page; UPDATE_DOCS=1 writes it");
}
