//! Steps of pipelines, runs that are to end while they wait, and what one tenant's trouble is to others.

use super::*;

fn step(name: &str, of: &str) -> TickOf {
    TickOf {
        tenant: "t".into(),
        schedule: name.into(),
        logical: of.into(),
        due_us: 1_800_000_000_000_000,
        moves: None,
        also_paused: true,
    }
}

pub(super) async fn a_step_begins_while_the_run_goes_on_that_it_is_of(store: SqlStore) {
    let pipeline = ScheduleEntry {
        tenant: "t".into(),
        name: "p".into(),
        is_paused: false,
        up_to: 0,
        missed: 0,
        document: "{}".into(),
    };
    assert!(store.add_schedule(&pipeline).await.unwrap());
    let fire = async |name: &str, of: &str, run: &str, ended: Option<&str>| {
        store.fire(&step(name, of), &new_run(run, "t"), ended, ROOM).await.unwrap()
    };
    assert!(store.begin_tick(&step("p", "one"), "first").await.unwrap());
    assert_eq!(fire("p/a", "first", "a", Some("failed")).await, Fired::Now);
    assert_eq!(fire("p/b", "second", "b", None).await, Fired::Before, "there is no such run");
    let cancelled = Some(("cancelled", true));
    assert!(store.end_tick("t", "first", cancelled).await.unwrap());
    assert_eq!(fire("p/b", "first", "b", None).await, Fired::Before, "it was cancelled");
    assert_eq!(store.get("t", "b").await.unwrap(), None);
    // While another goes on, neither it nor a step of it goes on.
    assert!(store.begin_tick(&step("p", "two"), "second").await.unwrap());
    let again = async |run: &str| store.fire_again("t", "a", &new_run(run, "t"), ROOM).await;
    assert_eq!(again("c").await.unwrap(), Fired::Waits);
    assert!(!store.end_tick("t", "first", None).await.unwrap());
    assert!(store.end_tick("t", "second", cancelled).await.unwrap());
    assert_eq!(again("d").await.unwrap(), Fired::Now);
    assert_eq!(fire("p/b", "first", "e", None).await, Fired::Now, "it goes on again");
    let open = store.open_ticks("t", "p").await.unwrap();
    assert_eq!(open.iter().map(|tick| tick.run.as_str()).collect::<Vec<_>>(), ["first"]);
}

pub(super) async fn those_that_failed_lately_are_counted(store: SqlStore) {
    store.join("w", "worker", Some(9), None, 1).await.unwrap();
    for (id, state, ended_us) in [("a", "failed", 20), ("b", "failed", 30), ("c", "succeeded", 30)]
    {
        store.enqueue(&new_run(id, "t"), ROOM).await.unwrap();
        let entry = store.claim(&wants("w")).await.unwrap().unwrap();
        let ended = Verdict::Ended { state, ended_us, worked_us: 1, cost: None };
        assert!(store.settle(&lease(&entry), ended, "over").await.unwrap());
    }
    let mut counts = Vec::new();
    for after in [10, 20, 30] {
        counts.push(store.failed_after(after).await.unwrap());
    }
    assert_eq!(counts, [2, 1, 0]);
    ControlStore::look_through(&store).await.unwrap();
}

pub(super) async fn a_cancelled_run_whose_worker_is_gone_is_to_end(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    for id in ["a", "b"] {
        store.enqueue(&new_run(id, "t"), ROOM).await.unwrap();
    }
    store.claim(&wants("w")).await.unwrap().unwrap();
    assert_eq!(store.cancel("t", "a", 7, "cancelled").await.unwrap(), Cancelled::Asked);
    assert_eq!(store.overdue(i64::MAX, 10).await.unwrap(), []);
    let [seen] = &store.workers().await.unwrap()[..] else { panic!() };
    store.dead(seen).await.unwrap();
    let to_end = store.overdue(i64::MAX, 10).await.unwrap();
    let [run] = &to_end[..] else { panic!("{to_end:?}") };
    assert!(run.id == "a" && run.is_cancel_asked);
    assert!(store.end_waiting("a", "cancelled", 9, "over").await.unwrap());
    assert_eq!(store.overdue(i64::MAX, 10).await.unwrap(), []);
}

pub(super) async fn what_becomes_of_one_tenants_runs_holds_up_no_other(store: SqlStore) {
    store.join("w", "worker", Some(1), None, 1).await.unwrap();
    for (id, tenant) in [("a", "t"), ("b", "t"), ("c", "u"), ("d", "u")] {
        store.enqueue(&new_run(id, tenant), ROOM).await.unwrap();
    }
    assert_eq!(store.not_counted("t").await.unwrap(), [2, 0, 0]);
    for _ in 0..3 {
        let entry = store.claim(&wants("w")).await.unwrap().unwrap();
        if entry.id != "c" {
            assert!(store.settle(&lease(&entry), DONE, "done").await.unwrap());
        }
    }
    let counted = [store.not_counted("t").await.unwrap(), store.not_counted("u").await.unwrap()];
    assert_eq!(counted.iter().flatten().sum::<i64>(), 4);
    assert_eq!(counted[1][1], 1, "{counted:?}");
    let entry = store.get("u", "c").await.unwrap().unwrap();
    assert!(store.settle(&lease(&entry), DONE, "done").await.unwrap());
    let after = async |tenant: &str| {
        let found = store.to_project("w", tenant, 10).await.unwrap().entries;
        found.first().map(|entry| entry.tenant.clone())
    };
    assert_eq!(after("").await.as_deref(), Some("t"));
    assert_eq!(after("t").await.as_deref(), Some("u"));
    assert_eq!(after("u").await, None);
    // Who is named no more has one part again.
    let weight = async |tenant: &str| {
        let found = sqlx::query("SELECT weight FROM tenants WHERE tenant = $1");
        let row = found.bind(tenant.to_owned()).fetch_one(store.pool()).await.unwrap();
        sqlx::Row::get::<i64, _>(&row, "weight")
    };
    store.weigh(&[("t", 3), ("u", 2)]).await.unwrap();
    assert_eq!((weight("t").await, weight("u").await), (3, 2));
    store.weigh(&[("u", 4)]).await.unwrap();
    assert_eq!((weight("t").await, weight("u").await), (1, 4));
}

/// As where the disk is full: the database ends the transaction, and the library does not know so.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_database_ended_ends_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.db");
    let store = SqlStore::open_file(&file).await.unwrap();
    for _ in 0..8 {
        let mut tx = store.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
        sqlx::Executor::execute(&mut *tx, sqlx::raw_sql("ROLLBACK")).await.unwrap();
        drop(tx);
    }
    for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        assert_eq!(store.enqueue(&new_run(id, "t"), ROOM).await.unwrap(), Enqueued::Queued);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_taken_away_takes_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (file, aside) = (folder.path().join("control.db"), folder.path().join("aside.db"));
    let store = SqlStore::open_file(&file).await.unwrap();
    store.enqueue(&new_run("a", "t"), ROOM).await.unwrap();
    std::fs::rename(&file, &aside).unwrap();
    for is_another in [false, true] {
        if is_another {
            std::fs::write(&file, "").unwrap();
        }
        let refused = store.enqueue(&new_run("b", "t"), ROOM).await.unwrap_err();
        assert!(matches!(refused, ControlError::Unavailable(_)), "{refused}");
        assert!(refused.to_string().contains("its file control.db is no longer"), "{refused}");
    }
    std::fs::rename(&aside, &file).unwrap();
    store.enqueue(&new_run("b", "t"), ROOM).await.unwrap();
}
