//! The environment of this process without its secrets.
//!
//! Linux shows the environment with which a process was started in `/proc/PID/environ`. Every process of the same user can read
//! it, including the programs of the job `exec`. Removing a variable later does not change that file. So a process that finds
//! secrets in its environment starts itself again without them, before it has threads, and passes them through a pipe:
//!
//! ```text
//!  colonnade (secrets in environ) ──pipe──▶ exec ──▶ colonnade (same process id, environ without secrets)
//! ```
//!
//! The process also marks itself as not dumpable, so that other processes of the same user cannot attach to it or read its
//! memory.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Parts of the names of variables that hold secrets.
const SECRET_WORDS: [&str; 8] =
    ["KEY", "SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "SAS"];
/// The same, of variables that hold secrets whatever the ends of their names are.
const ALWAYS_SECRET: [&str; 3] = ["WEBHOOK", "CONNECTION_STRING", "OTLP_HEADERS"];
/// The last part of a name such as `SMTP_PASS`.
const PASS: &str = "PASS";
/// Parameters of URLs that hold secrets; `sig` is the signature of a link to Azure.
const SECRET_PARAMETERS: [&str; 5] = ["password=", "sig=", "token=", "secret=", "key="];
/// Ends of the names of variables that say where a secret is, and are none.
const PLACES: [&str; 4] = ["_FILE", "_PATH", "_URI", "_URL"];
/// Variables that libraries read directly, so they stay in the environment.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
/// Variables that say where a key is, or hold the key itself. The library that connects to PostgreSQL reads them.
const KEY_FILES: [&str; 1] = ["PGSSLKEY"];
/// How a private key begins, after its kind.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";
/// Variables of ours that may hold a password.
const OWN: [&str; 1] = ["COLONNADE_CONTROL"];

/// The variables of this process, including secrets.
pub struct Environment {
    /// Secrets that `/proc/PID/environ` does not show.
    pub sealed: BTreeMap<String, String>,
}

impl Environment {
    /// All variables whose names and values are UTF-8.
    pub fn all(&self) -> Vec<(String, String)> {
        let shown = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let sealed = self.sealed.iter().map(|(name, value)| (name.clone(), value.clone()));
        shown.chain(sealed).collect()
    }
}

/// Whether a variable holds a secret.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_uppercase();
    if PROXIES.contains(&name.as_str()) {
        return false;
    }
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if OWN.contains(&name.as_str()) || has(&ALWAYS_SECRET) || has_password(value) {
        return true;
    }
    if name.rsplit('_').next() == Some(PASS) || value.contains(PRIVATE_KEY) {
        return true;
    }
    if KEY_FILES.contains(&name.as_str()) {
        return false;
    }
    let is_place = PLACES.iter().any(|end| name.ends_with(end));
    !is_place && has(&SECRET_WORDS)
}

/// Whether a value is a URL with a password, or with another secret among its parameters.
fn has_password(value: &str) -> bool {
    // A password may contain a slash, although URLs forbid it.
    let rest = value.split_once("://").map(|(_, rest)| rest);
    let user = rest.and_then(|rest| rest.rsplit_once('@')).map(|(user, _)| user);
    let query = rest.and_then(|rest| rest.split_once('?')).map(|(_, query)| query.to_lowercase());
    let is_in_query =
        query.is_some_and(|query| SECRET_PARAMETERS.iter().any(|name| query.contains(name)));
    is_in_query || user.is_some_and(|user| user.contains(':'))
}

/// The secret variables, and all others.
type Parted = (BTreeMap<String, String>, Vec<(OsString, OsString)>);

fn part(variables: impl Iterator<Item = (OsString, OsString)>) -> Parted {
    let (mut secret, mut others) = (BTreeMap::new(), Vec::new());
    for (name, value) in variables {
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(text)) if is_secret(name, text) => {
                secret.insert(name.to_owned(), text.to_owned());
            }
            _ => others.push((name, value)),
        }
    }
    (secret, others)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use engine::{Code, Error, Result};
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    use super::{BTreeMap, Environment, part};

    /// The variable that states the file descriptor of the secrets.
    const DESCRIPTOR: &str = "COLONNADE_SEALED_ENVIRONMENT";
    /// Most bytes of the secrets: a pipe holds as many before it is read.
    const BYTES_MAX: usize = 48 << 10;

    impl Environment {
        /// Takes the secrets out of the environment of this process. Must be called before other threads exist.
        pub fn seal() -> Result<Self> {
            let sealed = match std::env::var(DESCRIPTOR) {
                Ok(descriptor) => received(&descriptor)?,
                Err(_) => {
                    start_again()?;
                    BTreeMap::new()
                }
            };
            // Some containers forbid this call. The environment is clean in any case.
            let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
            Ok(Self { sealed })
        }
    }

    /// Starts this process again if its environment has secrets; otherwise returns.
    fn start_again() -> Result<()> {
        let failed = |what: &'static str| move |e| Error::environment(Code::Internal, what, e);
        let (secrets, others) = part(std::env::vars_os());
        if secrets.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(&secrets)
            .map_err(|e| Error::internal(format!("secrets of the environment as JSON: {e}")))?;
        if text.len() > BYTES_MAX {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "environment: the variables that hold secrets ({}) have {} bytes together; expected at most {BYTES_MAX}: put long ones into files",
                    secrets.keys().cloned().collect::<Vec<_>>().join(", "),
                    text.len()
                ),
            ));
        }
        let (reader, mut writer) = std::io::pipe().map_err(failed("make a pipe"))?;
        writer.write_all(&text).map_err(failed("write to a pipe"))?;
        // Only this duplicate of the pipe is inherited by the new program.
        let inherited = rustix::io::dup(&reader)
            .map_err(|e| Error::environment(Code::Internal, "keep a pipe open", e))?;
        let program = std::env::current_exe().ok().filter(|path| path.exists());
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()));
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        let error = command
            .args(arguments)
            .env_clear()
            .envs(others)
            .env(DESCRIPTOR, inherited.as_raw_fd().to_string())
            .exec();
        Err(Error::environment(
            Code::Internal,
            "start again without the secrets of the environment",
            error,
        ))
    }

    /// The secrets passed by the earlier incarnation of the process. They can only be read once.
    fn received(descriptor: &str) -> Result<BTreeMap<String, String>> {
        let wrong = || {
            Error::user(
                Code::BadInput,
                format!(
                    "{DESCRIPTOR} = {descriptor:?}: Colonnade itself sets this variable; unset it"
                ),
            )
        };
        let number: u32 = descriptor.parse().map_err(|_| wrong())?;
        let mut text = Vec::new();
        let opened = File::open(format!("/proc/self/fd/{number}")).map_err(|_| wrong())?;
        let most = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
        opened.take(most).read_to_end(&mut text).map_err(|_| wrong())?;
        serde_json::from_slice(&text).map_err(|_| wrong())
    }
}

#[cfg(not(target_os = "linux"))]
impl Environment {
    /// On other systems, no file shows the environment to other processes.
    pub fn seal() -> engine::Result<Self> {
        Ok(Self { sealed: BTreeMap::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names_and_by_passwords_in_urls() {
        for (name, value) in [
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_SESSION_TOKEN", "x"),
            ("AZURE_STORAGE_SAS_TOKEN", "x"),
            ("PGPASSWORD", "x"),
            ("COLONNADE_API_KEY", "x"),
            ("COLONNADE_CONTROL", "postgres://db/colonnade"),
            ("my_secret", "x"),
            ("DATABASE_URL", "postgres://user:word@db/x"),
            ("BROKER", "amqp://user:a/b@host"),
            ("OTHER", "postgres://db/x?user=u&password=w"),
            ("SMTP_PASS", "x"),
            ("PGSSLKEY", "-----BEGIN RSA PRIVATE KEY-----\nx"),
            ("SIGNER", "-----BEGIN PRIVATE KEY-----\nx"),
            ("SSH_KEY_PASSPHRASE", "x"),
            ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=x"),
            ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer x"),
            ("BACKUP_URL", "https://account.blob.core.windows.net/c?sv=1&sig=x"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("PATH", "/bin"),
            ("COLONNADE_DATA", "s3://bucket/path"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
            ("https_proxy", "http://user:word@proxy:3128"),
            ("HOME", "/a@b:c"),
            ("COMPASS", "north"),
            ("PGSSLKEY", "/etc/colonnade/client.key"),
            ("DOCS_URL", "https://example.com/a?page=2"),
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
        let variables = [("A", "1"), ("B_TOKEN", "2")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let (secret, others) = part(variables.into_iter());
        assert_eq!(secret, BTreeMap::from([("B_TOKEN".to_owned(), "2".to_owned())]));
        assert_eq!(others, [("A".into(), "1".into())]);
    }
}
