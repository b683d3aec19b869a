//! Where browsers come in: listeners, TLS, HTTP, and stopping in order.
//!
//! Each worker is a thread with a runtime, listeners and connections to apps of its own; the kernel spreads new
//! connections over the workers (`SO_REUSEPORT`). They share the gate and nothing else.

mod connection;
mod head;
mod listener;
mod plain;
mod proxy_protocol;
mod settings;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

pub use listener::{BindError, Bound};
pub use settings::{LimitSettings, ListenSettings};

use crate::gate::Gate;
use crate::upstream::Connections;
use connection::Door;

/// The running workers.
pub struct Server {
    gate: Arc<Gate>,
    https: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    workers: Vec<thread::JoinHandle<()>>,
    stop: watch::Sender<Option<Duration>>,
    done: mpsc::Receiver<()>,
}

impl Server {
    /// Starts one worker for each listener set in `bound`.
    ///
    /// # Errors
    /// The system may refuse threads or sockets.
    pub fn start(
        bound: Bound,
        gate: Arc<Gate>,
        tls: Arc<rustls::ServerConfig>,
        limits: LimitSettings,
        https_port: u16,
        proxy_protocol: bool,
    ) -> io::Result<Self> {
        let (https, http) = (bound.https_addresses(), bound.http_addresses());
        let (stop, stopping) = watch::channel(None);
        let (working, done) = mpsc::channel(1);
        let places = Arc::new(Semaphore::new(limits.max_connections));
        let handshakes = Arc::new(Semaphore::new(limits.max_handshakes));
        let mut workers = Vec::new();
        for (number, sockets) in bound.into_workers().into_iter().enumerate() {
            let worker = Worker {
                door: Door {
                    gate: Arc::clone(&gate),
                    connections: Connections::new(gate.clock.clone()),
                    tls: TlsAcceptor::from(Arc::clone(&tls)),
                    limits,
                    handshakes: Arc::clone(&handshakes),
                    https_port,
                    proxy_protocol,
                },
                sockets,
                places: Arc::clone(&places),
                stopping: stopping.clone(),
                working: working.clone(),
            };
            workers.push(thread::Builder::new().name(format!("worker-{number}")).spawn(move || worker.run())?);
        }
        Ok(Self { gate, https, http, workers, stop, done })
    }

    /// The addresses that answer over TLS.
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// The addresses that only redirect.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Stops accepting, lets what is under way finish for as long as `grace`, and ends.
    pub async fn stop(mut self, grace: Duration) {
        self.gate.draining.store(true, Ordering::Relaxed);
        self.stop.send_replace(Some(grace));
        // Nothing is ever sent: this ends when every worker has dropped its end.
        self.done.recv().await;
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

struct Worker {
    door: Door,
    sockets: listener::Sockets,
    places: Arc<Semaphore>,
    stopping: watch::Receiver<Option<Duration>>,
    working: mpsc::Sender<()>,
}

impl Worker {
    fn run(self) {
        let _working = self.working.clone();
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker cannot start");
                return;
            }
        };
        runtime.block_on(self.serve());
    }

    async fn serve(mut self) {
        let door = Arc::new(self.door);
        // Every connection holds a clone; when all are gone, so are the connections.
        let (busy, mut idle) = mpsc::channel::<()>(1);
        for (socket, is_tls) in self.sockets.into_listeners() {
            let listener = match TcpListener::from_std(socket) {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%error, "a listener cannot be used");
                    continue;
                }
            };
            let accept = listener::Accept {
                listener,
                places: Arc::clone(&self.places),
                stopping: self.stopping.clone(),
                busy: busy.clone(),
            };
            let door = Arc::clone(&door);
            tokio::spawn(async move {
                if is_tls {
                    accept.run(door, connection::serve).await;
                } else {
                    accept.run(door, plain::serve).await;
                }
            });
        }
        drop(busy);
        let grace = match self.stopping.wait_for(Option::is_some).await {
            Ok(grace) => grace.unwrap_or_default(),
            Err(_) => return,
        };
        if tokio::time::timeout(grace, idle.recv()).await.is_err() {
            tracing::warn!("some connections did not finish in time and were cut");
        }
    }
}
