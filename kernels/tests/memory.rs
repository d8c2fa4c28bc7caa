//! The memory budget is a promise: here every allocation is counted. A test of its own, because it
//! replaces the allocator of the process, and one function, because the count is of the whole process.

#![allow(clippy::unwrap_used, unsafe_code, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernels::correlate::{LagOptions, Pairs, Strength, TopPairs, correlate, correlate_lagged};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
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

/// What lists of tiles, the threads' queues and the like may take besides.
const SLACK_BYTES: usize = 96 * 1024;

#[test]
fn operations_keep_to_their_budget_however_small() {
    let (rows, cols) = (700, 1500);
    let x: Vec<f32> = (0..rows * cols).map(|t| ((t * 7919) % 10_007) as f32).collect();
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let mut out = vec![0f32; rows * cols];
    let pool = Pool::with_threads(NonZeroUsize::new(2).unwrap()).unwrap();
    let with = |host_bytes| Execution {
        gpu: GpuPolicy::Off,
        budget: Budget::host(host_bytes),
        pool: Some(pool.clone()),
        ..Execution::default()
    };
    type Operation<'a> = &'a mut dyn FnMut(&Execution) -> Result<(), Error>;
    let mut operations: [(&str, Operation<'_>); 3] = [
        ("correlate", &mut |execution| {
            correlate(view, &mut TopPairs::new(Strength::Magnitude, 10), execution).map(|_| ())
        }),
        ("correlate_lagged", &mut |execution| {
            let options = LagOptions { max_lag: 10, ..LagOptions::default() };
            correlate_lagged(view, Pairs::Listed(&[(0, 1), (5, 1), (7, 9)]), &options, execution)
                .map(|_| ())
        }),
        ("rolling", &mut |execution| {
            let values = MatrixViewMut::new(&mut out, rows, cols)?;
            let output = RollingOutput::new(Statistic::Mad, values);
            rolling(view, &RollingOptions::trailing(24), &mut [output], execution).map(|_| ())
        }),
    ];
    for (name, operation) in &mut operations {
        let Err(Error::BudgetTooSmall { least_bytes, .. }) = operation(&with(1)) else {
            unreachable!("{name}: one byte is enough for nothing");
        };
        for budget_bytes in [least_bytes, 2 * least_bytes, 8 << 20] {
            let before = NOW.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            operation(&with(budget_bytes)).unwrap();
            let used = PEAK.load(Ordering::Relaxed) - before;
            assert!(used <= budget_bytes + SLACK_BYTES, "{name}: {used} of {budget_bytes} bytes");
            assert!(NOW.load(Ordering::Relaxed) <= before + SLACK_BYTES, "{name} leaks");
        }
    }
}
