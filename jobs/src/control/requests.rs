//! Requests with a key of their client, as control state has them.

use futures::future::BoxFuture;

use super::Result;

/// A request, by who asks and what they call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Whose tenant it is about.
    pub tenant: String,
    /// Who asks.
    pub subject: String,
    /// What they call it.
    pub key: String,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// It was not known, and has begun now.
    Begun,
    /// The tenant has as many as it may have.
    Full,
    /// Something else was asked under this key.
    Other,
    /// It is being done.
    UnderWay,
    /// The process in which it was done is gone, and nobody saw what came of it.
    Lost,
    /// This came of it.
    Answered(String),
}

/// Where requests are kept.
pub trait RequestStore {
    /// Begins a request, in the process of `worker`, unless it is known or its tenant has `most` already. `times` are that of now, and the one before which requests began
    /// that are not known any more.
    fn begin_request<'a>(
        &'a self,
        of: &'a RequestKey,
        question: &'a str,
        worker: &'a str,
        times: (i64, i64),
        most: i64,
    ) -> BoxFuture<'a, Result<RequestState>>;

    /// Says what came of one that is being done.
    fn answer_request<'a>(
        &'a self,
        of: &'a RequestKey,
        answer: &'a str,
    ) -> BoxFuture<'a, Result<()>>;

    /// Lets go of one that is being done, of which nothing was done.
    fn forget_request<'a>(&'a self, of: &'a RequestKey) -> BoxFuture<'a, Result<()>>;
}
