//! Answers that go on: events as they happen, and a drain until it is done.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::arguments::{EventArguments, Output};
use super::{OperateError, ProxyClient, tell};
use crate::origin::fetch::escaped;

/// Prints events, oldest first; with `follow`, those that happen from then on too, until nobody reads them.
pub(super) async fn events(
    it: &EventArguments,
    caller: &ProxyClient,
) -> Result<String, OperateError> {
    let mut path = format!("/api/v1/events?sort=-at&limit={}", it.limit);
    let kind = it.kind.as_deref().map(|kind| ("kind", kind));
    let stream = it.stream.as_deref().map(|stream| ("stream", stream));
    for (name, value) in kind.into_iter().chain(stream) {
        path.push_str(&format!("&{name}={}", escaped(value)));
    }
    let document = caller.ask(Method::GET, &path).await?;
    let mut seen = BTreeSet::new();
    let mut text = told(it, &document, &mut seen);
    if !it.follow {
        return Ok(text);
    }
    // A reader that closes the pipe has seen enough.
    while print(&text).is_ok() {
        tokio::time::sleep(POLL).await;
        let document = caller.ask(Method::GET, &path).await?;
        text = told(it, &document, &mut seen);
        // The oldest do not come back on a page of the newest.
        while seen.len() > MOST_SEEN {
            seen.pop_first();
        }
    }
    Ok(String::new())
}

/// The events of a page that were not seen, oldest first, one line each.
fn told(it: &EventArguments, document: &Value, seen: &mut BTreeSet<(u64, String, u64)>) -> String {
    let rows = document["events"].as_array().map_or(&[][..], Vec::as_slice);
    let fresh = rows.iter().rev().filter(|row| {
        let proxy = row["proxy"].as_str().unwrap_or_default().to_owned();
        let number = |field: &str| row[field].as_u64().unwrap_or_default();
        seen.insert((number("at"), proxy, number("id")))
    });
    let line = |row: &Value| match it.ask.output {
        Output::Json => format!("{row}\n"),
        Output::Table => event(row),
    };
    fresh.map(line).collect()
}

fn event(row: &Value) -> String {
    let at = row["at"]
        .as_i64()
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    let at = at.map_or_else(String::new, |at| at.strftime("%F %TZ").to_string());
    let mut line = format!("{at} {:<9}", tell::text(&row["kind"]));
    for field in ["stream", "origin", "client"] {
        if let Some(name) = row[field].as_str() {
            line.push_str(&format!(" {field}={name}"));
        }
    }
    if let Some(count @ 2..) = row["count"].as_u64() {
        line.push_str(&format!(" ({count} times)"));
    }
    line.push_str(&format!(" {}", tell::text(&row["what"])));
    let mut plain: String = line.chars().filter(|letter| !letter.is_control()).collect();
    plain.push('\n');
    plain
}

/// Waits until the drain of an origin, or of the proxy that `query` names, is done, and prints how far it has come each
/// time that changes.
pub(super) async fn drained(
    origin: Option<&str>,
    query: &str,
    caller: &ProxyClient,
) -> Result<String, OperateError> {
    let path = match origin {
        Some(origin) => format!("/api/v1/origins/{}", escaped(origin)),
        None => format!("/api/v1/proxy?{query}"),
    };
    let mut last = String::new();
    loop {
        let document = match caller.ask(Method::GET, &path).await {
            Ok(document) => document,
            // One that a list no longer names is taken out once it has drained.
            Err(OperateError::Unknown(_)) => return Ok("done: it is taken out\n".to_owned()),
            Err(error) => return Err(error),
        };
        let drain = &document["drain"];
        if drain.is_null() {
            return Err(OperateError::Refused("the drain was undone".to_owned()));
        }
        let left = (drain["publishers"].as_u64(), drain["players"].as_u64());
        let line = format!(
            "{} publishers and {} players are left\n",
            left.0.unwrap_or(0),
            left.1.unwrap_or(0)
        );
        if drain["done"] == true {
            return Ok("done\n".to_owned());
        }
        if line != last {
            print(&line)?;
            last = line;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// How often the proxy is asked again.
const POLL: Duration = Duration::from_secs(1);
/// Events that are remembered as printed: many pages of them.
const MOST_SEEN: usize = 4_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let row = json!({"at": 1_790_000_000_000_u64, "kind": "refused", "stream": "v/live/a\u{1b}[2J", "origin": null,
            "client": "192.0.2.1", "what": "play by rtmp:\nno origin", "count": 3});
        assert_eq!(
            event(&row),
            "2026-09-21 14:13:20Z refused   stream=v/live/a[2J client=192.0.2.1 (3 times) play by rtmp:no origin\n"
        );
    }
}
