//! Series that are parts of others: forecasts of an agent, of its team and of all agree.
//!
//! A sum is a series like any other, of as many intervals as its oldest part: it has no value where one of its parts is there and has
//! none. All are forecast, at the same instants that are past, and then made to agree by [`MinT`], or as sums of their parts.

use std::collections::{BTreeMap, BTreeSet};

use analysis::calendar::{Grid, Interval};
use analysis::series::Span;
use analysis::series::hierarchy::{Hierarchy, MinT};
use engine::{Code, Error, Result, did_you_mean};
use kernels::Execution;

use super::NAME;
use super::backtest::{Choice, Origins};
use super::params::Reconcile;
use crate::parameters::bad;
use crate::series::{BUCKETS_MIN, Regular, Skipped, check_cancelled};

/// Sums of one run.
pub(super) const SUMS_MAX: usize = 1_000;
/// Products of numbers that making forecasts agree may take: a minute of one core.
const WORK_MAX: f64 = 3e10;
/// The sum of all series where columns say which others there are.
const ALL: &str = "all";

/// Which sums each series is a part of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tree {
    /// By series: names of sums.
    above: BTreeMap<String, Vec<String>>,
    /// Series that are in two groups of one level.
    torn: BTreeSet<String>,
    /// Whether all that is named must be there.
    is_given: bool,
}

impl Tree {
    /// From the sum that each series, or sum, is a part of. BAD_INPUT names one that is a part of itself.
    pub(super) fn of_parents(parents: &BTreeMap<String, String>) -> Result<Self> {
        let sums: BTreeSet<&String> = parents.values().collect();
        let mut above = BTreeMap::new();
        for name in parents.keys() {
            let mut way: Vec<&String> = vec![name];
            while let Some(parent) = parents.get(way[way.len() - 1]) {
                if way.contains(&parent) {
                    let round: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                    let says = format!("{} -> {parent} goes round", round.join(" -> "));
                    return Err(bad(NAME, "parents", says));
                }
                way.push(parent);
                if way.len() > LEVELS_MAX {
                    let says = format!("expected at most {LEVELS_MAX} levels above {name:?}");
                    return Err(bad(NAME, "parents", says));
                }
            }
            if !sums.contains(name) {
                above.insert(name.clone(), way[1..].iter().map(|name| (*name).clone()).collect());
            }
        }
        Ok(Self { above, torn: BTreeSet::new(), is_given: true })
    }

    /// From the groups that each series is in: one of each column, whose name stands before it.
    pub(super) fn of_groups(
        columns: &[String],
        rows: impl IntoIterator<Item = (String, Vec<Option<String>>)>,
    ) -> Self {
        let mut tree = Self::default();
        for (series, groups) in rows {
            let named = columns.iter().zip(groups);
            let named = named.filter_map(|(column, of)| Some(format!("{column}={}", of?)));
            let above: Vec<String> = named.chain([ALL.to_owned()]).collect();
            let known = tree.above.entry(series.clone()).or_insert_with(|| above.clone());
            if *known != above {
                tree.torn.insert(series);
            }
        }
        tree
    }

    /// Series and their sums, all of which end together. Those that can't be a part are skipped.
    pub(super) fn grow(
        &self,
        series: Vec<Regular>,
        read: &BTreeSet<String>,
        skipped: &mut Skipped,
    ) -> Result<(Vec<Regular>, Hierarchy)> {
        let mut leaves = self.alike(series, skipped);
        let names: BTreeSet<&str> = leaves.iter().map(|leaf| leaf.name.as_str()).collect();
        if let Some(both) = self.above.values().flatten().find(|sum| names.contains(sum.as_str())) {
            let says = format!("{both:?} is a series of its own, and can't be a sum of others");
            return Err(bad(NAME, self.parameter(), says));
        }
        if self.is_given
            && let Some(missing) = self.above.keys().find(|name| !read.contains(name.as_str()))
        {
            let near = did_you_mean(missing, read.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; {near}"));
            return Err(bad(NAME, "parents", format!("there is no series {missing:?}{near}")));
        }
        let mut parts: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
        for (at, leaf) in leaves.iter().enumerate() {
            for sum in self.above.get(&leaf.name).into_iter().flatten() {
                parts.entry(sum).or_default().push(at);
            }
        }
        let named: BTreeSet<&String> = self.above.values().flatten().collect();
        for name in named.into_iter().filter(|name| !parts.contains_key(name)) {
            skipped.add("sums of series that are left out", name.clone());
        }
        if parts.len() > SUMS_MAX {
            let says = format!("expected at most {SUMS_MAX} sums, found {}", parts.len());
            return Err(bad(NAME, self.parameter(), says));
        }
        let mut hierarchy = Hierarchy { leaves: leaves.len(), sums: Vec::new() };
        let mut sums = Vec::new();
        for (name, parts) in parts {
            match sum(name, &parts, &leaves).fit() {
                Ok(sum) => {
                    sums.push(sum);
                    hierarchy.sums.push(parts);
                }
                Err((reason, name)) => skipped.add(reason, name),
            }
        }
        leaves.extend(sums);
        Ok((leaves, hierarchy))
    }

    fn parameter(&self) -> &'static str {
        if self.is_given { "parents" } else { "hierarchy" }
    }

    /// Keeps the series with the most common interval, and extends them to the newest end.
    fn alike(&self, series: Vec<Regular>, skipped: &mut Skipped) -> Vec<Regular> {
        let mut by_interval: Vec<(Interval, usize)> = Vec::new();
        for one in &series {
            let interval = one.grid.interval();
            match by_interval.iter_mut().find(|(of, _)| *of == interval) {
                Some((_, count)) => *count += 1,
                None => by_interval.push((interval, 1)),
            }
        }
        let usual = by_interval
            .into_iter()
            .max_by_key(|(interval, count)| (*count, -interval.mean_micros()))
            .map(|(interval, _)| interval);
        let is_usual = |one: &Regular| usual.is_none_or(|usual| usual == one.grid.interval());
        let is_of_them = |one: &&Regular| is_usual(one) && !self.torn.contains(&one.name);
        let newest = series.iter().filter(is_of_them).max_by_key(|one| one.last_us());
        let Some((grid, end_us)) = newest.map(|one| (one.grid.clone(), one.last_us())) else {
            series.into_iter().for_each(|one| skipped.add(TWICE, one.name));
            return Vec::new();
        };
        let end = grid.number(end_us);
        let mut alike = Vec::with_capacity(series.len());
        for mut one in series {
            if self.torn.contains(&one.name) {
                skipped.add(TWICE, one.name);
                continue;
            }
            if !is_usual(&one) {
                skipped.add("of another interval than most", one.name);
                continue;
            }
            let behind = end - grid.number(one.last_us());
            let length = one.values.len();
            // Half of it would be missing: it ended.
            if behind > length as i64 {
                skipped.add("ends long before the others", one.name);
                continue;
            }
            one.values.resize(length + behind as usize, f64::NAN);
            (one.grid, one.last) = (grid.clone(), end);
            match one.fit() {
                Ok(one) => alike.push(one),
                Err((reason, name)) => skipped.add(reason, name),
            }
        }
        alike
    }
}

/// Why a series is no part of a hierarchy.
const TWICE: &str = "in two groups of one level";
/// Levels above a series.
const LEVELS_MAX: usize = 64;

/// The sum of some leaves, from the first instant on at which it is known.
fn sum(name: &str, parts: &[usize], leaves: &[Regular]) -> Regular {
    let length = parts.iter().map(|part| leaves[*part].values.len()).max().unwrap_or(0);
    let mut values = vec![0.0; length];
    for part in parts {
        let own = &leaves[*part].values;
        values[length - own.len()..].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
    let first = values.iter().position(|value| !value.is_nan()).unwrap_or(length);
    let (grid, last) = match parts.first() {
        Some(part) => (leaves[*part].grid.clone(), leaves[*part].last),
        None => (Grid::fixed(Span::SECOND, 0), 0),
    };
    Regular { name: name.to_owned(), grid, last, values: values.split_off(first) }
}

/// The same instants for all: those that the shortest has, with what the longest season needs.
pub(super) fn common_origins(
    series: &[Regular],
    seasons: &[Vec<usize>],
    horizon: usize,
) -> Vec<Origins> {
    let least = seasons.iter().map(|of| least(of)).max().unwrap_or(BUCKETS_MIN);
    let shortest = series.iter().map(|one| one.values.len()).min().unwrap_or(0);
    let common = Origins::of(shortest, least, horizon);
    let of = |one: &Regular| {
        let before = one.values.len() - shortest;
        let known = common.known.iter().map(|known| known + before).collect();
        Origins { known, steps: common.steps }
    };
    series.iter().map(of).collect()
}

/// Values that a series with these seasons needs.
pub(super) fn least(seasons: &[usize]) -> usize {
    seasons.last().map_or(BUCKETS_MIN, |season| 2 * season).max(BUCKETS_MIN)
}

/// Makes all that was said agree, at each instant that is past and of what comes. `floors` is the least that each series can be.
pub(super) fn agree(
    hierarchy: &Hierarchy,
    how: Reconcile,
    series: &[Regular],
    origins: &[Origins],
    choices: &mut [Choice],
    floors: &[f64],
    execution: &Execution,
) -> Result<()> {
    let (leaves, sums) = (hierarchy.leaves as f64, hierarchy.sums.len() as f64);
    let said =
        choices.iter().map(|of| of.said.iter().map(Vec::len).sum::<usize>() + of.ahead.len());
    let work = said.max().unwrap_or(0) as f64 * (leaves * sums + sums * sums);
    if how == Reconcile::MinT && work > WORK_MAX {
        let says = format!(
            "{NAME}: {leaves} series, {sums} sums and this `horizon` are too many for reconcile = mint; take fewer, or bottom_up"
        );
        return Err(Error::user(Code::ResourcesExhausted, says));
    }
    let mint = match how {
        Reconcile::BottomUp => None,
        Reconcile::MinT => Some(MinT::of(hierarchy.clone(), &errors(series, origins, choices))),
    };
    let made = |nodes: Vec<f64>| -> Vec<f64> {
        let mut leaves = match &mint {
            Some(mint) => mint.leaves(&nodes),
            None => nodes[..hierarchy.leaves].to_vec(),
        };
        leaves.iter_mut().zip(floors).for_each(|(value, floor)| *value = value.max(*floor));
        hierarchy.summed(&leaves)
    };
    let instants = choices.iter().map(|choice| choice.said.len()).min().unwrap_or(0);
    // What is to come is behind the instants that are past.
    for instant in 0..=instants {
        let steps = choices.iter_mut().map(|choice| at_instant(choice, instant).len()).min();
        for step in 0..steps.unwrap_or(0) {
            check_cancelled(NAME, execution)?;
            let nodes =
                choices.iter_mut().map(|choice| at_instant(choice, instant)[step]).collect();
            for (choice, value) in choices.iter_mut().zip(made(nodes)) {
                at_instant(choice, instant)[step] = value;
            }
        }
    }
    Ok(())
}

/// What was said at an instant that is past, or behind these now.
fn at_instant(choice: &mut Choice, instant: usize) -> &mut Vec<f64> {
    match choice.said.get_mut(instant) {
        Some(said) => said,
        None => &mut choice.ahead,
    }
}

/// Node after node the errors at all instants and steps at which each has one.
fn errors(series: &[Regular], origins: &[Origins], choices: &[Choice]) -> Vec<Vec<f64>> {
    let of = |((one, origins), choice): ((&Regular, &Origins), &Choice)| -> Vec<f64> {
        choice.errors(&one.values, origins).into_iter().flatten().collect()
    };
    let all: Vec<Vec<f64>> = series.iter().zip(origins).zip(choices).map(of).collect();
    let count = all.iter().map(Vec::len).min().unwrap_or(0);
    let known: Vec<usize> =
        (0..count).filter(|at| all.iter().all(|own| own[*at].is_finite())).collect();
    all.into_iter().map(|own| known.iter().map(|at| own[*at]).collect()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::methods::Method;
    use super::*;

    fn parents(of: &[(&str, &str)]) -> Result<Tree> {
        Tree::of_parents(&of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    fn series(name: &str, interval_us: i64, last_us: i64, values: &[f64]) -> Regular {
        let grid = Grid::fixed(Span::from_micros(interval_us).unwrap(), last_us);
        Regular { name: name.into(), grid, last: 0, values: values.to_vec() }
    }

    #[test]
    fn each_series_is_a_part_of_all_that_is_above_it() {
        let tree = parents(&[("a", "t"), ("b", "t"), ("t", "all"), ("c", "all")]).unwrap();
        let of = |name: &str| tree.above[name].join(" ");
        assert_eq!([of("a"), of("b"), of("c")], ["t all", "t all", "all"]);
        assert_eq!(tree.above.len(), 3);
    }

    #[test]
    fn what_goes_round_is_told_with_its_way() {
        let says = parents(&[("a", "t"), ("t", "u"), ("u", "t")]).unwrap_err().to_string();
        assert!(says.contains("a -> t -> u -> t goes round"), "{says}");
        let says = parents(&[("a", "a")]).unwrap_err().to_string();
        assert!(says.contains("a -> a goes round"), "{says}");
        let names: Vec<String> = (0..=LEVELS_MAX).map(|at| format!("l{at:03}")).collect();
        let chain: Vec<(&str, &str)> =
            names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        assert!(parents(&chain[1..]).is_ok());
        assert!(parents(&chain).unwrap_err().to_string().contains("at most 64 levels"));
    }

    #[test]
    fn sums_have_what_all_their_parts_have() {
        let tree = parents(&[("a", "t"), ("b", "t")]).unwrap();
        let mut skipped = Skipped::default();
        let ones = [1.0; 10];
        let mut gap = [2.0; 12];
        gap[10] = f64::NAN;
        let given = vec![
            series("a", 10, 120, &ones),
            series("b", 10, 120, &gap),
            // Two intervals behind.
            series("late", 10, 101, &ones),
            series("ended", 10, 10, &ones),
            series("slow", 20, 900, &ones),
        ];
        let read = given.iter().map(|one| one.name.clone()).collect();
        let (nodes, hierarchy) = tree.grow(given, &read, &mut skipped).unwrap();
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "late", "t"]);
        assert_eq!(hierarchy, Hierarchy { leaves: 3, sums: vec![vec![0, 1]] });
        let sum = &nodes[3].values;
        assert_eq!((&sum[..4], sum[10].is_nan(), sum[11]), (&[2.0, 2.0, 3.0, 3.0][..], true, 3.0));
        assert!(nodes[2].values.len() == 12 && nodes[2].values[10].is_nan());
        assert_eq!(nodes[2].last_us(), 120);
        assert_eq!(skipped.reason("ended"), Some("ends long before the others"));
        assert_eq!(skipped.reason("slow"), Some("of another interval than most"));
    }

    #[test]
    fn what_is_named_must_be_there_and_be_one_thing() {
        let ones = [1.0; 10];
        let grown = |tree: Tree, names: &[&str]| {
            let given = names.iter().map(|name| series(name, 10, 100, &ones)).collect();
            let read = names.iter().map(|name| (*name).to_owned()).collect();
            tree.grow(given, &read, &mut Skipped::default()).map(|(nodes, _)| nodes.len())
        };
        let tree = || parents(&[("agent", "team")]).unwrap();
        assert_eq!(grown(tree(), &["agent", "other"]).unwrap(), 3);
        let says = grown(tree(), &["agents"]).unwrap_err().to_string();
        assert!(says.contains("no series \"agent\"") && says.contains("agents"), "{says}");
        let says = grown(tree(), &["agent", "team"]).unwrap_err().to_string();
        assert!(says.contains("\"team\" is a series of its own"), "{says}");
    }

    #[test]
    fn all_are_tried_at_the_same_instants() {
        let of = |length: usize| series("s", 10, 1_000, &vec![1.0; length]);
        let found = common_origins(&[of(30), of(33)], &[vec![], vec![10]], 10);
        let shortest = Origins::of(30, 20, 10);
        assert_eq!(found[0], shortest);
        assert_eq!(found[1].known, shortest.known.iter().map(|at| at + 3).collect::<Vec<_>>());
        assert_eq!(found[1].steps, shortest.steps);
    }

    #[test]
    fn what_would_take_too_long_is_refused_by_the_one_that_says_most() {
        let choice = |steps: usize| Choice {
            method: Method::Naive,
            ahead: vec![1.0; steps],
            said: Vec::new(),
            naive_error: None,
        };
        let mut choices = [choice(0), choice(1_000)];
        // 1,000 · (10 · 3,000,000 + 100) products.
        let hierarchy = Hierarchy { leaves: 3_000_000, sums: vec![Vec::new(); 10] };
        let (how, execution) = (Reconcile::MinT, Execution::default());
        let refused = agree(&hierarchy, how, &[], &[], &mut choices, &[], &execution);
        assert_eq!(refused.unwrap_err().code(), Code::ResourcesExhausted);
    }

    #[test]
    fn all_instants_agree_and_errors_are_those_that_all_have() {
        let (one, other) = ([5.0, 6.0, 7.0], [1.0, f64::NAN, 3.0]);
        let nodes = [series("a", 10, 30, &one), series("b", 10, 30, &other)];
        let origins = vec![Origins { known: vec![2, 1], steps: 1 }; 3];
        let choice = |said: [f64; 2], ahead: f64| Choice {
            method: Method::Naive,
            ahead: vec![ahead],
            said: said.map(|of| vec![of]).to_vec(),
            naive_error: None,
        };
        let mut choices = [choice([1.0, 2.0], 3.0), choice([1.0, 20.0], 30.0)].to_vec();
        assert_eq!(errors(&nodes, &origins, &choices), [[6.0], [2.0]]);
        choices.push(choice([0.0; 2], 0.0));
        let hierarchy = Hierarchy { leaves: 2, sums: vec![vec![0, 1]] };
        let (how, execution) = (Reconcile::BottomUp, Execution::default());
        agree(&hierarchy, how, &[], &[], &mut choices, &[0.0; 2], &execution).unwrap();
        assert_eq!(choices[2], choice([2.0, 22.0], 33.0));
    }

    #[test]
    fn a_series_in_two_groups_of_a_level_is_left_out() {
        let row = |series: &str, of: Option<&str>| (series.to_owned(), vec![of.map(String::from)]);
        let rows = [
            row("a", Some("x")),
            row("b", Some("x")),
            row("b", Some("y")),
            row("c", None),
            row("d", Some("z")),
        ];
        let tree = Tree::of_groups(&["team".to_owned()], rows);
        let mut skipped = Skipped::default();
        let mut given = ["a", "b", "c"].map(|name| series(name, 10, 100, &[1.0; 10])).to_vec();
        given.push(series("d", 70, 100, &[1.0; 10]));
        let read = BTreeSet::new();
        let (nodes, hierarchy) = tree.grow(given, &read, &mut skipped).unwrap();
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["a", "c", "all", "team=x"]);
        assert_eq!(hierarchy.sums, [vec![0, 1], vec![0]]);
        assert_eq!(skipped.reason("b"), Some("in two groups of one level"));
        // What is of another interval is no part, nor is there a sum of it alone.
        assert!(skipped.reason("d").is_some());
        assert_eq!(skipped.reason("team=z"), Some("sums of series that are left out"));
    }
}
