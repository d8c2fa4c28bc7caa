//! A part of the base as codes, and the sizes of the CPU's tiles.

use rayon::prelude::*;

use super::screen::{Kernel, PanelFacts};
use super::space::{Side, quantise};
use super::{Metric, OPERATION};
use crate::budget::zeroed;
use crate::element::Element;
use crate::error::Result;
use crate::progress::Control;

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
    first: usize,
    rows: usize,
    codes: Vec<u8>,
    facts: Vec<PanelFacts>,
}

/// Panels of a part.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    /// Position of the first row.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) codes: &'a [u8],
    pub(super) facts: &'a [PanelFacts],
}

impl Part {
    pub(super) fn allocate(plan: &Plan) -> Result<Self> {
        let codes = zeroed(OPERATION, plan.part_panels * plan.steps() * plan.kernel.cols * 4)?;
        let facts = vec![PanelFacts::NONE; plan.part_panels];
        Ok(Self { first: 0, rows: 0, codes, facts })
    }

    /// Codes the rows of `base` from `first` on, as many as there is room for.
    pub(super) fn fill<T: Element>(
        &mut self,
        base: &Side<'_, T>,
        (metric, tilt): (Metric, &[f64]),
        plan: &Plan,
        first: usize,
        control: &Control,
    ) -> Result<()> {
        let (cols, steps) = (plan.kernel.cols, plan.steps());
        self.first = first;
        self.rows = (plan.part_panels * cols).min(base.rows.len() - first);
        let rows = self.rows;
        let panels = self.codes.par_chunks_mut(steps * cols * 4).zip(&mut self.facts);
        panels.take(rows.div_ceil(cols)).enumerate().try_for_each_init(
            || (vec![0.0; plan.padded()], vec![0i8; plan.padded()]),
            |(work, coded), (panel, (codes, facts))| {
                control.check(OPERATION)?;
                *facts = PanelFacts::NONE;
                for place in 0..cols.min(rows - panel * cols) {
                    let position = first + panel * cols + place;
                    let measured = quantise(
                        base.vector(position),
                        base.factor(position),
                        &base.centre,
                        tilt,
                        127.0,
                        work,
                        coded,
                    );
                    facts.set(place, measured.of_base(metric));
                    let lines = codes.chunks_exact_mut(cols * 4);
                    for (line, four) in lines.zip(coded.chunks_exact(4)) {
                        for (code, &value) in line[4 * place..][..4].iter_mut().zip(four) {
                            *code = (value as u8) ^ 0x80;
                        }
                    }
                }
                Ok(())
            },
        )
    }

    /// All panels.
    pub(super) fn panels(&self) -> Panels<'_> {
        let (first, rows) = (self.first, self.rows);
        Panels { first, rows, codes: &self.codes, facts: &self.facts }
    }

    /// The panels of one of `parts` threads.
    pub(super) fn share(&self, plan: &Plan, parts: usize, part: usize) -> Panels<'_> {
        let (cols, steps) = (plan.kernel.cols, plan.steps());
        let panels = self.rows.div_ceil(cols);
        let (start, end) = (part * panels / parts, (part + 1) * panels / parts);
        let rows = (end * cols).min(self.rows).saturating_sub(start * cols);
        let line = steps * cols * 4;
        Panels {
            first: self.first + start * cols,
            rows,
            codes: &self.codes[start * line..end * line],
            facts: &self.facts[start..end],
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.codes.len() + self.facts.len() * size_of::<PanelFacts>()
    }
}
