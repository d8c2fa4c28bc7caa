//! What one run makes of several tables is seen together or not at all, whatever happens to whom.

use super::*;
use crate::storage::Root;
use crate::storage::faulty::{Fault, Faulty};
use crate::{Code, Prepared, RunId, WriteMode};

const TABLES: [&str; 3] = ["a", "b", "c"];

fn spec(dataset: &str) -> DatasetSpec {
    let mut spec = calls();
    spec.name = name(dataset);
    spec.partition_by.clear();
    spec.derived = true;
    spec
}

async fn over(store: &Arc<Faulty>) -> Engine {
    Engine::open_root(Root::over(Arc::clone(store) as _), options("memory:")).await.unwrap()
}

async fn reading(store: &Arc<Faulty>) -> Engine {
    let options = EngineOptions { access: Access::ReadOnly, ..options("memory:") };
    Engine::open_root(Root::over(Arc::clone(store) as _), options).await.unwrap()
}

/// An engine with the three tables, and its store.
async fn begun() -> (Arc<Faulty>, Engine) {
    let store = Faulty::new();
    let engine = over(&store).await;
    for dataset in TABLES {
        engine.ensure_derived(&who(), &spec(dataset)).await.unwrap();
    }
    (store, engine)
}

fn label_of(run: RunId, number: i64) -> CommitLabel {
    CommitLabel {
        run_id: Some(run),
        operation: "three".to_owned(),
        idempotency: Some(("key".to_owned(), number)),
        marks: vec![("mark".to_owned(), number)],
    }
}

async fn prepared(engine: &Engine, run: RunId, number: i64) -> Vec<Prepared> {
    let mut all = Vec::new();
    for (i, dataset) in TABLES.into_iter().enumerate() {
        let (rows, label) = (rows(0..(i as i64 + 1)), label_of(run, number));
        let mode = WriteMode::Overwrite;
        all.push(engine.prepare(&who(), &name(dataset), mode, rows, label).await.unwrap());
    }
    all
}

/// Rows of each table as one session sees them.
async fn seen(engine: &Engine) -> [i64; 3] {
    let session = session(engine).await;
    let mut counts = [0; 3];
    for (count, dataset) in counts.iter_mut().zip(TABLES) {
        let frame = session.sql(&format!("SELECT count(*) FROM {dataset}")).await.unwrap();
        let batches = session.collect(frame).await.unwrap();
        *count = batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0);
    }
    counts
}

async fn versions(engine: &Engine) -> [u64; 3] {
    let catalog = engine.refresh_catalog(&who()).await.unwrap();
    TABLES.map(|dataset| catalog.datasets[&name(dataset)].version.0)
}

const NONE: [i64; 3] = [0, 0, 0];
const ALL: [i64; 3] = [1, 2, 3];

/// Every put of this kind of object from the `after`th on fails.
fn fails_from(store: &Faulty, after: usize) {
    let mut puts = 0;
    store.plan(move |path| {
        let counts =
            path.as_ref().contains("_delta_log") || path.as_ref().contains("_publications");
        puts += usize::from(counts);
        if counts && puts > after { Fault::Refused } else { Fault::None }
    });
}

#[tokio::test]
async fn results_are_seen_together_and_a_second_time_nothing_is_made() {
    let (store, engine) = begun().await;
    let mut news = engine.commits().subscribe();
    let run = RunId::new();
    let commits = engine.publish(&who(), prepared(&engine, run, 1).await).await.unwrap();
    let made = |it: &crate::Commit| (it.dataset.to_string(), it.version.0, it.rows, it.duplicate);
    let expected = [("a", 1, 1), ("b", 1, 2), ("c", 1, 3)];
    let expected = expected.map(|(name, version, rows)| (name.to_owned(), version, rows, false));
    assert_eq!(commits.iter().map(made).collect::<Vec<_>>(), expected);
    assert_eq!(seen(&engine).await, ALL);
    assert_eq!(store.count("_publications").await, 0);
    for dataset in TABLES {
        let event = news.try_recv().unwrap();
        assert_eq!(
            (event.dataset.as_str(), event.version.0, event.run_id),
            (dataset, 1, Some(run))
        );
    }
    assert!(news.try_recv().is_err());

    let again = engine.publish(&who(), prepared(&engine, run, 1).await).await.unwrap();
    assert!(again.iter().all(|commit| commit.duplicate), "{again:?}");
    assert_eq!(versions(&engine).await, [1, 1, 1]);
    assert_eq!(store.count(".parquet").await, 3, "files of what was not made are gone");
}

#[tokio::test]
async fn a_process_that_dies_between_two_commits_leaves_all_or_nothing() {
    // It dies before the record, behind it, and behind each commit.
    for died_after in 0..=4 {
        let (store, engine) = begun().await;
        let run = RunId::new();
        let all = prepared(&engine, run, 1).await;
        fails_from(&store, died_after);
        let published = engine.publish(&who(), all).await;
        assert_eq!(published.is_ok(), died_after == 4, "{died_after}: {published:?}");
        // Its own readers see no half, either.
        assert_eq!(seen(&engine).await, if died_after == 4 { ALL } else { NONE }, "{died_after}");
        drop(engine);
        store.plan(|_| Fault::None);

        let is_decided = died_after > 0;
        if (1..4).contains(&died_after) {
            // Who can only read does not make the rest, and sees nothing of it.
            assert_eq!(seen(&reading(&store).await).await, NONE, "{died_after}");
        }
        let other = over(&store).await;
        assert_eq!(seen(&other).await, if is_decided { ALL } else { NONE }, "{died_after}");
        assert_eq!(versions(&other).await, [u64::from(is_decided); 3], "{died_after}");
        assert_eq!(store.count("_publications").await, 0, "{died_after}");
        // Whoever takes the run over makes nothing a second time.
        let again = other.publish(&who(), prepared(&other, run, 1).await).await.unwrap();
        assert!(again.iter().all(|commit| commit.duplicate == is_decided), "{died_after}");
        assert_eq!(seen(&other).await, ALL);
        assert_eq!(versions(&other).await, [1; 3]);
    }
}

#[tokio::test]
async fn a_record_that_was_left_hides_nothing_that_is_whole() {
    let (store, engine) = begun().await;
    let run = RunId::new();
    let all = prepared(&engine, run, 1).await;
    let path = format!("default/_publications/{run}.json");
    // The record outlives the process that put it: what it was is kept, and put back.
    fails_from(&store, 3);
    engine.publish(&who(), all).await.unwrap_err();
    store.plan(|_| Fault::None);
    let record = store.text(&path).await.unwrap();
    engine.finish_publications(&who()).await.unwrap();
    engine.write(&who(), &name("a"), WriteMode::Append, rows(10..11), label("more")).await.unwrap();
    store.put_text(&path, &record).await.unwrap();
    drop(engine);
    assert_eq!(seen(&reading(&store).await).await, [2, 2, 3]);
    // Nor does one that nobody can read, who only reads.
    store.put_text(&path, "{\"form\": 2, \"x\": 1}").await.unwrap();
    assert_eq!(seen(&reading(&store).await).await, [2, 2, 3]);
    let other = over(&store).await;
    assert_eq!(seen(&other).await, [2, 2, 3]);
    assert_eq!(store.count("_publications").await, 1);
}

#[tokio::test]
async fn lost_answers_make_nothing_half_and_nothing_twice() {
    for (part, times) in [("_publications", 1), ("a/_delta_log", 1), ("b/_delta_log", 1)] {
        let (store, engine) = begun().await;
        let all = prepared(&engine, RunId::new(), 1).await;
        let mut left = times;
        store.plan(move |path| {
            let hit = left > 0 && path.as_ref().contains(part);
            left -= usize::from(hit);
            if hit { Fault::AnswerLost } else { Fault::None }
        });
        let commits = engine.publish(&who(), all).await.unwrap();
        assert!(commits.iter().all(|commit| !commit.duplicate), "{part}: {commits:?}");
        assert_eq!((seen(&engine).await, versions(&engine).await), (ALL, [1; 3]), "{part}");
        assert_eq!(store.count("_publications").await, 0, "{part}");
    }
}

#[tokio::test]
async fn who_follows_sees_nothing_before_it_has_everything() {
    let (store, engine) = begun().await;
    let other = over(&store).await;
    assert_eq!(seen(&other).await, NONE);
    let mut news = other.commits().subscribe();
    let all = prepared(&engine, RunId::new(), 1).await;
    // The record, and the commits to two of three.
    fails_from(&store, 3);
    engine.publish(&who(), all).await.unwrap_err();
    store.plan(|_| Fault::None);

    // It sees commits, and can not help.
    store.unreadable(Some("_publications"));
    other.lake().look_for_others().await;
    other.lake().look_for_others().await;
    assert_eq!(seen(&other).await, NONE);
    assert!(news.try_recv().is_err());
    // What it commits to such a table itself waits with it.
    let more = rows(10..11);
    let landed = other.write(&who(), &name("a"), WriteMode::Append, more, label("more")).await;
    assert_eq!(landed.unwrap().version.0, 2);
    assert_eq!(seen(&other).await, NONE);

    store.unreadable(None);
    other.lake().look_for_others().await;
    assert_eq!(seen(&other).await, [2, 2, 3]);
    let mut told = Vec::new();
    while let Ok(event) = news.try_recv() {
        told.push((event.dataset.to_string(), event.version.0));
    }
    told.sort();
    let expected = [("a", 1), ("a", 2), ("b", 1), ("c", 1)];
    assert_eq!(told, expected.map(|(name, version)| (name.to_owned(), version)));
    assert_eq!(store.count("_publications").await, 0);

    // The first goes on, too.
    engine.lake().look_for_others().await;
    assert_eq!(seen(&engine).await, [2, 2, 3]);
    assert_eq!(versions(&engine).await, [2, 1, 1]);
}

#[tokio::test]
async fn a_session_never_sees_a_half_while_results_come_and_others_follow() {
    let (store, engine) = begun().await;
    let other = over(&store).await;
    seen(&other).await;
    let watching = |engine: Engine, looks: bool| {
        tokio::spawn(async move {
            let mut sums = 0;
            loop {
                if looks {
                    engine.lake().look_for_others().await;
                }
                let found = seen(&engine).await;
                let [a, b, c] = found;
                assert!(b == 2 * a && c == 3 * a, "{found:?}");
                sums += 1;
                if a == 12 {
                    return sums;
                }
            }
        })
    };
    let (own, theirs) = (watching(engine.clone(), false), watching(other.clone(), true));
    for number in 1..=12 {
        let run = RunId::new();
        let mut all = Vec::new();
        for (i, dataset) in TABLES.into_iter().enumerate() {
            let (rows, label) = (rows(0..(i as i64 + 1)), label_of(run, number));
            let mode = WriteMode::Append;
            all.push(engine.prepare(&who(), &name(dataset), mode, rows, label).await.unwrap());
        }
        engine.publish(&who(), all).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(own.await.unwrap() > 0 && theirs.await.unwrap() > 0);
    assert_eq!(versions(&other).await, [12; 3]);
}

#[tokio::test]
async fn several_may_make_what_is_missing_at_once() {
    let (store, engine) = begun().await;
    let all = prepared(&engine, RunId::new(), 1).await;
    fails_from(&store, 2);
    engine.publish(&who(), all).await.unwrap_err();
    store.plan(|_| Fault::None);
    let others = [over(&store).await, over(&store).await, engine];
    let who = who();
    let finished = others.each_ref().map(|engine| engine.finish_publications(&who));
    for finished in futures::future::join_all(finished).await {
        finished.unwrap();
    }
    for engine in &others {
        assert_eq!((seen(engine).await, versions(engine).await), (ALL, [1; 3]));
    }
}

#[tokio::test]
async fn what_follows_from_a_version_is_refused_whole_when_another_came() {
    let (store, engine) = begun().await;
    let run = RunId::new();
    let mut all = prepared(&engine, run, 1).await;
    engine.discard(all.pop().unwrap()).await;
    let after = WriteMode::AppendAfter(crate::Version(0));
    let label_c = label_of(run, 1);
    all.push(engine.prepare(&who(), &name("c"), after, rows(0..3), label_c).await.unwrap());
    engine.write(&who(), &name("c"), WriteMode::Append, rows(7..8), label("x")).await.unwrap();
    let refused = engine.publish(&who(), all).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict, "{refused}");
    assert_eq!((seen(&engine).await, versions(&engine).await), ([0, 0, 1], [0, 0, 1]));
    assert_eq!(store.count(".parquet").await, 1);
}

/// Rows of one run: appended to two tables, and to a third only if that table is still at
/// `version`.
async fn following(engine: &Engine, run: RunId, key: &str, version: u64) -> Vec<Prepared> {
    let mut all = Vec::new();
    for dataset in TABLES {
        let label = CommitLabel { idempotency: Some((key.to_owned(), 1)), ..label_of(run, 1) };
        let mode = match dataset {
            "c" => WriteMode::AppendAfter(crate::Version(version)),
            _ => WriteMode::Append,
        };
        all.push(engine.prepare(&who(), &name(dataset), mode, rows(0..1), label).await.unwrap());
    }
    all
}

/// Number of times that two processes publish at the same moment. `COLONNADE_OVERLAPS` sets another
/// number.
fn overlaps() -> u64 {
    let asked = std::env::var("COLONNADE_OVERLAPS").ok();
    asked.map_or(20, |count| count.parse().expect("COLONNADE_OVERLAPS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_two_publications_based_on_the_same_version_commits() {
    let (store, first) = begun().await;
    let second = over(&store).await;
    for version in 0..overlaps() {
        seen(&second).await;
        let one = following(&first, RunId::new(), &format!("one {version}"), version).await;
        let other = following(&second, RunId::new(), &format!("other {version}"), version).await;
        // Both processes check the version before either puts its record.
        store.meet("_publications", 2);
        let who = who();
        let made = tokio::join!(first.publish(&who, one), second.publish(&who, other));
        let both = [&made.0, &made.1].into_iter();
        let refused: Vec<_> = both.filter_map(|made| made.as_ref().err()).collect();
        assert_eq!(refused.len(), 1, "{version}: {made:?}");
        assert_eq!(refused[0].code(), Code::Conflict, "{version}: {}", refused[0]);
        for engine in [&first, &second] {
            engine.lake().look_for_others().await;
            let expected = i64::try_from(version).unwrap() + 1;
            assert_eq!(seen(engine).await, [expected; 3], "{version}");
        }
        assert_eq!(store.count("_publications").await, 0);
    }
}

#[tokio::test]
async fn a_dead_process_publication_is_void_if_another_commits_first() {
    for died_after in [1, 2] {
        let (store, engine) = begun().await;
        // It already has the tables open, so its next commit does not look for a record.
        let other = over(&store).await;
        assert_eq!(seen(&other).await, NONE);
        let dead = following(&engine, RunId::new(), "dead", 0).await;
        fails_from(&store, died_after);
        engine.publish(&who(), dead).await.unwrap_err();
        drop(engine);
        store.plan(|_| Fault::None);
        let more = WriteMode::AppendAfter(crate::Version(0));
        let landed = other.write(&who(), &name("c"), more, rows(5..6), label("other")).await;
        // Once the deciding commit exists, the others follow.
        let is_decided = died_after == 2;
        assert_eq!(landed.is_err(), is_decided, "{died_after}: {landed:?}");
        other.finish_publications(&who()).await.unwrap();
        let expected = if is_decided { [1, 1, 1] } else { [0, 0, 1] };
        assert_eq!(seen(&other).await, expected, "{died_after}");
        assert_eq!(store.count("_publications").await, 0, "{died_after}");
    }
}

#[tokio::test]
async fn a_record_that_nobody_can_read_holds_nothing_back_and_is_kept() {
    for record in [
        "{\"form\": 1, \"comm",
        "{\"form\": 9, \"operation\": \"\", \"subject\": \"\", \"commits\": []}",
    ] {
        let (store, engine) = begun().await;
        let run = RunId::new();
        let all = prepared(&engine, run, 1).await;
        fails_from(&store, 2);
        engine.publish(&who(), all).await.unwrap_err();
        drop(engine);
        store.plan(|_| Fault::None);
        let path = format!("default/_publications/{run}.json");
        store.lose(&path).await.unwrap();
        let record = record.replace("{\"form\"", "{\"run_id\": null, \"form\"");
        store.put_text(&path, &record).await.unwrap();
        let other = over(&store).await;
        assert_eq!(seen(&other).await, [1, 0, 0]);
        other.lake().look_for_others().await;
        other.write(&who(), &name("a"), WriteMode::Append, rows(7..8), label("x")).await.unwrap();
        assert_eq!(seen(&other).await, [2, 0, 0]);
        assert_eq!(store.count("_publications").await, 1);
    }
}

#[tokio::test]
async fn a_dropped_dataset_keeps_nothing_from_the_others() {
    let (store, engine) = begun().await;
    let all = prepared(&engine, RunId::new(), 1).await;
    fails_from(&store, 1);
    engine.publish(&who(), all).await.unwrap_err();
    store.plan(|_| Fault::None);
    engine.drop_dataset(&who(), &name("b")).await.unwrap();
    engine.finish_publications(&who()).await.unwrap();
    assert_eq!(number(&engine, "SELECT count(*) FROM a").await, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM c").await, 3);
    assert_eq!(store.count("_publications").await, 0);
}
