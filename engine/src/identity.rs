//! Who asks, and what things are called: tenants, versions, runs, roles.
//!
//! Each is a type of its own, checked once where it enters, because all of them end up in paths, log
//! lines and cache keys: a value that exists is safe there.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Code, Error, Result};
use crate::grants::Grants;

/// Longest tenant name in bytes.
pub const TENANT_MAX_BYTES: usize = 63;

/// A tenant: `[a-z0-9]` first, then up to 62 of `[a-z0-9-]`. Part of every path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Checks `name`; fails with what a tenant may be called.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let mut bytes = name.bytes();
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = name.len() <= TENANT_MAX_BYTES
            && bytes.next().is_some_and(lower)
            && bytes.all(|b| lower(b) || b == b'-');
        if fits {
            return Ok(Self(name.into()));
        }
        let shown: String = name.chars().take(80).collect();
        Err(Error::user(
            Code::BadInput,
            format!(
                "tenant {shown:?}: expected 1 to {TENANT_MAX_BYTES} lower-case letters, digits and `-`, \
                 a letter or digit first"
            ),
        ))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for TenantId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for TenantId {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> Self {
        tenant.0.as_ref().to_owned()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A committed version of a dataset, from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One execution of a job. Ids sort by the time they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// A new id, later than every earlier one of this process.
    #[allow(clippy::new_without_default)] // a default that differs each time would surprise
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RunId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| {
            let shown: String = text.chars().take(80).collect();
            Error::user(Code::BadInput, format!("run id {shown:?}: expected a UUID"))
        })
    }
}

/// What a principal may do: each includes those before it. `viewer` and `analyst`, as others call the first two, are read, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Query datasets and results.
    #[serde(alias = "viewer")]
    Reader,
    /// Ingest rows and create datasets.
    #[serde(alias = "analyst")]
    Writer,
    /// Submit and cancel runs.
    Operator,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "reader" | "viewer" => Self::Reader,
            "writer" | "analyst" => Self::Writer,
            "operator" => Self::Operator,
            "admin" => Self::Admin,
            other => {
                let shown: String = other.chars().take(80).collect();
                return Err(Error::user(
                    Code::BadInput,
                    format!(
                        "role {shown:?}: expected reader (or viewer), writer (or analyst), operator or admin"
                    ),
                ));
            }
        })
    }
}

/// How somebody showed who it is, for records; there is no secret in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Not at all: who is at the machine, or has the files.
    #[default]
    Local,
    /// By a key of the settings.
    Setting,
    /// By a key that was made while the product runs.
    Key {
        /// What of the key may be seen.
        prefix: Arc<str>,
        /// When it ends.
        expires_at: Option<DateTime<Utc>>,
    },
    /// By a token that somebody signed who is trusted.
    Token {
        /// When it ends.
        expires_at: DateTime<Utc>,
    },
    /// By the session of somebody who has logged in.
    Session {
        /// When it ends, however often it is renewed until then.
        ends_at: DateTime<Utc>,
    },
    /// By a certificate that somebody signed who is trusted.
    Certificate {
        /// When it ends.
        expires_at: DateTime<Utc>,
    },
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Setting => f.write_str("key of the settings"),
            Self::Key { prefix, .. } => write!(f, "key {prefix}"),
            Self::Token { .. } => f.write_str("token"),
            Self::Session { .. } => f.write_str("session"),
            Self::Certificate { .. } => f.write_str("certificate"),
        }
    }
}

/// Who is asking. Every call below the door takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant whose data this is about.
    pub tenant: TenantId,
    /// The person or program, as the door knows it.
    pub subject: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// What it may see.
    pub grants: Grants,
    /// How it showed that.
    pub credential: Credential,
}

impl Principal {
    /// One who sees all of `tenant`.
    pub fn new(tenant: TenantId, subject: impl Into<String>, roles: &[Role]) -> Self {
        Self {
            tenant,
            subject: subject.into(),
            roles: roles.to_vec(),
            grants: Grants::all(),
            credential: Credential::Local,
        }
    }

    /// The local user: every role, tenant `default`.
    pub fn local() -> Self {
        let roles = [Role::Reader, Role::Writer, Role::Operator, Role::Admin];
        Self::new(TenantId::default(), "local", &roles)
    }

    /// Fails with FORBIDDEN unless this principal has `role`, and for all of its tenant: where nothing else is said, what is done
    /// obeys no narrower grants.
    pub fn require(&self, role: Role) -> Result<()> {
        self.require_in_part(role)?;
        match self.grants.is_all() {
            true => Ok(()),
            false => Err(self.forbidden("needs a grant for all datasets of its tenant for this")),
        }
    }

    /// Fails with FORBIDDEN unless this principal has `role`. What is done then obeys its grants.
    pub fn require_in_part(&self, role: Role) -> Result<()> {
        match self.roles.iter().any(|has| *has >= role) {
            true => Ok(()),
            false => Err(self.forbidden(&format!("needs the role {role} for this"))),
        }
    }

    /// Fails with FORBIDDEN unless this principal has `role`, and sees all of `dataset`.
    pub fn require_whole(&self, role: Role, dataset: &DatasetName) -> Result<()> {
        self.require_in_part(role)?;
        match self.grants.sees_whole(dataset) {
            true => Ok(()),
            false => Err(self.forbidden(&format!("needs a grant for all of {dataset} for this"))),
        }
    }

    /// What it sees of its tenant: of what was done by whom nothing, unless it is an admin.
    pub fn sees(&self) -> Grants {
        match self.roles.contains(&Role::Admin) {
            true => self.grants.clone(),
            false => self.grants.without_audit(),
        }
    }

    fn forbidden(&self, needs: &str) -> Error {
        let subject: String = self.subject.chars().take(80).collect();
        Error::user(Code::Forbidden, format!("{subject:?} {needs}, and does not have it"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tenant_can_not_leave_its_folder() {
        for good in ["default", "a", "0-9", "acme-eu-1", &"a".repeat(63)] {
            assert!(good.parse::<TenantId>().is_ok(), "{good:?} refused");
        }
        for bad in ["", "_x", ".", "..", "-a", "A", "a/b", "a\\b", "a b", "é", &"a".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?} passed");
        }
        assert!(serde_json::from_str::<TenantId>("\"../x\"").is_err());
    }

    #[test]
    fn run_ids_sort_by_time_and_are_read_back() {
        let (first, second) = (RunId::new(), RunId::new());
        assert!(first < second);
        assert_eq!(first.to_string().parse::<RunId>().unwrap(), first);
        assert!("x".parse::<RunId>().is_err());
    }

    #[test]
    fn roles_have_the_names_that_others_give_them() {
        for (name, role) in [("viewer", Role::Reader), ("analyst", Role::Writer)] {
            assert_eq!(name.parse::<Role>().unwrap(), role);
            assert_eq!(serde_json::from_str::<Role>(&format!("{name:?}")).unwrap(), role);
        }
        let error = "root".parse::<Role>().unwrap_err().to_string();
        assert!(error.contains("\"root\"") && error.contains("viewer"), "{error}");
    }

    #[test]
    fn a_role_has_what_those_below_it_have_and_no_more() {
        let mut who = Principal { roles: vec![Role::Reader], ..Principal::local() };
        assert!(who.require(Role::Reader).is_ok());
        assert_eq!(who.require(Role::Writer).unwrap_err().code(), Code::Forbidden);
        who.roles = vec![Role::Operator];
        assert!(who.require(Role::Reader).is_ok() && who.require(Role::Writer).is_ok());
        assert_eq!(who.require(Role::Admin).unwrap_err().code(), Code::Forbidden);
        who.roles = vec![Role::Admin];
        assert!(who.require(Role::Operator).is_ok());
    }
}
