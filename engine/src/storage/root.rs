//! The root of all data: parsed from what the user wrote, opened, probed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use futures::StreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;
use url::Url;
use uuid::Uuid;

use super::durable::DurableFiles;
use super::lock::WriterLock;
use crate::error::{Code, Error, Result, exhausted};
use crate::options::Access;

/// The one location that tables are known by to the libraries: `colonnade://root/TENANT/DATASET/`.
///
/// A scheme of our own, because a real location in a log line, a plan or an error of a library is a
/// path of the server that a user may get to see.
static LOCATION: LazyLock<Url> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant, which every test parses")]
    Url::parse("colonnade://root/").expect("a URL")
});

/// An opened root.
#[derive(Clone)]
pub(crate) struct Root {
    store: Arc<dyn ObjectStore>,
    location: Url,
    kind: RootKind,
    /// As the user wrote it, where that is the URL of an object store.
    url: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RootKind {
    Files(PathBuf),
    Memory,
    Objects,
}

/// Size of the file that probes whether the root has room.
const PROBE_ROOM_BYTES: usize = 1 << 20;

impl Root {
    /// Opens the root that `text` names.
    pub(crate) fn open(
        text: &str,
        options: &BTreeMap<String, String>,
        access: &Access,
    ) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::user(Code::BadInput, "the root is empty; expected a path or URL"));
        }
        match scheme(text) {
            None => Self::files(FilePath::new(text), access),
            Some("file") => Self::files(&file_path(text)?, access),
            Some("memory") => Ok(Self::memory(text)),
            Some(scheme) => {
                let root = Self::objects(text, scheme, options)?;
                Ok(Self { url: Some(text.trim_end_matches('/').into()), ..root })
            }
        }
    }

    /// The folder that `text` names, where it names one.
    pub(crate) fn folder_named(text: &str) -> Result<Option<PathBuf>> {
        match scheme(text.trim()) {
            None => Ok(Some(PathBuf::from(text.trim()))),
            Some("file") => file_path(text.trim()).map(Some),
            Some(_) => Ok(None),
        }
    }

    /// Whether `text` names a place in it, where it is an object store.
    pub(crate) fn has_url(&self, text: &str) -> bool {
        let text = text.trim().trim_end_matches('/');
        let behind = self.url.as_deref().and_then(|url| text.strip_prefix(url));
        behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('/'))
    }

    /// A root over any store; for tests that put faults between.
    #[cfg(test)]
    pub(crate) fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, location: LOCATION.clone(), kind: RootKind::Memory, url: None }
    }

    /// The same, where a write that failed will not appear later, as on a disk; the lock lies in `folder`.
    #[cfg(test)]
    pub(crate) fn over_disk(store: Arc<dyn ObjectStore>, folder: &FilePath) -> Self {
        Self { kind: RootKind::Files(folder.to_owned()), ..Self::over(store) }
    }

    fn files(path: &FilePath, access: &Access) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|e| {
            Error::environment(Code::BadInput, "the root is not a path that can be used", e)
        })?;
        let store = Arc::new(DurableFiles::open(&path, access)?);
        Ok(Self { store, location: LOCATION.clone(), kind: RootKind::Files(path), url: None })
    }

    /// Its folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&FilePath> {
        match &self.kind {
            RootKind::Files(path) => Some(path),
            RootKind::Memory | RootKind::Objects => None,
        }
    }

    /// A place in it, as if that were all there is.
    pub(crate) fn below<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Self {
        let path = Path::from_iter(parts);
        let kind = match &self.kind {
            RootKind::Files(folder) => RootKind::Files(folder.join(path.as_ref())),
            kind => kind.clone(),
        };
        let store = Arc::new(PrefixStore::new(Arc::clone(&self.store), path));
        Self { store, location: self.location.clone(), kind, url: None }
    }

    /// Whether it outlives the process.
    pub(crate) fn is_kept(&self) -> bool {
        self.kind != RootKind::Memory
    }

    fn memory(text: &str) -> Self {
        /// Named stores live as long as one engine holds them.
        static NAMED: LazyLock<Mutex<HashMap<String, Weak<InMemory>>>> =
            LazyLock::new(Mutex::default);

        let name = text.trim_start_matches("memory:").trim_matches('/');
        let store = if name.is_empty() {
            Arc::new(InMemory::new())
        } else {
            let mut named = NAMED.lock();
            named.retain(|_, store| store.strong_count() > 0);
            match named.get(name).and_then(Weak::upgrade) {
                Some(store) => store,
                None => {
                    let store = Arc::new(InMemory::new());
                    named.insert(name.to_owned(), Arc::downgrade(&store));
                    store
                }
            }
        };
        Self { store, location: LOCATION.clone(), kind: RootKind::Memory, url: None }
    }

    #[cfg(feature = "cloud")]
    fn objects(text: &str, scheme: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        const SCHEMES: [&str; 10] =
            ["s3", "s3a", "az", "adl", "azure", "abfs", "abfss", "gs", "http", "https"];
        if !SCHEMES.contains(&scheme) {
            return Err(unknown_scheme(scheme));
        }
        let not_opened = |e: object_store::Error| {
            Error::environment(
                Code::BadInput,
                format!("the {scheme}: root could not be set up from its URL and options"),
                e,
            )
        };
        let url = Url::parse(text).map_err(|e| {
            Error::environment(Code::BadInput, format!("the {scheme}: root is not a URL"), e)
        })?;
        for key in options.keys() {
            require_known_option(scheme, &key.to_ascii_lowercase())?;
        }
        // What the environment says (AWS_…, AZURE_…, GOOGLE_…) comes first, so that options win.
        let environment = super::environment::of_stores();
        let given = options.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone()));
        let all: Vec<(String, String)> = environment.chain(given).collect();
        require_endpoints(scheme, &all)?;
        let (store, prefix) = object_store::parse_url_opts(&url, all).map_err(not_opened)?;
        let store: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
            Arc::from(store)
        } else {
            Arc::new(PrefixStore::new(store, prefix))
        };
        // S3 directory buckets list in no order; the kernel reads that off the host's name.
        let unordered = url.host_str().is_some_and(|host| host.contains("--x-s3"));
        let mut location = LOCATION.clone();
        if unordered {
            location.set_host(Some("root--x-s3")).map_err(|e| Error::bug("location", e))?;
        }
        Ok(Self { store, location, kind: RootKind::Objects, url: None })
    }

    #[cfg(not(feature = "cloud"))]
    fn objects(_: &str, scheme: &str, _: &BTreeMap<String, String>) -> Result<Self> {
        Err(match scheme {
            "s3" | "az" | "gs" | "abfs" | "abfss" => Error::user(
                Code::BadInput,
                format!("{scheme}: roots need a build with the feature `cloud`"),
            ),
            _ => unknown_scheme(scheme),
        })
    }

    /// The store, its paths beginning at the root.
    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The location that stands for the root in the libraries.
    pub(crate) fn location(&self) -> &Url {
        &self.location
    }

    /// For the log: what kind of store it is.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            RootKind::Files(_) => "files",
            RootKind::Memory => "memory",
            RootKind::Objects => "objects",
        }
    }

    /// Whether a write that failed is certain not to appear later: there is no network between.
    pub(crate) fn failures_are_final(&self) -> bool {
        matches!(self.kind, RootKind::Files(_))
    }

    /// Whether other machines may write to it, with nothing to keep them out.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.kind, RootKind::Objects)
    }

    /// Takes the right to write on a local root, where somebody may be alone; nothing keeps writers out of other stores.
    pub(crate) fn lock(&self, access: &Access) -> Result<Option<WriterLock>> {
        match &self.kind {
            RootKind::Files(path) => WriterLock::take(path, access),
            RootKind::Memory | RootKind::Objects => Ok(None),
        }
    }

    /// How often it is looked what others committed: asking a local root costs nothing. Never where there are no others.
    pub(crate) fn others_interval(&self) -> Option<Duration> {
        match &self.kind {
            RootKind::Files(_) => Some(Duration::from_millis(500)),
            RootKind::Objects => Some(Duration::from_secs(10)),
            RootKind::Memory => None,
        }
    }

    /// Makes sure that the root answers and, for a writer, that it takes a new object and refuses
    /// to replace it: commits rest on that.
    pub(crate) async fn probe(&self, writable: bool) -> Result<()> {
        in_time("answering", self.probe_all(writable)).await
    }

    async fn probe_all(&self, writable: bool) -> Result<()> {
        self.probe_reachable().await?;
        if !writable {
            return Ok(());
        }
        let probe = Path::from(format!("_colonnade_probe_{}", Uuid::now_v7().simple()));
        let put = || {
            let payload = PutPayload::from_static(b"probe");
            self.store.put_opts(&probe, payload, PutMode::Create.into())
        };
        put().await.map_err(|e| unreachable("writing an object to the root", e))?;
        let second = put().await;
        self.store
            .delete(&probe)
            .await
            .map_err(|e| unreachable("deleting an object of the root", e))?;
        match second {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(e) => Err(unreachable("writing an object only if it is absent", e)),
            Ok(_) => Err(Error::user(
                Code::StorageUnavailable,
                "the store replaces objects where it should refuse to (put-if-absent); commits would \
                 not be safe on it",
            )),
        }
    }

    /// Checks that the root has room for a small file.
    pub(crate) async fn probe_room(&self) -> Result<()> {
        in_time("writing", async {
            let probe = Path::from(format!("_colonnade_probe_{}", Uuid::now_v7().simple()));
            // Random ids hardly compress, so they take room even on a compressing file system.
            let ids = (0..PROBE_ROOM_BYTES / 16).map(|_| Uuid::now_v7());
            let bytes: Vec<u8> = ids.flat_map(Uuid::into_bytes).collect();
            let put = self.store.put_opts(&probe, bytes.into(), PutMode::Create.into()).await;
            let put = put.map(drop).map_err(|e| match exhausted(&e) {
                Some(code) => Error::environment(
                    code,
                    "the root takes no writes: its disk or quota is full",
                    e,
                ),
                None => unreachable("writing an object to the root", e),
            });
            // A failed write may leave part of the object.
            let deleted = self.store.delete(&probe).await;
            put?;
            deleted.map_err(|e| unreachable("deleting an object of the root", e))
        })
        .await
    }

    /// Makes sure that the root can be listed.
    pub(crate) async fn probe_reachable(&self) -> Result<()> {
        in_time("listing", self.list_a_little()).await
    }

    async fn list_a_little(&self) -> Result<()> {
        if let RootKind::Files(path) = &self.kind {
            // The store lists a folder that is not there as an empty one.
            let folder = tokio::fs::read_dir(path).await;
            return folder.map(drop).map_err(|e| {
                Error::environment(
                    Code::StorageUnavailable,
                    "the root is not usable: listing the root failed",
                    e,
                )
            });
        }
        // A tenant's name can't begin with `_`, so this lists next to nothing.
        let mut listing = self.store.list(Some(&Path::from("_colonnade")));
        match listing.next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(e)) => Err(unreachable("listing the root", e)),
        }
    }
}

/// Ends a probe that takes too long: a store's client may try again for minutes.
async fn in_time(what: &str, probe: impl Future<Output = Result<()>>) -> Result<()> {
    const PROBE_TIME_MAX: Duration = Duration::from_secs(20);
    tokio::time::timeout(PROBE_TIME_MAX, probe).await.unwrap_or_else(|e| {
        let seconds = PROBE_TIME_MAX.as_secs();
        let message = format!("the root is not usable: {what} took longer than {seconds} s");
        Err(Error::environment(Code::StorageUnavailable, message, e))
    })
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("kind", &self.kind_name()).finish()
    }
}

/// What a root's text begins with, where that is a scheme. A letter and a colon is a drive, not a scheme.
fn scheme(text: &str) -> Option<&str> {
    text.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
        scheme.len() > 1
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'-')
    })
}

fn file_path(text: &str) -> Result<PathBuf> {
    let bad = || {
        Error::user(
            Code::BadInput,
            "the file: root is not usable; expected file:PATH or file:///ABSOLUTE/PATH",
        )
    };
    let rest = text.trim_start_matches("file:");
    if let Some(absolute) = rest.strip_prefix("//") {
        if !absolute.starts_with('/') && !absolute.starts_with("localhost/") {
            return Err(bad());
        }
        return Url::parse(text).map_err(|_| bad())?.to_file_path().map_err(|()| bad());
    }
    if rest.is_empty() { Err(bad()) } else { Ok(PathBuf::from(rest)) }
}

/// The store's client panics at an address that is none, and says of one without encryption that a builder failed.
#[cfg(feature = "cloud")]
fn require_endpoints(scheme: &str, options: &[(String, String)]) -> Result<()> {
    let service = match scheme {
        "s3" | "s3a" => "aws",
        "gs" => "google",
        _ => "azure",
    };
    let of_others = ["aws_", "google_", "azure_"].into_iter().filter(|of| !of.starts_with(service));
    let of_others: Vec<&str> = of_others.collect();
    let options = options.iter().filter(|(key, _)| !of_others.iter().any(|of| key.starts_with(of)));
    let is_true =
        |value: &str| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes");
    let allows_http =
        options.clone().any(|(key, value)| key.ends_with("allow_http") && is_true(value));
    for (key, value) in options.filter(|(key, _)| key.contains("endpoint") && !key.contains("use_"))
    {
        let bad = |says: String| {
            // It may hold a secret.
            Err(Error::user(Code::BadInput, format!("storage option {key}: {says}")))
        };
        let parsed = Url::parse(value).ok().filter(Url::has_host);
        match parsed.as_ref().map(Url::scheme) {
            Some("https") => {}
            Some("http") if allows_http || key.contains("metadata") => {}
            Some("http") => {
                return bad(format!(
                    "expected https, or {service}_allow_http = true beside it ({}_ALLOW_HTTP=true)",
                    service.to_uppercase()
                ));
            }
            _ => return bad("expected a URL such as https://host:9000".to_owned()),
        }
    }
    Ok(())
}

/// The store's client passes over a key that it does not know; a mistyped one must not be lost.
#[cfg(feature = "cloud")]
fn require_known_option(scheme: &str, key: &str) -> Result<()> {
    use object_store::aws::AmazonS3ConfigKey;
    use object_store::azure::AzureConfigKey;
    use object_store::client::ClientConfigKey;
    use object_store::gcp::GoogleConfigKey;

    let of_store = match scheme {
        "s3" | "s3a" => key.parse::<AmazonS3ConfigKey>().is_ok(),
        "gs" => key.parse::<GoogleConfigKey>().is_ok(),
        "http" | "https" => false,
        _ => key.parse::<AzureConfigKey>().is_ok(),
    };
    if of_store || key.parse::<ClientConfigKey>().is_ok() {
        return Ok(());
    }
    let shown: String = key.chars().take(80).collect();
    Err(Error::user(
        Code::BadInput,
        format!("storage option {shown:?} is not one that a {scheme}: root knows"),
    ))
}

fn unknown_scheme(scheme: &str) -> Error {
    Error::user(
        Code::BadInput,
        format!(
            "the root begins with {scheme:?}:; expected a path, file:, memory:, s3:, az: or gs:"
        ),
    )
}

fn unreachable(operation: &str, error: object_store::Error) -> Error {
    let error = Error::from(error);
    let code = match error.code() {
        Code::ResourcesExhausted => return error.while_doing(operation),
        // A retry does not help.
        Code::Forbidden => Code::Forbidden,
        _ => Code::StorageUnavailable,
    };
    Error::environment(code, format!("the root is not usable: {operation} failed: {error}"), error)
}
