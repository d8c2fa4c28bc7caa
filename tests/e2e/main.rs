//! The product as its users meet it: the built binary, its command line, HTTP, GraphQL and
//! subscriptions, on real files and under faults. No crate of the workspace is linked, so what passes
//! here holds for any client.
//!
//! Every test makes its own root and its own processes and takes both away again. What is slow by
//! nature runs small here; the Makefile's `test-…` targets run it long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "what a test measured is shown with --nocapture")]

mod attacks;
mod audience;
mod bad_input;
mod beside;
mod compaction;
mod corrupted;
mod crowd;
mod demo;
mod doors;
mod examples;
mod harness;
mod interrupted;
mod keys;
mod killed;
mod limits_of_the_machine;
mod made;
mod messy;
mod mixture;
mod neighbours;
mod oracles;
mod own_datasets;
mod pipelines;
mod rate;
mod real_data;
mod secrets;
mod several;
mod sql;
mod subscriptions;
mod told;
