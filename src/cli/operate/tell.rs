//! Formats the answers of the system API as tables and sentences.

use serde_json::Value;

use super::table::{WIDTH, table};

/// The table of origins.
pub(super) fn origins(data: &Value) -> String {
    let rows: Vec<[String; 7]> = rows(data, "origins").map(origin).collect();
    if rows.is_empty() {
        return "no origin is known\n".to_owned();
    }
    let heading = ["ID", "AT", "STATE", "DUTY", "SESSIONS", "HEARD", "NOTE"];
    table(heading, &rows) + &missing(data)
}

fn origin(row: &Value) -> [String; 7] {
    let first = ["rtmp", "http", "api", "srt", "rtsp"]
        .into_iter()
        .find_map(|service| row[service][0].as_str())
        .unwrap_or_default();
    let port = first.rsplit(':').next().unwrap_or_default();
    let heard = row["last_seen_seconds"]
        .as_f64()
        .map(ago)
        .unwrap_or_default();
    let note = match &row["drain"] {
        Value::Null => row["notes"][0]["what"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        drain => progress(drain),
    };
    [
        text(&row["id"]),
        format!("{}:{port}", text(&row["ip"])),
        text(&row["state"]),
        text(&row["duty"]),
        text(&row["sessions"]),
        heard,
        note,
    ]
}

/// The table of streams.
pub(super) fn streams(data: &Value) -> String {
    let keys = ["stream", "origin", "publishers", "players", "pulls"];
    let row = |row: &Value| keys.map(|key| text(&row[key]));
    let rows: Vec<[String; 5]> = rows(data, "streams").map(row).collect();
    if rows.is_empty() {
        return format!("no stream is placed\n{}", missing(data));
    }
    let heading = ["STREAM", "ORIGIN", "PUBLISHERS", "PLAYERS", "PULLS"];
    table(heading, &rows) + &missing(data)
}

/// Which sessions were ended.
pub(super) fn kick(id: &str, data: &Value) -> String {
    match data["ended"].as_u64() {
        Some(ended) => format!("{ended} sessions of {id} ended\n{}", missing(data)),
        None => format!("session {id} ended\n"),
    }
}

/// Which proxies did not answer, if the answer is for all of them.
fn missing(data: &Value) -> String {
    let line = |row: &Value| {
        let (proxy, why) = (text(&row["proxy"]), text(&row["why"]));
        folded(&format!("without proxy {proxy}: {why}"))
    };
    rows(data, "missing").map(line).collect()
}

/// The table of sessions.
pub(super) fn sessions(data: &Value) -> String {
    let row = |row: &Value| {
        let bytes =
            ["bytes_to_client", "bytes_to_origin"].map(|key| row[key].as_f64().unwrap_or_default());
        [
            match row["proxy"].as_str() {
                Some(proxy) => format!("{proxy}:{}", text(&row["id"])),
                None => text(&row["id"]),
            },
            text(&row["stream"]),
            format!("{} {}", text(&row["protocol"]), text(&row["action"])),
            text(&row["client"]),
            text(&row["origin"]),
            match row["pull"].as_u64() {
                Some(pull) => format!("{}, pull {pull}", text(&row["state"])),
                None => text(&row["state"]),
            },
            row["age_seconds"].as_f64().map(span).unwrap_or_default(),
            size(bytes[0].max(bytes[1])),
        ]
    };
    let rows: Vec<[String; 8]> = rows(data, "sessions").map(row).collect();
    if rows.is_empty() {
        return format!("no session is open\n{}", missing(data));
    }
    let heading = [
        "ID", "STREAM", "ASKS", "CLIENT", "ORIGIN", "STATE", "AGE", "BYTES",
    ];
    table(heading, &rows) + &missing(data)
}

/// Everything at a glance.
pub(super) fn ps(all: &Value) -> String {
    let proxy = &all["proxy"];
    let state = match &proxy["drain"] {
        Value::Null if proxy["draining"] == true => "stopping".to_owned(),
        Value::Null => "taking streams".to_owned(),
        drain => format!("draining: {}", progress(drain)),
    };
    let count = |what: &str| rows(&all[what], what).count();
    let sum = |what: &str| -> u64 {
        let counts = rows(&all["streams"], "streams").map(|row| row[what].as_u64());
        counts.map(Option::unwrap_or_default).sum()
    };
    let others = match rows(proxy, "peers").count() {
        0 => String::new(),
        others => format!(", {} proxies", others + 1),
    };
    let pulls = match sum("pulls") {
        0 => String::new(),
        pulls => format!(" (pulls for them: {pulls})"),
    };
    let certificates: String = rows(proxy, "certificates")
        .map(|row| {
            let until = text(&row["not_after"]);
            format!(
                "TLS: {} until {}\n",
                text(&row["name"]),
                until.split('T').next().unwrap_or_default()
            )
        })
        .collect();
    format!(
        "sluicegate {}, {state}\n{} streams, {} publishers, {} players{pulls}, {} origins{others}\n{certificates}\n{}{}",
        text(&proxy["version"]),
        count("streams"),
        sum("publishers"),
        sum("players"),
        count("origins"),
        proxies(proxy),
        origins(&all["origins"]),
    )
}

/// The proxies of a cluster; empty if there is only one.
fn proxies(proxy: &Value) -> String {
    let mut all: Vec<[String; 3]> = rows(proxy, "peers")
        .map(|row| ["id", "system", "version"].map(|key| text(&row[key])))
        .collect();
    if all.is_empty() {
        return String::new();
    }
    let own = [
        text(&proxy["id"]),
        "asked".to_owned(),
        text(&proxy["version"]),
    ];
    all.insert(0, own);
    format!("{}\n", table(["PROXY", "SYSTEM API", "VERSION"], &all))
}

/// The new duty of an origin or of the proxy.
pub(super) fn duty(data: &Value) -> String {
    let who = data["id"].as_str().unwrap_or("this proxy");
    match &data["drain"] {
        Value::Null if data["duty"] == "disabled" => {
            format!("{who} is disabled: nobody new is sent there\n")
        }
        Value::Null => format!("{who} takes new streams\n"),
        drain => format!("{who} drains: {}\n", progress(drain)),
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
pub(super) fn progress(drain: &Value) -> String {
    let publishers = text(&drain["publishers"]);
    let players = text(&drain["players"]);
    if drain["done"] == true {
        return "done".to_owned();
    }
    let end = match drain["eta_seconds"].as_f64() {
        Some(seconds) => format!("over in {} at the latest", span(seconds)),
        None => "no deadline".to_owned(),
    };
    format!("{publishers} publishers and {players} players left, {end}")
}

fn rows<'a>(data: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    data[list].as_array().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(fraction) if number.is_f64() => format!("{fraction:.1}"),
            _ => number.to_string(),
        },
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Object(_) => value.to_string(),
    }
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
fn size(bytes: f64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes / unit),
        None => format!("{bytes:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        ]});
        let text = origins(&data);
        fits(&text);
        assert!(
            text.contains("failing") && text.contains("6m40s ago"),
            "{text}"
        );
        assert!(text.contains("3 publishers"), "{text}");
        assert_eq!(origins(&json!({"origins": []})), "no origin is known\n");
    }

    #[test]
    fn sessions_and_streams_are_tables_that_fit() {
        let data = json!({"sessions": [{"id": 7, "stream": format!("__defaultVhost__/live/{}", "x".repeat(90)),
            "protocol": "rtmp", "action": "publish", "client": "[2001:db8::1234:5678]:54321", "origin": "one",
            "state": "relaying", "pull": 12, "age_seconds": 7384.0, "bytes_to_client": 3, "bytes_to_origin": 123_456_789}]});
        let text = sessions(&data);
        fits(&text);
        assert!(
            text.contains("relaying, pull 12")
                && text.contains("2h03m")
                && text.contains("123.5 MB")
                && text.contains("rtmp publish"),
            "{text}"
        );
        let data = json!({"streams": [{"stream": "v/live/a", "origin": "one", "publishers": 1, "players": 3}]});
        assert_eq!(streams(&data).lines().count(), 2);
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
                "a drains: 1 publishers and 0 players left, no deadline\n",
            ),
            (
                json!({"id": "a", "duty": "disabled", "drain": null}),
                "a is disabled: nobody new is sent there\n",
            ),
            (
                json!({"draining": false, "drain": null}),
                "this proxy takes new streams\n",
            ),
        ];
        for (data, expected) in rows {
            assert_eq!(duty(&data), expected);
        }
    }
}
