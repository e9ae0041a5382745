//! ffmpeg as an encoder and as a player.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::machine::{self, installed, scratch_root};
use super::program::{Line, Program};
use super::wait_for;

/// ffmpeg publishing a test picture with a tone, in real time.
pub(crate) struct Publisher {
    program: Program,
}

/// What to publish, and how.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    url: String,
    source: Source,
    /// Frames per second.
    rate: u32,
    /// The number of frames between keyframes.
    gop: u32,
    bitrate: &'static str,
    format: &'static str,
    from: Duration,
    /// Options for the protocol.
    options: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// x264 and AAC encode while it publishes.
    Encoder,
    /// A clip that was encoded earlier, repeated: a tenth of the work.
    Clip,
}

/// ffmpeg playing: it prints a line for each decoded video frame.
pub(crate) struct Player {
    url: String,
    program: Program,
}

/// A decoded frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// When it was decoded.
    pub(crate) at: Instant,
    /// The frame's own timestamp, in seconds.
    pub(crate) time: f64,
}

/// How a program of ffmpeg's ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Its error output.
    pub(crate) errors: String,
}

impl Publisher {
    /// A live encoder: 320x180 at 25 frames per second, with a keyframe every second.
    pub(crate) fn encoder(url: &str) -> Publish {
        Publish {
            url: url.to_owned(),
            source: Source::Encoder,
            rate: 25,
            gop: 25,
            bitrate: "300k",
            format: "flv",
            from: Duration::ZERO,
            options: Vec::new(),
        }
    }

    /// The same picture without the work of encoding it, for stories with many publishers.
    pub(crate) fn clip(url: &str) -> Publish {
        Publish {
            source: Source::Clip,
            ..Self::encoder(url)
        }
    }

    /// The clip as MPEG-TS, by SRT.
    pub(crate) fn srt(url: &str) -> Publish {
        Publish {
            format: "mpegts",
            ..Self::clip(url)
        }
    }

    /// Serves one viewer with HTTP-TS on `port` instead of publishing. Returns when it listens.
    pub(crate) fn serve_http_ts(port: u16, stream: &str) -> Self {
        let publish = Self::encoder(&format!("http://127.0.0.1:{port}/{stream}.ts"));
        let options = vec!["-listen".to_owned(), "1".to_owned()];
        let publisher = Publish {
            format: "mpegts",
            options,
            ..publish
        }
        .start();
        wait_for("ffmpeg listens", PATIENCE, || {
            machine::is_listening(port).then_some(())
        });
        publisher
    }

    /// Returns when it has sent `count` frames, which it does only after the server accepted the stream.
    #[track_caller]
    pub(crate) fn wait_frames(&self, count: u64) {
        self.program
            .wait_line(&format!("{count} frames sent"), PATIENCE, |line| {
                has_sent(line, count)
            });
    }

    /// Returns true when it has sent `count` frames, and false if it ended before that.
    pub(crate) fn frames_before_its_end(&mut self, count: u64) -> bool {
        wait_for("it publishes or gives up", PATIENCE, || {
            let running = self.program.is_running();
            let sent = self
                .program
                .lines()
                .iter()
                .any(|line| has_sent(line, count).is_some());
            (sent || !running).then_some(sent)
        })
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.program.is_running()
    }

    /// Kills it without a goodbye.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    /// Ends it as a user does: it says goodbye to the server.
    pub(crate) fn stop(&mut self) {
        self.program.signal("INT");
        self.program.wait_end(PATIENCE);
    }

    #[track_caller]
    pub(crate) fn wait_end(&mut self) -> Ended {
        let status = self.program.wait_end(PATIENCE);
        Ended {
            status,
            errors: self.program.errors(),
        }
    }
}

impl Publish {
    /// Encodes while it publishes, in place of the clip.
    pub(crate) fn encoding(mut self) -> Self {
        self.source = Source::Encoder;
        self
    }

    /// Frames per second. Encoder only.
    pub(crate) fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// A keyframe every `gop` frames. Encoder only.
    pub(crate) fn gop(mut self, gop: u32) -> Self {
        self.gop = gop;
        self
    }

    /// Bits per second, constant. Encoder only.
    pub(crate) fn bitrate(mut self, bitrate: &'static str) -> Self {
        self.bitrate = bitrate;
        self
    }

    /// Over RTSP, with `tcp` or `udp` for its media.
    pub(crate) fn rtsp(mut self, transport: &str) -> Self {
        self.format = "rtsp";
        self.options = ["-rtsp_transport", transport].map(str::to_owned).into();
        self
    }

    /// Starts the stream's own time here instead of at zero.
    pub(crate) fn from(mut self, from: Duration) -> Self {
        self.from = from;
        self
    }

    pub(crate) fn start(self) -> Publisher {
        let mut ffmpeg = Command::new(installed(&["ffmpeg"]));
        ffmpeg.args([
            "-hide_banner",
            "-nostdin",
            "-nostats",
            "-loglevel",
            "warning",
        ]);
        ffmpeg.args(["-progress", "pipe:1", "-stats_period", "0.1"]);
        match self.source {
            Source::Clip => ffmpeg
                .args(["-re", "-stream_loop", "-1", "-i"])
                .arg(clip())
                .args(["-c", "copy"]),
            Source::Encoder => ffmpeg
                .arg("-re")
                .args(picture(self.rate))
                .args(codecs(self.gop, self.bitrate)),
        };
        ffmpeg.args(["-output_ts_offset", &self.from.as_secs_f64().to_string()]);
        if self.format == "flv" {
            ffmpeg.args(["-flvflags", "no_duration_filesize"]);
        }
        ffmpeg
            .args(&self.options)
            .args(["-f", self.format, &self.url]);
        Publisher {
            program: Program::start("publisher", &mut ffmpeg).abrupt(),
        }
    }
}

impl Player {
    pub(crate) fn open(url: &str) -> Self {
        Self::open_with(url, &[])
    }

    /// Opens with additional options for the protocol.
    pub(crate) fn open_with(url: &str, options: &[&str]) -> Self {
        let mut ffmpeg = Command::new(installed(&["ffmpeg"]));
        ffmpeg.args([
            "-hide_banner",
            "-nostdin",
            "-nostats",
            "-loglevel",
            "warning",
        ]);
        // As a live player does: nothing is buffered, and the frame rate is not analysed before the first frame.
        ffmpeg.args(["-fflags", "nobuffer", "-fpsprobesize", "0", "-copyts"]);
        ffmpeg.args(options).args(["-i", url]);
        // One line per decoded frame, as soon as it is decoded.
        ffmpeg.args([
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-f",
            "framecrc",
            "-flush_packets",
            "1",
            "pipe:1",
        ]);
        Self {
            url: url.to_owned(),
            program: Program::start("player", &mut ffmpeg).abrupt(),
        }
    }

    /// Plays until `count` frames are decoded.
    #[track_caller]
    pub(crate) fn frames(url: &str, count: usize) -> Vec<Frame> {
        Self::open(url).wait_frames(count)
    }

    /// How long it takes from start to the first decoded frame.
    #[track_caller]
    pub(crate) fn first_frame(url: &str) -> Duration {
        let player = Self::open(url);
        let frames = player.wait_frames(1);
        frames[0].at - player.program.started()
    }

    /// Returns when `count` frames are decoded since the start.
    #[track_caller]
    pub(crate) fn wait_frames(&self, count: usize) -> Vec<Frame> {
        let what = format!("{count} frames of {}", self.url);
        let patience =
            PATIENCE + Duration::from_millis(50) * u32::try_from(count).expect("not so many");
        self.program.wait_lines(&what, patience, |lines| {
            Some(decoded(lines)).filter(|frames| frames.len() >= count)
        })
    }

    /// Returns when `count` more frames are decoded than now.
    #[track_caller]
    pub(crate) fn wait_more(&self, count: usize) -> Vec<Frame> {
        self.wait_frames(self.decoded().len() + count)
    }

    /// The frames so far.
    pub(crate) fn decoded(&self) -> Vec<Frame> {
        decoded(&self.program.lines())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.program.is_running()
    }

    #[track_caller]
    pub(crate) fn wait_end(&mut self) -> Ended {
        let status = self.program.wait_end(PATIENCE);
        Ended {
            status,
            errors: self.program.errors(),
        }
    }
}

/// ffmpeg's `-progress` says `frame=12`.
fn has_sent(line: &Line, count: u64) -> Option<()> {
    let sent: u64 = line.text.strip_prefix("frame=")?.trim().parse().ok()?;
    (sent >= count).then_some(())
}

/// Frames by ffmpeg's `framecrc`: `#tb 0: 1/25`, then `0, dts, pts, duration, size, crc` for each.
fn decoded(lines: &[Line]) -> Vec<Frame> {
    let mut units: BTreeMap<&str, f64> = BTreeMap::new();
    let mut frames = Vec::new();
    for line in lines.iter().filter(|line| !line.error) {
        if let Some((stream, unit)) = line
            .text
            .strip_prefix("#tb ")
            .and_then(|rest| rest.split_once(": "))
        {
            let unit = unit.split_once('/').and_then(|(over, under)| {
                Some(over.trim().parse::<f64>().ok()? / under.trim().parse::<f64>().ok()?)
            });
            units.extend(unit.map(|unit| (stream, unit)));
        } else if let Some((stream, rest)) = line.text.split_once(',')
            && let Some(unit) = units.get(stream)
            && let Some(time) = rest
                .split(',')
                .nth(1)
                .and_then(|time| time.trim().parse::<f64>().ok())
        {
            frames.push(Frame {
                at: line.at,
                time: time * unit,
            });
        }
    }
    frames
}

/// The clip's file; it is made by the first test that needs it.
pub(super) fn clip() -> PathBuf {
    let path = scratch_root().join("clip.flv");
    if !path.is_file() {
        // Other test processes may be making it too: each writes its own file, and the last rename wins.
        let partial = scratch_root().join(format!(
            "clip-{}-{:?}.flv",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut ffmpeg = Command::new(installed(&["ffmpeg"]));
        ffmpeg.args([
            "-hide_banner",
            "-nostdin",
            "-nostats",
            "-loglevel",
            "error",
            "-y",
        ]);
        ffmpeg
            .args(picture(25))
            .args(codecs(25, "300k"))
            .args(["-t", "20"])
            .arg(&partial);
        let status = Program::start("clip", &mut ffmpeg).wait_end(PATIENCE);
        assert!(status.success(), "ffmpeg made no clip");
        std::fs::rename(&partial, &path).expect("both are in one folder");
    }
    path
}

fn picture(rate: u32) -> [String; 8] {
    let video = format!("testsrc2=size=320x180:rate={rate}");
    [
        "-f",
        "lavfi",
        "-i",
        &video,
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=44100",
    ]
    .map(str::to_owned)
}

fn codecs(gop: u32, bitrate: &str) -> Vec<String> {
    let gop = gop.to_string();
    let video = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-tune",
        "zerolatency",
        "-pix_fmt",
        "yuv420p",
        "-g",
        &gop,
    ];
    // Padded to its bit rate, because a test picture would need far less.
    let rate = [
        "-b:v",
        bitrate,
        "-maxrate",
        bitrate,
        "-bufsize",
        bitrate,
        "-x264-params",
        "nal-hrd=cbr",
    ];
    let audio = ["-c:a", "aac", "-b:a", "64k"];
    video
        .into_iter()
        .chain(rate)
        .chain(audio)
        .map(str::to_owned)
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(40);
