//! `[auth.oidc]`: where people log in with a browser.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Error, Result};
use graphql::{Issuer, OidcOptions, PublicUrl, SealingSecret, Secret};
use serde::Deserialize;

use super::auth::{
    Auth, Rule, RulesOf, algorithms, given, leeway, refresh, roles_claim, subject_claim, within,
};
use super::{Settings, bad};

/// How long a session lasts where nothing is said, and at least and at most.
const SESSION: Duration = Duration::from_secs(12 * 3_600);
const SESSION_MIN: Duration = Duration::from_secs(60);
const SESSION_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Largest file with a secret.
const SECRET_BYTES_MAX: u64 = 16 << 10;

/// The table `[auth.oidc]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Oidc {
    issuer: String,
    client_id: String,
    #[serde(default)]
    client_secret: Option<Hidden>,
    #[serde(default)]
    client_secret_file: Option<PathBuf>,
    public_url: String,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    secret: Option<Hidden>,
    #[serde(default)]
    secret_file: Option<PathBuf>,
    #[serde(default)]
    secret_before: Option<Hidden>,
    #[serde(default)]
    secret_before_file: Option<PathBuf>,
    #[serde(default)]
    session: Option<String>,
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

/// A text that is not shown.
#[derive(Clone, Deserialize)]
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Oidc {
    /// For people: where and as what, never a secret.
    pub(super) fn shown(&self) -> String {
        format!("{} (as {}, for {})", self.issuer, self.client_id, self.public_url)
    }
}

impl Settings {
    /// Where people log in, if they do.
    pub fn oidc(&self) -> Result<Option<OidcOptions>> {
        let Some((Auth { oidc: Some(oidc), .. }, origin)) = &self.auth else { return Ok(None) };
        self.oidc_of(oidc)
            .map(Some)
            .map_err(|error| bad(format!("auth.oidc (from {origin}): {error}")))
    }

    fn oidc_of(&self, oidc: &Oidc) -> Result<OidcOptions> {
        let of = |name: &str| {
            let name = name.to_owned();
            move |error: Error| bad(format!("{name}: {error}"))
        };
        let scopes = oidc.scopes.clone().unwrap_or_else(|| vec!["openid".to_owned()]);
        let is_word = |scope: &String| !scope.is_empty() && !scope.contains(char::is_whitespace);
        if !scopes.iter().all(is_word) || !scopes.iter().any(|scope| scope == "openid") {
            let says = format!("scopes: expected words, openid among them, found {scopes:?}");
            return Err(bad(says));
        }
        if let Some(name) =
            OidcOptions::OWN_PARAMETERS.iter().find(|name| oidc.parameters.contains_key(**name))
        {
            let says =
                format!("parameters: {name} is not for the settings to say; expected others");
            return Err(bad(says));
        }
        let secret = either("secret", &oidc.secret, &oidc.secret_file)?;
        let before = either("secret_before", &oidc.secret_before, &oidc.secret_before_file)?;
        if secret.is_none() && before.is_some() {
            return Err(bad(
                "secret_before: expected `secret`, too, which is that of now".to_owned()
            ));
        }
        let mut sealed_with = Vec::new();
        for (name, text) in [("secret", secret), ("secret_before", before)] {
            if let Some(text) = text {
                sealed_with.push(SealingSecret::new(text).map_err(of(name))?);
            }
        }
        let session_max = within("session", oidc.session.as_deref(), SESSION, SESSION_MAX)?;
        if session_max < SESSION_MIN {
            return Err(bad(format!("session: expected at least {} s", SESSION_MIN.as_secs())));
        }
        let client_secret = either("client_secret", &oidc.client_secret, &oidc.client_secret_file)?;
        Ok(OidcOptions {
            issuer: Issuer::new(&oidc.issuer).map_err(of("issuer"))?,
            client_id: given("client_id", &oidc.client_id)?,
            client_secret: client_secret.map(Secret::new),
            public_url: PublicUrl::new(&oidc.public_url).map_err(of("public_url"))?,
            scopes,
            parameters: oidc.parameters.clone(),
            algorithms: algorithms(oidc.algorithms.as_deref())?,
            refresh: refresh(oidc.refresh.as_deref())?,
            leeway: leeway(oidc.leeway.as_deref())?,
            claims: self.rules_of(RulesOf {
                tenant: oidc.tenant.as_deref(),
                tenant_claim: oidc.tenant_claim.as_deref(),
                tenants: &oidc.tenants,
                subject_claim: &oidc.subject_claim,
                roles_claim: &oidc.roles_claim,
                roles: &oidc.roles,
            })?,
            sealed_with,
            session_max,
        })
    }
}

/// A secret that stands in the settings, or in a file that they name.
fn either(name: &str, text: &Option<Hidden>, file: &Option<PathBuf>) -> Result<Option<String>> {
    match (text, file) {
        (None, None) => Ok(None),
        (Some(Hidden(text)), None) => given(name, text).map(Some),
        (None, Some(path)) => {
            let text = read(path).map_err(|says| {
                bad(format!(
                    "{name}_file: {}: {says}; expected a file with the secret alone",
                    path.display()
                ))
            })?;
            given(&format!("{name}_file"), &text).map(Some)
        }
        (Some(_), Some(_)) => {
            Err(bad(format!("{name}, {name}_file: expected one of both, found both")))
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let long = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if long > SECRET_BYTES_MAX {
        return Err(format!("it has {long} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
