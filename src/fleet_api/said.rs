//! What the origins say of one stream, for people who look at it.

use serde_json::Value;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::{DEFAULT_VHOST, StreamUrl};

use super::FleetApi;
use super::merge::List;
use crate::api::{Said, SaidAudio, SaidClient, SaidOfOrigin, SaidVideo, SilentOrigin};

impl FleetApi {
    /// What each origin says of `stream` that says anything of it, by the name that it has there. Where the API over all
    /// origins is not set up, none is asked.
    pub async fn said(&self, stream: &StreamUrl) -> Said {
        let mut said = Said {
            stream: stream.to_string(),
            set_up: self.access.is_on(),
            ..Said::default()
        };
        if !said.set_up {
            return said;
        }
        let streams = self.gatherer.rows(List::Streams).await;
        let rows = streams.merged.iter();
        let rows: Vec<&Value> = rows.filter(|row| self.is_of(row, stream)).collect();
        // Only SRS has a list of clients, and only rows of SRS have an id that it knows.
        let clients = match rows.iter().any(|row| row.get("clients").is_some()) {
            true => Some(self.gatherer.rows(List::Clients).await),
            false => None,
        };
        let clients = clients.as_ref().map_or(&[][..], |clients| &clients.merged);
        said.origins = rows.iter().map(|row| of_row(row, clients)).collect();
        let silent = streams.missing.iter().map(|(origin, why)| SilentOrigin {
            origin: origin.clone(),
            why: why.clone(),
        });
        said.silent = silent.collect();
        said
    }

    /// Whether a row of a list is about `stream`, by the path that its origin knows it by.
    fn is_of(&self, row: &Value, stream: &StreamUrl) -> bool {
        let id = OriginId::from(row["origin"].as_str().unwrap_or_default());
        let Some(member) = self.proxy.registry().member(&id) else {
            return false;
        };
        let Ok(path) = member.origin.attributes.naming.path(stream) else {
            return false;
        };
        match row["url"].as_str() {
            Some(url) => is_url_of(url, stream.vhost(), &path),
            None => [row["app"].as_str(), row["name"].as_str()]
                .map(Option::unwrap_or_default)
                .join("/")
                .eq(path.as_ref()),
        }
    }
}

/// SRS leaves out the default vhost, as lists of other servers do all of them.
fn is_url_of(url: &str, vhost: &str, path: &str) -> bool {
    match url
        .strip_suffix(path)
        .and_then(|rest| rest.strip_suffix('/'))
    {
        Some("") => vhost == DEFAULT_VHOST,
        Some(named) => named == vhost,
        None => false,
    }
}

fn of_row(row: &Value, clients: &[Value]) -> SaidOfOrigin {
    let is_here = |client: &&Value| {
        client["origin"] == row["origin"]
            && client["stream"].is_string()
            && client["stream"] == row["id"]
    };
    let listed = clients.iter().filter(is_here).take(MOST_CLIENTS);
    let bps = |way: &str| {
        let kbps = row.pointer(&format!("/kbps/{way}"));
        kbps.and_then(Value::as_u64)
            .map(|kbps| kbps.saturating_mul(1000))
    };
    let (video, audio) = (&row["video"], &row["audio"]);
    SaidOfOrigin {
        origin: text(&row["origin"]),
        published: row
            .pointer("/publish/active")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
        video: video.is_object().then(|| SaidVideo {
            codec: text(&video["codec"]),
            profile: text(&video["profile"]),
            level: text(&video["level"]),
            width: video["width"].as_u64(),
            height: video["height"].as_u64(),
        }),
        audio: audio.is_object().then(|| SaidAudio {
            codec: text(&audio["codec"]),
            profile: text(&audio["profile"]),
            sample_rate: audio["sample_rate"].as_u64(),
            channels: audio["channel"].as_u64(),
        }),
        frames: row["frames"].as_u64(),
        bps_in: bps("recv_30s"),
        bps_out: bps("send_30s"),
        clients: row["clients"].as_u64(),
        listed: listed.map(of_client).collect(),
    }
}

/// Addresses with a query, which may have a token, are left out.
fn of_client(client: &Value) -> SaidClient {
    SaidClient {
        id: text(&client["id"]),
        address: text(&client["ip"]),
        kind: text(&client["type"]),
        publishes: client["publish"].as_bool().unwrap_or_default(),
        alive_seconds: client["alive"]
            .as_f64()
            .filter(|alive| alive.is_finite())
            .unwrap_or_default(),
    }
}

/// A text or a number, as far as it is short.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(LONGEST).collect(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Clients that are named of each origin.
const MOST_CLIENTS: usize = 50;
/// Letters of a name that an origin says. Those of SRS have at most 30.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_url_names_the_vhost_unless_it_is_the_default() {
        for (cause, url, vhost, is_it) in [
            ("SRS", "/live/a", DEFAULT_VHOST, true),
            ("another vhost", "/live/a", "v.example", false),
            ("SRS with a vhost", "v.example/live/a", "v.example", true),
            ("another stream", "/live/b", DEFAULT_VHOST, false),
            ("the end of another app", "/alive/a", DEFAULT_VHOST, false),
            ("a deeper path", "/x/live/a", DEFAULT_VHOST, false),
        ] {
            assert_eq!(is_url_of(url, vhost, "live/a"), is_it, "{cause}");
        }
    }

    #[test]
    fn what_an_origin_says_is_read_as_far_as_it_has_its_shape() {
        let row = json!({"id": "vid-1", "origin": "one", "clients": 2, "frames": 250, "kbps": {"recv_30s": 5200, "send_30s": "x"},
            "publish": {"active": true}, "video": {"codec": "H264", "profile": "High", "level": "3.1", "width": 1280, "height": -1},
            "audio": null, "tcUrl": "rtmp://h/live?token=secret"});
        let client = |origin: &str, stream: &str| {
            json!({"id": "c", "origin": origin, "stream": stream, "ip": "192.0.2.1", "type": "fmle-publish", "publish": true, "alive": 2.5,
                "tcUrl": "rtmp://h/live?token=secret", "pageUrl": "http://h/?token=secret"})
        };
        let clients = [
            client("one", "vid-1"),
            client("two", "vid-1"),
            client("one", "vid-2"),
            json!(null),
        ];
        let said = of_row(&row, &clients);
        let expected = SaidOfOrigin {
            origin: "one".to_owned(),
            published: true,
            video: Some(SaidVideo {
                codec: "H264".to_owned(),
                profile: "High".to_owned(),
                level: "3.1".to_owned(),
                width: Some(1280),
                height: None,
            }),
            audio: None,
            frames: Some(250),
            bps_in: Some(5_200_000),
            bps_out: None,
            clients: Some(2),
            listed: vec![SaidClient {
                id: "c".to_owned(),
                address: "192.0.2.1".to_owned(),
                kind: "fmle-publish".to_owned(),
                publishes: true,
                alive_seconds: 2.5,
            }],
        };
        assert_eq!(said, expected);
        assert_eq!(of_row(&json!(null), &clients), SaidOfOrigin::default());
        let long = json!({"origin": "x".repeat(1000)});
        assert_eq!(of_row(&long, &[]).origin.len(), LONGEST);
    }
}
