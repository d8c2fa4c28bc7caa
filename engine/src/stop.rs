//! What ends work that never pauses: it looks now and then at a flag that belongs to the task, which whoever waits for it sets.

use kernels::Control;

tokio::task_local! {
    static STOP: Control;
}

/// Does `work`, in which what computes for long is stopped by `control`.
pub async fn stopped_by<F: Future>(control: Control, work: F) -> F::Output {
    STOP.scope(control, work).await
}

/// What stops the task that this is called in.
pub(crate) fn current() -> Option<Control> {
    STOP.try_with(Control::clone).ok()
}

/// Stops when it is dropped before [`done`](Self::done).
pub(crate) struct StopOnDrop(Option<Control>);

impl StopOnDrop {
    pub(crate) fn new(control: Control) -> Self {
        Self(Some(control))
    }

    pub(crate) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(control) = &self.0 {
            control.cancel();
        }
    }
}
