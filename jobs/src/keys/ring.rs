//! The keys of use, as one server knows them.
//!
//! A server asks control state twice a second whether a key was made or revoked, which is one row, and reads all of them anew when one
//! was. So no request asks the database, none can tell by its time whether a key is known, and a key that is revoked ends everywhere
//! within a second. Where the database does not answer for too long, no key is taken at its word any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use engine::{Code, Error, Principal, Result};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{KEY_BEGINS, principal_of};
use crate::control::KeyEntry;
use crate::run::runner::Runner;

/// How often control state is asked for what changed.
const LOOK: Duration = Duration::from_millis(500);
/// For how long keys are believed that could not be looked at.
const BELIEVED: Duration = Duration::from_secs(30);
/// How often it is said that a key is used.
const USED_US: i64 = 60_000_000;
/// How often is looked for those of which that is to be said.
const USED_LOOK: Duration = Duration::from_secs(5);
/// Keys that one server knows, more than may be made.
const KNOWN_MAX: i64 = 50_000;

/// The keys of use. They are as new as [`KeyRing::keep`] has them.
pub struct KeyRing {
    runner: Runner,
    known: RwLock<Known>,
    /// Cancelled when there is a first key.
    opened: CancellationToken,
    /// One looks at a time, so that what is older never replaces what is newer.
    looking: Mutex<()>,
}

struct Known {
    change: i64,
    at: Instant,
    keys: HashMap<String, Arc<Key>>,
}

struct Key {
    secret_sha256: String,
    principal: Principal,
    expires_at: Option<DateTime<Utc>>,
    /// Cancelled when it is of use no more.
    ended: CancellationToken,
    used_us: AtomicI64,
    /// What control state was told of that.
    told_us: AtomicI64,
}

/// Who came with a key, and until when.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Who it is.
    pub principal: Principal,
    /// Cancelled when the key is revoked.
    pub ended: CancellationToken,
    /// When the key ends.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Runner {
    /// The keys of use; [`KeyRing::keep`] keeps them as they are.
    pub async fn key_ring(&self) -> Result<Arc<KeyRing>> {
        let ring = Arc::new(KeyRing {
            runner: self.clone(),
            known: RwLock::new(Known { change: -1, at: Instant::now(), keys: HashMap::new() }),
            opened: CancellationToken::new(),
            looking: Mutex::default(),
        });
        self.tell_of_keys(&ring);
        ring.look().await?;
        Ok(ring)
    }
}

impl KeyRing {
    /// Whether there was ever a key: from then on nobody is let in without one, though all may be revoked since.
    pub fn has_had_keys(&self) -> bool {
        self.opened.is_cancelled()
    }

    /// Cancelled from then on.
    pub fn opened(&self) -> CancellationToken {
        self.opened.clone()
    }

    /// Who may come with a key, one for each.
    pub fn principals(&self) -> Vec<Principal> {
        self.known.read().keys.values().map(|key| key.principal.clone()).collect()
    }

    /// Who has the key with this text; none, where it is not known, or of no use any more.
    pub fn find(&self, text: &str) -> Result<Option<Admitted>> {
        let digest = super::in_digits(&Sha256::digest(text.as_bytes()));
        let prefix = text.strip_prefix(KEY_BEGINS).and_then(|rest| rest.split_once('_'));
        let (at, key) = {
            let known = self.known.read();
            (known.at, prefix.and_then(|(prefix, _)| known.keys.get(prefix).cloned()))
        };
        if at.elapsed() > BELIEVED {
            let says = "keys can not be looked at: the control database does not answer";
            return Err(Error::user(Code::StorageUnavailable, says));
        }
        // Compared with something at any rate, so that the time tells nothing.
        let nothing = "0".repeat(digest.len());
        let secret = key.as_ref().map_or(nothing.as_str(), |key| key.secret_sha256.as_str());
        let is_same = is_equal(secret.as_bytes(), digest.as_bytes());
        let now = self.runner.now();
        let is_of_use = |key: &Arc<Key>| {
            !key.ended.is_cancelled() && key.expires_at.is_none_or(|expires_at| now < expires_at)
        };
        let Some(key) = key.filter(|key| is_same && is_of_use(key)) else { return Ok(None) };
        key.used_us.fetch_max(now.timestamp_micros(), Ordering::Relaxed);
        let (principal, ended) = (key.principal.clone(), key.ended.clone());
        Ok(Some(Admitted { principal, ended, expires_at: key.expires_at }))
    }

    /// Follows what is made and revoked until `ending`.
    pub async fn keep(&self, ending: CancellationToken) {
        let mut fails = false;
        let mut told = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = ending.cancelled() => break,
            }
            match self.look().await {
                Ok(()) if fails => {
                    fails = false;
                    tracing::info!("keys can be looked at again");
                }
                Ok(()) => {}
                Err(error) if !fails => {
                    fails = true;
                    tracing::warn!(detail = error.detail(), "keys can not be looked at");
                }
                Err(_) => {}
            }
            if told.elapsed() > USED_LOOK {
                told = Instant::now();
                self.tell_used(USED_US).await;
            }
        }
        self.tell_used(0).await;
    }

    /// Reads the keys anew, if one was made or revoked.
    pub(super) async fn look(&self) -> Result<()> {
        let _alone = self.looking.lock().await;
        let asked = Instant::now();
        // Before the keys: what comes in between is read once more.
        let change = self.runner.store().keys_change().await?;
        if change == self.known.read().change {
            self.known.write().at = asked;
            return Ok(());
        }
        if change > 0 {
            self.opened.cancel();
        }
        let now_us = self.runner.now().timestamp_micros();
        let entries = self.runner.store().live_keys(now_us, KNOWN_MAX).await?;
        let gone = {
            let mut known = self.known.write();
            let mut keys = HashMap::with_capacity(entries.len());
            for entry in entries {
                // Nothing of a key changes but its end.
                let key = match known.keys.remove(&entry.prefix) {
                    Some(key) => key,
                    None => match Key::of(&entry) {
                        Ok(key) => Arc::new(key),
                        Err(error) => {
                            let detail = error.detail();
                            tracing::warn!(
                                key = entry.prefix,
                                detail,
                                "a key is not understood and lets nobody in"
                            );
                            continue;
                        }
                    },
                };
                keys.insert(entry.prefix, key);
            }
            let gone = std::mem::replace(&mut known.keys, keys);
            (known.change, known.at) = (change, asked);
            gone
        };
        for key in gone.values() {
            key.ended.cancel();
        }
        // Nobody else will say when they were used last.
        self.tell_of(gone, 0).await;
        Ok(())
    }

    /// Says of keys that they are used, where that was said longer ago than `after_us`.
    async fn tell_used(&self, after_us: i64) {
        let keys: Vec<(String, Arc<Key>)> = {
            let known = self.known.read();
            known.keys.iter().map(|(prefix, key)| (prefix.clone(), Arc::clone(key))).collect()
        };
        self.tell_of(keys, after_us).await;
    }

    async fn tell_of(&self, keys: impl IntoIterator<Item = (String, Arc<Key>)>, after_us: i64) {
        let used = keys.into_iter().filter_map(|(prefix, key)| {
            let (at, told) =
                (key.used_us.load(Ordering::Relaxed), key.told_us.load(Ordering::Relaxed));
            let is_news = at > told.saturating_add(after_us);
            is_news.then(|| {
                key.told_us.store(at, Ordering::Relaxed);
                (prefix, at)
            })
        });
        let used: Vec<(String, i64)> = used.collect();
        if used.is_empty() {
            return;
        }
        // The next use says it again.
        if let Err(error) = self.runner.store().keys_used(&used).await {
            tracing::warn!(%error, "when keys were used could not be noted");
        }
    }
}

impl Key {
    fn of(entry: &KeyEntry) -> Result<Self> {
        let told_us = entry.used_us.unwrap_or_default();
        Ok(Self {
            secret_sha256: entry.secret_sha256.clone(),
            principal: principal_of(entry)?,
            expires_at: entry.expires_us.and_then(DateTime::from_timestamp_micros),
            ended: CancellationToken::new(),
            used_us: AtomicI64::new(told_us),
            told_us: AtomicI64::new(told_us),
        })
    }
}

/// Compares without stopping at the first difference.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let differs = a.iter().zip(b).fold(0_u8, |differs, (x, y)| differs | (x ^ y));
    a.len() == b.len() && std::hint::black_box(differs) == 0
}
