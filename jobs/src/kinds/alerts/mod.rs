//! Says when rows of a dataset are a reason to alert: rules are held against each commit in order, and what happens to alerts is committed
//! once each, with what people are to be told.
//!
//! 1. [`read`]: what each rule says of the rows that a commit added.
//! 2. [`analysis::alerts`]: what becomes of its alerts, a pure function of the commits, of what people said, and of the clock.
//! 3. Events, notices, alerts and how far all of it is are seen together, and only where nobody went on from the same state first. So a
//!    run that is killed and done again tells nothing twice and leaves nothing out.
//!
//! A rule that is new looks at what is there as at one commit; of that, people are told what still fires.
//!
//! Cost: reads what came since the run before. Memory: the rows of one commit that rules look at, and the alerts.

mod output;
mod params;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use analysis::alerts::{
    AlertError, Commit, Event, Notice, Rule, Silence, State, acknowledge, adopt, alert_rows,
    next_deadline, notices, step, tick,
};
use chrono::{DateTime, Utc};
use datafusion::logical_expr::{ident, lit};
use datafusion::scalar::ScalarValue;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, CommitRecord, Error, Result, Session, Version, WriteMode};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::alert_words::{self, Word};
use crate::alerting;
use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::commits;
use crate::run::commits::is_still;
use crate::run::context::RunContext;
use crate::tables::columns::texts;
use crate::tables::input::InputTable;
pub use params::Params;
pub(crate) use params::RULES_MAX;
use read::{Known, Opened, Read, Reader};

/// The kind's name, and that of its output unless told otherwise.
pub(crate) const NAME: &str = "alerts";
/// Memory of a row while rules look at it: a guess for the estimate only.
const ROW_BYTES: usize = 256;
/// How often what the clock brings is looked for, where nothing is committed.
const CLOCK_SECONDS: u32 = 30;

/// How long a run reads commits, before it keeps what came of them and leaves the others to the next: what is killed with its process is
/// read again, and where processes are killed every few seconds that must not be all that there is.
const READ_MAX: Duration = Duration::from_secs(1);

/// How long before it is seen a commit is stamped, in milliseconds.
const COMMIT_MS: i64 = 1_000;

/// The job kind.
pub struct Alerts {
    /// How long a run reads commits.
    read_max: Duration,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { read_max: READ_MAX }
    }
}

/// Rules that were read before.
static RULES_READ: Known = Known::new();

/// Reads and checks parameters.
pub(crate) fn read_params(params: &Value) -> Result<Params> {
    parameters::read::<Params>(NAME, params)?.checked()
}

/// What the core refuses, as an error of ours.
pub(crate) fn refused(error: AlertError) -> Error {
    match error {
        AlertError::Refused { .. } => Error::user(Code::BadInput, error.to_string()),
        AlertError::NotFound { .. } => Error::user(Code::NotFound, error.to_string()),
        AlertError::NotAdopted { .. } => Error::internal(error.to_string()),
    }
}

impl Job for Alerts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "holds rules against what was committed, and says which alerts fire, and which are over"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&read_params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        read_params(params).map(|params| vec![params.dataset])
    }

    fn reads_where_there(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let params = read_params(params)?;
        let rules = params.rules.is_none().then(|| alerting::spec().name);
        Ok(rules.into_iter().chain([alert_words::spec().name]).collect())
    }

    fn looks_at_the_clock(&self) -> bool {
        true
    }

    fn runs_alone(&self) -> bool {
        true
    }

    fn goes_on(&self, summary: &Value) -> bool {
        summary["commits_left"].as_u64().is_some_and(|left| left > 0)
    }

    fn looks_again_after(&self, _: &Value) -> Result<Option<u32>> {
        Ok(Some(CLOCK_SECONDS))
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = read_params(params)?;
        Ok(vec![
            output::spec(params.output),
            output::events_spec(params.events),
            output::outbox_spec(params.outbox),
            output::state_spec(params.state),
        ])
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            let asked = read_params(params)?;
            let table = InputTable::open(session, NAME, &asked.dataset).await?;
            for rule in asked.rules.iter().flatten() {
                let read = Read::of(session, &table, &asked.dataset, rule).await?;
                read.try_out(session, table.frame.clone()).await?;
            }
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = read_params(params)?;
            // First: whatever was committed a second before is seen below.
            let now_us = settled(ctx.now());
            let mut stage = ctx.stage("alerts");
            let (before, version) = kept(ctx, &params).await?;
            let defined = alerting::defined(ctx.present().await?, Some(&params.dataset)).await?;
            let rules = match params.rules.clone() {
                Some(_) if !defined.is_empty() && params.is_of_the_defined() => {
                    let says = format!(
                        "alerts are defined for {}, whose state is in {}; expected other names as `output`, `events`, `outbox` and `state`",
                        params.dataset, params.state
                    );
                    return Err(parameters::bad(NAME, "rules", says));
                }
                Some(rules) => rules,
                None => defined,
            };
            let mut work = Work::begin(ctx, &params, &rules, before.clone(), now_us).await?;
            work.read_max = self.read_max;
            work.commits().await?;
            // Of what is yet to be read nothing is over, and nothing lasts.
            if work.left == 0 {
                work.clock()?;
            }
            stage.record.rows_in = work.rows;
            stage.record.rows_out = work.events.len() as u64;
            stage.finish();
            for says in &work.unfit {
                ctx.log().warning(says);
            }
            let told = work.notices();
            let next = next_deadline(&work.kept.state, &rules, &work.silences);
            let summary = json!({
                "source": params.dataset,
                "rules": rules.len(),
                "rules_that_do_not_fit": work.unfit,
                "commits": work.read,
                "commits_that_are_gone": work.gone,
                "commits_left_out": work.left_out,
                "commits_left": work.left,
                "rows": work.rows,
                "events": work.events.len(),
                "notices": told.len(),
                "alerts": work.kept.state.alerts_held(),
                "late_rows": work.kept.late(),
                "words_in_vain": work.in_vain,
                "next_by_clock": next.and_then(DateTime::from_timestamp_micros),
            });
            if work.kept != before {
                commit(ctx, &params, &work, &told, (&before, version)).await?;
            }
            Ok(Outcome { summary })
        })
    }
}

/// Up to when nothing is committed any more that is not seen: commits are stamped a moment before, to the millisecond.
fn settled(now: DateTime<Utc>) -> i64 {
    (now.timestamp_millis() - COMMIT_MS).saturating_mul(1_000) - 1
}

/// How far the rules of a dataset are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    state: State,
    /// The version of `alert_words` up to which what people said was minded, none where there was none, and its last instant.
    words: Option<(Option<u64>, i64)>,
}

impl Kept {
    /// Rows that came too late to change anything.
    fn late(&self) -> u64 {
        let rules = self.state.rules().filter_map(|rule| self.state.rule(&rule.name));
        rules.map(|own| own.late()).sum()
    }
}

/// What is kept of the runs before, and the version that it stands in.
async fn kept(ctx: &RunContext, params: &Params) -> Result<(Kept, Version)> {
    let session = ctx.present().await?;
    let Some(version) = session.version(&params.state) else {
        return Ok((Kept::default(), Version(0)));
    };
    let source = ident("source").eq(lit(params.dataset.as_str()));
    let frame = session.table(&params.state).await?.filter(source)?;
    let found = session.collect(frame.select(vec![ident("state")])?).await?;
    let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok((Kept::default(), version));
    };
    let kept = serde_json::from_str(texts(batch, 0)?.value(0)).map_err(|error| {
        Error::internal(format!("{NAME}: state of the rules of {}: {error}", params.dataset))
    })?;
    Ok((kept, version))
}

/// A run on its way.
struct Work<'a> {
    ctx: &'a RunContext,
    params: &'a Params,
    rules: &'a [Rule],
    kept: Kept,
    silences: Vec<Silence>,
    /// What people said since, in order.
    words: Vec<Word>,
    events: Vec<Event>,
    /// How many of them are of rules that are no more, or are others now.
    adopted: usize,
    /// Rules that looked at all that is there.
    new: HashSet<&'a str>,
    /// The instant that the clock shows.
    now_us: i64,
    /// How long it reads commits.
    read_max: Duration,
    rows: u64,
    read: u64,
    gone: u64,
    left_out: u64,
    /// Commits that are left to the next run.
    left: u64,
    unfit: Vec<String>,
    /// Words on alerts that did not fire.
    in_vain: u64,
}

impl<'a> Work<'a> {
    async fn begin(
        ctx: &'a RunContext,
        params: &'a Params,
        rules: &'a [Rule],
        mut kept: Kept,
        now_us: i64,
    ) -> Result<Self> {
        let session = ctx.present().await?;
        let silences = alert_words::silences_for_alerts(session).await?;
        let words = alert_words::since(ctx, session, kept.words).await?;
        let minded = session.version(&alert_words::spec().name).map(|version| version.0);
        let last = words.iter().map(|word| word.at_us).max();
        let last = last.or(kept.words.map(|(_, last)| last));
        kept.words = Some((minded, last.unwrap_or(i64::MIN)));
        let newest = session.version(&params.dataset).map_or(0, |version| version.0);
        let marks = rules.iter().filter_map(|rule| kept.state.rule(&rule.name)?.mark());
        // What people do counts from when they do it.
        let done_us = ctx.now().timestamp_micros();
        let mut events = Vec::new();
        // Another dataset of that name: what was known of the first is over.
        if marks.max().is_some_and(|mark| mark > newest) {
            let over = adopt(&mut kept.state, &[], &silences, &BTreeMap::new(), done_us);
            events.extend(over.map_err(refused)?);
        }
        let adopted = adopt(&mut kept.state, rules, &silences, &BTreeMap::new(), done_us);
        events.extend(adopted.map_err(refused)?);
        let (new, unfit, adopted) = (HashSet::new(), Vec::new(), events.len());
        let (rows, read, gone, left_out, left, in_vain) = (0, 0, 0, 0, 0, 0);
        Ok(Self {
            ctx,
            params,
            rules,
            kept,
            silences,
            words,
            events,
            adopted,
            new,
            now_us,
            read_max: READ_MAX,
            rows,
            read,
            gone,
            left_out,
            left,
            unfit,
            in_vain,
        })
    }

    fn mark(&self, rule: &Rule) -> Option<u64> {
        self.kept.state.rule(&rule.name).and_then(|own| own.mark())
    }

    /// Reads what came to the dataset.
    async fn commits(&mut self) -> Result<()> {
        let (ctx, params) = (self.ctx, self.params);
        let (mut reader, unfit) =
            Reader::new(ctx, &RULES_READ, &params.dataset, self.rules).await?;
        self.unfit = unfit.iter().map(ToString::to_string).collect();
        // Whoever asks for rules is told; of those that are defined the others go on.
        if let Some(error) = unfit.into_iter().next().filter(|_| params.rules.is_some()) {
            return Err(error);
        }
        let rules = reader.rules();
        let Some(last) = ctx.present().await?.version(&params.dataset) else { return Ok(()) };
        let marks = rules.iter().filter_map(|rule| self.mark(rule));
        let first = marks.min().unwrap_or(last.0.saturating_sub(1));
        let after = i64::try_from(first).unwrap_or(i64::MAX);
        let (engine, who) = (ctx.engine(), ctx.principal());
        let mut made = commits::after(engine, who, &params.dataset, after, usize::MAX).await?;
        made.retain(|commit| commit.version <= last);
        made.reverse();
        let expected = usize::try_from(last.0.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut is_gone = made.len() < expected;
        let began = Instant::now();
        let mut coming: VecDeque<&CommitRecord> =
            made.iter().filter(|commit| !is_still(commit) && commit.changes_rows).collect();
        // The others look at all that is there, behind these.
        let known: Vec<usize> = (0..rules.len())
            .filter(|at| rules.get(*at).is_some_and(|rule| self.mark(rule).is_some()))
            .collect();
        if known.is_empty() {
            coming.clear();
        }
        let mut left_us = None;
        let mut opened = Opened::new();
        while let Some(&commit) = coming.front() {
            if is_gone {
                break;
            }
            // What was read is kept, whatever becomes of a run that takes long.
            if self.read > 0 && began.elapsed() >= self.read_max {
                left_us = Some(commit.at.timestamp_micros());
                self.left = coming.len() as u64;
                break;
            }
            ctx.check()?;
            self.words_before(Some(commit.at.timestamp_micros()))?;
            if opened.is_empty() {
                opened = reader.added(coming.iter().copied()).await;
            }
            let Some(added) = opened.pop_front().transpose()?.flatten() else {
                is_gone = true;
                break;
            };
            let (found, left_out) = reader.commit(&known, commit, added).await?;
            coming.pop_front();
            self.read += 1;
            self.left_out += left_out;
            for (rule, commit) in known.iter().filter_map(|at| rules.get(*at)).zip(found) {
                self.take(rule, commit)?;
            }
        }
        // What is there stands for all that came.
        let newest = made.last();
        let at_us = newest.map_or(self.now_us, |commit| commit.at.timestamp_micros());
        self.gone = u64::from(is_gone);
        for (at, &rule) in rules.iter().enumerate() {
            if self.mark(rule).is_none_or(|mark| is_gone && mark < last.0) {
                self.new.insert(&rule.name);
                let commit = match (&rule.time, newest) {
                    // Of rows without an instant those count that are of now.
                    (None, Some(newest)) if !is_gone && newest.version == last => {
                        reader.one(at, newest).await?
                    }
                    _ => reader.all(at, last, at_us).await?,
                };
                self.take(rule, commit)?;
            }
        }
        self.unfit.extend(reader.failed());
        self.words_before(left_us)?;
        // What was said behind commits that are left is the next run's.
        if let (Some(left_us), false) = (left_us, self.words.is_empty()) {
            self.kept.words = Some((None, left_us - 1));
        }
        Ok(())
    }

    fn take(&mut self, rule: &Rule, commit: Commit) -> Result<()> {
        self.rows += commit.rows.len() as u64;
        let events = step(&mut self.kept.state, rule, &self.silences, &[commit]);
        self.events.extend(events.map_err(refused)?);
        Ok(())
    }

    /// Minds what people said before an instant, or all of it.
    fn words_before(&mut self, at_us: Option<i64>) -> Result<()> {
        let count = self.words.partition_point(|word| at_us.is_none_or(|at_us| word.at_us < at_us));
        for word in self.words.drain(..count).collect::<Vec<_>>() {
            let rule = self.rules.iter().find(|rule| rule.name == word.rule);
            let Some(rule) = rule else { continue };
            match acknowledge(&mut self.kept.state, rule, &self.silences, &word.given, word.at_us) {
                Ok(events) => self.events.extend(events),
                Err(AlertError::NotFound { .. }) => self.in_vain += 1,
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(())
    }

    fn clock(&mut self) -> Result<()> {
        let events = tick(&mut self.kept.state, self.rules, &self.silences, self.now_us);
        self.events.extend(events.map_err(refused)?);
        Ok(())
    }

    /// What people are told. Of a rule that looked at all that is there, what was over before it is no news.
    fn notices(&self) -> Vec<Notice> {
        let fires = |event: &Event| {
            let own = self.kept.state.rule(&event.rule);
            own.and_then(|own| own.alert(&event.group))
                .is_some_and(|alert| alert.firing().is_some())
        };
        let (adopted, later) = self.events.split_at(self.adopted.min(self.events.len()));
        let is_news = |event: &&Event| !self.new.contains(&*event.rule) || fires(event);
        let news = adopted.iter().chain(later.iter().filter(is_news));
        notices(self.rules, &news.cloned().collect::<Vec<_>>())
    }
}

async fn commit(
    ctx: &RunContext,
    params: &Params,
    work: &Work<'_>,
    told: &[Notice],
    (before, version): (&Kept, Version),
) -> Result<()> {
    let source = params.dataset.as_str();
    let own = || vec![("source".to_owned(), ScalarValue::from(source))];
    // From the first commit on all of them are there.
    let session = ctx.present().await?;
    let is_new = |name: &DatasetName| session.version(name).is_none();
    if !work.events.is_empty() || is_new(&params.events) {
        let spec = output::events_spec(params.events.clone());
        let batch = output::events_batch(&spec, source, &work.events)?;
        ctx.commit(spec, WriteMode::Append, vec![batch]).await?;
    }
    if alert_rows(&before.state) != alert_rows(&work.kept.state) || is_new(&params.output) {
        let spec = output::spec(params.output.clone());
        let batch = output::batch(&spec, source, &work.kept.state)?;
        ctx.commit(spec, WriteMode::ReplacePartitions(own()), vec![batch]).await?;
    }
    if !told.is_empty() || is_new(&params.outbox) {
        let spec = output::outbox_spec(params.outbox.clone());
        let batch = output::outbox_batch(&spec, source, told)?;
        ctx.commit(spec, WriteMode::Append, vec![batch]).await?;
    }
    let kept = serde_json::to_string(&work.kept)
        .map_err(|error| Error::internal(format!("{NAME}: state as JSON: {error}")))?;
    let spec = output::state_spec(params.state.clone());
    let batch = output::state_batch(&spec, source, &kept)?;
    ctx.commit(spec, WriteMode::ReplacePartitionsAfter(own(), version), vec![batch]).await
}
