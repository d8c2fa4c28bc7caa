//! The command line of Colonnade: reads the settings, runs one command, turns its outcome into an exit code.

mod cli;
mod commands;
mod config;
mod output;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let output = output::Output::new(arguments.command.wants_json());
    match run(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code().exit_code())
        }
    }
}

fn run(arguments: cli::Arguments, output: &output::Output) -> engine::Result<()> {
    let settings = config::Settings::resolve(&arguments.global)?;
    telemetry::install(&settings, arguments.command.log_level())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
            engine::Error::environment(engine::Code::Internal, "start the async runtime", e)
        })?;
    runtime.block_on(commands::dispatch(arguments.command, &settings, output))
}
