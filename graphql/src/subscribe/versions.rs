//! Which version a subscriber is told next.
//!
//! The dataset is followed before its newest version is read: a commit in between is then in both, and
//! the version number tells that it is the same. Each version is told once and in order. When too many
//! lie ahead, or some are no longer kept apart, one message tells the net change over all of them.

use std::sync::Arc;

use async_graphql::Value;
use engine::{Code, Error, Principal, Result, Version};
use futures::Stream;
use futures::stream;
use tokio::sync::watch::Receiver;

use super::change::Change;
use crate::request::RequestState;
use crate::shape::Shape;

/// What is followed, and for whom.
pub(crate) struct Following {
    /// The request, whose answers these are.
    pub state: Arc<RequestState>,
    /// Who subscribes.
    pub who: Principal,
    /// The dataset.
    pub shape: Arc<Shape>,
    /// The argument `where`.
    pub filter: Option<Value>,
}

struct Follower {
    following: Following,
    news: Receiver<Version>,
    told: Version,
    /// The last version that was looked at: those after `told` hold nothing to tell.
    read: Version,
    newest: Version,
    ended: bool,
}

/// The changes behind `since`, or behind the newest version now, for ever.
pub(crate) async fn follow(
    following: Following,
    since: Option<Version>,
) -> Result<impl Stream<Item = Result<Change>> + Send + 'static> {
    let service = following.state.service();
    following.state.subscribe()?;
    let (since, read) = match following.state.resumes() {
        Some((told, read)) => (Some(told), Some(read)),
        None => (since, None),
    };
    let news = service.engine.commits().follow(&following.who.tenant, &following.shape.name);
    let mut there = newest(&following).await?;
    if let Some(since) = since.filter(|since| *since > there) {
        // Another server may have told of it, which is ahead of this one.
        let (who, name) = (&following.who, &following.shape.name);
        service.engine.look_for(who, name, Some(since)).await?;
        there = newest(&following).await?;
    }
    let told = since.unwrap_or(there);
    if told > there {
        return Err(Error::user(
            Code::BadInput,
            format!(
                "since (or Last-Event-ID): {} has no version {told} yet; expected 0 to {there}",
                following.shape.name
            ),
        ));
    }
    let follower =
        Follower { following, news, told, read: read.unwrap_or(told), newest: there, ended: false };
    Ok(stream::unfold(follower, |mut follower| async move {
        follower.next().await.map(|change| (change, follower))
    }))
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Change>> {
        loop {
            if self.ended {
                return None;
            }
            self.newest = self.newest.max(*self.news.borrow_and_update());
            if self.read < self.newest {
                // Most of the time is spent waiting, and should not cost what reading does.
                let change = Box::pin(self.change()).await;
                match &change {
                    Ok(change) => self.read = change.to,
                    Err(_) => self.ended = true,
                }
                if change.as_ref().is_ok_and(Change::is_none) {
                    continue;
                }
                if let Ok(change) = &change {
                    self.following.state.tells(change);
                }
                self.told = self.read;
                return Some(change);
            }
            self.following.state.waits(&self.following.shape, self.told, self.read);
            self.ended = self.news.changed().await.is_err();
            self.following.state.goes_on();
        }
    }

    async fn change(&self) -> Result<Change> {
        let behind = self.newest.0 - self.read.0;
        if behind > self.following.state.service().limits.versions_behind_max {
            return self.read_to(self.newest).await;
        }
        match self.read_to(Version(self.read.0 + 1)).await {
            // That version is not kept apart any more; the newest always is.
            Err(error) if error.code() == Code::NotFound && behind > 1 => {
                self.read_to(self.newest).await
            }
            change => change,
        }
    }

    async fn read_to(&self, to: Version) -> Result<Change> {
        let Following { state, who, shape, filter } = &self.following;
        let service = state.service();
        // Of a reading before, which found nothing: who waits for a turn has none.
        drop(state.let_go());
        let reading = async {
            // Its rows are read when they are asked for, and it holds its place until then.
            state.hold(service.turn(who).await?);
            let reading = Change::read(
                service.clone(),
                who.clone(),
                shape.clone(),
                filter.clone(),
                // It has the rows of the one that was told last, which may be kept no more.
                self.read,
                to,
            );
            // The lane that waited for the commit was chosen before it.
            let change = service.lanes.run(&who.tenant, reading).await??;
            Ok(change.told_from(self.told))
        };
        crate::service::in_time(service.limits.operation_time_max, reading).await
    }
}

async fn newest(following: &Following) -> Result<Version> {
    let catalog = following.state.service().engine.catalog(&following.who).await?;
    catalog.shown_at(&following.shape.name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::limits::Limits;
    use crate::tests::{Rig, calls, calls_spec, who};

    #[tokio::test]
    async fn a_second_reading_does_not_wait_for_the_place_of_the_first() {
        // Of which a tenant has one.
        let limits = Limits { queries_at_a_time_max: 2, ..Limits::default() };
        let rig = Rig::with_limits(limits).await;
        rig.create(calls_spec()).await;
        rig.append("calls", vec![calls()]).await;
        let service = rig.service.0.clone();
        let follower = Follower {
            news: service.engine.commits().follow(&who().tenant, &calls_spec().name),
            told: Version(0),
            read: Version(0),
            newest: Version(1),
            ended: false,
            following: Following {
                state: RequestState::new(service, who(), 0),
                who: who(),
                shape: Shape::new(&calls_spec()),
                filter: None,
            },
        };
        let both = async {
            let missing = follower.read_to(Version(7)).await.err().map(|error| error.code());
            (missing, follower.read_to(Version(1)).await.map(|change| change.to))
        };
        let (missing, change) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        assert_eq!((missing, change.unwrap()), (Some(Code::NotFound), Version(1)));
    }
}
