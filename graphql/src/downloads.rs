//! Links to the files of exports: whoever has one takes the file it names, until it expires, and needs nothing else.
//!
//! A link says whose export it is of, which one, which file, and until when; it is signed over all of that with a secret of the root. So
//! links are kept nowhere, and are good on every server of the root. An export that is deleted takes its links with it.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use engine::{Code, Error, Result, TenantId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::hmac;

/// Where downloads are.
pub(crate) const DOWNLOADS: &str = "/v1/exports/";

/// Letters that a path has as they are.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'=').remove(b'/');

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Download {
    /// Of which export.
    pub(crate) export: String,
    /// Which file.
    pub(crate) file: String,
}

/// What a link says beside its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signed {
    tenant: String,
    expires: i64,
    signature: String,
}

impl Download {
    /// The one at a path below [`DOWNLOADS`].
    pub(crate) fn at(path: &str) -> Option<Self> {
        let (export, file) = path.split_once('/')?;
        let file = percent_decode_str(file).decode_utf8().ok()?;
        Some(Self { export: export.to_owned(), file: file.into_owned() })
    }

    /// Its path, for who shows by a header who they are.
    pub(crate) fn path(&self) -> String {
        format!("{DOWNLOADS}{}/{}", self.export, utf8_percent_encode(&self.file, PLAIN))
    }

    /// A link to it, for whoever has it.
    pub(crate) fn link(&self, secret: &[u8], tenant: &TenantId, until: DateTime<Utc>) -> String {
        let expires = until.timestamp();
        let signed = hmac::sign(&key(secret), self.said(tenant.as_str(), expires).as_bytes());
        let mut link = format!("{}?tenant={tenant}&expires={expires}&signature=", self.path());
        for byte in signed.as_ref() {
            // A text takes everything.
            let _ = write!(link, "{byte:02x}");
        }
        link
    }

    /// Whose export it is, where what a link says is so and its time is not over. NOT_FOUND, where it is not; FORBIDDEN, where it was.
    pub(crate) fn require(
        &self,
        secret: &[u8],
        link: &Signed,
        now: DateTime<Utc>,
    ) -> Result<TenantId> {
        let is_signed = decode(&link.signature).is_some_and(|signature| {
            let said = self.said(&link.tenant, link.expires);
            hmac::verify(&key(secret), said.as_bytes(), &signature).is_ok()
        });
        if !is_signed {
            return Err(Error::user(
                Code::NotFound,
                "this is no link to a file of an export, or not to this one; expected one that was made here, as it was made",
            ));
        }
        if link.expires <= now.timestamp() {
            let at = DateTime::from_timestamp(link.expires, 0).unwrap_or_default();
            let says =
                format!("the link expired at {at:?}; expected a new one, of the field `url`");
            return Err(Error::user(Code::Forbidden, says));
        }
        TenantId::new(&link.tenant)
    }

    fn said(&self, tenant: &str, expires: i64) -> String {
        format!("export link 1\n{tenant}\n{}\n{}\n{expires}", self.export, self.file)
    }
}

impl Signed {
    /// What the parameters of a URL say, where they are those of a link. BAD_INPUT for others.
    pub(crate) fn of(parameters: &[(String, String)]) -> Result<Option<Self>> {
        if parameters.is_empty() {
            return Ok(None);
        }
        let mut link = Self::default();
        for (name, value) in parameters {
            match name.as_str() {
                "tenant" => link.tenant.clone_from(value),
                "signature" => link.signature.clone_from(value),
                "expires" => link.expires = value.parse().unwrap_or_default(),
                other => {
                    let shown: String = other.chars().take(80).collect();
                    let says = format!(
                        "the URL's parameters: expected tenant, expires and signature, found {shown:?}"
                    );
                    return Err(Error::user(Code::BadInput, says));
                }
            }
        }
        Ok(Some(link))
    }
}

fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

/// Bytes of their hexadecimal digits; of a signature's length, no more.
fn decode(digits: &str) -> Option<Vec<u8>> {
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chrono::TimeDelta;

    fn signed(link: &str) -> (Download, Signed) {
        let (path, query) = link.split_once('?').unwrap();
        let download = Download::at(path.strip_prefix(DOWNLOADS).unwrap()).unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        let pairs: Vec<_> = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        (download, Signed::of(&pairs).unwrap().unwrap())
    }

    #[test]
    fn a_link_is_good_for_what_it_says_alone() {
        let (now, tenant) = (Utc::now(), TenantId::new("acme").unwrap());
        let of = Download { export: "e-1".into(), file: "model=a%2Fb c/part-00000.csv".into() };
        let link = of.link(b"secret", &tenant, now + TimeDelta::seconds(60));
        let (read, said) = signed(&link);
        assert_eq!(read, of, "{link}");
        assert_eq!(of.require(b"secret", &said, now).unwrap(), tenant);
        let late = of.require(b"secret", &said, now + TimeDelta::seconds(61)).unwrap_err();
        assert_eq!(late.code(), Code::Forbidden);
        let code = |of: &Download, secret: &[u8], said: &Signed| {
            of.require(secret, said, now).unwrap_err().code()
        };
        assert_eq!(code(&of, b"other", &said), Code::NotFound);
        for other in [
            Download { export: "e-2".into(), ..of.clone() },
            Download { file: "part-00000.csv".into(), ..of.clone() },
        ] {
            assert_eq!(code(&other, b"secret", &said), Code::NotFound);
        }
        for other in [
            Signed { tenant: "other".into(), ..said.clone() },
            Signed { expires: said.expires + 1, ..said.clone() },
            Signed { signature: String::new(), ..said.clone() },
            Signed { signature: "é".repeat(32), ..said.clone() },
            Signed { signature: said.signature.replace(['0', '1', '2', '3'], "4"), ..said.clone() },
            Signed::default(),
        ] {
            assert_eq!(code(&of, b"secret", &other), Code::NotFound, "{other:?}");
        }
    }

    #[test]
    fn parameters_of_something_else_are_told() {
        assert_eq!(Signed::of(&[]).unwrap(), None);
        let error = Signed::of(&[("key".to_owned(), "x".to_owned())]).unwrap_err();
        assert!(error.to_string().contains("found \"key\""), "{error}");
    }
}
