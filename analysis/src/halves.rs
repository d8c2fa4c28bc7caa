//! Vectors at rest as 16-bit floating-point numbers (IEEE 754 binary16, little-endian): half the bytes of `f32`.

use half::f16;

/// Bytes of one number.
pub const HALF_BYTES: usize = size_of::<f16>();

/// The bytes of `vector`, each number rounded to the nearest half; beyond ±65,504 it becomes infinite.
pub fn to_halves(vector: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(vector.len() * HALF_BYTES);
    bytes.extend(vector.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
    bytes
}

/// Appends the numbers whose bytes `halves` has; a last byte without its second one is ignored.
pub fn append_halves(halves: &[u8], vector: &mut Vec<f32>) {
    let (halves, _) = halves.as_chunks::<HALF_BYTES>();
    vector.extend(halves.iter().map(|half| f16::from_le_bytes(*half).to_f32()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_the_nearest_halves() {
        let halves = to_halves(&[0.0, -1.5, 1.0 / 3.0, 65_504.0, 65_520.0]);
        assert_eq!(&halves[..6], &[0x00, 0x00, 0x00, 0xbe, 0x55, 0x35]);
        let mut vector = vec![7.0];
        append_halves(&halves, &mut vector);
        assert_eq!(vector, [7.0, 0.0, -1.5, 0.333_251_95, 65_504.0, f32::INFINITY]);
        append_halves(&[1], &mut vector);
        assert_eq!(vector.len(), 6);
    }
}
