//! `colonnade devices`: the processors that kernels can use, and what was probed to know.

use engine::Result;
use serde_json::{Map, Value, json};

use crate::config::Settings;
use crate::output::{Output, columns, size};

/// Prints the devices, and what the `gpu` setting makes of them.
pub fn devices(settings: &Settings, output: &Output) -> Result<()> {
    let policy = settings.gpu()?;
    let devices = kernels::devices();
    if output.is_json() {
        let found: Vec<Value> = devices
            .found
            .iter()
            .map(|d| {
                let details: Map<String, Value> =
                    d.details.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                json!({"device": d.device.to_string(), "memoryBytes": d.memory_bytes, "details": details})
            })
            .collect();
        return output.document(&json!({
            "gpu": policy.to_string(),
            "devices": found,
            "cudaAbsent": devices.cuda_absent,
        }));
    }
    let rows: Vec<Vec<String>> = devices
        .found
        .iter()
        .map(|d| {
            let details: Vec<String> =
                d.details.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            vec![
                d.device.to_string(),
                d.memory_bytes.map(size).unwrap_or_default(),
                details.join("; "),
            ]
        })
        .collect();
    output.line(&columns(&["device", "memory", "details"], &rows))?;
    match &devices.cuda_absent {
        Some(reason) => output.line(&format!("\nno CUDA device: {reason} (gpu = {policy})")),
        None => Ok(()),
    }
}
