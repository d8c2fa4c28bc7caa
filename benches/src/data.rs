//! The data: the same for ours and for every peer.

use std::io::Write;
use std::path::PathBuf;

/// Series that wander a little, with an offset each, in memory and in a file of little-endian doubles.
pub struct Matrix {
    /// Row after row.
    pub values: Vec<f64>,
    /// The file; removed when dropped.
    pub path: PathBuf,
}

impl Matrix {
    /// Makes `rows` × `cols` values and writes them to a temporary file.
    pub fn write(rows: usize, cols: usize) -> Result<Self, String> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut uniform = || {
            // splitmix64 (Steele, Lea & Flood, 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut values = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            let mut level = 100.0 + row as f64;
            for _ in 0..cols {
                let noise = uniform() + uniform() + uniform() + uniform() - 2.0;
                level += 0.05 * (uniform() - 0.5);
                values.push(level + noise);
            }
        }
        let name = format!("colonnade-bench-{}.f64", std::process::id());
        let matrix = Self { values, path: std::env::temp_dir().join(name) };
        let bytes: Vec<u8> = matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::File::create(&matrix.path)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(|error| format!("write {}: {error}", matrix.path.display()))?;
        Ok(matrix)
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // Nothing to be done about a temporary file that can't be removed.
        let _ = std::fs::remove_file(&self.path);
    }
}
