//! A child process whose lines can be waited for.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wait_for;

/// A running program. It ends with the value.
pub(crate) struct Program {
    name: String,
    child: Child,
    said: Arc<Said>,
    started: Instant,
    gentle: bool,
}

/// One line of output.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// When it was read.
    pub(crate) at: Instant,
    /// Whether it came on stderr.
    pub(crate) error: bool,
    pub(crate) text: String,
}

#[derive(Default)]
struct Said {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<Line>,
    pipes_closed: usize,
}

impl Program {
    /// Starts `command`, without input. `name` is for messages.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with(name, command, Stdio::null())
    }

    /// The same with `input`.
    pub(crate) fn start_with(name: &str, command: &mut Command, input: Stdio) -> Self {
        command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let said = Arc::new(Said::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        said.listen(stdout, false);
        said.listen(stderr, true);
        Self {
            name: name.to_owned(),
            child,
            said,
            started,
            gentle: true,
        }
    }

    /// Makes it be killed at its end instead of asked to stop: for programs that would finish their work first.
    pub(crate) fn abrupt(mut self) -> Self {
        self.gentle = false;
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Everything it has printed so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.said.lock().all.clone()
    }

    /// What it has printed on stderr so far.
    pub(crate) fn errors(&self) -> String {
        self.text(|line| line.error)
    }

    /// What it has printed on stdout so far.
    pub(crate) fn output(&self) -> String {
        self.text(|line| !line.error)
    }

    /// The first line, past or future, that `pick` accepts.
    #[track_caller]
    pub(crate) fn wait_line<T>(
        &self,
        what: &str,
        patience: Duration,
        mut pick: impl FnMut(&Line) -> Option<T>,
    ) -> T {
        let mut seen = 0;
        self.wait_lines(what, patience, |lines| {
            let found = lines[seen..].iter().find_map(&mut pick);
            seen = lines.len();
            found
        })
    }

    /// Passes all lines to `pick` whenever there are more, until it returns something.
    #[track_caller]
    pub(crate) fn wait_lines<T>(
        &self,
        what: &str,
        patience: Duration,
        mut pick: impl FnMut(&[Line]) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + patience;
        let mut lines = self.said.lock();
        loop {
            if let Some(found) = pick(&lines.all) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let over = if lines.pipes_closed == PIPES {
                "it ended before"
            } else if left.is_zero() {
                "it did not in time"
            } else {
                lines = self
                    .said
                    .changed
                    .wait_timeout(lines, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            };
            let said = tail(&lines.all);
            drop(lines);
            panic!(
                "{}: {what}: {over} ({patience:?}). It said last:\n{said}",
                self.name
            );
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end and returns its status; by then all its output has been read.
    #[track_caller]
    pub(crate) fn wait_end(&mut self, patience: Duration) -> ExitStatus {
        let name = format!("{} ends", self.name);
        let status = wait_for(&name, patience, || {
            self.child.try_wait().expect("a child of ours")
        });
        let deadline = Instant::now() + PIPES_CLOSE;
        let mut lines = self.said.lock();
        while lines.pipes_closed < PIPES && Instant::now() < deadline {
            lines = self
                .said
                .changed
                .wait_timeout(lines, PIPES_CLOSE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        status
    }

    /// Sends a signal by its name: `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own kill: the crate forbids unsafe code, and one call does not justify a dependency.
        let command = format!("kill -{name} {}", self.pid());
        let status = Command::new("sh")
            .args(["-c", &command])
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok(), "sh is everywhere");
    }

    /// Kills it without a goodbye, as a crash does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn text(&self, keep: impl Fn(&Line) -> bool) -> String {
        let lines = self.said.lock();
        lines
            .all
            .iter()
            .filter(|line| keep(line))
            .flat_map(|line| [line.text.as_str(), "\n"])
            .collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.gentle && self.is_running() {
            self.signal("TERM");
            let deadline = Instant::now() + GENTLE;
            while self.is_running() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- {} said last:\n{}",
                self.name,
                tail(&self.said.lock().all)
            );
        }
    }
}

impl Said {
    fn listen(self: &Arc<Self>, pipe: impl Read + Send + 'static, error: bool) {
        let said = Arc::clone(self);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while pipe
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|count| count > 0)
            {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                said.lock().all.push(Line {
                    at: Instant::now(),
                    error,
                    text,
                });
                said.changed.notify_all();
                bytes.clear();
            }
            said.lock().pipes_closed += 1;
            said.changed.notify_all();
        });
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tail(lines: &[Line]) -> String {
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .flat_map(|line| [line.text.as_str(), "\n"])
        .collect()
}

/// Standard output and standard error.
const PIPES: usize = 2;
const PIPES_CLOSE: Duration = Duration::from_secs(2);
/// How long a program that was asked to stop may take.
const GENTLE: Duration = Duration::from_millis(500);
/// Maximum lines that are shown when something fails.
const TAIL: usize = 30;
