//! What an operation asks of a device.
//!
//! The plan of a launch (which kernel, which grid, which arguments in which order) is where mistakes hide
//! that no compiler sees. It is written once against this trait, and runs on the driver as it runs on
//! the host emulation in the tests.

use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::pool::Pool;

/// A device with one CUDA source loaded.
pub(crate) trait Backend: Sync {
    /// Memory on the device; freed when dropped.
    type Buffer: 'static + Send;
    /// Page-locked memory of the host, from which copies run beside kernels.
    type Staging: Send;

    /// Bytes of device memory that are free.
    fn free_bytes(&self) -> Result<usize>;

    /// Bytes of shared memory that a block may have, those that its kernel declares among them.
    fn shared_bytes(&self) -> usize;

    /// Zeroed memory. A lack of it is [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn allocate(&self, operation: &'static str, bytes: usize) -> Result<Self::Buffer>;

    /// Fills the whole buffer with zeros.
    fn clear(&self, buffer: &mut Self::Buffer) -> Result<()>;

    /// Copies to the device, to `offset` bytes into the buffer.
    fn upload(&self, buffer: &mut Self::Buffer, offset: usize, data: &[u8]) -> Result<()>;

    /// Copies from the device, from `offset` bytes into the buffer; returns when the data is there.
    fn download(&self, buffer: &Self::Buffer, offset: usize, data: &mut [u8]) -> Result<()>;

    /// Memory from which [`send`](Self::send) copies. What is in it at first means nothing.
    fn staging(&self, operation: &'static str, bytes: usize) -> Result<Self::Staging>;

    /// Lets `write` fill `staging` as soon as its last copy has ended, and starts to copy as many bytes as `write`
    /// says that it filled to the start of `buffer`; the rest of `buffer` means nothing from then on. Kernels that run
    /// go on meanwhile; those that use `buffer` come before and after as they were asked for.
    fn send(
        &self,
        staging: &mut Self::Staging,
        buffer: &mut Self::Buffer,
        write: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Result<()>;

    /// Starts a kernel after everything that was asked for before.
    fn launch(&self, launch: Launch, arguments: &[Argument<'_, Self::Buffer>]) -> Result<()>;

    /// How long kernels ran since this was last asked, in seconds. Waits for them.
    fn kernel_seconds(&self) -> Result<f64>;
}

/// A kernel and the shape of its grid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    /// Name of the kernel.
    pub(crate) kernel: &'static str,
    /// Blocks in x and y.
    pub(crate) grid: (u32, u32),
    /// Threads of a block.
    pub(crate) block: u32,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: u32,
    /// Whether the order of the threads shows in the buffers.
    // Only the emulation asks.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) results: Results,
}

/// Whether the order in which threads run shows in what a kernel writes. The emulation checks the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Results {
    /// Every order gives the same bytes.
    Fixed,
    /// It appends to a list, or adds rounded numbers: the host makes the result one again.
    Unordered,
}

/// One argument of a kernel, of the type that its parameter has.
#[derive(Debug)]
pub(crate) enum Argument<'a, B> {
    /// A pointer to device memory.
    Buffer(&'a B),
    /// An `int`.
    Int(i32),
    /// An `unsigned`.
    Unsigned(u32),
    /// An `unsigned long long`.
    Long(u64),
    /// A `double`.
    Double(f64),
}

/// A count as the `int` that kernels take.
pub(crate) fn int<B>(operation: &'static str, value: usize) -> Result<Argument<'static, B>> {
    i32::try_from(value).map(Argument::Int).map_err(|_| Error::Internal {
        operation,
        found: format!("a tile with a size of {value}, beyond what a kernel's int holds"),
    })
}

/// Sends pieces of an input to a device while the piece before is worked on.
///
/// ```text
///   host    fill 0 │ fill 1 │ fill 2 │ …          two stagings and two buffers, in turn
///   copy           │ send 0 │ send 1 │ send 2 │
///   device                  │ work 0 │ work 1 │ …
/// ```
pub(crate) struct Feed<B: Backend> {
    slots: [(B::Staging, B::Buffer); 2],
}

impl<B: Backend> Feed<B> {
    /// What a feed of pieces of `piece_bytes` takes, on the host and on the device each.
    pub(crate) fn bytes(piece_bytes: usize) -> usize {
        2 * piece_bytes
    }

    /// Room for pieces of at most `piece_bytes`.
    pub(crate) fn allocate(
        backend: &B,
        operation: &'static str,
        piece_bytes: usize,
    ) -> Result<Self> {
        let slot = || {
            Ok::<_, Error>((
                backend.staging(operation, piece_bytes)?,
                backend.allocate(operation, piece_bytes)?,
            ))
        };
        Ok(Self { slots: [slot()?, slot()?] })
    }

    /// Fills, sends and works on every piece in order. `fill` says how many bytes it filled. `work` only launches:
    /// what it waits for, the next piece waits for, too.
    pub(crate) fn run(
        &mut self,
        backend: &B,
        pieces: usize,
        mut fill: impl FnMut(usize, &mut [u8]) -> usize,
        mut work: impl FnMut(usize, &B::Buffer) -> Result<()>,
    ) -> Result<()> {
        for piece in 0..pieces {
            let (staging, buffer) = &mut self.slots[piece % 2];
            backend.send(staging, buffer, &mut |bytes| fill(piece, bytes))?;
            work(piece, buffer)?;
        }
        Ok(())
    }
}

impl<B: Backend> Feed<B> {
    /// Takes tiles until none are left. The device works on one while the next is filled and sent; then the results of
    /// the first are collected.
    ///
    /// ```text
    ///   host    fill 0 │ launch 0, fill 1, collect 0 │ launch 1, fill 2, collect 1 │ …
    ///   device         │ work 0 ──────────▶          │ work 1 ──────────▶          │
    /// ```
    /// `fill` says how many bytes it filled, `launch` does not wait, and `collect` may.
    pub(crate) fn run_tiles<T>(
        &mut self,
        backend: &B,
        tiles: &Tiles<T>,
        mut fill: impl FnMut(&T, &mut [u8]) -> usize,
        mut launch: impl FnMut(&T, &B::Buffer) -> Result<()>,
        mut collect: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let mut sent: Option<(T, usize)> = None;
        for slot in (0..2).cycle() {
            if let Some((tile, slot)) = &sent {
                launch(tile, &self.slots[*slot].1)?;
            }
            let next = tiles.next();
            if let Some(tile) = &next {
                let (staging, buffer) = &mut self.slots[slot];
                backend.send(staging, buffer, &mut |bytes| fill(tile, bytes))?;
            }
            if let Some((tile, _)) = sent.take() {
                collect(tile)?;
            }
            match next {
                Some(tile) => sent = Some((tile, slot)),
                None => break,
            }
        }
        Ok(())
    }
}

/// Tiles that several devices take from, one after the other.
pub(crate) struct Tiles<T> {
    left: Mutex<std::vec::IntoIter<T>>,
}

impl<T> Tiles<T> {
    /// The next tile that nobody has taken.
    pub(crate) fn next(&self) -> Option<T> {
        self.lock().next()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, std::vec::IntoIter<T>> {
        // A thread that panicked while it took a tile left the list whole.
        self.left.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn stop(&self) {
        *self.lock() = Vec::new().into_iter();
    }
}

/// How long a thread that waits for other devices sleeps before it looks again for work to lend itself to.
const WAIT: std::time::Duration = std::time::Duration::from_micros(50);

/// Spreads `tiles` over `devices`: `work` runs once for each device, with its own part of `states`, and takes
/// tiles until none are left. The first error stops all. The first device works on the caller's thread, the
/// others inside `pool`, each holding one of its threads. A caller that is itself one of them lends it to the
/// others while it waits, so that a pool of one thread is enough.
///
/// What several devices share behind a lock must not be worked on in parallel while it is locked: a thread of the pool
/// that waits for its helpers takes up whatever there is to do, and that may be another device, which waits for the lock
/// on top of the frame that has it, for ever.
pub(crate) fn spread<B: Backend, S: Send, T: Send>(
    operation: &'static str,
    devices: &[B],
    states: Vec<S>,
    tiles: Vec<T>,
    pool: &Pool,
    work: impl Fn(&B, S, &Tiles<T>) -> Result<()> + Sync,
) -> Result<()> {
    let tiles = Tiles { left: Mutex::new(tiles.into_iter()) };
    let run = |device: &B, state: S| work(device, state, &tiles).inspect_err(|_| tiles.stop());
    let mut pairs = devices.iter().zip(states);
    let Some((first, first_state)) = pairs.next() else {
        return Err(Error::Internal {
            operation,
            found: "a device's path without a device".into(),
        });
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = pairs
            .map(|(device, state)| {
                let run = &run;
                scope.spawn(move || pool.run(|| run(device, state)))
            })
            .collect();
        let mut result = run(first, first_state);
        for other in others {
            while !other.is_finished() {
                match rayon::yield_now() {
                    Some(rayon::Yield::Executed) => {}
                    Some(rayon::Yield::Idle) => std::thread::sleep(WAIT),
                    None => break,
                }
            }
            let other = other.join().unwrap_or_else(|_| {
                Err(Error::Internal { operation, found: "a device's thread panicked".into() })
            });
            result = result.and(other);
        }
        result
    })
}

/// How long kernels ran on all of `devices`; what [`Stats::kernel_seconds`](crate::Stats) wants.
pub(crate) fn kernel_seconds<B: Backend>(devices: &[B]) -> Result<f64> {
    devices.iter().map(Backend::kernel_seconds).sum()
}

/// Device memory that an operation may use on each of `devices`.
pub(crate) fn device_bytes<B: Backend>(devices: &[B], execution: &Execution) -> Result<usize> {
    if let Some(bytes) = execution.budget.device_bytes {
        return Ok(bytes);
    }
    let free = devices.iter().map(Backend::free_bytes).collect::<Result<Vec<_>>>()?;
    Ok(free.into_iter().min().unwrap_or(0) / 5 * 4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A device that can do nothing: `spread` needs none of it.
    struct Idle;

    impl Backend for Idle {
        type Buffer = ();
        type Staging = ();
        fn free_bytes(&self) -> Result<usize> {
            Ok(0)
        }
        fn shared_bytes(&self) -> usize {
            0
        }
        fn allocate(&self, _: &'static str, _: usize) -> Result<()> {
            Ok(())
        }
        fn clear(&self, (): &mut ()) -> Result<()> {
            Ok(())
        }
        fn upload(&self, (): &mut (), _: usize, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn download(&self, (): &(), _: usize, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
        fn staging(&self, _: &'static str, _: usize) -> Result<()> {
            Ok(())
        }
        fn send(
            &self,
            (): &mut (),
            (): &mut (),
            write: &mut dyn FnMut(&mut [u8]) -> usize,
        ) -> Result<()> {
            write(&mut []);
            Ok(())
        }
        fn launch(&self, _: Launch, _: &[Argument<'_, ()>]) -> Result<()> {
            Ok(())
        }
        fn kernel_seconds(&self) -> Result<f64> {
            Ok(0.0)
        }
    }

    fn pool() -> Pool {
        Pool::with_threads(std::num::NonZeroUsize::MIN).unwrap()
    }

    #[test]
    fn every_tile_is_taken_once_by_however_many_devices() {
        for devices in [1, 3] {
            let devices: Vec<Idle> = (0..devices).map(|_| Idle).collect();
            let taken: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            let states = vec![(); devices.len()];
            spread("test", &devices, states, (0..100).collect(), &pool(), |_, (), tiles| {
                while let Some(tile) = tiles.next() {
                    taken[tile].fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
            .unwrap();
            assert!(taken.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn several_devices_need_one_thread_only() {
        let (pool, taken) = (pool(), AtomicUsize::new(0));
        pool.run(|| {
            let devices = [Idle, Idle, Idle];
            spread("test", &devices, vec![(); 3], (0..9).collect(), &pool, |_, (), tiles| {
                while tiles.next().is_some() {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(taken.into_inner(), 9);
    }

    #[test]
    fn a_tile_is_worked_on_while_the_next_is_filled() {
        let steps = Mutex::new(Vec::new());
        let note = |step: &str, tile: usize| steps.lock().unwrap().push(format!("{step} {tile}"));
        spread("test", &[Idle], vec![()], vec![0, 1, 2], &pool(), |backend, (), tiles| {
            let fill = |tile: &usize, _: &mut [u8]| {
                note("fill", *tile);
                0
            };
            let launch = |tile: &usize, (): &()| {
                note("launch", *tile);
                Ok(())
            };
            let collect = |tile: usize| {
                note("collect", tile);
                Ok(())
            };
            Feed::allocate(backend, "test", 0)?.run_tiles(backend, tiles, fill, launch, collect)
        })
        .unwrap();
        let expected = [
            "fill 0",
            "launch 0",
            "fill 1",
            "collect 0",
            "launch 1",
            "fill 2",
            "collect 1",
            "launch 2",
            "collect 2",
        ];
        assert_eq!(steps.into_inner().unwrap(), expected);
    }

    #[test]
    fn an_error_stops_every_device() {
        let taken = AtomicUsize::new(0);
        let work = |_: &Idle, (): (), tiles: &Tiles<i32>| {
            while let Some(tile) = tiles.next() {
                taken.fetch_add(1, Ordering::Relaxed);
                if tile == 0 {
                    return Err(Error::Internal { operation: "test", found: "tile 0".into() });
                }
            }
            Ok(())
        };
        let run = |devices: &[Idle]| {
            let states = vec![(); devices.len()];
            spread("test", devices, states, (0..1000).collect(), &pool(), work).unwrap_err()
        };
        assert_eq!(run(&[Idle, Idle]).to_string(), "internal error in test: tile 0");
        assert!(run(&[]).to_string().contains("without a device"));
    }
}
