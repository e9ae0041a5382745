//! Answers that go on: events as they happen, and a drain until it is done.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use sluicegate_core::counted::counted;

use super::arguments::{EventArguments, Output};
use super::{OperateError, ProxyClient};
use crate::api::{Drain, Event, Events};
use crate::origin::fetch::escaped;
use crate::output::print;

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
    let mut text = told(it, caller.read(document)?, &mut seen);
    if !it.follow {
        return Ok(text);
    }
    // A reader that closes the pipe has seen enough.
    while print(&text)? {
        tokio::time::sleep(POLL).await;
        let document = caller.ask(Method::GET, &path).await?;
        text = told(it, caller.read(document)?, &mut seen);
        // The oldest do not come back on a page of the newest.
        while seen.len() > MOST_SEEN {
            seen.pop_first();
        }
    }
    Ok(String::new())
}

/// The events of a page that were not seen, oldest first, one line each.
fn told(it: &EventArguments, page: Events, seen: &mut BTreeSet<(u64, String, u64)>) -> String {
    let fresh = page.events.iter().rev().filter(|event| {
        let proxy = event.proxy.clone().unwrap_or_default();
        seen.insert((event.at, proxy, event.id))
    });
    let line = |event: &Event| match it.ask.output {
        Output::Json => serde_json::to_string(event).unwrap_or_default() + "\n",
        Output::Table => line(event),
    };
    fresh.map(line).collect()
}

fn line(event: &Event) -> String {
    let at = i64::try_from(event.at).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(at).ok();
    let at = at.map_or_else(String::new, |at| at.strftime("%F %TZ").to_string());
    let mut line = format!("{at} {:<9}", event.kind);
    let names = [
        ("stream", &event.stream),
        ("origin", &event.origin),
        ("client", &event.client),
    ];
    for (field, name) in names {
        if let Some(name) = name {
            line.push_str(&format!(" {field}={name}"));
        }
    }
    if event.count > 1 {
        line.push_str(&format!(" ({} times)", event.count));
    }
    line.push_str(&format!(" {}", event.what));
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
        let Draining { drain } = caller.read(document)?;
        let drain =
            drain.ok_or_else(|| OperateError::Refused("the drain was undone".to_owned()))?;
        let line = format!(
            "left: {} and {}\n",
            counted(drain.publishers, "publisher"),
            counted(drain.players, "player")
        );
        if drain.done {
            return Ok("done\n".to_owned());
        }
        if line != last {
            print(&line)?;
            last = line;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What the documents of an origin and of a proxy have in common.
#[derive(Deserialize)]
struct Draining {
    drain: Option<Drain>,
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
        let event: Event = serde_json::from_value(json!({"at": 1_790_000_000_000_u64, "kind": "refused", "stream": "v/live/a\u{1b}[2J", "origin": null,
            "client": "192.0.2.1", "what": "play by rtmp:\nno origin", "count": 3})).unwrap();
        assert_eq!(
            line(&event),
            "2026-09-21 14:13:20Z refused   stream=v/live/a[2J client=192.0.2.1 (3 times) play by rtmp:no origin\n"
        );
    }
}
