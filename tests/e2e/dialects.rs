//! Real servers of other dialects as origins, and clients that use other servers' addresses.

use serde_json::{Value, json};

use crate::support::rtsp::{Live555, RtspServer, gstreamer_plays};
use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, machine};

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
