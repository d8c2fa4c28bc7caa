//! Signatures of texts that come in similar pairs, and those pairs found again.

use std::error::Error;
use std::rc::Rc;

use benches::Random;
use kernels::minhash::{
    Corpus, MinHashOptions, Shingles, SimilarOptions, SimilarPairs, TextsView, estimate,
    signatures, similar,
};
use kernels::{Execution, MatrixView, MatrixViewMut};

use super::{Case, Run, timed};
use crate::setup::Setup;

/// The Jaccard similarity from which a pair counts.
const THRESHOLD: f64 = 0.6;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, words) = (setup.size("rows", 5_000), setup.size("words", 80));
    let functions = setup.size("functions", 128);
    let (bytes, offsets) = pairs(rows, words);
    setup.write_bytes("texts.bin", &bytes)?;
    setup.write("offsets.i64", &offsets, i64::to_le_bytes)?;
    let data = Rc::new((bytes, offsets));
    let case = |name, shingles, peers, tolerance, note: &str, pairs: bool| {
        let data = data.clone();
        let minhash = MinHashOptions { shingles, functions, seed: 1 };
        let mut values = vec![0; rows * functions];
        let run = move || {
            let texts = TextsView::new(&data.0, &data.1[..])?;
            if pairs {
                found(texts, &minhash, &mut values, &setup.execution)
            } else {
                signed(texts, &minhash, &mut values, &setup.execution)
            }
        };
        Case { name, peers, tolerance, note: note.into(), run: Box::new(run) }
    };
    let peers: &[&str] = &[
        "datasketch",
        "datasketch, shingles made before",
        "rensa",
        "rensa, shingles made before",
        "rensa, hashes made before",
    ];
    let note =
        "ours begins with bytes; the sample is of estimates, which differ by their standard error";
    Ok(vec![
        case("minhash, 5 characters", Shingles::Characters(5), peers, 0.05, note, false),
        case("minhash, 1 word", Shingles::Words(1), peers, 0.05, note, false),
        case(
            "similar pairs, 5 characters",
            Shingles::Characters(5),
            &["datasketch, LSH", "rensa, LSH"],
            0.002,
            "signatures, candidates, and an exact check of each",
            true,
        ),
    ])
}

/// Texts of which each second one is the one before with some words changed.
fn pairs(rows: usize, words: usize) -> (Vec<u8>, Vec<i64>) {
    let mut random = Random::new(7);
    let word = |random: &mut Random| -> String {
        let length = 2 + random.bits() as usize % 8;
        (0..length).map(|_| char::from(b'a' + (random.uniform().powi(2) * 26.0) as u8)).collect()
    };
    let (mut bytes, mut offsets) = (Vec::new(), vec![0]);
    let mut before: Vec<String> = Vec::new();
    for row in 0..rows {
        if row % 2 == 0 {
            before = (0..words).map(|_| word(&mut random)).collect();
        } else {
            // One word in sixty-four, and one at least.
            for _ in 0..words.div_ceil(64) {
                let at = random.bits() as usize % words;
                before[at] = word(&mut random);
            }
        }
        bytes.extend(before.join(" ").bytes());
        offsets.push(bytes.len() as i64);
    }
    (bytes, offsets)
}

fn sign<'v>(
    texts: TextsView<'_>,
    minhash: &MinHashOptions,
    values: &'v mut [u32],
    execution: &Execution,
) -> Result<MatrixView<'v, u32>, kernels::Error> {
    let (rows, functions) = (texts.len(), minhash.functions);
    signatures(texts, minhash, MatrixViewMut::new(&mut *values, rows, functions)?, execution)?;
    MatrixView::new(values, rows, functions)
}

/// Means of the estimates of sixteen groups of pairs.
fn signed(
    texts: TextsView<'_>,
    minhash: &MinHashOptions,
    values: &mut [u32],
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    timed(
        || sign(texts, minhash, values, execution),
        |signed| {
            let pairs = texts.len() / 2;
            let of = |pair: usize| estimate(signed.row(2 * pair), signed.row(2 * pair + 1));
            (0..16)
                .map(|group| {
                    let group: Vec<f64> = (group..pairs).step_by(16).map(of).collect();
                    group.iter().sum::<f64>() / group.len() as f64
                })
                .collect()
        },
    )
}

/// How many pairs there are, and the mean of their similarities.
fn found(
    texts: TextsView<'_>,
    minhash: &MinHashOptions,
    values: &mut [u32],
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let work = || {
        let signed = sign(texts, minhash, values, execution)?;
        let mut sink = SimilarPairs::new();
        let options = SimilarOptions::for_threshold(THRESHOLD, *minhash)?;
        similar(None, Corpus::new(texts, signed)?, &options, &mut sink, execution)?;
        Ok(sink.into_pairs())
    };
    timed(work, |pairs| {
        let sum: f64 = pairs.iter().map(|pair| pair.jaccard).sum();
        vec![pairs.len() as f64, sum / pairs.len() as f64]
    })
}
