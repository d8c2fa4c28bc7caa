//! How subscriptions end, and how a client continues an interrupted one.

use std::time::Duration;

use async_graphql::Request;
use futures::StreamExt;
use futures::stream::BoxStream;
use jobs::RunRequest;
use serde_json::json;

use super::{Rig, calls, calls_spec, document, who};
use crate::answer::{Answers, Event};
use crate::limits::Limits;
use crate::server::ServerOptions;
use crate::service::Accepts;

const SOON: Duration = Duration::from_secs(20);
const FOLLOW: &str = "subscription { callsChanged { version } }";

async fn events(rig: &Rig, query: &str) -> BoxStream<'static, Event> {
    match rig.service.answer(&who(), Request::new(query), "id", Accepts::Streams).await {
        Answers::Many(events) => events,
        Answers::One(answer) => panic!("one answer for {query}: {}", document(&answer)),
    }
}

/// A short form of the next event: `+` and a version, `error` and a code, `at` and a position, `interrupted` or `complete`.
async fn next(events: &mut BoxStream<'static, Event>) -> String {
    let event = tokio::time::timeout(SOON, events.next()).await.expect("no event within the time");
    match event {
        Some(Event::Answer(answer)) => match answer.version {
            Some(version) => format!("+{version}"),
            None => {
                let answer = document(&answer);
                let code = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none");
                format!("error {code}")
            }
        },
        Some(Event::Position(version)) => format!("at {version}"),
        Some(Event::Interrupted) => "interrupted".to_owned(),
        None => "complete".to_owned(),
    }
}

#[tokio::test]
async fn a_shutdown_interrupts_subscriptions_and_completes_none() {
    let rig = Rig::with_calls().await;
    let mut alone = events(&rig, FOLLOW).await;
    assert_eq!(next(&mut alone).await, "at 1");
    let mut members = Vec::new();
    for _ in 0..2 {
        let mut member = events(&rig, "subscription { callsChanged { previousVersion } }").await;
        assert_eq!(next(&mut member).await, "at 1");
        members.push(member);
    }
    let mut catalog = events(&rig, "subscription { catalogChanged { dropped } }").await;
    assert_eq!(next(&mut catalog).await, "error none");
    let waiting = futures::future::join_all(
        [&mut alone].into_iter().chain(&mut members).chain([&mut catalog]).map(next),
    );
    let (ends, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        rig.service.0.ending.cancel();
    });
    assert_eq!(ends, ["interrupted"; 4]);
    // A new subscription is interrupted, too.
    assert_eq!(next(&mut events(&rig, FOLLOW).await).await, "interrupted");
}

#[tokio::test]
async fn temporary_errors_interrupt_and_permanent_ones_complete() {
    let time_max = Duration::from_secs(2);
    let limits = Limits { operation_time_max: time_max, ..Limits::default() };
    let rig = Rig::with_limits(Limits { queries_at_a_time_max: 2, ..limits }).await;
    rig.create(calls_spec()).await;
    let mut busy = events(&rig, FOLLOW).await;
    assert_eq!(next(&mut busy).await, "at 0");
    let place = rig.service.0.lanes.places().try_take(&who().tenant).unwrap();
    rig.append("calls", vec![calls()]).await;
    assert_eq!(next(&mut busy).await, "error TIMEOUT");
    assert_eq!(next(&mut busy).await, "interrupted");
    drop(place);

    let rig = Rig::with_calls().await;
    let mut refused = events(&rig, "subscription { callsChanged(since: 99) { version } }").await;
    assert_eq!(next(&mut refused).await, "error BAD_INPUT");
    assert_eq!(next(&mut refused).await, "complete");
}

#[tokio::test]
async fn a_subscription_to_a_run_completes_with_the_run() {
    let rig = Rig::with_calls().await;
    let request = RunRequest { job: "maintain".into(), ..RunRequest::default() };
    let run = rig.runner.submit(&who(), request).await.unwrap();
    let query = format!("subscription {{ runUpdates(id: \"{}\") {{ state }} }}", run.id());
    let mut updates = events(&rig, &query).await;
    let mut last = next(&mut updates).await;
    while last == "error none" {
        last = next(&mut updates).await;
    }
    assert_eq!(last, "complete");
}

#[tokio::test]
async fn each_version_is_the_id_of_its_message() {
    let rig = Rig::with_calls().await;
    for row in 0..2 {
        rig.append("calls", vec![calls().slice(row, 1)]).await;
    }
    let queries = [
        ("subscription { callsChanged(since: 1) { previousVersion } }", ["+2", "+3"]),
        ("subscription { callsGroupsLive(groupBy: [MODEL], since: 1) { hasMore } }", ["+2", "+3"]),
        ("subscription { callsGroupsLive(groupBy: [MODEL]) { hasMore } }", ["+3", "+4"]),
    ];
    for (query, ids) in queries {
        let mut messages = events(&rig, query).await;
        assert_eq!(next(&mut messages).await, ids[0], "{query}");
        if ids[1] == "+4" {
            rig.append("calls", vec![calls().slice(3, 1)]).await;
        }
        assert_eq!(next(&mut messages).await, ids[1], "{query}");
    }
}

#[tokio::test]
async fn an_interrupted_event_stream_has_no_complete_and_resumes_after_its_last_id() {
    let rig = Rig::with_calls().await;
    let (address, stop, running) = rig.serve(ServerOptions::default()).await;
    let ask = |last: Option<&'static str>, query: &str| {
        let request = reqwest::Client::new()
            .post(format!("http://{address}/graphql"))
            .header("accept", "text/event-stream")
            .header("content-type", "application/json")
            .body(json!({ "query": query }).to_string());
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        async move { request.send().await.unwrap() }
    };
    let mut first = ask(None, FOLLOW).await;
    let chunk = async |response: &mut reqwest::Response| {
        let chunk = tokio::time::timeout(SOON, response.chunk()).await.unwrap().unwrap();
        chunk.map(|chunk| String::from_utf8_lossy(&chunk).into_owned())
    };
    assert_eq!(chunk(&mut first).await.unwrap(), "id: 1\n\n");
    for row in 0..3 {
        rig.append("calls", vec![calls().slice(row, 1)]).await;
    }
    let message = chunk(&mut first).await.unwrap();
    assert!(message.starts_with("id: 2\nevent: next\ndata: {\"data\""), "{message}");
    // The last id overrides `since`, which names the version that was first asked for.
    let from_one = "subscription { callsChanged(since: 1) { version } }";
    let message = chunk(&mut ask(Some("3"), from_one).await).await.unwrap();
    assert!(message.starts_with("id: 4\n") && message.contains("\"version\":4"), "{message}");
    let message = chunk(&mut ask(Some(""), from_one).await).await.unwrap();
    assert!(message.starts_with("id: 2\n"), "{message}");
    let unknown = ask(Some("99"), from_one).await.text().await.unwrap();
    assert!(unknown.contains("Last-Event-ID") && unknown.contains("complete"), "{unknown}");
    assert_eq!(ask(Some("x"), from_one).await.status(), 400);
    stop.send(()).unwrap();
    while let Some(rest) = chunk(&mut first).await {
        assert!(!rest.contains("complete") && !rest.contains("errors"), "{rest}");
    }
    running.await.unwrap();
}

#[tokio::test]
async fn a_temporary_refusal_is_a_status_and_no_event() {
    let limits = Limits {
        queries_at_a_time_max: 2,
        operation_time_max: Duration::from_secs(2),
        ..Limits::default()
    };
    let rig = Rig::with_limits(limits.clone()).await;
    rig.create(calls_spec()).await;
    let server = crate::Server::bind(
        rig.engine.clone(),
        rig.runner.clone(),
        ServerOptions { listen: "127.0.0.1:0".parse().unwrap(), limits, ..Default::default() },
    );
    let server = server.await.unwrap();
    let (address, service) = (server.address(), server.service().clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async { drop(stopped.await) }));
    let place = service.0.lanes.places().try_take(&who().tenant).unwrap();
    let ask = || {
        let request = reqwest::Client::new()
            .post(format!("http://{address}/graphql"))
            .header("accept", "text/event-stream")
            .header("content-type", "application/json");
        request.body(json!({ "query": FOLLOW }).to_string()).send()
    };
    let refused = ask().await.unwrap();
    assert_eq!(refused.status(), 504);
    assert!(refused.text().await.unwrap().contains("TIMEOUT"));
    drop(place);
    let mut taken = ask().await.unwrap();
    assert_eq!(taken.status(), 200);
    assert_eq!(taken.chunk().await.unwrap().unwrap().as_ref(), b"id: 0\n\n");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}
