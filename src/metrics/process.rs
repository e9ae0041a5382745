//! What the kernel reports about this process, read from `/proc` at each scrape. Without `/proc`, these metrics are
//! missing.

use std::fs;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::catalog::Catalog;

#[derive(Debug)]
pub(super) struct Process {
    resident: Gauge,
    descriptors: Gauge,
    most_descriptors: Gauge,
    threads: Gauge,
    cpu: Counter<f64, AtomicU64>,
    started: Gauge<f64, AtomicU64>,
}

/// The values from `/proc/self/stat` that are exposed, in its units (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: i64,
    start_ticks: u64,
    resident_pages: i64,
}

impl Process {
    pub(super) fn new(registry: &mut Catalog) -> Self {
        let process = Self {
            resident: Gauge::default(),
            descriptors: Gauge::default(),
            most_descriptors: Gauge::default(),
            threads: Gauge::default(),
            cpu: Counter::default(),
            started: Gauge::default(),
        };
        let help = "Memory of this process that is in RAM";
        registry.register_with_unit(
            "process_resident_memory",
            help,
            Unit::Bytes,
            process.resident.clone(),
        );
        let help = "Open file descriptors of this process";
        registry.register("process_open_fds", help, process.descriptors.clone());
        let help = "Maximum file descriptors of this process";
        registry.register("process_max_fds", help, process.most_descriptors.clone());
        registry.register(
            "process_threads",
            "Threads of this process",
            process.threads.clone(),
        );
        let help = "CPU time of this process, user and system";
        registry.register_with_unit("process_cpu", help, Unit::Seconds, process.cpu.clone());
        let help = "Start time of this process, since 1970";
        registry.register_with_unit(
            "process_start_time",
            help,
            Unit::Seconds,
            process.started.clone(),
        );
        process
    }

    /// Brings all values up to date. Only one scrape at a time calls this.
    pub(super) fn sample(&self) {
        self.descriptors
            .set(i64::try_from(open_descriptors()).unwrap_or(i64::MAX));
        let limit = getrlimit(Resource::Nofile)
            .current
            .and_then(|limit| i64::try_from(limit).ok());
        self.most_descriptors.set(limit.unwrap_or(i64::MAX));
        let Some(stat) = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|text| Stat::parse(&text))
        else {
            return;
        };
        let ticks = clock_ticks_per_second() as f64;
        self.resident.set(
            stat.resident_pages
                .saturating_mul(i64::try_from(page_size()).unwrap_or(0)),
        );
        self.threads.set(stat.threads);
        let cpu = stat.cpu_ticks as f64 / ticks;
        self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        if let Some(boot) = fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| boot_time(&text))
        {
            self.started
                .set(boot as f64 + stat.start_ticks as f64 / ticks);
        }
    }
}

/// Counts them without an allocation for each name: a busy proxy has tens of thousands, and its own rules look at this
/// every few seconds.
fn open_descriptors() -> usize {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::open("/proc/self/fd", flags, Mode::empty()) else {
        return 0;
    };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&directory, &mut buffer);
    let mut count = 0_usize;
    while let Some(Ok(entry)) = entries.next() {
        count += usize::from(!matches!(entry.file_name().to_bytes(), b"." | b".."));
    }
    // Reading the directory itself takes one descriptor.
    count.saturating_sub(1)
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program is in brackets, and may hold any byte.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Field 3 of proc(5) is the first here.
        let field = |number: usize| fields.get(number - 3).copied();
        let user: u64 = field(14)?.parse().ok()?;
        let system: u64 = field(15)?.parse().ok()?;
        Some(Self {
            cpu_ticks: user.saturating_add(system),
            threads: field(20)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
            resident_pages: field(24)?.parse().ok()?,
        })
    }
}

/// Seconds since 1970 at which the system started.
fn boot_time(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_counted_one_by_one() {
        // Other tests of this process open and close some meanwhile.
        let held_per_open = || {
            let before = open_descriptors();
            let held: Vec<_> = (0..500)
                .map(|_| fs::File::open("/proc/self/stat"))
                .collect();
            let files = held.iter().filter(|file| file.is_ok()).count();
            (open_descriptors() as f64 - before as f64) / files as f64
        };
        let ratio = held_per_open();
        assert!((0.8..1.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_name_may_hold_brackets_and_spaces() {
        let text = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 5 0 900 1000000 256 18446744073709551615";
        let expected = Stat {
            cpu_ticks: 42,
            threads: 5,
            start_ticks: 900,
            resident_pages: 256,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (cut"), None);
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000));
    }
}
