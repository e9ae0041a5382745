//! The lists and the health of origins that are other servers, with the credentials that their APIs ask for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::house::{House, Manner, Stub, get, until_told};

/// The HTTP API of a server: these pages and no others, to those who show `wants`.
struct Pages {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Pages {
    /// `server` is what it writes into `Server`, or nothing.
    async fn start(
        server: &'static str,
        wants: &'static str,
        pages: &'static [(&'static str, &'static str)],
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match client.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let page = pages.iter().find(|(known, _)| *known == path);
                let (status, body) = match page {
                    _ if !head.contains(wants) => ("401 Unauthorized", ""),
                    Some((_, body)) => ("200 OK", *body),
                    None => ("404 Not Found", ""),
                };
                heard.lock().expect("a test").push(path);
                let server = match server {
                    "" => String::new(),
                    server => format!("Server: {server}\r\n"),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\n{server}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                let _ = client.write_all(answer.as_bytes()).await;
            }
        });
        Self { at, asked, serving }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a test").clone()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const MEDIAMTX: &[(&str, &str)] = &[(
    "/v3/paths/list?itemsPerPage=10000",
    r#"{"items":[{"name":"site/7/door","ready":true}]}"#,
)];
const OME: &[(&str, &str)] = &[
    (
        "/v1/version",
        r#"{"statusCode":200,"response":{"version":"0.21.0"}}"#,
    ),
    ("/v1/vhosts", r#"{"statusCode":200,"response":["default"]}"#),
    (
        "/v1/vhosts/default/apps",
        r#"{"statusCode":200,"response":["app","tv"]}"#,
    ),
    (
        "/v1/vhosts/default/apps/app/streams",
        r#"{"statusCode":200,"response":["s","t"]}"#,
    ),
    (
        "/v1/vhosts/default/apps/tv/streams",
        r#"{"statusCode":200,"response":["news"]}"#,
    ),
];
const GO2RTC: &[(&str, &str)] = &[(
    "/api/streams",
    r#"{"cam1":{"producers":[],"consumers":null}}"#,
)];
const STAT: &[(&str, &str)] = &[(
    "/stat",
    "<rtmp><nginx_version>1.22.1</nginx_version><nginx_rtmp_version>1.2.2</nginx_rtmp_version><server><application>\
     <name>live</name><live><stream><name>a</name><publishing/></stream></live></application></server></rtmp>",
)];
const SRS: &[(&str, &str)] = &[(
    "/api/v1/streams/?start=0&count=10000",
    r#"{"code":0,"streams":[{"id":"vid-1","name":"b","app":"live","publish":{"active":true}}]}"#,
)];
// "ome-access-token", as OvenMediaEngine wants it, and "api:pass".
const OME_TOKEN: &str = "authorization: Basic b21lLWFjY2Vzcy10b2tlbg==\r\n";
const API_LOGIN: &str = "authorization: Basic YXBpOnBhc3M=\r\n";
const CREDENTIALS: &str = "[origins]\nask_streams = true\napi_credentials = [\"ome=token:ome-access-token\", \"mtx=basic:api:pass\"]\n";

async fn document(house: &House, path: &str) -> Value {
    let (status, body) = get(house.at.system, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str::<Value>(&body).expect("JSON")["data"].take()
}

#[tokio::test]
async fn every_servers_list_is_in_the_api_over_all_origins_and_says_what_it_is() {
    let settings = format!("[api]\nallow_from = [\"127.0.0.1\"]\n{CREDENTIALS}");
    let house = House::open(&settings).await;
    let origins = [
        ("srs", "srs", Pages::start("SRS/7.0.18(Kai)", "", SRS).await),
        (
            "mtx",
            "mediamtx",
            Pages::start("mediamtx", API_LOGIN, MEDIAMTX).await,
        ),
        (
            "ome",
            "ome",
            Pages::start("OvenMediaEngine", OME_TOKEN, OME).await,
        ),
        ("go2", "go2rtc", Pages::start("", "", GO2RTC).await),
        (
            "ngx",
            "nginx-rtmp",
            Pages::start("nginx/1.22.1", "", STAT).await,
        ),
    ];
    for (id, dialect, pages) in &origins {
        let api = pages.at.port();
        let endpoints = match *dialect {
            "mediamtx" | "ome" => {
                format!(r#""rtmp":["1"],"api":["1","{api}"],"dialect":"{dialect}""#)
            }
            dialect => format!(r#""rtmp":["1"],"api":["{api}"],"dialect":"{dialect}""#),
        };
        house.register_with(id, &endpoints);
    }
    let (status, body) = get(house.at.api, "/api/v1/streams?count=100").await;
    assert_eq!(status, 200, "{body}");
    let all: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(all["missing"], json!([]), "{all}");
    let rows = all["streams"].as_array().expect("rows").iter();
    let rows: Vec<(&str, &str, &str)> = rows
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default();
            (text("origin"), text("app"), text("name"))
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("go2", "", "cam1"),
            ("mtx", "site/7", "door"),
            ("ngx", "live", "a"),
            ("ome", "app", "s"),
            ("ome", "app", "t"),
            ("ome", "tv", "news"),
            ("srs", "live", "b"),
        ]
    );
    for (id, dialect, _) in &origins {
        let row = document(&house, &format!("/api/v1/origins/{id}")).await;
        assert_eq!(row["dialect"], *dialect, "{id}");
        assert_eq!(row["software"], *dialect, "{id}");
    }
}

#[tokio::test]
async fn a_player_that_one_origin_refuses_finds_its_stream_behind_credentials() {
    let rows = [
        ("mtx", "mediamtx", "site/7/door", MEDIAMTX),
        ("ome", "ome", "app/t", OME),
    ];
    for (id, dialect, stream, pages) in rows {
        let house = House::open(CREDENTIALS).await;
        let (server, wants) = match dialect {
            "ome" => ("OvenMediaEngine", OME_TOKEN),
            _ => ("mediamtx", API_LOGIN),
        };
        let api = Pages::start(server, wants, pages).await;
        let refusal = Manner::Refuses("NetStream.Play.StreamNotFound", "no such stream");
        let refuses = Stub::start(refusal).await;
        let has_it = Stub::start(Manner::Streams(2000)).await;
        let (rtmp, port) = (refuses.at.port(), api.at.port());
        // It offers most, so it is the usual choice.
        let endpoints =
            format!(r#""rtmp":["{rtmp}"],"http":["1"],"srt":["1"],"rtsp":["1"],"api":["1"]"#);
        house.register_with("empty", &endpoints);
        let rtmp = has_it.at.port();
        // Asked as SRS over RTMP: OvenMediaEngine does not serve players there, and its list is what this is about.
        let endpoints = format!(r#""rtmp":["{rtmp}"],"api":["1","{port}"],"dialect":"{dialect}""#);
        house.register_with(id, &endpoints);
        let player = house.ask(Action::Play, stream).await;
        let asked = api.asked();
        assert!(!asked.is_empty(), "{dialect}: {:?}", player.status);
        if dialect == "mediamtx" {
            assert!(player.has_started(), "{:?}", player.status);
            assert_eq!(house.origin_of(stream).as_deref(), Some("mtx"));
        }
        let row = document(&house, &format!("/api/v1/origins/{id}")).await;
        assert_eq!(row["software"], dialect);
    }
}

#[tokio::test]
async fn a_probe_asks_each_server_for_a_page_of_its_own_and_notes_another_kind() {
    let probes =
        "[health]\nprobe = \"always\"\nprobe_with = \"http\"\nprobe_interval = \"100ms\"\n";
    let house = House::open(&format!("{probes}{CREDENTIALS}")).await;
    let ome = Pages::start("OvenMediaEngine", OME_TOKEN, OME).await;
    let guarded = Pages::start("mediamtx", API_LOGIN, MEDIAMTX).await;
    let disguised = Pages::start("mediamtx", "", &[("/api/v1/versions", "{}")]).await;
    let api = |pages: &Pages| pages.at.port();
    let two = |pages, dialect| format!(r#""api":["1","{}"],"dialect":"{dialect}""#, api(pages));
    house.register_with("ome", &two(&ome, "ome"));
    // Without credentials of its own: that it wants some is an answer.
    house.register_with("other", &two(&guarded, "mediamtx"));
    house.register_with("disguised", &format!(r#""api":["{}"]"#, api(&disguised)));
    for (id, dialect, software) in [
        ("ome", "ome", "ome"),
        ("other", "mediamtx", "mediamtx"),
        ("disguised", "srs", "mediamtx"),
    ] {
        let path = format!("/api/v1/origins/{id}");
        until_told("its API to be asked", async || {
            document(&house, &path).await["software"] == software
        })
        .await;
        let row = document(&house, &path).await;
        assert_eq!(row["dialect"], dialect, "{id}");
        assert_eq!(row["state"], "up", "{id}: {row}");
    }
    assert!(ome.asked().iter().all(|path| path == "/v1/version"));
}
