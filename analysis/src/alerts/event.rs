//! What happens to an alert. The id of an event depends only on its cause, never on the run's clock: two runs that start from
//! the same state give an event the same id.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::group::Group;
use super::rule::Severity;

/// What happened.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The condition holds, and not yet for long enough.
    Pending,
    /// The alert fires.
    Firing,
    /// It is over.
    Resolved,
    /// It matters more than before, or as a changed rule says.
    Severity,
    /// Somebody has it.
    Acknowledged,
    /// A silence keeps it quiet from now on.
    Silenced,
    /// None does any more.
    Unsilenced,
    /// It still fires.
    Reminder,
}

/// A row of the dataset `alert_events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The rule's name.
    pub rule: String,
    /// Which of its alerts.
    pub group: Group,
    /// What happened.
    pub what: What,
    /// The instant that caused it, in microseconds: of a row, of when it had lasted long enough, of what a person did.
    pub at_us: i64,
    /// When it could be known, in microseconds: with which commit, or when by the clock.
    pub known_us: i64,
    /// The version of the row on which it rests; none where nothing was read yet.
    pub version: Option<u64>,
    /// The version with which it came; none where time or a person brought it.
    pub commit: Option<u64>,
    /// How much the alert matters then.
    pub severity: Severity,
    /// Since when the condition holds.
    pub since_us: i64,
    /// The number of the newest row on which it held.
    pub value: Option<f64>,
    /// What is told.
    pub summary: String,
    /// The silence because of which it is not told.
    pub silenced: Option<String>,
    /// Who acknowledged, or who made the silence.
    pub by: Option<String>,
    /// Why it is over (`cleared`, `expired`, `fresh again`, `room again`, `rule changed`, `rule removed`), the comment of who
    /// acknowledged, or the reason of the silence.
    pub note: Option<String>,
}

/// A change of the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The generation of the state that starts with this change.
    pub(super) generation: u64,
    /// The time at which a run read the change.
    pub(super) at_us: i64,
}

impl What {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Severity => "severity",
            Self::Acknowledged => "acknowledged",
            Self::Silenced => "silenced",
            Self::Unsilenced => "unsilenced",
            Self::Reminder => "reminder",
        }
    }

    /// Whether people are told of such events at all.
    pub(super) fn is_told(self) -> bool {
        !matches!(self, Self::Pending | Self::Silenced)
    }
}

impl Event {
    /// Gives it its id. `firing_us` is the instant from which the alert fires: one commit may bring several firings of it, of which
    /// people's time has the same instants. `generation` is that in which the rule began: a rule that is removed and added again may
    /// read a commit twice. `change` is set where the change of a rule causes the event.
    pub(super) fn identified(
        mut self,
        firing_us: Option<i64>,
        generation: u64,
        change: Option<Change>,
    ) -> Self {
        // How much it matters is part of what happened only where that changed.
        let severity = match self.what {
            What::Severity => self.severity.as_str(),
            _ => "",
        };
        // The run's clock decides when a change of a rule takes effect, and differs from run to run.
        let at = match change.filter(|change| change.at_us == self.at_us) {
            Some(change) => format!("change {}", change.generation),
            None => self.at_us.to_string(),
        };
        self.id = id_of([
            self.rule.as_str(),
            &self.group.to_string(),
            self.what.as_str(),
            severity,
            &at,
            &self.version.map(|version| version.to_string()).unwrap_or_default(),
            &firing_us.map(|at| at.to_string()).unwrap_or_default(),
            &generation.to_string(),
            self.by.as_deref().unwrap_or_default(),
            self.note.as_deref().unwrap_or_default(),
        ]);
        self
    }
}

/// 128 bits of the SHA-256 of some texts, each with its length, so that no two lists are one text.
pub(super) fn id_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
