//! Eight independent sorts at once, one in each vector lane.
//!
//! A comparison sort of short runs spends its time on mispredicted branches. A sorting network has none,
//! and with one run in each lane every comparator is one minimum and one maximum. The network is Batcher's
//! bitonic one ("Sorting networks and their applications", AFIPS 1968): 10 % more comparators than his
//! odd-even merge, but so regular that three stages run on eight vectors in registers.

use super::cpu::LANES;
use crate::simd::{Level, Work, level, vectorised};

/// One key of each lane.
pub(super) type Keys = [i64; LANES];

/// Sorts every lane of `keys` in ascending order. The length must be a power of two.
#[allow(unsafe_code)]
pub(super) fn sort_lanes(keys: &mut [Keys]) {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: AVX-512 was detected.
        return unsafe { sort_avx512(keys) };
    }
    vectorised(Plain(keys));
}

struct Plain<'a>(&'a mut [Keys]);

impl Work for Plain<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        sort::<Portable>(self.0);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code)]
unsafe fn sort_avx512(keys: &mut [Keys]) {
    sort::<Wide>(keys);
}

/// A vector of eight keys in registers.
trait Vector: Copy {
    fn load(keys: &Keys) -> Self;
    fn store(self, keys: &mut Keys);
    fn low(self, other: Self) -> Self;
    fn high(self, other: Self) -> Self;
}

#[derive(Clone, Copy)]
struct Portable(Keys);

impl Vector for Portable {
    #[inline(always)]
    fn load(keys: &Keys) -> Self {
        Self(*keys)
    }
    #[inline(always)]
    fn store(self, keys: &mut Keys) {
        *keys = self.0;
    }
    #[inline(always)]
    fn low(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].min(other.0[lane])))
    }
    #[inline(always)]
    fn high(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].max(other.0[lane])))
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Wide(std::arch::x86_64::__m512i);

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
impl Vector for Wide {
    #[inline(always)]
    fn load(keys: &Keys) -> Self {
        // SAFETY: 64 readable bytes; `Wide` is used in AVX-512 code only.
        Self(unsafe { std::arch::x86_64::_mm512_loadu_epi64(keys.as_ptr()) })
    }
    #[inline(always)]
    fn store(self, keys: &mut Keys) {
        // SAFETY: 64 writable bytes; `Wide` is used in AVX-512 code only.
        unsafe { std::arch::x86_64::_mm512_storeu_epi64(keys.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn low(self, other: Self) -> Self {
        // SAFETY: `Wide` is used in AVX-512 code only.
        Self(unsafe { std::arch::x86_64::_mm512_min_epi64(self.0, other.0) })
    }
    #[inline(always)]
    fn high(self, other: Self) -> Self {
        // SAFETY: `Wide` is used in AVX-512 code only.
        Self(unsafe { std::arch::x86_64::_mm512_max_epi64(self.0, other.0) })
    }
}

/// Comparators one after the other; a loop over them would keep the vectors in memory.
macro_rules! network {
    ($v:ident: $($low:literal $high:literal),+) => {
        $(($v[$low], $v[$high]) = ($v[$low].low($v[$high]), $v[$low].high($v[$high]));)+
    };
}

#[inline(always)]
fn sort<V: Vector>(keys: &mut [Keys]) {
    if keys.len() < 8 {
        return insertion(keys);
    }
    for block in keys.chunks_exact_mut(8) {
        sort_8::<V>(block);
    }
    let mut size = 16;
    while size <= keys.len() {
        for block in keys.chunks_exact_mut(size) {
            merge::<V>(block);
        }
        size *= 2;
    }
}

/// Merges two sorted halves.
#[inline(always)]
fn merge<V: Vector>(block: &mut [Keys]) {
    // The second half is taken backwards, which makes the whole bitonic.
    let (first, second) = block.split_at_mut(block.len() / 2);
    for (a, b) in first.iter_mut().zip(second.iter_mut().rev()) {
        let (x, y) = (V::load(a), V::load(b));
        x.low(y).store(a);
        x.high(y).store(b);
    }
    let mut distance = block.len() / 4;
    while distance >= 4 {
        for part in block.chunks_exact_mut(2 * distance) {
            three_stages::<V>(part, distance);
        }
        distance /= 8;
    }
    match distance {
        1 => {
            for part in block.chunks_exact_mut(2) {
                let (x, y) = (V::load(&part[0]), V::load(&part[1]));
                x.low(y).store(&mut part[0]);
                x.high(y).store(&mut part[1]);
            }
        }
        2 => {
            for part in block.chunks_exact_mut(4) {
                let v: [V; 4] = std::array::from_fn(|place| V::load(&part[place]));
                let (a, c) = (v[0].low(v[2]), v[0].high(v[2]));
                let (b, d) = (v[1].low(v[3]), v[1].high(v[3]));
                a.low(b).store(&mut part[0]);
                a.high(b).store(&mut part[1]);
                c.low(d).store(&mut part[2]);
                c.high(d).store(&mut part[3]);
            }
        }
        _ => {}
    }
}

/// The stages of distance d, d/2 and d/4 of a bitonic merge of 2d keys.
#[inline(always)]
fn three_stages<V: Vector>(part: &mut [Keys], distance: usize) {
    let step = distance / 4;
    let mut lines = part.chunks_exact_mut(step);
    let mut line = || lines.next().unwrap_or_default();
    let lines: [&mut [Keys]; 8] = std::array::from_fn(|_| line());
    let [l0, l1, l2, l3, l4, l5, l6, l7] = lines;
    for at in 0..step {
        let mut v = [
            V::load(&l0[at]),
            V::load(&l1[at]),
            V::load(&l2[at]),
            V::load(&l3[at]),
            V::load(&l4[at]),
            V::load(&l5[at]),
            V::load(&l6[at]),
            V::load(&l7[at]),
        ];
        network!(v: 0 4, 1 5, 2 6, 3 7, 0 2, 1 3, 4 6, 5 7, 0 1, 2 3, 4 5, 6 7);
        v[0].store(&mut l0[at]);
        v[1].store(&mut l1[at]);
        v[2].store(&mut l2[at]);
        v[3].store(&mut l3[at]);
        v[4].store(&mut l4[at]);
        v[5].store(&mut l5[at]);
        v[6].store(&mut l6[at]);
        v[7].store(&mut l7[at]);
    }
}

/// The 19 comparators of the best network for 8 keys (Knuth, "Sorting and Searching", §5.3.4).
#[inline(always)]
fn sort_8<V: Vector>(block: &mut [Keys]) {
    let mut v: [V; 8] = std::array::from_fn(|place| V::load(&block[place]));
    network!(v: 0 2, 1 3, 4 6, 5 7, 0 4, 1 5, 2 6, 3 7, 0 1, 2 3, 4 5, 6 7, 2 4, 3 5, 1 4, 3 6, 1 2, 3 4, 5 6);
    for (keys, v) in block.iter_mut().zip(v) {
        v.store(keys);
    }
}

fn insertion(keys: &mut [Keys]) {
    for lane in 0..LANES {
        for end in 1..keys.len() {
            for at in (1..=end).rev() {
                if keys[at - 1][lane] > keys[at][lane] {
                    (keys[at - 1][lane], keys[at][lane]) = (keys[at][lane], keys[at - 1][lane]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_is_sorted_at_every_length() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as i64 - (1 << 23)
        };
        for length in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
            let keys: Vec<Keys> =
                (0..length).map(|_| std::array::from_fn(|lane| random() >> (3 * lane))).collect();
            let mut expected = keys.clone();
            insertion_by_std(&mut expected);
            for sort_one in [sort_lanes, |keys: &mut [Keys]| sort::<Portable>(keys)] {
                let mut sorted = keys.clone();
                sort_one(&mut sorted);
                assert_eq!(sorted, expected, "{length}");
            }
        }
    }

    fn insertion_by_std(keys: &mut [Keys]) {
        for lane in 0..LANES {
            let mut column: Vec<i64> = keys.iter().map(|keys| keys[lane]).collect();
            column.sort_unstable();
            for (keys, key) in keys.iter_mut().zip(column) {
                keys[lane] = key;
            }
        }
    }
}
