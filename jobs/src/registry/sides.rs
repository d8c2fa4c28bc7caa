//! Which rows a training learns from, ends by and is judged by.

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Learned from.
    Train,
    /// Training ends by it.
    Validation,
    /// The model is judged by it.
    HeldOut,
}

/// The side of a group of rows at random: it follows from the group, the seed and the shares alone, so that more rows
/// change no other's, and a model that was trained before is judged by rows that it did not see either. `validation`:
/// of those that are not held out.
pub(crate) fn side(group: u64, held_out: f64, validation: f64, seed: u64) -> Side {
    if share(group, seed) < held_out {
        return Side::HeldOut;
    }
    inner_side(group, validation, seed)
}

/// The side of a group that is not held out.
pub(crate) fn inner_side(group: u64, validation: f64, seed: u64) -> Side {
    if share(group, seed ^ VALIDATION_SEED) < validation { Side::Validation } else { Side::Train }
}

const VALIDATION_SEED: u64 = 0x5157_2d3f_9b1c_04e7;

/// A number from 0 to 1 that follows from a group and a seed (the finaliser of MurmurHash3).
pub(crate) fn share(group: u64, seed: u64) -> f64 {
    let mut x = group ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((x ^ (x >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
}
