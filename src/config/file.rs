//! `colonnade.toml`: the settings as a file.

use std::collections::BTreeMap;
use std::path::Path;

use datasets::toml_problem;
use engine::{Code, Error, GrantSet, Result};

use super::auth::Auth;
use super::documents::Documents;
use super::keys::KeySetting;
use super::server::Server;

/// What a settings file holds.
pub struct File {
    /// Its name, for origins and errors.
    pub name: String,
    /// Plain settings, as text.
    pub values: BTreeMap<String, String>,
    /// The `[storage]` table.
    pub storage: BTreeMap<String, String>,
    /// The `[[keys]]` tables.
    pub keys: Vec<KeySetting>,
    /// The `[grants.NAME]` tables.
    pub grants: BTreeMap<String, GrantSet>,
    /// The `[limits]` table.
    pub limits: BTreeMap<String, String>,
    /// The `[auth]` table.
    pub auth: Option<Auth>,
    /// The `[documents]` table.
    pub documents: Option<Documents>,
    /// The `[server]` table.
    pub server: Option<Server>,
}

/// Reads the file that was asked for, or the default one if it is there.
pub fn read(asked: Option<&Path>, default: &Path) -> Result<Option<File>> {
    let path = asked.unwrap_or(default);
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if asked.is_none() && e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::user(Code::BadInput, format!("settings file {name}: {e}"))),
    };
    parse(name, &text).map(Some)
}

fn parse(name: String, text: &str) -> Result<File> {
    let bad =
        |problem: String| Error::user(Code::BadInput, format!("settings file {name}: {problem}"));
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| bad(toml_problem(text, &e)))?;
    let mut file = File {
        name: name.clone(),
        values: BTreeMap::new(),
        storage: BTreeMap::new(),
        keys: Vec::new(),
        grants: BTreeMap::new(),
        limits: BTreeMap::new(),
        auth: None,
        documents: None,
        server: None,
    };
    for (key, value) in table {
        match (key.as_str(), value) {
            ("storage", toml::Value::Table(options)) => {
                file.storage = texts(&key, options).map_err(&bad)?
            }
            ("limits", toml::Value::Table(limits)) => {
                file.limits = texts(&key, limits).map_err(&bad)?
            }
            ("keys", value) => {
                file.keys = value
                    .try_into()
                    .map_err(|e: toml::de::Error| bad(format!("keys: {}", e.message())))?;
            }
            ("grants", value) => {
                file.grants = value
                    .try_into()
                    .map_err(|e: toml::de::Error| bad(format!("grants: {}", e.message())))?;
            }
            ("auth", value) => {
                let auth = value
                    .try_into()
                    .map_err(|e: toml::de::Error| bad(format!("auth: {}", e.message())))?;
                file.auth = Some(auth);
            }
            ("documents", value) => {
                let documents = value
                    .try_into()
                    .map_err(|e: toml::de::Error| bad(format!("documents: {}", e.message())))?;
                file.documents = Some(documents);
            }
            ("server", value) => {
                let server = value
                    .try_into()
                    .map_err(|e: toml::de::Error| bad(format!("server: {}", e.message())))?;
                file.server = Some(server);
            }
            (_, value) => {
                let value = scalar(&value)
                    .ok_or_else(|| bad(format!("{key}: expected a text, number or bool")))?;
                file.values.insert(key, value);
            }
        }
    }
    Ok(file)
}

fn texts(table: &str, values: toml::Table) -> Result<BTreeMap<String, String>, String> {
    let text = |(name, value): (String, toml::Value)| match scalar(&value) {
        Some(text) => Ok((name, text)),
        None => Err(format!("{table}.{name}: expected a text, number or bool")),
    };
    values.into_iter().map(text).collect()
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}
