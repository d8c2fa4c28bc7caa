//! Those who wait for the same: one of them is told, and passes it on to the others.
//!
//! A subscription that has nothing to tell now, and is not the only one that asks its question, becomes a member of the question's hub.
//! It gives up its own execution then, and with that nearly all that it takes while it waits. The hub has one execution for all, which
//! goes on as long as some member waits: nothing is made for those who do not read. A member that missed something, as one does that is
//! much slower than another, executes for itself from the version on that it was told last, and comes back when it has caught up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use engine::{Principal, Version};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio_util::task::AbortOnDropHandle;

use crate::answer::{Answer, Message};
use crate::request::{Idle, Subscriber};
use crate::service::stream::{Own, Step, Template, Told};
use crate::service::{ServiceInner, in_time};
use crate::subscribe::shared::Weigh as _;

/// Messages by which one member may be behind another.
const BEHIND_MAX: usize = 8;
/// Bytes of a message that is held for those who are behind. A longer one is theirs for as long as it is kept among all results.
const HELD_BYTES_MAX: usize = 4 << 10;

/// The hubs, by what is asked and by what is seen of it.
#[derive(Default)]
pub(crate) struct Hubs(Mutex<HashMap<Arc<str>, Weak<Hub>>>);

/// One question of many. While only one asks it, there is nothing but its name.
pub(crate) struct Hub {
    key: Arc<str>,
    service: Arc<ServiceInner>,
    template: Arc<Template>,
    question: Arc<str>,
    post: Mutex<Option<Post>>,
    wanted: Arc<Wanted>,
}

/// Where the one that is told passes it on.
struct Post {
    /// The version that was told last.
    at: Version,
    members: broadcast::Sender<Passed>,
    _telling: AbortOnDropHandle<()>,
}

/// What is passed on.
#[derive(Clone)]
struct Passed {
    from: Version,
    to: Version,
    message: Weak<Message>,
    _held: Option<Arc<Message>>,
}

/// How many members wait.
#[derive(Default)]
struct Wanted {
    waiting: AtomicUsize,
    some: Notify,
}

/// One of those who wait.
struct Waiting<'a>(&'a Wanted);

/// A subscription that is told by its hub.
pub(crate) struct Member {
    hub: Arc<Hub>,
    news: broadcast::Receiver<Passed>,
    told: Version,
    read: Version,
    who: Principal,
    subscriber: Subscriber,
    request_id: String,
    cost: Option<u64>,
}

/// What became of a subscription that has nothing to tell.
pub(crate) enum Joined {
    /// It goes on by itself.
    Alone(Box<Own>),
    /// It waits with others.
    Member(Box<Member>),
}

impl Hubs {
    /// Lets a subscription wait with the others that ask the same, where there are some.
    pub(crate) fn join(
        &self,
        service: &Arc<ServiceInner>,
        mut own: Box<Own>,
        idle: Idle,
    ) -> Joined {
        let key: Arc<str> = format!("{} {}", idle.scope, own.state.question()).into();
        let hub = {
            let mut hubs = self.0.lock();
            match hubs.get(&key).and_then(Weak::upgrade) {
                Some(hub) => hub,
                None => {
                    let hub = Arc::new(Hub {
                        key: key.clone(),
                        service: service.clone(),
                        template: own.template.clone(),
                        question: own.state.question().clone(),
                        post: Mutex::default(),
                        wanted: Arc::default(),
                    });
                    hubs.insert(key, Arc::downgrade(&hub));
                    own.hub = Some(hub);
                    return Joined::Alone(own);
                }
            }
        };
        let is_first = own.hub.as_ref().is_some_and(|known| Arc::ptr_eq(known, &hub));
        let news = {
            let mut post = hub.post.lock();
            if post.is_none() && !is_first {
                *post = Some(hub.begin(&own, &idle));
            }
            match post.as_ref() {
                Some(post) if post.at <= idle.told => Some(post.members.subscribe()),
                // It told more already: this one is told that for itself.
                _ => None,
            }
        };
        match news {
            Some(news) => Joined::Member(Box::new(Member {
                news,
                told: idle.told,
                read: idle.read,
                who: own.state.principal().clone(),
                subscriber: own.state.take_subscriber(),
                cost: own.take_cost(),
                request_id: own.request_id,
                hub,
            })),
            None => {
                own.hub = Some(hub);
                Joined::Alone(own)
            }
        }
    }
}

#[cfg(test)]
impl Hubs {
    /// Questions that somebody waits with.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Those who wait in hubs.
    pub(crate) fn members(&self) -> usize {
        let hubs: Vec<Arc<Hub>> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        let members = |hub: &Arc<Hub>| {
            hub.post.lock().as_ref().map_or(0, |post| post.members.receiver_count())
        };
        hubs.iter().map(members).sum()
    }
}

impl Hub {
    /// Begins to be told what comes behind what `first` was told, as it would be.
    fn begin(self: &Arc<Self>, first: &Own, idle: &Idle) -> Post {
        let at = idle.told;
        let telling = Box::new(Own::resume(
            &self.service,
            first.state.principal().clone(),
            self.template.clone(),
            self.question.clone(),
            first.request_id.clone(),
            Subscriber::OfHub,
            (at, idle.read),
        ));
        let tell = tell(Arc::downgrade(self), self.service.clone(), self.wanted.clone(), telling);
        let telling = AbortOnDropHandle::new(tokio::spawn(tell));
        Post { at, members: broadcast::channel(BEHIND_MAX).0, _telling: telling }
    }

    fn pass_on(&self, told: Told) {
        if let Some(post) = self.post.lock().as_mut() {
            let Told { from, to, message } = told;
            post.at = to;
            let (weak, is_short) = (Arc::downgrade(&message), message.bytes() <= HELD_BYTES_MAX);
            let held = is_short.then_some(message);
            // All may have left.
            let _ = post.members.send(Passed { from, to, message: weak, _held: held });
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let mut hubs = self.service.hubs.0.lock();
        // There may be another of the same name since.
        if hubs.get(&self.key).is_some_and(|hub| hub.strong_count() == 0) {
            hubs.remove(&self.key);
        }
    }
}

/// Tells the members of `hub`, until there is something that is not told to all in the same way: then each finds out for itself.
async fn tell(hub: Weak<Hub>, service: Arc<ServiceInner>, wanted: Arc<Wanted>, mut own: Box<Own>) {
    loop {
        wanted.by_some().await;
        own = match own.step(&service).await {
            Step::Answered(_, mut own) => match (own.take_told(), hub.upgrade()) {
                (Some(told), Some(hub)) => {
                    hub.pass_on(told);
                    own
                }
                _ => break,
            },
            Step::Idle(_, own) => own,
            Step::Failed(_) | Step::Ended(_) => break,
        };
    }
    if let Some(hub) = hub.upgrade() {
        // Who locks it next begins anew.
        let ended = hub.post.lock().take();
        drop(ended);
    }
}

impl Member {
    /// The next answer; `None` where this one has to find out for itself.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        let told = loop {
            let told = {
                let _waiting = self.hub.wanted.wait();
                self.news.recv().await.ok()?
            };
            if told.to > self.told {
                break told;
            }
        };
        if told.from != self.told {
            return None;
        }
        let message = told.message.upgrade()?;
        let service = &self.hub.service;
        let room = service.room(&self.who, message.bytes());
        let room = in_time(service.limits.operation_time_max, room).await.ok()?;
        (self.told, self.read) = (told.to, told.to);
        let mut answer = Answer::told(&message);
        answer.version = Some(told.to);
        if let Some(cost) = self.cost.take() {
            answer.says_cost(cost);
        }
        answer.room = Some(room);
        Some(answer)
    }

    /// The subscription by itself, from where it is.
    pub(crate) fn leave(self: Box<Self>) -> Box<Own> {
        let Self { hub, told, read, who, subscriber, request_id, cost, .. } = *self;
        let behind = (told, read);
        let (template, question) = (hub.template.clone(), hub.question.clone());
        let own =
            Own::resume(&hub.service, who, template, question, request_id, subscriber, behind);
        Box::new(own.costing(cost))
    }
}

impl Wanted {
    fn wait(&self) -> Waiting<'_> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.some.notify_one();
        }
        Waiting(self)
    }

    async fn by_some(&self) {
        while self.waiting.load(Ordering::Acquire) == 0 {
            self.some.notified().await;
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
