//! Writes lines by a thread of its own: who reads standard output may stop, such as a container runtime with a full disk or a
//! program at the end of a pipe, and no client waits for that.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Takes lines, as many as there is room for.
#[derive(Debug)]
pub(super) struct Writer {
    lines: Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
}

/// The lines that are not written yet.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// Lines that found no room.
    lost: AtomicU64,
}

impl Writer {
    /// Starts the thread, which ends with this. If the reader of `out` has gone, that is no reason to stop serving: its lines are
    /// for nobody.
    ///
    /// # Errors
    /// When the system has no thread.
    pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = channel::<Vec<u8>>();
        let waiting = Arc::<Waiting>::default();
        let written = Arc::clone(&waiting);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                for line in queue {
                    let _ = out.write_all(&line).and_then(|()| out.flush());
                    written.bytes.fetch_sub(line.len(), Ordering::Release);
                }
            })?;
        Ok(Self { lines, waiting })
    }

    /// Takes a line, or counts it where too many wait. Never blocks.
    pub(super) fn write(&self, line: &[u8]) {
        let before = self.waiting.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = before + line.len() <= MOST_WAITING;
        if !fits || self.lines.send(line.to_vec()).is_err() {
            self.waiting.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.waiting.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines found no room since the last call; 0 as long as there is little room to say so.
    pub(super) fn take_lost(&self) -> u64 {
        if self.waiting.bytes.load(Ordering::Relaxed) > MOST_WAITING / 2 {
            return 0;
        }
        self.waiting.lost.swap(0, Ordering::Relaxed)
    }

    /// Waits until all lines are written, for at most `time`.
    pub(super) fn finish(&self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.waiting.bytes.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Bytes of the lines that wait for a reader at most: over ten thousand of them.
const MOST_WAITING: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// Takes a line each time it is told to.
    struct Reader {
        turns: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Whoever told it has gone: it takes all.
            let _ = self.turns.recv();
            self.read.lock().expect("a test").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_stops_nobody_and_hears_how_much_it_missed() {
        let (turn, turns) = sync_channel(0);
        let read = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Writer::start(Reader {
            turns,
            read: Arc::clone(&read),
        });
        let writer = writer.expect("a thread");
        let line = vec![b'a'; MOST_WAITING / 4];
        for _ in 0..6 {
            writer.write(&line);
        }
        assert_eq!(writer.take_lost(), 0, "there is no room to say it");
        drop(turn);
        writer.finish(Duration::from_secs(30));
        assert_eq!(read.lock().expect("a test").len(), 4 * line.len());
        assert_eq!(writer.take_lost(), 2);
        assert_eq!(writer.take_lost(), 0, "it is told once");
    }
}
