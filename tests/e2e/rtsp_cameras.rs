//! Fifty cameras behind three origins: each address leads every client to the same origin.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::rtsp::RtspServer;
use crate::support::{Player, Proxy, machine, uninterrupted};

#[test]
fn fifty_cameras_on_three_origins() {
    let _turn = machine::share();
    let cameras: Vec<String> = (1..=CAMERAS)
        .map(|number| format!("site/camera{number}"))
        .collect();
    let mut arguments = vec!["--rate", "5", "--play"];
    arguments.extend(cameras.iter().map(String::as_str));
    let origins = ["origin1", "origin2", "origin3"].map(|name| RtspServer::start(name, &arguments));
    let proxy = Proxy::start("session.setup_timeout = \"30s\"");
    let _registrars = origins.each_ref().map(|origin| origin.register(&proxy));

    let mut viewers: Vec<Viewer> = cameras
        .iter()
        .map(|camera| Viewer::play(proxy.rtsp, camera))
        .collect();
    // All viewers play at the same time.
    for viewer in &mut viewers {
        viewer.wait_frames(10);
    }
    assert_eq!(proxy.sessions().len(), CAMERAS);
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    for camera in &cameras {
        let origin = proxy.origin_of(camera).expect("it is watched");
        *used.entry(origin).or_default() += 1;
    }
    assert_eq!(
        used.len(),
        origins.len(),
        "fifty cameras spread over all: {used:?}"
    );
    // A later player is led to the same place, and sees a picture.
    Player::open_with(&proxy.rtsp_url(&cameras[7]), &["-rtsp_transport", "tcp"]).wait_frames(5);
    drop(viewers);
    crate::support::wait_for("everybody has left", PATIENCE, || {
        proxy.sessions().is_empty().then_some(())
    });
}

/// A minimal player: fifty of ffmpeg's would be too much load.
struct Viewer {
    stream: TcpStream,
    bytes: Vec<u8>,
    camera: String,
}

impl Viewer {
    fn play(at: SocketAddr, camera: &str) -> Self {
        let stream = TcpStream::connect(at).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let mut viewer = Self {
            stream,
            bytes: Vec::new(),
            camera: camera.to_owned(),
        };
        let url = format!("rtsp://{at}/{camera}");
        let described = viewer.ask(&format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"));
        let mut controls = described
            .lines()
            .filter_map(|line| line.strip_prefix("a=control:"));
        let track = controls.next_back().expect("a track").trim();
        let track = if track.contains("://") {
            track.to_owned()
        } else {
            format!("{url}/{track}")
        };
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1";
        let set_up = viewer.ask(&format!(
            "SETUP {track} RTSP/1.0\r\nCSeq: 2\r\n{transport}\r\n\r\n"
        ));
        let session = set_up
            .lines()
            .find_map(|line| line.strip_prefix("Session: "));
        let session = session
            .and_then(|line| line.split(';').next())
            .expect("a session");
        viewer.ask(&format!(
            "PLAY {url} RTSP/1.0\r\nCSeq: 3\r\nSession: {session}\r\n\r\n"
        ));
        viewer
    }

    /// Sends a request and reads the answer.
    fn ask(&mut self, request: &str) -> String {
        self.stream
            .write_all(request.as_bytes())
            .expect("the proxy reads");
        loop {
            let text = String::from_utf8_lossy(&self.bytes).into_owned();
            if let Some(head) = text.find("\r\n\r\n").map(|end| end + 4) {
                let length = text
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "));
                let length: usize =
                    length.map_or(0, |length| length.trim().parse().expect("a number"));
                if self.bytes.len() >= head + length {
                    assert!(text.starts_with("RTSP/1.0 200"), "{}: {text}", self.camera);
                    self.bytes.drain(..head + length);
                    return text;
                }
            }
            self.read();
        }
    }

    /// Reads until `count` frames of media have arrived.
    fn wait_frames(&mut self, mut count: usize) {
        while count > 0 {
            let length = match self.bytes.as_slice() {
                [b'$', _, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
                [] | [b'$', ..] => usize::MAX,
                other => panic!(
                    "{}: no frame: {:?}",
                    self.camera,
                    &other[..other.len().min(20)]
                ),
            };
            if self.bytes.len() < length {
                self.read();
                continue;
            }
            count -= usize::from(self.bytes[1] == 0);
            self.bytes.drain(..length);
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let count = uninterrupted(|| self.stream.read(&mut buffer)).expect("something in time");
        assert!(count > 0, "{}: closed", self.camera);
        self.bytes.extend_from_slice(&buffer[..count]);
    }
}

const CAMERAS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(40);
