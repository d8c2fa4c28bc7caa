//! What one request may ask for.
//!
//! The bounds that a program may set, with their defaults; the others stand beside what they bound, and `SECURITY.md` lists all. An
//! error that names a bound has the code LIMIT_EXCEEDED where too much was asked for, and RESOURCES_EXHAUSTED where too many ask.

use std::time::Duration;

/// The bounds of requests. `Default` is what a server without configuration has.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time. Where they are all taken, one that only waits makes room for a newcomer.
    pub connections_max: usize,
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
    /// Bytes of one answer: every field, item and error, each counted as often as it is shown.
    pub answer_bytes_max: usize,
    /// Bytes of all answers that are made or not taken yet, half of them of one tenant; further queries wait.
    pub answers_in_flight_bytes_max: usize,
    /// Conditions in one `where`, values of `in` lists counted one by one.
    pub where_terms_max: usize,
    /// `and`, `or` and `not` inside each other.
    pub where_nesting_max: usize,
    /// Queries that run at a time, of all clients, half of them of one tenant; others wait, within the time of an operation.
    /// More than there are cores take turns on them, and one tenant's many would slow another's few.
    pub queries_at_a_time_max: usize,
    /// Queries of one tenant that wait for that; one more is refused.
    pub queries_waiting_max: usize,
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
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let answer_bytes_max = 32 << 20;
        Self {
            connections_max: 16_384,
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
            answer_bytes_max,
            answers_in_flight_bytes_max: answer_bytes_max * (2 * cores).max(16),
            where_terms_max: 2_000,
            where_nesting_max: 16,
            queries_at_a_time_max: 2 * cores,
            queries_waiting_max: 256,
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
