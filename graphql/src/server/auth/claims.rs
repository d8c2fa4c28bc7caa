//! What the claims of somebody are worth here: whose data it is about, who it is, and, by one rule of the settings, what that one may.
//!
//! Claims come with every token, or once with a login, whose session then keeps those alone that rules ask for.

use std::collections::BTreeMap;

use engine::{Claim, Code, Credential, Error, GrantSet, Grants, Principal, Result, Role, TenantId};
use serde_json::{Map, Value};

/// Longest subject.
const SUBJECT_BYTES_MAX: usize = 200;
/// Longest claim that grants are held against, and how many texts it may have.
const CLAIM_BYTES_MAX: usize = 4 << 10;

/// What somebody is said to be, by whom this server trusts.
pub(super) type Claims = Map<String, Value>;

/// What claims are worth.
#[derive(Clone, Debug)]
pub struct ClaimRules {
    /// Whose data it is about.
    pub tenant: JwtTenant,
    /// The claim that says who it is.
    pub subject_claim: String,
    /// The claim that says what the holder is; `.` goes into objects.
    pub roles_claim: String,
    /// What that is worth here: the first that one of its values meets.
    pub roles: Vec<JwtRole>,
}

/// Whose data somebody comes for.
#[derive(Clone, Debug)]
pub enum JwtTenant {
    /// Always this one's.
    Is(TenantId),
    /// Whom a claim names, and only these where some are listed.
    Claim {
        /// The claim.
        name: String,
        /// Those that it may name; any, where there are none.
        among: Vec<TenantId>,
    },
}

/// What a value of the claim of roles is worth.
#[derive(Clone, Debug)]
pub struct JwtRole {
    /// The value.
    pub value: String,
    /// What its holder may do.
    pub role: Role,
    /// What its holder may see; all of the tenant when absent.
    pub grants: Option<GrantSet>,
}

impl ClaimRules {
    /// The tenants that are known to be let in.
    pub(super) fn tenants(&self) -> Vec<TenantId> {
        match &self.tenant {
            JwtTenant::Is(tenant) => vec![tenant.clone()],
            JwtTenant::Claim { among, .. } => among.clone(),
        }
    }

    /// Whether a claim may name a tenant that is not among these.
    pub(super) fn names_any_tenant(&self) -> bool {
        matches!(&self.tenant, JwtTenant::Claim { among, .. } if among.is_empty())
    }

    /// Who has these claims, which were believed because of `credential`.
    pub(super) fn principal(&self, claims: &Claims, credential: Credential) -> Result<Principal> {
        let forbidden = |says: String| Error::user(Code::Forbidden, format!("the token: {says}"));
        let subject = at(claims, &self.subject_claim).and_then(Value::as_str);
        let is_plain = |text: &&str| {
            !text.trim().is_empty()
                && text.len() <= SUBJECT_BYTES_MAX
                && !text.chars().any(char::is_control)
        };
        let subject = subject.filter(is_plain).ok_or_else(|| {
            forbidden(format!(
                "claim {}: expected who it is, 1 to {SUBJECT_BYTES_MAX} bytes in one line",
                self.subject_claim
            ))
        })?;
        let tenant = match &self.tenant {
            JwtTenant::Is(tenant) => tenant.clone(),
            JwtTenant::Claim { name, among } => {
                let named = at(claims, name).and_then(Value::as_str);
                let tenant = named.and_then(|named| named.parse::<TenantId>().ok());
                let is_known = |tenant: &TenantId| among.is_empty() || among.contains(tenant);
                tenant.filter(is_known).ok_or_else(|| {
                    forbidden(format!("claim {name}: expected a tenant of this server"))
                })?
            }
        };
        let has = at(claims, &self.roles_claim);
        let rule = self.roles.iter().find(|rule| rule.is_met_by(has)).ok_or_else(|| {
            forbidden(format!(
                "claim {}: expected one of the values that this server knows",
                self.roles_claim
            ))
        })?;
        let grants = match &rule.grants {
            None => Grants::all(),
            Some(set) => {
                // A claim of another kind is as good as none: of none no row is seen.
                let known = set.claims_used().into_iter();
                let known = known.filter_map(|name| {
                    let value = claim(claims.get(&name)?)?;
                    Some((name, value))
                });
                Grants::limited(set.clone(), known.collect::<BTreeMap<_, _>>())?
            }
        };
        Ok(Principal {
            tenant,
            subject: subject.to_owned(),
            roles: vec![rule.role],
            grants,
            credential,
        })
    }

    /// Those of `claims` that make a difference to who it is, each under the name by which it is asked for: of a list of roles those
    /// that a rule has, since providers list hundreds.
    pub(super) fn kept(&self, claims: &Claims) -> Claims {
        let mut kept = Claims::new();
        let has = at(claims, &self.roles_claim);
        let met = self.roles.iter().filter(|rule| rule.is_met_by(has));
        let met: Vec<Value> = met.map(|rule| Value::from(rule.value.as_str())).collect();
        kept.insert(self.roles_claim.clone(), Value::Array(met));
        let tenant = match &self.tenant {
            JwtTenant::Is(_) => None,
            JwtTenant::Claim { name, .. } => Some(name),
        };
        // Whole, where one claim serves for two.
        for name in tenant.into_iter().chain([&self.subject_claim]) {
            if let Some(value) = at(claims, name) {
                kept.insert(name.clone(), value.clone());
            }
        }
        let sets = self.roles.iter().filter_map(|rule| rule.grants.as_ref());
        for name in sets.flat_map(GrantSet::claims_used) {
            if let Some(value) = claims.get(&name) {
                kept.insert(name, value.clone());
            }
        }
        kept
    }
}

impl JwtRole {
    /// Whether it is for whom a claim says this of.
    fn is_met_by(&self, claim: Option<&Value>) -> bool {
        match claim {
            // As RFC 8693 has scopes: words with spaces between them.
            Some(Value::String(words)) => words.split(' ').any(|word| word == self.value),
            Some(Value::Array(values)) => values.iter().any(|value| *value == *self.value),
            _ => false,
        }
    }
}

/// A claim, which may lie in objects.
fn at<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    // Names may have dots themselves, as those of namespaces have.
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let mut value = claims.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

/// A claim as grants know such.
fn claim(value: &Value) -> Option<Claim> {
    let fits = |text: &str| text.len() <= CLAIM_BYTES_MAX;
    match value {
        Value::Bool(flag) => Some(Claim::Flag(*flag)),
        Value::Number(number) => number.as_i64().map(Claim::Number),
        Value::String(text) if fits(text) => Some(Claim::Text(text.clone())),
        Value::Array(texts) => {
            let texts: Option<Vec<String>> =
                texts.iter().map(|text| text.as_str().map(str::to_owned)).collect();
            texts.filter(|texts| texts.iter().all(|text| fits(text))).map(Claim::Texts)
        }
        _ => None,
    }
}
