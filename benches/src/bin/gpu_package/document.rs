//! The JSON document, whole on disk after every change.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::parts::Part;

pub struct Document {
    path: PathBuf,
    value: Value,
}

impl Document {
    /// Begins a document and writes it, so that a path that can't be written is known before the work.
    pub fn begin(path: &Path, facts: Value) -> Result<Self, String> {
        let mut document = Self { path: path.to_owned(), value: facts };
        document.set("finished", false.into())?;
        Ok(document)
    }

    pub fn set(&mut self, field: &str, value: Value) -> Result<(), String> {
        self.value[field] = value;
        self.write()
    }

    /// Adds a result to a part.
    pub fn push(&mut self, part: Part, result: Value) -> Result<(), String> {
        let results = &mut self.value[part.name()];
        match results {
            Value::Array(results) => results.push(result),
            _ => *results = json!([result]),
        }
        self.write()
    }

    /// Beside its place, and renamed: whatever happens, there is a whole document.
    fn write(&self) -> Result<(), String> {
        let mut draft = self.path.clone().into_os_string();
        draft.push(".draft");
        std::fs::write(&draft, format!("{:#}\n", self.value))
            .and_then(|()| std::fs::rename(&draft, &self.path))
            .map_err(|error| format!("write {}: {error}", self.path.display()))
    }
}
