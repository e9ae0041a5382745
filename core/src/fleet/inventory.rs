//! The streams that an origin has, from its own list.
//!
//! SRS names them by app and stream (`/api/v1/streams`), and [`published`] reads that. Other servers name the path by
//! which they know a stream; [`paths`] reads those lists.

use quick_xml::events::Event;
use quick_xml::reader::Reader;
use serde_json::{Value, json};

use crate::dialect::{Dialect, Naming};
use crate::stream::{DEFAULT_VHOST, StreamUrl};

/// The path and query of the list on which an origin has `stream`, if it has it.
///
/// OvenMediaEngine lists the streams of one app; nginx-rtmp's page is where its configuration puts it, and `/stat` in
/// nearly all of them.
pub fn list_target(naming: &Naming, stream: &StreamUrl) -> String {
    if let Some(list) = whole_list(naming.dialect) {
        return list.to_owned();
    }
    let vhost = match stream.vhost() {
        DEFAULT_VHOST => "default",
        vhost => vhost,
    };
    let path = naming.path(stream).unwrap_or_default();
    let (app, _) = path.split_once('/').unwrap_or_default();
    format!("/v1/vhosts/{vhost}/apps/{app}/streams")
}

/// The path of the page that shows whether an origin's API answers; `None` for SRS, of which operators say it.
pub const fn health_page(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Ome => Some("/v1/version"),
        Dialect::Srs => None,
        dialect => whole_list(dialect),
    }
}

/// The kind of server that an answer of an API comes from, where it says so: by its `Server` header, or by what only that
/// server writes into its list. A `Server` header that names nginx says little: a web server in front of
/// the origin may have written it.
pub fn software(server: Option<&str>, list: &[u8]) -> Option<Dialect> {
    let product = server.unwrap_or_default().split(['/', ' ']).next();
    match product {
        Some("mediamtx") => return Some(Dialect::MediaMtx),
        Some("OvenMediaEngine") => return Some(Dialect::Ome),
        Some("SRS") => return Some(Dialect::Srs),
        _ => {}
    }
    let start = list.get(..START).unwrap_or(list);
    let has = |text: &str| {
        start
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    if has("<nginx_rtmp_version>") {
        return Some(Dialect::NginxRtmp);
    }
    let is_go2rtc = || {
        let document = serde_json::from_slice::<Value>(list).ok()?;
        let has_both =
            |entry: &Value| entry.get("producers").is_some() && entry.get("consumers").is_some();
        let entries = document.as_object().filter(|entries| !entries.is_empty())?;
        entries.values().all(has_both).then_some(Dialect::Go2rtc)
    };
    // Nothing else is worth a reading of megabytes.
    if list.starts_with(b"{") && has("\"producers\"") {
        return is_go2rtc();
    }
    None
}

/// Bytes at the start of a list in which a server names itself.
const START: usize = 1024;

/// The names in a list of OvenMediaEngine's: of vhosts, apps or streams.
pub fn ome_names(list: &[u8]) -> Option<Vec<String>> {
    let document: Value = serde_json::from_slice(list).ok()?;
    let names = document.get("response").and_then(Value::as_array)?;
    let names = names.iter().filter_map(Value::as_str);
    Some(names.map(str::to_owned).collect())
}

/// The path and query of a list that has every stream of an origin; `None` where a server has no such list.
pub const fn whole_list(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Go2rtc => Some("/api/streams"),
        Dialect::MediaMtx => Some("/v3/paths/list?itemsPerPage=10000"),
        Dialect::NginxRtmp => Some("/stat"),
        Dialect::Ome => None,
        // SRS shows ten streams where nothing is said.
        Dialect::Srs => Some("/api/v1/streams?count=10000"),
    }
}

/// The answer to [`whole_list`] as SRS would write it, for those who read its lists. Of a stream, it says the name and
/// that it is published.
pub fn as_srs(dialect: Dialect, list: &[u8]) -> Value {
    srs_list(&paths(dialect, "", list))
}

/// These paths as a list that SRS would write.
pub fn srs_list(paths: &[String]) -> Value {
    let row = |path: &String| {
        let (app, name) = path.rsplit_once('/').unwrap_or(("", path));
        json!({
            "id": path, "name": name, "app": app, "url": format!("/{path}"), "publish": {"active": true},
        })
    };
    let streams: Vec<Value> = paths.iter().map(row).collect();
    json!({"code": 0, "streams": streams})
}

/// Whether an origin's list, the answer to [`list_target`], has a publisher of `stream`.
pub fn lists(naming: &Naming, list: &[u8], stream: &StreamUrl) -> bool {
    let Ok(path) = naming.path(stream) else {
        return false;
    };
    let (app, name) = path.split_once('/').unwrap_or(("", &path));
    match naming.dialect {
        Dialect::Ome => paths(naming.dialect, app, list)
            .iter()
            .any(|it| *it == path),
        Dialect::Srs => serde_json::from_slice(list).is_ok_and(|list| {
            published(&list).any(|it| it.path() == path && it.vhost() == stream.vhost())
        }),
        dialect => paths(dialect, name, list).iter().any(|it| *it == path),
    }
}

/// The paths on an origin's list that have a publisher, or that the origin fetches when they are asked for. `app` is the
/// one that was asked about, where the list does not say. An entry that cannot be read is skipped.
pub fn paths(dialect: Dialect, app: &str, list: &[u8]) -> Vec<String> {
    if dialect == Dialect::NginxRtmp {
        return nginx_paths(list);
    }
    let Ok(document) = serde_json::from_slice::<Value>(list) else {
        return Vec::new();
    };
    match dialect {
        Dialect::Go2rtc => {
            let names = document.as_object().into_iter().flatten();
            names.map(|(name, _)| name.clone()).collect()
        }
        Dialect::MediaMtx => {
            let items = document.get("items").and_then(Value::as_array);
            let is = |item: &Value, key: &str| item.get(key) == Some(&Value::Bool(true));
            let live = |item: &&Value| is(item, "available") || is(item, "ready");
            let names = items.into_iter().flatten().filter(live);
            let names = names.filter_map(|item| item.get("name")?.as_str());
            names.map(str::to_owned).collect()
        }
        Dialect::Ome => {
            let names = ome_names(list).unwrap_or_default();
            names.iter().map(|name| [app, "/", name].concat()).collect()
        }
        Dialect::NginxRtmp => Vec::new(),
        Dialect::Srs => published(&document)
            .map(|stream| stream.path().to_owned())
            .collect(),
    }
}

/// The published streams on nginx-rtmp's page: `rtmp/server/application/live/stream`, as far as it can be read.
fn nginx_paths(page: &[u8]) -> Vec<String> {
    let mut reader = Reader::from_reader(page);
    let (mut open, mut found) = (Vec::new(), Vec::new());
    let (mut app, mut name, mut is_published) = (String::new(), String::new(), false);
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) if open.len() < MAX_DEPTH => {
                open.push(tag.name().as_ref().to_owned());
                if open.last().is_some_and(|tag| tag == "stream") {
                    (name, is_published) = (String::new(), false);
                }
            }
            Ok(Event::Empty(tag)) => {
                let within = open.last().is_some_and(|tag| tag == "stream");
                is_published |= within && tag.name().as_ref() == "publishing";
            }
            Ok(Event::Text(text)) => {
                let text = text.trim().to_owned();
                match open.as_slice() {
                    [.., parent, tag] if tag == "name" && parent == "application" => app = text,
                    [.., parent, tag] if tag == "name" && parent == "stream" => name = text,
                    _ => {}
                }
            }
            Ok(Event::End(_)) => {
                let ended = open.pop();
                if is_published && ended.is_some_and(|tag| tag == "stream") {
                    found.push([&*app, "/", &name].concat());
                    is_published = false;
                }
            }
            Ok(Event::Eof | Event::Start(_)) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

/// Maximum nested elements of nginx-rtmp's page, which has eight.
const MAX_DEPTH: usize = 32;

/// The streams on the list that have a publisher. An entry without the name of a stream is skipped.
pub fn published(document: &Value) -> impl Iterator<Item = StreamUrl> {
    let entries = document.get("streams").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(read)
}

fn read(entry: &Value) -> Option<StreamUrl> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let is_published = entry.pointer("/publish/active").and_then(Value::as_bool);
    is_published.filter(|active| *active)?;
    let name = text("name")?;
    // `vhost` in this list is the id of a virtual host, not its name; the name is in the URL that the publisher used.
    match text("tcUrl") {
        Some(tc_url) => StreamUrl::from_rtmp(tc_url, name).ok(),
        None => StreamUrl::new("", text("app")?, name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_other_servers_name_paths() {
        let page = "<?xml version=\"1.0\"?><rtmp><server><application><name>live</name><live>\
            <stream><name>a/b</name><client><id>1</id><name>x</name><publishing/></client><publishing/><active/></stream>\
            <stream><name>waiting</name><client><id>2</id></client></stream></live></application></server></rtmp>";
        let mediamtx = json!({"itemCount": 3, "items": [
            {"name": "cam1", "available": true}, {"name": "live/a", "ready": true}, {"name": "off", "ready": false}, 7]});
        let rows = [
            (Dialect::NginxRtmp, page.to_owned(), vec!["live/a/b"]),
            (
                Dialect::MediaMtx,
                mediamtx.to_string(),
                vec!["cam1", "live/a"],
            ),
            (
                Dialect::Ome,
                json!({"statusCode": 200, "response": ["s", 7]}).to_string(),
                vec!["app/s"],
            ),
            (
                Dialect::Go2rtc,
                json!({"cam1": {"producers": []}}).to_string(),
                vec!["cam1"],
            ),
        ];
        for (dialect, list, expected) in rows {
            assert_eq!(
                paths(dialect, "app", list.as_bytes()),
                expected,
                "{dialect}"
            );
            for nonsense in ["", "<a>", "[]", "{\"items\": 3}", "<rtmp><stream><name>"] {
                let found = paths(dialect, "app", nonsense.as_bytes());
                assert!(
                    dialect == Dialect::Go2rtc || found.is_empty(),
                    "{dialect}: {nonsense}"
                );
            }
            let naming = Naming {
                dialect,
                ..Naming::default()
            };
            for path in expected {
                let stream = StreamUrl::of_path("", path).unwrap();
                assert!(
                    lists(&naming, list.as_bytes(), &stream),
                    "{dialect}: {path}"
                );
            }
            let other = StreamUrl::of_path("", "app/other").unwrap();
            assert!(!lists(&naming, list.as_bytes(), &other), "{dialect}");
        }
        let ome = Naming {
            dialect: Dialect::Ome,
            ..Naming::default()
        };
        let stream = StreamUrl::of_path("v.example", "app/s").unwrap();
        assert_eq!(
            list_target(&ome, &stream),
            "/v1/vhosts/v.example/apps/app/streams"
        );
    }

    #[test]
    fn what_an_api_says_that_it_is() {
        let page = "<?xml version=\"1.0\"?><rtmp><nginx_version>1.22</nginx_version><nginx_rtmp_version>1.2.2</nginx_rtmp_version>";
        let cameras = r#"{"cam1": {"producers": [], "consumers": null}}"#;
        let rows = [
            ("SRS", Some("SRS/7.0.18(Kai)"), "{}", Some(Dialect::Srs)),
            ("MediaMTX", Some("mediamtx"), "404", Some(Dialect::MediaMtx)),
            (
                "OvenMediaEngine",
                Some("OvenMediaEngine"),
                "",
                Some(Dialect::Ome),
            ),
            (
                "nginx-rtmp's page",
                Some("nginx/1.22.1"),
                page,
                Some(Dialect::NginxRtmp),
            ),
            ("go2rtc's list", None, cameras, Some(Dialect::Go2rtc)),
            ("go2rtc's list of nothing", None, "{}", None),
            ("another list", None, r#"{"a": {"producers": 1}}"#, None),
            ("a web server in front", Some("nginx/1.22.1"), "{}", None),
            ("another server", Some("mediamtx-like"), "", None),
            ("nothing", None, "", None),
        ];
        for (cause, server, list, expected) in rows {
            assert_eq!(software(server, list.as_bytes()), expected, "{cause}");
        }
    }

    #[test]
    fn streams_with_a_publisher_are_found() {
        let document = json!({"code": 0, "server": "vid-1", "streams": [
            {"id": "vid-9", "name": "a", "vhost": "vid-8", "app": "live", "tcUrl": "rtmp://10.0.0.1:1935/live",
             "publish": {"active": true, "cid": "x"}},
            {"id": "vid-7", "name": "over", "app": "live", "tcUrl": "rtmp://h/live", "publish": {"active": false}},
            {"id": "vid-6", "name": "b", "app": "live", "publish": {"active": true}},
            {"name": "c", "app": "live", "tcUrl": "rtmp://h/live?vhost=v.example", "publish": {"active": true}},
            {"publish": {"active": true}},
            7,
        ]});
        let found: Vec<StreamUrl> = published(&document).collect();
        let expected = [("", "a"), ("", "b"), ("v.example", "c")]
            .map(|(vhost, name)| StreamUrl::new(vhost, "live", name).unwrap());
        assert_eq!(found, expected);
        for nonsense in [json!(null), json!({"streams": 3}), json!([])] {
            assert_eq!(published(&nonsense).count(), 0);
        }
    }
}
