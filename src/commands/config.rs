//! `colonnade config`: what is in force, and where each value is from.

use engine::Result;

use super::{close, open_to_read};
use crate::config::Settings;
use crate::output::{Output, columns};

/// Prints the settings, secrets masked.
pub async fn config(settings: &Settings, output: &Output) -> Result<()> {
    // What would keep a server from starting is better known here.
    settings.check()?;
    if let Err(refused) = settings.require_keys()
        && !has_had_keys(settings).await
    {
        return Err(refused);
    }
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

/// Whether there was ever a key in control state, as far as that can be seen from here.
async fn has_had_keys(settings: &Settings) -> bool {
    let looked = async {
        let engine = open_to_read(settings).await?;
        let found = jobs::has_had_keys(&engine, settings.control().as_deref()).await;
        close(&engine, found).await
    };
    looked.await.unwrap_or(false)
}
