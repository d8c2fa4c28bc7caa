//! Texts that are nearly the same, among very many: shingles, MinHash signatures, candidates by bands, exact check.
//!
//! **Idea.** A text is the set of its shingles, runs of n characters or words ([`Shingles`]); two texts are as
//! similar as their sets, J = |A ∩ B| / |A ∪ B| (Broder, "On the resemblance and containment of documents", 1997). Under a
//! random order of all shingles the least of A and the least of B are the same with probability J, so K orders
//! ([`signatures`]) turn a text of any length into K numbers that agree for about J·K of them ([`estimate`]).
//! [`similar`] cuts signatures into bands ([`Banding`]), takes as candidates the pairs that agree in one, and counts
//! the shingles of both texts before it gives out a pair: what comes out is certain, what is missed is rare and
//! its probability known. Where the texts are not at hand, [`sketches`] of them tell most pairs apart for certain
//! ([`affected`]).
//!
//! **Formula.** A shingle has a 64-bit hash, and function k the value `a_k · low + high` modulo 2³²; a signature
//! holds the least value of each function over the text's shingles. `shingle.rs` and `family.rs` define both to the
//! bit and say why; they are the same on every machine and device and in every version, so signatures may be kept.
//!
//! **Hazards.**
//! - A text without shingles (empty, or for words only blanks) has a signature of `u32::MAX`, and is similar to none.
//! - Texts that repeat byte by byte would be quadratically many pairs: each is paired once, with its first
//!   occurrence, and only that goes on to the bands. Connected components are the same either way.
//! - Texts that share a band with thousands are a template, filled out: of a bucket, each row is compared with
//!   the first [`bucket_limit`](SimilarOptions::bucket_limit) rows only ([`Summary::crowded_rows`] says how many rows
//!   were beyond). Time stays linear in the bucket; pairs of two rows beyond may be missed there.
//! - The hash is keyed by the seed but not cryptographic. The check compares hashes of shingles: the chance that any
//!   two of n different shingles share one is n²/2⁶⁵, 3e-8 for a million.
//!
//! **Precision.** Signatures are exact to the bit. The estimate has the standard error √(J·(1 − J)/K), at most
//! ½/√K ([`standard_error`]). The Jaccard similarity of a pair is two exact counts, divided.
//!
//! **Cost.** Signatures: K multiply-adds for each shingle, and one hash. Pairs: n·log n for each band, and for each
//! candidate the shingles of both texts, in memory of 16 bytes a row, or, where the budget is less, in as many
//! passes as needed; (bands + 1)/8 bytes a row are always taken. A text may be as long as it likes: the check goes over
//! it in passes where its shingles do not fit.
//!
//! ```
//! use kernels::minhash::{
//!     Corpus, MinHashOptions, Shingles, SimilarOptions, SimilarPairs, TextsView, signatures, similar,
//! };
//! use kernels::{Execution, MatrixView, MatrixViewMut};
//!
//! let lines = ["disk full on db1", "disk full on db2", "link down", "disk full on db1"];
//! let bytes = lines.concat().into_bytes();
//! let mut offsets = vec![0i32];
//! offsets.extend(lines.iter().scan(0, |end, line| {
//!     *end += line.len() as i32;
//!     Some(*end)
//! }));
//! let texts = TextsView::new(&bytes, &offsets[..])?;
//!
//! let minhash = MinHashOptions { shingles: Shingles::Characters(3), ..MinHashOptions::default() };
//! let mut values = vec![0; texts.len() * minhash.functions];
//! let rows = MatrixViewMut::new(&mut values, texts.len(), minhash.functions)?;
//! signatures(texts, &minhash, rows, &Execution::default())?;
//!
//! let corpus = Corpus::new(texts, MatrixView::new(&values, texts.len(), minhash.functions)?)?;
//! let mut found = SimilarPairs::new();
//! let options = SimilarOptions::for_threshold(0.7, minhash)?;
//! similar(None, corpus, &options, &mut found, &Execution::default())?;
//! let pairs: Vec<_> = found.into_pairs().iter().map(|pair| (pair.first, pair.second)).collect();
//! assert_eq!(pairs, [(0, 1), (0, 3)]); // the fourth line repeats the first
//! # Ok::<(), kernels::Error>(())
//! ```

pub mod affected;
mod banding;
mod check;
mod cpu;
mod cuda;
mod family;
mod shingle;
mod similar;
mod sink;
mod sketch;
mod texts;
mod walk;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(test)]
mod similar_suite;
#[cfg(any(test, feature = "suite"))]
mod suite;

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;

pub use banding::Banding;
pub use shingle::Shingles;
pub use similar::{Corpus, SimilarOptions, Summary, similar};
pub use sink::{SimilarPair, SimilarPairs, SimilarSink};
pub use sketch::{SKETCH_BYTES, sketches};
pub use texts::{Offsets, TextsView};

use std::collections::HashSet;
use std::time::Instant;

use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixViewMut;

use family::coefficients;
use shingle::Shingler;

const OPERATION: &str = "minhash";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!("minhash.cu");

/// The longest signature.
const MOST_FUNCTIONS: usize = 1 << 16;

/// How texts are turned into signatures. Signatures of different options can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MinHashOptions {
    /// What a text is cut into; 1 to 256 characters or words.
    pub shingles: Shingles,
    /// Values of a signature, 1 to 65,536.
    pub functions: usize,
    /// What the hash functions are made from.
    pub seed: u64,
}

impl Default for MinHashOptions {
    /// Five characters, as for short messages; 128 functions.
    fn default() -> Self {
        Self { shingles: Shingles::Characters(5), functions: 128, seed: 1 }
    }
}

impl MinHashOptions {
    fn check(&self) -> Result<()> {
        let size = self.shingles.size();
        for (option, found, most) in
            [("shingles", size, shingle::LONGEST), ("functions", self.functions, MOST_FUNCTIONS)]
        {
            if !(1..=most).contains(&found) {
                return Err(Error::Option {
                    operation: OPERATION,
                    option,
                    found: found.to_string(),
                    expected: format!("it must be 1 to {most}"),
                });
            }
        }
        Ok(())
    }

    fn plan(&self) -> Plan {
        Plan {
            shingler: Shingler::new(self.shingles, self.seed),
            coefficients: coefficients(self.functions, self.seed),
            functions: self.functions,
        }
    }
}

/// Options, made ready.
struct Plan {
    shingler: Shingler,
    /// Filled up, see `family.rs`.
    coefficients: Vec<u32>,
    functions: usize,
}

/// The Jaccard similarity of the sets of shingles of two texts, counted; 0 for two empty ones.
///
/// Fails on options that mean nothing. Memory: both sets.
pub fn jaccard(first: &[u8], second: &[u8], options: &MinHashOptions) -> Result<f64> {
    options.check()?;
    let shingler = Shingler::new(options.shingles, options.seed);
    let set = |text: &[u8]| {
        let mut set = HashSet::new();
        shingler.visit(text, 0..text.len(), |hash| {
            set.insert(hash);
        });
        set
    };
    let (first, second) = (set(first), set(second));
    let both = first.intersection(&second).count();
    let either = first.len() + second.len() - both;
    Ok(if either == 0 { 0.0 } else { both as f64 / either as f64 })
}

/// Computes the signature of every text into a row of `results`.
///
/// Fails on options that mean nothing, on results of another shape than texts × functions, on a budget too small for
/// one thread, on a device that is required and not there, and when cancelled; `results` then holds no result.
pub fn signatures(
    texts: TextsView<'_>,
    options: &MinHashOptions,
    results: MatrixViewMut<'_, u32>,
    execution: &Execution,
) -> Result<Stats> {
    options.check()?;
    if (results.rows(), results.cols()) != (texts.len(), options.functions) {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("room for {} x {} values", results.rows(), results.cols()),
            expected: format!("{} texts x {} functions", texts.len(), options.functions),
        });
    }
    let all_bytes = texts.bytes_of(0, texts.len()).len();
    let work = Work {
        amount: all_bytes as f64 * options.functions as f64,
        unit: "shingles x functions",
        least: execution.crossover.minhash,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || Gpu::open_all(&SOURCE))?;
    run_on(&gpus, Stats::new(report), texts, &options.plan(), results, execution)
}

/// On `devices`, or on the CPU without one.
fn run_on<B: Backend>(
    devices: &[B],
    mut stats: Stats,
    texts: TextsView<'_>,
    plan: &Plan,
    results: MatrixViewMut<'_, u32>,
    execution: &Execution,
) -> Result<Stats> {
    let start = Instant::now();
    if !texts.is_empty() {
        execution.threads()?.run(|| match devices {
            [] => cpu::run(texts, plan, results, execution, &mut stats),
            _ => cuda::run(devices, texts, plan, results, execution, &mut stats),
        })?;
    }
    stats.kernel_seconds = kernel_seconds(devices)?;
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(stats)
}

/// The estimate of the Jaccard similarity from two signatures of the same options: the share of values that agree.
/// 0 for a text without shingles, and for signatures of different length.
pub fn estimate(first: &[u32], second: &[u32]) -> f64 {
    if first.len() != second.len() || first.is_empty() || is_empty(first) || is_empty(second) {
        return 0.0;
    }
    let agree = first.iter().zip(second).filter(|(a, b)| a == b).count();
    agree as f64 / first.len() as f64
}

/// The standard error of [`estimate`] for texts of a true similarity.
pub fn standard_error(similarity: f64, functions: usize) -> f64 {
    (similarity * (1.0 - similarity) / functions as f64).sqrt()
}

/// Whether a signature is that of a text without shingles.
fn is_empty(signature: &[u32]) -> bool {
    signature.iter().all(|&value| value == u32::MAX)
}
