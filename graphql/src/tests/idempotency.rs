//! A mutation with a key is done once, however often it is sent.

use async_graphql::Request;
use engine::{Principal, Role, TenantId};
use jobs::{KeyedRequest, RunRequest, Runner, RunnerOptions, part_of_request};
use serde_json::{Value, json};

use super::http::{JSON, client};
use super::{Rig, who};
use crate::limits::Limits;
use crate::server::ServerOptions;
use crate::service::Service;

fn keyed(query: &str, key: &str) -> Request {
    serde_json::from_value(json!({"query": query, "extensions": {"idempotencyKey": key}})).unwrap()
}

/// Takes a row away: done again, it takes none.
fn delete(n: u32) -> String {
    format!("mutation {{ callsDelete(where: {{id: {{eq: \"c{n}\"}}}}) {{ rows }} }}")
}

fn rows(answer: &Value) -> &Value {
    &answer["data"]["callsDelete"]["rows"]
}

#[tokio::test]
async fn it_is_done_once_and_told_again() {
    let rig = Rig::with_calls().await;
    let first = rig.ask_as(&who(), keyed(&delete(1), "a")).await;
    assert_eq!(rows(&first), "1", "{first:#}");
    assert_eq!(rig.ask_as(&who(), keyed(&delete(1), "a")).await, first);
    // Without the key, and under another one, it is done again.
    for request in [Request::new(delete(1)), keyed(&delete(1), "b")] {
        assert_eq!(rows(&rig.ask_as(&who(), request).await), "0");
    }
    let other = rig.ask_as(&who(), keyed(&delete(2), "a")).await;
    assert_eq!(other["errors"][0]["extensions"]["code"], "CONFLICT", "{other}");
    // Under the same key, somebody else asks something else.
    let roles = [Role::Reader, Role::Writer, Role::Operator, Role::Admin];
    let somebody = Principal::new(TenantId::default(), "somebody", &roles);
    let own = rig.ask_as(&somebody, keyed(&delete(2), "a")).await;
    assert_eq!(rows(&own), "1", "{own}");
}

#[tokio::test]
async fn of_several_at_once_one_is_done() {
    let rig = Rig::with_calls().await;
    let ask = || async { rig.ask_as(&who(), keyed(&delete(3), "at-once")).await };
    let answers = futures::future::join_all((0..4).map(|_| ask())).await;
    let mut done = 0;
    for answer in &answers {
        match rows(answer) {
            Value::Null => {
                let error = &answer["errors"][0];
                assert_eq!(error["extensions"]["code"], "CONFLICT", "{answer}");
                assert!(error["message"].as_str().unwrap().contains("is being done"));
            }
            rows => {
                assert_eq!(rows, "1", "{answer}");
                done += 1;
            }
        }
    }
    assert!(done > 0, "{answers:?}");
    assert_eq!(rows(&rig.ask_as(&who(), keyed(&delete(3), "at-once")).await), "1");
}

#[tokio::test]
async fn what_failed_is_told_again_and_what_is_no_request_has_no_key() {
    let rig = Rig::with_calls().await;
    let cancel = "mutation { cancelRun(id: \"00000000-0000-7000-8000-000000000000\") { id } }";
    let failed = rig.ask_as(&who(), keyed(cancel, "c")).await;
    assert_eq!(failed["errors"][0]["extensions"]["code"], "NOT_FOUND", "{failed}");
    assert_eq!(rig.ask_as(&who(), keyed(cancel, "c")).await, failed);
    // What is refused before it begins uses no key.
    let refused = rig.ask_as(&who(), keyed("mutation { nothing }", "d")).await;
    assert!(refused.get("data").is_none());
    assert_eq!(rows(&rig.ask_as(&who(), keyed(&delete(4), "d")).await), "1");
    for (key, says) in [("", "1 to 255"), ("a b", "without spaces"), (&"x".repeat(256), "1 to 255")]
    {
        let answer = rig.ask_as(&who(), keyed(&delete(5), key)).await;
        assert!(answer["errors"][0]["message"].as_str().unwrap().contains(says), "{answer}");
    }
    // A query has none to use.
    let query = "{ calls { totalCount } }";
    let answer = rig.ask_as(&who(), keyed(query, "a")).await;
    assert_eq!(answer["data"]["calls"]["totalCount"], "9");
}

#[tokio::test]
async fn a_secret_is_told_once() {
    let rig = Rig::with_calls().await;
    let create =
        "mutation { createKey(subject: \"robot\", roles: [ADMIN]) { secret key { prefix } } }";
    let first = rig.ask_as(&who(), keyed(create, "key")).await;
    assert!(first.get("errors").is_none(), "{first}");
    let again = rig.ask_as(&who(), keyed(create, "key")).await;
    let error = &again["errors"][0];
    assert!(error["message"].as_str().unwrap().contains("shown once"), "{again}");
    let keys = rig.data("{ keys { prefix } }").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
}

#[tokio::test]
async fn the_header_is_the_key_and_an_answer_of_before_says_so() {
    let rig = Rig::with_calls().await;
    let client = client(&rig, ServerOptions::default()).await;
    let body = json!({"query": delete(6)}).to_string();
    let headers = [JSON, ("idempotency-key", "h")];
    let (status, headers_1, first) = client.post("/graphql", &headers, body.clone()).await;
    assert!(status == 200 && !headers_1.contains_key("idempotency-replayed"));
    let (status, headers_2, again) = client.post("/graphql", &headers, body).await;
    assert_eq!((status, &again), (200, &first));
    assert_eq!(headers_2["idempotency-replayed"], "true");
    let other = json!({"query": delete(7)}).to_string();
    let (_, _, refused) = client.post("/graphql", &headers, other).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "CONFLICT", "{refused}");
}

#[test]
fn what_was_asked_before_an_upgrade_is_still_the_same() {
    let request = Request::new("{ calls { nodes { id } } }")
        .operation_name("A")
        .variables(async_graphql::Variables::from_json(json!({"n": 1})));
    // As it lies in control states: SHA-256 of each text behind its length in eight bytes.
    let digest = "72907f6c8811a6d99ac0260aa0019520e27c4d1e48670fac8dc5dd6125f99c49";
    assert_eq!(crate::service::question_of(&request, None), digest);
}

#[tokio::test]
async fn a_temporary_error_is_not_stored() {
    let options = RunnerOptions { concurrent_runs: 0, queue_runs_max: 2, ..Default::default() };
    let rig = Rig::with_calls().await;
    let runner = Runner::start(rig.engine.clone(), options).await.unwrap();
    let service = Service::new(rig.engine.clone(), runner.clone(), Limits::default()).unwrap();
    let rig = Rig { runner, service, ..rig };
    let run = "mutation { runJob(job: \"maintain\") { id } }";
    let id = |answer: &Value| answer["data"]["runJob"]["id"].as_str().map(str::to_owned);
    let mut queued = Vec::new();
    let full = loop {
        let key = format!("run-{}", queued.len());
        let answer = rig.ask_as(&who(), keyed(run, &key)).await;
        match id(&answer) {
            Some(id) => queued.push(id),
            None => break answer,
        }
        assert!(queued.len() < 10, "the queue is never full");
    };
    let extensions = &full["errors"][0]["extensions"];
    assert_eq!(
        (&extensions["code"], &extensions["retryAfter"]),
        (&json!("LIMIT_EXCEEDED"), &json!(1))
    );
    let key = format!("run-{}", queued.len());
    assert_eq!(rig.ask_as(&who(), keyed(run, &key)).await, full);
    let cancel = format!("mutation {{ cancelRun(id: \"{}\") {{ state }} }}", queued[0]);
    rig.data(&cancel).await;
    let done = rig.ask_as(&who(), keyed(run, &key)).await;
    let last = id(&done).unwrap_or_else(|| panic!("{done}"));
    assert!(!queued.contains(&last));
    // Requests that queued a run get their stored answers.
    assert_eq!(rig.ask_as(&who(), keyed(run, &key)).await, done);
    let first = rig.ask_as(&who(), keyed(run, "run-0")).await;
    assert_eq!(id(&first).as_ref(), Some(&queued[0]));
}

#[tokio::test]
async fn a_partly_executed_mutation_keeps_its_answer() {
    let rig = Rig::with_calls().await;
    let reader = Principal::new(TenantId::default(), "one", &[Role::Reader, Role::Writer]);
    let both = "mutation {
        callsDelete(where: {id: {eq: \"c1\"}}) { rows }
        runJob(job: \"maintain\") { id }
    }";
    let first = rig.ask_as(&reader, keyed(both, "part")).await;
    assert_eq!(rows(&first), "1", "{first}");
    assert_eq!(first["errors"][0]["extensions"]["code"], "FORBIDDEN", "{first}");
    assert_eq!(rig.ask_as(&reader, keyed(both, "part")).await, first);
}

#[tokio::test]
async fn each_field_of_a_mutation_continues_with_the_run_that_it_queued() {
    let rig = Rig::with_calls().await;
    let both =
        "mutation { a: runJob(job: \"maintain\") { id } b: runJob(job: \"maintain\") { id } }";
    let request = keyed(both, "parts");
    let question = crate::service::question_of(&request, None);
    let question = format!("{question} {} {:?}", who().sees().digest(), who().roles);
    let begun = rig.runner.begin_request(&who(), "parts", &question).await.unwrap();
    let KeyedRequest::New(lost) = begun else { panic!("the key is known") };
    // The first field failed, and the database broke off when the second had queued its run.
    let asked = RunRequest { job: "maintain".to_owned(), ..RunRequest::default() };
    let own = who();
    let submit = rig.runner.submit(&own, asked);
    let queued = lost.doing(part_of_request("b".to_owned(), submit)).await.unwrap();
    lost.undone().await;
    let done = loop {
        let answer = rig.ask_as(&who(), keyed(both, "parts")).await;
        match answer["errors"][0]["extensions"]["code"] == "CONFLICT" {
            true => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            false => break answer,
        }
    };
    let id = |field: &str| done["data"][field]["id"].as_str().map(str::to_owned);
    assert_eq!(id("b"), Some(queued.id().to_string()), "{done}");
    assert!(id("a").is_some() && id("a") != id("b"), "{done}");
}
