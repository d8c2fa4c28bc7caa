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

/// The start of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestBegin<'a> {
    /// The digest of the request.
    pub question: &'a str,
    /// The process that executes it.
    pub worker: &'a str,
    /// When it starts.
    pub at_us: i64,
    /// Requests that started before this time are forgotten.
    pub forget_us: i64,
    /// Most requests of a tenant that are remembered.
    pub most: i64,
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
    /// Starts a request, unless it is known or its tenant has too many.
    fn begin_request<'a>(
        &'a self,
        of: &'a RequestKey,
        begin: &'a RequestBegin<'a>,
    ) -> BoxFuture<'a, Result<RequestState>>;

    /// Restarts a request that has this answer. Returns false if another process was first.
    fn begin_request_again<'a>(
        &'a self,
        of: &'a RequestKey,
        begin: &'a RequestBegin<'a>,
        answer: &'a str,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Stores the answer of the attempt that began at `begun_us`.
    fn answer_request<'a>(
        &'a self,
        of: &'a RequestKey,
        begun_us: i64,
        answer: &'a str,
    ) -> BoxFuture<'a, Result<()>>;

    /// Forgets a request that started at this time and did nothing.
    fn forget_request<'a>(&'a self, of: &'a RequestKey, begun_us: i64)
    -> BoxFuture<'a, Result<()>>;

    /// Whether a tenant has a run, or a run of a pipeline, of this id.
    fn has_begun<'a>(&'a self, tenant: &'a str, id: &'a str) -> BoxFuture<'a, Result<bool>>;
}
