//! `[auth.jwt]`: whose tokens let somebody in; and what it has in common with `[auth.oidc]`, where people log in. What certificates are
//! worth is in `server.rs`.

use std::path::Path;
use std::time::Duration;

use engine::{Error, Result, Role, TenantId};
use graphql::{ClaimRules, JwksSource, JwtAlgorithm, JwtOptions, JwtRole, JwtTenant};
use serde::Deserialize;

use super::oidc::Oidc;
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
    pub(super) oidc: Option<Oidc>,
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
pub(super) struct Rule {
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

pub(super) fn subject_claim() -> String {
    "sub".to_owned()
}

pub(super) fn roles_claim() -> String {
    "roles".to_owned()
}

/// What a table says that claims are worth.
pub(super) struct RulesOf<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) tenant_claim: Option<&'a str>,
    pub(super) tenants: &'a [String],
    pub(super) subject_claim: &'a str,
    pub(super) roles_claim: &'a str,
    pub(super) roles: &'a [Rule],
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
        let audiences = match &jwt.audience {
            Several::One(one) => vec![one.clone()],
            Several::All(all) => all.clone(),
        };
        if audiences.is_empty() || audiences.iter().any(|audience| audience.trim().is_empty()) {
            return Err(bad("audience: expected for whom tokens are, found nobody".to_owned()));
        }
        let jwks = JwksSource::new(&jwt.jwks).map_err(|error| bad(format!("jwks: {error}")))?;
        if let JwksSource::File(path) = &jwks {
            require_file(path)?;
        }
        Ok(JwtOptions {
            issuer: given("issuer", &jwt.issuer)?,
            audiences,
            algorithms: algorithms(jwt.algorithms.as_deref())?,
            jwks,
            refresh: refresh(jwt.refresh.as_deref())?,
            leeway: leeway(jwt.leeway.as_deref())?,
            claims: self.rules_of(RulesOf {
                tenant: jwt.tenant.as_deref(),
                tenant_claim: jwt.tenant_claim.as_deref(),
                tenants: &jwt.tenants,
                subject_claim: &jwt.subject_claim,
                roles_claim: &jwt.roles_claim,
                roles: &jwt.roles,
            })?,
        })
    }

    /// What claims are worth, by a table of the settings.
    pub(super) fn rules_of(&self, of: RulesOf<'_>) -> Result<ClaimRules> {
        let named = |name: &String| {
            name.parse::<TenantId>().map_err(|error| bad(format!("tenants: {error}")))
        };
        let tenants = of.tenants.iter().map(named).collect::<Result<Vec<_>>>()?;
        let tenant = match (of.tenant, of.tenant_claim) {
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
        if of.roles.is_empty() || of.roles.len() > ROLES_MAX {
            return Err(bad(format!(
                "roles: expected 1 to {ROLES_MAX} tables with value and role, found {}: nobody could do anything otherwise",
                of.roles.len()
            )));
        }
        let role = |rule: &Rule| {
            let role: Role = rule.role.parse().map_err(|error| bad(format!("roles: {error}")))?;
            let grants = rule.grants.as_ref().map(|name| self.grants(name)).transpose()?;
            let value = given("roles.value", &rule.value)?;
            Ok(JwtRole { value, role, grants })
        };
        Ok(ClaimRules {
            tenant,
            subject_claim: given("subject_claim", of.subject_claim)?,
            roles_claim: given("roles_claim", of.roles_claim)?,
            roles: of.roles.iter().map(role).collect::<Result<_>>()?,
        })
    }

    pub(super) fn auth_in_force(&self) -> Vec<InForce> {
        let Some((auth, origin)) = &self.auth else { return Vec::new() };
        let line = |name: &str, value: String, about: &str| InForce {
            name: name.to_owned(),
            value,
            origin: Origin::to_string(origin),
            about: about.to_owned(),
        };
        let jwt = auth.jwt.as_ref().map(|jwt| {
            let value = format!("{} (keys in {})", jwt.issuer, jwt.jwks);
            line("auth.jwt", value, "whose tokens let somebody in")
        });
        let oidc = auth
            .oidc
            .as_ref()
            .map(|oidc| line("auth.oidc", oidc.shown(), "where people log in with a browser"));
        jwt.into_iter().chain(oidc).collect()
    }
}

/// A text that is none but white space.
pub(super) fn given(name: &str, text: &str) -> Result<String> {
    match text.trim().is_empty() {
        true => Err(bad(format!("{name}: expected a text, found none"))),
        false => Ok(text.to_owned()),
    }
}

/// A time of the settings, up to a longest one.
pub(super) fn within(
    name: &str,
    text: Option<&str>,
    default: Duration,
    most: Duration,
) -> Result<Duration> {
    let Some(text) = text else { return Ok(default) };
    let time = match text {
        "0s" => Some(Duration::ZERO),
        text => crate::cli::time(text).ok().and_then(|time| time.to_std().ok()),
    };
    time.filter(|time| *time <= most).ok_or_else(|| {
        let most = most.as_secs();
        bad(format!("{name} = {text:?}: expected a time of up to {most} s, such as 30s"))
    })
}

/// How tokens may be signed.
pub(super) fn algorithms(named: Option<&[String]>) -> Result<Vec<JwtAlgorithm>> {
    let named = named.map_or_else(|| ALGORITHMS.map(str::to_owned).to_vec(), <[String]>::to_vec);
    if named.is_empty() {
        return Err(bad("algorithms: expected at least one, found none".to_owned()));
    }
    let read =
        |name: &String| name.parse().map_err(|error: Error| bad(format!("algorithms: {error}")));
    named.iter().map(read).collect()
}

/// How often keys are read.
pub(super) fn refresh(text: Option<&str>) -> Result<Duration> {
    let refresh = within("refresh", text, REFRESH, Duration::from_secs(86_400))?;
    match refresh < REFRESH_MIN {
        true => Err(bad(format!("refresh: expected at least {} s", REFRESH_MIN.as_secs()))),
        false => Ok(refresh),
    }
}

/// How much clocks may differ.
pub(super) fn leeway(text: Option<&str>) -> Result<Duration> {
    within("leeway", text, LEEWAY, LEEWAY_MAX)
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
