//! How far two datasets agree, counted.

/// Of a column.
#[derive(Clone, Debug, Default)]
pub(super) struct OfColumn {
    pub(super) name: String,
    pub(super) right_name: String,
    pub(super) equal: u64,
    pub(super) near: u64,
    pub(super) differing: u64,
    pub(super) open: u64,
}

impl OfColumn {
    pub(super) fn compared(&self) -> u64 {
        self.equal + self.near + self.differing
    }

    /// None where nothing was compared.
    pub(super) fn agreement(&self) -> Option<f64> {
        let all = self.compared();
        (all > 0).then(|| (self.equal + self.near) as f64 / all as f64)
    }
}

/// Of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) columns: Vec<OfColumn>,
    pub(super) left_rows: u64,
    pub(super) right_rows: u64,
    pub(super) left_without_key: u64,
    pub(super) right_without_key: u64,
    pub(super) matched: u64,
    pub(super) differing: u64,
    pub(super) missing_left: u64,
    pub(super) missing_right: u64,
    pub(super) repeated: u64,
    pub(super) open: u64,
    /// Answers that decided something.
    pub(super) answered: u64,
    /// Answers whose value is none of its column.
    pub(super) misfits: u64,
    /// What the first of them say.
    pub(super) examples: Vec<String>,
}

impl Totals {
    /// Of all keys, those that either has alone or more than once too; none where there is none.
    pub(super) fn agreement(&self) -> Option<f64> {
        let all = self.matched + self.missing_left + self.missing_right + self.repeated;
        (all > 0).then(|| (self.matched - self.differing) as f64 / all as f64)
    }
}
