//! Sessions renewed with what the provider gave for that: each once, however many requests come with it.
//!
//! Most providers take a refresh token once and give another with what they grant; who shows one a second time is taken for a thief,
//! and the login ends. But a page sends several requests at once, all with the cookie of before. So the first asks, in a task that goes
//! on should its client leave, the others wait for it, and for a while longer those that were still under way get the same answer, and
//! so does a browser in which the answer to a slow request has put an older cookie in the place of a newer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Code, Error};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::provider::{Provider, Refusal};
use super::session::Session;
use super::verify;

/// How long an answer is kept for requests that were under way.
const KEPT: Duration = Duration::from_secs(300);
/// Most answers that are kept or waited for.
const RENEWALS_MAX: usize = 50_000;

type Renewed = Result<Arc<Session>, Refusal>;

/// The renewals of late, by the digest of what was shown.
#[derive(Default)]
pub(super) struct Renewals(Arc<Mutex<OfLate>>);

#[derive(Default)]
struct OfLate {
    all: HashMap<[u8; 32], Renewal>,
    /// When those that are too old were last forgotten.
    swept: Option<Instant>,
}

struct Renewal {
    begun: Instant,
    answer: Shared<BoxFuture<'static, Renewed>>,
}

impl Renewals {
    /// `session` as the provider renews it.
    pub(super) async fn renew(
        &self,
        provider: &Arc<Provider>,
        session: Session,
        refresh: String,
    ) -> Result<Renewed, Error> {
        let shown: [u8; 32] = Sha256::digest(refresh.as_bytes()).into();
        let answer = {
            let mut of_late = self.0.lock();
            of_late.sweep();
            match of_late.all.get(&shown) {
                Some(renewal) => renewal.answer.clone(),
                None if of_late.all.len() >= RENEWALS_MAX => {
                    let says = format!(
                        "sessions that are renewed: expected at most {RENEWALS_MAX} in {} s",
                        KEPT.as_secs()
                    );
                    return Err(Error::user(Code::ResourcesExhausted, says));
                }
                None => {
                    let asked = tokio::spawn(self.asked(provider, session, refresh, shown));
                    let answer = async move {
                        asked.await.unwrap_or_else(|error| Err(Refusal::Failed(error.to_string())))
                    };
                    let answer = answer.boxed().shared();
                    let renewal = Renewal { begun: Instant::now(), answer: answer.clone() };
                    of_late.all.insert(shown, renewal);
                    answer
                }
            }
        };
        Ok(answer.await)
    }

    fn asked(
        &self,
        provider: &Arc<Provider>,
        session: Session,
        refresh: String,
        shown: [u8; 32],
    ) -> impl Future<Output = Renewed> + use<> {
        let (provider, of_late) = (Arc::clone(provider), Arc::clone(&self.0));
        async move {
            let answer = ask(&provider, session, &refresh).await;
            // Whoever comes next may ask again.
            if let Err(Refusal::Failed(_)) = &answer {
                of_late.lock().all.remove(&shown);
            }
            answer
        }
    }
}

impl OfLate {
    /// Forgets what is too old, now and then.
    fn sweep(&mut self) {
        let is_old = |at: Instant| at.elapsed() >= KEPT;
        if self.swept.is_none_or(is_old) || self.all.len() >= RENEWALS_MAX {
            self.all.retain(|_, renewal| !is_old(renewal.begun));
            self.swept = Some(Instant::now());
        }
    }
}

async fn ask(provider: &Provider, session: Session, refresh: &str) -> Renewed {
    let granted = provider.refresh(refresh).await?;
    let (verified, claims) = match &granted.id_token {
        None => (None, None),
        Some(token) => {
            let known = provider.known().await.map_err(Refusal::Failed)?;
            let verified = verify(&known, provider.client_id(), token).await;
            let verified = verified.map_err(|error| Refusal::Failed(error.to_string()))?;
            let claims = known.tokens.rules().kept(&verified.claims);
            (Some(verified), Some(claims))
        }
    };
    match session.renewed(&granted, verified.as_ref(), claims) {
        Ok(session) => Ok(Arc::new(session)),
        Err(says) => {
            tracing::warn!(says, "a session was not renewed");
            Err(Refusal::Spent)
        }
    }
}
