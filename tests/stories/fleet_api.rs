//! The API over all origins: three origins with SRS's own shapes, and the effect of a slow, a dead and a lying one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::console::document as system_document;
use crate::house::{House, get, talk};

/// How an origin's API behaves.
#[derive(Clone)]
pub(crate) enum Manner {
    /// As SRS behaves, with this number of clients.
    Honest(usize),
    /// Accepts and reads, but does not answer.
    Silent,
    /// Sends a body of this many bytes, as fast as it is read.
    Floods(usize),
    /// Sends this document, whatever is requested.
    Lies(&'static str),
    /// Requires this header.
    Guarded(&'static str),
}

/// The HTTP API of an origin.
pub(crate) struct Origin {
    at: SocketAddr,
    /// Method and target of every request.
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Origin {
    async fn start(id: &'static str, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, id, manner.clone(), Arc::clone(&heard)));
            }
        });
        Self { at, asked, serving }
    }

    /// Starts one and registers it.
    pub(crate) async fn join(house: &House, id: &'static str, manner: Manner) -> Self {
        let origin = Self::start(id, manner).await;
        let endpoints = format!(
            r#""device_id":"{id}-label","rtmp":["1"],"api":["{}"]"#,
            origin.at.port()
        );
        house.register_with(id, &endpoints);
        origin
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a test").clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut socket: TcpStream, id: &str, manner: Manner, heard: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match socket.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("a head");
    let line = head.lines().next().unwrap_or_default();
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    heard.lock().expect("a test").push(line.clone());
    let body = match manner {
        Manner::Honest(clients) => document(id, &line, clients).to_string(),
        Manner::Silent => return std::future::pending().await,
        Manner::Floods(bytes) => {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{{\"code\":0,\"x\":\"");
            let _ = socket.write_all(head.as_bytes()).await;
            let chunk = vec![b'a'; 1 << 20];
            let mut left = bytes;
            while left > 0 && socket.write_all(&chunk).await.is_ok() {
                left = left.saturating_sub(chunk.len());
            }
            return;
        }
        Manner::Lies(text) => text.to_owned(),
        Manner::Guarded(header) => {
            if !head.contains(header) {
                let _ = socket.write_all(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"SRS\"\r\nContent-Length: 0\r\n\r\n").await;
                return;
            }
            document(id, &line, 1).to_string()
        }
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nServer: SRS/7\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: keep-alive\r\n\r\n{body}"
    );
    let _ = socket.write_all(answer.as_bytes()).await;
}

/// What SRS answers.
fn document(id: &str, line: &str, clients: usize) -> Value {
    let (method, target) = line.split_once(' ').expect("a request line");
    let path = target.split('?').next().unwrap_or_default();
    let mut document =
        json!({"code": 0, "server": format!("vid-{id}"), "service": "s", "pid": "1"});
    let kbps = json!({"recv_30s": 1, "send_30s": 2});
    let own = |number: usize| format!("{id}-{number:04}");
    if method == "DELETE" {
        let number = path
            .rsplit('-')
            .next()
            .and_then(|number| number.parse::<usize>().ok());
        let known =
            path.contains(&format!("/{id}-")) && number.is_some_and(|number| number < clients);
        if !known {
            return json!({"code": 2049});
        }
        return document;
    }
    match path.trim_start_matches("/api/v1/") {
        // SRS sends a redirect if the slash is missing, which nothing follows here.
        "vhosts/" => {
            document["vhosts"] = json!([{"id": format!("vid-v{id}"), "name": "__defaultVhost__", "enabled": true,
                "clients": clients, "streams": 1, "send_bytes": 1000, "recv_bytes": 10, "kbps": kbps,
                "hls": {"enabled": false}}]);
        }
        "streams/" => {
            document["streams"] = json!([{"id": format!("vid-s{id}"), "name": "a", "vhost": format!("vid-v{id}"),
                "app": "live", "clients": clients, "publish": {"active": true, "cid": own(0)}, "kbps": kbps}]);
        }
        "clients/" => {
            document["clients"] = (0..clients)
                .map(|number| json!({"id": own(number), "type": "fmle-publish", "publish": number == 0}))
                .collect();
        }
        "summaries" => {
            document["data"] = json!({"ok": true, "now_ms": 5, "self": {"version": "7.0.18", "mem_kbyte": 100,
                "cpu_percent": 0.5, "srs_uptime": 60}, "system": {"conn_srs": clients, "cpus": 2}});
        }
        _ => document = json!({"code": 404}),
    }
    document
}

/// One GET as JSON.
async fn read(house: &House, path: &str) -> Value {
    let (status, body) = get(house.at.api, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"))
}

const NEAR: &str = "[api]\nallow_from = [\"127.0.0.0/8\"]\n";

#[tokio::test]
async fn three_origins_read_as_one() {
    let house = House::open(NEAR).await;
    let one = Origin::join(&house, "one", Manner::Honest(15)).await;
    let two = Origin::join(&house, "two", Manner::Honest(8)).await;
    let _three = Origin::join(&house, "three", Manner::Honest(2)).await;
    house.register_with("bare", r#""rtmp":["1"]"#);

    let vhosts = read(&house, "/api/v1/vhosts/").await;
    assert_eq!(vhosts["code"], 0);
    assert_eq!(
        vhosts["partial"], false,
        "an origin without an API is not missing: {vhosts}"
    );
    let vhost = &vhosts["vhosts"][0];
    assert_eq!(
        vhosts["vhosts"].as_array().map(Vec::len),
        Some(1),
        "{vhosts}"
    );
    assert_eq!(
        (&vhost["clients"], &vhost["send_bytes"]),
        (&json!(25), &json!(3000))
    );
    let same = read(&house, "/api/v1/vhosts/vid-vtwo").await;
    assert_eq!(same["vhost"], *vhost, "by the id it has on any origin");

    let streams = read(&house, "/api/v1/streams").await;
    let of = |row: &Value| (row["origin"].clone(), row["device_id"].clone());
    let places: Vec<_> = streams["streams"]
        .as_array()
        .expect("rows")
        .iter()
        .map(of)
        .collect();
    let expected = ["one", "three", "two"].map(|id| (json!(id), json!(format!("{id}-label"))));
    assert_eq!(places, expected);

    let summary = read(&house, "/api/v1/summaries").await;
    assert_eq!(
        summary["data"]["system"],
        json!({"conn_srs": 25, "cpus": 6})
    );
    assert_eq!(summary["data"]["self"]["srs_uptime"], 60);
    assert_eq!(summary["data"]["origins"].as_array().map(Vec::len), Some(3));

    // Pages of a merged list: together they are the list, and each row occurs once.
    let began = Instant::now();
    let mut paged = Vec::new();
    for start in [0, 10, 20, 30] {
        let page = read(&house, &format!("/api/v1/clients?start={start}&count=10")).await;
        assert_eq!(page["total"], 25);
        paged.extend(page["clients"].as_array().expect("rows").clone());
    }
    let all = read(&house, "/api/v1/clients?count=100").await;
    assert_eq!(json!(paged), all["clients"]);
    assert_eq!(paged.len(), 25);
    let asked = one.asked();
    let times = asked
        .iter()
        .filter(|line| line.contains("/clients/?"))
        .count();
    let seconds = began.elapsed().as_secs();
    assert!(
        times as u64 <= 1 + seconds,
        "it is asked once a second: {asked:?}"
    );

    let client = read(&house, "/api/v1/clients/two-0003").await;
    assert_eq!(
        (&client["client"]["id"], &client["client"]["origin"]),
        (&json!("two-0003"), &json!("two"))
    );
    assert_eq!(read(&house, "/api/v1/clients/none").await["code"], 2049);
    assert_eq!(read(&house, "/api/v1/streams/none").await["code"], 2048);

    let kick = async |id: &str| {
        let request = format!(
            "DELETE /api/v1/clients/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let (status, body) = talk(house.at.api, &request).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")
    };
    let kicked = kick("two-0003").await;
    assert_eq!(
        (&kicked["code"], &kicked["origin"]),
        (&json!(0), &json!("two"))
    );
    assert!(
        two.asked()
            .contains(&"DELETE /api/v1/clients/two-0003".to_owned())
    );
    assert!(
        !one.asked().iter().any(|line| line.starts_with("DELETE")),
        "the owner alone was asked"
    );
    assert_eq!(kick("nobody").await["code"], 2049);
    assert!(
        one.asked()
            .contains(&"DELETE /api/v1/clients/nobody".to_owned()),
        "then everybody was"
    );

    for (path, status) in [
        ("/api/v1/raw", 404),
        ("/api/v1/clients/a%2f..", 404),
        ("/rtc/v1/whip/", 405),
    ] {
        assert_eq!(get(house.at.api, path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn slow_dead_and_lying_origins_are_missing_and_cost_no_more_than_their_share() {
    let house = House::open("[api]\nallow_from = [\"127.0.0.1\"]\norigin_timeout = \"3s\"\n").await;
    let _honest = Origin::join(&house, "honest", Manner::Honest(3)).await;
    let _slow = Origin::join(&house, "slow", Manner::Silent).await;
    let dead = Origin::join(&house, "dead", Manner::Honest(1)).await;
    let _flood = Origin::join(&house, "flood", Manner::Floods(100 << 20)).await;
    let deep: &'static str = Box::leak(
        format!(
            "{{\"code\":0,\"clients\":{}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        )
        .into(),
    );
    let _deep = Origin::join(&house, "deep", Manner::Lies(deep)).await;
    let _page = Origin::join(&house, "page", Manner::Lies("<html>hello</html>")).await;
    let _refuses = Origin::join(&house, "refuses", Manner::Lies(r#"{"code":1061}"#)).await;
    // Valid JSON that makes no sense is passed on as it is.
    let odd = r#"{"code":0,"clients":[null,[],"x",{"id":{"$ref":1}},{"id":"odd-1","origin":"honest","kbps":1e400}]}"#;
    let _odd = Origin::join(&house, "odd", Manner::Lies(odd)).await;
    let odd = r#"{"code":0,"clients":[null,[],"x",{"id":{"$ref":1}},{"id":"odd-1","origin":"honest","alive":-1e300}]}"#;
    let _strange = Origin::join(&house, "strange", Manner::Lies(odd)).await;
    dead.serving.abort();
    tokio::time::timeout(Duration::from_secs(5), async {
        while TcpStream::connect(dead.at).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is dead");

    let clients = read(&house, "/api/v1/clients?count=100").await;
    assert_eq!(
        (&clients["code"], &clients["partial"]),
        (&json!(0), &json!(true))
    );
    let missing: Vec<(&str, &str)> = clients["missing"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            (
                row["origin"].as_str().unwrap(),
                row["why"].as_str().unwrap(),
            )
        })
        .collect();
    let longest = "its answer is longer than 7456540 bytes";
    let expected = [
        ("dead", "connection refused"),
        ("deep", "its answer is not the JSON that is read here"),
        ("flood", longest),
        ("odd", "its answer is not the JSON that is read here"),
        ("page", "its answer is not the JSON that is read here"),
        ("refuses", "it answered with code 1061"),
        ("slow", "it did not answer in time"),
    ];
    assert_eq!(missing, expected);
    let rows = clients["clients"].as_array().expect("rows");
    let of = |origin: &str| rows.iter().filter(|row| row["origin"] == origin).count();
    assert_eq!(
        (of("honest"), of("strange"), rows.len()),
        (3, 2, 5),
        "nobody speaks for another: {rows:?}"
    );

    let text = house.proxy.metrics().render();
    for (outcome, count) in [
        ("answered", 2),
        ("silent", 1),
        ("too_long", 1),
        ("not_json", 3),
    ] {
        let line = format!("sluicegate_api_asks_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[tokio::test]
async fn it_is_off_until_it_is_set_up_and_versions_stay_open() {
    let house = House::open("").await;
    for path in ["/api/v1/clients", "/api/v1/streams/a", "/api/v1/summaries"] {
        let (status, words) = get(house.at.api, path).await;
        assert_eq!(status, 404, "{words}");
        assert!(words.contains("api.allow_from"), "{words}");
    }
    assert_eq!(get(house.at.api, "/api/v1/versions").await.0, 200);

    let house = House::open("[api]\nauth_username = \"admin\"\nauth_password = \"secret\"\n").await;
    let _origin = Origin::join(&house, "one", Manner::Honest(1)).await;
    let ask = async |headers: &str, path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        talk(house.at.api, &request).await
    };
    // "admin:secret" and "admin:wrong".
    let right = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";
    let wrong = "Authorization: Basic YWRtaW46d3Jvbmc=\r\n";
    assert_eq!(ask("", "/api/v1/clients").await.0, 401);
    assert_eq!(ask(wrong, "/api/v1/clients").await.0, 401);
    assert_eq!(ask(right, "/api/v1/clients").await.0, 200);
    let open: Value = serde_json::from_str(&ask("", "/api/v1/versions").await.1).expect("JSON");
    assert_eq!(open["signature"], "Sluicegate");
    assert!(open.get("data").is_none(), "{open}");
    let known: Value = serde_json::from_str(&ask(right, "/api/v1/versions").await.1).expect("JSON");
    assert_eq!(
        (&known["code"], &known["signature"]),
        (&json!(0), &json!("Sluicegate"))
    );
    assert!(known["data"]["major"].is_u64(), "{known}");
    let script = ask(right, "/api/v1/clients?callback=f").await.1;
    assert!(
        script.starts_with('{'),
        "a script only where it is wanted: {script}"
    );
    assert!(
        house
            .proxy
            .metrics()
            .render()
            .contains("sluicegate_auth_refusals_total{surface=\"api\"} 2"),
        "both are counted"
    );

    let house = House::open("[api]\nallow_from = [\"10.0.0.0/8\"]\n").await;
    assert_eq!(get(house.at.api, "/api/v1/clients").await.0, 403);
    assert_eq!(get(house.at.api, "/api/v1/versions").await.0, 200);
}

#[tokio::test]
async fn consoles_that_use_scripts_and_origins_that_ask_for_credentials() {
    let settings = "[api]\nallow_from = [\"127.0.0.1\"]\njsonp = true\n\
        [origins]\napi_credentials = [\"one=basic:u:p\", \"two-label=bearer:tok\"]\n";
    let house = House::open(settings).await;
    // "u:p"
    let _one = Origin::join(
        &house,
        "one",
        Manner::Guarded("authorization: Basic dTpw\r\n"),
    )
    .await;
    let two = Origin::join(
        &house,
        "two",
        Manner::Guarded("authorization: Bearer tok\r\n"),
    )
    .await;
    let _three = Origin::join(
        &house,
        "three",
        Manner::Guarded("authorization: Bearer other\r\n"),
    )
    .await;
    let clients = read(&house, "/api/v1/clients").await;
    assert_eq!(clients["total"], 2, "{clients}");
    let missing =
        json!([{"origin": "three", "why": "it asks for credentials (origins.api_credentials)"}]);
    assert_eq!(clients["missing"], missing);

    let (status, script) = get(
        house.at.api,
        "/api/v1/clients/?callback=angular.callbacks._1",
    )
    .await;
    assert_eq!(status, 200);
    let document = script
        .strip_prefix("/**/angular.callbacks._1(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or_else(|| panic!("{script}"));
    let document: Value = serde_json::from_str(document).expect("JSON");
    assert_eq!(document["total"], 2);
    // A script of any page could ask for this one, so an address is not enough.
    let kick = "/api/v1/clients/two-0000?callback=f&method=DELETE";
    let deletes = |origin: &Origin| {
        let asked = origin.asked();
        asked.contains(&"DELETE /api/v1/clients/two-0000".to_owned())
    };
    assert_eq!(get(house.at.api, kick).await.0, 403);
    assert!(!deletes(&two), "{:?}", two.asked());
    let house = House::open("[api]\nauth_token = \"console\"\njsonp = true\n").await;
    let three = Origin::join(&house, "two", Manner::Honest(1)).await;
    let request = format!(
        "GET {kick} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer console\r\n\r\n"
    );
    assert_eq!(talk(house.at.api, &request).await.0, 200);
    assert!(deletes(&three), "{:?}", three.asked());
}

#[tokio::test]
async fn people_read_what_the_origins_say_of_one_stream() {
    let house = House::open(NEAR).await;
    let whole = r#"{"code":0,"streams":[
        {"id":"vid-1","name":"a","app":"live","url":"/live/a","tcUrl":"rtmp://h/live?key=s3cret","clients":2,"frames":250,
         "kbps":{"recv_30s":5200,"send_30s":0},"publish":{"active":true,"cid":"c1"},
         "video":{"codec":"H264","profile":"High","level":"3.1","width":1280,"height":720},
         "audio":{"codec":"AAC","sample_rate":44100,"channel":2,"profile":"LC"}},
        {"id":"vid-2","name":"b","app":"live","url":"/live/b"}],
        "clients":[{"id":"c1","stream":"vid-1","ip":"192.0.2.1","type":"fmle-publish","publish":true,"alive":9.5,"tcUrl":"rtmp://h/live?key=s3cret"},
        {"id":"c2","stream":"vid-2","ip":"192.0.2.2","type":"flv-play","publish":false,"alive":1}]}"#;
    let _one = Origin::join(&house, "one", Manner::Lies(whole)).await;
    let _two = Origin::join(&house, "two", Manner::Guarded("Authorization")).await;
    let said = system_document(&house, "/api/v1/said?stream=live/a").await;
    let expected = json!({
        "stream": "__defaultVhost__/live/a",
        "set_up": true,
        "origins": [{
            "origin": "one", "published": true, "frames": 250, "bps_in": 5_200_000, "bps_out": 0, "clients": 2,
            "video": {"codec": "H264", "profile": "High", "level": "3.1", "width": 1280, "height": 720},
            "audio": {"codec": "AAC", "profile": "LC", "sample_rate": 44100, "channels": 2},
            "listed": [{"id": "c1", "address": "192.0.2.1", "kind": "fmle-publish", "publishes": true, "alive_seconds": 9.5}],
        }],
        "silent": [{"origin": "two", "why": "it asks for credentials (origins.api_credentials)"}],
    });
    assert_eq!(said, expected);
    let nobody = system_document(&house, "/api/v1/said?stream=live/c").await;
    assert_eq!(nobody["origins"], json!([]), "{nobody}");

    let house = House::open("").await;
    let unasked = Origin::join(&house, "one", Manner::Lies(whole)).await;
    let said = system_document(&house, "/api/v1/said?stream=live/a").await;
    assert_eq!(
        (&said["set_up"], &said["origins"]),
        (&json!(false), &json!([]))
    );
    assert!(
        !unasked
            .asked()
            .iter()
            .any(|line| line.contains("/streams/")),
        "{:?}",
        unasked.asked()
    );
}
