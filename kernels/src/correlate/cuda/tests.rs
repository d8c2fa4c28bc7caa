//! The screen by itself.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::correlate::{SOURCE, normalise};
use crate::cuda::emulated::Emulated;
use crate::tolerance::CORRELATE_SCREEN;
use crate::view::MatrixView;

#[test]
fn the_screen_is_within_its_bound() {
    let device = Emulated::new(&SOURCE, 1 << 30);
    // More steps than stages; a tail; more than one slab; values that all round the same way.
    for (rows, cols, samples) in [(5, 140, 330), (2, 3, 2500)] {
        let rough = |t: usize| 1.0 + ((t * 7919) % 1000) as f32 * 1e-3;
        let value = |row: usize, t: usize| {
            let sign = if (t >> (row % 3)).is_multiple_of(2) { 1.0 } else { -1.0 };
            if row.is_multiple_of(2) { sign } else { sign * rough(t + row) }
        };
        let fill = |count: usize| -> Vec<f32> {
            (0..count * samples).map(|at| value(at / samples, at % samples)).collect()
        };
        let (x, y) = (fill(rows), fill(cols));
        let x = MatrixView::new(&x, rows, samples).unwrap();
        let y = MatrixView::new(&y, cols, samples).unwrap();
        let (own, others) = (normalise::normals(x), normalise::normals(y));
        let (x, y) = (Side { view: x, normals: &own }, Side { view: y, normals: &others });
        let plan = Plan::new::<f32>(rows, cols, samples);
        let (backend, pairing) = (&device, Pairing::Between);
        let tile = Tile { backend, x, y, row0: 0, col0: 0, pairing, plan };
        let mut buffers = Buffers::allocate::<f32>(&device, &plan).unwrap();
        let execution = Execution::default();
        tile.multiply_screen(&mut buffers, &execution).unwrap();
        let mut scores = vec![0.0; plan.padded_rows() * plan.padded_cols()];
        device.download(&buffers.scores, 0, bytemuck::cast_slice_mut(&mut scores)).unwrap();
        let mut pairs: Vec<(usize, usize, f64)> =
            (0..rows * cols).map(|at| (at / cols, at % cols, 0.0)).collect();
        screen::exact((x, 0), (y, 0), &mut pairs, &execution).unwrap();
        let mut largest = 0.0f64;
        for (row, col, r) in pairs {
            let off = (scores[row * plan.padded_cols() + col] - r).abs();
            assert!(off <= CORRELATE_SCREEN, "({row}, {col}) is off by {off}");
            largest = largest.max(off);
        }
        assert!(largest > 0.0, "bfloat16 rounds");
    }
}
