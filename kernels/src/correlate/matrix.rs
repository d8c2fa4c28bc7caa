//! A sink that keeps every coefficient, for matrices that fit into memory.

use rayon::prelude::*;

use super::sink::{PairSink, ScoreBlock};
use super::{OPERATION, Summary};
use crate::budget::zeroed;
use crate::error::{Error, Result};

/// Rows of the matrix that one thread writes at a time.
const BAND: usize = 32;
/// Columns of a block that are turned together: one cache line of them.
const TURNED: usize = 8;

/// Keeps all coefficients as one row-major matrix. It is outside of the [budget](crate::Budget): 8 bytes for each of
/// `rows × cols`.
///
/// ```
/// use kernels::correlate::{CoefficientMatrix, correlate};
/// use kernels::{Execution, MatrixView};
///
/// let series = [1.0, 2.0, 3.0, /**/ 3.0, 2.0, 1.0, /**/ 5.0, 5.0, 5.0];
/// let mut sink = CoefficientMatrix::within(3)?;
/// let summary = correlate(MatrixView::new(&series, 3, 3)?, &mut sink, &Execution::default())?;
/// let matrix = sink.into_values(&summary);
/// assert!((matrix[1] + 1.0).abs() < 1e-12 && matrix[0] == 1.0);
/// assert!(matrix[8].is_nan()); // the third series is constant
/// # Ok::<(), kernels::Error>(())
/// ```
#[derive(Debug)]
pub struct CoefficientMatrix {
    rows: usize,
    cols: usize,
    is_symmetric: bool,
    values: Vec<f64>,
}

impl CoefficientMatrix {
    /// For the pairs of one matrix of `rows` series: both halves are filled. Fails where there is no memory for it.
    pub fn within(rows: usize) -> Result<Self> {
        Ok(Self { is_symmetric: true, ..Self::between(rows, rows)? })
    }

    /// For `rows` series against `cols` others. Fails where there is no memory for it.
    pub fn between(rows: usize, cols: usize) -> Result<Self> {
        let values = zeroed(OPERATION, rows.saturating_mul(cols))?;
        Ok(Self { rows, cols, is_symmetric: false, values })
    }

    /// `rows × cols` coefficients, -1 to 1, by row. Within one matrix the diagonal is 1. NaN where a coefficient is
    /// not defined; `summary`, as the operation gave it, says which series were left out.
    pub fn into_values(mut self, summary: &Summary) -> Vec<f64> {
        if self.is_symmetric {
            for row in 0..self.rows {
                self.values[row * self.cols + row] = 1.0;
            }
            for (row, _) in &summary.excluded {
                self.values[row * self.cols + row] = f64::NAN;
            }
        }
        self.values
    }

    fn check(&self, block: &ScoreBlock<'_>) -> Result<()> {
        let (rows, cols) = (block.rows().end, block.cols().end);
        if rows <= self.rows && cols <= self.cols && block.symmetric == self.is_symmetric {
            return Ok(());
        }
        Err(Error::Shape {
            operation: OPERATION,
            found: format!("a matrix made for {} x {} coefficients", self.rows, self.cols),
            expected: "one as large as the series are many, for one matrix or for two".into(),
        })
    }
}

impl PairSink for CoefficientMatrix {
    type Part = ();

    fn scan(&self, _block: &ScoreBlock<'_>) {}

    fn take(&mut self, block: &ScoreBlock<'_>, _part: ()) -> Result<()> {
        self.take_all(std::slice::from_ref(block))
    }

    fn take_all(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()> {
        blocks.iter().try_for_each(|block| self.check(block))?;
        if self.cols == 0 {
            return Ok(());
        }
        let cols = self.cols;
        self.values.par_chunks_mut(BAND * cols).enumerate().for_each(|(index, band)| {
            for block in blocks {
                copy(block, index * BAND, band, cols);
                if block.symmetric {
                    turn(block, index * BAND, band, cols);
                }
            }
        });
        Ok(())
    }
}

/// Copies the rows of a block that lie in a band of the matrix.
fn copy(block: &ScoreBlock<'_>, row0: usize, band: &mut [f64], cols: usize) {
    let first = block.rows().start.max(row0);
    let last = block.rows().end.min(row0 + band.len() / cols);
    for row in first..last {
        let (col, scores) = block.row(row);
        band[(row - row0) * cols + col..][..scores.len()].copy_from_slice(scores);
    }
}

/// Copies the columns of a block that are rows of a band.
fn turn(block: &ScoreBlock<'_>, row0: usize, band: &mut [f64], cols: usize) {
    let first = block.cols().start.max(row0);
    let last = block.cols().end.min(row0 + band.len() / cols);
    for start in (first..last).step_by(TURNED) {
        for row in block.rows() {
            let (col, scores) = block.row(row);
            let begin = start.max(col);
            let end = (start + TURNED).min(last);
            for (turned, &score) in (begin..end).zip(scores.get(begin - col..).unwrap_or_default())
            {
                band[(turned - row0) * cols + row] = score;
            }
        }
    }
}
