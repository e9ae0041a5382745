//! What `perf` counts of a process while it works: system calls, allocations and instructions. Each is counted in a
//! window of its own, because counting slows a process down.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What can be counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Quantity {
    /// Calls of `malloc` and its relatives.
    Allocations,
    /// Instructions of the processor in user space.
    Instructions,
    SystemCalls,
}

impl Quantity {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Allocations => "allocations",
            Self::Instructions => "user instructions",
            Self::SystemCalls => "system calls",
        }
    }

    /// The quantity that an event of ours counts. A processor with two kinds of core has an event for each of them, and
    /// perf adds the kind to the name.
    fn of(event: &str) -> Option<Self> {
        if event == SYSTEM_CALLS {
            Some(Self::SystemCalls)
        } else if event.contains("instructions") {
            Some(Self::Instructions)
        } else if event.starts_with(PROBES) {
            Some(Self::Allocations)
        } else {
            None
        }
    }
}

/// What this machine can count.
pub(crate) struct Counters {
    /// How long to count.
    window: Duration,
    /// Events that exist without probes.
    events: Vec<&'static str>,
    /// The events of the allocation functions, for each file that has been probed.
    probes: HashMap<PathBuf, Vec<String>>,
    /// What cannot be counted here, why, and what to do about it.
    missing: Vec<(Quantity, String)>,
    /// perf is there.
    perf: bool,
}

impl Counters {
    /// Tries what this machine can count.
    pub(crate) fn find(window: Duration) -> Self {
        let mut counters = Self {
            window,
            events: Vec::new(),
            probes: HashMap::new(),
            missing: Vec::new(),
            perf: true,
        };
        if let Err(error) = perf(&["--version"]) {
            counters.perf = false;
            for quantity in [
                Quantity::SystemCalls,
                Quantity::Allocations,
                Quantity::Instructions,
            ] {
                counters.missing.push((quantity, format!("{error:#}")));
            }
            return counters;
        }
        // A run that was killed may have left some.
        remove_probes();
        for (event, quantity) in [
            (SYSTEM_CALLS, Quantity::SystemCalls),
            (INSTRUCTIONS, Quantity::Instructions),
        ] {
            match try_event(event) {
                Ok(()) => counters.events.push(event),
                Err(error) => counters.missing.push((quantity, format!("{error:#}"))),
            }
        }
        counters
    }

    /// What cannot be counted here, with the reason and what to do about it.
    pub(crate) fn missing(&self) -> &[(Quantity, String)] {
        &self.missing
    }

    /// What to count of this process, one window after the other.
    pub(crate) fn passes(&mut self, process: u32) -> Vec<Pass> {
        let events = self.events.iter().map(|event| (*event).to_owned());
        [events.collect(), self.allocations(process)]
            .into_iter()
            .filter(|events: &Vec<String>| !events.is_empty())
            .map(|events| Pass {
                process,
                events,
                window: self.window,
            })
            .collect()
    }

    /// The events of the functions that allocate, in the file that has them for this process.
    fn allocations(&mut self, process: u32) -> Vec<String> {
        if !self.perf {
            return Vec::new();
        }
        let probed = allocator(process).and_then(|file| {
            if let Some(events) = self.probes.get(&file) {
                return Ok(events.clone());
            }
            let probed = probe(&file, self.probes.len());
            let events = probed.as_deref().unwrap_or_default().to_vec();
            self.probes.insert(file, events);
            probed
        });
        probed.unwrap_or_else(|error| {
            self.missing
                .push((Quantity::Allocations, format!("{error:#}")));
            Vec::new()
        })
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        if self.perf {
            remove_probes();
        }
    }
}

/// What one window counts.
pub(crate) struct Pass {
    process: u32,
    events: Vec<String>,
    /// How long to count.
    pub(crate) window: Duration,
}

impl Pass {
    /// Returns once perf counts. It starts with its counters off and is told when to turn them on and off, because
    /// attaching it takes a while that is not part of the window.
    pub(crate) fn begin(self) -> Result<Counting> {
        let mut perf = perf_command()
            .args(["stat", "-x,", "--control", "fd:0,1", "--delay", "-1", "-e"])
            .arg(self.events.join(","))
            .arg("-p")
            .arg(self.process.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let control = perf.stdin.take().context("stdin is piped")?;
        let answers = BufReader::new(perf.stdout.take().context("stdout is piped")?);
        let mut counting = Counting {
            perf,
            control,
            answers,
        };
        counting.tell("enable")?;
        Ok(counting)
    }
}

/// A perf that counts; dropping it ends it.
pub(crate) struct Counting {
    perf: Child,
    control: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Counting {
    /// Stops counting.
    pub(crate) fn end(mut self) -> Result<Vec<(Quantity, u64)>> {
        self.tell("disable")?;
        // perf prints its counts when it is interrupted.
        let interrupt = format!("kill -INT {}", self.perf.id());
        Command::new("sh").args(["-c", &interrupt]).status()?;
        counts(&self.rest()?)
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        let told = writeln!(self.control, "{word}");
        let mut answer = Vec::new();
        self.answers.read_until(b'\n', &mut answer)?;
        if told.is_err() || !answer.ends_with(b"ack\n") {
            let _ = self.perf.kill();
            bail!("perf: {}", reason(&self.rest()?));
        }
        Ok(())
    }

    /// What perf writes until it ends.
    fn rest(&mut self) -> Result<String> {
        let mut text = String::new();
        if let Some(mut errors) = self.perf.stderr.take() {
            errors.read_to_string(&mut text)?;
        }
        self.perf.wait()?;
        Ok(text)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = self.perf.kill();
        let _ = self.perf.wait();
    }
}

/// What a process did per GB.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    per_gigabyte: Vec<(Quantity, f64)>,
    /// Why something was not counted.
    pub(crate) failures: Vec<String>,
}

impl Counts {
    /// Adds what was counted in one window, and how many GB were moved in it.
    pub(crate) fn add(&mut self, window: Result<(Vec<(Quantity, u64)>, f64)>) {
        match window {
            Ok((counted, gigabytes)) => {
                let each = counted
                    .into_iter()
                    .map(|(of, count)| (of, count as f64 / gigabytes));
                self.per_gigabyte.extend(each);
            }
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    /// NaN if it was not counted.
    pub(crate) fn of(&self, quantity: Quantity) -> f64 {
        self.per_gigabyte
            .iter()
            .find_map(|(of, count)| (*of == quantity).then_some(*count))
            .unwrap_or(f64::NAN)
    }
}

/// What perf says of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    Count(u64),
    NotCounted,
    NotSupported,
}

/// The lines of `perf stat -x,`: "count,unit,event,…". perf prints other things in between.
fn readings(text: &str) -> Vec<(&str, Reading)> {
    text.lines().filter_map(reading_of).collect()
}

fn reading_of(line: &str) -> Option<(&str, Reading)> {
    let mut fields = line.trim().split(',');
    let (value, _unit, event) = (fields.next()?, fields.next()?, fields.next()?);
    let reading = match value {
        "<not counted>" => Reading::NotCounted,
        "<not supported>" => Reading::NotSupported,
        _ => Reading::Count(value.parse().ok()?),
    };
    Some((event, reading))
}

/// The sum of each quantity.
fn counts(text: &str) -> Result<Vec<(Quantity, u64)>> {
    let mut counts: Vec<(Quantity, u64)> = Vec::new();
    for (event, reading) in readings(text) {
        let Some(quantity) = Quantity::of(event) else {
            continue;
        };
        let count = match reading {
            Reading::Count(count) => count,
            // One kind of core, or one function, that the process did not use.
            Reading::NotCounted => continue,
            Reading::NotSupported => bail!("perf cannot count {event} of this process"),
        };
        match counts.iter_mut().find(|(of, _)| *of == quantity) {
            Some((_, sum)) => *sum += count,
            None => counts.push((quantity, count)),
        }
    }
    if counts.is_empty() {
        bail!("perf counted nothing: {}", reason(text));
    }
    Ok(counts)
}

/// Counts an event of a program that does nothing.
fn try_event(event: &str) -> Result<()> {
    let text = perf(&["stat", "-x,", "-e", event, "true"])?;
    match readings(&text).first() {
        Some((_, Reading::Count(_))) => Ok(()),
        Some((_, Reading::NotSupported)) if event == INSTRUCTIONS => bail!(
            "the processor's counters (PMU) are not there, as in most virtual machines: perf says that {event} is not \
             supported. User CPU time stands in its place, with the resolution of the clock"
        ),
        _ => bail!("perf does not count {event}: {}", reason(&text)),
    }
}

/// Adds an event for each function that allocates; `number` tells the files apart.
fn probe(file: &Path, number: usize) -> Result<Vec<String>> {
    let mut events = Vec::new();
    for function in ALLOCATION {
        let name = format!("{PROBES}{function}_{number}");
        let definition = format!("{name}={function}");
        let path = file.to_string_lossy();
        match perf(&["probe", "-x", &path, "-a", &definition]) {
            Ok(_) => events.push(name),
            // A static program may lack a function that it does not call. None of them at all means that it was
            // stripped of its symbols.
            Err(error) if events.is_empty() => {
                return Err(error.context(format!("{path}: {function} cannot be probed")));
            }
            Err(_) => {}
        }
    }
    Ok(events)
}

/// Removes the events that [`probe`] added.
fn remove_probes() {
    let _ = perf(&["probe", "-q", "-d", &format!("{PROBES}*")]);
}

/// The file with the allocation functions of a process: its C library, or the program if it is linked statically.
fn allocator(process: u32) -> Result<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    match c_library(&maps) {
        Some(library) => Ok(library),
        None => Ok(fs::read_link(format!("/proc/{process}/exe"))?),
    }
}

/// The C library in the text of `/proc/PID/maps`: glibc, or musl, whose loader and library are one file.
fn c_library(maps: &str) -> Option<PathBuf> {
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ["libc.so", "libc-2.", "libc.musl-", "ld-musl-"]
                .iter()
                .any(|start| name.starts_with(start))
        })
        .map(Path::to_path_buf)
}

/// Runs perf, and returns what it writes to its standard error: counts go there.
fn perf(arguments: &[&str]) -> Result<String> {
    let output = perf_command().args(arguments).stdin(Stdio::null()).output();
    let Output { status, stderr, .. } = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("{INSTALL}"),
        output => output?,
    };
    let text = String::from_utf8_lossy(&stderr).into_owned();
    if !status.success() {
        bail!("perf {}: {}", arguments[0], reason(&text));
    }
    Ok(text)
}

fn perf_command() -> Command {
    let mut command = Command::new("perf");
    // Messages in English, numbers without grouping, and no downloads of debug information.
    command.env("LC_ALL", "C").env_remove("DEBUGINFOD_URLS");
    command
}

/// What perf complains about, in a line, and the command that permits it.
fn reason(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Run 'perf list'"))
        .filter(|line| !line.is_empty() && !line.starts_with("Events "))
        .take(4)
        .collect();
    let said = lines.join(" ");
    if text.contains("ermission") || text.contains("Access to performance monitoring") {
        return format!("not permitted; {PERMIT} (perf: {said})");
    }
    if said.is_empty() {
        "perf ended without a word".to_owned()
    } else {
        said
    }
}

const SYSTEM_CALLS: &str = "raw_syscalls:sys_enter";
const INSTRUCTIONS: &str = "instructions:u";
/// The group of our probes.
const PROBES: &str = "relay_bench:";
/// What Rust's allocator calls, and what C does.
const ALLOCATION: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];
const INSTALL: &str =
    "perf is not installed: apt-get install linux-perf (on Ubuntu: linux-tools-$(uname -r))";
const PERMIT: &str = "run it as root: sudo env \"PATH=$PATH\" scripts/bench --against BINARY";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_perf_is_read() {
        let text = "Events disabled\nEvents enabled\nEvents disabled\n# started on Sat\n\n\
            1043802,,raw_syscalls:sys_enter,397023951,100.00,,\n<not supported>,,instructions:u,0,100.00,,\n\
            <not counted>,,relay_bench:malloc_0,0,100.00,,\nnonsense,,cycles,1,1\n12,\n";
        let expected = [
            ("raw_syscalls:sys_enter", Reading::Count(1_043_802)),
            ("instructions:u", Reading::NotSupported),
            ("relay_bench:malloc_0", Reading::NotCounted),
        ];
        assert_eq!(readings(text), expected);
    }

    #[test]
    fn events_of_one_quantity_are_added_up() {
        for (name, text, expected) in [
            (
                "functions of two files",
                "7,,relay_bench:malloc_0,1,100,,\n5,,relay_bench:realloc_0,1,100,,\n1,,relay_bench:malloc_1,1,100,,\n",
                Some(vec![(Quantity::Allocations, 13)]),
            ),
            (
                "two kinds of core",
                "<not counted>,,cpu_atom/instructions/u,0,0.00,,\n700,,cpu_core/instructions/u,1,100,,\n",
                Some(vec![(Quantity::Instructions, 700)]),
            ),
            (
                "two quantities",
                "9,,raw_syscalls:sys_enter,1,100,,\n700,,instructions:u,1,100,,\n",
                Some(vec![
                    (Quantity::SystemCalls, 9),
                    (Quantity::Instructions, 700),
                ]),
            ),
            (
                "nothing happened",
                "0,,raw_syscalls:sys_enter,1,100,,\n",
                Some(vec![(Quantity::SystemCalls, 0)]),
            ),
            ("an event that is not ours", "9,,cycles:u,1,100,,\n", None),
            (
                "not supported",
                "<not supported>,,instructions:u,0,100,,\n",
                None,
            ),
            (
                "the process never ran",
                "<not counted>,,raw_syscalls:sys_enter,0,100,,\n",
                None,
            ),
            ("perf failed", "Error: no such process\n", None),
        ] {
            assert_eq!(counts(text).ok(), expected, "{name}");
        }
    }

    #[test]
    fn a_count_is_divided_by_what_was_moved_in_its_own_window() {
        let mut counts = Counts::default();
        counts.add(Ok((vec![(Quantity::SystemCalls, 300)], 1.5)));
        counts.add(Ok((vec![(Quantity::Allocations, 10)], 0.5)));
        counts.add(Err(anyhow::anyhow!("perf ended")));
        assert_eq!(counts.of(Quantity::SystemCalls), 200.0);
        assert_eq!(counts.of(Quantity::Allocations), 20.0);
        assert!(counts.of(Quantity::Instructions).is_nan());
        assert_eq!(counts.failures, ["perf ended"]);
    }

    #[test]
    fn the_c_library_is_found_where_there_is_one() {
        for (name, maps, expected) in [
            (
                "glibc",
                "55d0-55d1 r-xp 0 08:01 1 /usr/bin/sluicegate\n7f00-7f01 r--p 0 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n",
                Some("/usr/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            (
                "an older glibc",
                "7f00-7f01 r-xp 0 08:01 2    /lib/libc-2.31.so\n",
                Some("/lib/libc-2.31.so"),
            ),
            (
                "musl",
                "7f00-7f01 r-xp 0 08:01 2 /lib/ld-musl-x86_64.so.1\n",
                Some("/lib/ld-musl-x86_64.so.1"),
            ),
            (
                "a static program",
                "55d0-55d1 r-xp 0 08:01 1 /usr/bin/sluicegate\n7ffd-7ffe rw-p 0 0 0 [stack]\n",
                None,
            ),
        ] {
            assert_eq!(
                c_library(maps).as_deref(),
                expected.map(Path::new),
                "{name}"
            );
        }
    }

    #[test]
    fn a_refusal_names_the_command_that_permits_it() {
        for (name, text, permitted) in [
            (
                "tracing is root's",
                "event syntax error: 'raw_syscalls:sys_enter'\n  \\___ can't access trace events\n\nError: No permissions \
                 to read /sys/kernel/tracing/events/raw_syscalls/sys_enter\n",
                false,
            ),
            (
                "probes are root's",
                "No permission to write tracefs.\nPlease run this command again with sudo.\n",
                false,
            ),
            (
                "counting is root's",
                "Error:\nAccess to performance monitoring and observability operations is limited.\n",
                false,
            ),
            (
                "another reason",
                "Failed to find symbol malloc in /bin/x\n  Error: Failed to add events.\n",
                true,
            ),
        ] {
            let reason = reason(text);
            assert_eq!(!reason.contains(PERMIT), permitted, "{name}: {reason}");
            assert!(!reason.contains('\n'), "{name}: one line");
        }
    }
}
