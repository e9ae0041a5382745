//! Publishers over RTSP: ffmpeg to gst-rtsp-server and to another ffmpeg, with picture and sound.

use crate::support::rtsp::RtspServer;
use crate::support::{Player, Proxy, Publisher, machine};

#[test]
fn cameras_publish_over_tcp_and_udp() {
    let _turn = machine::share();
    let origin = RtspServer::start("recorder", &["--record", "live/tcp", "live/udp"]);
    let proxy = Proxy::start("session.setup_timeout = \"20s\"\nrtsp.udp_ports = \"20100-20899\"");
    let _registrar = origin.register(&proxy);
    for transport in ["tcp", "udp"] {
        let stream = format!("live/{transport}");
        let mut camera = Publisher::clip(&proxy.rtsp_url(&stream))
            .rtsp(transport)
            .start();
        origin.wait_recorded(&stream, 50);
        let session = proxy.wait_session("it publishes", |row| row["protocol"] == "rtsp");
        assert_eq!(session["action"], "publish", "{session}");
        assert_eq!(proxy.origin_of(&stream).as_deref(), Some(origin.name()));
        camera.stop();
        origin.wait_ended(&stream);
    }
}

#[test]
fn ffmpeg_is_an_origin_too() {
    let _turn = machine::share();
    let port = machine::free_port();
    // This origin accepts one publisher and shows what arrives.
    let origin = Player::open_with(
        &format!("rtsp://127.0.0.1:{port}/live/cam"),
        &["-rtsp_flags", "listen"],
    );
    crate::support::wait_for("ffmpeg listens", std::time::Duration::from_secs(40), || {
        machine::is_listening(port).then_some(())
    });
    let proxy = Proxy::start("session.setup_timeout = \"20s\"");
    proxy.register(&serde_json::json!({
        "ip": "127.0.0.1", "server": "ffmpeg", "service": "s", "pid": "1", "rtsp": [port.to_string()],
    }));
    let camera = Publisher::clip(&proxy.rtsp_url("live/cam"))
        .rtsp("tcp")
        .start();
    camera.wait_frames(25);
    origin.wait_frames(50);
}
