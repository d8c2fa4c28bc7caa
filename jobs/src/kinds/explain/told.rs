//! What came out, in numbers and in words.

use std::collections::BTreeMap;

use analysis::change::{self, Measure, Outcome, Pair, explain, quantile_factor};
use engine::{Code, Error, Result};

use super::NAME;
use super::cells::Compared;
use super::params::{Between, Params};
use crate::series::words::number;

/// Why a measure changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// found, even, noise or incomparable.
    pub outcome: &'static str,
    /// The measure in the earlier period; none where it has no value there.
    pub before: Option<f64>,
    /// The same in the later period.
    pub after: Option<f64>,
    /// The later less the earlier.
    pub change: f64,
    /// Rows of both periods.
    pub rows: u64,
    /// Combinations of values that they have.
    pub cells: usize,
    /// The columns that were looked at.
    pub dimensions: Vec<String>,
    /// Most values of a finding that were looked for.
    pub depth: usize,
    /// The change as a whole, in words.
    pub says: String,
    /// What stands out most first.
    pub findings: Vec<Finding>,
}

/// A group that moved differently from the rest; a row of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// `model = a and region = b`.
    pub finding: String,
    /// The same, by column.
    pub group: BTreeMap<String, String>,
    /// The measure of the group in the earlier period; of a quantile its share of rows above that.
    pub before: Option<f64>,
    /// The same in the later period.
    pub after: Option<f64>,
    /// Rows of the earlier period and of the later one.
    pub rows: [u64; 2],
    /// What it adds to the change.
    pub contribution: f64,
    /// The same as a part of the change.
    pub share: Option<f64>,
    /// Of a ratio: rate, mix, and both.
    pub parts: Option<[f64; 3]>,
    /// What several values add beyond what each leads to expect.
    pub joint: Option<f64>,
    /// What those rows add that no finding before it has.
    pub own: f64,
    /// What these moved the measure by beyond moving as the rest.
    pub excess: f64,
    /// How far its part of the whole moved, in nats.
    pub surprise: f64,
    /// The excess over its standard deviation.
    pub z: f64,
    /// Chance of such a finding by noise.
    pub p: f64,
    /// All of it in words.
    pub says: String,
}

/// Explains what was read.
pub(super) fn told(
    compared: &Compared,
    params: &Params,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Explanation> {
    let found = explain(&compared.cells, &params.options(), is_stopped)
        .map_err(|_| Error::user(Code::Cancelled, format!("{NAME}: cancelled")))?;
    let names: Vec<String> =
        compared.cells.dimensions().iter().map(|dimension| dimension.name.clone()).collect();
    // What is said of the share above a quantile, as of the quantile.
    let factor = compared
        .quantiles
        .and_then(|[before, after]| quantile_factor(after - before, found.change));
    let [before, after] = match compared.quantiles {
        Some(quantiles) => quantiles.map(Some),
        None => [found.before, found.after],
    };
    let change = match compared.quantiles {
        Some([before, after]) => after - before,
        None => found.change,
    };
    let scale = if compared.quantiles.is_some() { factor.unwrap_or(0.0) } else { 1.0 };
    let words = Words { compared, params, names: &names, scale };
    let findings: Vec<Finding> =
        found.findings.iter().map(|finding| words.of(finding, change)).collect();
    let says = words.whole(&found, before, after, change, params.periods()?);
    Ok(Explanation {
        outcome: match found.outcome {
            Outcome::Found => "found",
            Outcome::Even => "even",
            Outcome::Noise => "noise",
            Outcome::Incomparable => "incomparable",
        },
        before,
        after,
        change,
        rows: compared.rows,
        cells: compared.cells.len(),
        depth: found.depth,
        says,
        findings,
        dimensions: names.clone(),
    })
}

/// Parts of a contribution that are smaller than this are not named.
const TOLD_MIN: f64 = 0.005;
/// Of a value so much is shown.
const LABEL_CHARS: usize = 200;

struct Words<'a> {
    compared: &'a Compared,
    params: &'a Params,
    names: &'a [String],
    scale: f64,
}

impl Words<'_> {
    fn pair(&self, pair: &Pair) -> (String, String) {
        let label = self.compared.labels.get(pair.dimension);
        let label = label.and_then(|labels| labels.get(pair.value as usize));
        let name = self.names.get(pair.dimension);
        let shown = |label: &String| label.chars().take(LABEL_CHARS).collect();
        (name.cloned().unwrap_or_default(), label.map_or_else(String::new, shown))
    }

    fn of(&self, finding: &change::Finding, change: f64) -> Finding {
        let group: Vec<(String, String)> =
            finding.group.iter().map(|pair| self.pair(pair)).collect();
        let named: Vec<String> =
            group.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let named = named.join(" and ");
        let contribution = self.scale * finding.contribution;
        let share = (change != 0.0).then(|| contribution / change);
        let parts = finding
            .parts
            .map(|parts| [parts.rate, parts.mix, parts.interaction].map(|part| self.scale * part));
        Finding {
            says: self.says(&named, finding, contribution, share, parts),
            finding: named,
            group: group.into_iter().collect(),
            before: finding.before,
            after: finding.after,
            rows: finding.rows,
            contribution,
            share,
            parts,
            joint: finding.interaction.map(|of| self.scale * of),
            own: self.scale * finding.own,
            excess: self.scale * finding.excess,
            surprise: finding.surprise,
            z: finding.z,
            p: finding.p,
        }
    }

    /// A value of the measure, or of a group's cells.
    fn value(&self, value: f64) -> String {
        if self.compared.is_share { format!("{} %", number(100.0 * value)) } else { number(value) }
    }

    /// A part of the change of the measure.
    fn added(&self, value: f64) -> String {
        match self.compared.is_share && self.compared.quantiles.is_none() {
            true => format!("{} points", signed(100.0 * value)),
            false => signed(value),
        }
    }

    fn says(
        &self,
        named: &str,
        finding: &change::Finding,
        contribution: f64,
        share: Option<f64>,
        parts: Option<[f64; 3]>,
    ) -> String {
        let of = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |of| self.value(of));
        let moved = format!("from {} to {}", of(finding.before), of(finding.after));
        let what = match self.compared.quantiles {
            Some([before, _]) => {
                format!("the share of rows above {} went {moved}", number(before))
            }
            None => format!("the measure went {moved}"),
        };
        let share = match share {
            Some(share) if share > 1.0 => format!(
                ", {} % of the overall change, as the rest changed the other way",
                number(100.0 * share)
            ),
            Some(share) => format!(", {} % of the overall change", number(100.0 * share)),
            None => String::new(),
        };
        let how = match parts {
            Some([rate, mix, both]) => {
                let parts = [
                    (rate, "its own values"),
                    (mix, "its share of the rows"),
                    (both, "both changing together"),
                ];
                let told =
                    parts.iter().filter(|(part, _)| part.abs() >= TOLD_MIN * contribution.abs());
                let told: Vec<String> =
                    told.map(|(part, what)| format!("{} from {what}", self.added(*part))).collect();
                format!(": {}", told.join(", "))
            }
            None => String::new(),
        };
        let [before, after] = finding.rows;
        let added = self.added(contribution);
        format!("{named}: {what} ({before} rows, then {after}), which adds {added}{share}{how}")
    }

    fn whole(
        &self,
        found: &change::Explanation,
        before: Option<f64>,
        after: Option<f64>,
        change: f64,
        periods: [Between; 2],
    ) -> String {
        let measure = &self.params.measure;
        let (Some(before), Some(after)) = (before, after) else {
            return format!("{measure} has no value in one of the periods");
        };
        let part = match before != 0.0 && self.compared.cells.measure() == Measure::Sum {
            true => format!(" ({} %)", signed(100.0 * change / before.abs())),
            false => String::new(),
        };
        let of = |value: f64| match self.compared.quantiles {
            Some(_) => number(value),
            None => self.value(value),
        };
        let [earlier, later] = periods;
        let moved = format!(
            "{measure} went from {} ({earlier}) to {} ({later}){part}",
            of(before),
            of(after),
        );
        let names = self.names.join(", ");
        match found.outcome {
            Outcome::Found => {
                let count = found.findings.len();
                let groups = if count == 1 { "group" } else { "groups" };
                format!("{moved}; {count} {groups} (by {names}) changed differently from the rest")
            }
            Outcome::Even => format!("{moved}; all groups by {names} changed alike"),
            Outcome::Noise => format!("{moved}; nothing in {names} stands out from noise"),
            Outcome::Incomparable => format!("{measure}: one of the periods has no rows"),
        }
    }
}

fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", number(value)) } else { number(value) }
}
