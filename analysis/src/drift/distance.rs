//! How far the rows of a period are from others.

use std::collections::BTreeMap;

use crate::noise::Noise;

/// Tenths by which numbers are compared as they are in the population stability index.
const TENTHS: usize = 10;
/// What a share of nothing counts as, in rows: an index of shares is infinite otherwise.
const NOTHING: f64 = 0.5;
/// Directions of the features of vectors.
const DIRECTIONS: usize = 128;
/// Vectors by whose distances the width of the features is chosen.
const WIDTH_OF: usize = 200;
const SEED: u64 = 0x0064_7269_6674;
/// Texts told of a sample.
const TOLD: usize = 3;
const TEXT_MAX: usize = 40;

/// Rows of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// Numbers in order; what is null, and negative infinity, comes before all.
    Numbers(Vec<f64>),
    /// Texts, and how often each comes; none is null.
    Texts(BTreeMap<Option<String>, u64>),
    /// Vectors, as the mean of their features, and how many.
    Vectors(Vec<f64>, u64),
}

impl Sample {
    /// Numbers that may be null, in any order. What is no number is null, too.
    pub fn of_numbers(numbers: impl IntoIterator<Item = Option<f64>>) -> Self {
        let value = |of: Option<f64>| of.filter(|of| !of.is_nan()).unwrap_or(f64::NEG_INFINITY);
        let mut numbers: Vec<f64> = numbers.into_iter().map(value).collect();
        numbers.sort_by(f64::total_cmp);
        Self::Numbers(numbers)
    }

    /// Rows.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Numbers(of) => of.len() as u64,
            Self::Texts(of) => of.values().sum(),
            Self::Vectors(_, rows) => *rows,
        }
    }

    /// All rows of several, which are of one kind.
    pub(super) fn together<'a>(of: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum: Option<Self> = None;
        for own in of {
            match (&mut sum, own) {
                (None, own) => sum = Some(own.clone()),
                (Some(Self::Numbers(sum)), Self::Numbers(own)) => sum.extend(own),
                (Some(Self::Texts(sum)), Self::Texts(own)) => {
                    for (text, count) in own {
                        *sum.entry(text.clone()).or_default() += count;
                    }
                }
                (Some(Self::Vectors(sum, rows)), Self::Vectors(own, own_rows)) => {
                    let part = *own_rows as f64 / (*rows + own_rows).max(1) as f64;
                    sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += part * (own - *sum));
                    *rows += own_rows;
                }
                _ => {}
            }
        }
        let mut sum = sum.unwrap_or(Self::Numbers(Vec::new()));
        if let Self::Numbers(of) = &mut sum {
            of.sort_by(f64::total_cmp);
        }
        sum
    }

    /// Its most frequent texts; anything but texts as it is.
    pub(super) fn most_frequent(&self, most: usize) -> Self {
        let Self::Texts(of) = self else { return self.clone() };
        let mut texts: Vec<(&Option<String>, &u64)> = of.iter().collect();
        texts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let texts = texts.into_iter().take(most);
        Self::Texts(texts.map(|(text, count)| (text.clone(), *count)).collect())
    }

    /// The number of different texts.
    pub(super) fn kinds(&self) -> usize {
        if let Self::Texts(of) = self { of.len() } else { 0 }
    }

    /// How far it is from others.
    pub(super) fn distance(&self, others: &Self) -> f64 {
        match (self, others) {
            (Self::Numbers(own), Self::Numbers(others)) => kolmogorov_smirnov(own, others),
            (Self::Texts(own), Self::Texts(others)) => texts_apart(own, others),
            (Self::Vectors(own, _), Self::Vectors(others, _)) => {
                let apart = own.iter().zip(others).map(|(a, b)| (a - b).powi(2));
                apart.sum::<f64>().sqrt()
            }
            _ => 0.0,
        }
    }

    /// The population stability index from others; none of vectors.
    pub(super) fn stability(&self, others: &Self) -> Option<f64> {
        match (self, others) {
            (Self::Numbers(own), Self::Numbers(others)) => numbers_stability(own, others),
            (Self::Texts(own), Self::Texts(others)) => Some(texts_apart(own, others)),
            _ => None,
        }
    }

    /// How far it is from the others of `all`, of which it is a part.
    pub(super) fn distance_from_rest(&self, all: &Self) -> f64 {
        let (own_rows, all_rows) = (self.rows() as f64, all.rows() as f64);
        let rest_rows = (all_rows - own_rows).max(1.0);
        match (self, all) {
            // What all have is what it has and what the others have.
            (Self::Numbers(own), Self::Numbers(all)) => {
                kolmogorov_smirnov(own, all) * all_rows / rest_rows
            }
            (Self::Texts(_), Self::Texts(_)) => self.distance_without(all, self).unwrap_or(0.0),
            (Self::Vectors(own, _), Self::Vectors(all, _)) => {
                let apart = own.iter().zip(all).map(|(own, all)| (own - all).powi(2));
                apart.sum::<f64>().sqrt() * all_rows / rest_rows
            }
            _ => 0.0,
        }
    }

    /// How far it is from what `all` have without a part of them; none of anything but texts.
    pub(super) fn distance_without(&self, all: &Self, part: &Self) -> Option<f64> {
        let (Self::Texts(own), Self::Texts(all), Self::Texts(part)) = (self, all, part) else {
            return None;
        };
        let rest = |text: &Option<String>, all: u64| {
            all.saturating_sub(part.get(text).copied().unwrap_or(0))
        };
        let kept = all.iter().map(|(text, count)| (own.get(text), rest(text, *count)));
        let kept = kept.filter(|(own, rest)| own.is_some() || *rest > 0);
        let new = own.iter().filter(|(text, _)| !all.contains_key(*text));
        let new = new.map(|(_, count)| (Some(count), 0));
        let counts = kept.chain(new);
        Some(index(counts.map(|(own, rest)| (own.copied().unwrap_or(0) as f64, rest as f64))))
    }

    /// What its distance from others by chance alone goes with, which shrinks with the rows on both sides; that of texts, which is a
    /// square, twice as fast.
    pub(super) fn by_chance(&self, others: u64) -> f64 {
        let (own, others) = (self.rows().max(1) as f64, others.max(1) as f64);
        let rows = own * others / (own + others);
        if matches!(self, Self::Texts(_)) { 1.0 / rows } else { 1.0 / rows.sqrt() }
    }

    /// Its shares of what `all` have, in an order that is that of every part of `all`.
    pub(super) fn shares(&self, all: &Self) -> Vec<f64> {
        match (self, all) {
            (Self::Numbers(own), Self::Numbers(all)) => {
                let share = |edge: &f64| {
                    own.partition_point(|of| of <= edge) as f64 / own.len().max(1) as f64
                };
                tenths(all).iter().chain(&[f64::NEG_INFINITY]).map(share).collect()
            }
            (Self::Texts(own), Self::Texts(all)) => {
                let (own_rows, all_rows) = (self.rows() as f64, all.values().sum::<u64>() as f64);
                let share = |(text, count): (_, &u64)| {
                    let own = own.get(text).copied().unwrap_or(0) as f64 / own_rows.max(1.0);
                    own / (*count as f64 / all_rows).sqrt().max(f64::MIN_POSITIVE)
                };
                all.iter().map(share).collect()
            }
            (Self::Vectors(own, _), _) => own.clone(),
            _ => Vec::new(),
        }
    }

    /// Memory that it takes, about.
    pub fn bytes(&self) -> usize {
        const TEXT_BYTES: usize = 80;
        match self {
            Self::Numbers(of) => 8 * of.len(),
            Self::Texts(of) => {
                of.keys().map(|text| TEXT_BYTES + text.as_ref().map_or(0, String::len)).sum()
            }
            Self::Vectors(of, _) => 8 * of.len(),
        }
    }

    /// What it is like.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Numbers(of) => {
                let nulls = of.partition_point(|of| *of == f64::NEG_INFINITY);
                let numbers = of.get(nulls..).unwrap_or_default();
                let at = |part: f64| numbers.get((part * numbers.len() as f64) as usize);
                let middle = match (at(0.25), at(0.5), at(0.75)) {
                    // Most values are equal, and the others say what changed.
                    (Some(low), Some(middle), Some(high)) if low == high => {
                        let mean = numbers.iter().map(|of| of / numbers.len() as f64).sum();
                        format!("median {}, mean {}", short(*middle), precise(mean))
                    }
                    (Some(low), Some(middle), Some(high)) => {
                        format!(
                            "median {}, middle half from {} to {}",
                            short(*middle),
                            short(*low),
                            short(*high)
                        )
                    }
                    _ => "nothing".to_owned(),
                };
                let share = 100.0 * nulls as f64 / of.len().max(1) as f64;
                if nulls > 0 { format!("{middle}, {} % null", short(share)) } else { middle }
            }
            Self::Texts(of) => {
                let rows = self.rows().max(1) as f64;
                let mut of: Vec<(&Option<String>, &u64)> = of.iter().collect();
                of.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
                let told = of.iter().take(TOLD).map(|(text, count)| {
                    let text = text.as_deref().unwrap_or("null");
                    let text: String = text.chars().take(TEXT_MAX).collect();
                    format!("{text} {} %", short(100.0 * **count as f64 / rows))
                });
                told.collect::<Vec<_>>().join(", ")
            }
            Self::Vectors(of, rows) => {
                let broken = 100.0 * of.last().copied().unwrap_or(0.0);
                match broken > 0.0 {
                    true => {
                        format!("{rows} vectors, {} % of another length or broken", short(broken))
                    }
                    false => format!("{rows} vectors"),
                }
            }
        }
    }
}

/// With three digits that count.
fn short(of: f64) -> String {
    rounded(of, 3)
}

/// With five.
fn precise(of: f64) -> String {
    rounded(of, 5)
}

fn rounded(of: f64, count: i32) -> String {
    if of == 0.0 || !of.is_finite() {
        return format!("{of}");
    }
    let digits = count - 1 - of.abs().log10().floor() as i32;
    let unit = 10_f64.powi(digits.clamp(-300, 300));
    let rounded = (of * unit).round() / unit;
    if rounded.is_finite() { format!("{rounded}") } else { format!("{of}") }
}

/// The largest difference between the shares of two samples in order that are no larger than a value.
fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> f64 {
    let (mut at, mut beside, mut most) = (0, 0, 0.0_f64);
    while let (Some(own), Some(other)) = (a.get(at), b.get(beside)) {
        let value = own.min(*other);
        at += a[at..].iter().take_while(|of| **of <= value).count();
        beside += b[beside..].iter().take_while(|of| **of <= value).count();
        most = most.max((at as f64 / a.len() as f64 - beside as f64 / b.len() as f64).abs());
    }
    most
}

/// The population stability index of shares: the sum of (p - q) · ln(p / q).
fn index(counts: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let (own, others) = counts.clone().fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    let share = |count: f64, sum: f64| count.max(NOTHING) / sum.max(NOTHING);
    let apart = counts.map(|(a, b)| {
        let (p, q) = (share(a, own), share(b, others));
        (p - q) * (p / q).ln()
    });
    apart.sum()
}

fn texts_apart(own: &BTreeMap<Option<String>, u64>, others: &BTreeMap<Option<String>, u64>) -> f64 {
    let count =
        |of: &BTreeMap<Option<String>, u64>, text| of.get(text).copied().unwrap_or(0) as f64;
    let new = own.keys().filter(|text| !others.contains_key(*text));
    index(others.keys().chain(new).map(|text| (count(own, text), count(others, text))))
}

/// The values between the tenths of some values in order.
fn tenths(of: &[f64]) -> Vec<f64> {
    let mut edges: Vec<f64> =
        (1..TENTHS).filter_map(|at| of.get(at * of.len() / TENTHS)).copied().collect();
    edges.dedup();
    edges
}

fn numbers_stability(own: &[f64], others: &[f64]) -> Option<f64> {
    if others.is_empty() || own.is_empty() {
        return None;
    }
    let edges = tenths(others);
    let count = |of: &[f64], place: usize| {
        let below = |edge: Option<&f64>, or: usize| {
            edge.map_or(or, |edge| of.partition_point(|of| of <= edge))
        };
        let from = place.checked_sub(1).and_then(|before| edges.get(before));
        (below(edges.get(place), of.len()) - below(from, 0)) as f64
    };
    Some(index((0..=edges.len()).map(|place| (count(own, place), count(others, place)))))
}

/// Features of vectors whose means are as far apart as the vectors are unlike in any way (Rahimi & Recht, "Random features for
/// large-scale kernel machines", 2007; Gretton et al., "A kernel two-sample test", 2012), for the kernel of Gauss.
#[derive(Debug)]
pub struct Features {
    /// Directions, one after another, and where each begins to turn.
    directions: Vec<f64>,
    phases: Vec<f64>,
    long: usize,
}

impl Features {
    /// Those for vectors as long as most of these, as wide as half of them are apart.
    pub fn like(vectors: &[Vec<f32>]) -> Option<Self> {
        let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
        let is_whole = |of: &&Vec<f32>| !of.is_empty() && of.iter().all(|of| of.is_finite());
        for vector in vectors.iter().filter(is_whole) {
            *lengths.entry(vector.len()).or_default() += 1;
        }
        let (long, _) = lengths.into_iter().max_by_key(|(_, count)| *count)?;
        let some: Vec<&Vec<f32>> =
            vectors.iter().filter(is_whole).filter(|of| of.len() == long).take(WIDTH_OF).collect();
        let mut apart: Vec<f64> = Vec::new();
        for (at, a) in some.iter().enumerate() {
            for b in some.iter().skip(at + 1) {
                let squares = a.iter().zip(*b).map(|(a, b)| f64::from(a - b).powi(2));
                apart.push(squares.sum::<f64>().sqrt());
            }
        }
        apart.retain(|of| *of > 0.0 && of.is_finite());
        apart.sort_by(f64::total_cmp);
        let width = apart.get(apart.len() / 2).copied().unwrap_or(1.0);
        let mut noise = Noise::new(SEED);
        let directions = (0..DIRECTIONS * long).map(|_| noise.normal() / width).collect();
        let phases = (0..DIRECTIONS).map(|_| std::f64::consts::TAU * noise.uniform()).collect();
        Some(Self { directions, phases, long })
    }

    /// The mean of the features of some vectors. Those of another length, or with what is no number, are of a kind of their own, which is as
    /// far from every other one as can be.
    pub fn mean(&self, vectors: &[Vec<f32>]) -> Sample {
        let mut sum = vec![0.0; DIRECTIONS + 1];
        let scale = (2.0 / DIRECTIONS as f64).sqrt();
        for vector in vectors {
            if vector.len() != self.long || vector.iter().any(|of| !of.is_finite()) {
                if let Some(broken) = sum.last_mut() {
                    *broken += 1.0;
                }
                continue;
            }
            let directions = self.directions.chunks_exact(self.long.max(1));
            for ((sum, direction), phase) in sum.iter_mut().zip(directions).zip(&self.phases) {
                let along: f64 = direction.iter().zip(vector).map(|(a, b)| a * f64::from(*b)).sum();
                *sum += scale * (along + phase).cos();
            }
        }
        let rows = vectors.len();
        sum.iter_mut().for_each(|of| *of /= rows.max(1) as f64);
        Sample::Vectors(sum, rows as u64)
    }

    /// The same of vectors of which none was ever whole.
    pub fn mean_of_broken(rows: usize) -> Sample {
        let mut sum = vec![0.0; DIRECTIONS + 1];
        if let Some(broken) = sum.last_mut() {
            *broken = 1.0;
        }
        Sample::Vectors(sum, rows as u64)
    }
}
