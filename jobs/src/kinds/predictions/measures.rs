//! How good what the two models say was, and which is taken.

use analysis::foresight::{Band, Compared, History, Losses, Prefix, compare, macro_f1};
use models::auroc;

use super::models::Said;

/// What is foretold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Next,
    Remaining,
    Success,
}

impl Target {
    pub(super) const ALL: [Self; super::TARGETS] = [Self::Next, Self::Remaining, Self::Success];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Next => "next_activity",
            Self::Remaining => "remaining_time",
            Self::Success => "outcome",
        }
    }
}

/// What is lost by what is said of a prefix: one of a wrong activity, the seconds of a wrong time, the square of a wrong chance. None
/// where the truth is not known.
pub(super) fn loss(target: Target, prefixes: &[Prefix], said: &Said, row: usize) -> Option<f64> {
    let prefix = prefixes.get(row)?;
    match target {
        Target::Next => Some(f64::from(u8::from(said.next.get(row)?.0 != prefix.next))),
        Target::Remaining => {
            Some((said.remaining_us.get(row)? - prefix.remaining_us as f64).abs() / 1e6)
        }
        Target::Success => {
            let truth = f64::from(u8::from(prefix.success?));
            Some((said.success.get(row)? - truth).powi(2))
        }
    }
}

/// By how much the second loses less than the first, case by case.
pub(super) fn beside(target: Target, prefixes: &[Prefix], said: [&Said; 2]) -> Option<Compared> {
    let mut cases: Vec<Losses> = Vec::new();
    let mut last = None;
    for (row, prefix) in prefixes.iter().enumerate() {
        let [first, second] = said.map(|said| loss(target, prefixes, said, row));
        let (Some(first), Some(second)) = (first, second) else { continue };
        if last != Some(prefix.case) {
            cases.push(Losses::default());
            last = Some(prefix.case);
        }
        if let Some(case) = cases.last_mut() {
            case.count += 1.0;
            case.first += first;
            case.second += second;
        }
    }
    compare(&cases)
}

/// How good it was; what is not of its target is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measures {
    pub(super) cases: u64,
    pub(super) events: u64,
    pub(super) accuracy: Option<f64>,
    pub(super) macro_f1: Option<f64>,
    pub(super) mae_seconds: Option<f64>,
    pub(super) brier: Option<f64>,
    pub(super) auc: Option<f64>,
    pub(super) coverage: Option<f64>,
}

impl Measures {
    pub(super) fn of(
        target: Target,
        history: &History<'_>,
        prefixes: &[Prefix],
        said: &Said,
        band: Option<&Band>,
    ) -> Self {
        let mut found = Self::default();
        let mut sum = 0.0;
        let mut last = None;
        for (row, prefix) in prefixes.iter().enumerate() {
            let Some(loss) = loss(target, prefixes, said, row) else { continue };
            found.cases += u64::from(last != Some(prefix.case));
            last = Some(prefix.case);
            found.events += 1;
            sum += loss;
        }
        if found.events == 0 {
            return found;
        }
        let mean = sum / found.events as f64;
        match target {
            Target::Next => {
                let truth: Vec<u32> = prefixes.iter().map(|of| of.next).collect();
                let next: Vec<u32> = said.next.iter().map(|of| of.0).collect();
                found.accuracy = Some(1.0 - mean);
                found.macro_f1 = Some(macro_f1(&truth, &next));
            }
            Target::Remaining => {
                found.mae_seconds = Some(mean);
                let held = |(prefix, said): (&Prefix, &f64)| {
                    let (lower, upper) = band?.around(last_class(history, prefix), *said);
                    Some((lower..=upper).contains(&(prefix.remaining_us as f64)))
                };
                let held = prefixes.iter().zip(&said.remaining_us).filter_map(held);
                let held = held.filter(|is_held| *is_held).count();
                found.coverage = band.map(|_| held as f64 / found.events as f64);
            }
            Target::Success => {
                let of = |success: bool| -> Vec<f64> {
                    let known = prefixes.iter().zip(&said.success);
                    let known = known.filter(|(prefix, _)| prefix.success == Some(success));
                    known.map(|(_, said)| *said).collect()
                };
                let (good, bad) = (of(true), of(false));
                found.brier = Some(mean);
                let is_told = !good.is_empty() && !bad.is_empty();
                found.auc = is_told.then(|| auroc(&good, &bad));
            }
        }
        found
    }
}

/// The class of the last event of a prefix.
pub(super) fn last_class(history: &History<'_>, prefix: &Prefix) -> u32 {
    history.first(prefix.case, prefix.length).last().map_or(0, |event| history.class(event))
}

/// Where the remaining time lies around what is said, by how wrong it was on cases that were not learned from.
pub(super) fn band(history: &History<'_>, prefixes: &[Prefix], said: &Said) -> Option<Band> {
    let of =
        |(prefix, said): (&Prefix, &f64)| (last_class(history, prefix), prefix.remaining_us, *said);
    let foretold: Vec<_> = prefixes.iter().zip(&said.remaining_us).map(of).collect();
    Band::of(&foretold)
}
