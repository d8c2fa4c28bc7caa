//! A part of the base as codes, and the sizes of the CPU's tiles.

use rayon::prelude::*;

use super::OPERATION;
use super::screen::{Kernel, PanelFacts};
use super::space::{Problem, quantise};
use crate::budget::zeroed;
use crate::element::Element;
use crate::error::Result;

/// The sizes of a tile.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) kernel: Kernel,
    pub(super) dimensions: usize,
    /// Panels of the base in a part.
    pub(super) part_panels: usize,
    /// Panels of queries in a block.
    pub(super) block_panels: usize,
    /// Candidates that a query may have waiting.
    pub(super) waiting: usize,
}

impl Plan {
    /// Groups of four dimensions.
    pub(super) fn steps(&self) -> usize {
        self.dimensions.div_ceil(4)
    }

    /// Values of a row on its way to codes.
    pub(super) fn padded(&self) -> usize {
        self.dimensions.next_multiple_of(8)
    }

    pub(super) fn row_bytes(&self) -> usize {
        self.padded() * (size_of::<f64>() + size_of::<i8>())
    }

    pub(super) fn part_bytes(&self) -> usize {
        self.part_panels * (self.steps() * self.kernel.cols * 4 + size_of::<PanelFacts>())
    }
}

/// A part of the base, as codes.
pub(super) struct Part {
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) codes: Vec<u8>,
    pub(super) facts: Vec<PanelFacts>,
}

impl Part {
    pub(super) fn allocate(plan: &Plan) -> Result<Self> {
        let codes = zeroed(OPERATION, plan.part_panels * plan.steps() * plan.kernel.cols * 4)?;
        let facts = vec![PanelFacts::NONE; plan.part_panels];
        Ok(Self { first: 0, rows: 0, codes, facts })
    }

    pub(super) fn fill<T: Element>(&mut self, problem: &Problem<'_, T>, plan: &Plan, first: usize) {
        let (cols, steps) = (plan.kernel.cols, plan.steps());
        let base = &problem.base;
        self.first = first;
        self.rows = (plan.part_panels * cols).min(base.rows.len() - first);
        let rows = self.rows;
        let panels = self.codes.par_chunks_mut(steps * cols * 4).zip(&mut self.facts);
        panels.take(rows.div_ceil(cols)).enumerate().for_each_init(
            || (vec![0.0; plan.padded()], vec![0i8; plan.padded()]),
            |(work, coded), (panel, (codes, facts))| {
                *facts = PanelFacts::NONE;
                for place in 0..cols.min(rows - panel * cols) {
                    let position = first + panel * cols + place;
                    let measured = quantise(
                        base.vector(position),
                        base.factor(position),
                        &base.centre,
                        &problem.tilt,
                        127.0,
                        work,
                        coded,
                    );
                    facts.set(place, measured.of_base(problem.metric));
                    let lines = codes.chunks_exact_mut(cols * 4);
                    for (line, four) in lines.zip(coded.chunks_exact(4)) {
                        for (code, &value) in line[4 * place..][..4].iter_mut().zip(four) {
                            *code = (value as u8) ^ 0x80;
                        }
                    }
                }
            },
        );
    }
}
