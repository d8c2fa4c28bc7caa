//! Settings: built-in defaults < `colonnade.toml` < environment < flags, each value with its origin.
//!
//! Every setting is kept as the text that it was given as and read into its type where it is used, so that
//! `colonnade config` shows exactly what is in force and an error can say where the bad value is from.

mod auth;
mod documents;
mod file;
mod keys;
mod limits;
mod oidc;
mod runs;
mod server;
mod size;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use engine::{Code, Error, GrantSet, Principal, Result, TenantId, near_names};
use kernels::GpuPolicy;

use crate::cli::Global;
use crate::environment::Environment;
use crate::output::size;

/// A setting: its name in `colonnade.toml`; in the environment it is `COLONNADE_` and the name in capitals.
struct Key {
    name: &'static str,
    default: &'static str,
    about: &'static str,
}

const KEYS: &[Key] = &[
    Key { name: "data", default: "./colonnade-data", about: "root of all data" },
    Key { name: "tenant", default: "default", about: "tenant of the command line" },
    Key { name: "listen", default: "127.0.0.1:8642", about: "address to serve at" },
    Key {
        name: "flight",
        default: "",
        about: "address of Arrow Flight SQL; empty: it is not spoken",
    },
    Key { name: "gpu", default: "preferred", about: "required, preferred or off" },
    Key { name: "memory", default: "50%", about: "memory for queries and jobs" },
    Key {
        name: "spill_dir",
        default: "",
        about: "where queries spill; empty: the system's temporary folder",
    },
    Key {
        name: "spill_limit",
        default: "64GiB",
        about: "disk budget for spills; half of the free space at startup if that is less",
    },
    Key {
        name: "exports_limit",
        default: "64GiB",
        about: "most that the exports of one tenant may take that lie in the root",
    },
    Key {
        name: "models",
        default: "",
        about: "folder of models that were pulled; empty: colonnade/models in the user's cache",
    },
    Key {
        name: "control",
        default: "",
        about: "database of runs that wait and work, sqlite:FILE or postgres://…; empty: a file beside the data on a disk",
    },
    Key {
        name: "workers",
        default: "2",
        about: "runs that a server works at at a time; 0: it leaves them to `colonnade worker`",
    },
    Key {
        name: "concurrent",
        default: "2",
        about: "runs that a `colonnade worker` works at at a time",
    },
    Key {
        name: "programs",
        default: "",
        about: "folder of programs that the job exec may run; empty: none",
    },
    Key {
        name: "programs_user",
        default: "",
        about: "user that these programs run as, a name or UID:GID; empty: the user of this process",
    },
    Key {
        name: "prices",
        default: "",
        about: "what an hour costs by device, such as cpu=0.04, NVIDIA H100=2.5",
    },
    Key {
        name: "job_limits",
        default: "",
        about: "runs of a job at work at a time, with all workers together, such as embedder_train=1",
    },
    Key {
        name: "weights",
        default: "",
        about: "parts of the work that a tenant has when others wait, too, such as acme=3; 1 when not named",
    },
    Key {
        name: "quotas",
        default: "",
        about: "most that runs of a tenant (* is each) take an hour, day or month, such as acme rows=1000000/day",
    },
    Key {
        name: "run_time",
        default: "",
        about: "how long a try of a run may take, such as 90s, 15m, 6h or 1d; empty: as long as it takes",
    },
    Key { name: "body_limit", default: "64MiB", about: "largest upload" },
    Key { name: "log", default: "", about: "what to log; empty: warn, for serve and worker info" },
    Key { name: "log_format", default: "text", about: "text or json" },
];

/// What the memory is for, in hundredths of it: together all of it.
const QUERIES_PERCENT: usize = 40;
const SEARCHES_PERCENT: usize = 15;
const ENTITIES_PERCENT: usize = 5;

/// The memory of one process, divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Of queries, all together, before they spill, and of the kernels in them.
    pub queries: usize,
    /// Of the runs at work, all together.
    pub runs: usize,
    /// Of the vectors that searches keep.
    pub searches: usize,
    /// Of feature views that are read by entity.
    pub entities: usize,
}

/// Names of the environment that object stores know, passed on to them.
const STORE_PREFIXES: &[&str] = &["AWS_", "AZURE_", "GOOGLE_"];

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A settings file.
    File(String),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => f.write_str(name),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The settings in force.
pub struct Settings {
    values: BTreeMap<&'static str, (String, Origin)>,
    storage: BTreeMap<String, (String, Origin)>,
    keys: Vec<(keys::KeySetting, Origin)>,
    grants: BTreeMap<String, (GrantSet, Origin)>,
    limits: BTreeMap<String, (String, Origin)>,
    auth: Option<(auth::Auth, Origin)>,
    documents: Option<(documents::Documents, Origin)>,
    server: Option<(server::Server, Origin)>,
}

/// A line of `colonnade config`.
#[derive(Debug, serde::Serialize)]
pub struct InForce {
    /// The setting.
    pub name: String,
    /// Its value; a secret is masked.
    pub value: String,
    /// Where it is from.
    pub origin: String,
    /// What it is for.
    pub about: String,
}

impl Settings {
    /// Reads the settings of this process.
    pub fn resolve(flags: &Global, environment: &Environment) -> Result<Self> {
        let mut settings = Self::layered(flags, &environment.all(), Path::new("colonnade.toml"))?;
        settings.add_password(&environment.sealed);
        Ok(settings)
    }

    fn layered(
        flags: &Global,
        environment: &[(String, String)],
        default_file: &Path,
    ) -> Result<Self> {
        let mut values: BTreeMap<&'static str, (String, Origin)> =
            KEYS.iter().map(|k| (k.name, (k.default.to_owned(), Origin::Default))).collect();
        let mut storage = BTreeMap::new();
        let (mut keys, mut grants, mut limits) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (mut auth, mut documents, mut server) = (None, None, None);

        if let Some(file) = file::read(flags.config.as_deref(), default_file)? {
            for (name, value) in file.values {
                let Some(key) = KEYS.iter().find(|k| k.name == name) else {
                    let known: Vec<_> = KEYS
                        .iter()
                        .map(|k| k.name)
                        .chain(["storage", "keys", "grants", "limits"])
                        .chain(["auth", "documents", "server"])
                        .collect();
                    return Err(bad(format!(
                        "{}: unknown setting {name:?}; expected one of {}",
                        file.name,
                        known.join(", ")
                    )));
                };
                values.insert(key.name, (value, Origin::File(file.name.clone())));
            }
            for (name, value) in file.storage {
                storage.insert(name.to_lowercase(), (value, Origin::File(file.name.clone())));
            }
            keys.extend(file.keys.into_iter().map(|k| (k, Origin::File(file.name.clone()))));
            let of_file = |(name, set)| (name, (set, Origin::File(file.name.clone())));
            grants.extend(file.grants.into_iter().map(of_file));
            let of_file = |(name, value)| (name, (value, Origin::File(file.name.clone())));
            limits.extend(file.limits.into_iter().map(of_file));
            auth = file.auth.map(|auth| (auth, Origin::File(file.name.clone())));
            documents = file.documents.map(|it| (it, Origin::File(file.name.clone())));
            server = file.server.map(|server| (server, Origin::File(file.name.clone())));
        }

        for (variable, value) in environment {
            if STORE_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
                storage.insert(
                    variable.to_lowercase(),
                    (value.clone(), Origin::Environment(variable.clone())),
                );
            } else if variable == "COLONNADE_API_KEY" {
                keys.push((
                    keys::KeySetting::from_secret(value)?,
                    Origin::Environment(variable.clone()),
                ));
            } else if let Some(name) = variable.strip_prefix("COLONNADE_LIMITS_") {
                let origin = Origin::Environment(variable.clone());
                limits.insert(name.to_lowercase(), (value.clone(), origin));
            } else if let Some(name) = variable.strip_prefix("COLONNADE_") {
                match KEYS.iter().find(|k| k.name.eq_ignore_ascii_case(name)) {
                    Some(key) => {
                        let origin = Origin::Environment(variable.clone());
                        values.insert(key.name, (value.clone(), origin));
                    }
                    None => refuse_misspelt(variable, name)?,
                }
            }
        }

        let given = [
            ("data", &flags.data),
            ("tenant", &flags.tenant),
            ("memory", &flags.memory),
            ("log", &flags.log),
            ("log_format", &flags.log_format),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                values.insert(name, (value.clone(), Origin::Flag(name)));
            }
        }
        Ok(Self { values, storage, keys, grants, limits, auth, documents, server })
    }

    /// Takes a flag that only some commands have.
    pub fn with_flag(&self, name: &'static str, value: Option<String>) -> Self {
        let mut values = self.values.clone();
        if let Some(value) = value {
            values.insert(name, (value, Origin::Flag(name)));
        }
        let (storage, keys) = (self.storage.clone(), self.keys.clone());
        let (grants, limits) = (self.grants.clone(), self.limits.clone());
        let (auth, documents) = (self.auth.clone(), self.documents.clone());
        let server = self.server.clone();
        Self { values, storage, keys, grants, limits, auth, documents, server }
    }

    /// Root of all data.
    pub fn data(&self) -> &str {
        self.text("data")
    }

    /// Options for the object store of the root. Those of the environment are left to the store, which knows
    /// best which of them concern it.
    pub fn storage_options(&self) -> BTreeMap<String, String> {
        self.storage
            .iter()
            .filter(|(_, (_, origin))| !matches!(origin, Origin::Environment(_)))
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect()
    }

    /// Who the command line acts as: the local user, in the tenant of the settings.
    pub fn principal(&self) -> Result<Principal> {
        let tenant = self.parsed::<TenantId>("tenant", "lower-case letters, digits and `-`")?;
        // Who has the files themselves is whom the system says.
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let local = Principal::local();
        let subject = user.filter(|user| !user.is_empty()).unwrap_or(local.subject);
        Ok(Principal { tenant, subject, ..Principal::local() })
    }

    /// Address to serve at; of a name's addresses one of IPv4 where it has one.
    pub fn listen(&self) -> Result<SocketAddr> {
        self.address("listen", "ADDRESS:PORT, such as 127.0.0.1:8642")
    }

    /// Address at which Flight SQL is spoken, if it is.
    pub fn flight(&self) -> Result<Option<SocketAddr>> {
        if self.text("flight").is_empty() {
            return Ok(None);
        }
        self.address("flight", "ADDRESS:PORT, such as 127.0.0.1:8815, or nothing").map(Some)
    }

    fn address(&self, key: &'static str, expected: &str) -> Result<SocketAddr> {
        let found = self.text(key).to_socket_addrs().map(Vec::from_iter).unwrap_or_default();
        let of_four = found.iter().find(|address| address.is_ipv4());
        of_four.or(found.first()).copied().ok_or_else(|| self.wrong(key, expected))
    }

    /// Where to compute.
    pub fn gpu(&self) -> Result<GpuPolicy> {
        self.parsed("gpu", "required, preferred or off")
    }

    /// Memory for queries and jobs.
    fn memory_bytes(&self) -> Result<usize> {
        self.addressable_bytes("memory")
    }

    /// The memory, divided: here alone.
    pub fn memory(&self) -> Result<Memory> {
        let all = self.memory_bytes()?;
        let [queries, searches, entities] = [QUERIES_PERCENT, SEARCHES_PERCENT, ENTITIES_PERCENT]
            .map(|percent| all / 100 * percent);
        Ok(Memory { queries, searches, entities, runs: all - queries - searches - entities })
    }

    /// Resident memory above which the process cancels its largest query: halfway between the setting and the memory of the
    /// machine or container.
    pub fn resident_bytes_max(&self) -> Result<u64> {
        let (set, most) = (self.memory_bytes()? as u64, size::machine_memory_bytes());
        Ok(set.min(most).midpoint(most) / 16 * 15)
    }

    /// Where queries spill.
    pub fn spill_dir(&self) -> Option<PathBuf> {
        Some(self.text("spill_dir")).filter(|t| !t.is_empty()).map(Into::into)
    }

    /// Most that the exports of one tenant may take.
    pub fn exports_bytes(&self) -> Result<u64> {
        self.bytes("exports_limit")
    }

    /// Most that queries may spill.
    pub fn spill_bytes(&self) -> Result<u64> {
        self.bytes("spill_limit")
    }

    /// The folder of models that were pulled.
    pub fn models(&self) -> Result<PathBuf> {
        let folder = self.text("models");
        if !folder.is_empty() {
            return Ok(folder.into());
        }
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")));
        cache.map(|cache| cache.join("colonnade/models")).ok_or_else(|| {
            bad("setting models: neither XDG_CACHE_HOME nor HOME is set; expected a folder".into())
        })
    }

    /// The database of control state.
    pub fn control(&self) -> Option<String> {
        Some(self.text("control")).filter(|url| !url.is_empty()).map(str::to_owned)
    }

    /// Adds the password of `PGPASSWORD` to the URL of the control database, because the library cannot find the removed
    /// variable in the environment any more.
    fn add_password(&mut self, sealed: &BTreeMap<String, String>) {
        let Some(password) = sealed.get("PGPASSWORD") else { return };
        let Some((url, _)) = self.values.get_mut("control") else { return };
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if is_postgres && without_password(url) == *url {
            let mark = if url.contains('?') { '&' } else { '?' };
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
            url.push_str(&format!("{mark}password={encoded}"));
        }
    }

    /// The folder of programs that may run.
    pub fn programs(&self) -> Option<PathBuf> {
        Some(self.text("programs")).filter(|folder| !folder.is_empty()).map(PathBuf::from)
    }

    /// What to log; `default` where the settings leave it to the command.
    pub fn log_filter<'a>(&'a self, default: &'a str) -> &'a str {
        Some(self.text("log")).filter(|filter| !filter.is_empty()).unwrap_or(default)
    }

    /// How log lines look.
    pub fn log_format(&self) -> Result<LogFormat> {
        match self.text("log_format") {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(self.wrong("log_format", "text or json")),
        }
    }

    /// Fails where a command or a server would.
    pub fn check(&self) -> Result<()> {
        self.principal()?;
        self.gpu()?;
        self.memory_bytes()?;
        self.spill_bytes()?;
        self.exports_bytes()?;
        self.models()?;
        self.limits()?;
        self.workers()?;
        self.concurrent()?;
        self.prices()?;
        self.quotas()?;
        self.job_limits()?;
        self.run_time()?;
        self.programs_user()?;
        self.weights()?;
        self.log_format()?;
        self.listen()?;
        self.flight()?;
        self.jwt()?;
        self.documents()?;
        self.oidc()?;
        self.tls()?;
        self.cors()?;
        self.certificates()?;
        self.api_keys().map(drop)
    }

    /// Fails where others than this machine could come to a server that has no key of the settings.
    pub fn require_keys(&self) -> Result<()> {
        let is_open = self.api_keys()?.is_empty()
            && self.jwt()?.is_none()
            && self.oidc()?.is_none()
            && self.certificates()?.is_empty();
        match is_open {
            true => {
                let addresses = [Some(self.listen()?), self.flight()?];
                addresses.into_iter().flatten().try_for_each(graphql::require_loopback)
            }
            false => Ok(()),
        }
    }

    /// Everything in force, for `colonnade config`.
    pub fn in_force(&self) -> Vec<InForce> {
        let mut lines: Vec<InForce> = KEYS
            .iter()
            .filter_map(|key| {
                let (value, origin) = self.values.get(key.name)?;
                Some(InForce {
                    name: key.name.to_owned(),
                    value: without_password(value),
                    origin: origin.to_string(),
                    about: key.about.to_owned(),
                })
            })
            .collect();
        if let (Ok(memory), Some(at)) =
            (self.memory(), lines.iter().position(|l| l.name == "memory"))
        {
            let parts = [
                ("memory.queries", memory.queries, "of it: queries and the kernels in them"),
                ("memory.runs", memory.runs, "of it: runs at work, shared by what each needs"),
                ("memory.searches", memory.searches, "of it: vectors that searches keep"),
                (
                    "memory.entities",
                    memory.entities,
                    "of it: feature views that are read by entity",
                ),
            ];
            let parts = parts.map(|(name, bytes, about)| InForce {
                name: name.to_owned(),
                value: size(bytes as u64),
                origin: "memory".to_owned(),
                about: about.to_owned(),
            });
            lines.splice(at + 1..at + 1, parts);
        }
        lines.extend(self.storage.iter().map(|(name, (value, origin))| InForce {
            name: format!("storage.{name}"),
            value: if is_secret(name) { "***".to_owned() } else { value.clone() },
            origin: origin.to_string(),
            about: "object store option".to_owned(),
        }));
        lines.extend(self.limits_in_force());
        lines.extend(self.keys_in_force());
        lines.extend(self.auth_in_force());
        lines.extend(self.documents_in_force());
        lines.extend(self.server_in_force());
        lines
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |(text, _)| text)
    }

    fn addressable_bytes(&self, name: &'static str) -> Result<usize> {
        usize::try_from(self.bytes(name)?)
            .map_err(|_| self.wrong(name, "a size that this machine can address"))
    }

    fn bytes(&self, name: &'static str) -> Result<u64> {
        size::parse(self.text(name))
            .ok_or_else(|| self.wrong(name, "bytes, a size such as 4GiB, or a share such as 50%"))
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str, expected: &str) -> Result<T> {
        self.text(name).parse().map_err(|_| self.wrong(name, expected))
    }

    fn wrong(&self, name: &'static str, expected: &str) -> Error {
        let origin = self.values.get(name).map_or(&Origin::Default, |(_, origin)| origin);
        bad(format!("setting {name} = {:?} (from {origin}): expected {expected}", self.text(name)))
    }
}

/// Fails for a variable that is all but the name of a setting. Others are of no concern: what is told of tests and tools begins
/// alike.
/// A value without the password that it has as a URL: before the host, or in its query.
fn without_password(value: &str) -> String {
    let parts = value.split_once("://").and_then(|(scheme, rest)| {
        let (user, host) = rest.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***@{host}"))
    });
    let shown = parts.unwrap_or_else(|| value.to_owned());
    match shown.to_ascii_lowercase().find("password=") {
        // What follows may hold parts of it, however it is quoted.
        Some(at) => format!("{}***", &shown[..at + "password=".len()]),
        None => shown,
    }
}

fn refuse_misspelt(variable: &str, name: &str) -> Result<()> {
    let lower = name.to_lowercase();
    if lower.starts_with("limit") {
        return Err(bad(format!(
            "{variable} (from the environment): there is no such setting; expected COLONNADE_LIMITS_ and the name of a limit"
        )));
    }
    let alike = KEYS.iter().map(|key| key.name).filter(|key| key.len().abs_diff(lower.len()) <= 2);
    match near_names(&lower, alike).first() {
        None => Ok(()),
        Some(key) => Err(bad(format!(
            "{variable} (from the environment): there is no such setting; did you mean COLONNADE_{}?",
            key.to_uppercase()
        ))),
    }
}

fn bad(message: String) -> Error {
    Error::user(Code::BadInput, message)
}

fn is_secret(option: &str) -> bool {
    ["key", "secret", "token", "password", "sas", "credential", "account_json"]
        .iter()
        .any(|word| option.contains(word))
}

#[cfg(test)]
mod tests;
