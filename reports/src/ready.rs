//! Templates that are ready.

use crate::error::{Error, Result};
use crate::template::Template;

/// Names of the ready templates, with their text.
pub const READY: [(&str, &str); 3] = [
    ("operations-week", include_str!("../templates/operations-week.toml")),
    ("model-costs", include_str!("../templates/model-costs.toml")),
    ("data-quality", include_str!("../templates/data-quality.toml")),
];

/// The ready template of a name.
pub fn ready(name: &str) -> Result<Template> {
    let found = READY.iter().find(|(ready, _)| *ready == name);
    let (name, text) = found.ok_or_else(|| Error::Template {
        file: name.to_owned(),
        place: "the template".to_owned(),
        problem: crate::template::unknown("report", name, &READY.map(|(name, _)| name)),
    })?;
    Template::parse(name, text)
}
