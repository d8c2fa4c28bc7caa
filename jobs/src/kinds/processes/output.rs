//! The rows that `processes` commits.

use std::collections::HashMap;

use analysis::process::{Spans, Variant, to_bpmn, to_pnml};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Code, Error, Result};
use serde_json::json;

use super::NAME;
use super::mine::{Fit, Mined};
use super::params::Params;
use crate::tables::columns::{column, float, of_sources, seconds, source, text, version, whole};
use crate::tables::rows::{Rows, Table};

/// How long something takes: the mean, the middle, the 95th percentile, and all of it together.
fn spans(prefix: &str, what: &str) -> [ColumnSpec; 4] {
    let of = |name: &str, about: &str| seconds(&format!("{prefix}_{name}_seconds"), about);
    [
        of("mean", &format!("{what}: the mean")),
        of("median", &format!("{what}: the median")),
        of("p95", &format!("{what}: the 95th percentile")),
        of("total", &format!("{what}: all of them together")),
    ]
}

pub(super) fn activities_spec(name: DatasetName) -> DatasetSpec {
    let mut columns = vec![
        source(),
        text("activity", "What is done"),
        whole("events", "How often it is done"),
        whole("cases", "In how many cases"),
        whole("starts", "Cases that begin with it"),
        whole("ends", "Cases that end with it"),
        whole("loops", "How often it is done directly after itself"),
        whole("returns", "How often it is done again in a case after something else"),
    ];
    columns.extend(spans("working", "How long it takes"));
    columns.push(version());
    of_sources(
        name,
        "What is done in the cases of an event log",
        ["source", "activity"],
        None,
        columns,
    )
}

pub(super) fn edges_spec(name: DatasetName) -> DatasetSpec {
    let mut columns = vec![
        source(),
        text("from_activity", "What is done first"),
        text("to_activity", "What directly follows it"),
        whole("count", "How often"),
        whole("cases", "In how many cases"),
        whole("overlaps", "How often the second begins before the first has ended"),
    ];
    columns.extend(spans("waiting", "How long the second waits after the first"));
    columns.extend([
        float("waiting_share", "Part of all waiting of the log, 0 to 1"),
        whole("rank", "1 for where most time is lost by waiting"),
        version(),
    ]);
    let about = "What directly follows what in the cases of an event log, and how long it waits";
    of_sources(name, about, ["source", "from_activity", "to_activity"], None, columns)
}

pub(super) fn hand_overs_spec(name: DatasetName) -> DatasetSpec {
    let mut columns = vec![
        source(),
        text("from_resource", "Who did something"),
        text("to_resource", "Who did what directly follows it"),
        whole("count", "How often"),
        whole("cases", "In how many cases"),
    ];
    columns.extend(spans("waiting", "How long it waits between them"));
    columns.push(version());
    let about = "Who hands over to whom in the cases of an event log";
    of_sources(name, about, ["source", "from_resource", "to_resource"], None, columns)
}

pub(super) fn variants_spec(name: DatasetName) -> DatasetSpec {
    let mut columns = vec![
        source(),
        whole("variant", "1 for the most frequent"),
        column("activities", ColumnType::Json, false, "The activities in order"),
        whole("events", "How many they are"),
        whole("cases", "Cases that take this way"),
        float("share", "Part of all cases, 0 to 1"),
        float("covered", "Part of all cases of this one and all that are more frequent"),
        text("example_case", "One of its cases"),
    ];
    columns.extend(spans("duration", "How long its cases last"));
    columns.extend([
        float("fitness", "How well it fits the model by replaying tokens, 0 to 1"),
        column("cost", ColumnType::Int64, true, "Events that the model does not allow and steps that are missing: the least of an alignment"),
        version(),
    ]);
    of_sources(name, "The ways that cases take", ["source", "variant"], None, columns)
}

pub(super) fn cases_spec(name: DatasetName) -> DatasetSpec {
    let columns = vec![
        source(),
        text("case_id", "The case"),
        column("started_at", ColumnType::Timestamp, false, "When it began"),
        column("ended_at", ColumnType::Timestamp, false, "When its last event was done"),
        seconds("duration_seconds", "From its beginning to its end"),
        seconds("working_seconds", "How long its events took, one after the other"),
        seconds("waiting_seconds", "How long it waited between them"),
        whole("events", "How many there are"),
        whole("repeats", "Events of what was done before in it"),
        whole("hand_overs", "How often someone else went on"),
        whole("variant", "The way that it took, as in the dataset of variants"),
        float("fitness", "How well it fits the model by replaying tokens, 0 to 1"),
        column(
            "cost",
            ColumnType::Int64,
            true,
            "Events that the model does not allow and steps that are missing",
        ),
        column("deviations", ColumnType::Json, false, "Which these are, in order"),
        version(),
    ];
    of_sources(name, "The cases of an event log", ["source", "case_id"], Some("ended_at"), columns)
}

pub(super) fn models_spec(name: DatasetName) -> DatasetSpec {
    let columns = vec![
        source(),
        text("origin", "discovered, or given"),
        column(
            "tree",
            ColumnType::Text,
            true,
            "The model as a process tree; of one that was given there is none",
        ),
        text("pnml", "The model as a net in PNML"),
        column(
            "bpmn",
            ColumnType::Text,
            true,
            "The model in BPMN; of one that was given there is none",
        ),
        whole("from_variants", "Variants that it was discovered from"),
        float("from_share", "Part of the cases that these are, 0 to 1"),
        whole("places", "Places of its net"),
        whole("transitions", "Transitions of its net"),
        float("fitness", "How well the cases fit it by replaying tokens, 0 to 1"),
        whole("cases", "Cases that were held against it"),
        whole("cases_that_fit", "Those of them that lack nothing and have nothing beyond it"),
        version(),
    ];
    of_sources(name, "Models of the processes behind event logs", ["source"], None, columns)
}

impl<T> Table<'_, T> {
    /// Columns of how long something takes.
    fn spans(self, get: impl Fn(&T) -> Spans) -> Self {
        let known = |of: &T| Some(get(of)).filter(|spans| spans.count > 0);
        self.float(|of| known(of).map(|spans| spans.mean_us() / 1e6))
            .float(|of| known(of).map(|spans| spans.median_us / 1e6))
            .float(|of| known(of).map(|spans| spans.p95_us / 1e6))
            .float(|of| known(of).map(|spans| spans.sum_us as f64 / 1e6))
    }

    fn seconds(self, get: impl Fn(&T) -> i128) -> Self {
        self.float(|of| Some(get(of) as f64 / 1e6))
    }
}

/// Bytes of the texts of all rows of an output, at most.
const TEXTS_MAX: usize = 1 << 30;

/// RESOURCES_EXHAUSTED where the texts of an output are more than there is room for.
fn require_room(mined: &Mined, deviations: &[String], bytes_max: usize) -> Result<()> {
    let Mined { log, variants, .. } = mined;
    let name = |activity: &u32| log.activities.text(*activity).len() + 3;
    let ways: usize = variants.iter().flat_map(|way| &way.activities).map(name).sum();
    let said = |(way, said): (&Variant, &String)| way.cases.len() * said.len();
    let said: usize = variants.iter().zip(deviations).map(said).sum();
    let most = TEXTS_MAX.min(bytes_max);
    match ways.max(said).max(log.cases.bytes()) <= most {
        true => Ok(()),
        false => {
            let says = format!(
                "{NAME}: expected texts of at most {most} bytes in one of the outputs: the names of activities or cases are too long for \
                 that many ways and cases; take a narrower `where`, or a larger budget"
            );
            Err(Error::user(Code::ResourcesExhausted, says))
        }
    }
}

/// The rows of all outputs.
pub(super) fn rows(
    params: &Params,
    version: u64,
    mined: &Mined,
    bytes_max: usize,
) -> Result<Vec<Rows>> {
    let names = mined.model.as_ref().map_or(&mined.log.activities, |model| &model.names);
    let told = mined.fits.iter().map(|fit| json!(fit.deviations(names)).to_string());
    let deviations: Vec<String> = told.collect();
    require_room(mined, &deviations, bytes_max)?;
    let (source, version) = (params.dataset.as_str(), version as i64);
    let Mined { log, graph, variants, fits, model, .. } = mined;
    let activity = |number: u32| log.activities.text(number).to_owned();
    let resource = |number: u32| log.resources.text(number).to_owned();
    let activities = Table::new(&graph.activities, source, version)
        .text(|of| activity(of.activity))
        .whole(|of| of.count)
        .whole(|of| of.cases)
        .whole(|of| of.starts)
        .whole(|of| of.ends)
        .whole(|of| of.loops)
        .whole(|of| of.returns)
        .spans(|of| if params.start_column.is_some() { of.working } else { Spans::default() })
        .finish(activities_spec(params.activities_output.clone()))?;
    let all_us: i128 = graph.edges.iter().map(|edge| edge.waiting.sum_us).sum();
    let mut lost: Vec<_> =
        graph.edges.iter().map(|of| (of.waiting.sum_us, of.from, of.to)).collect();
    lost.sort_unstable_by_key(|(sum_us, from, to)| (std::cmp::Reverse(*sum_us), *from, *to));
    let ranks: HashMap<(u32, u32), u64> =
        lost.iter().zip(1..).map(|((_, from, to), rank)| ((*from, *to), rank)).collect();
    let edges = Table::new(&graph.edges, source, version)
        .text(|of| activity(of.from))
        .text(|of| activity(of.to))
        .whole(|of| of.count)
        .whole(|of| of.cases)
        .whole(|of| of.overlaps)
        .spans(|of| of.waiting)
        .float(|of| (all_us > 0).then(|| of.waiting.sum_us as f64 / all_us as f64))
        .whole(|of| ranks.get(&(of.from, of.to)).copied().unwrap_or(0))
        .finish(edges_spec(params.edges_output.clone()))?;
    let hand_overs = Table::new(&graph.hand_overs, source, version)
        .text(|of| resource(of.from))
        .text(|of| resource(of.to))
        .whole(|of| of.count)
        .whole(|of| of.cases)
        .spans(|of| of.waiting)
        .finish(hand_overs_spec(params.hand_overs_output.clone()))?;
    let fit_of = |rank: usize| fits.get(rank);
    let fitness = |fit: Option<&Fit>| fit.map(|fit| fit.tokens.fitness());
    let cost = |fit: Option<&Fit>| fit.and_then(|fit| Some(fit.alignment.as_ref()?.cost));
    let ranked: Vec<_> = variants.iter().enumerate().collect();
    let ways = Table::new(&ranked, source, version)
        .whole(|(rank, _)| *rank as u64 + 1)
        .text(|(_, of)| {
            json!(of.activities.iter().map(|it| activity(*it)).collect::<Vec<_>>()).to_string()
        })
        .whole(|(_, of)| of.activities.len() as u64)
        .whole(|(_, of)| of.cases.len() as u64)
        .float(|(_, of)| Some(of.share))
        .float(|(_, of)| Some(of.covered))
        .text(|(_, of)| {
            of.cases.first().map_or(String::new(), |case| log.cases.text(*case).to_owned())
        })
        .spans(|(_, of)| of.lasts)
        .float(|(rank, _)| fitness(fit_of(*rank)))
        .some_whole(|(rank, _)| cost(fit_of(*rank)))
        .finish(variants_spec(params.variants_output.clone()))?;
    let cases = cases(params, version, mined, &deviations)?;
    let mut all = vec![activities, edges, hand_overs, ways, cases];
    let fit: u64 = variants
        .iter()
        .zip(fits)
        .filter(|(_, fit)| cost(Some(fit)) == Some(0))
        .map(|(variant, _)| variant.cases.len() as u64)
        .sum();
    let models: Vec<_> = model.iter().collect();
    all.push(
        Table::new(&models, source, version)
            .text(|of| if of.tree.is_some() { "discovered" } else { "given" }.to_owned())
            .some_text(|of| of.tree.as_ref().map(|tree| tree.named(&of.names).to_string()))
            .text(|of| to_pnml(&of.net, &of.names))
            .some_text(|of| of.tree.as_ref().map(|tree| to_bpmn(tree, &of.names)))
            .whole(|of| of.from_variants as u64)
            .float(|of| of.tree.is_some().then_some(of.from_share))
            .whole(|of| u64::from(of.net.places))
            .whole(|of| of.net.transitions.len() as u64)
            .float(|of| (!log.cases.is_empty()).then(|| of.tokens.fitness()))
            .whole(|_| log.cases.len() as u64)
            .whole(|_| fit)
            .finish(models_spec(params.models_output.clone()))?,
    );
    Ok(all)
}

fn cases(params: &Params, version: i64, mined: &Mined, deviations: &[String]) -> Result<Rows> {
    let Mined { log, variants, fits, .. } = mined;
    let mut ranks = vec![0usize; log.cases.len()];
    for (rank, variant) in variants.iter().enumerate() {
        for case in &variant.cases {
            if let Some(place) = ranks.get_mut(*case as usize) {
                *place = rank;
            }
        }
    }
    let traces: Vec<_> = log.traces().collect();
    let rank = |case: u32| ranks.get(case as usize).copied().unwrap_or(0);
    let fit = |case: u32| fits.get(rank(case));
    let pairs = |of: &analysis::process::Trace<'_>, get: fn(i64) -> i64| -> i128 {
        let waits = of.events.windows(2).map(|pair| match pair {
            [before, after] => i128::from(get(after.waiting_us(before))),
            _ => 0,
        });
        waits.sum()
    };
    Table::new(&traces, params.dataset.as_str(), version)
        .text(|of| log.cases.text(of.case).to_owned())
        .time(|of| of.started_us())
        .time(|of| of.ended_us())
        .seconds(|of| i128::from(of.lasted_us()))
        .float(|of| {
            let working = of.events.iter().map(|event| i128::from(event.working_us()));
            params.start_column.is_some().then(|| working.sum::<i128>() as f64 / 1e6)
        })
        .seconds(|of| pairs(of, |waiting_us| waiting_us.max(0)))
        .whole(|of| of.events.len() as u64)
        .whole(|of| {
            let different: std::collections::HashSet<u32> = of.activities().collect();
            (of.events.len() - different.len()) as u64
        })
        .whole(|of| {
            let hands = of.events.windows(2).filter(|pair| match pair {
                [before, after] => {
                    before.resource.zip(after.resource).is_some_and(|(from, to)| from != to)
                }
                _ => false,
            });
            hands.count() as u64
        })
        .whole(|of| rank(of.case) as u64 + 1)
        .float(|of| fit(of.case).map(|fit| fit.tokens.fitness()))
        .some_whole(|of| fit(of.case).and_then(|fit| Some(fit.alignment.as_ref()?.cost)))
        .text(|of| deviations.get(rank(of.case)).map_or("[]".to_owned(), String::clone))
        .finish(cases_spec(params.cases_output.clone()))
}
