//! Acts as control state has them: those that have begun, and those that ended, of each tenant as a chain.

use futures::future::BoxFuture;

use super::Result;

/// An act that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunAct {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The worker in whose process it is.
    pub worker: String,
    /// What is known of it.
    pub document: String,
}

/// An act that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRow {
    /// Its number among those of its tenant, from 1.
    pub number: i64,
    /// The hash of the one before.
    pub previous: String,
    /// Its own.
    pub hash: String,
    /// What it says.
    pub content: String,
}

/// The last row of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActHead {
    /// Its number.
    pub number: i64,
    /// Its hash.
    pub hash: String,
    /// Up to which number they are rows of the dataset.
    pub projected: i64,
}

/// Where acts are kept until they are rows of a dataset.
pub trait ActStore {
    /// Whether any tenant has an audit chain.
    fn has_chains(&self) -> BoxFuture<'_, Result<bool>>;

    /// Says that an act begins.
    fn begin_act<'a>(&'a self, act: &'a BegunAct) -> BoxFuture<'a, Result<()>>;

    /// Says how an act ended, as the next row of its tenant's chain. False, and nothing is changed, where the chain is not known yet.
    fn end_act<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
        content: &'a str,
    ) -> BoxFuture<'a, Result<bool>>;

    /// The last row of a tenant's chain; none, where it is not known.
    fn audit_head<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Option<ActHead>>>;

    /// Begins a chain behind such a row, unless it is known.
    fn begin_chain<'a>(
        &'a self,
        tenant: &'a str,
        number: i64,
        hash: &'a str,
    ) -> BoxFuture<'a, Result<()>>;

    /// Rows of a tenant's chain behind one, in their order.
    fn acts<'a>(
        &'a self,
        tenant: &'a str,
        after: i64,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<ActRow>>>;

    /// Tenants of whose chains some are no rows of the dataset yet.
    fn acts_to_project(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Says that they are rows up to this one, and lets go of them.
    fn acts_projected<'a>(&'a self, tenant: &'a str, up_to: i64) -> BoxFuture<'a, Result<()>>;

    /// Acts that began in processes which are gone.
    fn lost_acts(&self, limit: i64) -> BoxFuture<'_, Result<Vec<BegunAct>>>;
}
