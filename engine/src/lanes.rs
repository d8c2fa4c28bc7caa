//! Threads for what computes, apart from those that read and write sockets, and who of several tenants has them first.
//!
//! There are two lanes of threads. Those of the patient one get from the system what those of the prompt one leave, so that a
//! tenant that asks for little is answered as if one that asks for much were not there. Patient is what a tenant has run beside
//! other work of its own, while it used more lately than the others. A tenant that is alone, or does one thing at a time, is not.
//!
//! The system knows priorities of threads on Linux; elsewhere the lanes are equal.

use std::collections::HashMap;
use std::future::Future;
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use kernels::Control;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::error::{Code, Error, Result};
use crate::identity::TenantId;
use crate::options::STACK_BYTES;
use crate::places::Places;
use crate::stop::{StopOnDrop, stopped_by};

/// Most threads of a lane.
const THREADS_MAX: usize = 1_024;
/// A thread that takes longer to end is busy, and is not waited for.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// By how much patient threads are nicer than the process: to one of them the system gives a tenth of what it gives to a prompt
/// one, where both want to run.
const PATIENT_NICENESS: i32 = 10;
/// What was used this long ago counts a third of what is used now.
const LATELY: Duration = Duration::from_secs(3);
/// A tenant that used nothing for so long is not there.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// A tenant that used less lately is never patient.
const LITTLE_SECONDS: f64 = 0.25;
/// So much more than the mean makes a tenant patient.
const MORE_THAN_MEAN: f64 = 1.2;

/// How urgent the work of threads is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits for it.
    #[default]
    Prompt,
    /// It can wait for what is prompt.
    Patient,
}

/// Threads for tasks that compute without a pause. Their stacks are deep, because DataFusion walks what it plans by recursion.
#[derive(Debug)]
pub struct Threads(Option<Runtime>);

impl Threads {
    /// `count` of them, called `name`. Starts them from a thread that is itself not patient.
    pub fn new(name: &'static str, count: usize, urgency: Urgency) -> Result<Self> {
        // Told before the first is there: each is at first as nice as the one that starts it.
        let patient = (urgency == Urgency::Patient).then(patient_niceness);
        let runtime = Builder::new_multi_thread()
            .worker_threads(count.clamp(1, THREADS_MAX))
            .thread_name(name)
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(move || {
                if let Some(niceness) = patient {
                    be_nice(niceness);
                }
            })
            .enable_all()
            .build()
            .map_err(|error| {
                let doing = format!("start the {name} threads");
                Error::environment(Code::ResourcesExhausted, doing, error)
            })?;
        Ok(Self(Some(runtime)))
    }

    /// Begins `work` there.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let runtime = self.0.as_ref().ok_or_else(|| Error::internal("the threads are gone"))?;
        Ok(runtime.spawn(work.instrument(tracing::Span::current())))
    }

    /// Runs `work` there and waits for it. It ends when this is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let stopped = |error| Error::internal(format!("a task stopped: {error}"));
        // A task that computes is not ended before it pauses.
        let control = Control::new();
        let stop = StopOnDrop::new(control.clone());
        let done = AbortOnDropHandle::new(self.spawn(stopped_by(control, work))?).await;
        stop.done();
        done.map_err(stopped)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            end(runtime);
        }
    }
}

/// Stops `runtime` and joins its threads, on another thread: a thread cannot join itself.
///
/// Joining avoids a bug of glibc: `pthread_detach` can read the memory of a thread after that thread has ended and its memory
/// was freed (bug 19951). `Runtime::shutdown_background` would detach the threads just as they end. The joining thread itself
/// never ends.
fn end(runtime: Runtime) {
    static ENDED: LazyLock<Sender<Runtime>> = LazyLock::new(|| {
        let (ended, waiting) = channel::<Runtime>();
        let wait = move || waiting.iter().for_each(|runtime| runtime.shutdown_timeout(ENDS_WITHIN));
        if let Err(error) = std::thread::Builder::new().name("ending".into()).spawn(wait) {
            tracing::debug!(%error, "cannot start the thread that joins other threads");
        }
        ended
    });
    if let Err(SendError(runtime)) = ENDED.send(runtime) {
        runtime.shutdown_background();
    }
}

/// To Linux, "this process" is this thread.
#[cfg(target_os = "linux")]
fn patient_niceness() -> i32 {
    let own = rustix::process::getpriority_process(None).unwrap_or_default();
    (own + PATIENT_NICENESS).min(19)
}

#[cfg(target_os = "linux")]
fn be_nice(niceness: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn patient_niceness() -> i32 {
    PATIENT_NICENESS
}

#[cfg(not(target_os = "linux"))]
fn be_nice(_: i32) {}

/// The two lanes, and places there. What a tenant uses is how long it has places.
#[derive(Debug)]
pub struct Lanes {
    usage: Arc<Usage>,
    places: Places,
    prompt: Threads,
    patient: Threads,
}

impl Lanes {
    /// Lanes for `count` tasks at a time. Each has a thread for each of them and for each core one more, so that one that
    /// computes for long holds up none.
    pub(crate) fn new(usage: Arc<Usage>, name: &'static str, count: usize) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = |urgency| Threads::new(name, count.saturating_add(cores), urgency);
        let places = Places::counted(count, Arc::clone(&usage));
        let (prompt, patient) = (threads(Urgency::Prompt)?, threads(Urgency::Patient)?);
        Ok(Self { usage, places, prompt, patient })
    }

    /// Places for what is to run there.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Counts as a place until it is dropped, without being one.
    pub(crate) fn begin(&self, tenant: &TenantId) -> Using {
        self.usage.begin(tenant)
    }

    /// Runs `work` of `tenant`, who has a place, and waits for it. It ends when this is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        self.lane(tenant).run(work).await
    }

    /// Begins `work` of `tenant`, who has a place; it goes on to its end, whoever waits for it.
    pub fn spawn<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        self.lane(tenant).spawn(work)
    }

    /// Begins `work` that waits most of its time and is of no tenant; it outlives the runtime of whoever begins it.
    pub(crate) fn attend<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        self.prompt.spawn(work)
    }

    fn lane(&self, tenant: &TenantId) -> &Threads {
        match self.usage.urgency(tenant) {
            Urgency::Prompt => &self.prompt,
            Urgency::Patient => &self.patient,
        }
    }
}

/// How long tenants lately had places, all of these together.
#[derive(Debug, Default)]
pub(crate) struct Usage(Mutex<HashMap<TenantId, Used>>);

/// Of one tenant.
#[derive(Debug)]
struct Used {
    /// Seconds of those that were given back, as they counted then.
    seconds: f64,
    then: Instant,
    held: HashMap<u64, Instant>,
    begun: u64,
}

/// A place of a tenant.
#[derive(Debug)]
pub(crate) struct Using {
    usage: Arc<Usage>,
    tenant: TenantId,
    number: u64,
}

impl Drop for Using {
    fn drop(&mut self) {
        let now = Instant::now();
        if let Some(used) = self.usage.0.lock().get_mut(&self.tenant)
            && let Some(began) = used.held.remove(&self.number)
        {
            used.seconds = used.ended(now) + (now - began).as_secs_f64();
            used.then = now;
        }
    }
}

impl Usage {
    pub(crate) fn begin(self: &Arc<Self>, tenant: &TenantId) -> Using {
        let now = Instant::now();
        let mut all = self.0.lock();
        let used = all.entry(tenant.clone()).or_insert_with(|| Used {
            seconds: 0.0,
            then: now,
            held: HashMap::new(),
            begun: 0,
        });
        used.begun += 1;
        used.held.insert(used.begun, now);
        Using { usage: Arc::clone(self), tenant: tenant.clone(), number: used.begun }
    }

    /// That of more work of `tenant`, which has a place for it.
    fn urgency(&self, tenant: &TenantId) -> Urgency {
        let now = Instant::now();
        let mut all = self.0.lock();
        all.retain(|_, used| !used.held.is_empty() || now - used.then < FORGOTTEN);
        let Some(own) = all.get(tenant).filter(|used| used.held.len() > 1) else {
            return Urgency::Prompt;
        };
        let own = own.lately(now);
        let sum: f64 = all.values().map(|used| used.lately(now)).sum();
        let mean = sum / all.len() as f64;
        match own > LITTLE_SECONDS && own > MORE_THAN_MEAN * mean {
            true => Urgency::Patient,
            false => Urgency::Prompt,
        }
    }
}

impl Used {
    /// Seconds of those that were given back, as they count now.
    fn ended(&self, now: Instant) -> f64 {
        self.seconds * (-(now - self.then).div_duration_f64(LATELY)).exp()
    }

    fn lately(&self, now: Instant) -> f64 {
        // Of one that is held for long, what was long ago does not count.
        let ran = |began: &Instant| (now - *began).min(LATELY).as_secs_f64();
        self.ended(now) + self.held.values().map(ran).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn lanes() -> Lanes {
        Lanes::new(Arc::default(), "test", 1).unwrap()
    }

    /// As if a tenant had used so many seconds a moment ago.
    fn use_up(lanes: &Lanes, name: &str, seconds: f64) {
        drop(lanes.begin(&tenant(name)));
        lanes.usage.0.lock().get_mut(&tenant(name)).unwrap().seconds = seconds;
    }

    /// Of the second of two things at a time.
    fn urgency(lanes: &Lanes, name: &str) -> Urgency {
        let _both = [lanes.begin(&tenant(name)), lanes.begin(&tenant(name))];
        lanes.usage.urgency(&tenant(name))
    }

    #[test]
    fn threads_end_with_their_owner_and_may_drop_it_themselves() {
        let (tell, told) = channel::<()>();
        let threads = Arc::new(Threads::new("ended", 2, Urgency::Prompt).unwrap());
        let own = Arc::clone(&threads);
        // Dropped when the runtime drops its tasks.
        let until_dropped = async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        };
        drop(threads.spawn(until_dropped).unwrap());
        drop(threads.spawn(async move { drop(own) }).unwrap());
        drop(threads);
        let told = told.recv_timeout(Duration::from_secs(20));
        assert_eq!(told, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn threads_have_ended_before_those_that_are_dropped_after_them_end() {
        /// Dropped with the thread that has it, which takes a while.
        struct Ending(Arc<AtomicBool>);

        impl Drop for Ending {
            fn drop(&mut self) {
                std::thread::sleep(Duration::from_millis(300));
                self.0.store(true, Ordering::Release);
            }
        }

        thread_local! {
            static ENDING: RefCell<Option<Ending>> = const { RefCell::new(None) };
        }
        let has_ended = Arc::new(AtomicBool::new(false));
        let (begin, begun) = channel();
        let threads = Threads::new("joined", 1, Urgency::Prompt).unwrap();
        let ending = Ending(Arc::clone(&has_ended));
        let work = async move {
            ENDING.set(Some(ending));
            begin.send(()).unwrap();
        };
        drop(threads.spawn(work).unwrap());
        begun.recv_timeout(Duration::from_secs(20)).unwrap();
        // One thread joins those of all runtimes, one runtime after the other.
        let (tell, told) = channel::<()>();
        let last = Threads::new("last", 1, Urgency::Prompt).unwrap();
        let until_dropped = async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        };
        drop(last.spawn(until_dropped).unwrap());
        drop(threads);
        drop(last);
        let told = told.recv_timeout(Duration::from_secs(20));
        assert_eq!(told, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
        assert!(has_ended.load(Ordering::Acquire), "a thread was detached");
    }

    #[test]
    fn work_that_never_pauses_learns_that_nobody_waits_for_it() {
        let threads = Threads::new("test", 1, Urgency::Prompt).unwrap();
        let (tell, told) = channel();
        let busy = async move {
            let control = crate::stop::current().unwrap();
            while !control.is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            tell.send(()).unwrap();
        };
        let waits = Builder::new_current_thread().enable_time().build().unwrap();
        let in_time =
            async { tokio::time::timeout(Duration::from_millis(20), threads.run(busy)).await };
        waits.block_on(in_time).unwrap_err();
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        // What ended by itself is stopped by nobody.
        let ended = threads.run(async { crate::stop::current().unwrap() });
        assert!(!waits.block_on(ended).unwrap().is_cancelled());
    }

    #[test]
    fn who_uses_more_than_the_others_is_patient() {
        let lanes = lanes();
        assert_eq!(urgency(&lanes, "a"), Urgency::Prompt);
        use_up(&lanes, "a", 9.0);
        assert_eq!(urgency(&lanes, "a"), Urgency::Prompt, "it is alone");
        use_up(&lanes, "b", 0.001);
        assert_eq!(urgency(&lanes, "a"), Urgency::Patient);
        assert_eq!(urgency(&lanes, "b"), Urgency::Prompt);
        let one = lanes.begin(&tenant("a"));
        assert_eq!(lanes.usage.urgency(&tenant("a")), Urgency::Prompt, "it does one thing");
        drop(one);
        use_up(&lanes, "b", 9.0);
        assert_eq!(urgency(&lanes, "a"), Urgency::Prompt, "they are alike");
        assert_eq!(urgency(&lanes, "b"), Urgency::Prompt);
        use_up(&lanes, "a", 0.2);
        use_up(&lanes, "b", 0.01);
        assert_eq!(urgency(&lanes, "a"), Urgency::Prompt, "it is little");
    }

    #[test]
    fn what_runs_counts_and_what_was_long_ago_does_not() {
        let lanes = lanes();
        use_up(&lanes, "b", 0.001);
        let using = lanes.begin(&tenant("a"));
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let change = |change: &dyn Fn(&mut Used)| {
            change(lanes.usage.0.lock().get_mut(&tenant("a")).unwrap());
        };
        change(&|used| used.held.extend([(1, ago(2))]));
        assert_eq!(urgency(&lanes, "a"), Urgency::Patient);
        drop(using);
        assert_eq!(urgency(&lanes, "a"), Urgency::Patient);
        change(&|used| used.then = ago(30));
        assert_eq!(urgency(&lanes, "a"), Urgency::Prompt);
        change(&|used| used.then = ago(61));
        urgency(&lanes, "b");
        assert!(!lanes.usage.0.lock().contains_key(&tenant("a")));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn patient_threads_are_nicer_and_their_helpers_too() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let lanes = lanes();
        let of = async |name: &str| {
            let work = async move { (niceness(), tokio::task::spawn_blocking(niceness).await) };
            let (own, helper) = lanes.run(&tenant(name), work).await.unwrap();
            assert_eq!(own, helper.unwrap());
            own
        };
        use_up(&lanes, "a", 9.0);
        use_up(&lanes, "b", 1.0);
        let _others = [lanes.begin(&tenant("a")), lanes.begin(&tenant("b"))];
        let _more = [lanes.begin(&tenant("a")), lanes.begin(&tenant("b"))];
        assert_eq!(of("b").await, niceness());
        assert_eq!(of("a").await, patient_niceness());
    }

    #[test]
    fn what_was_begun_goes_on_without_the_one_who_began_it() {
        let (lanes, (tell, told)) = (lanes(), channel());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let caller = Builder::new_current_thread().build().unwrap();
        let work = async move { gone.await.map(|()| tell.send(())) };
        let entered = caller.enter();
        drop(lanes.spawn(&tenant("a"), work).unwrap());
        drop(entered);
        drop(caller);
        go.send(()).unwrap();
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends_and_its_place_counts_until_then() {
        let (lanes, a) = (lanes(), tenant("a"));
        let place = lanes.places().take(&a, 1).await.unwrap();
        let work = async move {
            let _place = place;
            std::future::pending::<()>().await
        };
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, lanes.run(&a, work)).await.is_err());
        // It has really ended when its place is free.
        lanes.places().take(&a, 1).await.unwrap();
        let all = lanes.usage.0.lock();
        assert!(all[&a].held.is_empty() && all[&a].seconds >= short.as_secs_f64());
    }
}
