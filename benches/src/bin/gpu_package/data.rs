//! Inputs, the same in every run, made on all cores.

use benches::Random;

/// Values that follow from one seed.
const BLOCK: usize = 1 << 16;

/// `count` values; `make` gets the index and a generator.
pub fn filled<T: Copy + Default + Send>(
    count: usize,
    make: impl Fn(usize, &mut Random) -> T + Sync,
) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut values = vec![T::default(); count];
    let part = count.div_ceil(threads).next_multiple_of(BLOCK);
    std::thread::scope(|scope| {
        for (index, values) in values.chunks_mut(part).enumerate() {
            let make = &make;
            scope.spawn(move || {
                for (block, values) in values.chunks_mut(BLOCK).enumerate() {
                    let first = index * part + block * BLOCK;
                    let mut random = Random::new(Random::new(first as u64).bits());
                    for (offset, value) in values.iter_mut().enumerate() {
                        *value = make(first + offset, &mut random);
                    }
                }
            });
        }
    });
    values
}

/// 0 up to 1.
pub fn uniform(count: usize) -> Vec<f32> {
    filled(count, |_, random| unit(random))
}

/// 0 up to 1.
pub fn unit(random: &mut Random) -> f32 {
    (random.bits() >> 40) as f32 / (1u64 << 24) as f32
}

/// Texts of random letters: their bytes, and where each begins.
pub fn texts(count: usize, length: usize) -> (Vec<u8>, Vec<i64>) {
    let bytes = filled(count * length, |_, random| b'a' + (random.bits() % 26) as u8);
    (bytes, (0..=count).map(|row| (row * length) as i64).collect())
}

/// `make` of each item, on all cores.
pub fn each<I: Copy + Sync, R: Send>(items: &[I], make: impl Fn(I) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = items.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let make = &make;
        let parts: Vec<_> = items
            .chunks(part)
            .map(|items| {
                scope.spawn(move || items.iter().map(|&item| make(item)).collect::<Vec<R>>())
            })
            .collect();
        let joined = parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}

/// `full` divided by `scale`, but at least `least`; and what of the scale is left for another size.
pub fn shrunk(full: usize, least: usize, scale: usize) -> (usize, usize) {
    let size = (full / scale).clamp(least.min(full), full);
    (size, (scale.saturating_mul(size) / full).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_whatever_the_threads() {
        let values = uniform(3 * BLOCK + 5);
        let mut random = Random::new(Random::new(BLOCK as u64).bits());
        assert_eq!(values[BLOCK], unit(&mut random));
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
        assert_ne!(values[..BLOCK], values[BLOCK..2 * BLOCK]);
    }

    #[test]
    fn items_keep_their_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(
            each(&items, |item| item * 2),
            (0..100).map(|item| item * 2).collect::<Vec<_>>()
        );
        assert!(each(&[0usize; 0], |item| item).is_empty());
    }

    #[test]
    fn a_scale_that_one_size_can_not_take_is_left_for_the_next() {
        assert_eq!(shrunk(1000, 10, 1), (1000, 1));
        assert_eq!(shrunk(1000, 10, 100), (10, 1));
        assert_eq!(shrunk(1000, 10, 1000), (10, 10));
    }
}
