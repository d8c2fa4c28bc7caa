//! What is kept of what runs say, and for whom.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::testing::{Noise, append as append_series, engine, sampled};

async fn messages(engine: &Engine, who: &Principal, run: RunId) -> Vec<String> {
    let lines = run_log(engine, who, run, (0, 0)).await.unwrap();
    lines.into_iter().map(|line| format!("{} {}", line.level, line.message)).collect()
}

#[tokio::test]
async fn too_much_is_cut_and_the_last_word_is_kept() {
    let (engine, who) = (engine().await, Principal::local());
    let book = Arc::<LogBook>::default();
    let run = RunId::new();
    assert_eq!(run_log(&engine, &who, run, (0, 0)).await.unwrap(), []);
    let log = book.of_run(&who.tenant, run, 2, "sql");
    log.info("ä".repeat(LINE_MAX_BYTES));
    for line in 1..LINES_MAX + 50 {
        log.info(line.to_string());
    }
    log.last(Level::Error, "the end");
    book.flush(&engine).await;
    let first = run_log(&engine, &who, run, (0, 0)).await.unwrap();
    assert_eq!(first.len(), LOG_LINES_MAX);
    assert_eq!((first[0].attempt, first[0].line), (2, 1));
    assert_eq!(first[0].message, "ä".repeat(LINE_MAX_BYTES / 2));
    assert_eq!(first[999].message, "999");
    let rest = run_log(&engine, &who, run, (2, LINES_MAX - 2)).await.unwrap();
    let rest: Vec<&str> = rest.iter().map(|line| line.message.as_str()).collect();
    let cut = "later lines of this try are not kept, but for its last; 10000 are";
    assert_eq!(rest, ["9998", cut, "the end"]);
    // Of another tenant nothing is seen, and of another run.
    let other = Principal { tenant: TenantId::new("other").unwrap(), ..who.clone() };
    assert_eq!(run_log(&engine, &other, run, (0, 0)).await.unwrap(), []);
    assert_eq!(run_log(&engine, &who, RunId::new(), (0, 0)).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_what_it_does_and_how_it_ended() {
    let (engine, who) = (engine().await, Principal::local());
    let mut noise = Noise::new(1);
    let values = (0..500).map(|_| noise.normal()).collect();
    append_series(&engine, "metrics", &[sampled("a", 300, values)]).await;
    let runner = Runner::start(engine.clone(), RunnerOptions::default()).await.unwrap();
    let run = async |job: &str, params: Value| {
        let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
        runner.submit(&who, request).await.unwrap().wait().await.unwrap()
    };
    let good = run("anomalies", json!({})).await;
    let again = run("anomalies", json!({})).await;
    let bad = run("anomalies", json!({"series": ["nope"]})).await;
    // They come by themselves.
    let written = async {
        while messages(&engine, &who, bad.id).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.unwrap();
    runner.shutdown().await;
    let said = messages(&engine, &who, good.id).await;
    assert!(said[0].starts_with("info begins, by "), "{said:?}");
    assert_eq!(said.len(), 2 + good.stages.len(), "{said:?}");
    for (says, stage) in said[1..].iter().zip(&good.stages) {
        let rows =
            format!("info {}: {} rows in, {} rows out", stage.name, stage.rows_in, stage.rows_out);
        assert!(says.starts_with(&rows), "{says}");
    }
    let last = said.last().unwrap();
    assert!(last.starts_with("info succeeded in ") && last.ends_with("anomalies@1"), "{last}");
    let last = messages(&engine, &who, again.id).await.pop().unwrap();
    assert!(last.ends_with(&format!(", as run {} made it", good.id)), "{last}");
    let last = messages(&engine, &who, bad.id).await.pop().unwrap();
    let error = bad.error.unwrap();
    assert!(last.starts_with("error failed after "), "{last}");
    assert!(last.ends_with(&format!(": {}: {}", error.code, error.message)), "{last}");
}
