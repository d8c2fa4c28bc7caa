//! How often one may ask: so many requests a minute of one subject, and of one tenant.
//!
//! Both are counted by GCRA: who has not asked for a while may ask for a minute's worth at once, and from then on as fast as that
//! comes back. Source of the headers: draft-ietf-httpapi-ratelimit-headers-10.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::{Code, Error, Principal, Result, TenantId};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use parking_lot::Mutex;

use crate::limits::Limits;

type Counted<K> =
    RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// After so many requests, those who have not asked for a minute are forgotten.
const FORGET_AFTER: u32 = 10_000;
/// In seconds, as clients are told.
const WINDOW: u32 = 60;

/// What is left to everybody.
pub(crate) struct Rates {
    clock: DefaultClock,
    of_one: Rate<(TenantId, String)>,
    of_tenant: Rate<TenantId>,
    /// Requests that subjects have left of those that were refused because of their tenants, and what was left to them then.
    owed: Mutex<HashMap<(TenantId, String), (u32, Left)>>,
    taken: AtomicU32,
}

struct Rate<K: Clone + Eq + std::hash::Hash> {
    /// As headers have it.
    name: &'static str,
    /// As errors have it.
    what: &'static str,
    most: NonZeroU32,
    counted: Counted<K>,
}

/// What is left of one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    name: &'static str,
    most: u32,
    requests: u32,
    /// Seconds until there is another request.
    seconds: u64,
}

/// What one is told of one's rates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Vec<Left>);

/// Somebody asked too often.
pub(crate) struct TooOften {
    /// What is told.
    pub error: Error,
    /// The rates, for headers.
    pub told: Told,
    /// Seconds until it helps to ask again.
    pub seconds: u64,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let clock = DefaultClock::default();
        Self {
            of_one: Rate::new(
                "key",
                "requests a minute of one subject",
                limits.subject_requests_a_minute_max,
            ),
            of_tenant: Rate::new(
                "tenant",
                "requests a minute of one tenant",
                limits.tenant_requests_a_minute_max,
            ),
            owed: Mutex::default(),
            taken: AtomicU32::new(0),
            clock,
        }
    }

    /// Counts a request of `who`.
    pub(crate) fn take(&self, who: &Principal) -> Result<Told, Box<TooOften>> {
        if self.taken.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            self.of_one.counted.retain_recent();
            self.of_tenant.counted.retain_recent();
            self.owed.lock().clear();
        }
        let one = (who.tenant.clone(), who.subject.clone());
        let of_one = match self.pay(&one) {
            Some(left) => left,
            None => self.of_one.take(&one, &self.clock)?,
        };
        match self.of_tenant.take(&who.tenant, &self.clock) {
            Ok(of_tenant) => Ok(Told(vec![of_one, of_tenant])),
            Err(often) => {
                self.owed.lock().entry(one).or_insert((0, of_one)).0 += 1;
                Err(often)
            }
        }
    }

    /// A request that was taken before and came to nothing.
    fn pay(&self, one: &(TenantId, String)) -> Option<Left> {
        let mut owed = self.owed.lock();
        let (requests, left) = owed.get_mut(one)?;
        let left = *left;
        *requests -= 1;
        if *requests == 0 {
            owed.remove(one);
        }
        Some(left)
    }
}

impl<K: Clone + Eq + std::hash::Hash> Rate<K> {
    fn new(name: &'static str, what: &'static str, most: u64) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
        let counted = RateLimiter::keyed(Quota::per_minute(most));
        Self { name, what, most, counted: counted.with_middleware() }
    }

    fn take(&self, who: &K, clock: &DefaultClock) -> Result<Left, Box<TooOften>> {
        let most = self.most.get();
        let left = |requests, wait: Duration| {
            // A wait that is not over is at least a second, as headers have them.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Left { name: self.name, most, requests, seconds }
        };
        match self.counted.check_key(who) {
            Ok(snapshot) => {
                let requests = snapshot.remaining_burst_capacity();
                let again = if requests == 0 {
                    snapshot.quota().replenish_interval()
                } else {
                    Duration::ZERO
                };
                Ok(left(requests, again))
            }
            Err(until) => {
                let left = left(0, until.wait_time_from(clock.now()));
                let error = Error::user(
                    Code::TooMany,
                    format!(
                        "{}: the limit is {most}, and this is one more; try again in {} s",
                        self.what, left.seconds
                    ),
                );
                Err(Box::new(TooOften { error, told: Told(vec![left]), seconds: left.seconds }))
            }
        }
    }
}

impl Told {
    /// `RateLimit-Policy`.
    pub(crate) fn policy(&self) -> String {
        let parts =
            self.0.iter().map(|left| format!("\"{}\";q={};w={WINDOW}", left.name, left.most));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// `RateLimit`.
    pub(crate) fn left(&self) -> String {
        let part =
            |left: &Left| format!("\"{}\";r={};t={}", left.name, left.requests, left.seconds);
        self.0.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use engine::Role;

    fn who(tenant: &str, subject: &str) -> Principal {
        Principal::new(TenantId::new(tenant).unwrap(), subject, &[Role::Reader])
    }

    #[test]
    fn one_subject_and_all_of_a_tenant_have_rates_of_their_own() {
        let rates = Rates::new(&Limits {
            subject_requests_a_minute_max: 3,
            tenant_requests_a_minute_max: 5,
            ..Limits::default()
        });
        let (ann, begun) = (who("a", "ann"), std::time::Instant::now());
        let told = rates.take(&ann).ok().unwrap();
        assert_eq!(told.policy(), r#""key";q=3;w=60, "tenant";q=5;w=60"#);
        assert_eq!(told.left(), r#""key";r=2;t=0, "tenant";r=4;t=0"#);
        assert!(rates.take(&ann).is_ok());
        assert_eq!(rates.take(&ann).ok().unwrap().left(), r#""key";r=0;t=20, "tenant";r=2;t=0"#);

        let (refused, waited) = (rates.take(&ann).err().unwrap(), begun.elapsed());
        assert_eq!(refused.error.code().as_str(), "LIMIT_EXCEEDED");
        assert_eq!(refused.error.code().http_status(), 429);
        assert!(
            refused.error.to_string().contains("of one subject: the limit is 3"),
            "{}",
            refused.error
        );
        // Whoever comes then is let in.
        let least = 20 - waited.as_secs();
        assert!((least..=20).contains(&refused.seconds), "{}", refused.seconds);
        assert_eq!(refused.told.left(), format!("\"key\";r=0;t={}", refused.seconds));

        // What was refused counts for nobody; another of the same name in another tenant is another.
        assert!(rates.take(&who("b", "ann")).is_ok());
        let bob = who("a", "bob");
        assert!(rates.take(&bob).is_ok() && rates.take(&bob).is_ok());
        let refused = rates.take(&bob).err().unwrap();
        assert!(
            refused.error.to_string().contains("of one tenant: the limit is 5"),
            "{}",
            refused.error
        );
    }

    #[test]
    fn what_its_tenant_has_no_room_for_costs_a_subject_nothing() {
        let rates = Rates::new(&Limits {
            subject_requests_a_minute_max: 3,
            tenant_requests_a_minute_max: 2,
            ..Limits::default()
        });
        let left = |told: Told| told.0[0].requests;
        let (ann, bob) = (who("a", "ann"), who("a", "bob"));
        assert_eq!(left(rates.take(&ann).ok().unwrap()), 2);
        assert!(rates.take(&bob).is_ok());
        for _ in 0..5 {
            let refused = rates.take(&ann).err().unwrap();
            assert!(refused.error.to_string().contains("of one tenant"), "{}", refused.error);
        }
        // One of hers is taken for as long as she asks, and no more.
        assert_eq!(
            rates.owed.lock().values().map(|(requests, _)| *requests).collect::<Vec<_>>(),
            [1]
        );
        assert_eq!(rates.owed.lock().values().next().unwrap().1.requests, 1);
    }

    #[test]
    fn those_who_have_not_asked_for_long_are_forgotten() {
        // Of a rate so high, everybody's last request is long ago at once.
        let most = u64::from(u32::MAX);
        let rates = Rates::new(&Limits {
            subject_requests_a_minute_max: most,
            tenant_requests_a_minute_max: u64::MAX,
            ..Limits::default()
        });
        for n in 0..2 * FORGET_AFTER {
            assert!(rates.take(&who("a", &n.to_string())).is_ok());
        }
        assert!(
            rates.of_one.counted.len() <= FORGET_AFTER as usize,
            "{}",
            rates.of_one.counted.len()
        );
    }
}
