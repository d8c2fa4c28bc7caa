//! Certificates that clients show in the handshake of TLS, and what they are worth here.
//!
//! The handshake has found out that it is theirs and who signed it. Which of its names means what is said by the rules of the settings,
//! of which the first that it meets counts, as with tokens. Whoever shows a key or a token besides is who that says: the certificate is
//! then that of a program which asks for somebody.
//!
//! A browser shows its certificate on every page's behalf. So a request of a page must be of one of the server's own, or of one that may
//! ask with credentials (`cors.rs`).

use std::collections::BTreeMap;

use chrono::Utc;
use engine::{Claim, Code, Credential, Error, GrantSet, Grants, Principal, Result, Role, TenantId};
use futures::future::BoxFuture;
use poem::http::{HeaderMap, header};

use super::local::is_of_own_page;
use super::{Authenticator, Pass, Shown, unauthenticated};
use crate::server::cors::Cors;
use crate::server::tls::Certificate;

/// Longest name of whoever is let in.
const SUBJECT_BYTES_MAX: usize = 200;

/// A name of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateField {
    /// `CN` of its subject.
    CommonName,
    /// `O` of its subject.
    Organization,
    /// `OU` of its subject.
    Unit,
    /// A host among its alternative names.
    Dns,
    /// An address there, such as a SPIFFE id.
    Uri,
    /// An address of mail there.
    Email,
}

impl CertificateField {
    const ALL: [(&str, Self); 6] = [
        ("cn", Self::CommonName),
        ("o", Self::Organization),
        ("ou", Self::Unit),
        ("dns", Self::Dns),
        ("uri", Self::Uri),
        ("email", Self::Email),
    ];

    fn of(self, certificate: &Certificate) -> &[String] {
        match self {
            Self::CommonName => &certificate.common_names,
            Self::Organization => &certificate.organizations,
            Self::Unit => &certificate.units,
            Self::Dns => &certificate.dns,
            Self::Uri => &certificate.uris,
            Self::Email => &certificate.emails,
        }
    }
}

impl std::str::FromStr for CertificateField {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, field)| *field).ok_or_else(|| {
            let known = Self::ALL.map(|(known, _)| known).join(", ");
            Error::user(Code::BadInput, format!("field {name:?}: expected one of {known}"))
        })
    }
}

/// What a certificate with a name is worth.
#[derive(Clone, Debug)]
pub struct CertificateRule {
    /// Which name.
    pub field: CertificateField,
    /// What it must be; a `*` at its beginning or end stands for any text.
    pub value: String,
    /// Whose data it is about.
    pub tenant: TenantId,
    /// What its holder may do.
    pub role: Role,
    /// What its holder may see; all of the tenant when absent.
    pub grants: Option<GrantSet>,
}

impl CertificateRule {
    /// The name of the certificate that it is met by.
    fn met<'a>(&self, certificate: &'a Certificate) -> Option<&'a String> {
        let value = match self.field {
            CertificateField::Dns => self.value.to_ascii_lowercase(),
            _ => self.value.clone(),
        };
        let is_met = |name: &&String| match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (_, Some(begin)) => name.starts_with(begin),
            (Some(end), None) => name.ends_with(end),
            (None, None) => **name == value,
        };
        self.field.of(certificate).iter().find(is_met)
    }
}

/// Those that are known by a rule.
pub(crate) struct Certificates {
    pub(crate) rules: Vec<CertificateRule>,
    /// Pages of others that may ask with credentials.
    pub(crate) cors: Cors,
}

impl Certificates {
    fn pass(&self, certificate: &Certificate, headers: &HeaderMap) -> Result<Pass> {
        if certificate.expires_at <= Utc::now() {
            return Err(unauthenticated("the certificate has expired"));
        }
        let is_trusted = headers.get(header::ORIGIN).is_some_and(|origin| self.cors.trusts(origin));
        if !is_trusted && !is_of_own_page(headers) {
            return Err(Error::user(
                Code::Forbidden,
                "the request comes from a page of another origin: it may ask by a certificate where the setting server.cors lists it \
                 with credentials",
            ));
        }
        let met = self.rules.iter().find_map(|rule| Some((rule, rule.met(certificate)?)));
        let (rule, name) = met.ok_or_else(|| {
            unauthenticated(
                "the certificate has no name that this server knows (auth.certificates)",
            )
        })?;
        // A unit or a whole organisation is not who somebody is.
        let subject = match rule.field {
            CertificateField::Organization | CertificateField::Unit => {
                certificate.common_names.first().ok_or_else(|| {
                    unauthenticated("the certificate does not say who its holder is (CN)")
                })?
            }
            _ => name,
        };
        if subject.len() > SUBJECT_BYTES_MAX {
            let says =
                format!("the certificate: expected a name of at most {SUBJECT_BYTES_MAX} bytes");
            return Err(Error::user(Code::Forbidden, says));
        }
        let grants = match &rule.grants {
            None => Grants::all(),
            Some(set) => Grants::limited(set.clone(), claims(certificate))?,
        };
        let expires_at = certificate.expires_at;
        let who = Principal {
            tenant: rule.tenant.clone(),
            subject: subject.clone(),
            roles: vec![rule.role],
            grants,
            credential: Credential::Certificate { expires_at },
        };
        Ok(Pass::until(who, None, Some(expires_at)))
    }
}

/// What grants may say `claim.NAME` of: `cn` is a text, the others are lists.
fn claims(certificate: &Certificate) -> BTreeMap<String, Claim> {
    let lists = CertificateField::ALL.iter().map(|(name, field)| {
        let texts = field.of(certificate);
        let claim = match (field, texts) {
            (CertificateField::CommonName, texts) => texts.first().cloned().map(Claim::Text),
            (_, texts) => Some(Claim::Texts(texts.to_vec())),
        };
        claim.map(|claim| ((*name).to_owned(), claim))
    });
    lists.flatten().collect()
}

impl Authenticator for Certificates {
    fn admit<'a>(&'a self, shown: Shown<'a>) -> BoxFuture<'a, Option<Result<Pass>>> {
        let admitted = match (shown.certificate, shown.headers) {
            (Some(certificate), Some(headers)) => Some(self.pass(certificate, headers)),
            _ => None,
        };
        Box::pin(async move { admitted })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::TimeDelta;

    use super::*;
    use crate::server::cors::CorsOptions;

    fn certificate() -> Certificate {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Certificate {
            common_names: names(&["ingest of the shop"]),
            organizations: names(&["Shop"]),
            units: names(&["Warehouse", "Night shift"]),
            dns: names(&["ingest.shop.example"]),
            uris: names(&["spiffe://shop.example/ns/prod/ingest"]),
            emails: Vec::new(),
            expires_at: Utc::now() + TimeDelta::hours(1),
        }
    }

    fn rule(field: &str, value: &str, role: Role) -> CertificateRule {
        let (field, tenant) = (field.parse().unwrap(), TenantId::default());
        CertificateRule { field, value: value.to_owned(), tenant, role, grants: None }
    }

    fn of(rules: Vec<CertificateRule>) -> Certificates {
        Certificates { rules, cors: Cors::default() }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_rule_is_met_by_the_whole_name_or_by_its_beginning_or_end() {
        for (field, value, met) in [
            ("cn", "ingest of the shop", true),
            ("cn", "ingest of the", false),
            ("cn", "Ingest of the shop", false),
            ("cn", "ingest*", true),
            ("ou", "Night shift", true),
            ("o", "Night shift", false),
            ("dns", "Ingest.SHOP.example", true),
            ("dns", "*.shop.example", true),
            ("dns", "*.hop.example", false),
            ("uri", "spiffe://shop.example/ns/prod/*", true),
            ("uri", "spiffe://shop.example/ns/test/*", false),
            ("email", "*", false),
            ("o", "*", true),
        ] {
            let found = rule(field, value, Role::Reader).met(&certificate()).is_some();
            assert_eq!(found, met, "{field} {value}");
        }
        let error = "san".parse::<CertificateField>().unwrap_err().to_string();
        assert!(error.contains("\"san\": expected one of cn, o, ou, dns, uri, email"), "{error}");
    }

    #[test]
    fn the_first_rule_counts_and_says_who_it_is() {
        let rules = vec![
            rule("cn", "somebody else", Role::Admin),
            rule("uri", "spiffe://shop.example/*", Role::Writer),
            rule("o", "Shop", Role::Reader),
        ];
        let who = of(rules.clone()).pass(&certificate(), &HeaderMap::new()).unwrap().who;
        assert_eq!(who.subject, "spiffe://shop.example/ns/prod/ingest");
        assert_eq!(who.roles, [Role::Writer]);
        assert_eq!(who.credential.to_string(), "certificate");
        let without = Certificate { uris: Vec::new(), ..certificate() };
        let who = of(rules.clone()).pass(&without, &HeaderMap::new()).unwrap().who;
        assert_eq!((who.subject.as_str(), who.roles), ("ingest of the shop", vec![Role::Reader]));
        let nameless = Certificate { common_names: Vec::new(), ..without };
        let error = of(rules.clone()).pass(&nameless, &HeaderMap::new()).unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        let error = of(rules[..1].to_vec()).pass(&certificate(), &HeaderMap::new()).unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        let past = Certificate { expires_at: Utc::now() - TimeDelta::seconds(1), ..certificate() };
        let error = of(rules).pass(&past, &HeaderMap::new()).unwrap_err().to_string();
        assert!(error.contains("expired"), "{error}");
    }

    #[test]
    fn pages_of_others_ask_by_no_certificate_unless_they_are_listed_with_credentials() {
        let mut door = of(vec![rule("o", "Shop", Role::Reader)]);
        let enters = |door: &Certificates, pairs: &[(&'static str, &'static str)]| {
            door.pass(&certificate(), &headers(pairs)).map(drop).map_err(|error| error.code())
        };
        let host = ("host", "data.example.org");
        let page = ("origin", "https://app.example.org");
        let cross = ("sec-fetch-site", "cross-site");
        assert_eq!(enters(&door, &[host]), Ok(()));
        assert_eq!(enters(&door, &[host, ("origin", "https://data.example.org")]), Ok(()));
        for pairs in [&[host, page][..], &[host, cross], &[host, page, cross]] {
            assert_eq!(enters(&door, pairs), Err(Code::Forbidden), "{pairs:?}");
        }
        let listed = CorsOptions::new(&["https://app.example.org".to_owned()]).unwrap();
        door.cors = Cors(Some(listed.clone()));
        assert_eq!(enters(&door, &[host, page, cross]), Err(Code::Forbidden));
        door.cors = Cors(Some(listed.with_credentials().unwrap()));
        assert_eq!(enters(&door, &[host, page, cross]), Ok(()));
        assert_eq!(enters(&door, &[host, cross]), Err(Code::Forbidden));
    }

    #[test]
    fn grants_are_held_against_the_names() {
        let found = claims(&certificate());
        assert_eq!(found["cn"], Claim::Text("ingest of the shop".to_owned()));
        let units = ["Warehouse", "Night shift"].map(str::to_owned).to_vec();
        assert_eq!(found["ou"], Claim::Texts(units));
        assert_eq!(found["email"], Claim::Texts(Vec::new()));
    }
}
