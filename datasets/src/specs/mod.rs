//! The specs that come with Colonnade: TOML files such as users write, with nothing that theirs can't have.

use std::sync::LazyLock;

use crate::spec::DatasetSpec;

/// The shipped files. The first five are the built-in datasets; the rest are what the readers of public
/// formats need besides.
const FILES: [(&str, &str); 8] = [
    ("model_calls.toml", include_str!("model_calls.toml")),
    ("tickets.toml", include_str!("tickets.toml")),
    ("workflow_steps.toml", include_str!("workflow_steps.toml")),
    ("metrics.toml", include_str!("metrics.toml")),
    ("events.toml", include_str!("events.toml")),
    ("llm_prices.toml", include_str!("llm_prices.toml")),
    ("people.toml", include_str!("people.toml")),
    ("record_pairs.toml", include_str!("record_pairs.toml")),
];

/// How many of the files are built-in datasets.
const BUILTIN_COUNT: usize = 5;

static SPECS: LazyLock<Vec<DatasetSpec>> = LazyLock::new(|| {
    // A test reads every file, so none is left out here.
    FILES.iter().filter_map(|(name, text)| DatasetSpec::from_toml(text, name).ok()).collect()
});

/// The built-in datasets: `model_calls`, `tickets`, `workflow_steps`, `metrics`, `events`.
pub fn builtin() -> Vec<DatasetSpec> {
    SPECS.iter().take(BUILTIN_COUNT).cloned().collect()
}

/// A shipped spec by its dataset's name.
pub fn by_name(name: &str) -> Option<DatasetSpec> {
    SPECS.iter().find(|spec| spec.name.as_str() == name).cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_shipped_spec_is_sound_and_survives_json() {
        for (file, text) in FILES {
            let spec = DatasetSpec::from_toml(text, file).unwrap();
            assert_eq!(format!("{}.toml", spec.name), file);
            assert_eq!(DatasetSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
            assert_eq!(by_name(spec.name.as_str()).unwrap(), spec);
        }
        let names: Vec<_> = builtin().iter().map(|s| s.name.to_string()).collect();
        assert_eq!(names, ["model_calls", "tickets", "workflow_steps", "metrics", "events"]);
    }
}
