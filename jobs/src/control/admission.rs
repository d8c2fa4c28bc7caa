//! What a run needs, what a worker has, and what runs took before.

/// Memory of a GPU that a run needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceNeed {
    /// Whether it needs one at all.
    pub need: Need,
    /// Of its memory, in bytes.
    pub bytes: i64,
}

/// Whether a run needs a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// It does not use one.
    #[default]
    None,
    /// It takes one where its worker has one of enough memory, and the CPU elsewhere.
    Preferred,
    /// It waits for a worker that has one.
    Required,
}

impl Need {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Preferred => 1,
            Self::Required => 2,
        }
    }

    pub(super) fn of(number: i64) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Preferred,
            _ => Self::Required,
        }
    }
}

/// A GPU, and how much of its memory runs may have together, those of other workers of the machine among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRoom {
    /// What it is called, the same in all processes of its machine and nowhere else.
    pub id: String,
    /// Its memory, in bytes.
    pub bytes: i64,
}

/// What runs of a job kind took, of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows of their inputs: a mean in which newer runs count for more.
    pub rows: i64,
    /// How long they worked, likewise.
    pub wall_us: i64,
    /// Rows of the last one that was alone with its worker.
    pub memory_rows: i64,
    /// Memory that it took; 0 where none was alone.
    pub memory_bytes: i64,
}
