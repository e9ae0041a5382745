//! Formats an event as one line.

use std::fmt::{self, Write};

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use crate::stream_names::StreamNames;

/// The format of lines.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    Json,
    Text { colours: bool },
}

/// The fields of an event, in order; the message is kept apart.
#[derive(Debug, Default)]
pub(super) struct Fields {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Fields {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Shows no more of the stream's name than `names` allows, wherever it occurs in the line.
    pub(super) fn mask(&mut self, names: StreamNames) {
        let stream = self.fields.iter().find(|(name, _)| *name == "stream");
        let Some(stream) = stream.and_then(|(_, value)| value.as_str()) else {
            return;
        };
        if names == StreamNames::Keep {
            return;
        }
        let (stream, masked) = (stream.to_owned(), names.mask(stream));
        let last = |stream: &str| stream.rsplit('/').next().unwrap_or_default().to_owned();
        let (name, masked_name) = (last(&stream), last(&masked));
        let in_paths = ["/", &name].concat();
        let masked_in_paths = ["/", &masked_name].concat();
        let hide = |text: &str| {
            text.replace(&stream, &masked)
                .replace(&in_paths, &masked_in_paths)
        };
        self.message = hide(&self.message);
        for (field, value) in &mut self.fields {
            if let Value::String(text) = value {
                if *field == "stream" {
                    masked.clone_into(text);
                    continue;
                }
                *text = hide(text);
                // An origin may say the name alone. Words of ours that happen to be a stream's name are not its name.
                if !OUR_WORDS.contains(field) {
                    *text = replace_word(text, &name, &masked_name);
                }
            }
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // One that says nothing is left out, as one that is not there is.
            (_, Value::String(text)) if text.is_empty() => {}
            (name, value) => self.fields.push((name, value)),
        }
    }
}

/// The same text with another word in place of `word`, wherever that stands by itself. A word of some length is not found in
/// another by chance, and is replaced there too.
fn replace_word(text: &str, word: &str, other: &str) -> String {
    if word.chars().count() >= LONG_WORD {
        return text.replace(word, other);
    }
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word).filter(|_| !word.is_empty()) {
        let (before, found) = rest.split_at(at);
        let (found, after) = found.split_at(word.len());
        let is_apart =
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        replaced.extend([before, if is_apart { other } else { found }]);
        rest = after;
    }
    replaced + rest
}

/// Fields of closed sets of words, and those that name something else than a stream: nobody hides its address by the name that it
/// gives a stream.
const OUR_WORDS: [&str; 7] = [
    "action", "client", "code", "origin", "peer", "protocol", "reason",
];
/// Letters.
const LONG_WORD: usize = 8;

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
}

impl Look {
    pub(super) const fn text(colours: bool) -> Self {
        Self::Text { colours }
    }

    /// The line, including its line end.
    pub(super) fn line(self, at: Timestamp, metadata: &Metadata<'_>, fields: &Fields) -> String {
        match self {
            Self::Json => json(at, metadata, fields),
            Self::Text { colours } => text(at, *metadata.level(), fields, colours),
        }
    }
}

fn json(at: Timestamp, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let head = [
        ("timestamp", Value::from(format!("{at:.6}"))),
        ("level", metadata.level().as_str().into()),
        ("message", fields.message.as_str().into()),
    ];
    let last = ("target", Value::from(metadata.target()));
    let fields = fields.fields.iter().map(|(name, value)| (*name, value));
    let all = head.iter().map(|(name, value)| (*name, value));
    let mut line = String::from("{");
    for (name, value) in all.chain(fields).chain([(last.0, &last.1)]) {
        let comma = if line.len() > 1 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(line, "{comma}{}:{value}", Value::from(name));
    }
    line.push_str("}\n");
    line
}

fn text(at: Timestamp, level: Level, fields: &Fields, colours: bool) -> String {
    let (before, after) = if colours {
        (colour(level), "\x1b[0m")
    } else {
        ("", "")
    };
    let mut line = format!(
        "{at:.3} {before}{level:>5}{after} {}",
        plain(&fields.message)
    );
    for (name, value) in &fields.fields {
        // Writing to a string cannot fail.
        let _ = match value {
            Value::String(text) => write!(line, " {name}={}", quoted(text)),
            value => write!(line, " {name}={value}"),
        };
    }
    line.push('\n');
    line
}

/// Escapes what a client sent, so that it cannot move the cursor or begin a line.
fn plain(text: &str) -> String {
    let safe = |letter: char| letter == ' ' || !letter.escape_debug().any(|part| part == '\\');
    if text.chars().all(safe) {
        text.to_owned()
    } else {
        text.escape_debug().to_string()
    }
}

/// A plain word unchanged, and anything else in quotes.
fn quoted(text: &str) -> String {
    let escaped = plain(text);
    let word =
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '='));
    if word && escaped == text {
        escaped
    } else {
        format!("{text:?}")
    }
}

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::logging::Lines;

    /// What `events` writes, as JSON and as text.
    fn written(events: impl Fn()) -> [String; 2] {
        static WRITTEN: [Mutex<String>; 2] = [const { Mutex::new(String::new()) }; 2];
        let book = |number: usize| {
            move |line: &[u8]| {
                let line = str::from_utf8(line).unwrap();
                WRITTEN[number].lock().unwrap().push_str(line);
            }
        };
        let subscriber = tracing_subscriber::registry()
            .with(Lines::new(true, book(0)))
            .with(Lines::new(false, book(1)));
        tracing::subscriber::with_default(subscriber, events);
        [0, 1].map(|number| std::mem::take(&mut *WRITTEN[number].lock().unwrap()))
    }

    #[test]
    fn a_line_reads_back_as_it_was_said() {
        let [json, text] = written(|| {
            tracing::info!(
                session = 7_u64,
                stream = "v/live/a",
                why = "it said \"no\"\n",
                failed = "",
                late = 1.5,
                "session ended"
            );
        });
        let row: Value = serde_json::from_str(&json).unwrap();
        assert!(json.starts_with("{\"timestamp\":\"2"), "{json}");
        for (name, expected) in [
            ("level", Value::from("INFO")),
            ("message", "session ended".into()),
            ("session", 7.into()),
            ("stream", "v/live/a".into()),
            ("why", "it said \"no\"\n".into()),
            ("late", 1.5.into()),
        ] {
            assert_eq!(row[name], expected, "{name}");
        }
        assert_eq!(row.get("failed"), None, "it says nothing");
        let (_, rest) = text.split_once('Z').unwrap();
        let expected = "  INFO session ended session=7 stream=v/live/a why=\"it said \\\"no\\\"\\n\" late=1.5\n";
        assert_eq!(rest, expected);
    }

    #[test]
    fn a_masked_name_stands_nowhere_in_its_line() {
        let value = |text: &str| Value::from(text);
        let mut fields = Fields {
            message: "v/live/top-secret-key moved".to_owned(),
            fields: vec![
                ("stream", value("v/live/top-secret-key")),
                ("detail", value("live/top-secret-key: no live origin")),
                ("count", 3.into()),
            ],
        };
        fields.mask(StreamNames::Keep);
        assert_eq!(fields.message, "v/live/top-secret-key moved");
        fields.mask(StreamNames::LastFour);
        assert_eq!(fields.message, "v/live/…-key moved");
        assert_eq!(fields.fields[1].1, "live/…-key: no live origin");
        assert_eq!(fields.fields[2].1, 3);
    }

    #[test]
    fn a_name_is_masked_without_its_path_too() {
        for (stream, detail, expected) in [
            (
                "v/live/top-secret-key",
                "o1: NetStream.Publish.BadName: stream top-secret-key?… is taken",
                "o1: NetStream.Publish.BadName: stream …-key?… is taken",
            ),
            (
                "v/live/top-secret-key",
                "o1: 404 no mytop-secret-key2",
                "o1: 404 no my…-key2",
            ),
            (
                "v/live/cam1",
                "o1: 'cam1' is not cam10 nor a_cam1",
                "o1: '…' is not cam10 nor a_…",
            ),
            ("v/live/cam1", "cam1", "…"),
            ("v/live/live", "live/live: live is off", "…/…: … is off"),
            ("cam1", "rtsp://h/cam1: cam1 is off", "rtsp://h/…: … is off"),
        ] {
            let mut fields = Fields {
                message: "refused".to_owned(),
                fields: vec![("stream", stream.into()), ("detail", detail.into())],
            };
            fields.mask(StreamNames::LastFour);
            assert_eq!(fields.fields[1].1, expected, "{stream}: {detail}");
        }
    }

    #[test]
    fn a_stream_named_as_a_word_of_ours_leaves_that_word() {
        let mut fields = Fields {
            message: "refused".to_owned(),
            fields: vec![
                ("stream", "v/publish/publish".into()),
                ("action", "publish".into()),
            ],
        };
        fields.mask(StreamNames::LastFour);
        assert_eq!(fields.message, "refused");
        assert_eq!(fields.fields[0].1, "v/publish/…");
        assert_eq!(fields.fields[1].1, "publish");
    }
}
