//! Writes log lines: one event, one line, on standard output.

mod flood;
mod line;
mod writer;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::stream_names;
use flood::Flood;
use line::{Fields, Look};
use writer::Writer;

/// Starts logging to standard output: text for people on a terminal, otherwise one JSON object per line. `RUST_LOG`
/// overrides `level`: a level, or targets with a level each, such as `info,sluicegate::hub=debug`.
///
/// # Errors
/// When the system has no thread for it.
pub fn start(format: LogFormat, level: Level) -> io::Result<()> {
    let started = Writer::start(io::stdout())?;
    let writer = WRITER.get_or_init(|| started);
    let wanted = std::env::var("RUST_LOG").ok();
    let wanted = wanted.filter(|wanted| !wanted.is_empty());
    let understood = wanted.as_deref().and_then(filter);
    let is_misunderstood = wanted.is_some() && understood.is_none();
    let filter = understood.unwrap_or_else(|| Targets::new().with_default(level));
    let terminal = io::stdout().is_terminal();
    let look = match format {
        LogFormat::Auto if terminal => Look::text(colours()),
        LogFormat::Text => Look::text(terminal && colours()),
        LogFormat::Auto | LogFormat::Json => Look::Json,
    };
    let lines = Lines {
        look,
        write: |line: &[u8]| writer.write(line),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    if is_misunderstood {
        warn!(
            allowed = "error, warn, info, debug, trace or off; or targets with a level each",
            "RUST_LOG is ignored: a word of it is no level"
        );
    }
    Ok(())
}

/// Waits until all lines are written, for at most a second. The process may end after this.
pub fn finish() {
    if let Some(writer) = WRITER.get() {
        writer.finish(Duration::from_secs(1));
    }
}

/// What `RUST_LOG` asks for. `None` where a word is no level: taken for the name of a target, it would silence all others.
fn filter(wanted: &str) -> Option<Targets> {
    let is_clear = |directive: &str| {
        directive.contains('=')
            || directive.contains("::")
            || directive.starts_with("sluicegate")
            || directive.parse::<LevelFilter>().is_ok()
    };
    let directives = wanted.split(',').map(str::trim);
    let all_clear = directives
        .filter(|directive| !directive.is_empty())
        .all(is_clear);
    wanted.parse().ok().filter(|_| all_clear)
}

/// Reports how many lines were left out since the last call, and which. The sweep calls this every second.
pub fn report_left_out() {
    for (what, count) in FLOOD.take_left_out() {
        warn!(count, what, "log lines left out");
    }
    let count = WRITER.get().map_or(0, Writer::take_lost);
    if count > 0 {
        let what = "of any kind: standard output was not read";
        warn!(count, what, "log lines left out");
    }
}

/// <https://no-color.org>
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes each event as one line, unless its place in the code exceeds its limit.
#[derive(Debug)]
pub struct Lines<W> {
    look: Look,
    write: W,
}

impl<W: Fn(&[u8])> Lines<W> {
    /// Lines of JSON, or of text without colours, for `write`.
    pub const fn new(json: bool, write: W) -> Self {
        let look = if json { Look::Json } else { Look::text(false) };
        Self { look, write }
    }
}

impl<S: Subscriber, W: Fn(&[u8]) + 'static> Layer<S> for Lines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::of(event);
        // Each session ends once, and that line is its summary, so it is never left out.
        if metadata.target() != ACCESS
            && !FLOOD.admits(metadata.callsite(), fields.message(), Instant::now())
        {
            return;
        }
        fields.mask(stream_names::decided());
        let line = self.look.line(Timestamp::now(), metadata, &fields);
        (self.write)(line.as_bytes());
    }
}

/// The target of the line that each session ends with.
const ACCESS: &str = crate::sessions::ACCESS;

// Events come from everywhere, and there is one subscriber for them.
static FLOOD: Flood = Flood::new();
static WRITER: OnceLock<Writer> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for (wanted, is_understood) in [
            ("debug", true),
            ("WARN", true),
            ("off", true),
            ("info,sluicegate::hub=debug", true),
            ("sluicegate", true),
            ("hyper=warn", true),
            ("info,", true),
            ("warning", false),
            ("verbose", false),
            ("info,loud", false),
            ("sluicegate::hub=loud", false),
        ] {
            assert_eq!(filter(wanted).is_some(), is_understood, "{wanted}");
        }
    }
}
