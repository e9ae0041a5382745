//! Formats the answers of the system API as tables and sentences.

use serde::Deserialize;
use sluicegate_core::counted::counted;

use super::table::{WIDTH, table};
use crate::api::{
    Ban, Banned, Bans, Coverage, Drain, Duty, EndedCount, Missing, Move, Origin, Origins, Probed,
    Proxy, ServiceProbe, Session, Sessions, Stream, Streams,
};

/// What `ps` asks for.
#[derive(Deserialize)]
pub(super) struct Everything {
    proxy: Proxy,
    origins: Origins,
    streams: Streams,
}

/// The table of origins.
pub(super) fn origins(all: &Origins) -> String {
    let rows: Vec<[String; 8]> = all.origins.iter().map(origin).collect();
    if rows.is_empty() {
        return "no origin is known\n".to_owned();
    }
    let heading = [
        "ID", "AT", "DIALECT", "STATE", "DUTY", "SESSIONS", "HEARD", "NOTE",
    ];
    table(heading, &rows) + &missing(&all.coverage)
}

fn origin(one: &Origin) -> [String; 8] {
    let mut services = [&one.rtmp, &one.http, &one.api, &one.srt, &one.rtsp].into_iter();
    let first = services.find_map(|endpoints| endpoints.first());
    let port = first.and_then(|endpoint| endpoint.rsplit(':').next());
    let last = || one.notes.first().map(|note| note.what.clone());
    let note = match &one.drain {
        Some(drain) => progress(drain),
        None => takes_nothing(one).or_else(last).unwrap_or_default(),
    };
    [
        one.id.clone(),
        place(&one.ip, port.unwrap_or_default()),
        dialect(one),
        one.state.clone(),
        one.duty.clone(),
        one.sessions.to_string(),
        ago(one.last_seen_seconds),
        note,
    ]
}

/// Why an origin that is well and wanted takes no new streams, if it does not.
fn takes_nothing(one: &Origin) -> Option<String> {
    if one.state != "up" || one.duty != "active" {
        return None;
    }
    if one.weight == 0 {
        return Some("weight 0: no new streams".to_owned());
    }
    let limits = [
        (one.streams, one.max_streams, "streams"),
        (one.legs, one.max_sessions, "legs"),
        (one.bps / 1_000_000, one.max_mbps, "Mbit/s"),
    ];
    limits.into_iter().find_map(|(used, most, what)| {
        let most = u64::from(most?);
        (used >= most).then(|| format!("full: {used}/{most} {what}"))
    })
}

/// A host and a port as URLs have them (RFC 3986 §3.2.2).
fn place(host: &str, port: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// How an origin is asked, and what it is instead if its API says so.
fn dialect(one: &Origin) -> String {
    match &one.software {
        Some(software) if *software != one.dialect => {
            format!("{}, is {software}", one.dialect)
        }
        _ => one.dialect.clone(),
    }
}

/// The table of streams: all, or those that were looked for.
pub(super) fn streams(all: &Streams, is_narrowed: bool) -> String {
    let row = |one: &Stream| {
        [
            one.stream.clone(),
            one.origin.clone(),
            one.state.replace('_', " "),
            rate(one.bps_in),
            one.publishers.to_string(),
            one.players.to_string(),
            one.pulls.to_string(),
        ]
    };
    let rows: Vec<[String; 7]> = all.streams.iter().map(row).collect();
    if rows.is_empty() {
        let none = if is_narrowed {
            "no stream mentions that"
        } else {
            "no stream is placed"
        };
        return format!("{none}\n{}", missing(&all.coverage));
    }
    let heading = [
        "STREAM",
        "ORIGIN",
        "STATE",
        "IN",
        "PUBLISHERS",
        "PLAYERS",
        "PULLS",
    ];
    table(heading, &rows) + &rest(rows.len(), all.total) + &missing(&all.coverage)
}

/// Which sessions were ended: those of a stream, or the one session `id`, of which the answer says no more.
pub(super) fn kick(id: &str, of_stream: Option<&EndedCount>) -> String {
    match of_stream {
        Some(ended) => format!(
            "ended {} of {id}\n{}",
            counted(ended.ended, "session"),
            missing(&ended.coverage)
        ),
        None => format!("session {id} ended\n"),
    }
}

/// The table of bans.
pub(super) fn bans(all: &Bans) -> String {
    let row = |one: &Ban| {
        [
            one.id.clone(),
            format!("{}:{}", one.kind, one.name),
            span(one.seconds_left as f64),
            one.reason.clone(),
        ]
    };
    let rows: Vec<[String; 4]> = all.bans.iter().map(row).collect();
    if rows.is_empty() {
        return "nobody is banned\n".to_owned();
    }
    table(["ID", "TARGET", "LEFT", "REASON"], &rows)
}

/// What a ban did.
pub(super) fn ban(banned: &Banned) -> String {
    let (ban, ended) = (&banned.ban, banned.ended);
    let left = span(ban.seconds_left as f64);
    folded(&format!(
        "{} {} is banned for {left}; {} ended at the proxy that was asked",
        ban.kind,
        ban.name,
        counted(ended, "session")
    ))
}

/// How far a move has come.
pub(super) fn moved(it: &Move) -> String {
    let Move {
        stream,
        from,
        to,
        gap_ms,
        ..
    } = it;
    folded(&match (&*it.state, gap_ms) {
        ("made", Some(gap)) => {
            format!(
                "{stream} is on {to} now and was on {from}; no frame is missing, and {to} had the first one after {gap} ms"
            )
        }
        ("awaiting_keyframe", _) => format!(
            "{to} has taken {stream}, which moves there from {from} with its encoder's next keyframe; \
             sluicegate explain {stream} tells when it is there"
        ),
        _ => format!(
            "{to} is asked to take {stream} from {from}; sluicegate explain {stream} tells when it is there"
        ),
    })
}

/// What was lifted.
pub(super) fn unban(ban: &Ban) -> String {
    folded(&format!("{} {} is banned no more", ban.kind, ban.name))
}

/// Which proxies did not answer, if the answer is for all of them.
pub(super) fn missing(coverage: &Coverage) -> String {
    let line = |one: &Missing| folded(&format!("without proxy {}: {}", one.proxy, one.why));
    coverage.missing.iter().map(line).collect()
}

/// The table of sessions: all, or those that were looked for.
pub(super) fn sessions(all: &Sessions, is_narrowed: bool) -> String {
    let rows: Vec<[String; 8]> = all.sessions.iter().map(session).collect();
    if rows.is_empty() {
        let none = if is_narrowed {
            "no open session mentions that"
        } else {
            "no session is open"
        };
        return format!("{none}\n{}", missing(&all.coverage));
    }
    let heading = [
        "ID", "STREAM", "ASKS", "CLIENT", "ORIGIN", "STATE", "AGE", "BYTES",
    ];
    table(heading, &rows) + &rest(rows.len(), all.total) + &missing(&all.coverage)
}

fn session(one: &Session) -> [String; 8] {
    [
        match &one.proxy {
            Some(proxy) => format!("{proxy}:{}", one.id),
            None => one.id.to_string(),
        },
        one.stream.clone(),
        match one.preview {
            true => format!("{} preview", one.protocol),
            false => format!("{} {}", one.protocol, one.action),
        },
        one.client.clone(),
        text(one.origin.as_deref()),
        match one.pull {
            Some(pull) => format!("{}, pull {pull}", one.state),
            None => one.state.clone(),
        },
        span(one.age_seconds),
        size(one.bytes_to_client.max(one.bytes_to_origin)),
    ]
}

/// Everything at a glance.
pub(super) fn ps(all: &Everything) -> String {
    let proxy = &all.proxy;
    let state = match &proxy.drain {
        None if proxy.draining => "stopping".to_owned(),
        None => "taking streams".to_owned(),
        Some(drain) => format!("draining: {}", progress(drain)),
    };
    let streams = &all.streams.streams;
    let sum = |count: fn(&Stream) -> u64| -> u64 { streams.iter().map(count).sum() };
    let others = match proxy.peers.len() {
        0 => String::new(),
        others => format!(", {}", counted(others + 1, "proxy")),
    };
    let pulls = match sum(|one| one.pulls) {
        0 => String::new(),
        pulls => format!(" (pulls for them: {pulls})"),
    };
    let certificates = proxy.certificates.iter().map(|one| {
        let until = text(one.not_after.as_deref());
        let day = until.split('T').next().unwrap_or_default();
        format!("TLS: {} until {day}\n", one.name)
    });
    format!(
        "sluicegate {}, {state}\n{}, {}, {}{pulls}, {}{others}\n{}\n{}{}",
        proxy.version,
        counted(streams.len(), "stream"),
        counted(sum(|one| one.publishers), "publisher"),
        counted(sum(|one| one.players), "player"),
        counted(all.origins.origins.len(), "origin"),
        certificates.collect::<String>(),
        proxies(proxy),
        origins(&all.origins),
    )
}

/// The proxies of a cluster; empty if there is only one.
fn proxies(proxy: &Proxy) -> String {
    if proxy.peers.is_empty() {
        return String::new();
    }
    let own = [
        text(proxy.id.as_deref()),
        "asked".to_owned(),
        proxy.version.clone(),
    ];
    let others = proxy.peers.iter().map(|peer| {
        [
            peer.id.clone(),
            text(peer.system.as_deref()),
            peer.version.clone(),
        ]
    });
    let all: Vec<[String; 3]> = std::iter::once(own).chain(others).collect();
    format!("{}\n", table(["PROXY", "SYSTEM API", "VERSION"], &all))
}

/// What an origin says.
pub(super) fn probed(it: &Probed) -> String {
    let row = |one: &ServiceProbe| {
        let answer = match (one.ok, &one.reason) {
            (Some(true), _) => "ok".to_owned(),
            (_, reason) => text(reason.as_deref()),
        };
        let ms = one.ms.map(|ms| format!("{ms:.1}"));
        [
            one.service.clone(),
            one.at.clone(),
            text(ms.as_deref()),
            answer,
        ]
    };
    let rows: Vec<[String; 4]> = it.services.iter().map(row).collect();
    let state = format!("{} is {} now\n", it.id, it.state);
    match rows.as_slice() {
        [] => state,
        rows => table(["SERVICE", "AT", "MS", "ANSWER"], rows) + &state,
    }
}

/// The new duty of an origin.
pub(super) fn origin_duty(it: &Duty) -> String {
    match &it.drain {
        None if it.duty == "disabled" => {
            format!("{} is disabled: nobody new is sent there\n", it.id)
        }
        drain => takes(&it.id, drain.as_ref()),
    }
}

/// The new duty of the proxy.
pub(super) fn proxy_duty(it: &Proxy) -> String {
    takes(it.id.as_deref().unwrap_or("this proxy"), it.drain.as_ref())
}

fn takes(who: &str, drain: Option<&Drain>) -> String {
    match drain {
        None => format!("{who} takes new streams\n"),
        Some(drain) => format!("{who} drains: {}\n", progress(drain)),
    }
}

/// A line, broken between words if it is too long.
pub(super) fn folded(line: &str) -> String {
    let indent = line.len() - line.trim_start().len() + 4;
    let mut out = String::new();
    let mut length = 0;
    for (index, word) in line.split(' ').enumerate() {
        let letters = word.chars().count();
        if index > 0 && length + 1 + letters > WIDTH && length > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            length = indent;
        } else if index > 0 {
            out.push(' ');
            length += 1;
        }
        out.extend(word.chars().filter(|letter| !letter.is_control()));
        length += letters;
    }
    out.push('\n');
    out
}

/// The progress of a drain.
pub(super) fn progress(drain: &Drain) -> String {
    if drain.done {
        return "done".to_owned();
    }
    let end = match drain.eta_seconds {
        Some(seconds) => format!("over in {} at the latest", span(seconds)),
        None => "no deadline".to_owned(),
    };
    format!(
        "{} and {} left, {end}",
        counted(drain.publishers, "publisher"),
        counted(drain.players, "player")
    )
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}

pub(super) fn ago(seconds: f64) -> String {
    format!("{} ago", span(seconds))
}

/// Seconds in the form that people use: `9s`, `4m10s`, `3h05m`, `2d04h`.
pub(super) fn span(seconds: f64) -> String {
    let all = seconds.max(0.0).round() as u64;
    match all {
        0..60 => format!("{all}s"),
        60..3600 => format!("{}m{:02}s", all / 60, all % 60),
        3600..86_400 => format!("{}h{:02}m", all / 3600, all / 60 % 60),
        _ => format!("{}d{:02}h", all / 86_400, all / 3600 % 24),
    }
}

/// Bytes in the form that people use.
fn size(bytes: u64) -> String {
    scaled(bytes, "B")
}

/// Bits per second in the form that people use.
fn rate(bps: u64) -> String {
    scaled(bps, "bit/s")
}

fn scaled(number: u64, unit: &str) -> String {
    let number = number as f64;
    let prefixes = [("G", 1e9), ("M", 1e6), ("k", 1e3)];
    match prefixes.into_iter().find(|(_, times)| number >= *times) {
        Some((prefix, times)) => format!("{:.1} {prefix}{unit}", number / times),
        None => format!("{number:.0} {unit}"),
    }
}

/// That a list has more rows than are shown; empty if it has not.
fn rest(shown: usize, total: usize) -> String {
    match total > shown {
        true => format!("{shown} of {total}: --find and --limit show others\n"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    fn read<T: DeserializeOwned>(document: Value) -> T {
        serde_json::from_value(document).expect("a document of the system API")
    }

    fn fits(text: &str) {
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn the_fleet_is_a_table_that_fits() {
        let data = json!({"total": 2, "origins": [
            {"id": "vid-0000001-a-very-long-id-of-an-origin-that-had-a-clone-7f3a-12345", "ip": "10.0.0.1",
             "rtmp": ["tcp://:1935"], "state": "up", "duty": "draining", "sessions": 12, "last_seen_seconds": 4.2,
             "drain": {"publishers": 3, "players": 9, "done": false, "eta_seconds": 605.0}, "notes": []},
            {"id": "b", "ip": "2001:db8::1", "rtmp": [], "http": ["tcp://:8080"], "state": "failing", "duty": "active",
             "sessions": 0, "last_seen_seconds": 400.0, "drain": null,
             "notes": [{"seconds_ago": 1.0, "what": "10.0.0.2:1935: connection refused"}]},
            {"id": "c", "ip": "10.0.0.3", "rtmp": ["tcp://:1935"], "state": "up", "duty": "active", "weight": 100,
             "streams": 5, "max_streams": 5, "notes": []},
            {"id": "d", "ip": "10.0.0.4", "rtmp": ["tcp://:1935"], "state": "up", "duty": "active", "weight": 0, "notes": []},
        ]});
        let text = origins(&read(data));
        fits(&text);
        assert!(text.contains(" [2001:db8::1]:8"), "{text}");
        assert!(
            text.contains("failing") && text.contains("6m40s ago"),
            "{text}"
        );
        assert!(text.contains("3 publishers"), "{text}");
        assert!(text.contains("full: 5/5"), "{text}");
        assert!(text.contains("weight 0"), "{text}");
        assert_eq!(
            origins(&read(json!({"origins": []}))),
            "no origin is known\n"
        );
    }

    #[test]
    fn sessions_and_streams_are_tables_that_fit() {
        let data = json!({"sessions": [{"id": 7, "stream": format!("__defaultVhost__/live/{}", "x".repeat(90)),
            "protocol": "rtmp", "action": "publish", "client": "[2001:db8::1234:5678]:54321", "origin": "one",
            "state": "relaying", "pull": 12, "age_seconds": 7384.0, "bytes_to_client": 3, "bytes_to_origin": 123_456_789}],
            "total": 3});
        let text = sessions(&read(data), false);
        fits(&text);
        assert!(
            text.ends_with("1 of 3: --find and --limit show others\n"),
            "{text}"
        );
        assert!(
            text.contains("relaying, pull 12")
                && text.contains("2h03m")
                && text.contains("123.5 MB")
                && text.contains("rtmp publish"),
            "{text}"
        );
        let data = json!({"streams": [{"stream": "v/live/a", "origin": "one", "publishers": 1, "players": 3,
            "state": "late_keyframes", "bps_in": 999}], "total": 1});
        let text = streams(&read(data), true);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("late keyframes  999 bit/s"), "{text}");
        let none = || json!({"total": 0});
        for (told, words) in [
            (sessions(&read(none()), false), "no session is open\n"),
            (
                sessions(&read(none()), true),
                "no open session mentions that\n",
            ),
            (streams(&read(none()), false), "no stream is placed\n"),
            (streams(&read(none()), true), "no stream mentions that\n"),
        ] {
            assert_eq!(told, words);
        }
    }

    #[test]
    fn bans_are_a_table_and_a_sentence() {
        let one = Ban {
            id: "0123456789abcdef".to_owned(),
            kind: "viewer".to_owned(),
            name: "seven".to_owned(),
            seconds_left: 7384,
            reason: "shares".to_owned(),
            ..Ban::default()
        };
        let all = Bans {
            total: 1,
            bans: vec![one.clone()],
        };
        let table = bans(&all);
        fits(&table);
        assert!(
            table.contains("viewer:seven") && table.contains("2h03m"),
            "{table}"
        );
        assert_eq!(bans(&Bans::default()), "nobody is banned\n");
        assert_eq!(unban(&one), "viewer seven is banned no more\n");
        let said = ban(&Banned { ban: one, ended: 2 });
        assert!(
            said.starts_with("viewer seven is banned for 2h03m; 2 sessions"),
            "{said}"
        );
    }

    #[test]
    fn a_probe_is_a_table_with_what_comes_of_it() {
        let data = json!({"id": "one", "state": "up", "services": [
            {"service": "rtmp", "at": "10.0.0.1:1935", "ok": true, "reason": null, "ms": 1.26, "judged": true},
            {"service": "http", "at": "10.0.0.1:8080", "ok": false, "reason": "connection refused", "ms": 0.4, "judged": false},
            {"service": "rtc", "at": "10.0.0.1:8000", "ok": null, "reason": "rtc is served over UDP and cannot be asked",
             "ms": null, "judged": false}]});
        let text = probed(&read(data));
        fits(&text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(
            lines[1].contains("1.3") && lines[1].ends_with("ok"),
            "{text}"
        );
        assert!(lines[2].ends_with("connection refused"), "{text}");
        assert!(lines[3].contains(" - "), "{text}");
        assert_eq!(lines[4], "one is up now");
        let nothing = json!({"id": "one", "state": "suspect", "services": []});
        assert_eq!(probed(&read(nothing)), "one is suspect now\n");
    }

    #[test]
    fn a_duty_is_a_sentence() {
        let drain = json!({"publishers": 1, "players": 0, "done": false, "eta_seconds": null});
        let rows = [
            (
                json!({"id": "a", "duty": "active", "drain": null}),
                "a takes new streams\n",
            ),
            (
                json!({"id": "a", "duty": "draining", "drain": drain}),
                "a drains: 1 publisher and 0 players left, no deadline\n",
            ),
            (
                json!({"id": "a", "duty": "disabled", "drain": null}),
                "a is disabled: nobody new is sent there\n",
            ),
        ];
        for (data, expected) in rows {
            assert_eq!(origin_duty(&read(data)), expected);
        }
        let proxies = [
            (
                json!({"id": null, "draining": false, "drain": null}),
                "this proxy takes new streams\n",
            ),
            (json!({"id": "p1"}), "p1 takes new streams\n"),
        ];
        for (data, expected) in proxies {
            assert_eq!(proxy_duty(&read(data)), expected);
        }
    }
}
