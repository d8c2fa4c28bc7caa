//! Memory budgets, and tiles that keep to them.
//!
//! An input larger than the memory is normal. Each operation states what one tile of a given size
//! costs; the largest tile that fits is taken, and halved when the system refuses even that.

use crate::error::{Error, Memory, Result};

/// Working memory an operation may use at one time, besides its inputs and its results. On a device 32 MiB of page-locked memory
/// for results on their way come on top, and a process keeps up to 256 MiB of such memory for the next operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of main memory.
    pub host_bytes: usize,
    /// Bytes of device memory; 4/5 of what is free on the device when absent.
    pub device_bytes: Option<usize>,
}

impl Budget {
    /// A budget for main memory; the device's stays at its default.
    pub fn host(bytes: usize) -> Self {
        Self { host_bytes: bytes, ..Self::default() }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { host_bytes: 1 << 30, device_bytes: None }
    }
}

/// The largest tile of at most `most` whose `cost` is within `budget_bytes`. The cost must not fall with
/// the size, but for that of `most` itself.
pub(crate) fn largest_tile(
    operation: &'static str,
    memory: Memory,
    budget_bytes: usize,
    most: usize,
    cost: impl Fn(usize) -> usize,
) -> Result<usize> {
    let least_bytes = cost(1);
    if least_bytes > budget_bytes {
        return Err(Error::BudgetTooSmall { operation, memory, budget_bytes, least_bytes });
    }
    if cost(most.max(1)) <= budget_bytes {
        return Ok(most.max(1));
    }
    let (mut fits, mut beyond) = (1, most.max(1));
    while beyond - fits > 1 {
        let middle = fits + (beyond - fits) / 2;
        if cost(middle) <= budget_bytes { fits = middle } else { beyond = middle }
    }
    Ok(fits)
}

/// Runs `attempt` with `tile`, and with half of it as long as memory runs out.
/// Returns the result and how often the tile was halved.
pub(crate) fn halving<R>(
    mut tile: usize,
    mut attempt: impl FnMut(usize) -> Result<R>,
) -> Result<(R, u64)> {
    let mut halvings = 0;
    loop {
        match attempt(tile) {
            Err(Error::OutOfMemory { operation, memory, bytes }) if tile > 1 => {
                tracing::warn!(operation, %memory, bytes, tile, "out of memory, tile is halved");
                tile = tile.div_ceil(2);
                halvings += 1;
            }
            Err(error) => return Err(error),
            Ok(result) => return Ok((result, halvings)),
        }
    }
}

/// A zeroed buffer, or an error where the system has no memory for it.
pub(crate) fn zeroed<T: bytemuck::Zeroable>(operation: &'static str, len: usize) -> Result<Vec<T>> {
    // Pages that the system gives zeroed are touched first by the thread that fills them.
    bytemuck::try_zeroed_vec(len).map_err(|_| Error::OutOfMemory {
        operation,
        memory: Memory::Host,
        bytes: len.saturating_mul(size_of::<T>()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_largest_tile_that_fits_is_taken() {
        let tile = |budget| {
            largest_tile("test", Memory::Host, budget, 100, |tile| tile * tile * 8).unwrap()
        };
        assert_eq!((tile(8), tile(31), tile(32), tile(800), tile(usize::MAX)), (1, 1, 2, 10, 100));
    }

    #[test]
    fn a_budget_below_one_tile_states_the_least() {
        let error = largest_tile("test", Memory::Device, 7, 100, |tile| tile * 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test: the device budget of 7 bytes is too small for one tile; at least 8 bytes are needed"
        );
    }

    #[test]
    fn an_out_of_memory_halves_the_tile_and_goes_on() {
        let mut tried = Vec::new();
        let out = |bytes| Error::OutOfMemory { operation: "test", memory: Memory::Host, bytes };
        let result = halving(20, |tile| {
            tried.push(tile);
            if tile > 5 { Err(out(tile)) } else { Ok(tile) }
        });
        assert_eq!((result.unwrap(), tried), ((5, 2), vec![20, 10, 5]));
        assert!(matches!(
            halving(4, |tile| Err::<(), _>(out(tile))),
            Err(Error::OutOfMemory { bytes: 1, .. })
        ));
    }

    #[test]
    fn a_buffer_beyond_all_memory_is_an_error() {
        assert!(matches!(zeroed::<f64>("test", usize::MAX / 16), Err(Error::OutOfMemory { .. })));
    }
}
