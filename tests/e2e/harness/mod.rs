//! What every test here stands on: the binary, a served instance, a subscriber, rows, and the folder of
//! real data.

mod binary;
mod faults;
mod postgres;
mod rows;
mod seed;
mod server;
mod shared;
mod subscriber;
mod worker;

pub use binary::{Outcome, binary, colonnade, colonnade_with, without_settings};
pub use faults::FaultyStore;
pub use postgres::Postgres;
pub use rows::{model_calls, model_calls_arrow, ndjson};
pub use seed::random;
pub use server::{Answer, Server, make};
pub use shared::shared_data;
pub use subscriber::{Change, Subscriber};
pub use worker::Worker;

use std::time::Duration;

/// How long anything may take before a test calls it hung. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);
