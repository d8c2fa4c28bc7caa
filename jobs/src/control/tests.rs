//! The same sentences for every database that there is.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use super::postgres::Postgres;
use super::*;
mod keys;
mod pipelines;
mod requests;
mod versions;
use keys::{keys_are_made_used_and_revoked, there_are_not_more_keys_than_may_be};
use pipelines::{
    a_cancelled_run_whose_worker_is_gone_is_to_end,
    a_step_begins_while_the_run_goes_on_that_it_is_of, those_that_failed_lately_are_counted,
    what_becomes_of_one_tenants_runs_holds_up_no_other,
};
use requests::a_request_is_begun_once_and_told_again;
const ROOM: Room = Room { open_max: 100_000, of_tenant_max: 100_000 };

fn new_run(id: &str, tenant: &str) -> NewRun {
    NewRun {
        id: id.into(),
        tenant: tenant.into(),
        job: "anomalies".into(),
        key: format!("key of {id}"),
        priority: 0,
        now_us: 1_000_000,
        due_us: 0,
        memory_bytes: 10,
        device: DeviceNeed::default(),
        deadline_us: None,
        attempts_max: 3,
        kept_for: None,
        document: format!("{{\"of\": \"{id}\"}}"),
    }
}

fn wants(worker: &str) -> Wants {
    Wants {
        worker: worker.into(),
        now_us: 10,
        free_bytes: 100,
        device: None,
        of_job_max: Vec::new(),
        of_tenant_max: 100,
        only_kept: false,
    }
}

fn lease(entry: &Entry) -> Lease {
    Lease { id: entry.id.clone(), worker: entry.worker.clone().unwrap(), attempt: entry.attempt }
}

const DONE: Verdict<'static> =
    Verdict::Ended { state: "succeeded", ended_us: 20, worked_us: 1, cost: None };

/// Each sentence for SQLite, in memory and in a file, and all of them for PostgreSQL, where that is installed.
macro_rules! sentences {
    ($($name:ident,)*) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(super::SqlStore::in_memory().await.unwrap()).await;
                    let folder = tempfile::tempdir().unwrap();
                    let file = folder.path().join("a %3f#?.db");
                    super::$name(super::SqlStore::open_file(&file).await.unwrap()).await;
                }
            )*
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn the_same_holds_on_postgresql() {
            let Some(server) = Postgres::start() else { return };
            $(
                $name(server.database(stringify!($name)).await).await;
            )*
        }
    };
}

sentences! {
    a_run_goes_from_state_to_state,
    of_a_tenant_the_first_to_come_is_first_unless_another_is_urgent,
    the_tenant_for_whom_least_was_worked_is_next,
    who_worked_much_long_ago_is_not_behind_newcomers_for_ever,
    bounds_are_kept,
    runs_of_a_dead_worker_are_taken_over,
    a_worker_that_leaves_leaves_its_runs_to_others,
    it_is_known_how_often_a_run_lost_its_worker,
    those_that_failed_lately_are_counted,
    runs_are_cancelled_where_they_are,
    runs_are_listed_followed_and_projected,
    each_time_of_a_schedule_has_one_run,
    the_newest_version_of_each_dataset_is_said_once,
    a_database_is_of_one_root,
    a_step_begins_while_the_run_goes_on_that_it_is_of,
    a_cancelled_run_whose_worker_is_gone_is_to_end,
    what_becomes_of_one_tenants_runs_holds_up_no_other,
    keys_are_made_used_and_revoked,
    there_are_not_more_keys_than_may_be,
    a_request_is_begun_once_and_told_again,
}

async fn claimed(store: &SqlStore, wants: &Wants) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(entry) = store.claim(wants).await.unwrap() {
        ids.push(entry.id);
    }
    ids
}

async fn a_run_goes_from_state_to_state(store: SqlStore) {
    store.join("v", "worker", Some(1), None, 1).await.unwrap();
    assert_eq!(store.enqueue(&new_run("a", "t"), ROOM).await.unwrap(), Enqueued::Queued);
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    let entry = store.claim(&wants("w")).await.unwrap().unwrap();
    assert_eq!(
        (entry.state.as_str(), entry.attempt, entry.worker.as_deref()),
        ("running", 1, Some("w"))
    );
    assert!(store.claim(&wants("w")).await.unwrap().is_none());
    let own = lease(&entry);
    assert!(store.note(&own, "noted").await.unwrap());
    assert_eq!(store.get("t", "a").await.unwrap().unwrap().document, "noted");
    assert_eq!(store.get("other", "a").await.unwrap(), None);
    // It is tried again, and what was said of the try before counts no more.
    let again = Verdict::Again { due_us: 50, worked_us: 5, memory_bytes: None };
    assert!(store.settle(&own, again, "again").await.unwrap());
    assert!(store.claim(&wants("w")).await.unwrap().is_none(), "it is not due");
    let later = Wants { now_us: 50, ..wants("v") };
    let entry = store.claim(&later).await.unwrap().unwrap();
    assert_eq!((entry.attempt, entry.document.as_str()), (2, "again"));
    for stale in [own.clone(), Lease { worker: "v".into(), ..own.clone() }] {
        assert!(!store.settle(&stale, DONE, "stale").await.unwrap());
        assert!(!store.note(&stale, "stale").await.unwrap());
    }
    assert!(store.settle(&lease(&entry), DONE, "done").await.unwrap());
    assert!(!store.settle(&lease(&entry), DONE, "twice").await.unwrap());
    let ended = store.get("t", "a").await.unwrap().unwrap();
    assert_eq!(
        (ended.state.as_str(), ended.worker, ended.document.as_str()),
        ("succeeded", None, "done")
    );
    assert!(store.claim(&later).await.unwrap().is_none());
}

async fn of_a_tenant_the_first_to_come_is_first_unless_another_is_urgent(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    for (id, priority, at_s) in
        [("a", 0, 0), ("b", 0, 1), ("c", 2, 100), ("d", -1, 0), ("e", 1, 200)]
    {
        let run = NewRun { priority, now_us: at_s * 1_000_000, ..new_run(id, "t") };
        store.enqueue(&run, ROOM).await.unwrap();
    }
    // c is worth 120 s, d minus 60, and e came 140 s too late for its 60.
    assert_eq!(claimed(&store, &wants("w")).await, ["c", "a", "b", "d", "e"]);
}

async fn the_tenant_for_whom_least_was_worked_is_next(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    for number in 0..100 {
        store.enqueue(&new_run(&format!("a{number:03}"), "flood"), ROOM).await.unwrap();
    }
    let mut order = Vec::new();
    let mut work = async |worked_us: i64| {
        let entry = store.claim(&wants("w")).await.unwrap().unwrap();
        let verdict = Verdict::Ended { state: "succeeded", ended_us: 20, worked_us, cost: None };
        assert!(store.settle(&lease(&entry), verdict, "").await.unwrap());
        order.push(entry.tenant);
    };
    for _ in 0..20 {
        work(5_000_000).await;
    }
    // Who comes now is not behind those 20 runs, and has no right to 20 before the other's next.
    for number in 0..10 {
        store.enqueue(&new_run(&format!("b{number:03}"), "quiet"), ROOM).await.unwrap();
    }
    for _ in 0..20 {
        work(5_000_000).await;
    }
    let mut counts = BTreeMap::new();
    for tenant in &order[20..] {
        *counts.entry(tenant.as_str()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("flood", 10), ("quiet", 10)]));
    let most = order[20..].chunk_by(|a, b| a == b).map(<[String]>::len).max();
    assert!(most <= Some(2), "{order:?}");
}

async fn who_worked_much_long_ago_is_not_behind_newcomers_for_ever(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    let work = async |worked_s: i64| {
        let entry = store.claim(&wants("w")).await.unwrap().unwrap();
        let verdict = Verdict::Ended {
            state: "succeeded",
            ended_us: 20,
            worked_us: worked_s * 1_000_000,
            cost: None,
        };
        assert!(store.settle(&lease(&entry), verdict, "").await.unwrap());
        entry.tenant
    };
    // Ten days of work, run by run.
    for number in 0..10 {
        store.enqueue(&new_run(&format!("a{number}"), "old"), ROOM).await.unwrap();
        assert_eq!(work(86_400).await, "old");
    }
    for number in 0..50 {
        store.enqueue(&new_run(&format!("n{number:02}"), "new"), ROOM).await.unwrap();
    }
    store.enqueue(&new_run("b", "old"), ROOM).await.unwrap();
    let mut before = 0;
    while work(60).await == "new" {
        before += 1;
    }
    // Ten minutes of a newcomer's runs come first, and no more.
    assert!((1..=11).contains(&before), "{before}");
}

async fn bounds_are_kept(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    let room = Room { open_max: 3, of_tenant_max: 2 };
    for (id, tenant, expected) in [
        ("a", "t", Enqueued::Queued),
        ("b", "t", Enqueued::Queued),
        ("c", "t", Enqueued::Full { open: 2, of_tenant: true }),
        ("d", "u", Enqueued::Queued),
        ("e", "u", Enqueued::Full { open: 3, of_tenant: false }),
    ] {
        assert_eq!(store.enqueue(&new_run(id, tenant), room).await.unwrap(), expected, "{id}");
    }
    // At work is one of a tenant at most, and what does not fit waits.
    let one = Wants { of_tenant_max: 1, ..wants("w") };
    assert_eq!(claimed(&store, &one).await, ["a", "d"]);
    let small = Wants { free_bytes: 9, ..wants("w") };
    assert_eq!(claimed(&store, &small).await, Vec::<String>::new());
    assert_eq!(claimed(&store, &wants("w")).await, ["b"]);
}

async fn runs_of_a_dead_worker_are_taken_over(store: SqlStore) {
    for id in ["a", "b"] {
        store.enqueue(&new_run(id, "t"), ROOM).await.unwrap();
    }
    store.enqueue(&NewRun { kept_for: Some("w".into()), ..new_run("k", "t") }, ROOM).await.unwrap();
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    store.join("v", "worker", Some(1), None, 1).await.unwrap();
    let first = store.claim(&wants("w")).await.unwrap().unwrap();
    let seen = store.workers().await.unwrap().into_iter().find(|w| w.id == "w").unwrap();
    // It lives: the beat that was seen is not its last.
    assert_eq!(store.beat("w").await.unwrap(), Some(vec![]));
    assert_eq!(store.dead(&seen).await.unwrap(), 0);
    let seen = store.workers().await.unwrap().into_iter().find(|w| w.id == "w").unwrap();
    assert_eq!(store.dead(&seen).await.unwrap(), 1);
    // What it says now counts no more, and it is told so.
    assert!(!store.settle(&lease(&first), DONE, "").await.unwrap());
    assert_eq!(store.beat("w").await.unwrap(), None);
    assert!(store.claim(&wants("w")).await.unwrap().is_none(), "it is not there any more");
    // What was kept for it is anybody's.
    assert_eq!(claimed(&store, &wants("v")).await, ["a", "b", "k"]);
    let again = store.get("t", "a").await.unwrap().unwrap();
    assert_eq!((again.attempt, again.losses, again.worker.as_deref()), (2, 1, Some("v")));
    // One that it never heard to have claimed is put back, once.
    let held = store.held("v").await.unwrap();
    assert_eq!(held.len(), 3);
    assert!(store.put_back(&held[0]).await.unwrap());
    assert!(!store.put_back(&held[0]).await.unwrap());
    assert_eq!(claimed(&store, &wants("v")).await, [held[0].id.clone()]);
}

async fn a_worker_that_leaves_leaves_its_runs_to_others(store: SqlStore) {
    store.enqueue(&new_run("a", "t"), ROOM).await.unwrap();
    let kept = NewRun { kept_for: Some("w".into()), ..new_run("k", "t") };
    store.enqueue(&kept, ROOM).await.unwrap();
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    assert!(store.claim(&Wants { only_kept: true, ..wants("v") }).await.unwrap().is_none());
    let own = store.claim(&Wants { only_kept: true, ..wants("w") }).await.unwrap().unwrap();
    assert_eq!(own.id, "k");
    store.leave("w").await.unwrap();
    assert_eq!(store.workers().await.unwrap(), []);
    store.join("v", "worker", Some(1), None, 1).await.unwrap();
    assert_eq!(claimed(&store, &wants("v")).await, ["a", "k"]);
    assert_eq!(store.get("t", "k").await.unwrap().unwrap().losses, 0);
}

async fn it_is_known_how_often_a_run_lost_its_worker(store: SqlStore) {
    store.enqueue(&new_run("a", "t"), ROOM).await.unwrap();
    for number in 0..LOSSES_MAX {
        let worker = format!("w{number}");
        store.join(&worker, "worker", Some(1), None, 1).await.unwrap();
        assert_eq!(store.claim(&wants(&worker)).await.unwrap().unwrap().losses, number);
        let [seen] = &store.workers().await.unwrap()[..] else { panic!() };
        assert_eq!(store.dead(seen).await.unwrap(), 1);
    }
    store.join("v", "worker", Some(1), None, 1).await.unwrap();
    let again = store.claim(&wants("v")).await.unwrap().unwrap();
    assert_eq!((again.losses, again.attempt), (LOSSES_MAX, LOSSES_MAX + 1));
}

async fn runs_are_cancelled_where_they_are(store: SqlStore) {
    store.join("v", "worker", Some(1), None, 1).await.unwrap();
    for id in ["a", "b"] {
        store.enqueue(&new_run(id, "t"), ROOM).await.unwrap();
    }
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    store.claim(&wants("w")).await.unwrap().unwrap();
    let cancel =
        async |tenant: &str, id: &str| store.cancel(tenant, id, 7, "cancelled").await.unwrap();
    assert_eq!(cancel("u", "b").await, Cancelled::NotOpen);
    assert_eq!(cancel("t", "b").await, Cancelled::AtOnce);
    assert_eq!(cancel("t", "b").await, Cancelled::NotOpen);
    assert_eq!(store.get("t", "b").await.unwrap().unwrap().document, "cancelled");
    assert_eq!(cancel("t", "a").await, Cancelled::Asked);
    assert!(store.get("t", "a").await.unwrap().unwrap().is_cancel_asked);
    assert_eq!(store.beat("w").await.unwrap(), Some(vec!["a".to_owned()]));
    assert!(store.claim(&wants("v")).await.unwrap().is_none());
}

async fn runs_are_listed_followed_and_projected(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    let start = store.last_change().await.unwrap();
    for (id, job) in [("a", "embed"), ("b", "triage"), ("c", "embed"), ("d", "embed")] {
        store.enqueue(&NewRun { job: job.into(), ..new_run(id, "t") }, ROOM).await.unwrap();
    }
    store.enqueue(&new_run("x", "u"), ROOM).await.unwrap();
    for _ in 0..2 {
        let entry = store.claim(&Wants { free_bytes: 10, ..wants("w") }).await.unwrap().unwrap();
        store.settle(&lease(&entry), DONE, "done").await.unwrap();
    }
    let ids = |entries: Vec<Entry>| entries.into_iter().map(|e| e.id).collect::<Vec<_>>();
    let list =
        async |asked: Asked| ids(store.list("t", &Asked { limit: 9, ..asked }).await.unwrap());
    let all = Asked::default();
    assert_eq!(list(all.clone()).await, ["d", "c", "b", "a"]);
    assert_eq!(list(Asked { before: Some("c".into()), ..all.clone() }).await, ["b", "a"]);
    assert_eq!(list(Asked { job: Some("embed".into()), ..all.clone() }).await, ["d", "c", "a"]);
    let done = Asked { state: Some("succeeded".into()), ..all.clone() };
    assert_eq!(list(done.clone()).await, ["a"]);
    assert_eq!(list(Asked { job: Some("triage".into()), ..done }).await, Vec::<String>::new());
    assert_eq!(list(Asked { key: Some("key of a".into()), ..all.clone() }).await, ["a"]);
    assert_eq!(list(Asked { key: Some("key of b".into()), ..all.clone() }).await, [""; 0]);
    assert_eq!(ids(store.list("t", &Asked { limit: 2, ..all }).await.unwrap()), ["d", "c"]);
    // In the order of their changes, each as it is now.
    let changed = store.changed(start, 100).await.unwrap();
    assert_eq!(ids(changed.clone()), ["b", "c", "d", "a", "x"]);
    assert!(changed.is_sorted_by_key(|entry| entry.change));
    assert_eq!(ids(store.changed(changed[3].change, 100).await.unwrap()), ["x"]);
    assert_eq!(store.last_change().await.unwrap(), changed[4].change);
    let counts = store.counts().await.unwrap();
    let count = |job: &str, runs| Count {
        tenant: "t".into(),
        job: job.into(),
        state: "queued".into(),
        runs,
    };
    assert_eq!(counts, [count("embed", 2), count("triage", 1)]);
    // Ended runs become rows, of one tenant at a time, and are let go of only then.
    assert_eq!(store.forget(1_000).await.unwrap(), 0);
    let mut told = Vec::new();
    let mut project = async |worker: &str| {
        let found = store.to_project(worker, "", 10).await.unwrap();
        told.push((ids(found.entries), found.perhaps));
    };
    store.leave("w").await.unwrap();
    store.join("p", "worker", Some(1), None, 1).await.unwrap();
    for worker in ["p", "q", "r"] {
        project(worker).await;
    }
    // What it was at when it was gone may have become a row.
    let [seen] = &store.workers().await.unwrap()[..] else { panic!() };
    store.dead(seen).await.unwrap();
    project("r").await;
    let [(first, none), (second, _), (nothing, _), (again, perhaps)] = &told[..] else { panic!() };
    assert_eq!((none.len(), nothing.len()), (0, 0));
    assert_eq!((again, perhaps), (first, first));
    let mut both = [first[0].as_str(), second[0].as_str()];
    both.sort_unstable();
    assert_eq!(both, ["a", "x"]);
    store.projected(first, true).await.unwrap();
    store.projected(second, false).await.unwrap();
    assert_eq!(store.forget(1_000).await.unwrap(), 1);
    let found = store.to_project("q", "", 10).await.unwrap();
    assert_eq!(&found.perhaps, second);
    store.projected(second, true).await.unwrap();
    assert_eq!(store.forget(1_000).await.unwrap(), 1);
    assert_eq!(store.get("t", "a").await.unwrap(), None);
    assert_eq!(store.earlier("t").await.unwrap(), Earlier { is_read: false, has_older: true });
    let of = |id: &str| Adopted {
        is_row: true,
        id: id.into(),
        job: "embed".into(),
        state: "failed".into(),
        key: "k".into(),
        ended_us: 3,
        document: "of before".into(),
    };
    store.adopt("t", &[of("a"), of("b")], false).await.unwrap();
    assert_eq!(store.earlier("t").await.unwrap(), Earlier { is_read: true, has_older: false });
    assert_eq!(store.get("t", "a").await.unwrap().unwrap().document, "of before");
    assert_eq!(store.get("t", "b").await.unwrap().unwrap().state, "queued");
    assert_eq!(store.to_project("q", "", 10).await.unwrap().entries, []);
}

async fn each_time_of_a_schedule_has_one_run(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    let schedule = ScheduleEntry {
        tenant: "t".into(),
        name: "nightly".into(),
        is_paused: false,
        up_to: 5,
        missed: 0,
        document: "{}".into(),
    };
    assert!(store.add_schedule(&schedule).await.unwrap());
    assert!(!store.add_schedule(&schedule).await.unwrap());
    // In microseconds, as the clock counts.
    const DUE: i64 = 1_800_000_000_000_000;
    let other = ScheduleEntry { tenant: "u".into(), up_to: DUE - 2, ..schedule.clone() };
    assert!(store.add_schedule(&other).await.unwrap());
    assert_eq!(store.schedules(None).await.unwrap(), [schedule.clone(), other]);
    let tick = |tenant: &str, logical: &str| TickOf {
        tenant: tenant.into(),
        schedule: "nightly".into(),
        logical: logical.into(),
        due_us: DUE,
        moves: None,
        also_paused: false,
    };
    let fire = async |tick: TickOf, run: &str, ended: Option<&str>| {
        store.fire(&tick, &new_run(run, &tick.tenant), ended, ROOM).await.unwrap() == Fired::Now
    };
    assert!(fire(tick("t", "one"), "a", None).await);
    assert!(!fire(tick("t", "one"), "b", None).await);
    assert!(fire(tick("u", "one"), "c", None).await);
    assert!(fire(tick("t", "two"), "d", Some("failed")).await);
    assert!(!fire(tick("v", "one"), "e", None).await, "there is no such schedule");
    let full = Room { of_tenant_max: 1, ..ROOM };
    let refused = store.fire(&tick("t", "three"), &new_run("i", "t"), None, full).await.unwrap();
    assert_eq!(refused, Fired::Full);
    assert_eq!(store.get("t", "i").await.unwrap(), None);
    assert_eq!(claimed(&store, &wants("w")).await, ["a", "c"]);
    assert_eq!(store.get("t", "d").await.unwrap().unwrap().state, "failed");
    // It goes on, and never back; who rested does not make up for it.
    store.handled("t", "nightly", 20, 2).await.unwrap();
    store.handled("t", "nightly", 10, 4).await.unwrap();
    let now = async || store.schedules(Some("t")).await.unwrap().remove(0);
    assert_eq!((now().await.up_to, now().await.missed), (20, 2));
    // Of two that saw the same, one moves it.
    let last = async || store.last_tick("t", "nightly").await.unwrap().unwrap();
    assert_eq!(last().await, LastTick { due_us: DUE, is_open: true, run: "a".into() });
    assert_eq!(store.last_tick("t", "daily").await.unwrap(), None);
    let moved = |logical: &str, from, to| TickOf {
        due_us: DUE + 2,
        moves: Some((from, to)),
        ..tick("t", logical)
    };
    assert!(fire(moved("x@21", 20, 21), "j", None).await);
    assert!(!fire(moved("x@22", 20, 22), "k", None).await);
    let begun = LastTick { due_us: DUE + 2, is_open: true, run: "j".into() };
    assert_eq!((now().await.up_to, last().await), (21, begun));
    assert!(store.pause_schedule("t", "nightly", Pause::Begin).await.unwrap());
    assert_eq!((now().await.is_paused, now().await.up_to), (true, 21));
    // A server that read the schedule before the pause starts no run, unless a user requested it.
    assert!(!fire(tick("t", "late"), "l", None).await);
    assert!(fire(TickOf { also_paused: true, ..tick("t", "by hand") }, "m", None).await);
    assert!(store.pause_schedule("t", "nightly", Pause::End { up_to: 30 }).await.unwrap());
    assert_eq!((now().await.is_paused, now().await.up_to), (false, 30));
    assert!(!store.pause_schedule("t", "weekly", Pause::Begin).await.unwrap());
    // One that is removed may come again, and knows nothing of before.
    assert!(store.remove_schedule("t", "nightly").await.unwrap());
    assert!(!store.remove_schedule("t", "nightly").await.unwrap());
    assert!(store.add_schedule(&schedule).await.unwrap());
    assert!(fire(tick("t", "one"), "f", None).await);
    // What is handled is forgotten at last.
    store.handled("t", "nightly", 100, 0).await.unwrap();
    store.forget(DUE + 50).await.unwrap();
    assert!(fire(tick("t", "one"), "g", None).await);
    assert!(!fire(tick("u", "one"), "h", None).await);
}

async fn the_newest_version_of_each_dataset_is_said_once(store: SqlStore) {
    let notice = |dataset: &str, version| Notice {
        tenant: "t".into(),
        dataset: dataset.into(),
        version,
        number: 0,
    };
    let after = async |number| {
        let said = store.notices(number, 10).await.unwrap();
        let last = said.last().map_or(number, |last| last.number);
        let said = said.into_iter().map(|notice| (notice.dataset, notice.version));
        (said.collect::<Vec<_>>(), last)
    };
    let is = |dataset: &str, version| (dataset.to_owned(), version);
    assert_eq!(after(store.last_notice().await.unwrap()).await.0, []);
    store.notify(&[notice("a", 3), notice("b", 1)]).await.unwrap();
    let (said, seen) = after(0).await;
    assert_eq!(said, [is("a", 3), is("b", 1)]);
    // What is known already is no news, however late it comes.
    store.notify(&[notice("a", 3), notice("a", 2), notice("b", 1)]).await.unwrap();
    assert_eq!(after(seen).await.0, []);
    store.notify(&[notice("b", 2), notice("a", 4), notice("a", 5)]).await.unwrap();
    let (said, seen) = after(seen).await;
    assert_eq!(said, [is("b", 2), is("a", 5)]);
    assert!(seen <= store.last_notice().await.unwrap());
    // Another of the name, in the place of one that was purged.
    store.notify(&[notice("a", 0)]).await.unwrap();
    let (said, seen) = after(seen).await;
    assert_eq!(said, [is("a", 0)]);
    store.notify(&[notice("a", 0)]).await.unwrap();
    assert_eq!(after(seen).await.0, []);
    store.notify(&[notice("a", 1)]).await.unwrap();
    assert_eq!(after(seen).await.0, [is("a", 1)]);
}

async fn a_database_is_of_one_root(store: SqlStore) {
    assert_eq!(store.root("one").await.unwrap(), "one");
    assert_eq!(store.root("other").await.unwrap(), "one");
    assert_eq!(store.root("one").await.unwrap(), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_claim_at_once_each_run_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.db");
    let stores =
        [SqlStore::open_file(&file).await.unwrap(), SqlStore::open_file(&file).await.unwrap()];
    let stores = stores.map(std::sync::Arc::new);
    for number in 0..200 {
        let tenant = format!("t{}", number % 3);
        stores[0].enqueue(&new_run(&format!("r{number:03}"), &tenant), ROOM).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = stores[number % 2].clone();
        tasks.spawn(async move {
            store.join(&format!("w{number}"), "worker", Some(1), None, 1).await.unwrap();
            let mut own = Vec::new();
            let mut idle = 0;
            while idle < 3 {
                match store.claim(&wants(&format!("w{number}"))).await.unwrap() {
                    Some(entry) => {
                        assert!(store.settle(&lease(&entry), DONE, "done").await.unwrap());
                        own.push(entry.id);
                    }
                    None => idle += 1,
                }
            }
            own
        });
    }
    let mut ids: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    ids.sort();
    let expected: Vec<String> = (0..200).map(|number| format!("r{number:03}")).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.db");
    std::fs::write(&file, "this was a shopping list, and is long enough to be looked at as a header of a hundred bytes".repeat(40)).unwrap();
    let refused = SqlStore::open_file(&file).await.err().unwrap();
    assert!(matches!(refused, ControlError::Damaged(..)), "{refused}");
    assert!(refused.to_string().contains("control.db"), "{refused}");
    for (url, says) in [
        ("mysql://a:secret@b/c", "found mysql"),
        ("nonsense", "found no scheme"),
        ("sqlite:", "found sqlite"),
    ] {
        let refused = SqlStore::open(url).await.err().unwrap().to_string();
        assert!(refused.contains(says) && !refused.contains("secret"), "{refused}");
    }
    let nobody = SqlStore::open("postgres://nobody@127.0.0.1:1/none").await.err().unwrap();
    assert!(matches!(nobody, ControlError::Unavailable(_)), "{nobody}");
    let file = folder.path().join("page.db");
    let store = SqlStore::open_file(&file).await.unwrap();
    for number in 0..200 {
        store.enqueue(&new_run(&format!("r{number:03}"), "t"), ROOM).await.unwrap();
    }
    store.look_through().await.unwrap();
    store.close().await;
    let mut bytes = std::fs::read(&file).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 20, "{pages}");
    bytes[(pages - 3) * 4096..(pages - 2) * 4096].fill(0x5a);
    std::fs::write(&file, bytes).unwrap();
    let store = SqlStore::open_file(&file).await.unwrap();
    assert!(matches!(store.look_through().await, Err(ControlError::Damaged(..))));
    let file = folder.path().join("later.db");
    let store = SqlStore::open_file(&file).await.unwrap();
    sqlx::query("UPDATE counters SET value = 99 WHERE name = 'tables'")
        .execute(store.pool())
        .await
        .unwrap();
    drop(store);
    let refused = SqlStore::open_file(&file).await.err().unwrap();
    assert!(matches!(refused, ControlError::TooNew { found: 99, .. }), "{refused}");
}
