//! Which third series explains most of a pair: of all candidates the one given which least remains, |r_xy.z|.
//!
//! With r the coefficient of the pair and an interval of 95 % around what remains:
//!
//! - *direct*: all of the interval is at least [`Options::remaining`] of r, on the side of r, and what remains is significant. No
//!   candidate explains more than that.
//! - *explained*: all of the interval is at most that, on either side.
//! - *undecided*: the pair is not significant, nothing could be asked, the interval reaches over the limit, what remains has the
//!   other sign, or a candidate is so like one of the pair that the two can't be told apart.
//!
//! **Hazards.** Correlation can't tell a chain x→z→y from a common cause z→x, z→y: both are explained by z. A third that is
//! measured badly explains less than it should, and one that nobody measured nothing: *direct* is among these candidates. A pair
//! that two candidates explain half each is not found out; [`precision`](super::precision) asks for all at once. p-values are of the
//! one candidate that leaves least, so they are too large rather than too small.
//!
//! O(candidates · n), and O(n · lags) for one or two of them.

use super::partial::{Partial, Rest};
use super::{Coefficient, Unknown, pair};

/// Limits of the verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Greatest p of what counts as significant.
    pub p_max: f64,
    /// Part of the coefficient that must remain of a direct relation, and at most of one that is explained.
    pub remaining: f64,
    /// A candidate that agrees so well with one of the pair is taken for the same thing.
    pub alike: f64,
    /// Part of the pair's samples that a candidate must have.
    pub shared: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { p_max: 0.01, remaining: 0.5, alike: 0.95, shared: 0.5 }
    }
}

/// Where a relation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// From the pair itself, as far as the candidates can say.
    Direct,
    /// From the third series.
    Explained,
    /// It can't be told.
    Undecided(Doubt),
}

/// Why it can't be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The pair is not significant.
    Unrelated,
    /// No candidate could be asked.
    NoCandidate,
    /// The third series and one of the pair are taken for the same thing.
    Alike,
    /// What remains has the other sign.
    Reversed,
    /// What remains may be more than the limit, or less.
    Unsure,
}

/// What was found about a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Origin {
    /// The pair as it is.
    pub pair: Coefficient,
    /// The third series that the verdict is about.
    pub third: Option<Third>,
    /// What it says.
    pub verdict: Verdict,
    /// Candidates that were asked.
    pub asked: usize,
    /// Candidates that have too few samples with the pair, are constant, or follow from one of it.
    pub left_out: usize,
}

/// A third series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Third {
    /// Its place among the candidates.
    pub candidate: usize,
    /// What remains given it; `None` of one that says all of x or of y.
    pub partial: Option<Partial>,
}

/// Looks for what explains the relation of `x` and `y`. Candidates have the length of both.
pub fn origin(
    x: &[f64],
    y: &[f64],
    candidates: &[&[f64]],
    options: &Options,
) -> Result<Origin, Unknown> {
    let pair = pair(x, y)?;
    let needed = options.shared * pair.samples as f64;
    // The one of each that leaves least; of those like x or y a copy is the last word.
    let (mut other, mut alike) = (None, None);
    let (mut copy, mut asked) = (None, 0);
    for (candidate, z) in candidates.iter().enumerate() {
        match Rest::of(x, y, z) {
            Ok(rest) if (rest.samples() as f64) < needed => {}
            Ok(rest) => {
                asked += 1;
                let like = rest.with_x.abs().max(rest.with_y.abs());
                let least = if like >= options.alike { &mut alike } else { &mut other };
                if least.as_ref().is_none_or(|(_, least): &(_, Rest)| rest.r.abs() < least.r.abs())
                {
                    *least = Some((candidate, rest));
                }
            }
            Err(Unknown::Lengths) => return Err(Unknown::Lengths),
            Err(Unknown::Collinear { .. }) => {
                copy = copy.or(Some(Third { candidate, partial: None }));
            }
            Err(_) => {}
        }
    }
    let third =
        |(candidate, rest): (usize, Rest)| Third { candidate, partial: Some(rest.partial()) };
    let alike = copy.or_else(|| alike.map(third));
    let (third, verdict) = judged(&pair, other.map(third), alike, options);
    Ok(Origin { pair, third, verdict, asked, left_out: candidates.len() - asked })
}

fn judged(
    pair: &Coefficient,
    other: Option<Third>,
    alike: Option<Third>,
    options: &Options,
) -> (Option<Third>, Verdict) {
    if pair.p > options.p_max {
        return (other.or(alike), Verdict::Undecided(Doubt::Unrelated));
    }
    let verdict = |third: &Third| third.partial.map(|partial| verdict(&partial, options));
    match (other, alike) {
        (None, None) => (None, Verdict::Undecided(Doubt::NoCandidate)),
        (None, alike) => (alike, Verdict::Undecided(Doubt::Alike)),
        (Some(other), alike) => {
            let found = verdict(&other).unwrap_or(Verdict::Undecided(Doubt::Unsure));
            match alike {
                Some(alike)
                    if found == Verdict::Direct && verdict(&alike) != Some(Verdict::Direct) =>
                {
                    (Some(alike), Verdict::Undecided(Doubt::Alike))
                }
                _ => (Some(other), found),
            }
        }
    }
}

/// What the interval of what remains says.
pub fn verdict(partial: &Partial, options: &Options) -> Verdict {
    let rest = &partial.rest;
    // On the side of the whole.
    let (low, high) =
        if partial.whole < 0.0 { (-rest.high, -rest.low) } else { (rest.low, rest.high) };
    let limit = options.remaining * partial.whole.abs();
    if low >= limit && rest.p <= options.p_max {
        Verdict::Direct
    } else if -limit <= low && high <= limit {
        Verdict::Explained
    } else if high < 0.0 {
        Verdict::Undecided(Doubt::Reversed)
    } else {
        Verdict::Undecided(Doubt::Unsure)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::made::{plus, scrambled};
    use super::*;

    /// What remains, with an interval around it.
    fn partial(whole: f64, low: f64, high: f64, p: f64) -> Partial {
        let rest =
            Coefficient { r: (low + high) / 2.0, samples: 100, effective: 90.0, p, low, high };
        Partial { whole, with_x: 0.5, with_y: 0.5, rest }
    }

    #[test]
    fn the_interval_decides_on_both_sides_of_the_limit() {
        use Verdict::{Direct, Explained, Undecided};
        let say = |whole, low, high, p| verdict(&partial(whole, low, high, p), &Options::default());
        assert_eq!(say(0.6, 0.3, 0.7, 1e-9), Direct);
        assert_eq!(say(0.6, 0.3, 0.7, 0.011), Undecided(Doubt::Unsure));
        assert_eq!(say(0.6, 0.3, 0.7, 0.01), Direct);
        assert_eq!(say(0.6, 0.299, 0.7, 1e-9), Undecided(Doubt::Unsure));
        assert_eq!(say(0.6, -0.3, 0.3, 0.9), Explained);
        assert_eq!(say(0.6, -0.1, 0.301, 0.9), Undecided(Doubt::Unsure));
        assert_eq!(say(0.6, -0.301, 0.1, 0.9), Undecided(Doubt::Unsure));
        assert_eq!(say(0.6, -0.5, -0.1, 1e-4), Undecided(Doubt::Reversed));
        assert_eq!(say(-0.6, -0.7, -0.3, 1e-9), Direct);
        assert_eq!(say(-0.6, -0.7, -0.299, 1e-9), Undecided(Doubt::Unsure));
        assert_eq!(say(-0.6, -0.3, 0.1, 0.9), Explained);
        assert_eq!(say(-0.6, 0.1, 0.5, 1e-4), Undecided(Doubt::Reversed));
        let strict = Options { remaining: 0.1, ..Options::default() };
        assert_eq!(verdict(&partial(0.6, -0.1, 0.1, 0.9), &strict), Undecided(Doubt::Unsure));
    }

    /// Two that follow a third, that one, one that has nothing to do with them, and noise for more.
    fn world() -> [Vec<f64>; 4] {
        let z = scrambled(2, 300);
        let x = plus(&scrambled(0, 300), 2.0, &z);
        let y = plus(&scrambled(1, 300), 2.0, &z);
        [x, y, z, scrambled(4, 300)]
    }

    fn found(x: &[f64], y: &[f64], candidates: &[&[f64]]) -> Origin {
        origin(x, y, candidates, &Options::default()).unwrap()
    }

    #[test]
    fn the_candidate_that_leaves_least_is_named() {
        let [x, y, z, other] = world();
        let blurred = plus(&z, 1.0, &scrambled(3, 300));
        let origin = found(&x, &y, &[&other, &blurred, &z]);
        assert_eq!((origin.verdict, origin.asked, origin.left_out), (Verdict::Explained, 3, 0));
        assert_eq!(origin.third.unwrap().candidate, 2);
        let rest = super::super::partial::partial(&x, &y, &z).unwrap();
        assert_eq!(origin.third.unwrap().partial, Some(rest));
        assert_eq!(origin.pair, pair(&x, &y).unwrap());
        // Of equal ones the first.
        assert_eq!(found(&x, &y, &[&z, &z]).third.unwrap().candidate, 0);
        let alone = found(&x, &y, &[&other]);
        assert_eq!((alone.verdict, alone.third.unwrap().candidate), (Verdict::Direct, 0));
    }

    #[test]
    fn candidates_without_enough_samples_are_left_out() {
        let [x, y, z, other] = world();
        let first = |samples: usize| {
            let mut row = z.clone();
            row[samples..].fill(f64::NAN);
            row
        };
        let origin = found(&x, &y, &[&first(149), &[1.0; 300], &other, &first(4)]);
        assert_eq!((origin.asked, origin.left_out), (1, 3));
        assert_eq!(origin.third.unwrap().candidate, 2);
        assert_eq!(found(&x, &y, &[&first(150)]).verdict, Verdict::Explained);
        let none = found(&x, &y, &[&first(149)]);
        assert_eq!(none.verdict, Verdict::Undecided(Doubt::NoCandidate));
        assert_eq!((none.third, none.left_out), (None, 1));
        assert_eq!(found(&x, &y, &[]).verdict, Verdict::Undecided(Doubt::NoCandidate));
        let short = super::origin(&x, &y, &[&z[1..]], &Options::default());
        assert_eq!(short, Err(Unknown::Lengths));
        assert_eq!(
            super::origin(&x, &[2.0; 300], &[], &Options::default()),
            Err(Unknown::Constant { row: 1 })
        );
    }

    #[test]
    fn what_is_like_one_of_the_pair_explains_nothing_and_leaves_doubt() {
        let [x, y, z, other] = world();
        let twin = plus(&x, 0.2, &scrambled(3, 300));
        let twin_of_y = plus(&y, -0.2, &scrambled(3, 300));
        let alike = Verdict::Undecided(Doubt::Alike);
        for copy in [&twin, &twin_of_y, &x, &y] {
            let origin = found(&x, &y, &[&other, copy]);
            assert_eq!((origin.verdict, origin.third.unwrap().candidate), (alike, 1));
            // Nor does it take away from what explains the pair.
            let origin = found(&x, &y, &[copy, &z]);
            assert_eq!((origin.verdict, origin.third.unwrap().candidate), (Verdict::Explained, 1));
            assert_eq!(found(&x, &y, &[copy]).verdict, alike);
        }
        assert_eq!(found(&x, &y, &[&x]).third.unwrap().partial, None);
        // At a limit of 1 it is a candidate as any.
        let options = Options { alike: 1.0, ..Options::default() };
        let origin = origin(&x, &y, &[&twin], &options).unwrap();
        assert_eq!(origin.verdict, Verdict::Explained);
    }

    #[test]
    fn of_a_pair_that_is_not_significant_nothing_is_said() {
        let [x, _, z, other] = world();
        let origin = found(&x, &other, &[&z]);
        assert!(origin.pair.p > 0.01);
        assert_eq!(origin.verdict, Verdict::Undecided(Doubt::Unrelated));
        // The limit is a part of what counts.
        let options = Options { p_max: origin.pair.p, ..Options::default() };
        let at_limit = super::origin(&x, &other, &[&z], &options).unwrap();
        assert_ne!(at_limit.verdict, Verdict::Undecided(Doubt::Unrelated));
    }
}
