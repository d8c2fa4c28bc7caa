//! Arguments of what is about keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engine::Role;

#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    pub command: KeysCommand,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key of the tenant, and print it: this once, since only its SHA-256 is kept
    ///
    /// From the first key on, servers of this root let nobody in without one, the local user included. The key goes to standard
    /// output, and what is said of it to standard error.
    #[command(after_help = "Examples:\n  \
        colonnade keys create dashboards --role viewer --expires 90d\n  \
        colonnade keys create 'ingest of the shop' --role writer\n  \
        colonnade keys create 'support in Europe' --role viewer --grants support --claim team=eu")]
    Create(CreateKey),
    /// List the keys of the tenant, newest first, without their secrets
    List,
    /// End a key, within a second on every server and for good; what goes on with it is closed
    Revoke(RevokeKey),
    /// Accept that the control database of this root was lost, with its keys and the end of its audit chain
    ///
    /// Until then, servers refuse to start on this root. Afterwards, a root without keys is open to the local user.
    AcceptLoss,
}

#[derive(Debug, Args)]
pub struct CreateKey {
    /// Who is to have it, for logs, records and versions
    pub subject: String,
    /// What its holder may do: viewer (or reader), analyst (or writer), operator or admin; each includes those before it
    #[arg(long = "role", value_name = "ROLE", required = true)]
    pub roles: Vec<Role>,
    /// What its holder sees: grants of this name as the settings have them now; all of the tenant without
    #[arg(long, value_name = "NAME", conflicts_with = "grants_file")]
    pub grants: Option<String>,
    /// The same from a file of JSON, like {"datasets": {"tickets": {"rows": "team = claim.team"}}}
    #[arg(long, value_name = "FILE")]
    pub grants_file: Option<PathBuf>,
    /// What grants may say `claim.NAME` of: a text, a whole number, true or false, or a list of texts as JSON
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// When it ends: a time from now on such as 12h or 90d, or an instant such as 2027-01-01T00:00:00Z; never without
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
}

#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: AuditCommand,
    /// Print as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with what was done.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Go along the chain of all acts, and name the first that is missing, changed or elsewhere
    Verify(VerifyAudit),
}

#[derive(Debug, Args)]
pub struct VerifyAudit {
    /// A row as it was noted before, elsewhere: its number and hash, as an earlier `verify` printed them
    #[arg(long, value_name = "NUMBER:HASH")]
    pub expect: Option<String>,
}

#[derive(Debug, Args)]
pub struct RevokeKey {
    /// The letters behind `col_`, as `keys list` shows them
    pub prefix: String,
}
