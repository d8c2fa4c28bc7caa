//! Signatures on the CPU: texts side by side on all cores, hash functions side by side in vectors.
//!
//! ```text
//!   text ──▶ block of hashes ──▶ 64 functions at a time: least values in registers over the whole block
//! ```
//! A long text is cut into parts whose signatures are merged: the least of the least.

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use super::{OPERATION, Plan, TextsView, family};
use crate::budget::largest_tile;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::view::MatrixViewMut;

/// Hashes that are kept before they are used: few enough for the first cache, many enough that it does not
/// matter that the least values are loaded and stored once for each block.
const BLOCK: usize = 1024;
/// Texts that a thread takes together.
const GROUP: usize = 16;
/// Groups between two looks at the rows of results.
const TILE: usize = 256 * GROUP;
/// Bytes of a part of a long text.
pub(super) const PART: usize = 1 << 18;

pub(super) fn run(
    texts: TextsView<'_>,
    plan: &Plan,
    mut results: MatrixViewMut<'_, u32>,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let tile = TILE.min(texts.len());
    let cost = |threads: usize| bytes(plan, threads) + tile * size_of::<&mut [u32]>();
    let most = rayon::current_num_threads();
    let threads = largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, cost)?;
    stats.peak_bytes = cost(threads) as u64;
    stats.tiles = texts.len().div_ceil(tile) as u64;
    execution.control.begin(texts.len() as u64);
    let mut work = || {
        let mut rows = results.rows_mut();
        for first in (0..texts.len()).step_by(tile) {
            let mut rows: Vec<&mut [u32]> = rows.by_ref().take(tile).collect();
            sign(texts, first, plan, &mut rows, execution)?;
        }
        Ok(())
    };
    match std::num::NonZeroUsize::new(threads) {
        Some(fewer) if threads < most => Pool::of_size(fewer)?.run(work),
        _ => work(),
    }
}

/// What [`sign`] takes on some threads.
pub(super) fn bytes(plan: &Plan, threads: usize) -> usize {
    let functions_bytes = plan.coefficients.len() * size_of::<u32>();
    (threads + 1) * functions_bytes + threads * BLOCK * size_of::<u64>()
}

/// Writes the signatures of the texts from `first` on, one to each row.
pub(super) fn sign(
    texts: TextsView<'_>,
    first: usize,
    plan: &Plan,
    rows: &mut [&mut [u32]],
    execution: &Execution,
) -> Result<()> {
    rows.par_chunks_mut(GROUP).enumerate().try_for_each_init(
        || Signer::new(plan),
        |signer, (group, rows)| {
            for (place, row) in rows.iter_mut().enumerate() {
                let text = texts.text(first + group * GROUP + place);
                if text.len() <= PART {
                    execution.control.check(OPERATION)?;
                    row.copy_from_slice(signer.sign(text, 0..text.len()));
                    execution.control.advance(1);
                }
            }
            Ok(())
        },
    )?;
    for (place, row) in rows.iter_mut().enumerate() {
        let text = texts.text(first + place);
        if text.len() > PART {
            row.copy_from_slice(&long(text, plan, execution)?);
            execution.control.advance(1);
        }
    }
    Ok(())
}

/// The signature of a long text, on all threads.
fn long(text: &[u8], plan: &Plan, execution: &Execution) -> Result<Vec<u32>> {
    let least = Mutex::new(vec![u32::MAX; plan.functions]);
    (0..text.len().div_ceil(PART)).into_par_iter().try_for_each_init(
        || Signer::new(plan),
        |signer, part| {
            execution.control.check(OPERATION)?;
            let found = signer.sign(text, part * PART..text.len().min((part + 1) * PART));
            let mut least = least.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for (least, found) in least.iter_mut().zip(found) {
                *least = (*least).min(*found);
            }
            Ok(())
        },
    )?;
    Ok(least.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// One thread's room for a signature.
pub(super) struct Signer<'a> {
    plan: &'a Plan,
    hashes: Vec<u64>,
    /// As many as there are coefficients.
    minima: Vec<u32>,
}

impl<'a> Signer<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let minima = vec![u32::MAX; plan.coefficients.len()];
        Self { plan, hashes: Vec::with_capacity(BLOCK), minima }
    }

    /// The signature of the shingles of `text` that begin within `starts`.
    pub(super) fn sign(&mut self, text: &[u8], starts: Range<usize>) -> &[u32] {
        let Self { plan, hashes, minima } = self;
        minima.fill(u32::MAX);
        hashes.clear();
        plan.shingler.visit(text, starts, |hash| {
            hashes.push(hash);
            if hashes.len() == BLOCK {
                family::lower(&plan.coefficients, minima, hashes);
                hashes.clear();
            }
        });
        family::lower(&plan.coefficients, minima, hashes);
        minima.get(..plan.functions).unwrap_or(&[])
    }
}
