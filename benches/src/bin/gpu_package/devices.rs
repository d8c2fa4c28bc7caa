//! Which devices there are, and what was looked at where there is none.

use serde_json::{Value, json};

/// What a child that probes tells. The parent never opens a device itself: one that only a single process may use
/// would then be closed to the children.
pub fn probe() -> Value {
    let devices = kernels::devices();
    let found: Vec<Value> = devices
        .found
        .iter()
        .map(|facts| {
            let details: Vec<String> =
                facts.details.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            json!({
                "device": facts.device.to_string(),
                "memoryBytes": facts.memory_bytes,
                "details": details,
            })
        })
        .collect();
    json!({ "devices": found, "cudaAbsent": devices.cuda_absent })
}

/// What is looked at before a machine counts as one without a device.
pub fn probed() -> Vec<String> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => format!("{name}: `{value}`"),
        Err(_) => format!("{name}: not set"),
    };
    let mut files: Vec<String> = std::fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with("nvidia"))
        .collect();
    files.sort();
    let files = if files.is_empty() { "none".into() } else { files.join(" ") };
    vec![
        "the driver's library, libcuda.so or libnvcuda.so, on the loader's path".into(),
        "that the driver supports CUDA 13.0 or newer".into(),
        "that it starts, finds a device and opens each".into(),
        format!("/dev/nvidia*: {files}"),
        variable("LD_LIBRARY_PATH"),
        variable("CUDA_VISIBLE_DEVICES"),
    ]
}
