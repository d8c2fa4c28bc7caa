//! Broken and hostile input for everything that reads input.
//!
//! A target takes any bytes and must come back: with an answer or an error, within a time, with no panic and no error that is
//! ours. `make fuzz` searches for bytes that it does not come back from, by coverage (libFuzzer); the tests here change seeds at
//! random for a few seconds each, and run every input that was once found (`cases/`).

mod client;
mod mutate;
mod rig;
mod seeds;
mod targets;

use std::time::Duration;

pub use mutate::Mutator;
pub use seeds::seeds;
pub use targets::{TARGETS, Target, target};

/// Longest input that is tried.
pub const INPUT_BYTES_MAX: usize = 16 << 10;
/// Longest that an input may take, on a busy machine and without optimisation.
pub const TIME_MAX: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stderr)]
    use std::cell::Cell;
    use std::panic::catch_unwind;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, Once, PoisonError};
    use std::time::Instant;

    use super::*;

    /// Seconds of all targets together.
    fn seconds() -> f64 {
        std::env::var("COLONNADE_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60.0)
    }

    fn seed() -> u64 {
        let given = std::env::var("COLONNADE_TEST_SEED").ok().and_then(|s| s.parse().ok());
        // The same inputs for everybody; `make test-seeds` and `make fuzz` try others.
        given.unwrap_or(15)
    }

    /// Panics of threads that try nothing themselves: those of a server's tasks end nothing but their connection.
    static PANICS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static TRIES: Cell<bool> = const { Cell::new(false) };
    }
    /// What is tried now, by any thread.
    static AT_WORK: Mutex<Vec<String>> = Mutex::new(Vec::new());

    fn count_panics() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !TRIES.get() {
                    PANICS.fetch_add(1, Ordering::Relaxed);
                }
                before(panic);
            }));
        });
    }

    fn run(target: &Target, input: &[u8], what: &str) {
        count_panics();
        TRIES.set(true);
        let at_work = || AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!(
            "{}, {what}: {:?}, as bytes {input:?}",
            target.name,
            String::from_utf8_lossy(input)
        );
        at_work().push(name.clone());
        let (before, began) = (PANICS.load(Ordering::Relaxed), Instant::now());
        let ended = catch_unwind(|| (target.run)(input));
        let (panics, took) = (PANICS.load(Ordering::Relaxed) - before, began.elapsed());
        // A panic of a task may be that of what another thread tried.
        let tried = at_work().join("\n");
        assert!(ended.is_ok() && panics == 0, "{name}\nbeside\n{tried}");
        assert!(took < TIME_MAX, "{took:?} for {name}");
        at_work().retain(|other| *other != name);
    }

    #[test]
    fn what_was_found_once_is_not_found_again() {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        for target in TARGETS {
            for input in seeds(target.name) {
                run(target, &input, "a seed");
            }
            let Ok(found) = std::fs::read_dir(cases.join(target.name)) else { continue };
            for case in found.map_while(Result::ok) {
                let input = std::fs::read(case.path()).unwrap_or_default();
                run(target, &input, &case.file_name().to_string_lossy());
            }
        }
    }

    #[test]
    fn any_change_of_a_seed_is_answered() {
        const THREADS: usize = 2;
        let seed = seed();
        eprintln!("COLONNADE_TEST_SEED={seed}");
        let try_out = |target: &Target| {
            let mut mutator = Mutator::new(seed);
            let seeds = seeds(target.name);
            let (began, mut runs) = (Instant::now(), 0_u64);
            while began.elapsed().as_secs_f64() < seconds() / TARGETS.len() as f64 {
                let input = mutator.change(&seeds, target.words);
                run(target, &input, "a changed seed");
                runs += 1;
            }
            eprintln!("{}: {runs} inputs", target.name);
            assert!(runs > 0);
        };
        std::thread::scope(|scope| {
            for first in 0..THREADS {
                scope.spawn(move || TARGETS.iter().skip(first).step_by(THREADS).for_each(try_out));
            }
        });
    }
}
