//! `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Principal, Role};
use jobs::RunFilter;
use poem::http::StatusCode;
use poem::{Request, Response};

use super::App;
use super::trace::RequestIds;
use super::wire;
use crate::meter::Gauges;
use crate::service::in_time;

/// Longest that the store may take to answer before it counts as unreachable.
const READY_TIME_MAX: Duration = Duration::from_secs(5);
/// Newest runs that are counted by state.
const RUNS_COUNTED: usize = 1_000;

/// The process answers.
pub(super) fn alive() -> Response {
    wire::body(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// The store can be reached, and the server is not ending.
pub(super) async fn ready(app: &App, ids: &RequestIds) -> Response {
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
            let says = match service.engine.unreadable() {
                0 => "ready\n".to_owned(),
                // How many, and whose, is for those who have a key.
                _ => "ready; some datasets can not be read\n".to_owned(),
            };
            wire::body(StatusCode::OK, "text/plain; charset=utf-8", says)
        }
        Err(error) => wire::failure(StatusCode::SERVICE_UNAVAILABLE, &error, ids),
    }
}

/// Numbers for Prometheus, of all tenants together: where the server has keys, for those of admins.
pub(super) async fn metrics(app: &App, request: &Request, ids: &RequestIds) -> Response {
    let who = app.0.door.principal(request.headers());
    let who = match who.and_then(|who| who.require(Role::Admin).map(|()| who)) {
        Ok(who) => who,
        Err(error) => return wire::failed(&error, ids),
    };
    let service = &app.0.service.0;
    let gauges = Gauges {
        subscriptions_open: service.subscriptions_open(),
        unreadable_datasets: service.engine.unreadable(),
        results_computed: service.shared.computed(),
        runs: runs(app, &who).await,
    };
    let page = service.meter.page(service.engine.metrics(), &gauges);
    wire::body(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
}

async fn runs(app: &App, who: &Principal) -> BTreeMap<&'static str, u64> {
    let filter = RunFilter { limit: RUNS_COUNTED, ..RunFilter::default() };
    let listing = in_time(READY_TIME_MAX, app.0.service.0.runner.list(who, filter)).await;
    let mut runs = BTreeMap::new();
    match listing {
        Ok(listed) => {
            for run in listed {
                *runs.entry(run.state.as_str()).or_default() += 1;
            }
        }
        Err(error) => tracing::warn!(detail = error.detail(), "runs can not be counted"),
    }
    runs
}
