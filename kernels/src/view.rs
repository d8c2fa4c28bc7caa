//! Matrices of series as typed views.
//!
//! Every operation would otherwise check its own slices, lengths and strides, each a little
//! differently. A view is checked once, when it is made: one that exists is sound.
//!
//! ```text
//! rows = series, cols = samples in time order, stride >= cols
//!
//!   data: [ r0 c0 … r0 cN | gap | r1 c0 … r1 cN | gap | … | rM c0 … rM cN ]
//!          <--- cols ---->       (the last row needs no gap)
//!          <------- stride ---->
//! ```

use crate::error::{Error, Result};

/// A read-only matrix: rows are series, columns are samples.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T> MatrixView<'a, T> {
    /// Views `data` as `rows` × `cols`, rows following each other without gaps.
    ///
    /// Fails when `data` does not hold exactly that many values.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Result<Self> {
        check_exact("matrix view", data.len(), rows, cols)?;
        Ok(Self { data, rows, cols, stride: cols })
    }

    /// Views `data` as `rows` × `cols` whose rows begin `stride` values apart.
    ///
    /// Fails when `stride` is less than `cols` or `data` ends before the last row does.
    pub fn with_stride(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Result<Self> {
        check_strided("matrix view", data.len(), rows, cols, stride)?;
        Ok(Self { data, rows, cols, stride })
    }

    /// Number of series.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of samples in each series.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One series. An index that is out of range gives an empty slice.
    #[inline]
    pub fn row(&self, row: usize) -> &'a [T] {
        let start = row.saturating_mul(self.stride);
        self.data.get(start..start.saturating_add(self.cols)).unwrap_or(&[])
    }
}

/// A matrix for results, of the same layout as [`MatrixView`].
#[derive(Debug)]
pub struct MatrixViewMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, T> MatrixViewMut<'a, T> {
    /// Views `data` as `rows` × `cols`, rows following each other without gaps.
    ///
    /// Fails when `data` does not hold exactly that many values.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self> {
        check_exact("matrix view for results", data.len(), rows, cols)?;
        Ok(Self { data, rows, cols, stride: cols })
    }

    /// Views `data` as `rows` × `cols` whose rows begin `stride` values apart.
    ///
    /// Fails when `stride` is less than `cols` or `data` ends before the last row does.
    pub fn with_stride(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Result<Self> {
        check_strided("matrix view for results", data.len(), rows, cols, stride)?;
        Ok(Self { data, rows, cols, stride })
    }

    /// Number of series.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of samples in each series.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The rows from first to last, each as its own slice.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let cols = self.cols;
        // A matrix without columns has rows all the same; `chunks_mut` could not count them.
        let empty_rows = if cols == 0 { self.rows } else { 0 };
        self.data
            .chunks_mut(self.stride.max(1))
            .take(if cols == 0 { 0 } else { self.rows })
            .map(move |row| &mut row[..cols])
            .chain((0..empty_rows).map(|_| <&mut [T]>::default()))
    }

    /// The values, where rows follow each other without gaps.
    pub(crate) fn as_slice_mut(&mut self) -> Option<&mut [T]> {
        if self.is_whole() { self.data.get_mut(..self.rows * self.cols) } else { None }
    }

    /// Whether rows follow each other without gaps.
    pub(crate) fn is_whole(&self) -> bool {
        self.rows < 2 || self.stride == self.cols
    }

    /// Bands of `rows` rows from first to last; the last one may have fewer.
    pub(crate) fn bands_mut(&mut self, rows: usize) -> impl Iterator<Item = MatrixViewMut<'_, T>> {
        let Self { rows: all, cols, stride, .. } = *self;
        let band = rows.max(1).saturating_mul(stride).max(1);
        let count = if cols == 0 { 0 } else { all.div_ceil(rows.max(1)) };
        self.data.chunks_mut(band).take(count).enumerate().map(move |(index, data)| {
            let rows = rows.max(1).min(all - index * rows.max(1));
            MatrixViewMut { data, rows, cols, stride }
        })
    }
}

fn check_exact(operation: &'static str, len: usize, rows: usize, cols: usize) -> Result<()> {
    if rows.checked_mul(cols) == Some(len) {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        found: format!("{len} values for {rows} rows x {cols} columns"),
        expected: format!("{rows} x {cols} = {} values are needed", rows as u128 * cols as u128),
    })
}

fn check_strided(
    operation: &'static str,
    len: usize,
    rows: usize,
    cols: usize,
    stride: usize,
) -> Result<()> {
    if stride < cols {
        return Err(Error::Shape {
            operation,
            found: format!("rows of {cols} columns that begin {stride} values apart"),
            expected: format!("a stride of at least {cols} is needed"),
        });
    }
    let needed = if rows == 0 { 0 } else { (rows as u128 - 1) * stride as u128 + cols as u128 };
    if len as u128 >= needed {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        found: format!("{len} values for {rows} rows x {cols} columns with stride {stride}"),
        expected: format!("at least {needed} values are needed"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_wrong_length_names_both_shapes() {
        let error = MatrixView::new(&[1.0f32; 5], 2, 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "matrix view: 5 values for 2 rows x 3 columns; 2 x 3 = 6 values are needed"
        );
    }

    #[test]
    fn a_stride_below_the_columns_is_refused() {
        let error = MatrixView::with_stride(&[1.0f32; 6], 2, 3, 2).unwrap_err();
        assert!(error.to_string().contains("a stride of at least 3 is needed"), "{error}");
    }

    #[test]
    fn the_last_row_needs_no_gap() {
        let data = [0, 1, 9, 2, 3];
        let view = MatrixView::with_stride(&data, 2, 2, 3).unwrap();
        assert_eq!((view.row(0), view.row(1), view.row(2)), (&[0, 1][..], &[2, 3][..], &[][..]));
        assert!(MatrixView::with_stride(&data[..4], 2, 2, 3).is_err());
    }

    #[test]
    fn a_huge_shape_is_an_error_and_no_overflow() {
        assert!(MatrixView::new(&[0u8; 4], usize::MAX, usize::MAX).is_err());
        assert!(MatrixView::with_stride(&[0u8; 4], usize::MAX, 1, usize::MAX).is_err());
    }

    #[test]
    fn bands_hold_every_row_once() {
        let mut data: Vec<usize> = (0..20).collect();
        for (cols, stride) in [(4, 4), (3, 4), (4, 5)] {
            let rows = 20 / stride;
            let mut view = MatrixViewMut::with_stride(&mut data, rows, cols, stride).unwrap();
            assert_eq!(view.is_whole(), stride == cols);
            let mut seen = Vec::new();
            for mut band in view.bands_mut(2) {
                assert!((1..=2).contains(&band.rows()) && band.cols() == cols);
                assert_eq!(band.as_slice_mut().is_some(), stride == cols || band.rows() == 1);
                seen.extend(band.rows_mut().map(|row| row.to_vec()));
            }
            let expected: Vec<Vec<usize>> =
                (0..rows).map(|row| (row * stride..row * stride + cols).collect()).collect();
            assert_eq!(seen, expected);
        }
        let mut none = MatrixViewMut::<u8>::new(&mut [], 3, 0).unwrap();
        assert_eq!(none.bands_mut(2).count(), 0);
    }

    #[test]
    fn rows_of_results_come_in_order_and_empty_ones_are_counted() {
        let mut data = [0; 5];
        let mut view = MatrixViewMut::with_stride(&mut data, 2, 2, 3).unwrap();
        for (index, row) in view.rows_mut().enumerate() {
            row.fill(index + 1);
        }
        assert_eq!(data, [1, 1, 0, 2, 2]);
        let mut none: [i32; 0] = [];
        assert_eq!(MatrixViewMut::new(&mut none, 3, 0).unwrap().rows_mut().count(), 3);
    }
}
