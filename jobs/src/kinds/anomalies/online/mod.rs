//! The method that looks at samples as they come: what is known of each series is kept with the findings, and a run reads what came
//! since. It finds the same as a run that reads all at once, because there is one way to read a series: sample after sample, in order.
//!
//! | of a series came | it is |
//! |---|---|
//! | samples behind its last one | gone on with |
//! | late samples, or others of its last instant | read again from its first |
//! | rows that went or changed | read again from its first, and gone where none is left |
//!
//! Findings and state are committed together, and where another run came first this one begins anew.
//!
//! Cost: reads the rows that came and what is known of each series, and writes what is known of each series: up to about 45 KiB of each.
//! Memory: the same, in half of the budget, beside the series that are looked at together.

mod reach;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use analysis::series::online::{Options, Sighting, Watch};
use analysis::series::{Samples, Series, clean};
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Result, WriteMode};
use kernels::Execution;
use rayon::prelude::*;
use serde_json::json;

use super::detect::Found;
use super::explain::sighted;
use super::labelled::Labelled;
use super::{NAME, POINT_BYTES, Params, output, source};
use crate::job::Outcome;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::series::{SeriesReader, SeriesSource, Tally};
use reach::Reach;
use state::{Known, State};

pub(super) use state::spec as state_spec;

/// Series that are read again by their names; of more all rows are read.
const NAMES_MAX: usize = 1_000;

/// What a chunk of series gave.
#[derive(Default)]
struct Seen {
    known: Vec<(String, Known)>,
    /// What `known` takes.
    bytes: usize,
    /// Those that must be read from their first sample on.
    again: Vec<String>,
    tally: Tally,
}

pub(super) async fn run(ctx: &RunContext, params: &Params, labelled: &Labelled) -> Result<Outcome> {
    let source = source(params);
    source.check(ctx.session()).await?;
    let mut stage = ctx.stage("watch");
    let (state, version) = State::read(ctx, params).await?;
    let (mut known, reach) = reach::reach(ctx, params, state).await?;
    let mut tally = Tally::default();
    let mut again = BTreeSet::new();
    let told = match reach {
        // What is left out of the findings may be another.
        Reach::Nothing(version) => json!({ "from_version": version, "series_again": 0 }),
        Reach::All(why) => {
            let reader = source.read(ctx).await?;
            let seen = look(ctx, params, &mut stage, reader, Arc::default(), Which::All).await?;
            known = seen.known.into_iter().collect();
            tally.merge(seen.tally);
            json!({ "all_because": why })
        }
        Reach::Since { version, changes } => {
            let changes = *changes;
            again.extend(source.names_of(ctx, changes.removed).await?);
            let reader = source.read_of(ctx, changes.added).await?;
            let (shared, without) = (Arc::new(known), Arc::new(std::mem::take(&mut again)));
            let which = Which::Without(without.clone());
            let found = look(ctx, params, &mut stage, reader, shared.clone(), which).await?;
            known = Arc::unwrap_or_clone(shared);
            known.extend(found.known);
            again = Arc::unwrap_or_clone(without);
            again.extend(found.again);
            tally.merge(found.tally);
            json!({ "from_version": version, "series_again": again.len() })
        }
    };
    if !again.is_empty() {
        again.iter().for_each(|name| drop(known.remove(name)));
        let found = read_again(ctx, params, &source, &mut stage, again).await?;
        known.extend(found.known);
        tally.merge(found.tally);
    }
    let mut found = findings(params, &known, tally)?;
    let left_out = labelled.retain(&mut found.anomalies);
    stage.record.rows_out = found.anomalies.len() as u64;
    stage.facts(told.clone());
    stage.finish();
    commit(ctx, params, &found, labelled, &known, version).await?;
    let mut summary = super::summary(params, &found);
    summary["labels"] = labelled.summary(left_out, |name| known.contains_key(name));
    summary["read"] = told;
    summary["series"] = known.len().into();
    Ok(Outcome { summary })
}

/// Reads the named series from their first sample on.
async fn read_again(
    ctx: &RunContext,
    params: &Params,
    source: &SeriesSource<'_>,
    stage: &mut Stage,
    names: BTreeSet<String>,
) -> Result<Seen> {
    let few: Vec<String> = match names.len() > NAMES_MAX {
        true => Vec::new(),
        false => names.iter().cloned().collect(),
    };
    let reader = SeriesSource { only: &few, ..source.clone() }.read(ctx).await?;
    look(ctx, params, stage, reader, Arc::default(), Which::Only(Arc::new(names))).await
}

async fn look(
    ctx: &RunContext,
    params: &Params,
    stage: &mut Stage,
    reader: SeriesReader,
    known: Arc<HashMap<String, Known>>,
    which: Which,
) -> Result<Seen> {
    let rows_total = match which {
        Which::All => ctx.input(&params.dataset)?.rows,
        Which::Without(_) | Which::Only(_) => None,
    };
    let (asked, mut seen) = (params.clone(), Seen::default());
    let look = move |mut chunk: Vec<Series>, execution: &Execution, pool: &rayon::ThreadPool| {
        chunk.retain(|series| which.has(&series.name));
        watch(chunk, &asked, &known, execution, pool)
    };
    let bytes_max = ctx.memory_budget_bytes() / 2;
    let mut add = |more| seen.add(more, bytes_max);
    reader.look(ctx, stage, (2 * POINT_BYTES, 0), rows_total, look, &mut add).await?;
    Ok(seen)
}

/// Series that are looked at.
#[derive(Clone)]
enum Which {
    All,
    Without(Arc<BTreeSet<String>>),
    Only(Arc<BTreeSet<String>>),
}

impl Which {
    fn has(&self, series: &str) -> bool {
        match self {
            Self::All => true,
            Self::Without(names) => !names.contains(series),
            Self::Only(names) => names.contains(series),
        }
    }
}

impl Seen {
    fn add(&mut self, more: Self, bytes_max: usize) -> Result<()> {
        self.bytes += more.known.iter().map(|(_, known)| known.bytes()).sum::<usize>();
        self.known.extend(more.known);
        self.again.extend(more.again);
        self.tally.merge(more.tally);
        if self.bytes > bytes_max { Err(too_much(bytes_max)) } else { Ok(()) }
    }
}

/// Goes on with each series of a chunk.
fn watch(
    chunk: Vec<Series>,
    params: &Params,
    known: &HashMap<String, Known>,
    execution: &Execution,
    pool: &rayon::ThreadPool,
) -> Result<Seen> {
    let cleaned = pool.install(|| {
        let one = |series| clean(in_order(series));
        chunk.into_par_iter().map(one).collect::<Vec<_>>()
    });
    let mut seen = Seen::default();
    let mut ready = Vec::new();
    for (samples, cleaning) in cleaned {
        let before = known.get(&samples.name);
        let last_us = before.and_then(|known| known.last_us);
        let is_late =
            last_us.zip(samples.times.first()).is_some_and(|(last, first)| *first <= last);
        if is_late {
            seen.again.push(samples.name);
            continue;
        }
        seen.tally.count(&samples, cleaning);
        ready.push((samples, before));
    }
    let go_on = |(samples, before): (Samples, Option<&Known>)| {
        crate::series::check_cancelled(NAME, execution)?;
        let known = Known::next(before, &samples, params)?;
        Ok((samples.name, known))
    };
    seen.known = pool.install(|| ready.into_par_iter().map(go_on).collect::<Result<_>>())?;
    Ok(seen)
}

/// What a run over all samples of a series finds.
pub(super) fn sightings(samples: &Samples, params: &Params) -> Vec<Sighting> {
    let mut watch = Watch::new(state::options(params));
    let mut over = Vec::new();
    for (at_us, value) in samples.times.iter().zip(&samples.values) {
        watch.push(*at_us, *value, &mut over);
    }
    over.extend(watch.open());
    over
}

/// Rows of one instant in an order of their own, so that their mean has the same bits however they came.
fn in_order(mut series: Series) -> Series {
    let mut from = 0;
    for at in 1..=series.times.len() {
        if at == series.times.len() || series.times[at] != series.times[from] {
            series.values[from..at].sort_unstable_by(f64::total_cmp);
            from = at;
        }
    }
    series
}

/// All findings, and what was read for them.
fn findings(params: &Params, known: &HashMap<String, Known>, mut tally: Tally) -> Result<Found> {
    let from_us = params.from.map_or(i64::MIN, |from| from.timestamp_micros());
    let warm_up_samples = Options::default().warm_up_samples;
    let mut found = Found::default();
    let sorted: BTreeMap<&String, &Known> = known.iter().collect();
    for (name, known) in sorted {
        let sightings: Vec<Sighting> = known.sightings()?;
        let all = sightings.iter().map(|seen| sighted(name, seen, params));
        let asked = all.filter(|a| a.ended_at >= from_us && a.level() >= params.min_severity);
        let first = found.anomalies.len();
        found.anomalies.extend(asked);
        found.anomalies[first..].sort_by_key(|a| (a.started_at, a.ended_at));
        if known.samples == 0 {
            tally.skipped.add("no values", name.clone());
        } else if known.samples <= warm_up_samples {
            tally.skipped.add("no more than 150 samples so far", name.clone());
        }
    }
    found.tally = tally;
    Ok(found)
}

async fn commit(
    ctx: &RunContext,
    params: &Params,
    found: &Found,
    labelled: &Labelled,
    known: &HashMap<String, Known>,
    version: engine::Version,
) -> Result<()> {
    let source = params.dataset.as_str();
    let own = || vec![("source".to_owned(), ScalarValue::from(source))];
    let spec = output::spec(params.output.clone());
    let batch = output::batch(&spec, source, &found.anomalies, labelled)?;
    ctx.commit(spec, WriteMode::ReplacePartitions(own()), vec![batch]).await?;
    let spec = state_spec(params.state.clone());
    let read = ctx.input(&params.dataset)?.version;
    let batches = state::batches(&spec, params, read, known)?;
    ctx.commit(spec, WriteMode::ReplacePartitionsAfter(own(), version), batches).await
}

/// The error for more than the budget holds.
fn too_much(bytes_max: usize) -> Error {
    let says = format!(
        "{NAME}: what is known of the series takes more than {} MiB, half of the memory budget: raise the budget, or take a dataset \
         of fewer series",
        bytes_max >> 20
    );
    Error::user(Code::ResourcesExhausted, says)
}
