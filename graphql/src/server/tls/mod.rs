//! TLS by files: a certificate and its key, and whose certificates clients may or must show.
//!
//! The files are read every few seconds. Their contents say whether they are others, not their times: a link that is turned round,
//! as in a mounted secret, shows nothing else. New ones serve new connections; those that are open keep what they began with. New
//! files of which something is wrong, as between two that are written one after the other, change nothing, and the log says what.

mod certificate;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use engine::{Code, Error, Result};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier,
};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

pub(super) use certificate::{Certificate, OfClient};

/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What is spoken over it, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Files for TLS, in PEM.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The server's certificate, and behind it those up to the one that clients trust.
    pub certificate: PathBuf,
    /// Its private key, without a passphrase.
    pub key: PathBuf,
    /// Whether clients show certificates.
    pub clients: ClientCertificates,
    /// How often the files are read.
    pub refresh: Duration,
}

/// Whether clients show certificates.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// They are not asked for one.
    None,
    /// They may: who shows none shows a key or a token.
    Optional(ClientAuthority),
    /// They must, or there is no connection.
    Required(ClientAuthority),
}

/// Who signs certificates of clients.
#[derive(Clone, Debug)]
pub struct ClientAuthority {
    /// The file of their certificates.
    pub certificates: PathBuf,
    /// The file of lists of those that were revoked, if there is one: each authority of whose certificates one is shown must have a list.
    pub revoked: Option<PathBuf>,
}

impl ClientCertificates {
    fn authority(&self) -> Option<&ClientAuthority> {
        match self {
            Self::None => None,
            Self::Optional(authority) | Self::Required(authority) => Some(authority),
        }
    }
}

/// TLS as it is now.
pub(super) struct Tls {
    options: TlsOptions,
    now: Mutex<Now>,
}

struct Now {
    config: Arc<ServerConfig>,
    /// Of the files that it is made of, or which were found wrong.
    digest: [u8; 32],
    /// What was last said of files that can not be read.
    said: Option<String>,
}

/// The contents of the files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
    revoked: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files. Fails where one is not there or is not what it should be, and names it.
    pub(super) async fn open(options: TlsOptions) -> Result<Arc<Self>> {
        let contents = Contents::read(&options).await?;
        let config = contents.config(&options)?;
        let now = Now { config, digest: contents.digest(), said: None };
        Ok(Arc::new(Self { options, now: Mutex::new(now) }))
    }

    /// Follows the files until `ending`.
    pub(super) async fn keep(&self, ending: CancellationToken) {
        let mut looks = tokio::time::interval(self.options.refresh);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await;
        while ending.run_until_cancelled(looks.tick()).await.is_some() {
            self.look().await;
        }
    }

    /// Takes the files as they are now, where they are others and good.
    async fn look(&self) {
        let contents = match Contents::read(&self.options).await {
            Ok(contents) => contents,
            Err(error) => return self.says(error.to_string()),
        };
        let digest = contents.digest();
        let mut now = self.now.lock();
        if now.digest == digest {
            now.said = None;
            return;
        }
        drop(now);
        match contents.config(&self.options) {
            Ok(config) => {
                *self.now.lock() = Now { config, digest, said: None };
                tracing::info!(certificate = %self.options.certificate.display(), "new TLS files are in force");
            }
            Err(error) => {
                self.says(error.to_string());
                self.now.lock().digest = digest;
            }
        }
    }

    /// Says what is wrong, once.
    fn says(&self, error: String) {
        let mut now = self.now.lock();
        if now.said.as_deref() != Some(error.as_str()) {
            tracing::warn!(%error, "TLS goes on with the files of before");
            now.said = Some(error);
        }
    }

    /// Shakes hands: what is then spoken through, and the client's certificate if it has shown one.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Option<OfClient>)> {
        let config = Arc::clone(&self.now.lock().config);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = match shown {
            None => None,
            Some(der) => {
                let unread = || io::Error::other("the client's certificate is not understood");
                Some(OfClient(Arc::new(Certificate::read(der).ok_or_else(unread)?)))
            }
        };
        Ok((stream, certificate))
    }
}

impl Contents {
    async fn read(options: &TlsOptions) -> Result<Self> {
        let authority = options.clients.authority();
        let revoked = authority.and_then(|authority| authority.revoked.as_deref());
        Ok(Self {
            certificate: file(&options.certificate, "certificate").await?,
            key: file(&options.key, "key").await?,
            authorities: match authority {
                Some(authority) => Some(file(&authority.certificates, "client_ca").await?),
                None => None,
            },
            revoked: match revoked {
                Some(path) => Some(file(path, "client_revoked").await?),
                None => None,
            },
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let optional = [&self.authorities, &self.revoked].map(|bytes| bytes.as_deref());
        for bytes in
            [Some(self.certificate.as_slice()), Some(&self.key)].into_iter().chain(optional)
        {
            let bytes = bytes.unwrap_or_default();
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        digest.finalize().into()
    }

    fn config(&self, options: &TlsOptions) -> Result<Arc<ServerConfig>> {
        let chain: Vec<CertificateDer<'static>> =
            sections(&self.certificate, &options.certificate, "certificate", "a certificate")?;
        let key = match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(key) => key,
            // Why is not said: it could show parts of a key.
            Err(_) => {
                let expected = "expected a private key in PEM (PKCS #8, PKCS #1 or SEC 1) without a passphrase, found none";
                return Err(wrong(&options.key, "key", expected));
            }
        };
        let of_tls = |path, name, error: rustls::Error| wrong(path, name, &error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal(format!("versions of TLS: {error}")))?;
        let mut config = match self.verifier(options)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        }
        .with_single_cert(chain.clone(), key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let says = format!(
                    "expected the key of the certificate in {}, found that of another",
                    options.certificate.display()
                );
                wrong(&options.key, "key", &says)
            }
            error @ rustls::Error::InvalidCertificate(_) => {
                of_tls(&options.certificate, "certificate", error)
            }
            error => of_tls(&options.key, "key", error),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        if options.clients.authority().is_some() {
            // A session that goes on shows no certificate anew: it would outlive the list of those that are revoked.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let end =
            chain.first().and_then(|leaf| Certificate::read(leaf)).map(|leaf| leaf.expires_at);
        if let Some(expires_at) = end.filter(|at| *at <= Utc::now()) {
            tracing::warn!(
                certificate = %options.certificate.display(), %expires_at, "the server's certificate has expired: clients will not trust it"
            );
        }
        Ok(Arc::new(config))
    }

    /// Who looks at certificates of clients.
    fn verifier(&self, options: &TlsOptions) -> Result<Option<Arc<dyn ClientCertVerifier>>> {
        let Some(authority) = options.clients.authority() else { return Ok(None) };
        let path = &authority.certificates;
        let bytes = self.authorities.as_deref().unwrap_or_default();
        let mut roots = RootCertStore::empty();
        for certificate in
            sections::<CertificateDer<'static>>(bytes, path, "client_ca", "a certificate")?
        {
            roots.add(certificate).map_err(|error| wrong(path, "client_ca", &error.to_string()))?;
        }
        let provider = Arc::new(ring::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let mut blamed = (path.as_path(), "client_ca");
        if let (Some(path), Some(bytes)) = (&authority.revoked, &self.revoked) {
            blamed = (path, "client_revoked");
            let expected = "a list of revoked certificates";
            let lists: Vec<CertificateRevocationListDer<'static>> =
                sections(bytes, path, "client_revoked", expected)?;
            builder = builder.with_crls(lists).only_check_end_entity_revocation();
        }
        if matches!(options.clients, ClientCertificates::Optional(_)) {
            builder = builder.allow_unauthenticated();
        }
        let built = builder.build();
        built.map(Some).map_err(|error| wrong(blamed.0, blamed.1, &error.to_string()))
    }
}

/// All sections of a kind in a file: one at least.
fn sections<T: PemObject>(bytes: &[u8], path: &Path, name: &str, expected: &str) -> Result<Vec<T>> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong(path, name, &format!("expected {expected} in PEM, found none"))),
        Err(error) => Err(wrong(path, name, &format!("expected {expected} in PEM: {error}"))),
    }
}

async fn file(path: &Path, name: &str) -> Result<Vec<u8>> {
    let read = async {
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = read.await.map_err(|error| wrong(path, name, &error.to_string()))?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(wrong(path, name, &format!("expected at most {FILE_BYTES_MAX} bytes"))),
        false => Ok(bytes),
    }
}

fn wrong(path: &Path, name: &str, says: &str) -> Error {
    Error::user(Code::BadInput, format!("server.tls.{name}: {}: {says}", path.display()))
}
