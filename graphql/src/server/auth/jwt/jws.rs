//! Signed tokens in their compact form, and the public keys that tell whether a signature is right.
//!
//! Sources: RFC 7515 (JWS), RFC 7518 (its algorithms), RFC 8037 (Ed25519), RFC 8725 (best current practices). A token says itself by
//! which algorithm it is signed, and that is where most attacks begin; so an algorithm is taken only where the settings name it *and*
//! the key is of its kind, and nothing that needs no key or a shared one (`none`, `HS…`) has a name here at all.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{Code, Error};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

/// Longest name of a key.
const KID_BYTES_MAX: usize = 256;
/// Least and most bytes of an RSA modulus: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// How a token may be signed: by a key that is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// The same with SHA-384.
    Ps384,
    /// The same with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// All of them, by the names that tokens have for them.
    pub const NAMED: [(&'static str, Self); 9] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMED.iter().find(|(_, known)| known == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for JwtAlgorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::NAMED.iter().find(|(name, _)| *name == text);
        known.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
            let names = Self::NAMED.map(|(name, _)| name).join(", ");
            let shown: String = text.chars().take(80).collect();
            let says = format!(
                "algorithm {shown:?}: expected one of {names}; none and those of shared secrets (HS256 and its like) are never taken"
            );
            Error::user(Code::BadInput, says)
        })
    }
}

/// A token, of which nothing is believed yet.
pub(super) struct Token<'a> {
    pub(super) algorithm: JwtAlgorithm,
    pub(super) kid: Option<String>,
    /// Whether it says that it is for access (RFC 9068).
    pub(super) is_for_access: bool,
    signed: &'a str,
    signature: Vec<u8>,
    claims: &'a str,
}

impl<'a> Token<'a> {
    /// Reads the header; none, where that is not one of a token that could be taken.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let header = object(header)?;
        // What must be understood is not; what is unpacked first is nobody's to sign.
        if header.contains_key("crit") || header.contains_key("zip") {
            return None;
        }
        let algorithm = header.get("alg")?.as_str()?.parse().ok()?;
        let kind = match header.get("typ") {
            None => "jwt".to_owned(),
            Some(kind) => kind.as_str()?.to_ascii_lowercase(),
        };
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        if !matches!(kind, "jwt" | "at+jwt") {
            return None;
        }
        let is_for_access = kind == "at+jwt";
        let kid = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().filter(|kid| kid.len() <= KID_BYTES_MAX)?.to_owned()),
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { algorithm, kid, is_for_access, signed, signature, claims })
    }

    /// What it claims; none, unless the owner of `key` signed it.
    pub(super) fn claims(&self, key: &PublicKey) -> Option<Map<String, Value>> {
        let is_signed =
            key.fits(self) && key.verifies(self.algorithm, self.signed, &self.signature);
        is_signed.then(|| object(self.claims)).flatten()
    }
}

fn object(encoded: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) kid: Option<String>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<JwtAlgorithm>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// Reads a JSON Web Key (RFC 7517); why not, where it is none that signs tokens.
    pub(super) fn read(key: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| {
            let bytes = text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            bytes.ok_or("a part of it is missing, or is no base64url")
        };
        let kind = text("kty").ok_or("it says no kty")?;
        if kind == "oct" {
            return Err(
                "it is a shared secret (kty oct), which anybody who checks a token could sign one with",
            );
        }
        if key.get("d").is_some() {
            return Err("it is a private key (it has d); whoever reads it could sign tokens");
        }
        if text("use").is_some_and(|for_what| for_what != "sig") {
            return Err("it is not for signatures (use)");
        }
        if let Some(operations) = key.get("key_ops").and_then(Value::as_array)
            && !operations.iter().any(|operation| operation == "verify")
        {
            return Err("it is not to verify signatures (key_ops)");
        }
        let kid = text("kid").map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err("its kid is too long");
        }
        let algorithm = match text("alg") {
            None => None,
            Some(name) => Some(name.parse().map_err(|_| "its alg is none that is taken")?),
        };
        let point = |size: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            match (x.len(), y.len()) == (size, size) {
                true => Ok([vec![4], x, y].concat()),
                false => Err("its x and y are not of the curve's length"),
            }
        };
        let material = match (kind, text("crv")) {
            ("RSA", _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let begins = n.iter().position(|byte| *byte != 0).unwrap_or(n.len());
                let n = n[begins..].to_vec();
                if !RSA_BYTES.contains(&n.len()) {
                    return Err("its modulus has less than 2048 or more than 8192 bits");
                }
                Material::Rsa { n, e }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => match bytes("x")? {
                x if x.len() == 32 => Material::Ed25519(x),
                _ => return Err("its x has not 32 bytes"),
            },
            _ => {
                return Err(
                    "its kty and crv are none that are taken: RSA, EC on P-256 or P-384, OKP on Ed25519",
                );
            }
        };
        let key = Self { kid, algorithm, material };
        match key.algorithm.is_none_or(|algorithm| key.is_of(algorithm)) {
            true => Ok(key),
            false => Err("its alg is not one of its kty"),
        }
    }

    /// Whether `token` may have been signed by it.
    pub(super) fn fits(&self, token: &Token<'_>) -> bool {
        let is_named = token.kid.is_none() || token.kid == self.kid;
        is_named
            && self.is_of(token.algorithm)
            && self.algorithm.is_none_or(|algorithm| algorithm == token.algorithm)
    }

    fn is_of(&self, algorithm: JwtAlgorithm) -> bool {
        use JwtAlgorithm as A;
        match self.material {
            Material::Rsa { .. } => {
                matches!(algorithm, A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512)
            }
            Material::P256(_) => algorithm == A::Es256,
            Material::P384(_) => algorithm == A::Es384,
            Material::Ed25519(_) => algorithm == A::EdDsa,
        }
    }

    fn verifies(&self, algorithm: JwtAlgorithm, signed: &str, signature: &[u8]) -> bool {
        use JwtAlgorithm as A;
        let rsa: &'static RsaParameters = match algorithm {
            A::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            A::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            A::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            A::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            A::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            A::Rs256 | A::Es256 | A::Es384 | A::EdDsa => &signature::RSA_PKCS1_2048_8192_SHA256,
        };
        let signed = signed.as_bytes();
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(rsa, signed, signature)
            }
            Material::P256(point) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(signed, signature)
            }
            Material::P384(point) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(signed, signature)
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(signed, signature)
            }
        };
        verified.is_ok()
    }
}
