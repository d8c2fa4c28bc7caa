//! What the two models say: counts of what came after the last activities, and a network.

use std::ops::ControlFlow;

use analysis::foresight::{Encoder, History, Markov, ORDER_MAX, Prefix};
use engine::Result;
use models::{ForesightNetwork, ForesightOptions, ForesightRows};

use super::TARGETS;
use super::measures::{Target, loss};
use crate::registry::embedders::model_error;

/// What is said of each of some cases, each after some of its events.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// The class of what comes next, and its chance.
    pub(super) next: Vec<(u32, f64)>,
    pub(super) remaining_us: Vec<f64>,
    /// The chance of success.
    pub(super) success: Vec<f64>,
}

/// Counts, by as many last activities for each of the three as are best.
pub(super) struct Counts {
    markov: Markov,
    pub(super) orders: [usize; TARGETS],
}

impl Counts {
    /// Learns from some prefixes, and takes as many last activities as are best on others.
    pub(super) fn choose(history: &History<'_>, train: &[Prefix], validation: &[Prefix]) -> Self {
        let markov = Markov::fit(history, train);
        let mut counts = Self { markov, orders: [1; TARGETS] };
        let mut best = [f64::INFINITY; TARGETS];
        for order in 1..=ORDER_MAX {
            let said = counts.by(history, validation, [order; TARGETS]);
            for (at, target) in Target::ALL.into_iter().enumerate() {
                let losses =
                    (0..validation.len()).filter_map(|row| loss(target, validation, &said, row));
                let sum = losses.sum::<f64>();
                if sum < best[at] {
                    (best[at], counts.orders[at]) = (sum, order);
                }
            }
        }
        counts
    }

    /// Learns anew.
    pub(super) fn again(&self, history: &History<'_>, prefixes: &[Prefix]) -> Self {
        Self { markov: Markov::fit(history, prefixes), orders: self.orders }
    }

    pub(super) fn say(&self, history: &History<'_>, of: &[Prefix]) -> Said {
        self.by(history, of, self.orders)
    }

    fn by(&self, history: &History<'_>, of: &[Prefix], orders: [usize; TARGETS]) -> Said {
        let [next, remaining, success] = orders;
        let at = |of: &Prefix| (of.case, of.length);
        let markov = &self.markov;
        let end = (history.end(), 0.0);
        Said {
            next: of.iter().map(|of| markov.next(history, at(of), next).unwrap_or(end)).collect(),
            remaining_us: of
                .iter()
                .map(|of| markov.remaining_us(history, at(of), remaining).unwrap_or_default())
                .collect(),
            success: of
                .iter()
                .map(|of| markov.success(history, at(of), success).unwrap_or(0.5))
                .collect(),
        }
    }
}

/// Prefixes as a network reads them.
struct Rows<'a> {
    history: &'a History<'a>,
    encoder: &'a Encoder,
    prefixes: &'a [Prefix],
}

impl ForesightRows for Rows<'_> {
    fn count(&self) -> usize {
        self.prefixes.len()
    }

    fn encode(&self, row: usize, to: &mut [f32]) {
        if let Some(of) = self.prefixes.get(row) {
            self.encoder.encode(self.history, (of.case, of.length), to);
        }
    }

    fn truth(&self, row: usize) -> (u32, f32, Option<bool>) {
        let Some(of) = self.prefixes.get(row) else { return (0, 0.0, None) };
        (of.next, self.encoder.remaining(of.remaining_us), of.success)
    }
}

/// A network, and how it reads cases.
pub(super) struct Net {
    encoder: Encoder,
    network: ForesightNetwork,
}

/// Rows that it is judged by after each epoch, at most.
const JUDGES_MAX: usize = 20_000;

impl Net {
    /// Learns from some prefixes, and keeps what is best on others.
    pub(super) fn choose(
        history: &History<'_>,
        train: &[Prefix],
        validation: &[Prefix],
        seed: u64,
        check: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Self> {
        let encoder = Encoder::of(history, train);
        let step = validation.len().div_ceil(JUDGES_MAX).max(1);
        let judges: Vec<Prefix> = validation.iter().step_by(step).copied().collect();
        let rows = |prefixes| Rows { history, encoder: &encoder, prefixes };
        let size = (encoder.columns(), history.classes() + 1);
        let network = ForesightNetwork::train(
            &rows(train),
            &rows(&judges),
            size,
            &options(seed),
            &mut |_| going(check),
        );
        let network = network.map_err(model_error)?;
        Ok(Self { encoder, network })
    }

    /// Learns anew, for as many epochs as were best.
    pub(super) fn again(
        &self,
        history: &History<'_>,
        prefixes: &[Prefix],
        seed: u64,
        check: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Self> {
        let encoder = Encoder::of(history, prefixes);
        let rows = Rows { history, encoder: &encoder, prefixes };
        let size = (encoder.columns(), history.classes() + 1);
        let network = ForesightNetwork::train_for(
            &rows,
            self.network.epochs,
            size,
            &options(seed),
            &mut |_| going(check),
        );
        let network = network.map_err(model_error)?;
        Ok(Self { encoder, network })
    }

    pub(super) fn epochs(&self) -> [usize; TARGETS] {
        self.network.epochs
    }

    pub(super) fn say(
        &self,
        history: &History<'_>,
        of: &[Prefix],
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Said> {
        let mut said = Said::default();
        for part in of.chunks(PART) {
            check()?;
            let rows = Rows { history, encoder: &self.encoder, prefixes: part };
            for of in self.network.foretell(&rows).map_err(model_error)? {
                let most = (0u32..).zip(&of.next).max_by(|a, b| a.1.total_cmp(b.1));
                said.next
                    .push(most.map_or((0, 0.0), |(class, chance)| (class, f64::from(*chance))));
                said.remaining_us.push(self.encoder.remaining_us(of.remaining));
                said.success.push(f64::from(of.success));
            }
        }
        Ok(said)
    }
}

/// Cases between which it is looked whether the run goes on.
const PART: usize = 16_384;

fn options(seed: u64) -> ForesightOptions {
    ForesightOptions { seed, ..ForesightOptions::default() }
}

fn going(check: &(dyn Fn() -> Result<()> + Sync)) -> ControlFlow<()> {
    match check() {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}
