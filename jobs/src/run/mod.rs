//! One execution of a job: what it is given, what is recorded of it, and the runner that sees it to its end.

mod checkpoints;
pub(crate) mod clock;
pub(crate) mod commits;
pub(crate) mod content;
pub(crate) mod context;
mod cpu;
pub(crate) mod document;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod lineage;
pub(crate) mod logs;
mod memory;
pub(crate) mod notices;
pub(crate) mod quotas;
pub(crate) mod record;
pub(crate) mod records;
pub(crate) mod runner;
pub(crate) mod stage;
pub(crate) mod stages;
