//! TLS with real clients: encoders, players, curl, a browser, and certificates that are replaced meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use crate::support::browser::Browser;
use crate::support::program::Program;
use crate::support::rtc::{RtcOrigin, page_folder};
use crate::support::rtsp::RtspServer;
use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Player, Proxy, Publisher, Registrar, machine, wait_for,
};
use crate::tls_client::Authority;

/// What one run of curl printed.
fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new(machine::installed(&["curl"]));
    command.args(["--silent", "--show-error"]).args(arguments);
    let output = command.output().expect("curl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    // No status: nothing was answered.
    assert!(!said.ends_with(" 000"), "{complaint}{said}");
    said
}

#[test]
fn encoders_and_players_speak_rtmps_and_https() {
    let _turn = machine::share();
    let authority = Authority::new();
    let origin = NodeMediaServer::start("origin");
    let proxy = Proxy::start(&authority.dotted());
    let _registrar = Registrar::start(&proxy, &origin);
    let port = proxy.rtmp.port();
    let rtmps = format!("rtmps://localhost:{port}/live/a");
    let publisher = Publisher::clip(&rtmps).start();
    publisher.wait_frames(5);
    let https = format!("https://localhost:{}/live/a.flv", proxy.http.port());
    let own = authority.own().display().to_string();
    let verified = ["-tls_verify", "1", "-ca_file", &own];
    let players = [
        Player::open_with(&rtmps, &[]),
        Player::open_with(&https, &verified),
        Player::open(&proxy.rtmp_url("live/a")),
        Player::open(&proxy.flv_url("live/a")),
    ];
    for player in &players {
        player.wait_frames(50);
    }
    // A new certificate of the same authority, under all that plays.
    let fingerprint = |proxy: &Proxy| {
        let url = format!("https://localhost:{}/api/v1/versions", proxy.api.port());
        curl(&[
            "--cacert",
            &own,
            "--output",
            "/dev/null",
            "--write-out",
            "%{certs}",
            &url,
        ])
    };
    let old = fingerprint(&proxy);
    assert!(old.contains("BEGIN CERTIFICATE"), "{old}");
    authority.sign("server", "localhost");
    proxy.wait_log("TLS certificate read again", |_| true);
    wait_for("new clients see it", Duration::from_secs(20), || {
        (fingerprint(&proxy) != old).then_some(())
    });
    for player in &players {
        player.wait_more(50);
    }
}

#[test]
fn an_operator_is_told_of_clients_and_certificates_that_are_refused() {
    let _turn = machine::share();
    let authority = Authority::new();
    let settings = format!(
        "http.require_tls = true\nhttp.client_ca = {:?}\nrtmp.require_tls = true\n{}",
        authority.own(),
        authority.dotted()
    );
    let proxy = Proxy::start(&settings);
    let told = |refusal: &str, listener: &str| {
        let message = format!("connection refused: the client {refusal}");
        let line = proxy.wait_log(&message, |line| line["listener"] == listener);
        assert_eq!(line["level"], "INFO", "{line}");
    };
    let url = format!("https://localhost:{}/live/a.flv", proxy.http.port());
    let mut curl = Command::new(machine::installed(&["curl"]));
    let output = curl.args(["--silent", "--insecure", &url]).output();
    assert!(!output.expect("curl runs").status.success());
    told("showed no certificate, and client_ca asks for one", "http");
    let mut encoder = TcpStream::connect(proxy.rtmp).expect("it listens");
    encoder.write_all(&[3; 1537]).expect("a first message");
    told("came without TLS", "rtmp");

    authority.sign_for_later("server", "localhost");
    let line = proxy.wait_log(
        "this certificate begins to hold in that many minutes, and clients refuse it until then: check the clock of this machine \
         and its issuer's",
        |_| true,
    );
    assert_eq!(line["level"], "WARN", "{line}");
    let minutes = line["minutes"].as_i64().expect("a number");
    assert!((1..=24 * 60).contains(&minutes), "{line}");
}

#[test]
fn curl_speaks_both_versions_of_http() {
    let _turn = machine::share();
    let authority = Authority::new();
    let origin = NodeMediaServer::start("origin");
    let proxy = Proxy::start(&authority.dotted());
    let _registrar = Registrar::start(&proxy, &origin);
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let own = authority.own().display().to_string();
    for (asked, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for (port, path) in [
            (proxy.api.port(), "/api/v1/versions"),
            (proxy.system.port(), "/readyz"),
            (proxy.http.port(), "/api/v1/versions"),
        ] {
            let url = format!("https://localhost:{port}{path}");
            let said = curl(&[
                asked,
                "--cacert",
                &own,
                "--write-out",
                " %{http_version} %{http_code}",
                &url,
            ]);
            assert!(
                said.ends_with(&format!(" {version} 200")),
                "{asked} {path}: {said}"
            );
        }
        // A stream without end: what came until curl had enough.
        let url = format!("https://localhost:{}/live/a.flv", proxy.http.port());
        let report = "%{http_version} %{http_code} %{size_download}";
        let said = curl(&[
            asked,
            "--cacert",
            &own,
            "--max-time",
            "4",
            "--output",
            "/dev/null",
            "--write-out",
            report,
            &url,
        ]);
        let mut words = said.split(' ');
        assert_eq!(
            (words.next(), words.next()),
            (Some(version), Some("200")),
            "{said}"
        );
        let size: u64 = words
            .next()
            .and_then(|size| size.parse().ok())
            .expect("a size");
        assert!(size > 20_000, "{asked}: {said}");
    }
    wait_for("no session is left", Duration::from_secs(20), || {
        let rows = proxy.sessions();
        rows.iter()
            .all(|row| row["action"] == "publish")
            .then_some(())
    });
}

/// The SHA-256 of the certificate that is served at a port of this machine, as browsers show it.
pub(crate) fn fingerprint(port: u16) -> String {
    let url = format!("https://127.0.0.1:{port}/api/v1/versions");
    let report = ["--output", "/dev/null", "--write-out", "%{certs}"];
    let shown = curl(&[&["--insecure"], &report[..], &[&url]].concat());
    let (_, shown) = shown.split_once("CERTIFICATE-----").expect("a certificate");
    let (base64, _) = shown.split_once("-----END").expect("its end");
    let der = Base64::decode_vec(&base64.replace(['\r', '\n'], "")).expect("PEM");
    let digest: [u8; 32] = Sha256::digest(der).into();
    digest.map(|byte| format!("{byte:02X}")).join(":")
}

#[test]
fn a_certificate_that_is_made_for_a_first_try_is_known_by_its_fingerprint() {
    let _turn = machine::share();
    let proxies = [
        Proxy::start("tls.self_signed = true\n"),
        Proxy::start_with("", &["--tls-self-signed"]),
    ];
    let words = "a certificate was made that holds until the next start; clients have to be told to trust it";
    let told = proxies.each_ref().map(|proxy| {
        let said = proxy.wait_log(words, |_| true);
        for at in [proxy.http, proxy.api, proxy.system] {
            assert_eq!(said["fingerprint"], fingerprint(at.port()), "{said}");
        }
        said["fingerprint"].clone()
    });
    assert_ne!(told[0], told[1], "each start makes another");
}

#[test]
fn cameras_are_played_over_rtsps() {
    let _turn = machine::share();
    let authority = Authority::new();
    let arguments = ["--play", "live/cam", "--user", "guard:secret"];
    let origin = RtspServer::start("locked", &arguments);
    let settings = format!("session.setup_timeout = \"20s\"\n{}", authority.dotted());
    let proxy = Proxy::start(&settings);
    let _registrar = origin.register(&proxy);
    let url = format!(
        "rtsps://guard:secret@localhost:{}/live/cam",
        proxy.rtsp.port()
    );
    Player::open(&url).wait_frames(50);
}

#[test]
fn a_browser_publishes_its_camera_from_a_secure_page() {
    let _turn = machine::share();
    let authority = Authority::new();
    let origin = RtcOrigin::start("origin");
    let folder = page_folder().display().to_string();
    let settings = format!("http.static_files = {folder:?}\n{}", authority.dotted());
    let proxy = Proxy::start(&settings);
    origin.register(&proxy);
    let page = |action: &str| {
        format!(
            "https://localhost:{}/index.html?action={action}&stream=camera&api=https://localhost:{}",
            proxy.http.port(),
            proxy.api.port()
        )
    };
    let publisher = Browser::trusting(&page("publish"));
    publisher.wait_video("it sends", |shown| {
        shown["call"]["frames"].as_u64() >= Some(30)
    });
    let player = Browser::trusting(&page("play"));
    player.wait_video("a picture in colours", |shown| {
        shown["frames"].as_u64() > Some(10) && shown["colours"].as_u64() > Some(4)
    });
}

#[test]
fn gstreamer_publishes_and_plays_by_rtmps() {
    let _turn = machine::share();
    let authority = Authority::new();
    let origin = NginxRtmp::start("origin");
    let proxy = Proxy::start(&authority.dotted());
    let _registrar = Registrar::start(&proxy, &origin);
    let location = format!("location=rtmps://localhost:{}/live/a", proxy.rtmp.port());
    // The authority is made for this story, and GStreamer asks the system alone.
    let gstreamer = |elements: &[&str]| {
        let mut launch = Command::new(machine::installed(&["gst-launch-1.0"]));
        launch.args(elements);
        Program::start("gst-launch", &mut launch).abrupt()
    };
    let encoder = "videotestsrc is-live=true ! x264enc tune=zerolatency key-int-max=15 ! h264parse ! flvmux streamable=true";
    let mut elements: Vec<&str> = encoder.split(' ').collect();
    elements.extend(["!", "rtmp2sink", "tls-validation-flags=0", &location]);
    let _publisher = gstreamer(&elements);
    proxy.wait_session("the publisher", |row| {
        row["action"] == "publish" && row["bytes_to_origin"].as_u64() > Some(20_000)
    });
    let source = [
        "rtmp2src",
        "tls-validation-flags=0",
        &location,
        "num-buffers=60",
    ];
    let mut player = gstreamer(&[&source[..], &["!", "fakesink"]].concat());
    assert!(player.wait_end(Duration::from_secs(60)).success());
    assert!(origin.was_published("live/a"));
}
