//! The public keys of who signs tokens: a file or an address, read again from time to time, since such keys are changed.
//!
//! A token that names a key which is not known has them read again at once, at most every few seconds, however many such tokens come:
//! what is in a token never says where or what is read. Where they can not be read, those that were read before go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Code, Error, Result};
use parking_lot::RwLock;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::super::claims::Claims;
use super::super::fetch::{self, DOCUMENT_BYTES_MAX};
use super::jws::{PublicKey, Token};

/// Most keys in one.
const KEYS_MAX: usize = 100;
/// How often they are read for tokens that name a key which is not known.
const UNKNOWN_EVERY: Duration = Duration::from_secs(10);

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file.
    File(PathBuf),
    /// An address: of `https`, or of `http` on this machine.
    Url(reqwest::Url),
}

impl JwksSource {
    /// Reads an address or the path of a file.
    pub fn new(text: &str) -> Result<Self> {
        let bad = |says: &str| {
            let says = format!("{says}; expected a file, or an address that begins with https://");
            Error::user(Code::BadInput, says)
        };
        if text.is_empty() {
            return Err(bad("found nothing"));
        }
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        fetch::address(text).map(Self::Url).map_err(bad)
    }
}

/// The keys as they were read last.
pub(super) struct KeySet {
    source: JwksSource,
    every: Duration,
    client: reqwest::Client,
    known: RwLock<Arc<Vec<PublicKey>>>,
    /// When they were last tried to be read for a token.
    tried: Mutex<Option<Instant>>,
}

impl KeySet {
    /// Reads them. Of an address that does not answer they are read later; a file must be there.
    pub(super) async fn open(source: JwksSource, every: Duration) -> Result<Self> {
        let client = fetch::client()?;
        let set = Self { source, every, client, known: RwLock::default(), tried: Mutex::default() };
        match (set.read().await, &set.source) {
            (Ok(()), _) => {}
            (Err(says), JwksSource::File(_)) => {
                return Err(Error::user(Code::BadInput, format!("auth.jwt.jwks: {says}")));
            }
            (Err(says), JwksSource::Url(_)) => {
                tracing::warn!(
                    says,
                    "the keys of tokens can not be read yet; no token is taken until they are"
                );
            }
        }
        Ok(set)
    }

    /// What `token` claims, if it is signed by one of them.
    pub(super) async fn claims(&self, token: &Token<'_>) -> Option<Claims> {
        match self.known_claims(token) {
            Some(claims) => claims,
            None if self.read_for_a_token().await => self.known_claims(token).flatten(),
            None => None,
        }
    }

    /// The same by those that are known; nothing at all, where none of them could have signed it.
    fn known_claims(&self, token: &Token<'_>) -> Option<Option<Claims>> {
        let known = Arc::clone(&self.known.read());
        let mut fitting = known.iter().filter(|key| key.fits(token)).peekable();
        fitting.peek()?;
        Some(fitting.find_map(|key| token.claims(key)))
    }

    /// Reads them from time to time until `ending`.
    pub(super) async fn keep(&self, ending: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = ending.cancelled() => return,
            }
            self.read_or_say().await;
        }
    }

    /// Whether they were read anew, by whoever.
    async fn read_for_a_token(&self) -> bool {
        let came = Instant::now();
        let mut tried = self.tried.lock().await;
        match *tried {
            // While this one waited for its turn.
            Some(at) if at >= came => true,
            Some(at) if at.elapsed() < UNKNOWN_EVERY => false,
            _ => {
                self.read_or_say().await;
                *tried = Some(Instant::now());
                true
            }
        }
    }

    pub(super) async fn read_or_say(&self) {
        if let Err(says) = self.read().await {
            tracing::warn!(says, "the keys of tokens can not be read; those of before go on");
        }
    }

    async fn read(&self) -> Result<(), String> {
        let bytes = match &self.source {
            JwksSource::File(path) => read_file(path).await?,
            JwksSource::Url(url) => self.fetch(url.clone()).await?,
        };
        let keys = Arc::new(keys_in(&bytes)?);
        *self.known.write() = keys;
        Ok(())
    }

    async fn fetch(&self, url: reqwest::Url) -> Result<Vec<u8>, String> {
        let request = self.client.get(url).header("accept", "application/json");
        match fetch::document(request).await? {
            (status, bytes) if status.is_success() => Ok(bytes),
            (status, _) => Err(format!("expected status 200, found {}", status.as_u16())),
        }
    }
}

async fn read_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    let most = DOCUMENT_BYTES_MAX as u64 + 1;
    file.take(most).read_to_end(&mut bytes).await.map_err(failed)?;
    match bytes.len() > DOCUMENT_BYTES_MAX {
        true => Err(format!("{name}: expected at most {DOCUMENT_BYTES_MAX} bytes, found more")),
        false => Ok(bytes),
    }
}

/// The keys of a document that sign tokens. Others in it are passed over, and said.
fn keys_in(bytes: &[u8]) -> Result<Vec<PublicKey>, String> {
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    let keys = document.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("expected an object with a list `keys`, found none")?;
    if keys.len() > KEYS_MAX {
        return Err(format!("expected at most {KEYS_MAX} keys, found {}", keys.len()));
    }
    let mut usable = Vec::new();
    let mut last = "there is none in it";
    for key in keys {
        match PublicKey::read(key) {
            Ok(key) => usable.push(key),
            Err(says) => {
                let kid = key.get("kid").and_then(Value::as_str).unwrap_or_default();
                tracing::warn!(kid, says, "a key for tokens is passed over");
                last = says;
            }
        }
    }
    match usable.is_empty() {
        true => Err(format!("expected a key that verifies signatures: {last}")),
        false => Ok(usable),
    }
}

#[cfg(test)]
pub(super) fn keys_of(document: &Value) -> Result<usize, String> {
    keys_in(document.to_string().as_bytes()).map(|keys| keys.len())
}
