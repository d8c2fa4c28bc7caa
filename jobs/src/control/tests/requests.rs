//! Requests with keys in both databases.
#![allow(clippy::unwrap_used)]

use crate::control::{RequestBegin, RequestKey, RequestState, RequestStore, SecretStore, SqlStore};

fn request(tenant: &str, subject: &str, key: &str) -> RequestKey {
    RequestKey { tenant: tenant.into(), subject: subject.into(), key: key.into() }
}

fn begins(question: &str, at_us: i64) -> RequestBegin<'_> {
    RequestBegin { question, worker: "gone", at_us, forget_us: at_us - 100, most: 2 }
}

pub(super) async fn a_request_is_begun_once_and_told_again(store: SqlStore) {
    let of = request("t", "s", "k");
    let begin = async |of: &RequestKey, question: &str, now| {
        store.begin_request(of, &begins(question, now)).await.unwrap()
    };
    assert_eq!(begin(&of, "q", 1).await, RequestState::Begun);
    // Nobody lives who could be doing it.
    assert_eq!(begin(&of, "q", 2).await, RequestState::Lost);
    assert_eq!(begin(&of, "other", 2).await, RequestState::Other);
    store.answer_request(&of, 1, "done").await.unwrap();
    store.answer_request(&of, 1, "done otherwise").await.unwrap();
    store.forget_request(&of, 1).await.unwrap();
    assert_eq!(begin(&of, "q", 3).await, RequestState::Answered("done".into()));
    assert_eq!(begin(&of, "other", 3).await, RequestState::Other);
    // That of somebody else is another one.
    for other in [request("u", "s", "k"), request("t", "r", "k"), request("t", "s", "l")] {
        assert_eq!(begin(&other, "q", 4).await, RequestState::Begun);
        store.forget_request(&other, 4).await.unwrap();
        assert_eq!(begin(&other, "q", 5).await, RequestState::Begun);
        // A different start time means a different request.
        store.forget_request(&other, 4).await.unwrap();
        assert_eq!(begin(&other, "q", 5).await, RequestState::Lost);
        store.forget_request(&other, 5).await.unwrap();
    }
    // Only one of several senders restarts a request that queued a run.
    let queued = request("t", "s", "queued");
    assert_eq!(begin(&queued, "q", 5).await, RequestState::Begun);
    store.answer_request(&queued, 5, "a run").await.unwrap();
    for is_first in [true, false] {
        let again = store.begin_request_again(&queued, &begins("q", 6), "a run").await.unwrap();
        assert_eq!(again, is_first);
    }
    // The sender that began it at 5 says nothing for the one that does it now.
    store.answer_request(&queued, 5, "another run").await.unwrap();
    assert_eq!(begin(&queued, "q", 6).await, RequestState::Lost);
    store.forget_request(&queued, 6).await.unwrap();
    // There are not more than a tenant may have, and those are still known.
    assert_eq!(begin(&request("t", "s", "second"), "q", 5).await, RequestState::Begun);
    assert_eq!(begin(&request("t", "s", "third"), "q", 5).await, RequestState::Full);
    assert_eq!(begin(&of, "q", 5).await, RequestState::Answered("done".into()));
    // After some time it is not known any more.
    assert_eq!(begin(&of, "q", 101).await, RequestState::Answered("done".into()));
    assert_eq!(begin(&of, "q", 102).await, RequestState::Begun);
    // Secrets are made once, too.
    for (name, fresh, kept) in
        [("a", "first", "first"), ("a", "second", "first"), ("b", "second", "second")]
    {
        assert_eq!(store.secret(name, fresh).await.unwrap(), kept);
    }
}
