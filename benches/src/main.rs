//! Ours beside the peers a user would pick instead.
//!
//! A number alone says little: it depends on the machine, on what else runs there, and on the data. So
//! each case runs ours and every peer in turn, round after round, on the same file and with the same number of
//! threads; what counts is the ratio of the medians. Each result is compared with ours before it is timed.
//!
//! `benches/run.sh [SUITE…] [--set SIZE=N]… [--rounds N] [--warm-up N] [--threads N] [--record FILE]`

// A program whose purpose is to print.
#![allow(clippy::print_stdout)]

mod cases;
mod options;
mod peers;
mod report;
mod setup;

use std::error::Error;
use std::thread;
use std::time::Duration;

use cases::{Case, SUITES, Suite};
use options::Options;
use peers::Peers;
use report::{Row, Times};
use setup::Setup;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::from_arguments(std::env::args().skip(1))?;
    for suite in SUITES.iter().filter(|suite| options.wants(suite.name)) {
        let setup = Setup::new(suite.name, &options)?;
        let rows = measure_suite(suite, &setup, &options)?;
        let section = report::section(suite.name, &setup, &options, &rows);
        println!("\n{section}");
        if let Some(path) = &options.record {
            let before = std::fs::read_to_string(path).unwrap_or_default();
            std::fs::write(path, report::replace(&before, suite.name, &section))
                .map_err(|error| format!("write {}: {error}", path.display()))?;
        }
    }
    Ok(())
}

fn measure_suite(
    suite: &Suite,
    setup: &Setup,
    options: &Options,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let cases = (suite.cases)(setup)?;
    let mut peers = Peers::start(suite.name, setup, options)?;
    let mut rows = Vec::new();
    for case in cases {
        let measured = measure(case, &mut peers, options)?;
        measured.iter().for_each(|row| println!("{row}"));
        rows.extend(measured);
    }
    Ok(rows)
}

/// Runs a case and its peers in turn, the order reversed every other round.
/// Between two runs: the threads of some libraries go on spinning after their work, and would take a core from the next.
const PAUSE: Duration = Duration::from_millis(200);

fn measure(
    mut case: Case<'_>,
    peers: &mut Peers,
    options: &Options,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let names = case.peers;
    let mut seconds = vec![Vec::new(); names.len() + 1];
    let mut cpu = seconds.clone();
    for round in 0..options.warm_up + options.rounds {
        let mut order: Vec<usize> = (0..=names.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut samples = vec![Vec::new(); names.len() + 1];
        for place in order {
            thread::sleep(PAUSE);
            let run = match place.checked_sub(1) {
                None => case.run()?,
                Some(peer) => peers.run(case.name, names[peer])?,
            };
            if round >= options.warm_up {
                seconds[place].push(run.seconds);
                cpu[place].push(run.cpu_seconds);
            }
            samples[place] = run.sample;
        }
        for (name, sample) in names.iter().zip(&samples[1..]) {
            cases::agree(case.name, name, &samples[0], sample, case.tolerance)?;
        }
    }
    let mut middle = |place: usize| Times {
        wall: report::median(&mut seconds[place]),
        cpu: report::median(&mut cpu[place]),
    };
    let ours = middle(0);
    let row = |(index, peer): (usize, &&'static str)| Row {
        case: case.name,
        peer,
        ours,
        theirs: middle(index + 1),
        note: case.note.clone(),
    };
    Ok(names.iter().enumerate().map(row).collect())
}
