//! `[auth.jwt]`: whose tokens let somebody in. What certificates are worth is in `server.rs`.

use std::path::Path;
use std::time::Duration;

use engine::{Error, Result, Role, TenantId};
use graphql::{JwksSource, JwtAlgorithm, JwtOptions, JwtRole, JwtTenant};
use serde::Deserialize;

use super::server::Certificate;
use super::{InForce, Origin, Settings, bad};

/// How tokens may be signed where nothing is said: by what providers use, and no more.
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
/// How often keys are read where nothing is said, and at most.
const REFRESH: Duration = Duration::from_secs(600);
const REFRESH_MIN: Duration = Duration::from_secs(10);
/// How much clocks may differ where nothing is said, and at most.
const LEEWAY: Duration = Duration::from_secs(30);
const LEEWAY_MAX: Duration = Duration::from_secs(300);
/// Most rules.
const ROLES_MAX: usize = 100;

/// The table `[auth]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    jwt: Option<Jwt>,
    #[serde(default)]
    pub(super) certificates: Vec<Certificate>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwt {
    issuer: String,
    audience: Several,
    jwks: String,
    #[serde(default)]
    algorithms: Option<Vec<String>>,
    #[serde(default)]
    refresh: Option<String>,
    #[serde(default)]
    leeway: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    tenant_claim: Option<String>,
    #[serde(default)]
    tenants: Vec<String>,
    #[serde(default = "subject_claim")]
    subject_claim: String,
    #[serde(default = "roles_claim")]
    roles_claim: String,
    roles: Vec<Rule>,
}

/// What a value of the claim of roles is worth.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    value: String,
    role: String,
    #[serde(default)]
    grants: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Several {
    One(String),
    All(Vec<String>),
}

fn subject_claim() -> String {
    "sub".to_owned()
}

fn roles_claim() -> String {
    "roles".to_owned()
}

impl Settings {
    /// Whose tokens let somebody in, if anybody's do.
    pub fn jwt(&self) -> Result<Option<JwtOptions>> {
        let Some((Auth { jwt: Some(jwt), .. }, origin)) = &self.auth else { return Ok(None) };
        self.jwt_of(jwt)
            .map(Some)
            .map_err(|error| bad(format!("auth.jwt (from {origin}): {error}")))
    }

    fn jwt_of(&self, jwt: &Jwt) -> Result<JwtOptions> {
        let given = |name: &str, text: &str| match text.trim().is_empty() {
            true => Err(bad(format!("{name}: expected a text, found none"))),
            false => Ok(text.to_owned()),
        };
        let within = |name: &str, text: &Option<String>, default: Duration, most: Duration| {
            let Some(text) = text else { return Ok(default) };
            let time = match text.as_str() {
                "0s" => Some(Duration::ZERO),
                text => crate::cli::time(text).ok().and_then(|time| time.to_std().ok()),
            };
            let expected = || {
                bad(format!(
                    "{name} = {text:?}: expected a time of up to {} s, such as 30s",
                    most.as_secs()
                ))
            };
            time.filter(|time| *time <= most).ok_or_else(expected)
        };
        let audiences = match &jwt.audience {
            Several::One(one) => vec![one.clone()],
            Several::All(all) => all.clone(),
        };
        if audiences.is_empty() || audiences.iter().any(|audience| audience.trim().is_empty()) {
            return Err(bad("audience: expected for whom tokens are, found nobody".to_owned()));
        }
        let algorithms = match &jwt.algorithms {
            None => ALGORITHMS.map(str::to_owned).to_vec(),
            Some(named) => named.clone(),
        };
        let algorithms: Vec<JwtAlgorithm> = algorithms
            .iter()
            .map(|name| name.parse().map_err(|error: Error| bad(format!("algorithms: {error}"))))
            .collect::<Result<_>>()?;
        if algorithms.is_empty() {
            return Err(bad("algorithms: expected at least one, found none".to_owned()));
        }
        let jwks = JwksSource::new(&jwt.jwks).map_err(|error| bad(format!("jwks: {error}")))?;
        if let JwksSource::File(path) = &jwks {
            require_file(path)?;
        }
        let refresh = within("refresh", &jwt.refresh, REFRESH, Duration::from_secs(86_400))?;
        if refresh < REFRESH_MIN {
            return Err(bad(format!("refresh: expected at least {} s", REFRESH_MIN.as_secs())));
        }
        let named = |name: &String| {
            name.parse::<TenantId>().map_err(|error| bad(format!("tenants: {error}")))
        };
        let tenants = jwt.tenants.iter().map(named).collect::<Result<Vec<_>>>()?;
        let tenant = match (&jwt.tenant, &jwt.tenant_claim) {
            (Some(tenant), None) if tenants.is_empty() => JwtTenant::Is(tenant.parse()?),
            (None, Some(name)) => {
                JwtTenant::Claim { name: given("tenant_claim", name)?, among: tenants }
            }
            (None, None) if tenants.is_empty() => JwtTenant::Is(TenantId::default()),
            _ => {
                let says =
                    "tenant, tenant_claim: expected one of both; `tenants` goes with tenant_claim";
                return Err(bad(says.to_owned()));
            }
        };
        if jwt.roles.is_empty() || jwt.roles.len() > ROLES_MAX {
            return Err(bad(format!(
                "roles: expected 1 to {ROLES_MAX} tables with value and role, found {}: nobody could do anything otherwise",
                jwt.roles.len()
            )));
        }
        let role = |rule: &Rule| {
            let role: Role = rule.role.parse().map_err(|error| bad(format!("roles: {error}")))?;
            let grants = rule.grants.as_ref().map(|name| self.grants(name)).transpose()?;
            let value = given("roles.value", &rule.value)?;
            Ok(JwtRole { value, role, grants })
        };
        Ok(JwtOptions {
            issuer: given("issuer", &jwt.issuer)?,
            audiences,
            algorithms,
            jwks,
            refresh,
            leeway: within("leeway", &jwt.leeway, LEEWAY, LEEWAY_MAX)?,
            tenant,
            subject_claim: given("subject_claim", &jwt.subject_claim)?,
            roles_claim: given("roles_claim", &jwt.roles_claim)?,
            roles: jwt.roles.iter().map(role).collect::<Result<_>>()?,
        })
    }

    pub(super) fn auth_in_force(&self) -> Option<InForce> {
        let (Auth { jwt: Some(jwt), .. }, origin) = self.auth.as_ref()? else { return None };
        Some(InForce {
            name: "auth.jwt".to_owned(),
            value: format!("{} (keys in {})", jwt.issuer, jwt.jwks),
            origin: Origin::to_string(origin),
            about: "whose tokens let somebody in".to_owned(),
        })
    }
}

fn require_file(path: &Path) -> Result<()> {
    match path.is_file() {
        true => Ok(()),
        false => Err(bad(format!(
            "jwks: there is no file {}; expected one, or an address that begins with https://",
            path.display()
        ))),
    }
}
