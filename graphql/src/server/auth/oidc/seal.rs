//! What a browser keeps for the server, so that nobody can read it and only a server with the key can have written it.
//!
//! AES-256-GCM under keys that HKDF-SHA256 makes of a secret (RFC 5869), each text with 96 random bits. What it is for, for whom, and
//! by whom it was said is part of what is authenticated: a login that was begun is never taken for a session, nor the session of
//! another provider for one of this.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{Code, Error, Result};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Secret;

/// Shortest secret: below it, guessing is a way in.
const SECRET_BYTES_MIN: usize = 32;
/// Bytes of what is drawn: 256 bits of them are as good as a key.
const DRAWN_BYTES: usize = 32;
/// What the keys are made for; another form of what is sealed has another.
const MADE_FOR: &[u8] = b"colonnade cookies 1";

/// A secret that keys are made of.
#[derive(Clone, Debug)]
pub struct SealingSecret(Secret);

impl SealingSecret {
    /// Fails where it could be guessed.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        match text.len() < SECRET_BYTES_MIN {
            true => Err(Error::user(
                Code::BadInput,
                format!(
                    "expected a secret of at least {SECRET_BYTES_MIN} characters, such as `openssl rand -hex 32` makes, found {}",
                    text.len()
                ),
            )),
            false => Ok(Self(Secret::new(text))),
        }
    }
}

/// The keys: the first seals, all open.
pub(super) struct Seal(Vec<LessSafeKey>);

impl Seal {
    /// With keys of these secrets, and one that goes with the process where there are none.
    pub(super) fn new(secrets: &[SealingSecret]) -> Result<Self> {
        let keys = match secrets {
            [] => vec![key_of(&drawn::<DRAWN_BYTES>()?)?],
            secrets => {
                let keys = secrets.iter().map(|SealingSecret(it)| key_of(it.text().as_bytes()));
                keys.collect::<Result<_>>()?
            }
        };
        Ok(Self(keys))
    }

    /// `text` as a cookie can have it.
    pub(super) fn seal(&self, made_for: &str, text: &[u8]) -> Result<String> {
        let failed = || Error::internal("a cookie can not be sealed");
        let key = self.0.first().ok_or_else(failed)?;
        let nonce = drawn::<NONCE_LEN>()?;
        let mut sealed = text.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(made_for),
            &mut sealed,
        )
        .map_err(|_| failed())?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// What was sealed; none, where it was not by one of these keys, for this, or was touched.
    pub(super) fn open(&self, made_for: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        self.0.iter().find_map(|key| {
            let mut text = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = key.open_in_place(nonce, Aad::from(made_for), &mut text).ok()?;
            Some(opened.to_vec())
        })
    }
}

fn key_of(secret: &[u8]) -> Result<LessSafeKey> {
    let failed = |_| Error::internal("a key for cookies can not be made");
    let made = Salt::new(HKDF_SHA256, b"colonnade").extract(secret);
    let key = made.expand(&[MADE_FOR], &AES_256_GCM).map(UnboundKey::from).map_err(failed)?;
    Ok(LessSafeKey::new(key))
}

/// Random bytes.
fn drawn<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |_| Error::internal("the system gives no random bytes");
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A text of 256 random bits.
pub(super) fn drawn_text() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(drawn::<DRAWN_BYTES>()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(letter: &str) -> SealingSecret {
        SealingSecret::new(letter.repeat(SECRET_BYTES_MIN)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_a_key_of_today_or_before_and_for_what_it_is_alone() {
        let (old, new) = (secret("o"), secret("n"));
        let before = Seal::new(std::slice::from_ref(&old)).unwrap();
        let both = Seal::new(&[new.clone(), old]).unwrap();
        let sealed = before.seal("session", b"somebody").unwrap();
        assert_eq!(both.open("session", &sealed).as_deref(), Some(&b"somebody"[..]));
        assert_eq!(both.open("login", &sealed), None);
        assert_eq!(Seal::new(&[new]).unwrap().open("session", &sealed), None);
        assert_eq!(before.open("session", &both.seal("session", b"somebody").unwrap()), None);
        // No two are alike, and none says what is in it.
        assert_ne!(before.seal("session", b"somebody").unwrap(), sealed);
        let drawn = [Seal::new(&[]).unwrap(), Seal::new(&[]).unwrap()];
        let sealed = drawn[0].seal("session", b"somebody").unwrap();
        assert!(drawn[0].open("session", &sealed).is_some());
        assert!(drawn[1].open("session", &sealed).is_none());
    }

    #[test]
    fn what_was_touched_does_not_open() {
        let seal = Seal::new(&[secret("a")]).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(seal.seal("session", b"somebody").unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[at] ^= 1;
            assert_eq!(seal.open("session", &URL_SAFE_NO_PAD.encode(touched)), None, "{at}");
        }
        for length in [0, 1, NONCE_LEN, bytes.len() - 1] {
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..length]);
            assert_eq!(seal.open("session", &cut), None, "{length}");
        }
        assert_eq!(seal.open("session", "no base64!"), None);
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_refused() {
        let error = SealingSecret::new("a".repeat(SECRET_BYTES_MIN - 1)).unwrap_err();
        assert!(error.to_string().contains("32 characters"), "{error}");
        assert!(!format!("{:?}", secret("a")).contains("aaa"));
    }
}
