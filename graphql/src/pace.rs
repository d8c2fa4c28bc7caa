//! Root fields of one answer take turns. All are polled by one task, one after the other: where each computes for long, that task
//! would be asked for its time, or be cancelled, only when all of them had their turn.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::poll_fn;
use parking_lot::Mutex;

/// Fields that begin after this time in a turn wait for the next one.
const TURN: Duration = Duration::from_millis(10);

/// When the turn of an answer began.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    began: Mutex<Option<Instant>>,
}

impl Pace {
    /// Makes a turn of each poll of `answering`.
    pub(crate) async fn in_turns<T>(&self, answering: impl Future<Output = T>) -> T {
        let mut answering = pin!(answering);
        poll_fn(|context| {
            *self.began.lock() = Some(Instant::now());
            answering.as_mut().poll(context)
        })
        .await
    }

    /// Leaves what is left of `field` to the next turn where this one has lasted long.
    pub(crate) async fn keeps<T>(&self, field: impl Future<Output = T>) -> T {
        let mut field = pin!(field);
        poll_fn(|context| {
            if self.began.lock().is_some_and(|began| began.elapsed() > TURN) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            field.as_mut().poll(context)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_turn_ends_before_all_have_computed() {
        for fields in [20, 100] {
            let (pace, done) = (Pace::default(), AtomicUsize::new(0));
            let field = || {
                pace.keeps(async {
                    std::thread::sleep(2 * TURN);
                    done.fetch_add(1, Ordering::Relaxed);
                })
            };
            let all = futures::future::join_all((0..fields).map(|_| field()));
            let in_time = tokio::time::timeout(TURN, pace.in_turns(all)).await;
            assert!(in_time.is_err());
            // The timer may be a turn late.
            assert!((1..4).contains(&done.load(Ordering::Relaxed)));
        }
    }

    #[tokio::test]
    async fn all_have_their_turn() {
        let pace = Pace::default();
        let field = |n| {
            let pace = &pace;
            pace.keeps(async move {
                std::thread::sleep(2 * TURN);
                tokio::task::yield_now().await;
                n
            })
        };
        let all = futures::future::join_all((0..5).map(field));
        assert_eq!(pace.in_turns(all).await, [0, 1, 2, 3, 4]);
    }
}
