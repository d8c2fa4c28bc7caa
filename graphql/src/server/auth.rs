//! Who is at the door.
//!
//! Without keys the server is on loopback and lets the local user in. That user's browser can be made
//! to send requests there by any page it shows, so without keys two more things must be right: the
//! `Host` must be a loopback name (a foreign name that resolves to 127.0.0.1 is refused), and an
//! `Origin` or `Sec-Fetch-Site`, which browsers send and can not be made to forge, must be the server's own: an image has no
//! `Origin`, and its address could be a query. With keys, a request needs one, which no foreign page has.

use std::net::IpAddr;

use engine::{Code, Error, Grants, Principal, Result, Role, TenantId};
use poem::http::uri::Authority;
use poem::http::{HeaderMap, Uri, header};
use sha2::{Digest, Sha256};

/// A key that lets somebody in. The server knows its digest only.
#[derive(Clone)]
pub struct ApiKey {
    /// SHA-256 of the key's text.
    pub secret_sha256: [u8; 32],
    /// The tenant that it opens.
    pub tenant: TenantId,
    /// Who has it, for records and logs.
    pub subject: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// What its holder may see.
    pub grants: Grants,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("tenant", &self.tenant)
            .field("subject", &self.subject)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl ApiKey {
    /// A key with this text.
    pub fn new(
        secret: &str,
        tenant: TenantId,
        subject: impl Into<String>,
        roles: Vec<Role>,
    ) -> Self {
        let secret_sha256 = Sha256::digest(secret.as_bytes()).into();
        let grants = Grants::all();
        Self { secret_sha256, tenant, subject: subject.into(), roles, grants }
    }

    fn principal(&self) -> Principal {
        Principal {
            tenant: self.tenant.clone(),
            subject: self.subject.clone(),
            roles: self.roles.clone(),
            grants: self.grants.clone(),
        }
    }
}

/// The door.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    keys: Vec<ApiKey>,
}

impl Door {
    /// A door that these keys open; without keys it opens to the local user.
    pub(crate) fn new(keys: Vec<ApiKey>) -> Self {
        Self { keys }
    }

    /// Of each tenant that lets somebody in, one who reads it.
    pub(crate) fn tenants(&self) -> Vec<Principal> {
        if !self.needs_key() {
            return vec![Principal::local()];
        }
        let reader = |key: &ApiKey| Principal::new(key.tenant.clone(), "server", &[Role::Reader]);
        let mut all: Vec<Principal> = self.keys.iter().map(reader).collect();
        all.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        all.dedup_by(|a, b| a.tenant == b.tenant);
        all
    }

    /// Whether callers must show a key.
    pub(crate) fn needs_key(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Who sent these headers.
    pub(crate) fn principal(&self, headers: &HeaderMap) -> Result<Principal> {
        if !self.needs_key() {
            self.check_local(headers)?;
            return Ok(Principal::local());
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let plain = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        match (bearer, plain) {
            (Some(authorization), _) => self.by_authorization(authorization),
            (None, Some(secret)) => self.by_secret(secret),
            (None, None) => {
                Err(unauthenticated("this server needs a key: send `Authorization: Bearer …`"))
            }
        }
    }

    /// Who has the key in `authorization`, the value of a header or of a WebSocket's first message.
    pub(crate) fn by_authorization(&self, authorization: &str) -> Result<Principal> {
        let secret = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim());
        match secret {
            Some(secret) => self.by_secret(secret),
            None => Err(unauthenticated("authorization: expected `Bearer` and a key")),
        }
    }

    fn by_secret(&self, secret: &str) -> Result<Principal> {
        if secret.is_empty() {
            return Err(unauthenticated("the key is empty"));
        }
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        // Every key is compared whole, so that the time tells nothing.
        let mut found = None;
        for key in &self.keys {
            if is_equal(&key.secret_sha256, &digest) {
                found = Some(key);
            }
        }
        match found {
            Some(key) => Ok(key.principal()),
            None => Err(unauthenticated("the key is not known here")),
        }
    }

    fn check_local(&self, headers: &HeaderMap) -> Result<()> {
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !is_loopback_name(host) {
            return Err(Error::user(
                Code::Forbidden,
                "the Host header names no loopback address; without keys the server answers the local \
                 user only",
            ));
        }
        let is_own_site = headers.get("sec-fetch-site").is_none_or(|site| {
            // Of a page of ours, or typed by the user.
            site == "same-origin" || site == "none"
        });
        let is_own_origin = headers.get(header::ORIGIN).is_none_or(|origin| {
            let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
            let authority = origin.as_ref().and_then(Uri::authority);
            authority.is_some_and(|origin| origin.as_str().eq_ignore_ascii_case(host))
        });
        match is_own_site && is_own_origin {
            true => Ok(()),
            false => Err(Error::user(
                Code::Forbidden,
                "the request comes from a page of another origin; without keys only the server's own \
                 pages may ask",
            )),
        }
    }
}

/// Whether a `Host` header names this machine, on whatever port: it may be forwarded.
fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unauthenticated(message: &str) -> Error {
    Error::user(Code::Unauthenticated, message)
}

/// Compares without stopping at the first difference.
fn is_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |difference, (x, y)| difference | (x ^ y));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn door(keys: Vec<ApiKey>) -> Door {
        Door::new(keys)
    }

    #[test]
    fn without_keys_the_local_user_is_let_in_and_foreign_pages_are_not() {
        let door = door(vec![]);
        for host in ["127.0.0.1:8642", "localhost:8642", "[::1]:8642", "LOCALHOST:9000"] {
            assert!(door.principal(&headers(&[("host", host)])).is_ok(), "{host}");
        }
        for host in ["evil.example:8642", "127.0.0.1.evil.example:8642", "", "10.0.0.1:8642"] {
            let error = door.principal(&headers(&[("host", host)])).unwrap_err();
            assert_eq!(error.code(), Code::Forbidden, "{host}");
        }
        let from = |origin| headers(&[("host", "localhost:8642"), ("origin", origin)]);
        assert!(door.principal(&from("http://localhost:8642")).is_ok());
        for origin in
            ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8642"]
        {
            assert_eq!(
                door.principal(&from(origin)).unwrap_err().code(),
                Code::Forbidden,
                "{origin}"
            );
        }
    }

    #[test]
    fn without_keys_an_image_of_a_foreign_page_asks_nothing() {
        let door = door(vec![]);
        let from = |site| headers(&[("host", "localhost:8642"), ("sec-fetch-site", site)]);
        for site in ["same-origin", "none"] {
            assert!(door.principal(&from(site)).is_ok(), "{site}");
        }
        for site in ["cross-site", "same-site", ""] {
            let error = door.principal(&from(site)).unwrap_err();
            assert_eq!(error.code(), Code::Forbidden, "{site}");
        }
    }

    #[test]
    fn a_key_tells_tenant_and_roles() {
        let tenant: TenantId = "acme".parse().unwrap();
        let door = door(vec![
            ApiKey::new("one", TenantId::default(), "a", vec![Role::Admin]),
            ApiKey::new("two", tenant.clone(), "b", vec![Role::Reader]),
        ]);
        let who = door.principal(&headers(&[("authorization", "Bearer two")])).unwrap();
        assert_eq!((who.tenant, who.subject.as_str()), (tenant, "b"));
        assert!(door.principal(&headers(&[("x-api-key", "one")])).is_ok());
        for wrong in
            [&[][..], &[("authorization", "Bearer three")], &[("authorization", "Basic two")]]
        {
            let error = door.principal(&headers(wrong)).unwrap_err();
            assert_eq!(error.code(), Code::Unauthenticated);
        }
        assert!(!format!("{door:?}").contains("secret"));
    }
}
