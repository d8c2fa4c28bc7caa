//! What a tenant's runs may take in an hour, a day or a month. The sums are those of the dataset `run_stages`, which has a run some
//! moments after its end: what is at work when a quota is reached goes on, and what waits does not begin. Of runs those are counted
//! that are not there yet, too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike, Days, Months, NaiveTime, TimeDelta, Timelike, Utc};
use datafusion::common::ScalarValue;
use datasets::DatasetName;
use engine::{AsOf, Code, Engine, Error, Principal, Result, Role, TenantId};
use parking_lot::Mutex;
use serde::Serialize;

use crate::control::ControlStore;
use crate::run::stages::{RUN_STAGES, first_number};

/// How long sums are good for.
const FRESH: Duration = Duration::from_secs(2);
/// From which part of a quota on it is said that it is near.
const NEAR: f64 = 0.8;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Runs that ended.
    Runs,
    /// Rows that runs took in: of each run, those of the step with most.
    Rows,
    /// Seconds that runs worked.
    Seconds,
    /// Seconds that a GPU was held.
    GpuSeconds,
    /// By the setting `prices`.
    Money,
}

/// How long until it is counted anew; in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From each full hour.
    Hour,
    /// From midnight.
    Day,
    /// From midnight of its first day.
    Month,
}

/// What the runs of a tenant may take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quota {
    /// Whose; of each tenant by itself where it is not said.
    pub tenant: Option<TenantId>,
    /// What is counted.
    pub measure: Measure,
    /// How much of it.
    pub most: f64,
    /// In which time.
    pub period: Period,
}

/// A quota and what is taken of it.
#[derive(Clone, Debug, Serialize)]
pub struct QuotaState {
    /// The quota.
    #[serde(flatten)]
    pub quota: Quota,
    /// How much was taken since the period began.
    pub used: f64,
    /// When the period ends.
    pub until: DateTime<Utc>,
}

/// The quotas of a root.
#[derive(Debug, Default)]
pub struct Quotas {
    all: Vec<Quota>,
    known: Mutex<HashMap<TenantId, (Instant, Vec<QuotaState>)>>,
}

impl Clone for Quotas {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), known: Mutex::default() }
    }
}

impl Measure {
    const ALL: [(&'static str, Self); 5] = [
        ("runs", Self::Runs),
        ("rows", Self::Rows),
        ("seconds", Self::Seconds),
        ("gpu_seconds", Self::GpuSeconds),
        ("money", Self::Money),
    ];

    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, measure)| *measure == self).map_or("", |(name, _)| name)
    }

    fn sum(self) -> &'static str {
        match self {
            Self::Runs => "count(*)",
            Self::Rows => "sum(rows_in)",
            Self::Seconds => "sum(wall)",
            Self::GpuSeconds => "sum(gpu)",
            Self::Money => "sum(cost)",
        }
    }
}

impl Period {
    const ALL: [(&'static str, Self); 3] =
        [("hour", Self::Hour), ("day", Self::Day), ("month", Self::Month)];

    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, period)| *period == self).map_or("", |(name, _)| name)
    }

    /// The period that `now` is in: from, and until.
    fn around(self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let day = now.date_naive().and_time(NaiveTime::MIN).and_utc();
        let first = day.with_day(1).unwrap_or(day);
        match self {
            Self::Hour => {
                let from = day + TimeDelta::hours(i64::from(now.hour()));
                (from, from + TimeDelta::hours(1))
            }
            Self::Day => (day, day.checked_add_days(Days::new(1)).unwrap_or(day)),
            Self::Month => (first, first.checked_add_months(Months::new(1)).unwrap_or(first)),
        }
    }
}

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} a {}", self.most, self.measure.name(), self.period.name())
    }
}

impl std::str::FromStr for Quotas {
    type Err = Error;

    /// Reads `acme rows=1000000/day, acme money=50/month, * gpu_seconds=3600/day`; an empty text is no quota at all.
    fn from_str(text: &str) -> Result<Self> {
        let mut all: Vec<Quota> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let quota = quota(part).ok_or_else(|| {
                Error::user(
                    Code::BadInput,
                    format!(
                        "quotas: expected TENANT MEASURE=MOST/PERIOD, the tenant `*` for each, of runs, rows, seconds, gpu_seconds and \
                         money an hour, day or month, such as acme rows=1000000/day, found {part:?}"
                    ),
                )
            })?;
            let is_twice = all.iter().any(|other| {
                (&other.tenant, other.measure, other.period)
                    == (&quota.tenant, quota.measure, quota.period)
            });
            if is_twice {
                return Err(Error::user(Code::BadInput, format!("quotas: {part:?} is said twice")));
            }
            all.push(quota);
        }
        Ok(Self { all, known: Mutex::default() })
    }
}

fn quota(part: &str) -> Option<Quota> {
    let (tenant, rest) = part.split_once(char::is_whitespace)?;
    let (measure, rest) = rest.split_once('=')?;
    let (most, period) = rest.split_once('/')?;
    let tenant = match tenant {
        "*" => None,
        name => Some(name.parse::<TenantId>().ok()?),
    };
    let measure = measure.trim();
    let (_, measure) = *Measure::ALL.iter().find(|(name, _)| *name == measure)?;
    let period = period.trim();
    let (_, period) = *Period::ALL.iter().find(|(name, _)| *name == period)?;
    let most: f64 = most.trim().parse().ok()?;
    (most.is_finite() && most >= 0.0).then_some(Quota { tenant, measure, most, period })
}

/// When it is looked whether a quota is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A run is asked for: those that wait come before it.
    Asked,
    /// A run that waited begins.
    Begins,
}

impl Moment {
    /// Runs that count by then, and have no rows yet.
    async fn not_counted(self, store: &dyn ControlStore, tenant: &TenantId) -> Result<i64> {
        let [waiting, working, ended] = store.not_counted(tenant.as_str()).await?;
        Ok(match self {
            Self::Asked => waiting + working + ended,
            // One of those at work is the run itself.
            Self::Begins => (working - 1).max(0) + ended,
        })
    }
}

impl Quotas {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those of a tenant: what is said of it goes before what is said of each.
    fn of(&self, tenant: &TenantId) -> Vec<&Quota> {
        let own = |quota: &&Quota| quota.tenant.as_ref() == Some(tenant);
        let is_said = |of: &Quota| {
            self.all
                .iter()
                .filter(own)
                .any(|quota| (quota.measure, quota.period) == (of.measure, of.period))
        };
        let general = self.all.iter().filter(|quota| quota.tenant.is_none() && !is_said(quota));
        self.all.iter().filter(own).chain(general).collect()
    }

    /// The quotas of who asks, and what is taken of each.
    pub async fn states(
        &self,
        engine: &Engine,
        who: &Principal,
        now: DateTime<Utc>,
    ) -> Result<Vec<QuotaState>> {
        who.require(Role::Reader)?;
        let mut states = Vec::new();
        for quota in self.of(&who.tenant) {
            let (from, until) = quota.period.around(now);
            let used = used(engine, who, quota.measure, from).await?;
            states.push(QuotaState { quota: quota.clone(), used, until });
        }
        Ok(states)
    }

    /// Says that there are more rows of what a tenant's runs took.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        self.known.lock().remove(tenant);
    }

    /// Fails where a quota of the tenant is reached; says in the log where one is near.
    pub(crate) async fn check(
        &self,
        engine: &Engine,
        who: &Principal,
        now: DateTime<Utc>,
        (store, moment): (&dyn ControlStore, Moment),
    ) -> Result<()> {
        let quotas = self.of(&who.tenant);
        if quotas.is_empty() {
            return Ok(());
        }
        let more = match quotas.iter().any(|quota| quota.measure == Measure::Runs) {
            true => moment.not_counted(store, &who.tenant).await?,
            false => 0,
        };
        let known = self.known.lock().get(&who.tenant).cloned();
        let states = match known.filter(|(at, _)| at.elapsed() < FRESH) {
            Some((_, states)) => states,
            None => {
                // What all runs of the tenant took counts, whatever who asks may see of it.
                let whole = Principal::new(who.tenant.clone(), &*who.subject, &[Role::Reader]);
                let states = self.states(engine, &whole, now).await?;
                for state in states.iter().filter(|state| state.is_near()) {
                    tracing::warn!(
                        tenant = %who.tenant, used = state.used, most = state.quota.most,
                        measure = state.quota.measure.name(), "a quota is nearly reached"
                    );
                }
                self.known.lock().insert(who.tenant.clone(), (Instant::now(), states.clone()));
                states
            }
        };
        let states = states.into_iter().map(|state| match state.quota.measure {
            Measure::Runs => QuotaState { used: state.used + more as f64, ..state },
            _ => state,
        });
        match states.into_iter().find(|state| state.is_reached() && state.until > now) {
            Some(state) => Err(Error::user(Code::LimitExceeded, state.says())),
            None => Ok(()),
        }
    }
}

impl QuotaState {
    /// Whether no run is taken any more.
    pub fn is_reached(&self) -> bool {
        self.used >= self.quota.most
    }

    /// Whether it soon will be so.
    pub fn is_near(&self) -> bool {
        !self.is_reached() && self.used >= self.quota.most * NEAR
    }

    fn says(&self) -> String {
        format!(
            "quota reached: {}, and {} are used; runs are taken again from {}",
            self.quota,
            (self.used * 1000.0).round() / 1000.0,
            self.until.format("%Y-%m-%dT%H:%M:%SZ")
        )
    }
}

/// How much was taken since.
async fn used(
    engine: &Engine,
    who: &Principal,
    measure: Measure,
    since: DateTime<Utc>,
) -> Result<f64> {
    let name = DatasetName::new(RUN_STAGES)?;
    if !engine.catalog(who).await?.has(&name)? {
        return Ok(0.0);
    }
    let session = engine.session(who, &[(name, AsOf::Latest)]).await?;
    let text = format!(
        "SELECT CAST({} AS DOUBLE) AS used FROM (SELECT run, max(rows_in) AS rows_in, sum(wall_seconds) AS wall, \
         sum(gpu_seconds) AS gpu, sum(cost) AS cost FROM {RUN_STAGES} WHERE ended_at >= $since GROUP BY run)",
        measure.sum()
    );
    let since =
        ScalarValue::TimestampMicrosecond(Some(since.timestamp_micros()), Some("UTC".into()));
    let frame = session.sql(&text).await?.with_param_values(vec![("since", since)])?;
    let batches = session.collect(frame).await?;
    Ok(batches.iter().find_map(first_number).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::run::record::RunState;
    use crate::run::runner::{RunRequest, Runner, RunnerOptions};
    use crate::testing::{append, engine, sampled};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn quotas_are_read_with_what_is_wrong_with_them() {
        let text =
            "acme rows=1000000/day, acme money=50.5/month, * rows=10/day,* gpu_seconds=0/hour";
        let quotas: Quotas = text.parse().unwrap();
        let of = |tenant: &str| {
            let tenant = TenantId::new(tenant).unwrap();
            quotas.of(&tenant).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            of("acme"),
            ["1000000 rows a day", "50.5 money a month", "0 gpu_seconds a hour"]
        );
        assert_eq!(of("other"), ["10 rows a day", "0 gpu_seconds a hour"]);
        assert!("".parse::<Quotas>().unwrap().is_empty());
        for wrong in [
            "acme",
            "acme rows",
            "acme rows=5",
            "acme rows=5/week",
            "acme cats=5/day",
            "acme rows=-1/day",
            "acme rows=NaN/day",
            "A rows=1/day",
            "rows=1/day",
            "a rows=1/day, a rows=2/day",
        ] {
            let error = wrong.parse::<Quotas>().unwrap_err();
            assert_eq!(error.code(), Code::BadInput);
            assert!(error.to_string().starts_with("quotas: "), "{error}");
        }
    }

    #[test]
    fn periods_begin_with_the_hour_the_day_and_the_month() {
        let now = at("2024-02-29T23:59:59Z");
        let spans = [Period::Hour, Period::Day, Period::Month].map(|period| period.around(now));
        assert_eq!(spans[0], (at("2024-02-29T23:00:00Z"), at("2024-03-01T00:00:00Z")));
        assert_eq!(spans[1], (at("2024-02-29T00:00:00Z"), at("2024-03-01T00:00:00Z")));
        assert_eq!(spans[2], (at("2024-02-01T00:00:00Z"), at("2024-03-01T00:00:00Z")));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_that_are_asked_for_at_once_as_many_run_as_may() {
        let engine = engine().await;
        append(&engine, "metrics", &[sampled("load", 300, vec![1.0; 50])]).await;
        let quotas = "* runs=3/month".parse().unwrap();
        let options = RunnerOptions { quotas, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let who = Principal::local();
        let ask = |number: i32| {
            let params = serde_json::json!({ "output": format!("o{number}") });
            let request = RunRequest { job: "anomalies".into(), params, ..RunRequest::default() };
            runner.submit(&who, request)
        };
        let asked = futures::future::join_all((0..20).map(ask)).await;
        let mut done = Vec::new();
        for handle in asked.into_iter().flatten() {
            done.push(handle.wait().await.unwrap());
        }
        let of = |state| done.iter().filter(|run| run.state == state).count();
        assert!((1..=3).contains(&of(RunState::Succeeded)), "{done:?}");
        let refused = done.iter().filter_map(|run| run.error.as_ref());
        assert!(refused.clone().all(|error| error.message.contains("quota reached: 3 runs")));
        assert_eq!(of(RunState::Succeeded) + refused.count(), done.len());
        runner.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_used_up_a_quota_runs_again_when_the_period_is_over() {
        let engine = engine().await;
        append(&engine, "metrics", &[sampled("load", 300, vec![1.0; 500])]).await;
        let options = || RunnerOptions {
            quotas: "* rows=400/day, default runs=1000/month".parse().unwrap(),
            ..RunnerOptions::default()
        };
        let runner = Runner::start(engine.clone(), options()).await.unwrap();
        let who = Principal::local();
        let request = || RunRequest { job: "anomalies".into(), ..RunRequest::default() };
        let first = runner.submit(&who, request()).await.unwrap().wait().await.unwrap();
        assert_eq!(first.state, RunState::Succeeded, "{first:?}");
        runner.shutdown().await;

        let runner = Runner::start(engine.clone(), options()).await.unwrap();
        let error = runner.submit(&who, request()).await.err().unwrap();
        assert_eq!(error.code(), Code::LimitExceeded);
        let says = error.to_string();
        let until = Period::Day.around(Utc::now()).1.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        assert!(says.contains("400 rows a day, and 500 are used"), "{says}");
        assert!(says.contains(&until), "{says}");
        let states = options().quotas.states(&engine, &who, Utc::now()).await.unwrap();
        assert_eq!(states.len(), 2);
        assert!(states.iter().all(|state| state.used > 0.0), "{states:?}");
        // Tomorrow it counts from nothing.
        let tomorrow = Utc::now() + TimeDelta::days(1);
        let at = (runner.store(), Moment::Asked);
        options().quotas.check(&engine, &who, tomorrow, at).await.unwrap();
        runner.shutdown().await;
    }
}
