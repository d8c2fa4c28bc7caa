//! Pairs of similar texts: duplicates first, then band after band.
//!
//! A pair that agrees in several bands belongs to the first of them, which both signatures tell without a list of
//! pairs seen. Only a row that was beyond its bucket's limit in a band needs a memory: one bit, for that band.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rayon::prelude::*;

use super::check::{self, Checker};
use super::cpu::Signer;
use super::shingle::Shingler;
use super::sink::{SimilarPair, SimilarSink};
use super::walk::{self, Entry, Walk};
use super::{Banding, MinHashOptions, OPERATION, TextsView, is_empty};
use crate::budget::{halving, largest_tile};
use crate::device::DeviceReport;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

/// Texts and their signatures.
#[derive(Debug, Clone, Copy)]
pub struct Corpus<'a> {
    texts: TextsView<'a>,
    signatures: MatrixView<'a, u32>,
}

impl<'a> Corpus<'a> {
    /// Fails when there are not as many signatures as texts.
    pub fn new(texts: TextsView<'a>, signatures: MatrixView<'a, u32>) -> Result<Self> {
        if texts.len() == signatures.rows() {
            return Ok(Self { texts, signatures });
        }
        Err(Error::Shape {
            operation: OPERATION,
            found: format!("{} signatures", signatures.rows()),
            expected: format!("{} texts need as many", texts.len()),
        })
    }
}

/// Which pairs are similar, and how they are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimilarOptions {
    /// How the signatures were made.
    pub minhash: MinHashOptions,
    /// The least Jaccard similarity of a pair, above 0 and at most 1.
    pub threshold: f64,
    /// Bands, of which a pair must agree in one to be checked.
    pub banding: Banding,
    /// Of the rows that share a band, each is compared with this many first ones; 1 or more.
    pub bucket_limit: usize,
}

impl SimilarOptions {
    /// The probability that a pair right at the threshold is missed, unless told otherwise.
    pub const MISS: f64 = 0.01;

    /// Pairs of at least `threshold`, one at the threshold missed with a probability of [`MISS`](Self::MISS); 128
    /// first rows of a bucket.
    pub fn for_threshold(threshold: f64, minhash: MinHashOptions) -> Result<Self> {
        let banding = Banding::for_threshold(threshold, minhash.functions, Self::MISS)?;
        Ok(Self { minhash, threshold, banding, bucket_limit: 128 })
    }

    fn check(&self) -> Result<()> {
        self.minhash.check()?;
        self.banding.check(self.minhash.functions)?;
        let wrong = |option, found, expected: &str| {
            Err(Error::Option { operation: OPERATION, option, found, expected: expected.into() })
        };
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            let expected = "it must be above 0 and at most 1";
            return wrong("threshold", self.threshold.to_string(), expected);
        }
        if self.bucket_limit == 0 {
            return wrong("bucket_limit", "0".into(), "at least 1 is needed");
        }
        Ok(())
    }
}

/// What was found on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Texts that repeat an earlier one byte by byte. Each is one pair, with the first of its kind.
    pub duplicates: u64,
    /// Pairs that agree in a band, counted in each band.
    pub candidates: u64,
    /// Different pairs among them, each checked once.
    pub checked: u64,
    /// Checked pairs that reach the threshold.
    pub kept: u64,
    /// Rows beyond the first ones of their bucket, counted in each band. 0 means that no pair was left out.
    pub crowded_rows: u64,
    /// The record. A tile is one range of keys of one band.
    pub stats: Stats,
}

/// Gives `sink` every pair of similar texts, each once: those of `new` among each other, and, where there is an
/// `existing` corpus, those of one text of each.
///
/// Rows of `existing` are counted first, so that the rows of `new` follow them. Adding texts step by step, each time
/// as `new` beside all before, gives the pairs that all at once would give. The module says which pairs there are
/// among repeated texts and in crowded buckets.
///
/// Fails on options that mean nothing, on signatures of other options or another length, on a budget too small, when
/// the sink fails, and when cancelled.
pub fn similar(
    existing: Option<Corpus<'_>>,
    new: Corpus<'_>,
    options: &SimilarOptions,
    sink: &mut dyn SimilarSink,
    execution: &Execution,
) -> Result<Summary> {
    let start = Instant::now();
    options.check()?;
    let plan = options.minhash.plan();
    for corpus in existing.iter().chain([&new]) {
        check_signatures(corpus, &plan)?;
    }
    let first_new = existing.map_or(0, |corpus| corpus.texts.len());
    let rows = Rows { existing, new, first_new };
    let mut stats = Stats::new(DeviceReport::cpu("pairs are checked on the CPU"));
    let count = first_new + new.texts.len();
    let counts = Counts::default();
    if !new.texts.is_empty() {
        execution.threads()?.run(|| {
            let room = Room::within_budget(&rows, count, options, execution, &mut stats)?;
            let shared = Mutex::new(sink);
            let shingler = plan.shingler;
            let join =
                Join { rows, count, options, shingler, execution, sink: &shared, counts: &counts };
            join.run(room, &mut stats)
        })?;
    }
    stats.seconds = start.elapsed().as_secs_f64();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Summary {
        duplicates: count(&counts.duplicates),
        candidates: count(&counts.candidates),
        checked: count(&counts.checked),
        kept: count(&counts.kept),
        crowded_rows: count(&counts.crowded_rows),
        stats,
    })
}

/// Signatures of other options would find nothing, in silence: one is computed again.
fn check_signatures(corpus: &Corpus<'_>, plan: &super::Plan) -> Result<()> {
    let shape = |found, expected| Err(Error::Shape { operation: OPERATION, found, expected });
    if corpus.signatures.cols() != plan.functions && !corpus.texts.is_empty() {
        return shape(
            format!("signatures of {} values", corpus.signatures.cols()),
            format!("the {} of the options are needed", plan.functions),
        );
    }
    let few = 0..corpus.texts.len().min(16);
    let Some(row) = few.min_by_key(|&row| match corpus.texts.text(row).len() {
        0 => usize::MAX,
        len => len,
    }) else {
        return Ok(());
    };
    let text = corpus.texts.text(row);
    if Signer::new(plan).sign(text, 0..text.len()) == corpus.signatures.row(row) {
        return Ok(());
    }
    shape(
        format!("a signature that is not that of text {row}"),
        "signatures of the same texts, shingles, functions and seed are needed".into(),
    )
}

/// The rows of both corpora, one after the other.
#[derive(Clone, Copy)]
struct Rows<'a> {
    existing: Option<Corpus<'a>>,
    new: Corpus<'a>,
    first_new: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn place(&self, row: usize) -> (Corpus<'a>, usize) {
        match self.existing {
            Some(existing) if row < self.first_new => (existing, row),
            _ => (self.new, row - self.first_new),
        }
    }

    fn text(&self, row: usize) -> &'a [u8] {
        let (corpus, row) = self.place(row);
        corpus.texts.text(row)
    }

    fn signature(&self, row: usize) -> &'a [u32] {
        let (corpus, row) = self.place(row);
        corpus.signatures.row(row)
    }
}

#[derive(Default)]
struct Counts {
    duplicates: AtomicU64,
    candidates: AtomicU64,
    checked: AtomicU64,
    kept: AtomicU64,
    crowded_rows: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Bits that several threads set.
struct Flags(Vec<AtomicU64>);

impl Flags {
    fn bytes(bits: usize) -> usize {
        bits.div_ceil(64) * size_of::<u64>()
    }

    fn new(bits: usize) -> Result<Self> {
        let mut words = Vec::new();
        words.try_reserve_exact(bits.div_ceil(64)).map_err(|_| Error::OutOfMemory {
            operation: OPERATION,
            memory: Memory::Host,
            bytes: Self::bytes(bits),
        })?;
        words.resize_with(bits.div_ceil(64), AtomicU64::default);
        Ok(Self(words))
    }

    fn set(&self, bit: usize) {
        self.0[bit / 64].fetch_or(1 << (bit % 64), Ordering::Relaxed);
    }

    #[inline(always)]
    fn get(&self, bit: usize) -> bool {
        self.0[bit / 64].load(Ordering::Relaxed) >> (bit % 64) & 1 == 1
    }
}

/// All memory of a run.
struct Room {
    /// Rows that are in no band: repeated ones, and those without shingles.
    left_out: Flags,
    /// For each band the rows beyond the limit of their bucket.
    crowded: Flags,
    entries: Vec<Entry>,
    checkers: Vec<Checker>,
}

impl Room {
    fn within_budget(
        rows: &Rows<'_>,
        count: usize,
        options: &SimilarOptions,
        execution: &Execution,
        stats: &mut Stats,
    ) -> Result<Self> {
        let bands = options.banding.bands;
        let longest =
            rows.new.texts.longest().max(rows.existing.map_or(0, |corpus| corpus.texts.longest()));
        // A set of a text's shingles is at most half of a table.
        let wanted = longest
            .saturating_mul(2)
            .next_power_of_two()
            .clamp(check::LEAST_SLOTS, check::MOST_SLOTS);
        let slots = |room: usize| (1 << room.max(1).ilog2()).clamp(check::LEAST_SLOTS, wanted);
        let capacity = |room: usize| room.max(check::LEAST_SLOTS).min(count);
        let threads = rayon::current_num_threads();
        let cost = |room: usize| {
            Flags::bytes(count)
                + Flags::bytes(count * bands)
                + walk::bytes(count, capacity(room), options.bucket_limit)
                + threads * check::bytes(slots(room))
        };
        let budget_bytes = execution.budget.host_bytes;
        let most = count.max(wanted);
        let room = largest_tile(OPERATION, Memory::Host, budget_bytes, most, cost)?;
        stats.peak_bytes = cost(room) as u64;
        let (room, halvings) = halving(room, |room| {
            let checkers = (0..threads).map(|_| Checker::new(slots(room)));
            Ok(Self {
                left_out: Flags::new(count)?,
                crowded: Flags::new(count * bands)?,
                entries: walk::entries(capacity(room))?,
                checkers: checkers.collect::<Result<_>>()?,
            })
        })?;
        stats.halvings += halvings;
        Ok(room)
    }
}

/// One run.
struct Join<'a, 's> {
    rows: Rows<'a>,
    count: usize,
    options: &'a SimilarOptions,
    shingler: Shingler,
    execution: &'a Execution,
    sink: &'a Mutex<&'s mut dyn SimilarSink>,
    counts: &'a Counts,
}

/// Pairs that are kept before the sink gets them.
const BATCH: usize = 1024;

impl Join<'_, '_> {
    fn run(&self, room: Room, stats: &mut Stats) -> Result<()> {
        let Room { left_out, crowded, mut entries, checkers } = room;
        let checkers = Mutex::new(checkers);
        let bands = self.options.banding.bands;
        let control = &self.execution.control;
        control.begin(bands as u64 + 1);
        (0..self.count)
            .into_par_iter()
            .filter(|&row| is_empty(self.rows.signature(row)))
            .for_each(|row| left_out.set(row));
        let mut walk = Walk { rows: self.count, leaders: 1, entries: &mut entries, ranges: 0 };
        let text = |row| (!left_out.get(row)).then(|| self.shingler.hash(self.rows.text(row)));
        walk.run(&text, self.execution, &|first, rows| self.duplicates(first, rows, &left_out))?;
        control.advance(1);
        walk.leaders = self.options.bucket_limit;
        for band in 0..bands {
            let key = |row| {
                let values = self.options.banding.band(self.rows.signature(row), band);
                (!left_out.get(row)).then(|| self.shingler.hash(bytemuck::cast_slice(values)))
            };
            walk.run(&key, self.execution, &|first, rows| {
                self.bucket(band, first, rows, &crowded, &checkers)
            })?;
            control.advance(1);
        }
        stats.tiles = walk.ranges;
        Ok(())
    }

    fn give(&self, pairs: &mut Vec<SimilarPair>, at_least: usize) -> Result<()> {
        if pairs.len() < at_least {
            return Ok(());
        }
        let mut sink = self.sink.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        sink.take(pairs)?;
        pairs.clear();
        Ok(())
    }

    /// Texts of one hash: those that repeat the first one are paired with it and left out of the bands.
    fn duplicates(&self, leaders: &[Entry], rows: &[Entry], left_out: &Flags) -> Result<()> {
        let mut all = leaders.iter().take(1).chain(rows).map(|entry| entry.row as usize);
        let Some(first) = all.next() else {
            return Ok(());
        };
        let text = self.rows.text(first);
        let mut found = Vec::new();
        for second in all {
            self.execution.control.check(OPERATION)?;
            if self.rows.text(second) != text {
                // Of the same hash by chance: it goes on to the bands.
                continue;
            }
            left_out.set(second);
            if second >= self.rows.first_new {
                add(&self.counts.duplicates, 1);
                found.push(SimilarPair { first, second, jaccard: 1.0 });
                self.give(&mut found, BATCH)?;
            }
        }
        self.give(&mut found, 1)
    }

    /// Rows of one key in a band.
    fn bucket(
        &self,
        band: usize,
        leaders: &[Entry],
        rows: &[Entry],
        crowded: &Flags,
        checkers: &Mutex<Vec<Checker>>,
    ) -> Result<()> {
        let more = self.options.bucket_limit - leaders.len();
        let beyond = rows.get(more..).unwrap_or(&[]);
        for entry in beyond {
            crowded.set(band * self.count + entry.row as usize);
        }
        add(&self.counts.crowded_rows, beyond.len() as u64);
        if rows.last().is_none_or(|last| (last.row as usize) < self.rows.first_new) {
            return Ok(());
        }
        let compare = |place: usize| {
            let (first, later) = match leaders.get(place) {
                Some(leader) => (leader, rows),
                None => (&rows[place - leaders.len()], &rows[place - leaders.len() + 1..]),
            };
            // There are as many checkers as threads, and none is kept across other work.
            let pop = || checkers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
            let mut checker = pop().ok_or_else(|| Error::Internal {
                operation: OPERATION,
                found: "more threads than tables".into(),
            })?;
            let result = self.compare(band, first.row as usize, later, crowded, &mut checker);
            checkers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(checker);
            result
        };
        let firsts = leaders.len() + more.min(rows.len());
        if rows.len() > 64 {
            (0..firsts).into_par_iter().with_max_len(1).try_for_each(compare)
        } else {
            (0..firsts).try_for_each(compare)
        }
    }

    fn compare(
        &self,
        band: usize,
        first: usize,
        later: &[Entry],
        crowded: &Flags,
        checker: &mut Checker,
    ) -> Result<()> {
        let (banding, a) = (self.options.banding, self.rows.signature(first));
        let mut found = Vec::new();
        let (mut candidates, mut checked, mut kept) = (0, 0, 0);
        for second in later.iter().map(|entry| entry.row as usize) {
            self.execution.control.check(OPERATION)?;
            let b = self.rows.signature(second);
            let agree = |band| banding.band(a, band) == banding.band(b, band);
            if second < self.rows.first_new || !agree(band) {
                continue;
            }
            candidates += 1;
            // Compared before, where they shared a bucket and this was one of its first rows.
            if (0..band).any(|band| agree(band) && !crowded.get(band * self.count + first)) {
                continue;
            }
            checked += 1;
            let texts = ((first, self.rows.text(first)), self.rows.text(second));
            let jaccard = checker.jaccard(&self.shingler, texts.0, texts.1, self.execution)?;
            if jaccard >= self.options.threshold {
                kept += 1;
                found.push(SimilarPair { first, second, jaccard });
                self.give(&mut found, BATCH)?;
            }
        }
        add(&self.counts.candidates, candidates);
        add(&self.counts.checked, checked);
        add(&self.counts.kept, kept);
        self.give(&mut found, 1)
    }
}
