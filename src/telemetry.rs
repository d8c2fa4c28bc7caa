//! Log lines on stderr, as text for people or as JSON for machines, with the spans that they stand in.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, Settings};

/// Our own lines at `level`. The table libraries report as errors what the engine asks about and handles, such
/// as whether a table is there yet; their findings reach the user as the engine's errors.
fn default_filter(level: &str) -> String {
    format!(
        "warn,colonnade={level},engine={level},jobs={level},graphql={level},kernels={level},buoyant_kernel=off,delta_kernel=off,deltalake_core=error,usvg=error"
    )
}

/// What is asked for; a level alone is that of our own lines.
fn filter_of(asked: &str) -> String {
    match asked.parse::<LevelFilter>() {
        Ok(level) if level != LevelFilter::OFF => default_filter(&level.to_string()),
        _ => asked.to_owned(),
    }
}

/// Starts logging as the settings say; `level` is for our own lines where they say nothing.
pub fn install(settings: &Settings, level: &str) -> engine::Result<()> {
    let default = default_filter(level);
    let filter = filter_of(settings.log_filter(&default));
    let filter = EnvFilter::try_new(&filter).map_err(|e| {
        engine::Error::user(
            engine::Code::BadInput,
            format!("log filter {filter:?}: expected `level` or `module=level,…`: {e}"),
        )
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let text = || fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let installed = match settings.log_format()? {
        LogFormat::Text => registry.with(text().with_target(false)).try_init(),
        LogFormat::Json => registry.with(text().json()).try_init(),
    };
    installed.map_err(|e| engine::Error::internal(format!("start logging: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_that_of_our_own_lines() {
        assert_eq!(filter_of("error"), default_filter("error"));
        assert_eq!(filter_of("DEBUG"), default_filter("debug"));
        for asked in ["off", "engine=debug", "info,delta_kernel=warn"] {
            assert_eq!(filter_of(asked), asked);
        }
    }
}
