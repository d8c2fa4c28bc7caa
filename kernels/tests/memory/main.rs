//! The memory budget is a promise: here every allocation is counted. A binary of its own, because it
//! replaces the allocator of the process, and one function at a time, because the count is of the whole process:
//! `growth` runs only when it is asked for.

#![allow(clippy::unwrap_used, unsafe_code, missing_docs)]

mod growth;

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernels::changepoint::{PeltOptions, pelt};
use kernels::correlate::{
    CorrelateOptions, LagOptions, Pairs, Strength, TopPairs, correlate, correlate_lagged,
    correlate_with,
};
use kernels::forecast::{ForecastOptions, forecast};
use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::ivf::{IvfIndex, IvfOptions, Metric as IvfMetric, SearchOptions};
use kernels::kmeans::{KMeansOptions, kmeans};
use kernels::matrix_profile::{ProfileOptions, matrix_profile};
use kernels::minhash::{
    Corpus, MinHashOptions, SimilarOptions, SimilarPairs, TextsView, signatures, similar,
};
use kernels::nearest::{
    JoinOptions, Metric, NearestOptions, PairList, join_within, nearest_within,
};
use kernels::rolling::{
    RollingOptions, RollingOutput, Statistic, TimeOptions, Times, rolling, rolling_by_time,
};
use kernels::spectrum::{SpectrumOptions, spectrum};
use kernels::{Budget, Error, Execution, GpuPolicy, MatrixView, MatrixViewMut, Pool};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator, and counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work`, and returns the most bytes that it had allocated at one time.
fn peak<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

/// What lists of tiles, the threads' queues and the like may take besides.
const SLACK_BYTES: usize = 96 * 1024;

#[test]
fn operations_keep_to_their_budget_however_small() {
    let (rows, cols) = (700, 1500);
    let x: Vec<f32> = (0..rows * cols).map(|t| ((t * 7919) % 10_007) as f32).collect();
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let gappy: Vec<f32> =
        x.iter().enumerate().map(|(t, &v)| if t % 11 == 0 { f32::NAN } else { v }).collect();
    let gappy = MatrixView::new(&gappy[..60 * cols], 60, cols).unwrap();
    let times: Vec<i64> = (0..cols as i64).collect();
    let mut out = vec![0f32; rows * cols];
    let mut by_time = out.clone();
    let pool = Pool::with_threads(NonZeroUsize::new(2).unwrap()).unwrap();
    let with = |host_bytes| Execution {
        gpu: GpuPolicy::Off,
        budget: Budget::host(host_bytes),
        pool: Some(pool.clone()),
        ..Execution::default()
    };
    type Operation<'a> = &'a mut dyn FnMut(&Execution) -> Result<(), Error>;
    let text: String = (0..4000).map(|row| format!("text {} of many\n", row / 2 * 7919)).collect();
    let ends = text.match_indices('\n').map(|(at, _)| at as i64 + 1);
    let offsets: Vec<i64> = std::iter::once(0).chain(ends).collect();
    let texts = TextsView::new(text.as_bytes(), &offsets[..]).unwrap();
    let minhash = MinHashOptions::default();
    let functions = minhash.functions;
    let mut values = vec![0u32; texts.len() * functions];
    let results = MatrixViewMut::new(&mut values, texts.len(), functions).unwrap();
    signatures(texts, &minhash, results, &with(1 << 30)).unwrap();
    let signed = MatrixView::new(&values, texts.len(), functions).unwrap();
    let mut signed_again = vec![0u32; texts.len() * functions];
    // Few columns, so that the index, which is a result, is small beside the budget.
    let narrow = MatrixView::with_stride(&x, rows, 8, cols).unwrap();
    let ivf = IvfOptions { lists: 4, ..IvfOptions::new(IvfMetric::Euclidean) };
    let (index, _) = IvfIndex::build(narrow, &ivf, &with(8 << 20)).unwrap();
    let forest = Forest::fit(view, &ForestOptions::default(), &with(1 << 30)).unwrap();
    let mut forest_scores = vec![0f64; rows];
    let operations: &mut [(&str, Operation<'_>)] = &mut [
        ("forecast", &mut |execution| {
            // Hundreds of passes over each series: some of them, and not all their samples.
            let few = MatrixView::with_stride(&x, 100, 60, cols)?;
            let options = ForecastOptions {
                season: 4,
                levels: vec![0.9],
                paths: 500,
                ..ForecastOptions::default()
            };
            forecast(few, &options, execution).map(|_| ())
        }),
        ("spectrum", &mut |execution| {
            spectrum(view, &SpectrumOptions::default(), execution).map(|_| ())
        }),
        ("isolation_forest, fit", &mut |execution| {
            // The forest is a result: some 15 KB.
            let options = ForestOptions { trees: 10, sample: 100, ..ForestOptions::default() };
            Forest::fit(view, &options, execution).map(|_| ())
        }),
        ("isolation_forest, score", &mut |execution| {
            forest.score(view, &mut forest_scores, execution).map(|_| ())
        }),
        ("matrix_profile", &mut |execution| {
            // The result is the only memory that is not the budget's: three profiles of 12 bytes for each window.
            matrix_profile(view.row(0), &ProfileOptions::window(32), execution).map(|_| ())
        }),
        ("correlate", &mut |execution| {
            correlate(view, &mut TopPairs::new(Strength::Magnitude, 10), execution).map(|_| ())
        }),
        ("correlate, Spearman", &mut |execution| {
            let mut sink = TopPairs::new(Strength::Magnitude, 10);
            let first = MatrixView::new(&x[..60 * cols], 60, cols)?;
            correlate_with(first, &CorrelateOptions::spearman(), &mut sink, execution).map(|_| ())
        }),
        ("correlate, pairwise", &mut |execution| {
            let mut sink = TopPairs::new(Strength::Magnitude, 10);
            correlate_with(gappy, &CorrelateOptions::pairwise(3), &mut sink, execution).map(|_| ())
        }),
        ("ivf build", &mut |execution| IvfIndex::build(narrow, &ivf, execution).map(|_| ())),
        ("ivf search", &mut |execution| {
            index.search(narrow, &SearchOptions::new(5, 2), execution).map(|_| ())
        }),
        ("kmeans", &mut |execution| kmeans(view, &KMeansOptions::new(3), execution).map(|_| ())),
        ("correlate_lagged", &mut |execution| {
            let options = LagOptions { max_lag: 10, ..LagOptions::default() };
            correlate_lagged(view, Pairs::Listed(&[(0, 1), (5, 1), (7, 9)]), &options, execution)
                .map(|_| ())
        }),
        ("nearest", &mut |execution| {
            nearest_within(view, &NearestOptions::new(Metric::SquaredL2, 4), execution).map(|_| ())
        }),
        ("nearest::join", &mut |execution| {
            let options = JoinOptions::new(Metric::SquaredL2, 1.0);
            join_within(view, &options, &mut PairList::with_limit(1000), execution).map(|_| ())
        }),
        ("pelt", &mut |execution| {
            let few = MatrixView::new(&x[..8 * cols], 8, cols)?;
            pelt(few, &PeltOptions::default(), execution).map(|_| ())
        }),
        ("minhash", &mut |execution| {
            let results = MatrixViewMut::new(&mut signed_again, texts.len(), functions)?;
            signatures(texts, &minhash, results, execution).map(|_| ())
        }),
        ("similar", &mut |execution| {
            let corpus = Corpus::new(texts, signed)?;
            let options = SimilarOptions::for_threshold(0.95, minhash)?;
            similar(None, corpus, &options, &mut SimilarPairs::new(), execution).map(|_| ())
        }),
        ("rolling", &mut |execution| {
            let values = MatrixViewMut::new(&mut out, rows, cols)?;
            let output = RollingOutput::new(Statistic::Mad, values);
            rolling(view, &RollingOptions::trailing(24), &mut [output], execution).map(|_| ())
        }),
        ("rolling_by_time", &mut |execution| {
            let values = MatrixViewMut::new(&mut by_time, rows, cols)?;
            let output = RollingOutput::new(Statistic::Mean, values);
            let (times, options) = (Times::Shared(&times), TimeOptions::trailing(24));
            rolling_by_time(view, times, &options, &mut [output], execution).map(|_| ())
        }),
    ];
    for (name, operation) in operations {
        let Err(Error::BudgetTooSmall { least_bytes, .. }) = operation(&with(1)) else {
            unreachable!("{name}: one byte is enough for nothing");
        };
        for budget_bytes in [least_bytes, 2 * least_bytes, 8 << 20] {
            let before = NOW.load(Ordering::Relaxed);
            let (result, used) = peak(|| operation(&with(budget_bytes)));
            result.unwrap();
            assert!(used <= budget_bytes + SLACK_BYTES, "{name}: {used} of {budget_bytes} bytes");
            assert!(NOW.load(Ordering::Relaxed) <= before + SLACK_BYTES, "{name} leaks");
        }
    }
}
