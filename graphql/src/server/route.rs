//! The paths of the server.

use crate::downloads::DOWNLOADS;

/// A path of the server, as metrics and the log name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Graphql,
    Ingest(String),
    Features(String),
    Download(String),
    Sql,
    Traces,
    Explorer(String),
    Auth(String),
    Health,
    Ready,
    Metrics,
    Flight,
    Unknown,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/graphql" => Self::Graphql,
            "/v1/sql" => Self::Sql,
            "/v1/traces" => Self::Traces,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/" => Self::Explorer(String::new()),
            _ => {
                let below = |folder| path.strip_prefix(folder).map(str::to_owned);
                let one = |folder| below(folder).filter(|name: &String| !name.contains('/'));
                let dataset = one("/v1/ingest/").map(Self::Ingest);
                let view = || one("/v1/features/").map(Self::Features);
                let download = || below(DOWNLOADS).map(Self::Download);
                let page = || below("/explorer/").map(Self::Explorer);
                let login = || below("/auth/").map(Self::Auth);
                dataset
                    .or_else(view)
                    .or_else(download)
                    .or_else(page)
                    .or_else(login)
                    .unwrap_or(Self::Unknown)
            }
        }
    }

    /// Whether it matters there who asks.
    pub(super) fn asks_who(&self) -> bool {
        match self {
            Self::Graphql
            | Self::Ingest(_)
            | Self::Features(_)
            | Self::Traces
            | Self::Download(_)
            | Self::Sql
            | Self::Metrics => true,
            Self::Auth(step) => step == "me",
            Self::Explorer(_) | Self::Health | Self::Ready | Self::Flight | Self::Unknown => false,
        }
    }

    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Graphql => "/graphql",
            Self::Ingest(_) => "/v1/ingest",
            Self::Features(_) => "/v1/features",
            Self::Download(_) => "/v1/exports",
            Self::Sql => "/v1/sql",
            Self::Traces => "/v1/traces",
            Self::Explorer(_) => "/",
            Self::Auth(_) => "/auth",
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::Flight => "flight",
            Self::Unknown => "other",
        }
    }
}
