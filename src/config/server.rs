//! `[server]`: TLS, pages of other origins, and whether answers are packed; `[[auth.certificates]]`: what clients' certificates are worth.

use std::path::PathBuf;
use std::time::Duration;

use engine::{Error, Result, TenantId};
use graphql::{CertificateRule, ClientAuthority, ClientCertificates, CorsOptions, TlsOptions};
use serde::Deserialize;

use super::{InForce, Origin, Settings, bad};

/// How often files are read where nothing is said, and the bounds of what may be said.
const REFRESH: Duration = Duration::from_secs(10);
const REFRESH_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
/// Most rules for certificates.
const RULES_MAX: usize = 100;

/// The table `[server]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    #[serde(default = "yes")]
    compression: bool,
    tls: Option<Tls>,
    cors: Option<Cors>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_revoked: Option<PathBuf>,
    client_certificates: Option<String>,
    refresh: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cors {
    origins: Vec<String>,
    #[serde(default)]
    credentials: bool,
}

/// What a certificate with a name is worth: `[[auth.certificates]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    field: String,
    value: String,
    tenant: Option<String>,
    role: String,
    grants: Option<String>,
}

fn yes() -> bool {
    true
}

impl Settings {
    /// TLS, where it is spoken. Its files are read when the server starts.
    pub fn tls(&self) -> Result<Option<TlsOptions>> {
        let Some((Server { tls: Some(tls), .. }, origin)) = &self.server else { return Ok(None) };
        tls.options().map(Some).map_err(|error| bad(format!("server.tls (from {origin}): {error}")))
    }

    /// Pages of other origins that may ask.
    pub fn cors(&self) -> Result<Option<CorsOptions>> {
        let Some((Server { cors: Some(cors), .. }, origin)) = &self.server else { return Ok(None) };
        let of = |cors: &Cors| match (CorsOptions::new(&cors.origins)?, cors.credentials) {
            (options, true) => options.with_credentials(),
            (options, false) => Ok(options),
        };
        of(cors).map(Some).map_err(|error| bad(format!("server.cors (from {origin}): {error}")))
    }

    /// Whether answers are packed.
    pub fn compression(&self) -> bool {
        self.server.as_ref().is_none_or(|(server, _)| server.compression)
    }

    /// What certificates of clients are worth.
    pub fn certificates(&self) -> Result<Vec<CertificateRule>> {
        let Some((auth, origin)) = &self.auth else { return Ok(Vec::new()) };
        let rules = &auth.certificates;
        let wrong = |says: String| bad(format!("auth.certificates (from {origin}): {says}"));
        let asks = self.tls()?.is_some_and(|tls| !matches!(tls.clients, ClientCertificates::None));
        if !rules.is_empty() && !asks {
            return Err(wrong(
                "nobody is asked for one; expected server.tls with client_ca, and client_certificates optional or required"
                    .to_owned(),
            ));
        }
        if rules.len() > RULES_MAX {
            return Err(wrong(format!("expected at most {RULES_MAX}, found {}", rules.len())));
        }
        let numbered = rules.iter().enumerate();
        numbered
            .map(|(i, rule)| self.rule(rule).map_err(|error| wrong(format!("[{i}]: {error}"))))
            .collect()
    }

    fn rule(&self, rule: &Certificate) -> Result<CertificateRule> {
        let value = rule.value.trim();
        let inside = value.strip_prefix('*').or(value.strip_suffix('*')).unwrap_or(value);
        if value.is_empty() || inside.contains('*') {
            return Err(bad(format!(
                "value {:?}: expected a name, with one * at its beginning or its end where any text may stand there",
                rule.value
            )));
        }
        Ok(CertificateRule {
            field: rule.field.parse()?,
            value: value.to_owned(),
            tenant: match &rule.tenant {
                Some(tenant) => tenant.parse()?,
                None => TenantId::default(),
            },
            role: rule.role.parse()?,
            grants: rule.grants.as_ref().map(|name| self.grants(name)).transpose()?,
        })
    }

    pub(super) fn server_in_force(&self) -> Vec<InForce> {
        let origin = self.server.as_ref().map_or(&Origin::Default, |(_, origin)| origin);
        let line = |name: &str, value: String, about: &str| InForce {
            name: name.to_owned(),
            value,
            origin: origin.to_string(),
            about: about.to_owned(),
        };
        let compression = self.compression().to_string();
        let mut lines = vec![line(
            "server.compression",
            compression,
            "answers packed for who can read them so",
        )];
        if let Some((server, _)) = &self.server {
            lines.extend(server.tls.as_ref().map(|tls| {
                let clients = match tls.mode() {
                    "none" => String::new(),
                    mode => format!(", certificates of clients {mode}"),
                };
                let value = format!("{}{clients}", tls.certificate.display());
                line("server.tls", value, "certificate of the server")
            }));
            lines.extend(server.cors.as_ref().map(|cors| {
                let with = if cors.credentials { " with credentials" } else { "" };
                let value = format!("{}{with}", cors.origins.join(", "));
                line("server.cors", value, "pages of other origins that may ask")
            }));
        }
        if let Some((auth, origin)) = &self.auth {
            lines.extend(auth.certificates.iter().enumerate().map(|(i, rule)| InForce {
                name: format!("auth.certificates[{i}]"),
                value: format!("{} {}: {}", rule.field, rule.value, rule.role),
                origin: origin.to_string(),
                about: "certificates of clients that let somebody in".to_owned(),
            }));
        }
        lines
    }
}

impl Tls {
    /// Whether clients show certificates: where there is somebody who signs them, they must unless it says otherwise.
    fn mode(&self) -> &str {
        match (&self.client_certificates, &self.client_ca) {
            (Some(mode), _) => mode,
            (None, Some(_)) => "required",
            (None, None) => "none",
        }
    }

    fn options(&self) -> Result<TlsOptions> {
        let paths = [Some(&self.certificate), Some(&self.key)].into_iter();
        let paths = paths.chain([self.client_ca.as_ref(), self.client_revoked.as_ref()]).flatten();
        if paths.into_iter().any(|path| path.as_os_str().is_empty()) {
            return Err(bad("expected names of files, found an empty one".to_owned()));
        }
        let revoked = self.client_revoked.clone();
        let authority = self.client_ca.clone();
        let authority = authority.map(|certificates| ClientAuthority { certificates, revoked });
        let clients = match (self.mode(), authority) {
            ("none", None) if self.client_revoked.is_none() => ClientCertificates::None,
            ("none", _) => {
                let says = "client_ca, client_revoked: expected neither where client_certificates is \"none\" or not there";
                return Err(bad(says.to_owned()));
            }
            ("optional" | "required", None) => {
                return Err(bad(
                    "client_ca: expected the file of who signs clients' certificates, found none"
                        .to_owned(),
                ));
            }
            ("optional", Some(authority)) => ClientCertificates::Optional(authority),
            ("required", Some(authority)) => ClientCertificates::Required(authority),
            (mode, _) => {
                let says = format!(
                    "client_certificates = {mode:?}: expected \"none\", \"optional\" or \"required\""
                );
                return Err(bad(says));
            }
        };
        Ok(TlsOptions {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            clients,
            refresh: self.refresh()?,
        })
    }

    fn refresh(&self) -> Result<Duration> {
        let Some(text) = &self.refresh else { return Ok(REFRESH) };
        let (least, most) = REFRESH_BOUNDS;
        let time = crate::cli::time(text).ok().and_then(|time| time.to_std().ok());
        let wrong = || -> Error {
            bad(format!("refresh = {text:?}: expected a time from 1s to 1d, such as 10s"))
        };
        time.filter(|time| (least..=most).contains(time)).ok_or_else(wrong)
    }
}
