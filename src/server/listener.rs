//! Sockets: bound all at once before anything else happens, then accepted from without ever giving up.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::connection::Door;

/// Connections that wait for us to accept them; the kernel refuses more.
const BACKLOG: i32 = 1024;

/// When the system has no descriptors left, the next try waits this long.
const BACKOFF: Duration = Duration::from_millis(100);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(error))]
pub struct BindError {
    /// The address as configured.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there already; stop it or choose another port".into(),
        io::ErrorKind::PermissionDenied => "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        _ => error.to_string(),
    }
}

/// Bound listeners: for each worker, one for each address.
#[derive(Debug)]
pub struct Bound {
    workers: Vec<Sockets>,
}

#[derive(Debug, Default)]
pub(super) struct Sockets {
    https: Vec<StdListener>,
    http: Vec<StdListener>,
}

impl Bound {
    /// Binds every address once for each worker.
    ///
    /// # Errors
    /// The first address that cannot be had; all others are released again.
    pub fn bind(https: &[SocketAddr], http: &[SocketAddr], workers: usize) -> Result<Self, BindError> {
        let mut bound = Self { workers: (0..workers.max(1)).map(|_| Sockets::default()).collect() };
        for address in https {
            for (worker, socket) in bound.workers.iter_mut().zip(bind_for_all(*address, workers.max(1))?) {
                worker.https.push(socket);
            }
        }
        for address in http {
            for (worker, socket) in bound.workers.iter_mut().zip(bind_for_all(*address, workers.max(1))?) {
                worker.http.push(socket);
            }
        }
        Ok(bound)
    }

    pub(super) fn https_addresses(&self) -> Vec<SocketAddr> {
        self.workers[0].https.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    pub(super) fn http_addresses(&self) -> Vec<SocketAddr> {
        self.workers[0].http.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    pub(super) fn into_workers(self) -> Vec<Sockets> {
        self.workers
    }
}

impl Sockets {
    /// The listeners, and whether they speak TLS.
    pub(super) fn into_listeners(self) -> impl Iterator<Item = (StdListener, bool)> {
        self.https.into_iter().map(|socket| (socket, true)).chain(self.http.into_iter().map(|socket| (socket, false)))
    }
}

fn bind_for_all(address: SocketAddr, workers: usize) -> Result<Vec<StdListener>, BindError> {
    let failed = |error| BindError { address, error };
    // `SO_REUSEPORT` would let a second process of the same user share the port unnoticed, so we ask without it first.
    drop(listen(address, false).map_err(failed)?);
    let first = listen(address, true).map_err(failed)?;
    let actual = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(listen(actual, true).map_err(failed)?);
    }
    Ok(sockets)
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// One listener at work.
pub(super) struct Accept {
    pub(super) listener: TcpListener,
    pub(super) places: Arc<Semaphore>,
    pub(super) stopping: watch::Receiver<Option<Duration>>,
    pub(super) busy: mpsc::Sender<()>,
}

/// When a connection should come to its end.
pub(super) type Stopping = watch::Receiver<Option<Duration>>;

impl Accept {
    /// Serves every connection in a task of its own until the server stops. What goes wrong with one ends that one.
    pub(super) async fn run<F, S>(mut self, door: Arc<Door>, serve: F)
    where
        F: Fn(Arc<Door>, TcpStream, SocketAddr, Stopping) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        loop {
            // Beyond `max_connections`, the others wait in the kernel's queue.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.stopping.wait_for(Option::is_some) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let served = serve(Arc::clone(&door), stream, peer, self.stopping.clone());
                    let busy = self.busy.clone();
                    tokio::spawn(async move {
                        served.await;
                        drop((place, busy));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(BACKOFF).await;
                }
            }
        }
    }
}
