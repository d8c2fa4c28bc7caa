//! What one request may ask for.
//!
//! Every bound stands here with its default, so that an operator can see them in one place; an error
//! that a bound causes has the code LIMIT_EXCEEDED and names the bound and what was found.

use std::time::Duration;

/// The bounds of requests. `Default` is what a server without configuration has.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a GraphQL request (text and variables).
    pub request_bytes_max: usize,
    /// Bytes of an ingest body as sent.
    pub ingest_bytes_max: usize,
    /// Bytes of an ingest body once unpacked.
    pub ingest_unpacked_bytes_max: usize,
    /// Bytes of ingest bodies held at once; further uploads wait.
    pub ingest_in_flight_bytes_max: usize,
    /// Tokens of a GraphQL document.
    pub document_tokens_max: usize,
    /// Nesting of brackets in a GraphQL document, before it is parsed.
    pub document_nesting_max: usize,
    /// Fields below fields.
    pub depth_max: usize,
    /// Fields at the root, aliases counted one by one.
    pub root_fields_max: usize,
    /// Cost of an operation; see `extensions.cost` of an answer.
    pub cost_max: u64,
    /// Rows of one page, whatever `first` says.
    pub page_rows_max: usize,
    /// Rows of one page when `first` is absent.
    pub page_rows_default: usize,
    /// Bytes of the rows of one page, as held in memory.
    pub page_bytes_max: usize,
    /// Conditions in one `where`, values of `in` lists counted one by one.
    pub where_terms_max: usize,
    /// `and`, `or` and `not` inside each other.
    pub where_nesting_max: usize,
    /// Queries that run at a time, of all clients; others wait, within the time of an operation.
    pub queries_at_a_time_max: usize,
    /// Time for one operation; for one message of a subscription.
    pub operation_time_max: Duration,
    /// Longest that `runJob(wait: true)` waits before it answers with the run as it is.
    pub run_wait_max: Duration,
    /// Versions that a subscription gives one by one; what lies further back comes as one change.
    pub versions_behind_max: u64,
    /// Subscriptions of the whole server.
    pub subscriptions_max: usize,
    /// Operations at a time on one WebSocket.
    pub socket_operations_max: usize,
    /// Results of subscriptions kept for other subscribers of the same.
    pub shared_results_max: usize,
    /// Tenants whose schemas are kept.
    pub schemas_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 1 << 20,
            ingest_bytes_max: 64 << 20,
            ingest_unpacked_bytes_max: 256 << 20,
            ingest_in_flight_bytes_max: 256 << 20,
            document_tokens_max: 10_000,
            document_nesting_max: 64,
            depth_max: 16,
            root_fields_max: 20,
            cost_max: 250_000,
            page_rows_max: 1_000,
            page_rows_default: 100,
            page_bytes_max: 64 << 20,
            where_terms_max: 2_000,
            where_nesting_max: 16,
            queries_at_a_time_max: 64,
            operation_time_max: Duration::from_secs(30),
            run_wait_max: Duration::from_secs(600),
            versions_behind_max: 100,
            subscriptions_max: 10_000,
            socket_operations_max: 100,
            shared_results_max: 256,
            schemas_max: 64,
        }
    }
}
