//! One request on its way through the resolvers: who asks, its session, how long its answer is, and what it must be warned of.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::{Context, Name, QueryPathNode, ServerError, Value};
use datasets::DatasetName;
use engine::{AsOf, Error, Principal, Result, Role, Session, TenantId, Version};
use jobs::audit::{NewAct, Outcome};
use jobs::part_of_request;
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};

use crate::answer::Message;
use crate::error::over_limit;
use crate::limits::Limits;
use crate::pace::Pace;
use crate::plan::holding::Holding;
use crate::rows::RowsSlot;
use crate::service::{Held, ServiceInner, SubscriptionPlace};
use crate::shape::Shape;
use crate::subscribe::change::{Change, scope};

/// Warnings that one answer carries at most.
const WARNINGS_MAX: usize = 100;
/// Errors of parts that one answer of a subscription tells at most.
const ERRORS_MAX: usize = 16;

/// Fields and items that are answered without a pause.
const COUNTED_AT_ONCE: usize = 1_024;

/// What resolvers share during one request.
pub(crate) struct RequestState {
    service: Arc<ServiceInner>,
    who: Principal,
    session: OnceCell<Session>,
    /// Bytes of values that the answer has so far.
    answer_bytes: AtomicUsize,
    /// Said once when those are too many.
    overflow: Notify,
    /// Fields and items that were counted.
    counted: AtomicUsize,
    /// Bytes of `__typename` in an object, at most.
    typename_bytes: usize,
    /// Memory of its rows.
    holding: Holding,
    /// Whether fields of its root stand there twice under one key.
    merges: AtomicBool,
    /// Rows that were written already, by the place of their list in the answer.
    ready: Mutex<HashMap<Vec<String>, String>>,
    /// What is recorded of what it does, where it is one that does something.
    acts: Option<Acts>,
    /// Whether any field of a mutation has been executed.
    has_done: AtomicBool,
    pace: Pace,
    /// What the answer that is made now holds.
    held: Mutex<Option<Held>>,
    /// Errors of the parts of a subscription's answer, which the library that makes it keeps to itself.
    failed: Mutex<Option<Failed>>,
    /// Of a subscription: what tells it from those that ask something else.
    question: Arc<str>,
    /// The place of a subscription.
    subscriber: Mutex<Subscriber>,
    /// The version that a subscription goes on behind, whatever its `since` says, and the last that it looked at.
    resumes: OnceLock<(Version, Version)>,
    /// The version that the current message reports.
    version: Mutex<Option<Version>>,
    /// The message of a subscription that comes next, where others who ask the same can be told the same.
    telling: Mutex<Option<Telling>>,
    /// Where a subscription waits for what it does not know yet.
    idle: Mutex<Option<Idle>>,
    /// Said when it does.
    waits: Notify,
    /// What the answer is to be read with care for.
    pub warnings: Warnings,
    /// The rows that it is, where it is answered in rows.
    pub rows: RowsSlot,
}

/// A message of a subscription, which is the same for all who ask the same.
pub(crate) struct Telling {
    /// What the message is called.
    pub key: String,
    /// The versions between which something changed.
    pub of: (Version, Version),
    /// The message, where another was told.
    pub told: Option<Arc<Message>>,
}

/// A subscription that waits.
pub(crate) struct Idle {
    /// What tells results of its dataset, for those who see the same of it, from all others.
    pub scope: String,
    /// The version that was told last.
    pub told: Version,
    /// The version that was looked at last: those after `told` hold nothing to tell.
    pub read: Version,
}

/// Whose place a subscription takes.
#[derive(Default)]
pub(crate) enum Subscriber {
    /// It has none yet.
    #[default]
    New,
    /// Its own.
    Placed {
        /// Frees it.
        _place: SubscriptionPlace,
    },
    /// None: it is for others, who have theirs.
    OfHub,
}

impl RequestState {
    /// One of which nothing is recorded.
    #[cfg(test)]
    pub(crate) fn new(
        service: Arc<ServiceInner>,
        who: Principal,
        typename_bytes: usize,
    ) -> Arc<Self> {
        Self::recording(service, who, typename_bytes, None, "".into())
    }

    /// A request of `who`, whose objects have so many bytes of `__typename` at most, what is recorded of it, and what a subscription asks.
    pub(crate) fn recording(
        service: Arc<ServiceInner>,
        who: Principal,
        typename_bytes: usize,
        acts: Option<Acts>,
        question: Arc<str>,
    ) -> Arc<Self> {
        Arc::new(Self::new_of(service, who, typename_bytes, acts, question))
    }

    /// A subscription that goes on behind the version that it was told last, and the one that it looked at.
    pub(crate) fn resuming(
        service: Arc<ServiceInner>,
        who: Principal,
        typename_bytes: usize,
        question: Arc<str>,
        subscriber: Subscriber,
        behind: (Version, Version),
    ) -> Arc<Self> {
        let state = Self::new_of(service, who, typename_bytes, None, question);
        Arc::new(Self { subscriber: Mutex::new(subscriber), resumes: behind.into(), ..state })
    }

    fn new_of(
        service: Arc<ServiceInner>,
        who: Principal,
        typename_bytes: usize,
        acts: Option<Acts>,
        question: Arc<str>,
    ) -> Self {
        Self {
            holding: Holding::new(&service.limits),
            merges: AtomicBool::new(false),
            ready: Mutex::default(),
            service,
            who,
            session: OnceCell::new(),
            answer_bytes: AtomicUsize::default(),
            overflow: Notify::new(),
            counted: AtomicUsize::default(),
            typename_bytes,
            acts,
            has_done: AtomicBool::new(false),
            question,
            pace: Pace::default(),
            held: Mutex::default(),
            failed: Mutex::default(),
            subscriber: Mutex::default(),
            resumes: OnceLock::new(),
            version: Mutex::default(),
            telling: Mutex::default(),
            idle: Mutex::default(),
            waits: Notify::new(),
            warnings: Warnings::default(),
            rows: RowsSlot::default(),
        }
    }

    /// Counts bytes of the answer. Says whether there is room for them; where there is not, [`RequestState::answered`] ends.
    pub(crate) fn counts(&self, bytes: usize) -> bool {
        let before = self.answer_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.service.limits.answer_bytes_max;
        if !fits {
            self.overflow.notify_one();
        }
        fits
    }

    /// Whether the one that is counted now is to let others run first: now and then one is.
    pub(crate) fn is_to_give_way(&self) -> bool {
        (self.counted.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(COUNTED_AT_ONCE)
    }

    /// See [`RequestState::recording`].
    pub(crate) fn typename_bytes(&self) -> usize {
        self.typename_bytes
    }

    /// What `answering` comes to, unless it has more bytes than an answer may have: each of its values would be an error.
    pub(crate) async fn answered<T>(&self, answering: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            answer = self.pace.in_turns(answering) => Ok(answer),
            () = self.overflow.notified() => {
                let most = self.service.limits.answer_bytes_max;
                let what = "bytes of the answer (ask for fewer rows or columns)";
                Err(over_limit(what, most, "more"))
            }
        }
    }

    /// Counts the next answer of a subscription from nothing.
    pub(crate) fn begin_answer(&self) {
        self.answer_bytes.store(0, Ordering::Relaxed);
        self.holding.begin();
        *self.failed.lock() = Some(Failed::default());
    }

    /// Takes a place for a subscription, unless it has one.
    pub(crate) fn subscribe(&self) -> Result<()> {
        let mut subscriber = self.subscriber.lock();
        if matches!(*subscriber, Subscriber::New) {
            *subscriber = Subscriber::Placed { _place: self.service.subscribe(&self.who)? };
        }
        Ok(())
    }

    /// The place of a subscription, for who goes on with it.
    pub(crate) fn take_subscriber(&self) -> Subscriber {
        std::mem::take(&mut self.subscriber.lock())
    }

    /// The version that a subscription goes on behind, whatever its `since` says, and the last that it looked at.
    pub(crate) fn resumes(&self) -> Option<(Version, Version)> {
        self.resumes.get().copied()
    }

    /// Makes a subscription continue after this version, whatever its `since` says.
    pub(crate) fn resume_after(&self, version: Version) {
        // A subscription that already resumes keeps its position.
        let _ = self.resumes.set((version, version));
    }

    /// Records the version that the current message reports.
    pub(crate) fn is_about(&self, version: Version) {
        *self.version.lock() = Some(version);
    }

    /// The version that the message reports, if any.
    pub(crate) fn take_version(&self) -> Option<Version> {
        self.version.lock().take()
    }

    /// Notes that a subscription has told all that there is, and waits. A reading that found nothing to tell holds nothing then.
    pub(crate) fn waits(&self, shape: &Shape, told: Version, read: Version) {
        drop(self.let_go());
        if !self.is_of_its_time() {
            *self.idle.lock() = Some(Idle { scope: self.scope(shape), told, read });
            self.waits.notify_one();
        }
    }

    /// Notes that it waits no more.
    pub(crate) fn goes_on(&self) {
        *self.idle.lock() = None;
    }

    /// Whether what it sees is another thing at each time, so that nobody else can be told the same.
    fn is_of_its_time(&self) -> bool {
        self.who.sees().asks_for_time()
    }

    /// Returns when a subscription begins to wait.
    pub(crate) async fn idle(&self) -> Idle {
        loop {
            self.waits.notified().await;
            let idle = self.idle.lock().take();
            if let Some(idle) = idle {
                return idle;
            }
        }
    }

    /// What a subscription asks: of two that ask the same it is the same.
    pub(crate) fn question(&self) -> &Arc<str> {
        &self.question
    }

    /// What tells results of one dataset, for those who see the same of it, from all others.
    pub(crate) fn scope(&self, shape: &Shape) -> String {
        scope(&self.who, shape)
    }

    /// Begins a message about `change`.
    pub(crate) fn tells(&self, change: &Change) {
        self.is_about(change.to);
        if self.is_of_its_time() {
            return;
        }
        let key = format!("message {} {}", change.message_scope(), self.question);
        let told = self.service.shared.find(&key);
        *self.telling.lock() = Some(Telling { key, of: (change.from, change.to), told });
    }

    /// Whether the message that was begun is there.
    pub(crate) fn is_told(&self) -> bool {
        self.telling.lock().as_ref().is_some_and(|telling| telling.told.is_some())
    }

    /// The message that was begun.
    pub(crate) fn take_telling(&self) -> Option<Telling> {
        self.telling.lock().take()
    }

    /// Notes the error of a part of a subscription's answer, and whether that is all of it that was asked for.
    pub(crate) fn note_failed(&self, error: &ServerError, is_part: bool) {
        if let Some(failed) = self.failed.lock().as_mut() {
            failed.are_parts &= is_part;
            // A list passes on that of its item.
            if failed.errors.len() < ERRORS_MAX
                && failed.errors.iter().all(|other| other.message != error.message)
            {
                failed.errors.push(error.clone());
            }
        }
    }

    /// The errors that were noted since the answer was begun.
    pub(crate) fn failed(&self) -> Failed {
        self.failed.lock().take().unwrap_or_default()
    }

    /// Does `work`, which is the field `field` of a mutation, with a record of its beginning before it and of its end before it is answered;
    /// anything else is just done.
    pub(crate) async fn recorded<T>(
        &self,
        context: &Context<'_>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let is_root = context.path_node.as_ref().is_some_and(|node| node.parent.is_none());
        let Some(acts) = self.acts.as_ref().filter(|_| is_root) else { return work.await };
        let field = context.item.node.name.node.to_string();
        let arguments = context.field().arguments().unwrap_or_default();
        let new = acts.of(field.clone(), arguments);
        let open = self.service.runner.begin_act(&self.who, new).await?;
        let key = context.path_node.as_ref().map(QueryPathNode::field_name).unwrap_or_default();
        let done = part_of_request(key.to_owned(), work).await;
        if done.is_ok() {
            self.has_done.store(true, Ordering::Release);
        }
        let target = acts.target.lock().remove(&field);
        open.end(Outcome::of(&done), target.as_deref()).await;
        done
    }

    /// Whether any field of a mutation has been executed.
    pub(crate) fn has_done(&self) -> bool {
        self.has_done.load(Ordering::Acquire)
    }

    /// Says what the field `field` of a mutation was done to, where none of its arguments does.
    pub(crate) fn done_to(&self, field: &str, target: &str) {
        if let Some(acts) = &self.acts {
            acts.target.lock().insert(field.to_owned(), target.to_owned());
        }
    }

    /// Notes that fields of its root stand there twice under one key.
    pub(crate) fn will_merge(&self) {
        self.merges.store(true, Ordering::Relaxed);
    }

    /// Whether they do.
    pub(crate) fn merges(&self) -> bool {
        self.merges.load(Ordering::Relaxed)
    }

    /// Keeps rows that were written for the list at `path` of the answer.
    pub(crate) fn keep_rows(&self, path: Vec<String>, text: String) {
        self.ready.lock().insert(path, text);
    }

    /// The rows that were written for the list at `path`.
    pub(crate) fn ready_rows(&self, path: &QueryPathNode<'_>) -> Option<String> {
        let mut ready = self.ready.lock();
        if ready.is_empty() { None } else { ready.remove(&path.to_string_vec()) }
    }

    /// The account of the memory of its rows.
    pub(crate) fn holding(&self) -> &Holding {
        &self.holding
    }

    /// The turns that its root fields take.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Holds this until the answer is made.
    pub(crate) fn hold(&self, held: Held) {
        *self.held.lock() = Some(held);
    }

    /// What was held.
    pub(crate) fn let_go(&self) -> Option<Held> {
        self.held.lock().take()
    }

    /// Waits for `what` without holding what others could use meanwhile.
    pub(crate) async fn wait_for<T>(&self, what: impl Future<Output = T>) -> Result<T> {
        drop(self.let_go());
        let value = what.await;
        self.hold(self.service.turn(&self.who).await?);
        Ok(value)
    }

    /// Who asks.
    pub(crate) fn principal(&self) -> &Principal {
        &self.who
    }

    /// The tenant of who asks.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.who.tenant
    }

    /// What it may ask for.
    pub(crate) fn limits(&self) -> &Limits {
        match self.rows.is_asked() {
            true => &self.service.limits_of_rows,
            false => &self.service.limits,
        }
    }

    /// The service that answers it.
    pub(crate) fn service(&self) -> &Arc<ServiceInner> {
        &self.service
    }

    /// Who asks, when that principal has `role`. What is done then obeys its grants.
    pub(crate) fn who_in_part(&self, role: Role) -> Result<&Principal> {
        self.who.require_in_part(role)?;
        Ok(&self.who)
    }

    /// Who asks, when that principal has `role` for all of its tenant.
    pub(crate) fn who(&self, role: Role) -> Result<&Principal> {
        self.who.require(role)?;
        Ok(&self.who)
    }

    /// A session that reads datasets at these versions. All fields that read the newest ones share one, so
    /// that an answer never mixes two versions of a dataset.
    pub(crate) async fn session(&self, pins: &[(DatasetName, AsOf)]) -> Result<Session> {
        let who = self.who_in_part(Role::Reader)?;
        let engine = &self.service.engine;
        match pins.iter().all(|(_, pin)| *pin == AsOf::Latest) {
            true => {
                let session =
                    self.session.get_or_try_init(|| engine.session_expecting(who, &[])).await?;
                Ok(session.clone())
            }
            false => engine.session_expecting(who, pins).await,
        }
    }

    /// The version at which `session` has opened `dataset`.
    pub(crate) fn version_of(&self, session: &Session, dataset: &DatasetName) -> Result<Version> {
        session
            .version(dataset)
            .ok_or_else(|| Error::internal(format!("the session has not opened {dataset}")))
    }
}

/// What is recorded of a mutation.
pub(crate) struct Acts {
    pub(crate) operation: Option<String>,
    pub(crate) request_id: String,
    /// What fields were done to, as they say themselves.
    pub(crate) target: Mutex<BTreeMap<String, String>>,
}

impl Acts {
    /// Arguments that are names of things, and of no values in them.
    const NAMES: [&str; 6] = ["dataset", "name", "prefix", "id", "runId", "job"];

    fn of(&self, field: String, arguments: Vec<(Name, Value)>) -> NewAct {
        let named = |name: &&str| match arguments.iter().find(|(of, _)| of.as_str() == *name) {
            // Who gives the whole key leaves its secret nowhere.
            Some((_, Value::String(text))) if *name == "prefix" => Some(jobs::prefix_of(text)),
            Some((_, Value::String(text))) => Some(text.clone()),
            _ => None,
        };
        let target = Self::NAMES.iter().find_map(named);
        let arguments: BTreeMap<String, serde_json::Value> = arguments
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.into_json().unwrap_or_default()))
            .collect();
        let text = serde_json::to_string(&arguments).unwrap_or_default();
        NewAct {
            via: "graphql".to_owned(),
            operation: self.operation.clone(),
            field,
            target,
            arguments_sha256: NewAct::digest(&text),
            request_id: self.request_id.clone(),
        }
    }
}

/// Errors of the parts of an answer.
pub(crate) struct Failed {
    /// One of each kind.
    pub errors: Vec<ServerError>,
    /// Whether the others of what was asked for are there.
    pub are_parts: bool,
}

impl Default for Failed {
    fn default() -> Self {
        Self { errors: Vec::new(), are_parts: true }
    }
}

/// Warnings by place, counted instead of repeated.
#[derive(Default)]
pub(crate) struct Warnings {
    not_finite: Mutex<BTreeMap<String, u64>>,
}

impl Warnings {
    /// Notes that `count` values at `place` are null because JSON has no NaN and no infinity.
    pub(crate) fn not_finite(&self, place: &str, count: u64) {
        let mut places = self.not_finite.lock();
        if places.len() < WARNINGS_MAX || places.contains_key(place) {
            *places.entry(place.to_owned()).or_default() += count;
        }
    }

    /// The warnings so far, which are then forgotten; `None` when there are none.
    pub(crate) fn take(&self) -> Option<Value> {
        let places = std::mem::take(&mut *self.not_finite.lock());
        let warning = |(place, count)| {
            let values = if count == 1 { "value is" } else { "values are" };
            Value::from(format!("{place}: {count} {values} NaN or infinite, given as null"))
        };
        let warnings: Vec<Value> = places.into_iter().map(warning).collect();
        (!warnings.is_empty()).then_some(Value::List(warnings))
    }
}
