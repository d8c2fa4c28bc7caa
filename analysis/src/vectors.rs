//! One vector or two. At rest vectors are 16-bit floating-point numbers (IEEE 754 binary16, little-endian): half the bytes of `f32`.

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

/// A number that tells `vector` from another one by its bits; never 0.
pub fn vector_hash(vector: &[f32]) -> u64 {
    let (pairs, rest) = vector.as_chunks::<2>();
    let last = rest.iter().map(|last| [*last, 0.0]);
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for [low, high] in pairs.iter().copied().chain(last) {
        let word = u64::from(high.to_bits()) << 32 | u64::from(low.to_bits());
        hash = (hash ^ word).wrapping_mul(0x2127_599b_f432_5c37);
        hash ^= hash >> 29;
    }
    hash.max(1)
}

/// The cosine of two vectors of one length; none where one has no direction.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    (norms > 0.0 && norms.is_finite()).then(|| dot(a, b) / norms)
}

/// Whether all numbers are finite, and not all of them zero.
pub fn has_direction(vector: &[f32]) -> bool {
    vector.iter().all(|x| x.is_finite()) && vector.iter().any(|x| *x != 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_a_vector_is_the_same_in_every_version() {
        // Indexes keep it: another one would have every row compared again.
        assert_eq!(vector_hash(&[]), 0x9e37_79b9_7f4a_7c15);
        assert_eq!(vector_hash(&[1.0, -2.0, 0.5]), 0x8e35_2406_10e3_cd6f);
        assert_ne!(vector_hash(&[1.0, -2.0]), vector_hash(&[-2.0, 1.0]));
        assert_ne!(vector_hash(&[0.0, 0.0]), vector_hash(&[-0.0, 0.0]));
    }

    #[test]
    fn a_cosine_is_of_directions() {
        assert_eq!(cosine(&[3.0, 4.0], &[6.0, 8.0]), Some(1.0));
        assert_eq!(cosine(&[3.0, 4.0], &[-4.0, 3.0]), Some(0.0));
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[f32::INFINITY, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[f32::NAN, 0.0], &[1.0, 0.0]), None);
        assert!(has_direction(&[0.0, -1.0]) && !has_direction(&[0.0, -0.0]) && !has_direction(&[]));
        assert!(!has_direction(&[1.0, f32::NAN]) && !has_direction(&[f32::INFINITY]));
    }

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
