//! `colonnade config`: what is in force, and where each value is from.

use engine::Result;

use crate::config::Settings;
use crate::output::{Output, columns};

/// Prints the settings, secrets masked.
pub fn config(settings: &Settings, output: &Output) -> Result<()> {
    // What would keep a server from starting is better known here.
    settings.check()?;
    let lines = settings.in_force();
    if output.is_json() {
        return output.document(&lines);
    }
    let rows: Vec<Vec<String>> = lines
        .into_iter()
        .map(|line| vec![line.name, line.value, line.origin, line.about])
        .collect();
    output.line(&columns(&["setting", "value", "from", "what it is for"], &rows))
}
