//! Sessions in use here, so that what goes on with one ends when it is logged out, and its cookie, should somebody have a copy, is of no
//! use any more. Servers beside this one are not told: there it ends when it would have to be renewed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use engine::{Code, Error, Result};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::super::unauthenticated;
use super::session::Session;

/// Most sessions that are remembered.
const SESSIONS_MAX: usize = 100_000;

/// The sessions.
#[derive(Default)]
pub(super) struct Live(Mutex<HashMap<String, Entry>>);

struct Entry {
    ended: CancellationToken,
    until: DateTime<Utc>,
}

impl Live {
    /// What is cancelled when `session` ends before its time. Fails where it has.
    pub(super) fn join(&self, session: &Session) -> Result<CancellationToken> {
        let mut all = self.0.lock();
        if let Some(entry) = all.get_mut(&session.id) {
            if entry.ended.is_cancelled() {
                return Err(unauthenticated("the session was ended: log in again at /auth/login"));
            }
            entry.until = entry.until.max(session.fresh_until);
            return Ok(entry.ended.clone());
        }
        if all.len() >= SESSIONS_MAX {
            let now = Utc::now();
            all.retain(|_, entry| entry.until > now);
        }
        if all.len() >= SESSIONS_MAX {
            let says = format!("sessions in use: expected at most {SESSIONS_MAX} at a time");
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
        let ended = CancellationToken::new();
        let entry = Entry { ended: ended.clone(), until: session.fresh_until };
        all.insert(session.id.clone(), entry);
        Ok(ended)
    }

    /// Whether it has ended here.
    pub(super) fn has_ended(&self, session: &Session) -> bool {
        self.0.lock().get(&session.id).is_some_and(|entry| entry.ended.is_cancelled())
    }

    /// Ends it, for as long as it could have been renewed.
    pub(super) fn end(&self, session: &Session) {
        // Where there is no room it goes on until it would have to be renewed.
        if let Ok(ended) = self.join(session) {
            ended.cancel();
            if let Some(entry) = self.0.lock().get_mut(&session.id) {
                entry.until = session.ends_at();
            }
        }
    }
}
