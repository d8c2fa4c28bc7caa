//! What mutations leave behind: a row each, for admins.

use engine::{Principal, Role, TenantId};
use serde_json::{Value, json};

use super::{Rig, next, who};

const ROWS: &str = "{ audit(orderBy: [{number: ASC}]) { nodes { number subject credential via operation field target \
                    argumentsSha256 outcome } } }";

/// The rows, when there are so many.
async fn rows(rig: &Rig, count: usize) -> Vec<Value> {
    let began = std::time::Instant::now();
    loop {
        let answer = rig.ask(ROWS).await;
        let rows = answer["data"]["audit"]["nodes"].as_array().cloned().unwrap_or_default();
        if rows.len() >= count {
            return rows;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{answer:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mutation_is_a_row_whether_it_came_out_well_or_not() {
    let rig = Rig::with_calls().await;
    let make =
        "mutation Make { createKey(subject: \"x\", roles: [ADMIN]) { secret key { prefix } } }";
    let make = async_graphql::Request::new(make).operation_name("Make");
    let made = rig.ask_as(&who(), make).await["data"].clone();
    let (secret, prefix) = (&made["createKey"]["secret"], &made["createKey"]["key"]["prefix"]);
    rig.ask("mutation { dropDataset(name: \"nothing\") { name } }").await;
    let reader = Principal::new(TenantId::default(), "a reader", &[Role::Reader]);
    let revoke = "mutation($p: String!) { revokeKey(prefix: $p) { state } }";
    let request = async_graphql::Request::new(revoke)
        .variables(async_graphql::Variables::from_json(json!({"p": prefix})));
    rig.ask_as(&reader, request).await;
    // Two fields of one mutation are two acts, and a query is none.
    rig.data("{ keys { prefix } }").await;
    let two = "mutation { callsDelete(where: {id: {eq: \"c1\"}}) { rows } again: callsDelete(where: {id: {eq: \"c2\"}}) { rows } }";
    rig.data(two).await;
    let rows = rows(&rig, 5).await;
    let seen: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!([row["subject"], row["operation"], row["field"], row["target"], row["outcome"]])
        })
        .collect();
    assert_eq!(
        seen,
        [
            json!(["local", "Make", "createKey", prefix, "OK"]),
            json!(["local", null, "dropDataset", "nothing", "NOT_FOUND"]),
            json!(["a reader", null, "revokeKey", prefix, "FORBIDDEN"]),
            json!(["local", null, "callsDelete", "calls", "OK"]),
            json!(["local", null, "callsDelete", "calls", "OK"]),
        ]
    );
    assert_ne!(rows[3]["argumentsSha256"], rows[4]["argumentsSha256"]);
    let shown = rows.into_iter().map(|mut row| {
        // Any two digits may be in a digest.
        row["argumentsSha256"] = Value::Null;
        row.to_string()
    });
    let text: String = shown.collect();
    assert!(!text.contains(secret.as_str().unwrap()) && !text.contains("c1"), "{text}");
    assert_eq!(rig.runner.verify_audit(&who(), None).await.unwrap().acts, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_all_but_admins_it_is_not_there() {
    let rig = Rig::with_calls().await;
    rig.data("mutation { createKey(subject: \"x\", roles: [ADMIN]) { secret } }").await;
    rows(&rig, 1).await;
    for role in [Role::Reader, Role::Writer, Role::Operator] {
        let who = Principal::new(TenantId::default(), "x", &[role]);
        for query in [
            "{ audit { totalCount } }",
            "{ auditGroups { nodes { count } } }",
            "subscription { auditChanged { version } }",
        ] {
            let answer = match query.starts_with('{') {
                true => rig.ask_as(&who, query).await,
                false => next(&mut rig.subscribe_as(&who, query).await).await,
            };
            assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{role}: {answer}");
        }
        let datasets =
            rig.ask_as(&who, "{ datasets { name } dataset(name: \"audit\") { name } }").await;
        assert!(!datasets["data"].to_string().contains("audit"), "{role}: {datasets}");
    }
    let admin = Principal::new(TenantId::default(), "x", &[Role::Admin]);
    let counted = rig.ask_as(&admin, "{ audit { totalCount } }").await;
    assert_eq!(counted["data"]["audit"]["totalCount"], "1", "{counted}");
    let told = "subscription { auditChanged(since: 0) { version } }";
    let told = next(&mut rig.subscribe_as(&admin, told).await).await;
    assert!(told["data"]["auditChanged"]["version"].is_u64(), "{told}");
}
