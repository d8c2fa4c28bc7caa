//! One suite for every way to compute signatures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::device::DeviceReport;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Check, Route, check_all, generator, on};

/// Texts in one buffer.
pub(super) struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i64>,
}

impl Texts {
    pub(super) fn new<T: AsRef<[u8]>>(texts: &[T]) -> Self {
        // Not from the start of the buffer, as in a slice of a column.
        let mut all = Self { bytes: b"..".to_vec(), offsets: vec![2] };
        for text in texts {
            all.bytes.extend(text.as_ref());
            all.offsets.push(all.bytes.len() as i64);
        }
        all
    }

    pub(super) fn view(&self) -> TextsView<'_> {
        TextsView::new(&self.bytes, &self.offsets[..]).unwrap()
    }
}

/// A text of about `words` words: letters of one to four bytes, blanks of all kinds, and now and then bytes that are
/// no UTF-8.
pub(super) fn text(rng: &mut ChaCha8Rng, words: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let plain = rng.random_bool(0.5);
    for _ in 0..words {
        for _ in 0..rng.random_range(0..12) {
            let letters = if plain { "abcdefgh" } else { "abcdefé→𝄞ß" };
            let letter = letters.chars().nth(rng.random_range(0..letters.chars().count()));
            text.extend(letter.unwrap().to_string().bytes());
            if !plain && rng.random_bool(0.02) {
                text.push(rng.random());
            }
        }
        for _ in 0..rng.random_range(1..3) {
            text.push(b" \t\n\r\x0b\x0c"[rng.random_range(0..6)]);
        }
    }
    text
}

/// The operation by one of its routes.
fn go(route: Route, texts: &Texts, options: &MinHashOptions, execution: &Execution) -> Vec<u32> {
    let mut values = vec![77; texts.view().len() * options.functions];
    let results = MatrixViewMut::new(&mut values, texts.view().len(), options.functions).unwrap();
    static DEVICE: LazyLock<Emulated> = LazyLock::new(|| Emulated::new(&SOURCE, 1 << 30));
    if route == Route::Emulated {
        let device = std::slice::from_ref(&*DEVICE);
        let stats = Stats::new(DeviceReport::cpu("emulated"));
        run_on(device, stats, texts.view(), &options.plan(), results, execution).unwrap();
    } else {
        signatures(texts.view(), options, results, execution).unwrap();
    }
    values
}

fn agrees(route: Route, texts: &Texts, options: &MinHashOptions, execution: &Execution) {
    let found = go(route, texts, options, execution);
    for (row, found) in found.chunks(options.functions).enumerate() {
        let text = texts.view().text(row);
        assert!(
            found == reference::signature(text, options),
            "{options:?}: text {row} of {} bytes: {:?}",
            text.len(),
            String::from_utf8_lossy(text)
        );
    }
}

fn shapes_agree(route: Route) {
    let mut rng = generator("minhash::shapes_agree");
    for shingles in [
        Shingles::Characters(1),
        Shingles::Characters(3),
        Shingles::Characters(5),
        Shingles::Characters(8),
        Shingles::Characters(9),
        Shingles::Characters(40),
        Shingles::Words(1),
        Shingles::Words(2),
        Shingles::Words(5),
    ] {
        // More than one block of functions, and less.
        let few = [61, 130];
        for &functions in if route == Route::Emulated { &few[..] } else { &[1, 61, 128, 200] } {
            let mut all: Vec<Vec<u8>> = vec![
                Vec::new(),
                b"a".to_vec(),
                b" ".to_vec(),
                b"abcd".to_vec(),
                b"abcdefghi".to_vec(),
                vec![0x80],
                vec![b'a', 0x80, 0xbf, b'b'],
                "é".repeat(9).into_bytes(),
                b"one two  three\tfour".to_vec(),
                vec![b'x'; 700],
                vec![b'\n'; 70],
            ];
            let count = if route == Route::Emulated { 3 } else { 30 };
            all.extend((0..count).map(|_| {
                let words = rng.random_range(0..30);
                text(&mut rng, words)
            }));
            let options = MinHashOptions { shingles, functions, seed: rng.random() };
            agrees(route, &Texts::new(&all), &options, &on(route));
        }
    }
    for count in [0, 1] {
        let texts = Texts::new(&vec!["a single text"; count]);
        agrees(route, &texts, &MinHashOptions::default(), &on(route));
    }
}

#[test]
fn the_cpu_agrees_with_the_definition() {
    shapes_agree(Route::Cpu);
}

#[test]
fn the_emulated_kernels_agree_with_the_definition() {
    shapes_agree(Route::Emulated);
}

/// Texts of several parts, pieces of few texts, and texts that no piece has room for.
fn long_texts_agree(route: Route) {
    let mut rng = generator("minhash::long_texts_agree");
    for shingles in [Shingles::Characters(6), Shingles::Words(2)] {
        let mut all = vec![text(&mut rng, 1200), Vec::new(), text(&mut rng, 10)];
        all[0][4000..4200].fill(b'-');
        all.extend((0..10).map(|row| text(&mut rng, 20 * row)));
        let texts = Texts::new(&all);
        let options = MinHashOptions { shingles, functions: 130, seed: 9 };
        for device_bytes in [None, Some(20_000)] {
            let budget = Budget { device_bytes, ..Budget::default() };
            agrees(route, &texts, &options, &Execution { budget, ..on(route) });
        }
    }
}

#[test]
fn emulated_kernels_agree_on_long_texts_and_small_devices() {
    long_texts_agree(Route::Emulated);
}

/// What a device must pass.
pub(crate) const DEVICE: &[Check] = &[
    Check::new("minhash: shapes", || shapes_agree(Route::Cuda)),
    Check::new("minhash: long texts", || long_texts_agree(Route::Cuda)),
    Check::new("minhash: edges of parts", || edges_of_parts_agree(Route::Cuda, cuda::PART)),
];

#[test]
fn the_device_agrees_with_the_definition() {
    check_all(DEVICE);
}

#[test]
fn two_devices_share_the_texts_and_name_those_too_long_for_them() {
    let mut rng = generator("minhash::two_devices");
    let mut all: Vec<Vec<u8>> = (0..40).map(|row| text(&mut rng, row % 9)).collect();
    all[17] = text(&mut rng, 400);
    let (texts, options) =
        (Texts::new(&all), MinHashOptions { functions: 5, ..Default::default() });
    let devices = [Emulated::new(&SOURCE, 1 << 20), Emulated::new(&SOURCE, 1 << 20)];
    let mut values = vec![0; 40 * 5];
    let run = |values: &mut [u32], execution: &Execution| {
        let results = MatrixViewMut::new(values, 40, 5).unwrap();
        let stats = Stats::new(DeviceReport::cpu("emulated"));
        run_on(&devices, stats, texts.view(), &options.plan(), results, execution)
    };
    let with = |device_bytes| Execution {
        budget: Budget { device_bytes: Some(device_bytes), ..Budget::default() },
        ..on(Route::Emulated)
    };
    let stats = run(&mut values, &with(3000)).unwrap();
    assert!(stats.tiles > 4 && stats.fallbacks == 1, "{stats:?}");
    assert!(values == go(Route::Cpu, &texts, &options, &on(Route::Cpu)));
    let error = run(&mut values, &with(100)).unwrap_err().to_string();
    assert!(error.contains("the device budget of 100 bytes is too small"), "{error}");
    let control = Control::new();
    control.cancel();
    let error = run(&mut values, &Execution { control, ..on(Route::Emulated) }).unwrap_err();
    assert!(error.to_string().starts_with("minhash: cancelled after 0 of 40 steps"), "{error}");
}

#[test]
fn signatures_are_what_they_always_were() {
    // Signatures are kept for years: these numbers may never change. A program in another language computed them.
    let texts = Texts::new(&["the quick brown fox", "ein schöner Tag", ""]);
    let characters = MinHashOptions { functions: 4, ..MinHashOptions::default() };
    let words = MinHashOptions { shingles: Shingles::Words(2), functions: 4, seed: 7 };
    assert_eq!(
        go(Route::Cpu, &texts, &characters, &on(Route::Cpu)),
        [
            416465533,
            4196591,
            463495205,
            201352204,
            368802992,
            713501663,
            85792848,
            7549457,
            u32::MAX,
            u32::MAX,
            u32::MAX,
            u32::MAX
        ]
    );
    assert_eq!(
        go(Route::Cpu, &texts, &words, &on(Route::Cpu)),
        [
            1791747513,
            2144971291,
            1725064373,
            611095606,
            365680540,
            612074802,
            589620656,
            1265722878,
            u32::MAX,
            u32::MAX,
            u32::MAX,
            u32::MAX
        ]
    );
}

#[test]
fn long_texts_in_parts_are_the_same_as_whole() {
    let mut rng = generator("minhash::long");
    for shingles in [Shingles::Characters(7), Shingles::Words(3)] {
        let mut long = Vec::new();
        while long.len() < 600_000 {
            long.extend(text(&mut rng, 1000));
        }
        // A part that begins in the middle of a long word, and one of blanks only.
        long[250_000..263_000].fill(b'w');
        long[400_000..540_000].fill(b' ');
        let options = MinHashOptions { shingles, functions: 3, seed: 5 };
        agrees(Route::Cpu, &Texts::new(&[&long[..], b"short"]), &options, &on(Route::Cpu));
    }
}

/// Texts with one shingle that is not like all others, at the edges of parts of `part` bytes.
fn edges_of_parts_agree(route: Route, part: usize) {
    for (shingles, filler) in [(Shingles::Characters(1), b'x'), (Shingles::Words(1), b' ')] {
        let edges = [0, part - 1, part, 2 * part - 1, 2 * part, 2 * part + 2];
        let text = |edge: usize| {
            let mut text = vec![filler; 2 * part + 3];
            text[edge] = b'y';
            text
        };
        let texts = Texts::new(&edges.map(text));
        agrees(route, &texts, &MinHashOptions { shingles, functions: 32, seed: 2 }, &on(route));
    }
}

#[test]
fn no_shingle_is_lost_between_two_parts() {
    edges_of_parts_agree(Route::Cpu, cpu::PART);
    edges_of_parts_agree(Route::Emulated, cuda::PART);
}

#[test]
fn neither_budget_nor_threads_change_a_bit() {
    let mut rng = generator("minhash::threads");
    let all: Vec<Vec<u8>> = (0..5000).map(|row| text(&mut rng, row % 7)).collect();
    let (texts, options) = (Texts::new(&all), MinHashOptions::default());
    let whole = go(Route::Cpu, &texts, &options, &on(Route::Cpu));
    for (host_bytes, threads) in [(1 << 30, 1), (90_000, 3), (1 << 30, 4)] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..on(Route::Cpu) };
        assert!(go(Route::Cpu, &texts, &options, &execution) == whole, "{host_bytes} {threads}");
    }
}

/// Two texts of `each` words of their own and `both` common ones.
fn pair_of(rng: &mut ChaCha8Rng, both: usize, each: usize) -> [String; 2] {
    let mut words =
        |count| (0..count).map(|_| format!("{:x} ", rng.random::<u64>())).collect::<String>();
    let common = words(both);
    [(); 2].map(|()| common.clone() + &words(each))
}

#[test]
fn the_estimate_and_the_bands_have_the_stated_probabilities() {
    let mut rng = generator("minhash::estimate");
    let options =
        MinHashOptions { shingles: Shingles::Words(1), functions: 128, seed: rng.random() };
    let (pairs, similarity) = (4000, 0.5);
    let all: Vec<String> = (0..pairs).flat_map(|_| pair_of(&mut rng, 20, 10)).collect();
    let values = go(Route::Cpu, &Texts::new(&all), &options, &on(Route::Cpu));
    let signatures: Vec<&[u32]> = values.chunks(128).collect();
    let errors: Vec<f64> =
        signatures.chunks(2).map(|pair| estimate(pair[0], pair[1]) - similarity).collect();
    let mean = errors.iter().sum::<f64>() / pairs as f64;
    let error = standard_error(similarity, 128);
    assert!(mean.abs() < 4.5 * error / (pairs as f64).sqrt(), "biased by {mean}");
    let spread = (errors.iter().map(|error| error * error).sum::<f64>() / pairs as f64).sqrt();
    // The standard deviation of a standard deviation of normal values is 1/sqrt(2n) of it.
    assert!((spread / error - 1.0).abs() < 4.5 / (2.0 * pairs as f64).sqrt(), "{spread} {error}");
    for banding in [Banding { bands: 32, rows: 4 }, Banding { bands: 12, rows: 3 }] {
        let hit = |pair: &&[&[u32]]| {
            (0..banding.bands)
                .any(|band| banding.band(pair[0], band) == banding.band(pair[1], band))
        };
        let found = signatures.chunks(2).filter(hit).count() as f64 / pairs as f64;
        let expected = banding.probability(similarity);
        let error = (expected * (1.0 - expected) / pairs as f64).sqrt();
        assert!((found - expected).abs() < 4.5 * error, "{banding:?}: {found}, {expected}");
    }
}

#[test]
fn an_empty_text_is_similar_to_nothing() {
    let options = MinHashOptions { shingles: Shingles::Words(2), ..MinHashOptions::default() };
    let values = go(Route::Cpu, &Texts::new(&["", " \n ", "a b"]), &options, &on(Route::Cpu));
    let [empty, blank, full] = [0, 1, 2].map(|row| &values[row * 128..][..128]);
    assert!(is_empty(empty) && is_empty(blank) && !is_empty(full));
    assert_eq!(
        (estimate(empty, blank), estimate(full, full), estimate(full, empty)),
        (0.0, 1.0, 0.0)
    );
    assert_eq!(estimate(full, &full[1..]), 0.0);
}

#[test]
fn bad_options_are_errors_that_name_them() {
    let texts = Texts::new(&["abc"]);
    let run = |options: MinHashOptions, cols: usize, execution: &Execution| {
        let mut values = vec![0; cols];
        let results = MatrixViewMut::new(&mut values, 1, cols).unwrap();
        signatures(texts.view(), &options, results, execution).unwrap_err().to_string()
    };
    let usual = MinHashOptions::default();
    let cpu = on(Route::Cpu);
    for (options, expected) in [
        (
            MinHashOptions { functions: 0, ..usual },
            "minhash: functions is 0; it must be 1 to 65536",
        ),
        (
            MinHashOptions { shingles: Shingles::Words(0), ..usual },
            "minhash: shingles is 0; it must be 1 to 256",
        ),
        (
            MinHashOptions { shingles: Shingles::Characters(257), ..usual },
            "minhash: shingles is 257; it must be 1 to 256",
        ),
    ] {
        assert_eq!(run(options, 128, &cpu), expected);
    }
    assert_eq!(run(usual, 127, &cpu), "minhash: room for 1 x 127 values; 1 texts x 128 functions");
    let tiny = Execution { budget: Budget::host(10), ..on(Route::Cpu) };
    assert!(run(usual, 128, &tiny).contains("too small for one tile; at least"));
    let control = Control::new();
    control.cancel();
    assert_eq!(
        run(usual, 128, &Execution { control, ..on(Route::Cpu) }),
        "minhash: cancelled after 0 of 1 steps"
    );
}
