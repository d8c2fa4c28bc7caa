//! Names of datasets and columns, checked once where they enter, so that every later use (a path, an
//! SQL identifier, a GraphQL field) can rely on their shape.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Longest dataset or column name in bytes: short enough for any store's key and any SQL tool.
pub const NAME_MAX_BYTES: usize = 64;

/// The name of a dataset: `snake_case`, a lower-case letter first, at most [`NAME_MAX_BYTES`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatasetName(Arc<str>);

impl DatasetName {
    /// Checks `name`; fails with what a name may look like.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check_identifier("dataset name", name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where rows of this dataset go that failed a check.
    pub fn quarantine(&self) -> Self {
        Self(format!("{}{QUARANTINE_SUFFIX}", self.0).into())
    }

    /// Whether this is the quarantine of another dataset.
    pub fn is_quarantine(&self) -> bool {
        self.0.ends_with(QUARANTINE_SUFFIX)
    }
}

/// Ends the name of a dataset that holds another's rejected rows.
pub const QUARANTINE_SUFFIX: &str = "_quarantine";

/// Checks an identifier of `what` ("dataset name", "column name") for shape.
///
/// `snake_case` only, because one name must serve as a path, as an unquoted SQL identifier and, in
/// camel case, as a GraphQL name; a doubled or trailing `_` would make two names meet there.
pub fn check_identifier(what: &'static str, name: &str) -> Result<()> {
    let fail = |expected: &str| {
        Err(Error::Name { what, name: name.chars().take(80).collect(), expected: expected.into() })
    };
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        return fail(&format!("1 to {NAME_MAX_BYTES} characters"));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return fail("a lower-case letter first");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return fail("lower-case letters, digits and `_`");
    }
    if name.contains("__") || name.ends_with('_') {
        return fail("no doubled and no trailing `_`");
    }
    Ok(())
}

impl FromStr for DatasetName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for DatasetName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<DatasetName> for String {
    fn from(name: DatasetName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_is_a_name_and_nothing_else_is() {
        assert!(DatasetName::new("model_calls").is_ok());
        for bad in ["", "_a", "a_", "a__b", "Model", "1a", "a-b", "a/b", "..", "é", &"a".repeat(65)]
        {
            assert!(DatasetName::new(bad).is_err(), "{bad:?} passed");
        }
    }
}
