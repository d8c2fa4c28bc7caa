//! Similar pairs beside the definition.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::suite::{Texts, text};
use super::*;
use crate::MatrixView;
use crate::budget::Budget;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Route, generator, on};

/// Texts that resemble earlier ones, repeat them, are empty, or are new.
fn family(rng: &mut ChaCha8Rng, count: usize) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for row in 0..count {
        let before = all.get(rng.random_range(0..row.max(1))).cloned().unwrap_or_default();
        all.push(match rng.random_range(0..10) {
            0 => Vec::new(),
            1..=2 => before,
            3..=7 => {
                let mut changed = before;
                for _ in 0..rng.random_range(1..4) {
                    if let Some(at) = changed.len().checked_sub(1) {
                        changed[rng.random_range(0..=at)] = b'a' + rng.random_range(0..4);
                    }
                }
                changed
            }
            _ => text(rng, 12),
        });
    }
    all
}

fn signed(texts: &Texts, options: &MinHashOptions) -> Vec<u32> {
    let view = texts.view();
    let mut values = vec![0; view.len() * options.functions];
    let results = MatrixViewMut::new(&mut values, view.len(), options.functions).unwrap();
    signatures(view, options, results, &on(Route::Cpu)).unwrap();
    values
}

fn corpus<'a>(texts: &'a Texts, values: &'a [u32], functions: usize) -> Corpus<'a> {
    let view = texts.view();
    Corpus::new(view, MatrixView::new(values, view.len(), functions).unwrap()).unwrap()
}

fn found(
    all: &[Vec<u8>],
    existing: usize,
    options: &SimilarOptions,
    execution: &Execution,
) -> (Vec<SimilarPair>, Summary) {
    let (old, new) = (Texts::new(&all[..existing]), Texts::new(&all[existing..]));
    let (old_values, new_values) = (signed(&old, &options.minhash), signed(&new, &options.minhash));
    let functions = options.minhash.functions;
    let old = (existing > 0).then(|| corpus(&old, &old_values, functions));
    let mut sink = SimilarPairs::new();
    let new = corpus(&new, &new_values, functions);
    let summary = similar(old, new, options, &mut sink, execution).unwrap();
    let pairs = sink.into_pairs();
    assert_eq!(pairs.len() as u64, summary.kept + summary.duplicates);
    assert!(
        pairs.windows(2).all(|two| (two[0].first, two[0].second) < (two[1].first, two[1].second))
    );
    (pairs, summary)
}

/// Every pair by the definition: repeated texts with their first one; others where a band agrees and the first of the
/// two is among the first rows of that bucket.
fn expected(all: &[Vec<u8>], options: &SimilarOptions) -> Vec<SimilarPair> {
    let kind = options.minhash.shingles;
    let mut first_of: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (row, text) in all.iter().enumerate() {
        if reference::shingles(text, kind).is_empty() {
            continue;
        }
        match first_of.get(&text[..]) {
            Some(&first) => pairs.push(SimilarPair { first, second: row, jaccard: 1.0 }),
            None => drop(first_of.insert(text, row)),
        }
    }
    let mut rows: Vec<usize> = first_of.into_values().collect();
    rows.sort_unstable();
    let mut candidates: BTreeSet<(usize, usize)> = BTreeSet::new();
    let signature = |row: usize| reference::signature(&all[row], &options.minhash);
    let signatures: BTreeMap<usize, Vec<u32>> =
        rows.iter().map(|&row| (row, signature(row))).collect();
    for band in 0..options.banding.bands {
        let mut buckets: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
        for (&row, signature) in &signatures {
            let place = band * options.banding.rows..(band + 1) * options.banding.rows;
            buckets.entry(&signature[place]).or_default().push(row);
        }
        for bucket in buckets.values() {
            for (rank, &first) in bucket.iter().enumerate().take(options.bucket_limit) {
                candidates.extend(bucket[rank + 1..].iter().map(|&second| (first, second)));
            }
        }
    }
    for (first, second) in candidates {
        let jaccard = reference::jaccard(&all[first], &all[second], kind);
        assert_eq!(super::jaccard(&all[first], &all[second], &options.minhash).unwrap(), jaccard);
        if jaccard >= options.threshold {
            pairs.push(SimilarPair { first, second, jaccard });
        }
    }
    pairs.sort_by_key(|pair| (pair.first, pair.second));
    pairs
}

fn options(shingles: Shingles, threshold: f64) -> SimilarOptions {
    let minhash = MinHashOptions { shingles, functions: 48, seed: 3 };
    SimilarOptions::for_threshold(threshold, minhash).unwrap()
}

#[test]
fn the_pairs_are_those_of_the_definition() {
    let mut rng = generator("minhash::pairs");
    for (count, shingles, threshold) in [
        (0, Shingles::Characters(3), 0.5),
        (1, Shingles::Characters(3), 0.5),
        (2, Shingles::Words(1), 0.5),
        (211, Shingles::Characters(4), 0.6),
        (211, Shingles::Words(2), 0.3),
        (150, Shingles::Words(1), 1.0),
    ] {
        let all = family(&mut rng, count);
        let options = options(shingles, threshold);
        let (pairs, summary) = found(&all, 0, &options, &on(Route::Cpu));
        assert_eq!(pairs, expected(&all, &options), "{count} {shingles:?}");
        assert_eq!(summary.crowded_rows, 0);
        let crowded = SimilarOptions { bucket_limit: 2, ..options };
        let (pairs, _) = found(&all, 0, &crowded, &on(Route::Cpu));
        assert_eq!(pairs, expected(&all, &crowded), "{count} {shingles:?}, crowded");
        assert!(summary.candidates >= summary.checked && summary.checked >= summary.kept);
    }
}

#[test]
fn texts_added_step_by_step_give_the_pairs_of_all_at_once() {
    let mut rng = generator("minhash::steps");
    let all = family(&mut rng, 300);
    // A small limit too: who is first in a bucket does not depend on the steps.
    for bucket_limit in [128, 2] {
        let options = SimilarOptions { bucket_limit, ..options(Shingles::Characters(3), 0.5) };
        let (whole, _) = found(&all, 0, &options, &on(Route::Cpu));
        let mut steps = Vec::new();
        for (before, end) in [(0, 100), (100, 101), (101, 260), (260, 300)] {
            steps.extend(found(&all[..end], before, &options, &on(Route::Cpu)).0);
        }
        steps.sort_by_key(|pair| (pair.first, pair.second));
        assert_eq!(steps, whole);
    }
}

#[test]
fn neither_budget_nor_threads_change_a_pair() {
    let mut rng = generator("minhash::similar_threads");
    let mut all = family(&mut rng, 3000);
    all.extend((0..1500).map(|row| format!("a template with the number {}", row / 3).into_bytes()));
    let options = SimilarOptions { bucket_limit: 5, ..options(Shingles::Characters(3), 0.5) };
    let (whole, stats) = found(&all, 0, &options, &on(Route::Cpu));
    assert!(stats.crowded_rows > 0);
    let tiny = Execution { budget: Budget::host(1), ..on(Route::Cpu) };
    let (texts, functions) = (Texts::new(&all), options.minhash.functions);
    let values = signed(&texts, &options.minhash);
    let new = corpus(&texts, &values, functions);
    for threads in [1, 3] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let tiny = Execution { pool: pool.clone(), ..tiny.clone() };
        let error = similar(None, new, &options, &mut SimilarPairs::new(), &tiny).unwrap_err();
        let Error::BudgetTooSmall { least_bytes, .. } = error else {
            panic!("{error}");
        };
        for host_bytes in [least_bytes, least_bytes + 20_000] {
            let pool = pool.clone();
            let execution = Execution { budget: Budget::host(host_bytes), pool, ..on(Route::Cpu) };
            let (pairs, summary) = found(&all, 0, &options, &execution);
            assert!(pairs == whole, "{host_bytes} {threads}");
            assert!(summary.stats.tiles > stats.stats.tiles, "it was split");
            let counted =
                |s: &Summary| (s.duplicates, s.candidates, s.checked, s.kept, s.crowded_rows);
            assert_eq!(counted(&summary), counted(&stats));
        }
    }
}

#[test]
fn many_equal_texts_are_a_star() {
    let all: Vec<Vec<u8>> = (0..20_000).map(|row| vec![b'a' + (row % 2) as u8; 40]).collect();
    let (pairs, summary) = found(&all, 0, &options(Shingles::Characters(5), 0.9), &on(Route::Cpu));
    assert_eq!((pairs.len(), summary.duplicates, summary.checked), (19_998, 19_998, 0));
    assert!(pairs.iter().all(|pair| pair.first == pair.second % 2 && pair.jaccard == 1.0));
}

#[test]
fn a_template_filled_out_often_takes_linear_time_and_stays_connected() {
    let fill = |row: usize| format!("{}{row:05}", "a long and common beginning ".repeat(4));
    let all: Vec<Vec<u8>> = (0..3000).map(|row| fill(row).into_bytes()).collect();
    let options = SimilarOptions { bucket_limit: 4, ..options(Shingles::Characters(5), 0.6) };
    let (pairs, summary) = found(&all, 0, &options, &on(Route::Cpu));
    let most = (3000 * options.bucket_limit * options.banding.bands) as u64;
    assert!(summary.crowded_rows > 0 && summary.candidates <= most, "{summary:?}");
    let mut linked = vec![false; 3000];
    for pair in &pairs {
        (linked[pair.first], linked[pair.second]) = (true, true);
    }
    assert!(linked.iter().all(|&linked| linked));
}

#[test]
fn texts_larger_than_the_tables_are_checked_in_passes() {
    let mut rng = generator("minhash::passes");
    let mut long = Vec::new();
    while long.len() < 30_000 {
        long.extend(text(&mut rng, 100));
    }
    let mut other = long.clone();
    other[9_000..12_000].fill(b'z');
    let options = options(Shingles::Characters(6), 0.5);
    let jaccard = reference::jaccard(&long, &other, options.minhash.shingles);
    let all = vec![long, b"short".to_vec(), other];
    let expected = vec![SimilarPair { first: 0, second: 2, jaccard }];
    for host_bytes in [1 << 30, 200_000] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(2).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..on(Route::Cpu) };
        assert_eq!(found(&all, 0, &options, &execution).0, expected, "{host_bytes}");
    }
}

#[test]
fn bad_options_are_errors_that_name_them() {
    let texts = Texts::new(&["abcdef", "abcdef"]);
    let usual = options(Shingles::Characters(3), 0.5);
    let values = signed(&texts, &usual.minhash);
    let run = |options: SimilarOptions, limit: usize, execution: &Execution| {
        let mut sink = SimilarPairs::new().with_limit(limit);
        let new = corpus(&texts, &values, 48);
        similar(None, new, &options, &mut sink, execution).unwrap_err().to_string()
    };
    let cpu = on(Route::Cpu);
    for (options, expected) in [
        (
            SimilarOptions { threshold: 0.0, ..usual },
            "minhash: threshold is 0; it must be above 0 and at most 1",
        ),
        (
            SimilarOptions { bucket_limit: 0, ..usual },
            "minhash: bucket_limit is 0; at least 1 is needed",
        ),
        (
            SimilarOptions { banding: Banding { bands: 7, rows: 7 }, ..usual },
            "minhash: banding is 7 bands of 7 rows; both must be at least 1 and their product at most 48",
        ),
        (
            SimilarOptions { minhash: MinHashOptions { seed: 4, ..usual.minhash }, ..usual },
            "minhash: a signature that is not that of text 0; signatures of the same texts, shingles, functions and \
             seed are needed",
        ),
        (
            SimilarOptions { minhash: MinHashOptions { functions: 50, ..usual.minhash }, ..usual },
            "minhash: signatures of 48 values; the 50 of the options are needed",
        ),
    ] {
        assert_eq!(run(options, 10, &cpu), expected);
    }
    assert_eq!(
        run(usual, 0, &cpu),
        "minhash: more than 0 pairs reach the threshold; raise the threshold or the limit"
    );
    let control = Control::new();
    control.cancel();
    let cancelled = Execution { control, ..on(Route::Cpu) };
    assert!(run(usual, 10, &cancelled).starts_with("minhash: cancelled after 0 of "));
    let three = MatrixView::new(&values[..48], 1, 48).unwrap();
    assert_eq!(
        Corpus::new(texts.view(), three).unwrap_err().to_string(),
        "minhash: 1 signatures; 2 texts need as many"
    );
}
