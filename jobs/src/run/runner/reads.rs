//! What a process that works at runs answers beside them, from what it holds in memory.

use datasets::DatasetName;
use engine::{Principal, Result, Session};

use super::Runner;
use crate::online::{OnlineRequest, OnlineRows, Skew};
use crate::similar::{Similar, SimilarRequest};

impl Runner {
    /// The rows of a dataset that are most like a text, a row or a vector. `session` says which versions are
    /// searched; it must have been opened by who asks.
    pub async fn similar(&self, session: &Session, request: SimilarRequest) -> Result<Similar> {
        self.shared.searches.run(session, request).await
    }

    /// Features of entities as they are now. `session` must have been opened by who asks.
    pub async fn online(
        &self,
        who: &Principal,
        session: &Session,
        request: &OnlineRequest,
    ) -> Result<OnlineRows> {
        self.shared.online.read(&self.shared.engine, who, session, request).await
    }

    /// Compares what is held of a feature view with what a query of it gives.
    pub async fn online_skew(
        &self,
        who: &Principal,
        session: &Session,
        view: &DatasetName,
    ) -> Result<Skew> {
        self.shared.online.skew(&self.shared.engine, who, session, view).await
    }
}
