//! Bits in words: the k-th that is set, how many are before a place, and neighbours.

/// A place in the words that remembers how many bits are set before it.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    /// Its place.
    pub(super) word: usize,
    /// Bits set in the words before.
    pub(super) below: usize,
}

impl Cursor {
    /// The rank of the k-th set bit, from 0. There must be one.
    #[inline(always)]
    pub(super) fn seek<S: Select>(&mut self, words: &[u64], k: usize) -> usize {
        while self.below > k {
            self.word -= 1;
            self.below -= words[self.word].count_ones() as usize;
        }
        loop {
            let ones = words[self.word].count_ones() as usize;
            if self.below + ones > k {
                return self.word * 64 + S::select(words[self.word], k - self.below);
            }
            self.below += ones;
            self.word += 1;
        }
    }
}

impl Cursor {
    /// How many bits are set at ranks before `rank`.
    #[inline(always)]
    pub(super) fn below(&mut self, words: &[u64], rank: usize) -> usize {
        let word = rank / 64;
        while self.word < word {
            self.below += words[self.word].count_ones() as usize;
            self.word += 1;
        }
        while self.word > word {
            self.word -= 1;
            self.below -= words[self.word].count_ones() as usize;
        }
        let bits = words.get(word).copied().unwrap_or(0) & !(u64::MAX << (rank % 64));
        self.below + bits.count_ones() as usize
    }
}

/// The next set bit.
#[inline(always)]
pub(super) fn after(words: &[u64], rank: usize) -> Option<usize> {
    let mut word = rank / 64;
    let mut bits = words[word] & ((u64::MAX << (rank % 64)) << 1);
    while bits == 0 {
        word += 1;
        bits = *words.get(word)?;
    }
    Some(word * 64 + bits.trailing_zeros() as usize)
}

/// The set bit before.
#[inline(always)]
pub(super) fn before(words: &[u64], rank: usize) -> Option<usize> {
    let mut word = rank / 64;
    let mut bits = words[word] & !(u64::MAX << (rank % 64));
    while bits == 0 {
        word = word.checked_sub(1)?;
        bits = words[word];
    }
    Some(word * 64 + 63 - bits.leading_zeros() as usize)
}

/// The place of the k-th set bit of a word, from 0.
pub(super) trait Select {
    fn select(word: u64, k: usize) -> usize;
}

/// By clearing the lowest bit k times.
pub(super) struct Count;

impl Select for Count {
    #[inline(always)]
    fn select(mut word: u64, k: usize) -> usize {
        for _ in 0..k {
            word &= word - 1;
        }
        word.trailing_zeros() as usize
    }
}

/// By depositing one bit at the k-th set place (BMI2).
#[cfg(target_arch = "x86_64")]
pub(super) struct Deposit;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
impl Select for Deposit {
    #[inline(always)]
    fn select(word: u64, k: usize) -> usize {
        // SAFETY: used in code that runs where BMI2 was detected.
        unsafe { std::arch::x86_64::_pdep_u64(1 << k, word) }.trailing_zeros() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use crate::simd::{Level, level};

    #[test]
    fn both_ways_to_select_agree() {
        for word in [1u64, u64::MAX, 0x8000_0000_0000_0001, 0x0123_4567_89ab_cdef] {
            let places: Vec<usize> = (0..64).filter(|bit| word >> bit & 1 == 1).collect();
            for (k, &place) in places.iter().enumerate() {
                assert_eq!(Count::select(word, k), place);
                #[cfg(target_arch = "x86_64")]
                if level() != Level::Portable {
                    assert_eq!(Deposit::select(word, k), place);
                }
            }
        }
    }

    #[test]
    fn neighbours_are_found_across_words_and_not_beyond() {
        let words = [1u64 << 63 | 1, 0, 1];
        assert_eq!(
            (after(&words, 0), after(&words, 63), after(&words, 128)),
            (Some(63), Some(128), None)
        );
        assert_eq!(
            (before(&words, 128), before(&words, 63), before(&words, 0)),
            (Some(63), Some(0), None)
        );
    }
}
