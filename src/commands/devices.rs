//! `colonnade devices`: the processors that kernels can use, what was probed to know, and which operation goes
//! where. With `--self-test` every operation is tried on them.

use engine::{Code, Error, Result};
use kernels::Crossover;
use kernels::self_test::SelfTest;
use models::CUDA_ENCODERS_ABSENT;
use serde_json::{Map, Value, json};

use crate::cli::Devices as Arguments;
use crate::config::Settings;
use crate::output::{Output, columns, size};

/// Prints the devices, and what the `gpu` setting makes of them. A self-test that fails is an error.
pub fn devices(arguments: &Arguments, settings: &Settings, output: &Output) -> Result<()> {
    let policy = settings.gpu()?;
    let devices = kernels::devices();
    let operations = Crossover::default().operations();
    let tests = if arguments.self_test { kernels::self_test::run() } else { Vec::new() };
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
        output.document(&json!({
            "gpu": policy.to_string(),
            "devices": found,
            "cudaAbsent": devices.cuda_absent,
            "cudaEncodersAbsent": CUDA_ENCODERS_ABSENT,
            "operations": operations.iter().map(|operation| json!({
                "operation": operation.name,
                "deviceFrom": operation.device_from.map(|(least, _)| least),
                "unit": operation.device_from.map(|(_, unit)| unit),
            })).collect::<Vec<_>>(),
            "selfTest": arguments.self_test.then(|| tests.iter().map(|test| json!({
                "operation": test.operation,
                "device": test.device,
                "seconds": test.seconds,
                "error": test.error,
            })).collect::<Vec<_>>()),
        }))?;
        return outcome(&tests);
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
    if let Some(reason) = &devices.cuda_absent {
        output.line(&format!("\nno CUDA device: {reason} (gpu = {policy})"))?;
    }
    if let Some(reason) = CUDA_ENCODERS_ABSENT {
        output.line(&format!("\nencoders run on the processor: {reason}"))?;
    }
    let rows: Vec<Vec<String>> = operations
        .iter()
        .map(|operation| {
            let place = match operation.device_from {
                None => "cpu".to_owned(),
                Some((least, unit)) if devices.cuda_absent.is_none() => {
                    format!("cuda from {least:.0e} {unit} on")
                }
                Some(_) => "cpu, as there is no CUDA device".to_owned(),
            };
            vec![operation.name.to_owned(), place]
        })
        .collect();
    output.line(&format!("\n{}", columns(&["operation", "with gpu = preferred"], &rows)))?;
    if arguments.self_test {
        let rows: Vec<Vec<String>> = tests
            .iter()
            .map(|test| {
                let outcome = test.error.clone().unwrap_or_else(|| "right".to_owned());
                vec![
                    test.operation.to_owned(),
                    test.device.clone(),
                    format!("{:.3}", test.seconds),
                    outcome,
                ]
            })
            .collect();
        output.line(&format!("\n{}", columns(&["self-test", "device", "seconds", ""], &rows)))?;
    }
    outcome(&tests)
}

fn outcome(tests: &[SelfTest]) -> Result<()> {
    let failed: Vec<&str> =
        tests.iter().filter(|test| test.error.is_some()).map(|test| test.operation).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::environment(
        Code::DeviceUnavailable,
        format!("the self-test failed for {}", failed.join(", ")),
        std::io::Error::other("see the table"),
    ))
}
