//! Bounds that a query runs into while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{self, DataType};
use async_graphql::Request;
use async_graphql::dynamic::{Field, FieldValue, Object, Schema, TypeRef};

use super::{Rig, calls, calls_spec, cast_to, next, who};
use crate::answer::Answers;
use crate::limits::Limits;
use crate::request::RequestState;
use crate::schema::resolve::nullable;
use crate::service::Accepts;

async fn code(limits: Limits, query: &str) -> String {
    let rig = Rig::with_limits(limits).await;
    rig.create(calls_spec()).await;
    rig.append("calls", vec![calls()]).await;
    let answer = rig.ask(query).await;
    // Not one for each value that there is no room for.
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer:#}");
    let error = &answer["errors"][0];
    assert!(error["message"].as_str().unwrap().contains("limit"), "{answer:#}");
    error["extensions"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_schema_and_names_that_are_spelt_alike_can_be_kept_back() {
    let asked = ["{ __schema { queryType { name } } }", "{ __type(name: \"CallsRow\") { name } }"];
    let unknown = "{ calls { nodes { modell } } }";
    let rig = Rig::with_calls().await;
    for query in asked {
        assert!(rig.ask(query).await.to_string().contains("\"name\""), "{query}");
    }
    assert!(rig.ask(unknown).await.to_string().contains("Did you mean"));
    let limits = Limits { introspection: false, suggestions: false, ..Limits::default() };
    let rig = Rig::with_limits(limits).await;
    rig.create(calls_spec()).await;
    for query in asked {
        let answer = rig.ask(query).await;
        assert!(!answer.to_string().contains("\"name\""), "{query}: {answer}");
    }
    let answer = rig.ask(unknown).await;
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("modell") && !message.contains("Did you mean"), "{message}");
    assert!(rig.ask("{ calls { __typename } }").await.get("errors").is_none());
}

#[tokio::test]
async fn a_validation_error_lists_the_accepted_names() {
    let wrong = [
        ("{ calls(orderBy: {latencyMs: desc}) { nodes { id } } }", "expected one of ASC, DESC,"),
        ("{ calls(orderBy: {latencyMs: desc}) { nodes { id } } }", "did you mean DESC?"),
        ("{ calls(orderBy: [{latencyMs: 1}]) { nodes { id } } }", "expected one of ASC, DESC,"),
        ("{ calls(where: {modl: {eq: \"a\"}}) { version } }", "expected fields among and, or, not"),
        ("{ calls(where: {modl: {eq: \"a\"}}) { version } }", "did you mean model?"),
        ("{ calls(where: {model: {equals: \"a\"}}) { version } }", "isNull, eq, ne,"),
        ("{ runs(state: DONE) { id } }", "expected one of QUEUED, RUNNING, SUCCEEDED"),
        ("subscription { callsChanged(where: {modl: {}}) { version } }", "did you mean model?"),
    ];
    let rig = Rig::with_calls().await;
    let hidden = Limits { introspection: false, ..Limits::default() };
    let hidden = Rig::with_limits(hidden).await;
    hidden.create(calls_spec()).await;
    for (query, says) in wrong {
        for (rig, is_named) in [(&rig, true), (&hidden, false)] {
            let answer = match query.starts_with("subscription") {
                true => next(&mut rig.subscribe(query).await).await,
                false => rig.ask(query).await,
            };
            let message = answer["errors"][0]["message"].as_str().unwrap_or_default();
            assert_eq!(message.contains(says), is_named, "{query}: {answer:#}");
            assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{answer:#}");
        }
    }
    // The library suggests argument names even with suggestions disabled.
    let misspelt = "{ calls(whera: {}) { version } }";
    assert!(rig.ask(misspelt).await.to_string().contains("Did you mean"));
    let answer = hidden.ask(misspelt).await;
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("whera") && !message.contains("where"), "{message}");
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_ended() {
    let limits = Limits { operation_time_max: Duration::ZERO, ..Limits::default() };
    assert_eq!(code(limits, "{ calls { nodes { id } } }").await, "TIMEOUT");
}

#[tokio::test]
async fn a_page_of_too_many_bytes_is_refused() {
    let limits = Limits { page_bytes_max: 100, ..Limits::default() };
    assert_eq!(code(limits, "{ calls { nodes { id payload } } }").await, "LIMIT_EXCEEDED");
}

#[tokio::test]
async fn what_an_answer_shows_is_counted_as_often_as_it_is_shown() {
    let limits = Limits { answer_bytes_max: 200, ..Limits::default() };
    let shown = (0..40).map(|i| format!("x{i}: id ")).collect::<String>();
    assert_eq!(
        code(limits, &format!("{{ calls {{ nodes {{ {shown} }} }} }}")).await,
        "LIMIT_EXCEEDED"
    );
}

#[tokio::test]
async fn all_that_an_answer_has_is_counted() {
    let many = |field: &str| (0..100).map(|i| format!("x{i}: {field} ")).collect::<String>();
    let few = Limits { answer_bytes_max: 20_000, root_fields_max: 100, ..Limits::default() };
    let types = "{ __schema { types { name kind fields { name type { name kind } } } } }";
    for query in [
        format!("{{ datasets {{ columns {{ {} }} }} }}", many("nullable")),
        format!("{{ datasets {{ columns {{ {} }} }} }}", many("__typename")),
        format!(
            "{{ datasets {{ columns {{ ...f }} }} }} fragment f on DatasetColumn {{ {} }}",
            many("__typename")
        ),
        format!("{{ datasets {{ {} }} }}", many("columns { field }")),
        format!("{{ __schema {{ types {{ {} }} }} }}", many("__typename")),
        types.to_owned(),
    ] {
        assert_eq!(code(few.clone(), &query).await, "LIMIT_EXCEEDED", "{query}");
    }
    // An error has 256 bytes and its message.
    let limits = Limits { answer_bytes_max: 25_600, root_fields_max: 100, ..Limits::default() };
    let query = format!("{{ {} }}", many("dataset(name: \"none\") { name }"));
    assert_eq!(code(limits, &query).await, "LIMIT_EXCEEDED");
}

#[tokio::test]
async fn what_computes_without_waiting_ends_in_time() {
    let fields: String = (0..1_200).map(|n| format!("x{n}: fields {{ name }} ")).collect();
    let query = format!("{{ __schema {{ types {{ {fields} }} }} }}");
    let limits = Limits {
        operation_time_max: Duration::from_millis(200),
        answer_bytes_max: usize::MAX,
        ..Limits::default()
    };
    let rig = Rig::with_limits(limits).await;
    rig.create(calls_spec()).await;
    let began = std::time::Instant::now();
    let answer = rig.ask(&query).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "TIMEOUT", "{answer:#}");
    // Its place is free when it has really ended.
    let places = rig.service.0.lanes.places();
    let all = u32::try_from(places.share()).unwrap();
    let tenant = who().tenant;
    let freed = tokio::time::timeout(Duration::from_secs(5), places.take(&tenant, all));
    assert!(freed.await.is_ok(), "it goes on");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_waits_for_a_run_leaves_its_place_to_others() {
    let limits = Limits { queries_at_a_time_max: 2, ..Limits::default() };
    let rig = Rig::with_limits(limits).await;
    let (service, tenant) = (rig.service.0.clone(), who().tenant);
    let is_free = || service.lanes.places().try_take(&tenant).is_some();
    let state = RequestState::new(service.clone(), who(), 0);
    state.hold(service.turn(&who()).await.unwrap());
    assert!(!is_free());
    assert!(state.wait_for(async { is_free() }).await.unwrap());
    assert!(!is_free());
    drop(state);
    assert!(is_free());
}

#[tokio::test]
async fn an_answer_may_have_as_many_bytes_as_one_may_have() {
    let limits = Limits { answer_bytes_max: 10, ..Limits::default() };
    let rig = Rig::with_limits(limits).await;
    let state = RequestState::new(rig.service.0.clone(), who(), 0);
    assert!(state.counts(4) && state.counts(6));
    assert_eq!(state.answered(async { 1 }).await.unwrap(), 1);
    assert!(!state.counts(1));
    let refused = state.answered(std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(refused.code(), engine::Code::LimitExceeded);
    state.begin_answer();
    assert!(state.counts(10));
}

/// At the edge of what is taken: each is planned, executed and dropped by recursion somewhere.
#[tokio::test]
async fn as_many_conditions_as_are_taken_overflow_nothing() {
    let rig = Rig::with_calls().await;
    let most = Limits::default().where_terms_max;
    let conditions = |operator: &str, count: usize| {
        let each = (0..count).map(|i| serde_json::json!({"model": {operator: format!("m{i}")}}));
        each.collect::<Vec<_>>()
    };
    let values: Vec<String> = (0..most - 1).map(|i| format!("m{i}")).collect();
    let query = "query($where: CallsWhere) { calls(where: $where) { totalCount } }";
    for (what, filter, taken) in [
        ("in", serde_json::json!({"model": {"in": values}}), true),
        ("not in", serde_json::json!({"model": {"notIn": values}}), true),
        ("or", serde_json::json!({"or": conditions("eq", most)}), true),
        ("and", serde_json::json!({"and": conditions("ne", most)}), true),
        ("contains", serde_json::json!({"or": conditions("contains", most)}), true),
        ("one more", serde_json::json!({"or": conditions("eq", most + 1)}), false),
    ] {
        let started = std::time::Instant::now();
        let answer = rig.ask_with(query, serde_json::json!({ "where": filter })).await;
        let took = started.elapsed();
        eprintln!("{what}: {took:?}");
        match taken {
            true => {
                assert!(answer["data"]["calls"]["totalCount"].is_string(), "{what}: {answer:#}")
            }
            false => assert_eq!(answer["errors"][0]["extensions"]["code"], "LIMIT_EXCEEDED"),
        }
        assert!(took < Duration::from_secs(20), "{what} took {took:?}");
    }
}

#[tokio::test]
async fn a_document_of_brackets_is_refused_and_overflows_nothing() {
    for bracket in ["[", "{", "("] {
        let query = format!("{{ calls(where: {}", bracket.repeat(300_000));
        assert_eq!(code(Limits::default(), &query).await, "LIMIT_EXCEEDED");
    }
}

#[tokio::test]
async fn nested_variables_are_refused_like_nested_text() {
    let rig = Rig::with_calls().await;
    let mut filter = serde_json::json!({"id": {"eq": "c1"}});
    for _ in 0..60 {
        filter = serde_json::json!({ "not": filter });
    }
    let query = "query($where: CallsWhere) { calls(where: $where) { nodes { id } } }";
    let answer = rig.ask_with(query, serde_json::json!({ "where": filter })).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "LIMIT_EXCEEDED", "{answer:#}");
}

#[tokio::test]
async fn conditions_that_ask_for_nothing_are_conditions() {
    let rig = Rig::with_calls().await;
    let most = Limits::default().where_terms_max;
    let query = "query($where: CallsWhere) { calls(where: $where) { totalCount } }";
    for nothing in ["{}", "{\"id\": {}}", "{\"id\": null}", "{\"and\": []}", "{\"not\": {}}"] {
        let nothing: serde_json::Value = serde_json::from_str(nothing).unwrap();
        for (count, is_refused) in [(most, false), (most + 1, true)] {
            let filter = serde_json::json!({ "or": vec![&nothing; count] });
            let answer = rig.ask_with(query, serde_json::json!({ "where": filter })).await;
            let is = answer.to_string().contains("LIMIT_EXCEEDED");
            assert_eq!(is, is_refused, "{count} times {nothing}: {answer:#}");
        }
    }
}

#[tokio::test]
async fn queries_wait_for_room_and_a_place_and_only_so_many_do() {
    let limits = Limits {
        queries_at_a_time_max: 2,
        queries_waiting_max: 1,
        answers_in_flight_bytes_max: 2 * Limits::default().answer_bytes_max,
        ..Limits::default()
    };
    let rig = Rig::with_limits(limits).await;
    let tenant = who().tenant;
    let place = rig.service.0.lanes.places().try_take(&tenant).unwrap();
    let query = "{ datasets { name } }";
    // The first has the room of the tenant and waits for its place, the second waits for the room.
    let mut first = std::pin::pin!(rig.ask(query));
    let mut second = std::pin::pin!(rig.ask(query));
    assert!(futures::poll!(first.as_mut()).is_pending());
    assert!(futures::poll!(second.as_mut()).is_pending());
    let third = rig.ask(query).await;
    let extensions = &third["errors"][0]["extensions"];
    assert!(extensions["code"] == "LIMIT_EXCEEDED" && extensions["retryAfter"] == 1, "{third:#}");
    assert!(third.to_string().contains("queries of one tenant that wait"), "{third:#}");
    // On a stream what is small waits, as all subscribers do when a server is there again; what is large does not.
    let all = who();
    let ask = async |query: String| match rig
        .service
        .answer(&all, Request::new(query), "id", Accepts::Streams)
        .await
    {
        Answers::One(answer) => String::from(answer.json),
        Answers::Many(_) => panic!("a stream"),
    };
    let large = ask(format!("{query}{}", " ".repeat(4 << 10))).await;
    assert!(large.contains("LIMIT_EXCEEDED") && large.contains("retryAfter"), "{large}");
    let mut fourth = std::pin::pin!(ask(query.to_owned()));
    assert!(futures::poll!(fourth.as_mut()).is_pending());
    drop(place);
    let (first, second, fourth) = tokio::join!(first, second, fourth);
    assert!(fourth.starts_with("{\"data\":{\"datasets\""), "{fourth}");
    for answer in [first, second, rig.ask(query).await] {
        assert!(answer["data"]["datasets"].is_array(), "{answer:#}");
    }
}

#[tokio::test]
async fn each_message_of_a_subscription_is_an_answer_of_its_own() {
    let rig = Rig::with_limits(Limits { answer_bytes_max: 1_500, ..Limits::default() }).await;
    rig.create(calls_spec()).await;
    let query =
        "subscription { callsChanged(since: 0) { version added { nodes(first: 1) { id } } } }";
    let mut messages = rig.subscribe(query).await;
    for version in 1..=20 {
        rig.append("calls", vec![calls().slice(0, 1)]).await;
        let message = next(&mut messages).await;
        assert_eq!(message["data"]["callsChanged"]["version"], version, "{message:#}");
    }
}

#[tokio::test]
async fn root_fields_share_the_memory_of_their_answer() {
    // As values, short texts are many times as large as they are in a column.
    let tags = Arc::new(StringArray::from(vec!["x"; 1_000]));
    let rows = calls().slice(0, 1);
    let mut columns = rows.columns().to_vec();
    let field = Arc::new(datatypes::Field::new("element", DataType::Utf8, true));
    let lists = ListArray::new(field, OffsetBuffer::from_lengths([1_000]), tags, None);
    columns[rows.schema().index_of("tags").unwrap()] = Arc::new(lists);
    let rows = cast_to(&rows.schema(), columns);
    let ask = async |answer_bytes_max, fields: &[&str]| {
        let rig = Rig::with_limits(Limits { answer_bytes_max, ..Limits::default() }).await;
        rig.create(calls_spec()).await;
        rig.append("calls", vec![rows.clone()]).await;
        let page = |field: &&str| format!("{field}: calls {{ nodes {{ tags }} }} ");
        rig.ask(&format!("{{ {} }}", fields.iter().map(page).collect::<String>())).await
    };
    let bytes = 45_000;
    let one = ask(bytes, &["a"]).await;
    assert_eq!(one["data"]["a"]["nodes"][0]["tags"].as_array().unwrap().len(), 1_000);
    let two = ask(bytes, &["a", "b"]).await;
    assert_eq!(two["errors"].as_array().unwrap().len(), 1, "{two:#}");
    let says = two["errors"][0]["message"].as_str().unwrap();
    assert!(says.contains("bytes of memory for the values of an answer"), "{two:#}");
    assert!(ask(2 * bytes, &["a", "b"]).await["errors"].is_null());
    // And so does the text that they are written as, of which there is more than of one such list.
    let mut least = (0, bytes);
    while least.1 - least.0 > 64 {
        let half = least.0.midpoint(least.1);
        match ask(half, &["a"]).await["errors"].is_null() {
            true => least.1 = half,
            false => least.0 = half,
        }
    }
    let rig = Rig::with_limits(Limits { answer_bytes_max: least.1, ..Limits::default() }).await;
    rig.create(calls_spec()).await;
    rig.append("calls", vec![rows]).await;
    let same = rig.ask("{ calls { nodes { a: tags b: tags c: tags } } }").await;
    let says = same["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{same:#}"));
    assert!(says.contains("bytes of memory for the values of an answer"), "{says}");
}

#[tokio::test]
async fn fields_that_compute_without_waiting_take_turns() {
    const WORK: Duration = Duration::from_millis(20);
    let done = Arc::new(AtomicUsize::new(0));
    let mut query = Object::new("Query");
    for n in 0..20 {
        let done = done.clone();
        let field = Field::new(format!("x{n}"), TypeRef::named(TypeRef::INT), move |context| {
            let done = done.clone();
            nullable(context.ctx, async move {
                std::thread::sleep(WORK);
                done.fetch_add(1, Ordering::Relaxed);
                Ok(Some(FieldValue::value(n)))
            })
        });
        query = query.field(field);
    }
    let schema = Schema::build("Query", None, None).register(query).finish().unwrap();
    let rig = Rig::new().await;
    let state = RequestState::new(rig.service.0.clone(), who(), 0);
    let all: String = (0..20).map(|n| format!("x{n} ")).collect();
    let request = Request::new(format!("{{ {all} }}")).data(state.clone());
    let answering = state.answered(schema.execute(request));
    assert!(tokio::time::timeout(WORK, answering).await.is_err());
    // The timer may be a turn late.
    let done = done.load(Ordering::Relaxed);
    assert!((1..4).contains(&done), "{done} were computed");
}
