//! Signatures on CUDA devices: pieces of many texts, sent while the piece before is worked on.
//!
//! ```text
//!   piece   units: which part of which text each warp takes │ bytes of the texts
//!   device  reset ▸ sign ▸ copy back
//! ```
//! A text that is longer than a piece has room for is signed on the CPU ([`Stats::fallbacks`]).

use rayon::prelude::*;

use super::{OPERATION, Plan, Shingles, TextsView, cpu};
use crate::budget::{halving, largest_tile, zeroed};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixViewMut;

/// Functions of a block: those of `minhash.cu`.
const FUNCTIONS: usize = 128;
/// Warps of a block.
const WARPS: usize = 4;
/// Bytes of a text in which the shingles of one warp begin.
pub(super) const PART: usize = 4096;
/// Bytes of the texts of a piece at most, and of its signatures.
const MOST_BYTES: usize = 64 << 20;
/// What a unit takes: four numbers.
const UNIT_BYTES: usize = 4 * size_of::<u32>();
/// Bytes behind the texts that a kernel reads and does not use.
const PAD: usize = 16;

/// The sizes of a piece.
#[derive(Clone, Copy)]
struct Piece {
    texts: usize,
    /// Of the texts; a multiple of 16.
    bytes: usize,
    functions: usize,
}

impl Piece {
    /// With room for so many texts of a usual length.
    fn new(texts: usize, usual: usize, functions: usize) -> Self {
        let bytes = texts.saturating_mul(usual + usual / 4).clamp(256, MOST_BYTES);
        Self { texts, bytes: bytes.next_multiple_of(16), functions }
    }

    fn units(&self) -> usize {
        self.texts + self.bytes / PART
    }

    fn sent_bytes(&self) -> usize {
        self.units() * UNIT_BYTES + self.bytes + PAD
    }

    fn result_bytes(&self) -> usize {
        self.texts * self.functions * size_of::<u32>()
    }
}

pub(super) fn run<B: Backend>(
    devices: &[B],
    texts: TextsView<'_>,
    plan: &Plan,
    mut results: MatrixViewMut<'_, u32>,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let mut coefficients = plan.coefficients.clone();
    coefficients.resize(plan.functions.next_multiple_of(FUNCTIONS), 0);
    let coefficient_bytes = coefficients.len() * size_of::<u32>();
    let all_bytes = texts.bytes_of(0, texts.len()).len();
    let piece = |room: usize| Piece::new(room, all_bytes.div_ceil(texts.len()), plan.functions);
    // Three pieces for each device at least, so that copies run beside kernels.
    let most = texts
        .len()
        .div_ceil(3 * devices.len())
        .min(MOST_BYTES / (plan.functions * size_of::<u32>()))
        .max(1);
    let on_device = |room: usize| {
        let piece = piece(room);
        Feed::<B>::bytes(piece.sent_bytes()) + piece.result_bytes() + coefficient_bytes
    };
    // A list of the rows of results, and threads for the longest texts, besides.
    let list_bytes = texts.len() * (size_of::<&mut [u32]>() + size_of::<usize>())
        + cpu::bytes(plan, rayon::current_num_threads());
    let on_host = |room: usize| {
        let piece = piece(room);
        devices.len() * (Feed::<B>::bytes(piece.sent_bytes()) + piece.result_bytes()) + list_bytes
    };
    let host_bytes = execution.budget.host_bytes;
    let host_room = largest_tile(OPERATION, Memory::Host, host_bytes, most, on_host)?;
    let budget_bytes = device_bytes(devices, execution)?;
    let device_room = largest_tile(OPERATION, Memory::Device, budget_bytes, most, on_device)?;
    let ((states, room), halvings) = halving(host_room.min(device_room), |room| {
        let allocate = |backend: &B| State::allocate(backend, &piece(room), &coefficients);
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, room))
    })?;
    stats.halvings += halvings;
    stats.peak_bytes = on_host(room) as u64;

    let piece = piece(room);
    let (tiles, long) = cut(texts, &piece, &mut results);
    stats.tiles += tiles.len() as u64;
    stats.fallbacks += long.len() as u64;
    execution.control.begin(texts.len() as u64);
    let pool = execution.threads()?;
    spread(OPERATION, devices, states, tiles, &pool, |backend, state, tiles| {
        let State { mut feed, coefficients, results, mut values } = state;
        let fill = |tile: &Tile<'_>, bytes: &mut [u8]| tile.fill(texts, &piece, bytes);
        let launch = |tile: &Tile<'_>, sent: &B::Buffer| {
            execution.control.check(OPERATION)?;
            reset(backend, &results, tile.rows.len() * plan.functions)?;
            sign(backend, plan, &piece, tile.units(texts).count(), sent, &coefficients, &results)
        };
        let collect = |mut tile: Tile<'_>| {
            let values = &mut values[..tile.rows.len() * plan.functions];
            backend.download(&results, 0, bytemuck::cast_slice_mut(values))?;
            let values = values.par_chunks(plan.functions);
            tile.rows.par_iter_mut().zip(values).for_each(|(row, values)| {
                row.copy_from_slice(values);
            });
            execution.control.advance(tile.rows.len() as u64);
            Ok(())
        };
        feed.run_tiles(backend, tiles, fill, launch, collect)
    })?;
    for (text, row) in long {
        cpu::sign(texts, text, plan, &mut [row], execution)?;
    }
    Ok(())
}

/// What one device works with.
struct State<B: Backend> {
    feed: Feed<B>,
    coefficients: B::Buffer,
    results: B::Buffer,
    values: Vec<u32>,
}

impl<B: Backend> State<B> {
    fn allocate(backend: &B, piece: &Piece, coefficients: &[u32]) -> Result<Self> {
        let bytes: &[u8] = bytemuck::cast_slice(coefficients);
        let mut on_device = backend.allocate(OPERATION, bytes.len())?;
        backend.upload(&mut on_device, 0, bytes)?;
        Ok(Self {
            feed: Feed::allocate(backend, OPERATION, piece.sent_bytes())?,
            coefficients: on_device,
            results: backend.allocate(OPERATION, piece.result_bytes())?,
            values: zeroed(OPERATION, piece.texts * piece.functions)?,
        })
    }
}

/// The texts of a piece, one after the other in the input, and where their signatures go.
struct Tile<'a> {
    first: usize,
    rows: Vec<&'a mut [u32]>,
}

/// A tile that is being cut, a text for the CPU.
type Cut<'a> = (Vec<Tile<'a>>, Vec<(usize, &'a mut [u32])>);

fn cut<'a>(
    texts: TextsView<'_>,
    piece: &Piece,
    results: &'a mut MatrixViewMut<'_, u32>,
) -> Cut<'a> {
    let (mut tiles, mut long) = (Vec::<Tile<'a>>::new(), Vec::new());
    let mut bytes = 0;
    // Whether the next text can't follow in the tile before it.
    let mut closed = true;
    for (text, row) in results.rows_mut().enumerate() {
        let length = texts.text(text).len();
        if length > piece.bytes {
            long.push((text, row));
            closed = true;
            continue;
        }
        match tiles.last_mut() {
            Some(tile)
                if !closed && tile.rows.len() < piece.texts && bytes + length <= piece.bytes =>
            {
                tile.rows.push(row);
                bytes += length;
            }
            _ => {
                tiles.push(Tile { first: text, rows: vec![row] });
                (bytes, closed) = (length, false);
            }
        }
    }
    (tiles, long)
}

impl Tile<'_> {
    /// For each warp the text, its bytes in the piece, and where the warp begins.
    fn units(&self, texts: TextsView<'_>) -> impl Iterator<Item = [u32; 4]> {
        let (first, start) = (self.first, texts.offset(self.first));
        (0..self.rows.len()).flat_map(move |row| {
            let begin = (texts.offset(first + row) - start) as u32;
            let end = (texts.offset(first + row + 1) - start) as u32;
            (begin..end).step_by(PART).map(move |from| [row as u32, begin, end, from])
        })
    }

    /// Returns how many bytes it filled, and those that a kernel reads behind them.
    fn fill(&self, texts: TextsView<'_>, piece: &Piece, into: &mut [u8]) -> usize {
        let (units, bytes) = into.split_at_mut(piece.units() * UNIT_BYTES);
        let (units, _) = units.as_chunks_mut::<UNIT_BYTES>();
        for (unit, numbers) in units.iter_mut().zip(self.units(texts)) {
            *unit = bytemuck::cast(numbers);
        }
        let own = texts.bytes_of(self.first, self.first + self.rows.len());
        bytes[..own.len()].copy_from_slice(own);
        piece.units() * UNIT_BYTES + own.len() + PAD
    }
}

fn reset<B: Backend>(backend: &B, results: &B::Buffer, count: usize) -> Result<()> {
    let launch = Launch {
        kernel: "reset",
        grid: (count.div_ceil(256) as u32, 1),
        block: 256,
        shared_bytes: 0,
        results: Results::Fixed,
    };
    // (out, count)
    backend.launch(launch, &[Argument::Buffer(results), Argument::Long(count as u64)])
}

fn sign<B: Backend>(
    backend: &B,
    plan: &Plan,
    piece: &Piece,
    units: usize,
    sent: &B::Buffer,
    coefficients: &B::Buffer,
    results: &B::Buffer,
) -> Result<()> {
    if units == 0 {
        // Empty texts only.
        return Ok(());
    }
    let launch = Launch {
        kernel: "sign",
        grid: (units.div_ceil(WARPS) as u32, plan.functions.div_ceil(FUNCTIONS) as u32),
        block: 32 * WARPS as u32,
        shared_bytes: 0,
        results: Results::Fixed,
    };
    let [k0, k1, k2, k3] = plan.shingler.keys.map(Argument::Long);
    let by_words = matches!(plan.shingler.shingles, Shingles::Words(_));
    // (piece, coefficients, out, units, words_at, part, functions, by_words, n, k0, k1, k2, k3)
    backend.launch(
        launch,
        &[
            Argument::Buffer(sent),
            Argument::Buffer(coefficients),
            Argument::Buffer(results),
            int(OPERATION, units)?,
            int(OPERATION, piece.units() * UNIT_BYTES / size_of::<u64>())?,
            int(OPERATION, PART)?,
            int(OPERATION, plan.functions)?,
            Argument::Int(i32::from(by_words)),
            int(OPERATION, plan.shingler.shingles.size())?,
            k0,
            k1,
            k2,
            k3,
        ],
    )
}
