//! How time and memory grow with the input: each operation at n, 2n, 4n and 8n, beside the exponents that its
//! documentation gives. Run by `make test-growth`, alone and on a quiet machine.

// What was measured is for the one who asked.
#![allow(clippy::print_stdout)]

use std::num::NonZeroUsize;
use std::time::Instant;

use kernels::changepoint::{PeltOptions, pelt};
use kernels::components::Components;
use kernels::correlate::{LagOptions, Pairs, Strength, TopPairs, correlate, correlate_lagged};
use kernels::forecast::{ForecastOptions, forecast};
use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::ivf::{self, IvfIndex, IvfOptions, SearchOptions};
use kernels::kmeans::{KMeansOptions, kmeans};
use kernels::matrix_profile::{ProfileOptions, matrix_profile};
use kernels::minhash::{
    Corpus, MinHashOptions, SimilarOptions, SimilarPairs, TextsView, signatures, similar,
};
use kernels::nearest::{Metric, NearestOptions, nearest_within};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::spectrum::{SpectrumOptions, spectrum};
use kernels::{Execution, GpuPolicy, MatrixView, MatrixViewMut, Pool, Result};

use crate::peak;

/// An operation whose input grows.
struct Growth {
    name: &'static str,
    /// What n is, and which exponents are documented for it.
    of: &'static str,
    /// The first n.
    n: usize,
    time: f64,
    memory: f64,
    /// Makes the input of size n, which is not measured, and returns the work.
    make: fn(n: usize) -> Work,
}

type Work = Box<dyn FnMut(&Execution) -> Result<()>>;

/// How far a measured exponent of time may be above the documented one: caches end somewhere, and the machine has
/// other things to do.
const TIME_SLACK: f64 = 0.35;
/// The same for memory, which is counted and not timed.
const MEMORY_SLACK: f64 = 0.1;

fn values(count: usize) -> Vec<f32> {
    (0..count as u64).map(|t| (t.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 1e6).collect()
}

const OPERATIONS: &[Growth] = &[
    Growth {
        name: "correlate",
        of: "series",
        n: 512,
        time: 2.0,
        memory: 2.0,
        make: |n| {
            let (x, cols) = (values(n * 2_000), 2_000);
            Box::new(move |execution| {
                let mut sink = TopPairs::new(Strength::Magnitude, 10);
                correlate(MatrixView::new(&x, n, cols)?, &mut sink, execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "rolling median",
        of: "samples",
        n: 200_000,
        time: 1.0,
        // 64 bytes for each stretch.
        memory: 1.0,
        make: |n| {
            let (x, mut out) = (values(n), vec![0.0; n]);
            Box::new(move |execution| {
                let output =
                    RollingOutput::new(Statistic::Median, MatrixViewMut::new(&mut out, 1, n)?);
                let options = RollingOptions::trailing(168);
                rolling(MatrixView::new(&x, 1, n)?, &options, &mut [output], execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "rolling median",
        of: "window",
        n: 50,
        time: 0.2,
        memory: 1.0,
        make: |n| {
            let (x, mut out) = (values(400_000), vec![0.0; 400_000]);
            Box::new(move |execution| {
                let cols = x.len();
                let output =
                    RollingOutput::new(Statistic::Median, MatrixViewMut::new(&mut out, 1, cols)?);
                let options = RollingOptions::trailing(n);
                let x = MatrixView::new(&x, 1, cols)?;
                rolling(x, &options, &mut [output], execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "nearest",
        of: "vectors",
        n: 4_000,
        time: 2.0,
        memory: 1.0,
        make: |n| {
            let x = values(n * 64);
            Box::new(move |execution| {
                let options = NearestOptions::new(Metric::Cosine, 10);
                nearest_within(MatrixView::new(&x, n, 64)?, &options, execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "kmeans, 5 iterations",
        of: "rows",
        n: 20_000,
        time: 1.0,
        memory: 1.0,
        make: |n| {
            let x = values(n * 16);
            Box::new(move |execution| {
                let options =
                    KMeansOptions { iterations: 5, tolerance: 0.0, ..KMeansOptions::new(32) };
                kmeans(MatrixView::new(&x, n, 16)?, &options, execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "forecast",
        of: "series",
        n: 40,
        time: 1.0,
        memory: 1.0,
        make: |n| {
            let x: Vec<f64> = values(n * 120).into_iter().map(f64::from).collect();
            Box::new(move |execution| {
                let options =
                    ForecastOptions { horizon: 12, season: 12, ..ForecastOptions::default() };
                forecast(MatrixView::new(&x, n, 120)?, &options, execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "matrix_profile",
        of: "samples",
        n: 8_000,
        time: 2.0,
        memory: 1.0,
        make: |n| {
            let x = values(n);
            Box::new(move |execution| {
                matrix_profile(&x, &ProfileOptions::window(128), execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "minhash",
        of: "texts",
        n: 10_000,
        time: 1.0,
        memory: 0.0,
        make: |n| {
            let text: String = (0..n).map(|row| format!("{:>60}", row * 7919)).collect();
            let offsets: Vec<i64> = (0..=n as i64).map(|row| 60 * row).collect();
            let options = MinHashOptions::default();
            let mut out = vec![0; n * options.functions];
            Box::new(move |execution| {
                let texts = TextsView::new(text.as_bytes(), &offsets[..])?;
                let results = MatrixViewMut::new(&mut out, n, options.functions)?;
                signatures(texts, &options, results, execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "similar pairs",
        of: "texts",
        n: 10_000,
        // n·log n.
        time: 1.1,
        memory: 1.0,
        make: |n| {
            // Texts of random letters, every tenth as the one before it.
            let text: String = (0..n)
                .flat_map(|row| {
                    let row = (row - usize::from(row % 10 == 9)) as u64;
                    (0..60).map(move |at| {
                        let bits = (row * 60 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                        char::from(b'a' + ((bits >> 32) % 26) as u8)
                    })
                })
                .collect();
            let offsets: Vec<i64> = (0..=n as i64).map(|row| 60 * row).collect();
            let minhash = MinHashOptions::default();
            let mut hashes = vec![0; n * minhash.functions];
            Box::new(move |execution| {
                let texts = TextsView::new(text.as_bytes(), &offsets[..])?;
                let results = MatrixViewMut::new(&mut hashes, n, minhash.functions)?;
                signatures(texts, &minhash, results, execution)?;
                let corpus = Corpus::new(texts, MatrixView::new(&hashes, n, minhash.functions)?)?;
                let (options, mut found) =
                    (SimilarOptions::for_threshold(0.8, minhash)?, SimilarPairs::new());
                similar(None, corpus, &options, &mut found, execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "ivf build and search",
        of: "vectors",
        n: 10_000,
        time: 1.0,
        memory: 1.0,
        make: |n| {
            let x = values(n * 32);
            Box::new(move |execution| {
                let x = MatrixView::new(&x, n, 32)?;
                let options = IvfOptions { lists: 64, ..IvfOptions::new(ivf::Metric::Euclidean) };
                let (index, _) = IvfIndex::build(x, &options, execution)?;
                index.search(x, &SearchOptions::new(10, 1), execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "spectrum",
        of: "samples",
        n: 1 << 17,
        // n·log n.
        time: 1.1,
        memory: 1.0,
        make: |n| {
            let x = values(n);
            Box::new(move |execution| {
                let x = MatrixView::new(&x, 1, n)?;
                spectrum(x, &SpectrumOptions::default(), execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "correlate_lagged, 4 lags either way",
        of: "series",
        n: 64,
        time: 2.0,
        memory: 2.0,
        make: |n| {
            let x = values(n * 2_000);
            Box::new(move |execution| {
                let options = LagOptions { max_lag: 4, min_overlap: 3 };
                let x = MatrixView::new(&x, n, 2_000)?;
                correlate_lagged(x, Pairs::All, &options, execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "components",
        of: "pairs",
        // Beyond the caches: a pair is two reads of memory.
        n: 8_000_000,
        time: 1.0,
        memory: 1.0,
        make: |n| {
            let node = |t: usize| (t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % n;
            let pairs: Vec<(u32, u32)> =
                (0..n).map(|t| (node(t) as u32, node(t + n) as u32)).collect();
            Box::new(move |_| {
                let mut components = Components::<u32>::new(n)?;
                components.add(&pairs)?;
                components.labels();
                Ok(())
            })
        },
    },
    Growth {
        name: "changepoint, a change every 100 samples",
        of: "samples",
        n: 20_000,
        time: 1.0,
        memory: 1.0,
        make: |n| {
            let x: Vec<f32> = values(n)
                .iter()
                .enumerate()
                .map(|(t, v)| v + (t / 100 % 2) as f32 * 50.0)
                .collect();
            Box::new(move |execution| {
                pelt(MatrixView::new(&x, 1, n)?, &PeltOptions::default(), execution).map(|_| ())
            })
        },
    },
    Growth {
        name: "isolation_forest",
        of: "rows",
        n: 50_000,
        time: 1.0,
        memory: 0.0,
        make: |n| {
            let (x, mut scores) = (values(n * 8), vec![0.0; n]);
            Box::new(move |execution| {
                let x = MatrixView::new(&x, n, 8)?;
                let forest = Forest::fit(x, &ForestOptions::default(), execution)?;
                forest.score(x, &mut scores, execution).map(|_| ())
            })
        },
    },
];

#[test]
#[ignore = "takes minutes and a quiet machine: make test-growth"]
fn time_and_memory_grow_as_documented() {
    let pool = Pool::with_threads(NonZeroUsize::new(2).unwrap()).unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, pool: Some(pool), ..Execution::default() };
    let mut wrong = Vec::new();
    for growth in OPERATIONS {
        let mut points = Vec::new();
        for n in [1, 2, 4, 8].map(|factor| factor * growth.n) {
            let mut work = (growth.make)(n);
            let (result, bytes) = peak(|| work(&execution));
            result.unwrap();
            // The best of three: what disturbs a run only makes it longer.
            let seconds = (0..3)
                .map(|_| {
                    let start = Instant::now();
                    work(&execution).unwrap();
                    start.elapsed().as_secs_f64()
                })
                .fold(f64::INFINITY, f64::min);
            println!("{} of {n} {}: {seconds:.4} s, {bytes} bytes", growth.name, growth.of);
            points.push((n as f64, seconds, bytes as f64));
        }
        let exponent = |value: fn(&(f64, f64, f64)) -> f64| {
            let (first, last) = (&points[0], &points[points.len() - 1]);
            (value(last) / value(first)).ln() / (last.0 / first.0).ln()
        };
        let (time, memory) = (exponent(|p| p.1), exponent(|p| p.2));
        println!(
            "{} by {}: time n^{time:.2} (documented {}), memory n^{memory:.2} (documented {})",
            growth.name, growth.of, growth.time, growth.memory
        );
        if time > growth.time + TIME_SLACK || memory > growth.memory + MEMORY_SLACK {
            wrong.push(format!("{} by {}", growth.name, growth.of));
        }
    }
    assert!(wrong.is_empty(), "these grow faster than documented: {wrong:?}");
}
