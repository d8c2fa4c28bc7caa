//! What one request may ask for.
//!
//! The bounds that a program may set, with their defaults; the others stand beside what they bound, and `SECURITY.md` lists all. An
//! error that names a bound has the code LIMIT_EXCEEDED: with `retryAfter`, and the status 429, where too many ask or ask too often.

use std::time::Duration;

use engine::Result;

use crate::error::bad_input;

/// A bound as it is set and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitValue {
    /// So many.
    Count(u64),
    /// So many bytes.
    Bytes(u64),
    /// So long.
    Time(Duration),
    /// Whether.
    Switch(bool),
}

/// A bound that can be set.
pub struct LimitSetting {
    /// Its name.
    pub name: &'static str,
    /// What it bounds.
    pub about: &'static str,
    /// Reads it.
    pub get: fn(&Limits) -> LimitValue,
    set: fn(&mut Limits, LimitValue) -> Option<()>,
}

impl LimitSetting {
    /// Sets it. BAD_INPUT for a value of another kind, for nothing at all, and for more than this machine can address.
    pub fn set(&self, limits: &mut Limits, value: LimitValue) -> Result<()> {
        let is_none = match value {
            LimitValue::Count(count) | LimitValue::Bytes(count) => count == 0,
            LimitValue::Time(time) => time.is_zero(),
            LimitValue::Switch(_) => false,
        };
        let set = if is_none { None } else { (self.set)(limits, value) };
        set.ok_or_else(|| {
            bad_input(format!(
                "{}: expected more than nothing, and no more than this machine can address",
                self.name
            ))
        })
    }
}

/// A type of bounds: its field, and how that is shown and set.
macro_rules! kind {
    (Count type) => {
        usize
    };
    (Bytes type) => {
        usize
    };
    (Number type) => {
        u64
    };
    (Time type) => {
        Duration
    };
    (Switch type) => {
        bool
    };
    (Count of $field:expr) => {
        LimitValue::Count($field as u64)
    };
    (Bytes of $field:expr) => {
        LimitValue::Bytes($field as u64)
    };
    (Number of $field:expr) => {
        LimitValue::Count($field)
    };
    (Time of $field:expr) => {
        LimitValue::Time($field)
    };
    (Switch of $field:expr) => {
        LimitValue::Switch($field)
    };
    (Count from $value:expr) => {
        match $value {
            LimitValue::Count(count) => usize::try_from(count).ok(),
            _ => None,
        }
    };
    (Bytes from $value:expr) => {
        match $value {
            LimitValue::Bytes(bytes) => usize::try_from(bytes).ok(),
            _ => None,
        }
    };
    (Number from $value:expr) => {
        match $value {
            LimitValue::Count(count) => Some(count),
            _ => None,
        }
    };
    (Time from $value:expr) => {
        match $value {
            LimitValue::Time(time) => Some(time),
            _ => None,
        }
    };
    (Switch from $value:expr) => {
        match $value {
            LimitValue::Switch(switch) => Some(switch),
            _ => None,
        }
    };
}

macro_rules! limits {
    ($($(#[doc = $about:literal])+ $name:ident: $kind:ident = $default:expr,)+) => {
        /// The bounds of requests. `Default` is what a server without configuration has.
        #[derive(Clone, Debug)]
        pub struct Limits {
            $($(#[doc = $about])+ pub $name: kind!($kind type),)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// Each of them, to be set and shown.
            pub const SETTINGS: &[LimitSetting] = &[
                $(LimitSetting {
                    name: stringify!($name),
                    about: concat!($($about),+),
                    get: |limits| kind!($kind of limits.$name),
                    set: |limits, value| {
                        limits.$name = kind!($kind from value)?;
                        Some(())
                    },
                },)+
            ];
        }
    };
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

limits! {
    /// Connections at a time. Where they are all taken, one that only waits makes room for a newcomer.
    connections_max: Count = 16_384,
    /// Requests a minute of one subject: queries, mutations, subscriptions and ingest bodies, over HTTP and on WebSockets.
    subject_requests_a_minute_max: Number = 60_000,
    /// The same of all of one tenant.
    tenant_requests_a_minute_max: Number = 120_000,
    /// Bytes of a GraphQL request (text and variables).
    request_bytes_max: Bytes = 1 << 20,
    /// Bytes of an ingest body as sent.
    ingest_bytes_max: Bytes = 64 << 20,
    /// Bytes of an ingest body once unpacked.
    ingest_unpacked_bytes_max: Bytes = 256 << 20,
    /// Bytes of ingest bodies held at once; further uploads wait.
    ingest_in_flight_bytes_max: Bytes = 256 << 20,
    /// Tokens of a GraphQL document.
    document_tokens_max: Count = 10_000,
    /// Nesting of brackets in a GraphQL document, before it is parsed.
    document_nesting_max: Count = 64,
    /// Fields below fields.
    depth_max: Count = 16,
    /// Fields at the root, aliases counted one by one.
    root_fields_max: Count = 20,
    /// Cost of an operation; see `extensions.cost` of an answer.
    cost_max: Number = 250_000,
    /// Rows of one page, whatever `first` says.
    page_rows_max: Count = 1_000,
    /// Rows of one page when `first` is absent.
    page_rows_default: Count = 100,
    /// Bytes of the rows of one page, as held in memory.
    page_bytes_max: Bytes = 64 << 20,
    /// Rows of one page that is streamed as CSV, lines of JSON or Arrow, whatever `first` says.
    stream_rows_max: Count = 1_000_000,
    /// Bytes of one such page, as it is sent. One that has more is broken off.
    stream_bytes_max: Bytes = 1 << 30,
    /// Bytes of the rows of one query in Flight SQL, as they lie in memory. One that has more is broken off.
    flight_bytes_max: Bytes = 64 << 30,
    /// Time for one such page, until its client has the last of it.
    stream_time_max: Time = Duration::from_secs(600),
    /// Such pages at a time, of all clients, half of them of one tenant, half of these of one subject; others wait, within the time of an
    /// operation.
    streams_at_a_time_max: Count = (4 * cores()).max(16),
    /// Bytes of one answer: every field, item and error, each counted as often as it is shown.
    answer_bytes_max: Bytes = 32 << 20,
    /// Bytes of all answers that are made or not taken yet, half of them of one tenant, half of these of one subject; further queries wait.
    answers_in_flight_bytes_max: Bytes = (32 << 20) * (2 * cores()).max(16),
    /// Conditions in one `where`, values of `in` lists counted one by one.
    where_terms_max: Count = 2_000,
    /// Terms of one `orderBy`, `groupBy` or `having`.
    order_terms_max: Count = 200,
    /// `and`, `or` and `not` inside each other.
    where_nesting_max: Count = 16,
    /// Queries that run at a time, of all clients, half of them of one tenant; others wait, within the time of an operation.
    /// More than there are cores take turns on them, and one tenant's many would slow another's few.
    queries_at_a_time_max: Count = 2 * cores(),
    /// Queries of one tenant that wait for that; one more is refused. Of small requests on WebSockets and event streams as many as there may
    /// be subscriptions.
    queries_waiting_max: Count = 256,
    /// Time for one operation; for one message of a subscription.
    operation_time_max: Time = Duration::from_secs(30),
    /// Longest that `runJob(wait: true)` waits before it answers with the run as it is.
    run_wait_max: Time = Duration::from_secs(600),
    /// Versions that a subscription gives one by one; what lies further back comes as one change.
    versions_behind_max: Number = 100,
    /// Subscriptions of the whole server.
    subscriptions_max: Count = 10_000,
    /// Operations at a time on one WebSocket.
    socket_operations_max: Count = 100,
    /// Results of subscriptions kept for other subscribers of the same.
    shared_results_max: Count = 256,
    /// Whether answers to queries are kept for who asks the same of the same versions.
    keep_answers: Switch = true,
    /// Bytes of answers that are kept for that.
    kept_answers_bytes_max: Bytes = 64 << 20,
    /// Tenants whose schemas are kept.
    schemas_max: Count = 64,
    /// Whether the schema can be asked for (`__schema`, `__type`).
    introspection: Switch = true,
    /// Whether an error about an unknown field names those that are spelt alike.
    suggestions: Switch = true,
}

impl Limits {
    /// The same, for what is answered in rows: a page may be as long as one that is streamed.
    pub(crate) fn of_rows(&self) -> Self {
        let rows = self.stream_rows_max;
        Self { page_rows_max: rows, page_rows_default: rows, ..self.clone() }
    }

    /// Fails where one bound makes no sense beside another, or what is walked by recursion could be deeper than threads have room for.
    pub fn check(&self) -> Result<()> {
        let default = Self::default();
        for (name, value, most) in [
            ("document_nesting_max", self.document_nesting_max, default.document_nesting_max),
            ("where_nesting_max", self.where_nesting_max, default.where_nesting_max),
            ("depth_max", self.depth_max, default.document_nesting_max),
        ] {
            if value > most {
                return Err(bad_input(format!("{name}: expected at most {most}, found {value}")));
            }
        }
        for (name, value, most_name, most) in [
            ("page_rows_default", self.page_rows_default, "page_rows_max", self.page_rows_max),
            ("page_rows_default", self.page_rows_default, "stream_rows_max", self.stream_rows_max),
            (
                "request_bytes_max",
                self.request_bytes_max,
                "ingest_in_flight_bytes_max",
                self.ingest_in_flight_bytes_max,
            ),
            (
                "ingest_bytes_max",
                self.ingest_bytes_max,
                "ingest_in_flight_bytes_max",
                self.ingest_in_flight_bytes_max,
            ),
            (
                "answer_bytes_max",
                self.answer_bytes_max,
                "answers_in_flight_bytes_max",
                self.answers_in_flight_bytes_max,
            ),
        ] {
            if value > most {
                return Err(bad_input(format!(
                    "{name}: expected at most {most_name}, which is {most}; found {value}"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_can_be_set_to_what_it_is_and_to_nothing_less() {
        let mut limits = Limits::default();
        limits.check().unwrap();
        for setting in Limits::SETTINGS {
            let value = (setting.get)(&limits);
            setting.set(&mut limits, value).unwrap();
            assert_eq!((setting.get)(&limits), value, "{}", setting.name);
            let nothing = match value {
                LimitValue::Count(_) => LimitValue::Count(0),
                LimitValue::Bytes(_) => LimitValue::Bytes(0),
                LimitValue::Time(_) => LimitValue::Time(Duration::ZERO),
                LimitValue::Switch(_) => LimitValue::Count(1),
            };
            let error = setting.set(&mut limits, nothing).unwrap_err().to_string();
            assert!(error.starts_with(setting.name), "{error}");
        }
        let limits = Limits { page_rows_default: 5_000, ..Limits::default() };
        assert!(limits.check().unwrap_err().to_string().contains("page_rows_max, which is 1000"));
    }
}
