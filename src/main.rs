//! The command line of Colonnade: reads the settings, runs one command, turns its outcome into an exit code.

mod cli;
mod commands;
mod config;
mod environment;
mod output;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;
use engine::{Code, Error, Result, STACK_BYTES};

/// Gives memory back to the system that a crowd of clients or a job took, which glibc's does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Must come first, because the process may start itself again.
    let sealed = environment::Environment::seal();
    let arguments = cli::Arguments::parse();
    let output = output::Output::new(arguments.command.wants_json());
    // A thread for its stack: queries are planned by recursion.
    let ran = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("main".into()).stack_size(STACK_BYTES);
        let run = thread.spawn_scoped(scope, || run(arguments, &sealed?, &output));
        let start = |error| Error::environment(Code::Internal, "start a thread", error);
        run.map_err(start)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code().exit_code())
        }
    }
}

fn run(
    arguments: cli::Arguments,
    environment: &environment::Environment,
    output: &output::Output,
) -> Result<()> {
    engine::add_store_variables(environment.sealed.clone());
    let settings = config::Settings::resolve(&arguments.global, environment)?;
    telemetry::install(&settings, arguments.command.log_level())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|e| Error::environment(Code::Internal, "start the async runtime", e))?;
    runtime.block_on(commands::dispatch(arguments.command, &settings, output))
}
