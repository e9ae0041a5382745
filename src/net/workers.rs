//! One thread with a runtime of its own per core. A connection stays on the worker it was given to, so that a packet
//! wakes one thread and no other: with one runtime over all cores, each batch of packets woke a second thread to
//! share the work, and that cost more than the work.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Shows whether workers hang.
#[derive(Debug, Clone)]
pub struct Pulse(Vec<Handle>);

impl Pulse {
    /// The pulse of all these.
    pub fn of<const N: usize>(workers: [&Workers; N]) -> Self {
        let all = workers.iter().flat_map(|workers| &workers.workers);
        Self(all.map(|worker| worker.runtime.clone()).collect())
    }

    /// Returns when each of them has run something that was given to it just now, or has ended.
    pub async fn felt(&self) {
        let beats: Vec<_> = self.0.iter().map(|worker| worker.spawn(async {})).collect();
        for beat in beats {
            // A worker that has ended does not hang.
            let _ = beat.await;
        }
    }
}

/// The threads that serve connections, or the shards of datagrams. They end, with what they still serve, when this is dropped.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts a worker per core that this process may use; `name` and a number are their threads'.
    ///
    /// # Errors
    /// When the system has no thread or no event queue left.
    pub fn start(name: &str) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let workers = (0..per_core()).map(|index| Worker::start(name, index, stop.clone()));
        Ok(Self {
            workers: workers.collect::<io::Result<_>>()?,
            _stop: stop.drop_guard(),
        })
    }

    /// Runs a connection on the worker that has the fewest; `tasks` keeps count of it. It holds its slot for as long
    /// as it lives. Its sockets have to be made inside it, because a socket belongs to the runtime it was made in.
    pub fn run<F>(&self, tasks: &TaskTracker, connection: impl FnOnce(Slot) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let fewest = self
            .workers
            .iter()
            .min_by_key(|worker| worker.connections.load(Ordering::Relaxed))
            .expect("there is a worker per core");
        let slot = Slot::new(&fewest.connections);
        tasks.spawn_on(connection(slot), &fewest.runtime);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Runs something on the worker `index`, which it shares with connections: a shard of a datagram listener, say.
    /// Its sockets have to be made inside it.
    pub fn run_at<F>(&self, index: usize, tasks: &TaskTracker, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(worker) = self.workers.get(index) {
            tasks.spawn_on(task, &worker.runtime);
        }
    }
}

/// How many workers there are: one for each core that this process may use.
pub fn per_core() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

impl Worker {
    fn start(name: &str, index: usize, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let serve = move || {
            runtime.block_on(stop.cancelled());
            // A look-up of a name that hangs must not hold up the end.
            runtime.shutdown_background();
        };
        thread::Builder::new()
            .name(format!("{name}-{index}"))
            .spawn(serve)?;
        Ok(Self {
            runtime: handle,
            connections: Arc::default(),
        })
    }
}

/// A connection's place on a worker; dropping it gives the place back.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_evenly_and_forgotten_when_they_end() {
        let workers = Workers::start("worker").unwrap();
        let tasks = TaskTracker::new();
        let go = CancellationToken::new();
        let each = 3;
        for _ in 0..each * workers.workers.len() {
            let go = go.clone();
            workers.run(&tasks, |slot| async move {
                go.cancelled().await;
                drop(slot);
            });
        }
        let counts = || -> Vec<usize> {
            let load = |worker: &Worker| worker.connections.load(Ordering::Relaxed);
            workers.workers.iter().map(load).collect()
        };
        assert!(
            counts().iter().all(|count| *count == each),
            "{:?}",
            counts()
        );
        go.cancel();
        tasks.close();
        tasks.wait().await;
        assert!(counts().iter().all(|count| *count == 0), "{:?}", counts());
    }

    #[tokio::test]
    async fn a_worker_that_hangs_is_felt() {
        let (workers, others) = (Workers::start("a").unwrap(), Workers::start("b").unwrap());
        let pulse = Pulse::of([&workers, &others]);
        pulse.felt().await;
        let (go, hang) = std::sync::mpsc::channel::<()>();
        let (hangs, hung) = tokio::sync::oneshot::channel();
        others.run_at(0, &TaskTracker::new(), async move {
            let _ = hangs.send(());
            let _ = hang.recv();
        });
        hung.await.unwrap();
        let mut felt = std::pin::pin!(pulse.felt());
        let moment = std::time::Duration::from_millis(50);
        assert!(
            tokio::time::timeout(moment, &mut felt).await.is_err(),
            "one of them hangs"
        );
        drop(go);
        felt.await;
        drop((workers, others));
        pulse.felt().await;
    }
}
