//! Whether what comes is still like what came before.
//!
//! Periods, such as days, are held against a reference of earlier ones. How far one may be from it is not guessed: each period of the
//! reference is held against its others, and what comes must be further away than all of them, several times in a row. Where periods
//! are exchangeable, which is what it means that nothing drifts, the next k of them are all further away than the r of the reference in
//! about one of C(r + k, k) orders, whatever the values, and however much alike rows of one period are. (About: those of the reference are
//! held against one less.) From that follows how many in a row it takes.

mod distance;
mod lasting;
#[cfg(test)]
mod rate_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worlds;

use std::collections::VecDeque;

pub use distance::{Features, Sample};
use statrs::function::gamma::ln_gamma;

/// The most frequent texts, by which the autocorrelation of periods is estimated.
const TEXTS_COMPARED: usize = 256;
/// Comparisons of a text of the reference with a period, above which the limit of a period is that of the reference.
const COMPARISONS_MAX: usize = 100_000;
/// How much further than every other period of the reference some are that are set aside, and one in how many may be.
const ODD: f64 = 3.0;
const ASIDE: usize = 7;
/// Distances that are no more apart, as a part of the larger one, are equal.
const ROUNDING: f64 = 1e-9;

/// What of a period is held against what was.
#[derive(Clone, Debug)]
pub struct Period {
    /// Its place in time: periods without enough rows are missing.
    pub at: i64,
    /// Its rows.
    pub sample: Sample,
}

/// The rule that separates drift from chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Periods of the reference.
    pub reference: usize,
    /// Periods in a row that are further from the reference than its own, where periods are independent.
    pub in_a_row: usize,
    /// Lags at which periods may repeat; 0 for none.
    seasons: [usize; 2],
    /// The chance of a false alarm that a look may have.
    chance: f64,
}

impl Rule {
    /// The rule by which `watched` columns that are checked `looks` times give at most `alarms` false alarms on average, though periods may
    /// repeat after `seasons`. None where that takes more periods in a row than there are in the reference.
    pub fn of(
        reference: usize,
        seasons: [usize; 2],
        (watched, looks): (usize, f64),
        alarms: f64,
    ) -> Option<Self> {
        let chance = alarms / (watched.max(1) as f64 * looks);
        let rule = Self { reference, in_a_row: 0, seasons, chance };
        let in_a_row = rule.in_a_row(0, 1.0)?;
        // What is stated is the chance of that run, which is less than may be.
        Some(Self { in_a_row, chance: rule.chance_of(in_a_row, 0, 1.0), ..rule })
    }

    /// How many false alarms `watched` columns give that are checked `looks` times, on average, at most and about.
    pub fn false_alarms(&self, watched: usize, looks: f64) -> f64 {
        watched as f64 * looks * self.chance_of(self.in_a_row, 0, 1.0)
    }

    /// Periods in a row that it takes where `aside` periods of the reference were set aside and `lasting` periods count as one.
    fn in_a_row(&self, aside: usize, lasting: f64) -> Option<usize> {
        let enough = |count: &usize| {
            self.chance_of(*count, aside, lasting) <= self.chance * (1.0 + ROUNDING)
        };
        (1..=self.reference).find(enough)
    }

    /// The chance that `count` periods in a row are all beyond the limit, for each look.
    fn chance_of(&self, count: usize, aside: usize, lasting: f64) -> f64 {
        let runs = (count as f64 / lasting).max(0.0);
        // All runs are among the first of all that are not set aside, in some of all orders.
        let orders = |reference: f64| {
            choose(runs + aside as f64, aside as f64) / choose(reference + runs, runs)
        };
        let usual = orders(self.reference as f64 / lasting) / lasting;
        // The farthest part of a season is beyond others of its kind alone.
        let seasonal =
            self.seasons.iter().filter(|season| **season > count && 2 * **season <= self.reference);
        seasonal.fold(usual, |most, season| {
            let (season, count) = (*season as f64, count as f64);
            let alike = (self.reference as f64 / season * count / lasting).max(1.0);
            most.max(orders(alike) / season)
        })
    }
}

/// The number of ways to choose `count` of `all`, for numbers that need not be whole.
fn choose(all: f64, count: f64) -> f64 {
    (ln_gamma(all + 1.0) - ln_gamma(count + 1.0) - ln_gamma(all - count + 1.0)).exp()
}

/// How far a period is from the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The period.
    pub at: i64,
    /// Its rows that count.
    pub rows: u64,
    /// The distance: Kolmogorov and Smirnov's of numbers, the population stability index of texts, the maximum mean discrepancy of vectors.
    pub distance: f64,
    /// How far a period with as many rows may be; none where the reference is too short yet.
    pub limit: Option<f64>,
    /// The population stability index, of numbers by tenths of the reference; none of periods of the reference.
    pub stability: Option<f64>,
    /// Whether it is of the reference.
    pub is_reference: bool,
}

impl Score {
    /// Whether no period can be further away: its distances end at 1. `is_share` says that they do, as those of numbers.
    pub fn is_blind(&self, is_share: bool) -> bool {
        is_share && self.limit.is_some_and(|limit| limit >= 1.0)
    }

    /// Whether it is further away than it may be.
    pub fn is_beyond(&self) -> bool {
        !self.is_reference
            && self.limit.is_some_and(|limit| self.distance > limit * (1.0 + ROUNDING))
    }
}

/// Something that is no longer as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The first period that was too far away.
    pub began: i64,
    /// The last one.
    pub ended: i64,
    /// Periods that were.
    pub periods: u64,
    /// The period that told of it: the last that it took.
    pub told: i64,
    /// Periods in a row that it took.
    pub in_a_row: usize,
    /// The one that was the furthest away, as a part of how far it may be.
    pub worst: Score,
    /// What the reference was like, and what that one was.
    pub words: (String, String),
    /// Whether it was so still at the end.
    pub is_open: bool,
    /// Whether it lasted so long that it is what is usual now.
    pub is_usual_now: bool,
}

/// Watches one thing, period by period.
#[derive(Debug)]
pub struct Watch {
    rule: Rule,
    reference: Vec<Period>,
    known: Option<Known>,
    /// Periods in a row that it takes; none where no number of them would be enough.
    in_a_row: Option<usize>,
    /// Those that are too far away, in a row.
    row: Row,
    /// The newest ones of what may become the reference.
    newest: VecDeque<Period>,
    found: Vec<Drift>,
}

/// What the reference says.
#[derive(Debug)]
struct Known {
    all: Sample,
    /// Its periods, if they are texts.
    texts: Vec<Sample>,
    /// How far each of its own is from the others, and how far it would be by chance alone.
    own: Vec<(f64, f64)>,
}

#[derive(Debug, Default)]
struct Row {
    scores: Vec<(Score, String)>,
    count: u64,
    is_told: bool,
}

impl Watch {
    /// Nothing was seen yet.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            reference: Vec::new(),
            known: None,
            in_a_row: Some(rule.in_a_row),
            row: Row::default(),
            newest: VecDeque::new(),
            found: Vec::new(),
        }
    }

    /// The next period. The scores of the reference come together, with its last one.
    pub fn push(&mut self, period: Period) -> Vec<Score> {
        let Some(known) = &self.known else {
            self.reference.push(period);
            return match self.reference.len() == self.rule.reference {
                true => self.learn(),
                false => Vec::new(),
            };
        };
        let score = known.score(&period, false);
        let words = period.sample.words();
        let reference = known.all.words();
        self.newest.push_back(period);
        if self.newest.len() > self.rule.reference {
            self.newest.pop_front();
        }
        if score.is_beyond() {
            self.beyond(score.clone(), words, reference);
        } else {
            self.end(false);
        }
        vec![score]
    }

    /// Periods in a row that a drift takes; none where no number of them would be more than chance, so that nothing can be said.
    pub fn in_a_row(&self) -> Option<usize> {
        self.in_a_row
    }

    /// What was found, and the scores of a reference that was not yet as long as it should be.
    pub fn finish(mut self) -> (Vec<Drift>, Vec<Score>) {
        self.end(true);
        let mut scores = Vec::new();
        if self.known.is_none() {
            for period in &self.reference {
                scores.push(Score {
                    at: period.at,
                    rows: period.sample.rows(),
                    distance: 0.0,
                    limit: None,
                    stability: None,
                    is_reference: true,
                });
            }
        }
        (self.found, scores)
    }

    fn beyond(&mut self, score: Score, words: String, reference: String) {
        self.row.count += 1;
        let at = score.at;
        if self.row.is_told {
            let row_count = self.row.count;
            if let Some(drift) = self.found.last_mut() {
                drift.ended = at;
                drift.periods = row_count;
                if ratio(&score) > ratio(&drift.worst) {
                    drift.worst = score;
                    drift.words.1 = words;
                }
            }
            // It is what is usual by now.
            if row_count >= self.rule.reference as u64 && self.newest.len() == self.rule.reference {
                if let Some(drift) = self.found.last_mut() {
                    drift.is_usual_now = true;
                }
                self.learn_again();
            }
            return;
        }
        let Some(in_a_row) = self.in_a_row else {
            // What lasts as long as the reference may tell more than it.
            if self.row.count >= self.rule.reference as u64 {
                self.learn_again();
            }
            return;
        };
        self.row.scores.push((score, words));
        if self.row.scores.len() < in_a_row {
            return;
        }
        let began = self.row.scores.first().map_or(at, |(score, _)| score.at);
        let worst = std::mem::take(&mut self.row.scores)
            .into_iter()
            .max_by(|(a, _), (b, _)| ratio(a).total_cmp(&ratio(b)));
        let Some((worst, words)) = worst else { return };
        self.row.is_told = true;
        self.found.push(Drift {
            began,
            ended: at,
            periods: self.row.count,
            told: at,
            in_a_row,
            worst,
            words: (reference, words),
            is_open: false,
            is_usual_now: false,
        });
    }

    /// Takes the newest periods as the reference.
    fn learn_again(&mut self) {
        self.row = Row::default();
        self.reference = self.newest.drain(..).collect();
        self.learn();
    }

    fn end(&mut self, is_over: bool) {
        if let (true, true, Some(drift)) = (is_over, self.row.is_told, self.found.last_mut()) {
            drift.is_open = true;
        }
        self.row = Row::default();
    }

    /// Learns from the reference how far a period may be. A few that are far more unlike the others than any of these, as where something
    /// was out of order, are set aside: beside them nothing would ever be far.
    fn learn(&mut self) -> Vec<Score> {
        let mut aside: Vec<Period> = Vec::new();
        let (all, own) = loop {
            let all = Sample::together(self.reference.iter().map(|of| &of.sample));
            let own: Vec<(f64, f64)> = self
                .reference
                .iter()
                .map(|period| {
                    let rest = all.rows() - period.sample.rows();
                    (period.sample.distance_from_rest(&all), period.sample.by_chance(rest))
                })
                .collect();
            // Each as a part of how far it would be by chance.
            let mut parts: Vec<(usize, f64)> =
                own.iter().map(|(distance, chance)| distance / chance).enumerate().collect();
            parts.sort_by(|a, b| b.1.total_cmp(&a.1));
            let most = (self.rule.reference / ASIDE).saturating_sub(aside.len());
            let odd = (1..=most).find(|count| {
                let (last, next) = (parts.get(count - 1), parts.get(*count));
                last.zip(next).is_some_and(|(last, next)| next.1 > 0.0 && last.1 > ODD * next.1)
            });
            let Some(odd) = odd else { break (all, own) };
            let mut odd: Vec<usize> = parts.iter().take(odd).map(|of| of.0).collect();
            odd.sort_unstable();
            for place in odd.into_iter().rev() {
                aside.push(self.reference.remove(place));
            }
        };
        let most = all.most_frequent(TEXTS_COMPARED);
        let shares: Vec<(i64, Vec<f64>)> =
            self.reference.iter().map(|period| (period.at, period.sample.shares(&most))).collect();
        let lasting = lasting::lasting(&shares, &self.rule.seasons);
        self.in_a_row = self.rule.in_a_row(aside.len(), lasting);
        let periods = self.reference.iter().map(|period| &period.sample);
        let texts = periods.filter(|of| matches!(of, Sample::Texts(_))).cloned().collect();
        let known = Known { all, texts, own };
        let mut scores: Vec<Score> = self
            .reference
            .iter()
            .zip(&known.own)
            .map(|(period, (distance, _))| Score {
                at: period.at,
                rows: period.sample.rows(),
                distance: *distance,
                limit: Some(known.limit(known.all.rows() - period.sample.rows(), &period.sample)),
                stability: None,
                is_reference: true,
            })
            .collect();
        scores.extend(aside.iter().map(|period| known.score(period, true)));
        scores.sort_by_key(|score| score.at);
        self.known = Some(known);
        self.reference.clear();
        scores
    }
}

fn ratio(score: &Score) -> f64 {
    score.distance / score.limit.unwrap_or(f64::INFINITY).max(f64::MIN_POSITIVE)
}

impl Known {
    /// How far each of the reference is from the others; further for a period with fewer rows, as chance alone has it.
    fn limits(&self, others: u64, sample: &Sample) -> impl Iterator<Item = f64> {
        let chance = sample.by_chance(others);
        self.own.iter().map(move |(distance, own)| distance * (chance / own).max(1.0))
    }

    /// How far a period may be: as far as any of the reference is.
    fn limit(&self, others: u64, sample: &Sample) -> f64 {
        self.limits(others, sample).fold(0.0, f64::max)
    }

    fn score(&self, period: &Period, is_reference: bool) -> Score {
        let sample = &period.sample;
        let distance = sample.distance(&self.all);
        let comparisons = self.texts.len() * self.all.kinds();
        let limit = match self.texts.first().filter(|_| comparisons <= COMPARISONS_MAX) {
            None => self.limit(self.all.rows(), sample),
            // Distances of texts depend on which labels the others have. So each of the reference is compared with this period from the same
            // others (the jackknife+: Barber et al., 2021), and the limit is so far above its distance as this period's is then.
            Some(one) => {
                let others = self.all.rows() - one.rows();
                let apart =
                    self.texts.iter().zip(self.limits(others, sample)).map(|(part, limit)| {
                        let own = sample.distance_without(&self.all, part).unwrap_or(distance);
                        limit + distance - own
                    });
                apart.fold(0.0, f64::max)
            }
        };
        Score {
            at: period.at,
            rows: sample.rows(),
            distance,
            limit: Some(limit),
            stability: sample.stability(&self.all),
            is_reference,
        }
    }
}
