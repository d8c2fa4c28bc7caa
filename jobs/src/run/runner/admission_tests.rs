//! Who may begin: what fits, whose turn it is, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Principal, Result, TenantId};
use futures::future::BoxFuture;
use kernels::GpuPolicy;
use serde_json::{Value, json};

use super::{RunHandle, RunRequest, Runner, RunnerOptions};
use crate::control::DeviceRoom;
use crate::job::{Estimate, InputSize, Job, Outcome};
use crate::kinds::Jobs;
use crate::run::context::RunContext;
use crate::run::record::{RunFilter, RunState, now};
use crate::testing::{engine, engine_at};

const MIB: u64 = 1 << 20;

/// What runs of the job hold at a moment, and the most that they ever held together.
#[derive(Default)]
struct Held {
    device: AtomicI64,
    device_most: AtomicI64,
    memory: AtomicI64,
    memory_most: AtomicI64,
    at_work_most: AtomicUsize,
    at_work: AtomicUsize,
}

/// Needs what its parameters say, holds it for some milliseconds, and may find that it was given too little.
struct Sized(Arc<Held>);

impl Job for Sized {
    fn name(&self) -> &'static str {
        "sized"
    }

    fn description(&self) -> &'static str {
        "needs what it says"
    }

    fn parameters_schema(&self) -> Value {
        json!({})
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        Ok(params.clone())
    }

    fn inputs(&self, _: &Value) -> Result<Vec<DatasetName>> {
        Ok(vec![])
    }

    fn outputs(&self, _: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![])
    }

    fn uses_gpu(&self) -> bool {
        true
    }

    fn estimate(&self, params: &Value, _: &[InputSize]) -> Result<Estimate> {
        let mib = |name: &str| params[name].as_u64().unwrap_or(0) * MIB;
        Ok(Estimate {
            memory_bytes: mib("memory"),
            device_bytes: mib("device"),
            ..Estimate::default()
        })
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let given = ctx.memory_budget_bytes();
            if params["really"].as_u64().is_some_and(|mib| mib * MIB > given as u64) {
                let error = Error::user(Code::ResourcesExhausted, format!("given {given} bytes"));
                return Err(error);
            }
            let held = &self.0;
            let device = ctx.execution(given).budget.device_bytes.unwrap_or(0) as i64;
            let memory = given as i64;
            let add = |sum: &AtomicI64, most: &AtomicI64, bytes: i64| {
                let now = sum.fetch_add(bytes, Ordering::SeqCst) + bytes;
                most.fetch_max(now, Ordering::SeqCst);
            };
            add(&held.device, &held.device_most, device);
            add(&held.memory, &held.memory_most, memory);
            let at_work = held.at_work.fetch_add(1, Ordering::SeqCst) + 1;
            held.at_work_most.fetch_max(at_work, Ordering::SeqCst);
            let ms = params["ms"].as_u64().unwrap_or(5);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            held.device.fetch_sub(device, Ordering::SeqCst);
            held.memory.fetch_sub(memory, Ordering::SeqCst);
            held.at_work.fetch_sub(1, Ordering::SeqCst);
            Ok(Outcome { summary: json!({ "given": given, "device": device }) })
        })
    }
}

fn options(held: &Arc<Held>) -> RunnerOptions {
    RunnerOptions {
        jobs: Jobs::default().with(Arc::new(Sized(held.clone()))),
        queue_runs_max: 100_000,
        threads: 2,
        device: Some(DeviceRoom { id: "a GPU of 1 GiB".into(), bytes: 1 << 30 }),
        ..RunnerOptions::default()
    }
}

fn sized(gpu: GpuPolicy, params: Value) -> RunRequest {
    RunRequest { job: "sized".into(), params, gpu: Some(gpu), ..RunRequest::default() }
}

async fn submit(runner: &Runner, gpu: GpuPolicy, params: Value) -> RunHandle {
    runner.submit(&Principal::local(), sized(gpu, params)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_never_hold_more_of_a_gpu_than_it_has_and_all_of_them_end() {
    let (engine, held) = (engine().await, Arc::new(Held::default()));
    let runner = Runner::start(
        engine.clone(),
        RunnerOptions { concurrent_runs: 6, memory_budget_bytes: 64 << 30, ..options(&held) },
    )
    .await
    .unwrap();
    let mut handles = Vec::new();
    for run in 0..50_u64 {
        let device = 300 + run * 37 % 601;
        handles.push(submit(&runner, GpuPolicy::Required, json!({"device": device})).await);
    }
    let error = match runner
        .submit(&Principal::local(), sized(GpuPolicy::Required, json!({"device": 2048})))
        .await
    {
        Err(error) => error,
        Ok(_) => panic!("2 GiB were promised of 1 GiB"),
    };
    assert_eq!(error.code(), Code::ResourcesExhausted);
    for figure in ["2 GiB", "1 GiB", "sized"] {
        assert!(error.to_string().contains(figure), "{error}");
    }
    // Where it may, such a run takes the CPU.
    let on_cpu = submit(&runner, GpuPolicy::Preferred, json!({"device": 2048})).await;
    for handle in handles {
        let record = handle.wait().await.unwrap();
        assert_eq!(record.state, RunState::Succeeded, "{record:?}");
        let estimate = record.estimate.unwrap();
        assert_eq!(record.summary["device"].as_u64(), Some(estimate.device_bytes));
    }
    assert_eq!(on_cpu.wait().await.unwrap().summary["device"], 0);
    let most = held.device_most.load(Ordering::SeqCst);
    assert!(most <= 1 << 30, "{most} bytes of 1 GiB");
    assert!(held.at_work_most.load(Ordering::SeqCst) > 1, "small ones go together");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_a_machine_share_its_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let held = Arc::new(Held::default());
    let (one, two) = (engine_at(folder.path()).await, engine_at(folder.path()).await);
    let of = RunnerOptions { concurrent_runs: 3, ..options(&held) };
    let first = Runner::start(one, of.clone()).await.unwrap();
    let second = Runner::start(two, of).await.unwrap();
    let mut handles = Vec::new();
    for run in 0..24_u64 {
        let asked = if run % 2 == 0 { &first } else { &second };
        let params = json!({"device": 260 + run, "ms": 20});
        handles.push(submit(asked, GpuPolicy::Required, params).await);
    }
    for handle in handles {
        assert_eq!(handle.wait().await.unwrap().state, RunState::Succeeded);
    }
    let most = held.device_most.load(Ordering::SeqCst);
    assert!(((520 * MIB as i64)..=1 << 30).contains(&most), "{most} bytes");
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_shared_by_need_and_a_great_run_has_its_turn() {
    let (engine, held) = (engine().await, Arc::new(Held::default()));
    let budget = 1_usize << 30;
    let of = RunnerOptions { concurrent_runs: 4, memory_budget_bytes: budget, ..options(&held) };
    let runner = Runner::start(engine, of).await.unwrap();
    let mut small = Vec::new();
    for _ in 0..8 {
        small.push(submit(&runner, GpuPolicy::Off, json!({"memory": 10, "ms": 10})).await);
    }
    let great = submit(&runner, GpuPolicy::Off, json!({"memory": 4096})).await;
    for _ in 0..200 {
        small.push(submit(&runner, GpuPolicy::Off, json!({"memory": 10, "ms": 2})).await);
    }
    let great = great.wait().await.unwrap();
    let given = great.summary["given"].as_u64().unwrap() as usize;
    assert!(given > budget / 4 * 3, "{given} of {budget}");
    let last = small.pop().unwrap().wait().await.unwrap();
    // It was passed over, but not for ever.
    assert!(great.finished_at < last.started_at, "{great:?}");
    for handle in small {
        handle.wait().await.unwrap();
    }
    let most = held.memory_most.load(Ordering::SeqCst);
    assert!(most <= budget as i64, "{most} bytes");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_had_too_little_memory_is_given_more() {
    let (engine, held) = (engine().await, Arc::new(Held::default()));
    let of = RunnerOptions { concurrent_runs: 4, memory_budget_bytes: 1 << 30, ..options(&held) };
    let runner = Runner::start(engine, of).await.unwrap();
    let record = submit(&runner, GpuPolicy::Off, json!({"memory": 1, "really": 400})).await;
    let record = record.wait().await.unwrap();
    assert_eq!(record.state, RunState::Succeeded, "{record:?}");
    let errors: Vec<&str> = record.attempts.iter().map(|a| a.error.message.as_str()).collect();
    assert_eq!(errors, [format!("given {} bytes", 256 * MIB)]);
    assert_eq!(record.summary["given"].as_u64(), Some(512 * MIB));
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_kind_no_more_than_its_limit_is_at_work() {
    let (engine, held) = (engine().await, Arc::new(Held::default()));
    let of_job_max = BTreeMap::from([("sized".to_owned(), 2)]);
    let of = RunnerOptions { concurrent_runs: 6, of_job_max, ..options(&held) };
    let runner = Runner::start(engine, of).await.unwrap();
    let mut handles = Vec::new();
    for _ in 0..20 {
        handles.push(submit(&runner, GpuPolicy::Off, json!({"ms": 4})).await);
    }
    for handle in handles {
        handle.wait().await.unwrap();
    }
    assert_eq!(held.at_work_most.load(Ordering::SeqCst), 2);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_by_its_deadline_whether_it_began_or_not() {
    let (engine, held) = (engine().await, Arc::new(Held::default()));
    let of = RunnerOptions { concurrent_runs: 1, ..options(&held) };
    let runner = Runner::start(engine, of).await.unwrap();
    let soon = Some(now() + TimeDelta::milliseconds(300));
    let mut handles = Vec::new();
    for _ in 0..2 {
        let request = sized(GpuPolicy::Off, json!({"ms": 600_000}));
        let request = RunRequest { deadline_at: soon, ..request };
        handles.push(runner.submit(&Principal::local(), request).await.unwrap());
    }
    let mut says = Vec::new();
    for handle in handles {
        let record = handle.wait().await.unwrap();
        assert_eq!(record.state, RunState::Failed);
        let error = record.error.unwrap();
        assert_eq!(error.code, Code::Timeout.as_str());
        says.push(error.message);
    }
    assert!(says[0].contains("stopped at its deadline"), "{says:?}");
    assert!(says[1].contains("while it waited"), "{says:?}");
    runner.shutdown().await;
}

/// How long the runs of `who` take until the last has ended.
async fn waits(runner: &Runner, who: &Principal, runs: usize) -> Duration {
    let begun = Instant::now();
    let mut handles = Vec::new();
    for _ in 0..runs {
        handles.push(runner.submit(who, sized(GpuPolicy::Off, json!({"ms": 5}))).await.unwrap());
    }
    for handle in handles {
        handle.wait().await.unwrap();
    }
    begun.elapsed()
}

async fn fair_share(flood: usize, runs: usize) -> (Duration, Duration) {
    let of =
        |held: &Arc<Held>| RunnerOptions { concurrent_runs: 4, has_tenants: true, ..options(held) };
    let held = Arc::new(Held::default());
    let who =
        |tenant: &str| Principal { tenant: TenantId::new(tenant).unwrap(), ..Principal::local() };
    let runner = Runner::start(engine().await, of(&held)).await.unwrap();
    let alone = waits(&runner, &who("patient"), runs).await;
    runner.shutdown().await;

    let runner = Runner::start(engine().await, of(&held)).await.unwrap();
    let flooding = who("flooding");
    for _ in 0..flood {
        runner.submit(&flooding, sized(GpuPolicy::Off, json!({"ms": 5}))).await.unwrap();
    }
    let beside = waits(&runner, &who("patient"), runs).await;
    let filter = RunFilter { state: Some(RunState::Queued), limit: 1, ..RunFilter::default() };
    let left = runner.list(&flooding, filter).await.unwrap();
    assert!(!left.is_empty(), "the flood was over before the others were done");
    // What still waits of the flood is of no use to anybody.
    drop(runner);
    (alone, beside)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_the_queue_takes_no_more_than_its_share() {
    let (alone, beside) = fair_share(600, 60).await;
    // Half of the places are its own; what is beyond that is the time to look.
    assert!(beside <= alone * 2 + Duration::from_secs(1), "{alone:?} alone, {beside:?} beside");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: ten thousand runs"]
async fn who_floods_the_queue_with_ten_thousand_runs_takes_no_more_than_its_share() {
    let (alone, beside) = fair_share(10_000, 100).await;
    println!("100 runs: {alone:?} alone, {beside:?} beside 10,000 of another tenant");
    assert!(beside <= alone * 2, "{alone:?} alone, {beside:?} beside");
}
