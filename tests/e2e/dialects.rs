//! Real servers of other dialects as origins, and clients that use other servers' addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate::demo::origin::EmbeddedOrigin;

use crate::support::ffmpeg::Publish;
use crate::support::rtsp::{Live555, RtspServer, gstreamer_plays};
use crate::support::srt::srt_url;
use crate::support::{
    NginxRtmp, Origin, Player, Proxy, Publisher, Remuxing, http, machine, wait_for,
};

#[test]
fn names_of_any_depth_on_nginx_rtmp() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("nginx");
    let proxy = Proxy::start("clients.dialect = \"mediamtx\"");
    let mut registration = origin.registration();
    registration["dialect"] = json!("nginx-rtmp");
    proxy.register(&registration);
    // One segment is a name, and the server is asked for it in its application `live`.
    for (path, theirs) in [("cam1", "cam1"), ("live/room/a", "room/a")] {
        let publisher = Publisher::clip(&proxy.rtmp_url(path)).start();
        publisher.wait_frames(5);
        Player::frames(&proxy.rtmp_url(path), 25);
        // Named apart: FFmpeg would take the first two of three segments for the application.
        let apart = ["-rtmp_app", "live", "-rtmp_playpath", theirs];
        Player::open_with(&origin.rtmp_url("live"), &apart).wait_frames(5);
        let streams = proxy.streams();
        let shown = |row: &Value| row["stream"] == format!("__defaultVhost__/{path}");
        assert_eq!(
            streams.iter().filter(|row| shown(row)).count(),
            1,
            "{streams:?}"
        );
    }
}

#[test]
fn one_segment_and_many_on_gst_rtsp_server() {
    let _turn = machine::share();
    let origin = RtspServer::start("cameras", &["--play", "cam1", "site/7/door"]);
    let proxy = Proxy::start("clients.dialect = \"mediamtx\"");
    let register = |name: &str, more: Value| {
        let mut registration = json!({
            "ip": "127.0.0.1", "server": name, "service": "by-hand", "pid": "1",
            "rtsp": [origin.at().port().to_string()], "dialect": "mediamtx",
        });
        let fields = more.as_object().cloned().unwrap_or_default();
        registration
            .as_object_mut()
            .expect("an object")
            .extend(fields);
        proxy.register(&registration);
    };
    register("cameras", json!({}));
    let tcp = &["-rtsp_transport", "tcp"];
    for path in ["cam1", "site/7/door"] {
        Player::open_with(&proxy.rtsp_url(path), tcp).wait_frames(5);
    }
}

#[test]
fn a_recorder_behind_a_prefix_plays_over_tcp_and_udp() {
    let _turn = machine::share();
    let origin = RtspServer::start("recorder", &["--play", "cam/door"]);
    let proxy = Proxy::start("");
    proxy.register(&json!({
        "ip": "127.0.0.1", "server": "recorder", "service": "by-hand", "pid": "1",
        "rtsp": [origin.at().port().to_string()], "dialect": "mediamtx", "strip": "site-a",
    }));
    for transport in ["tcp", "udp"] {
        let url = proxy.rtsp_url("site-a/cam/door");
        Player::open_with(&url, &["-rtsp_transport", transport]).wait_frames(5);
    }
}

#[test]
fn names_of_any_depth_on_live555() {
    let _turn = machine::share();
    let mounts = ["cam1", "site/7/door", "live/cam2", "tenant/cam3"];
    let origin = Live555::start("live555", &mounts);
    let proxy = Proxy::start("clients.dialect = \"mediamtx\"");
    let register = |name: &str, more: Value| {
        let mut registration = json!({
            "ip": "127.0.0.1", "server": name, "service": "by-hand", "pid": "1",
            "rtsp": [origin.port().to_string()],
        });
        let fields = more.as_object().cloned().unwrap_or_default();
        registration
            .as_object_mut()
            .expect("an object")
            .extend(fields);
        proxy.register(&registration);
    };
    let plays = |path: &str| {
        for transport in ["tcp", "udp"] {
            let url = proxy.rtsp_url(path);
            Player::open_with(&url, &["-rtsp_transport", transport]).wait_frames(10);
            gstreamer_plays(&url, transport, 10);
        }
        let row = proxy.origin_of(path);
        assert!(row.is_some(), "{path}: {:?}", proxy.streams());
    };
    register("literal", json!({"dialect": "mediamtx"}));
    plays("cam1");
    plays("site/7/door");
    // The same server where its names are not the clients'.
    register("literal", json!({"dialect": "mediamtx", "strip": "north"}));
    plays("north/site/7/door");
    register("literal", json!({"dialect": "srs", "strip": "south"}));
    plays("south/cam2");
    register(
        "literal",
        json!({"dialect": "mediamtx", "prepend": "tenant"}),
    );
    plays("cam3");
}

/// The proxy's own small origin, which names streams as SRS does, and its registration.
fn embedded(runtime: &tokio::runtime::Runtime) -> (EmbeddedOrigin, Value) {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let origin = runtime.block_on(EmbeddedOrigin::bind(free, free));
    let origin = origin.expect("free ports");
    let registration = json!({
        "ip": "127.0.0.1", "server": "srs", "service": "by-hand", "pid": "1",
        "rtmp": [origin.rtmp().port().to_string()], "http": [origin.http().port().to_string()],
    });
    (origin, registration)
}

/// Returns when a playlist has some segments.
#[track_caller]
fn wait_packaged(proxy: &Proxy, target: &str) -> String {
    wait_for(target, Duration::from_secs(40), || {
        let playlist = http::request(proxy.http, "GET", target, &[], "");
        (playlist.text().matches("#EXTINF").count() >= 3).then_some(())
    });
    format!("http://{}{target}", proxy.http)
}

#[test]
fn three_kinds_of_servers_stand_behind_one_address() {
    let _turn = machine::share();
    let (rtmp, srt) = (machine::free_port(), machine::free_port());
    let proxy = Proxy::start(&format!(
        "placement.rules = [\"stream=cam1 label=srs\", \"stream=cam2 label=nginx\"]\n\
         rtmp.listen = [\"127.0.0.1:0\", \"127.0.0.1:{rtmp}\"]\n\
         srt.listen = [\"127.0.0.1:0\", \"127.0.0.1:{srt}\"]\n\
         clients.rules = [\":{rtmp} mediamtx\", \":{srt} mediamtx\"]"
    ));
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (_srs, mut of_srs) = embedded(&runtime);
    of_srs["labels"] = json!(["srs"]);
    let nginx = NginxRtmp::packaging("nginx");
    let mut of_nginx = nginx.registration();
    of_nginx["dialect"] = json!("nginx-rtmp");
    of_nginx["labels"] = json!(["nginx"]);
    let mut mediamtx = Remuxing::like_mediamtx(NginxRtmp::in_folders("mediamtx"));
    let fleet = [of_srs, of_nginx, mediamtx.registration()];
    // One that has not been heard of for a while would get nothing new.
    let publish = |publisher: Publish, frames: u64| {
        for origin in &fleet {
            proxy.register(origin);
        }
        let publisher = publisher.start();
        publisher.wait_frames(frames);
        publisher
    };

    let mut publishers = Vec::new();
    for number in 1..=3 {
        let url = proxy.rtmp_url(&format!("live/cam{number}"));
        publishers.push(publish(Publisher::clip(&url), 5));
    }
    // Only one of the three has SRT.
    let words = |id: &str| srt_url(([127, 0, 0, 1], srt).into(), id);
    let url = words("publish:live/cam4");
    publishers.push(publish(Publisher::srt(&url), 25));
    mediamtx.remux("live/cam4");

    // The one with most protocols gets what no rule is about.
    let holders = ["srs", "nginx", "mediamtx", "mediamtx"];
    for (number, holder) in (1..).zip(holders) {
        let stream = format!("live/cam{number}");
        assert_eq!(proxy.origin_of(&stream).as_deref(), Some(holder));
        let mut urls = vec![
            proxy.rtmp_url(&stream),
            format!("rtmp://127.0.0.1:{rtmp}/{stream}"),
        ];
        match holder {
            "srs" => urls.push(proxy.flv_url(&stream)),
            _ => urls.push(wait_packaged(&proxy, &format!("/{stream}.m3u8"))),
        }
        if number == 4 {
            urls.extend([words(&format!("read:{stream}")), proxy.srt_play(&stream)]);
        }
        for url in urls {
            Player::frames(&url, 25);
        }
    }
    let rows = proxy.streams();
    let mut streams: Vec<&str> = rows
        .iter()
        .filter_map(|row: &Value| row["stream"].as_str())
        .collect();
    streams.sort_unstable();
    let expected = [1, 2, 3, 4].map(|number| format!("__defaultVhost__/live/cam{number}"));
    assert_eq!(streams, expected, "one row for each stream");
}
