//! `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use engine::Role;
use poem::http::StatusCode;
use poem::{Request, Response};

use super::trace::RequestIds;
use super::wire;
use super::{App, Purpose};
use crate::meter::Gauges;
use crate::service::in_time;

/// Most unreadable datasets that `/readyz` names.
const NAMED_MAX: usize = 20;
/// Of which time failed runs are counted.
const LATELY: TimeDelta = TimeDelta::hours(1);
/// Longest that the store may take to answer before it counts as unreachable.
const READY_TIME_MAX: Duration = Duration::from_secs(5);

/// The process answers.
pub(super) fn alive() -> Response {
    wire::body(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// The store can be reached, and the server is not ending.
pub(super) async fn ready(app: &App, request: &Request, ids: &RequestIds) -> Response {
    let service = &app.0.service.0;
    if service.ending.is_cancelled() {
        return wire::body(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain; charset=utf-8",
            "ending\n",
        );
    }
    match in_time(READY_TIME_MAX, service.engine.ready()).await {
        // Damage in one place must not take the others from who asks.
        Ok(()) => {
            // Without the control file, changes to keys and runs cannot be stored, and changes by
            // other processes cannot be seen.
            if let Err(error) = service.runner.require_control_there() {
                return wire::failure(StatusCode::SERVICE_UNAVAILABLE, &error, ids);
            }
            let mut says = "ready".to_owned();
            // Only admins of the tenant may see their names.
            if service.engine.unreadable() > 0 {
                says.push_str("; some datasets can not be read");
                says.push_str(&unreadable(app, request).await);
            }
            // Queries are answered all the same.
            if let Err(error) = in_time(READY_TIME_MAX, service.runner.counts()).await {
                tracing::warn!(detail = error.detail(), "runs can not be counted");
                says.push_str("; no runs are taken: the control database does not answer");
            }
            says.push('\n');
            wire::body(StatusCode::OK, "text/plain; charset=utf-8", says)
        }
        Err(error) => wire::failure(StatusCode::SERVICE_UNAVAILABLE, &error, ids),
    }
}

/// The unreadable datasets of the caller's tenant, if the caller may see them: `: calls, orders`.
async fn unreadable(app: &App, request: &Request) -> String {
    let Ok(pass) = app.0.door.enter(request, Purpose::Read).await else { return String::new() };
    let names = app.0.service.0.engine.unreadable_of(&pass.who).unwrap_or_default();
    let more = names.len().saturating_sub(NAMED_MAX);
    let named: Vec<&str> = names.iter().take(NAMED_MAX).map(|name| name.as_str()).collect();
    match (named.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", named.join(", ")),
        (false, more) => format!(": {} and {more} more", named.join(", ")),
    }
}

/// Numbers for Prometheus, of all tenants together: where the server has keys, for those of admins.
pub(super) async fn metrics(app: &App, request: &Request, ids: &RequestIds) -> Response {
    let pass = app.0.door.enter(request, Purpose::Read).await;
    if let Err(error) = pass.and_then(|pass| pass.who.require(Role::Admin)) {
        return wire::failed(&error, ids);
    }
    let service = &app.0.service.0;
    let (runs, runs_failed) = runs(app).await;
    let gauges = Gauges {
        subscriptions_open: service.subscriptions_open(),
        unreadable_datasets: service.engine.unreadable(),
        results_computed: service.shared.computed(),
        runs,
        runs_failed,
    };
    let page = service.meter.page(service.engine.metrics(), &gauges);
    wire::body(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
}

/// Open runs by state, and those that failed lately, counted where they wait: how many have ended well does not matter to what it takes.
async fn runs(app: &App) -> (BTreeMap<String, u64>, Option<u64>) {
    let runner = &app.0.service.0.runner;
    let counted = in_time(READY_TIME_MAX, async {
        Ok((runner.counts().await?, runner.failed_within(LATELY).await?))
    });
    let (mut runs, mut runs_failed) = (BTreeMap::new(), None);
    match counted.await {
        Ok((counted, failed)) => {
            runs_failed = Some(failed);
            for of in counted {
                *runs.entry(of.state).or_default() += u64::try_from(of.runs).unwrap_or_default();
            }
        }
        Err(error) => tracing::warn!(detail = error.detail(), "runs can not be counted"),
    }
    (runs, runs_failed)
}
