//! The GraphQL schema, its planning, subscriptions and the HTTP server.
//!
//! Everything that leaves the product over the network leaves here. The schema is generated from the
//! tenant's catalogue, so a dataset needs no code to be queried; a query becomes one DataFusion plan,
//! so nothing is filtered after the engine; a subscription is woken by the commit bus, so nothing is
//! polled.
//!
//! ```text
//!   server/      HTTP, SSE, WebSocket, ingest, explorer, metrics: bytes in and out
//!      │
//!   service      one request: admission ─▶ schema ─▶ execution ─▶ answer
//!      ├─ guard/      what is refused before it runs: size, nesting, depth, cost
//!      ├─ schema/     types and resolvers, one rule per file
//!      ├─ counting    how long the answer is, while it is made
//!      ├─ answer      the answer as JSON
//!      ├─ kept        answers that are given again: of the same question, versions and grants
//!      ├─ plan/       arguments ─▶ DataFusion plan ─▶ values
//!      └─ subscribe/  commits ─▶ messages
//! ```
//! Deliberately absent: access to storage, to Delta and to anything without a [`engine::Principal`].

mod accepted;
mod answer;
mod counting;
mod downloads;
mod error;
mod guard;
mod idempotency;
mod kept;
mod limits;
mod links;
mod meter;
mod names;
mod pace;
mod plan;
mod rates;
mod reference;
mod request;
mod rows;
mod schema;
mod server;
mod service;
mod shape;
mod subscribe;
mod trusted;

pub use answer::{Answer, Answers, Event, Stage};
pub use engine::{Error, Result};
pub use limits::{LimitSetting, LimitValue, Limits};
pub use server::{
    ApiKey, CertificateField, CertificateRule, ClaimRules, ClientAuthority, ClientCertificates,
    CorsOptions, Issuer, JwksSource, JwtAlgorithm, JwtOptions, JwtRole, JwtTenant, LISTEN_DEFAULT,
    OidcOptions, Patience, PublicUrl, SealingSecret, Secret, Server, ServerOptions, TlsOptions,
    require_loopback,
};
pub use service::{Accepts, Service};
pub use trusted::TrustedDocuments;

use engine::{Engine, Principal};

/// The schema that `who` would be served, in GraphQL's definition language.
pub async fn sdl(engine: &Engine, who: &Principal) -> Result<String> {
    let catalog = engine.catalog(who).await?;
    Ok(schema::build(&catalog, &Limits::default())?.schema.sdl())
}

/// The same as a page in Markdown to read.
pub async fn reference(engine: &Engine, who: &Principal) -> Result<String> {
    let about = "Every query, mutation and subscription, and the types in them, as the server gives them for the datasets of this tenant. \
                 Made by `colonnade schema --markdown`.";
    reference::page(&sdl(engine, who).await?, "Schema", about)
}

#[cfg(test)]
mod tests;
