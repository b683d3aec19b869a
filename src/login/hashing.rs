//! The few threads that do nothing but compare and make password hashes, and the short queue before them.
//!
//! Hashing has its own threads so that a flood of sign-ins slows signing in and nothing else: requests of those who
//! are signed in never wait for a hash. Its memory is known: threads × the cost of one hash.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Block;
use tokio::sync::oneshot;

use super::attempt::LoginDown;
use super::stored::{self, HashCost, StoredHash};
use crate::secret::Secret;

/// When to come back if the queue is full; by then a queue of usual length is done.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long one answer is waited for. Only hashes of extreme cost in the users file get near it.
const PATIENCE: Duration = Duration::from_secs(20);

type Job = Box<dyn FnOnce(&mut Vec<Block>) + Send>;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The password is the right one.
    pub matches: bool,
    /// A new hash would be stronger than the stored one.
    pub outdated: bool,
}

/// A pool of hashing threads. They end when the last handle is gone.
#[derive(Debug)]
pub struct Hasher {
    queue: SyncSender<Job>,
    cost: HashCost,
    dummy: Arc<StoredHash>,
}

impl Hasher {
    /// Starts `threads` threads (0: half the cores, at least one) with room for `queue` waiting passwords.
    ///
    /// # Errors
    /// The system does not start a thread.
    pub fn start(threads: usize, queue: usize, cost: HashCost) -> std::io::Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            given => given,
        };
        let (sender, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new().name(format!("hash-{number}")).spawn(move || work(&receiver, cost))?;
        }
        Ok(Self { queue: sender, cost, dummy: Arc::new(StoredHash::dummy(cost)) })
    }

    /// Compares a password with a stored hash.
    ///
    /// # Errors
    /// The queue is full, or the answer does not come.
    pub async fn verify(&self, stored: &Arc<StoredHash>, password: &Secret<String>) -> Result<Outcome, LoginDown> {
        let outdated = stored.is_weaker_than(self.cost);
        let (stored, password) = (Arc::clone(stored), password.clone());
        let matches = self.submit(move |memory| stored.matches(&password, memory)).await?;
        Ok(Outcome { matches, outdated })
    }

    /// Spends what a wrong password costs, for a name that nobody knows: same parameters, same queue.
    ///
    /// # Errors
    /// As [`Hasher::verify`].
    pub async fn verify_nothing(&self, password: &Secret<String>) -> Result<(), LoginDown> {
        self.verify(&self.dummy, password).await.map(drop)
    }

    /// Makes a new hash, as PHC string.
    ///
    /// # Errors
    /// As [`Hasher::verify`].
    pub async fn hash(&self, password: &Secret<String>) -> Result<String, LoginDown> {
        let (password, cost) = (password.clone(), self.cost);
        self.submit(move |memory| stored::make(&password, cost, memory)).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T, LoginDown> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // Whoever asked may have left while waiting.
            if !reply.is_closed() {
                let _ = reply.send(task(memory));
            }
        });
        match self.queue.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(LoginDown::Busy { retry_after: RETRY_AFTER }),
            Err(TrySendError::Disconnected(_)) => {
                return Err(LoginDown::Broken { what: "the hashing threads are gone", source: None });
            }
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(gone)) => Err(LoginDown::Broken { what: "a hashing thread gave up", source: Some(Box::new(gone)) }),
            Err(_) => Err(LoginDown::Busy { retry_after: RETRY_AFTER }),
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, cost: HashCost) {
    let mut memory = Vec::new();
    let usual = usize::try_from(cost.memory_kib).unwrap_or(0);
    loop {
        // Nobody can panic while holding this lock, so there is no broken state to be afraid of.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        // A panic costs one sign-in (its reply is dropped) and not a thread of the pool.
        if catch_unwind(AssertUnwindSafe(|| job(&mut memory))).is_err() {
            tracing::error!("checking a password panicked");
        }
        // One costly hash must not keep its memory for good.
        if memory.len() > usual {
            memory.truncate(usual);
            memory.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HashCost = HashCost { memory_kib: 8, iterations: 1, parallelism: 1 };

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_pool_makes_and_compares() {
        let hasher = Hasher::start(2, 8, CHEAP).unwrap();
        let stored = Arc::new(StoredHash::parse(&hasher.hash(&secret("right")).await.unwrap()).unwrap());
        let right = hasher.verify(&stored, &secret("right")).await.unwrap();
        assert_eq!(right, Outcome { matches: true, outdated: false });
        assert!(!hasher.verify(&stored, &secret("wrong")).await.unwrap().matches);
        hasher.verify_nothing(&secret("right")).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_says_busy_and_a_panic_costs_one_answer() {
        let hasher = Hasher::start(1, 1, CHEAP).unwrap();
        let (started, has_started) = oneshot::channel();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let holding = hasher.submit(move |_| {
            let _ = started.send(());
            let _ = wait.recv();
        });
        let waiting = hasher.submit(|_| 7);
        let (held, seven, ()) = tokio::join!(holding, async { has_started_then(has_started, waiting).await }, async {
            // Both are queued or running once the first has begun and the second was polled.
            while !matches!(hasher.hash(&secret("x")).await, Err(LoginDown::Busy { .. })) {
                tokio::task::yield_now().await;
            }
            release.send(()).unwrap();
        });
        held.unwrap();
        assert_eq!(seven.unwrap(), 7);

        assert!(matches!(hasher.submit(|_| panic!("on purpose")).await, Err::<(), _>(LoginDown::Broken { .. })));
        assert_eq!(hasher.submit(|_| 8).await.unwrap(), 8);
    }

    async fn has_started_then<T>(started: oneshot::Receiver<()>, then: impl Future<Output = T>) -> T {
        started.await.unwrap();
        then.await
    }

    #[tokio::test]
    async fn an_unusually_big_hash_keeps_no_memory() {
        let hasher = Hasher::start(1, 4, CHEAP).unwrap();
        let big = HashCost { memory_kib: 1024, iterations: 1, parallelism: 1 };
        hasher.verify(&Arc::new(StoredHash::dummy(big)), &secret("x")).await.unwrap();
        assert!(hasher.submit(|memory| memory.capacity()).await.unwrap() <= 8);
    }
}
