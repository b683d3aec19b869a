//! How many requests an app may have under way, so that a slow one does not take what the others need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a request may wait for its place.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The places of one app; those who wait for one are as many at most.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most, free: Arc::new(Semaphore::new(most)), waiting: AtomicUsize::new(0) }
    }

    /// A place, which is free again when what is returned is dropped; none if there was none in time.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        let _waits = Waits::begin(&self.waiting, self.most)?;
        timeout(LONGEST_WAIT, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()
    }
}

/// One who waits; counted until dropped, since clients may leave meanwhile.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let waits = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_bounded_and_are_forgotten_when_they_leave() {
        let places = Places::new(1);
        let held = places.take().await.unwrap();
        {
            let mut second = pin!(places.take());
            assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(places.take().await.is_none(), "a third has no place to wait");
        }
        drop(held);
        assert!(places.take().await.is_some());
        assert_eq!(places.waiting.load(Ordering::Relaxed), 0);
    }
}
