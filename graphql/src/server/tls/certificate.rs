//! What a certificate says of its holder (X.509, RFC 5280, in the encoding DER): names, and when it ends.
//!
//! The handshake has checked it by then: who signed it, its dates, that the client has its key. Only names are read here, by a walk
//! over tags and lengths that knows the few fields it is after: a crate for all of X.509 would bring a dozen others. What is not
//! understood is passed over, and who has no name that a rule knows is nobody.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};

/// Most names of one kind; further ones are not known.
const NAMES_MAX: usize = 100;
/// Longest name.
const NAME_BYTES_MAX: usize = 1 << 10;

/// Tags of DER that are met on the way.
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` and `[3]` of a certificate: its version and its extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// 2.5.29.17, and the kinds of names in it that are known here.
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;

/// A certificate that a client has shown, and the key to which it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// `CN` of its subject.
    pub(crate) common_names: Vec<String>,
    /// `O` of its subject.
    pub(crate) organizations: Vec<String>,
    /// `OU` of its subject.
    pub(crate) units: Vec<String>,
    /// Names of hosts, in small letters.
    pub(crate) dns: Vec<String>,
    /// Addresses, as SPIFFE ids are.
    pub(crate) uris: Vec<String>,
    /// Addresses of mail.
    pub(crate) emails: Vec<String>,
    /// When it ends.
    pub(crate) expires_at: DateTime<Utc>,
}

/// The certificate of a connection, as requests carry it.
#[derive(Clone, Debug)]
pub(crate) struct OfClient(pub(crate) Arc<Certificate>);

impl Certificate {
    /// Reads one; none, where it is not understood.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let mut signed = Der(Der(der).enter(SEQUENCE)?);
        let mut parts = Der(signed.enter(SEQUENCE)?);
        if parts.tag() == Some(VERSION) {
            parts.next()?;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            parts.next()?;
        }
        let mut validity = Der(parts.enter(SEQUENCE)?);
        validity.next()?;
        let (kind, end) = validity.next()?;
        let mut found = Self {
            common_names: Vec::new(),
            organizations: Vec::new(),
            units: Vec::new(),
            dns: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            expires_at: instant(kind, end)?,
        };
        found.subject(parts.enter(SEQUENCE)?)?;
        // The key.
        parts.next()?;
        while let Some((tag, content)) = parts.next() {
            if tag == EXTENSIONS {
                found.extensions(Der(content).enter(SEQUENCE)?)?;
            }
        }
        Some(found)
    }

    /// A sequence of sets of pairs.
    fn subject(&mut self, content: &[u8]) -> Option<()> {
        let mut sets = Der(content);
        while !sets.0.is_empty() {
            let mut set = Der(sets.enter(SET)?);
            while !set.0.is_empty() {
                let mut pair = Der(set.enter(SEQUENCE)?);
                let kind = pair.enter(OBJECT)?;
                let (encoding, value) = pair.next()?;
                let names = match kind {
                    [0x55, 0x04, 0x03] => &mut self.common_names,
                    [0x55, 0x04, 0x0a] => &mut self.organizations,
                    [0x55, 0x04, 0x0b] => &mut self.units,
                    _ => continue,
                };
                keep(names, text(encoding, value));
            }
        }
        Some(())
    }

    fn extensions(&mut self, content: &[u8]) -> Option<()> {
        let mut extensions = Der(content);
        while !extensions.0.is_empty() {
            let mut extension = Der(extensions.enter(SEQUENCE)?);
            let kind = extension.enter(OBJECT)?;
            if extension.tag() == Some(BOOLEAN) {
                extension.next()?;
            }
            let value = extension.enter(OCTETS)?;
            if kind == ALTERNATIVE_NAMES {
                let mut names = Der(Der(value).enter(SEQUENCE)?);
                while !names.0.is_empty() {
                    let (kind, name) = names.next()?;
                    let name = || std::str::from_utf8(name).ok().filter(|name| name.is_ascii());
                    match kind {
                        EMAIL => keep(&mut self.emails, name().map(str::to_owned)),
                        DNS => keep(&mut self.dns, name().map(str::to_ascii_lowercase)),
                        URI => keep(&mut self.uris, name().map(str::to_owned)),
                        _ => {}
                    }
                }
            }
        }
        Some(())
    }
}

/// Keeps a name that can stand in a log and in a rule.
fn keep(names: &mut Vec<String>, name: Option<String>) {
    let is_plain = |name: &String| {
        !name.trim().is_empty()
            && name.len() <= NAME_BYTES_MAX
            && !name.chars().any(char::is_control)
    };
    if names.len() < NAMES_MAX {
        names.extend(name.filter(is_plain));
    }
}

/// The kinds of text that subjects are written in: UTF-8, printable ASCII, ASCII, and UTF-16.
fn text(encoding: u8, bytes: &[u8]) -> Option<String> {
    match encoding {
        0x0c => String::from_utf8(bytes.to_vec()).ok(),
        0x13 | 0x16 => {
            let text = std::str::from_utf8(bytes).ok()?;
            text.is_ascii().then(|| text.to_owned())
        }
        0x1e => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok())?
        }
        _ => None,
    }
}

/// `UTCTime`, whose years of two digits are those from 1950 to 2049, or `GeneralizedTime`.
fn instant(kind: u8, bytes: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (years, rest) = match kind {
        0x17 if text.len() == 12 => text.split_at(2),
        0x18 if text.len() == 14 => text.split_at(4),
        _ => return None,
    };
    let year: i32 = years.parse().ok()?;
    let year = match (kind, year) {
        (0x17, 0..=49) => year + 2_000,
        (0x17, _) => year + 1_900,
        _ => year,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u32>().ok();
    let day = NaiveDate::from_ymd_opt(year, part(0)?, part(2)?)?;
    Some(day.and_hms_opt(part(4)?, part(6)?, part(8)?)?.and_utc())
}

/// What is left of some elements, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: its tag, and what is in it.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        // A tag of several bytes is in no certificate.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            // Of none, the end would have to be looked for, which is not DER.
            if !(1..=3).contains(&count) {
                return None;
            }
            let (digits, after) = rest.split_at_checked(count)?;
            length = digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }

    /// What is in the next element, which must have this tag.
    fn enter(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;

    use super::*;

    fn client() -> Vec<u8> {
        let pem = include_bytes!("../../tests/certificates/client.pem");
        CertificateDer::from_pem_slice(pem).unwrap().to_vec()
    }

    #[test]
    fn the_names_of_a_certificate_are_read_and_when_it_ends() {
        let found = Certificate::read(&client()).unwrap();
        assert_eq!(found.common_names, ["ingest of the shop"]);
        assert_eq!(found.organizations, ["Shop"]);
        assert_eq!(found.units, ["Warehouse", "Night shift"]);
        assert_eq!(found.dns, ["ingest.shop.example"]);
        assert_eq!(found.uris, ["spiffe://shop.example/ns/prod/ingest"]);
        assert_eq!(found.emails, ["ops@shop.example"]);
        assert_eq!(found.expires_at.to_rfc3339(), "2120-01-01T00:00:00+00:00");
    }

    #[test]
    fn years_of_two_digits_are_those_around_2000() {
        let at = |kind, text: &str| instant(kind, text.as_bytes()).map(|at| at.to_rfc3339());
        assert_eq!(at(0x17, "491231235959Z").unwrap(), "2049-12-31T23:59:59+00:00");
        assert_eq!(at(0x17, "500101000000Z").unwrap(), "1950-01-01T00:00:00+00:00");
        assert_eq!(at(0x18, "99991231235959Z").unwrap(), "9999-12-31T23:59:59+00:00");
        for (kind, text) in [
            (0x17, "20491231235959Z"),
            (0x18, "491231235959Z"),
            (0x17, "491331235959Z"),
            (0x17, "49123123595\u{e9}Z"),
            (0x17, "491231235959"),
            (0x16, "491231235959Z"),
        ] {
            assert_eq!(at(kind, text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_read_in_the_kinds_that_subjects_have() {
        assert_eq!(text(0x0c, "Grüße".as_bytes()).unwrap(), "Grüße");
        assert_eq!(text(0x13, b"Shop").unwrap(), "Shop");
        assert_eq!(text(0x1e, &[0, b'S', 0, 0xfc]).unwrap(), "Sü");
        assert_eq!(text(0x1e, &[0, b'S', 0]), None);
        assert_eq!(text(0x13, "ü".as_bytes()), None);
        assert_eq!(text(0x14, b"Shop"), None);
        let mut names = Vec::new();
        for bad in ["", "  ", "a\0b", "a\nb", &"a".repeat(NAME_BYTES_MAX + 1)] {
            keep(&mut names, Some(bad.to_owned()));
        }
        assert!(names.is_empty(), "{names:?}");
        for _ in 0..2 * NAMES_MAX {
            keep(&mut names, Some("a".to_owned()));
        }
        assert_eq!(names.len(), NAMES_MAX);
    }

    #[test]
    fn what_is_cut_off_or_changed_is_read_or_not_and_never_worse() {
        let whole = client();
        let signed = whole.len() - 75;
        for end in 0..signed {
            assert_eq!(Certificate::read(&whole[..end]), None, "{end}");
        }
        let mut refused = 0;
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                refused += usize::from(Certificate::read(&changed).is_none());
            }
        }
        assert!(refused > 100, "{refused}");
        for bytes in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(Certificate::read(bytes), None);
        }
    }
}
