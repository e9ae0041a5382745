//! An origin that takes SRT and also offers what it took over RTMP and HTTP, as SRS does with `srt_to_rtmp`: the libsrt
//! origin, a media server, and ffmpeg between the two, under one registration.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::machine::installed;
use super::origin::Origin;
use super::program::Program;
use super::proxy::Proxy;
use super::srt::SrtOrigin;
use super::wait_for;

/// One such origin; it ends with the value.
pub(crate) struct Remuxing<O> {
    srt: SrtOrigin,
    /// What precedes a path in the id of a player.
    play: &'static str,
    server: O,
    remuxer: Option<Program>,
}

impl<O: Origin> Remuxing<O> {
    /// Gives a media server a port for SRT, and registers both as one.
    pub(crate) fn start(proxy: &Proxy, server: O) -> Self {
        let srt = SrtOrigin::unregistered(server.name());
        let mut registration = server.registration();
        registration["srt"] = json!([srt.address().port().to_string()]);
        proxy.register(&registration);
        Self {
            srt,
            play: "",
            server,
            remuxer: None,
        }
    }

    /// The same in the shape of MediaMTX, for a story that registers it: its SRT ids begin with a word, and a playlist is in
    /// the folder of its stream.
    pub(crate) fn like_mediamtx(server: O) -> Self {
        Self {
            srt: SrtOrigin::by_words(server.name()),
            play: "read:",
            server,
            remuxer: None,
        }
    }

    /// The body of a registration of one in the shape of MediaMTX.
    pub(crate) fn registration(&self) -> Value {
        let mut registration = self.server.registration();
        registration["srt"] = json!([self.srt.address().port().to_string()]);
        registration["dialect"] = json!("mediamtx");
        registration
    }

    pub(crate) fn server(&self) -> &O {
        &self.server
    }

    /// Whether it holds a publisher of the stream over SRT.
    pub(crate) fn takes(&self, stream: &str) -> bool {
        self.srt.said(&format!("publish {stream}"))
    }

    /// Offers a stream that it takes over SRT to all other clients, unchanged and under its own name.
    pub(crate) fn remux(&mut self, stream: &str) {
        assert!(self.takes(stream), "{stream} is not here");
        let mut ffmpeg = Command::new(installed(&["ffmpeg"]));
        ffmpeg.args(["-hide_banner", "-nostdin", "-nostats"]);
        ffmpeg.args(["-loglevel", "warning", "-analyzeduration", "1000000"]);
        ffmpeg.arg("-i");
        let id = format!("{}{stream}", self.play);
        ffmpeg.arg(format!("srt://{}?streamid={id}", self.srt.address()));
        ffmpeg.args(["-c", "copy", "-f", "flv", &self.server.rtmp_url(stream)]);
        self.remuxer = Some(Program::start("remuxer", &mut ffmpeg).abrupt());
        wait_for("it is there by RTMP", PATIENCE, || {
            self.server.was_published(stream).then_some(())
        });
    }
}

const PATIENCE: Duration = Duration::from_secs(40);
