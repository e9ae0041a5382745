//! A Low-Latency HLS origin: ffmpeg's fragmented MP4 cut into parts, with blocking reloads that really block.

use std::fmt::Write;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ffmpeg;
use super::http::{Answer, Asked, Server};
use super::machine::installed;
use super::origin::Origin;

/// Two renditions of one picture, at `live/ll/master.m3u8`. A part is five frames, a segment a second.
pub(crate) struct LowLatency {
    name: String,
    server: Server,
    stream: Arc<Stream>,
    packager: Child,
}

#[derive(Default)]
struct Stream {
    cut: Mutex<Cut>,
    grown: Condvar,
}

/// What has been cut so far.
#[derive(Default)]
struct Cut {
    init: Vec<u8>,
    /// Every segment since the start, as its parts. The last one still grows.
    segments: Vec<Vec<Vec<u8>>>,
    /// The number of requests that waited for a part that did not exist yet.
    held: usize,
}

impl LowLatency {
    pub(crate) fn start(name: &str) -> Self {
        let mut ffmpeg = Command::new(installed(&["ffmpeg"]));
        ffmpeg.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]);
        ffmpeg
            .args(["-re", "-stream_loop", "-1", "-i"])
            .arg(ffmpeg::clip());
        ffmpeg.args(["-an", "-c", "copy", "-f", "mp4", "-frag_duration", "200000"]);
        ffmpeg.args([
            "-movflags",
            "frag_keyframe+empty_moov+default_base_moof",
            "-flush_packets",
            "1",
            "pipe:1",
        ]);
        let mut packager = ffmpeg
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ffmpeg starts");
        let mut fragments = packager.stdout.take().expect("stdout is piped");
        let stream = Arc::new(Stream::default());
        let growing = Arc::clone(&stream);
        // The thread ends with the packager.
        std::thread::spawn(move || while growing.read_box(&mut fragments).is_some() {});
        let answering = Arc::clone(&stream);
        let server = Server::start(move |asked| answering.answer(asked));
        super::wait_for("four segments", STARTS, || {
            (stream.lock().segments.len() > 3).then_some(())
        });
        Self {
            name: name.to_owned(),
            server,
            stream,
            packager,
        }
    }

    /// How many requests waited for a part that did not exist yet.
    pub(crate) fn held(&self) -> usize {
        self.stream.lock().held
    }

    /// Every target it was asked for.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.server.asked()
    }
}

impl Drop for LowLatency {
    fn drop(&mut self) {
        let _ = self.packager.kill();
        let _ = self.packager.wait();
    }
}

impl Origin for LowLatency {
    fn name(&self) -> &str {
        &self.name
    }

    /// It has no RTMP, which its registration says.
    fn rtmp(&self) -> SocketAddr {
        self.server.address
    }

    fn http(&self) -> Option<SocketAddr> {
        Some(self.server.address)
    }

    fn was_published(&self, stream: &str) -> bool {
        stream == "live/ll"
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, Cut> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one box of ISO/IEC 14496-12 §4.2 and adds it where it belongs.
    fn read_box(&self, fragments: &mut impl Read) -> Option<()> {
        let mut head = [0; 8];
        fragments.read_exact(&mut head).ok()?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut bytes = head.to_vec();
        bytes.resize(usize::try_from(size).ok()?, 0);
        fragments.read_exact(bytes.get_mut(8..)?).ok()?;
        let mut cut = self.lock();
        match &head[4..] {
            b"ftyp" | b"moov" => cut.init.extend(bytes),
            b"moof" => {
                if begins_with_keyframe(&bytes) {
                    cut.segments.push(Vec::new());
                }
                cut.segments.last_mut()?.push(bytes);
            }
            b"mdat" => {
                cut.segments.last_mut()?.last_mut()?.extend(bytes);
                drop(cut);
                self.grown.notify_all();
            }
            _ => {}
        }
        Some(())
    }

    /// Waits until `ready`, as an origin waits: for a limited time.
    fn wait(&self, ready: impl Fn(&Cut) -> bool) -> MutexGuard<'_, Cut> {
        let deadline = Instant::now() + HOLD;
        let mut cut = self.lock();
        while !ready(&cut) && Instant::now() < deadline {
            (cut, _) = self
                .grown
                .wait_timeout(cut, HOLD)
                .unwrap_or_else(PoisonError::into_inner);
        }
        cut
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let Some(file) = path.strip_prefix("/live/ll/") else {
            return Answer::status(404);
        };
        let (rendition, file) = file.split_once('/').unwrap_or(("", file));
        match (rendition, file) {
            ("", "master.m3u8") => playlist(MASTER.to_owned()),
            ("v0" | "v1", "index.m3u8") => self.index(rendition, query),
            ("v0" | "v1", "init.mp4") => media(Some(self.lock().init.clone())),
            ("v0" | "v1", file) => self.media(file),
            _ => Answer::status(404),
        }
    }

    fn index(&self, rendition: &str, query: &str) -> Answer {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, _)| *key == name)
                .find_map(|(_, value)| value.parse::<usize>().ok())
        };
        match (value("_HLS_msn"), value("_HLS_part")) {
            (Some(segment), Some(part)) => self.hold(|cut| cut.has(segment, part)),
            (Some(segment), None) => self.hold(|cut| cut.has(segment + 1, 0)),
            _ => {}
        }
        let other = if rendition == "v0" { "v1" } else { "v0" };
        playlist(self.lock().index(other))
    }

    /// A segment `7.m4s`, or a part `7.2.m4s`, which is waited for if a hint announced it.
    fn media(&self, file: &str) -> Answer {
        let mut numbers = file
            .split('.')
            .map_while(|number| number.parse::<usize>().ok());
        let (Some(segment), part) = (numbers.next(), numbers.next()) else {
            return Answer::status(404);
        };
        let Some(part) = part else {
            return media(
                self.lock()
                    .segments
                    .get(segment)
                    .map(|parts| parts.concat()),
            );
        };
        self.hold(|cut| cut.has(segment, part));
        let cut = self.lock();
        media(
            cut.segments
                .get(segment)
                .and_then(|parts| parts.get(part))
                .cloned(),
        )
    }

    fn hold(&self, ready: impl Fn(&Cut) -> bool) {
        if ready(&self.lock()) {
            return;
        }
        self.lock().held += 1;
        drop(self.wait(ready));
    }
}

impl Cut {
    /// Whether a part is complete, which shows when the next one begins; a part that never existed counts as complete.
    fn has(&self, segment: usize, part: usize) -> bool {
        self.end() > (segment, part)
    }

    /// The part that is being made: its segment and its index there.
    fn end(&self) -> (usize, usize) {
        let last = self.segments.len().saturating_sub(1);
        (
            last,
            self.segments
                .last()
                .map_or(0, |parts| parts.len().saturating_sub(1)),
        )
    }

    fn index(&self, other: &str) -> String {
        let (last, part) = self.end();
        let first = last.saturating_sub(WINDOW);
        let mut text =
            format!("{INDEX}#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"init.mp4\"\n");
        for (number, parts) in self.segments.iter().enumerate().skip(first) {
            let whole = if number == last { part } else { parts.len() };
            for place in (0..whole).filter(|_| number + 2 >= last) {
                let independent = if place == 0 { ",INDEPENDENT=YES" } else { "" };
                let _ = writeln!(
                    text,
                    "#EXT-X-PART:DURATION=0.2,URI=\"{number}.{place}.m4s\"{independent}"
                );
            }
            if number < last {
                let _ = writeln!(text, "#EXTINF:1.0,\n{number}.m4s");
            }
        }
        let _ = writeln!(
            text,
            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{last}.{part}.m4s\""
        );
        let _ = writeln!(
            text,
            "#EXT-X-RENDITION-REPORT:URI=\"../{other}/index.m3u8\",LAST-MSN={last},LAST-PART={}",
            part.saturating_sub(1)
        );
        text
    }
}

/// Whether a run begins with a keyframe. ffmpeg describes its first frame only if it differs from the rest (§8.8.8,
/// flag 0x4).
fn begins_with_keyframe(moof: &[u8]) -> bool {
    let run = moof.windows(4).position(|name| name == b"trun");
    run.and_then(|at| moof.get(at + 7))
        .is_some_and(|flags| flags & 4 != 0)
}

fn playlist(text: String) -> Answer {
    Answer {
        headers: vec![
            ("Content-Type", "application/vnd.apple.mpegurl"),
            ("Cache-Control", "no-cache"),
        ],
        body: text.into_bytes(),
        ..Answer::status(200)
    }
}

fn media(bytes: Option<Vec<u8>>) -> Answer {
    match bytes {
        None => Answer::status(404),
        Some(body) => Answer {
            headers: vec![("Content-Type", "video/mp4")],
            body,
            ..Answer::status(200)
        },
    }
}

const MASTER: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n\
#EXT-X-STREAM-INF:BANDWIDTH=400000,RESOLUTION=320x180,CODECS=\"avc1.42c00c\"\nv0/index.m3u8\n\
#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=320x180,CODECS=\"avc1.42c00c\"\nv1/index.m3u8\n";
const INDEX: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:1\n#EXT-X-PART-INF:PART-TARGET=0.2\n\
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.8\n";
/// Maximum whole segments in a playlist.
const WINDOW: usize = 6;
/// How long a request is held before it is answered with what exists: three target durations.
const HOLD: Duration = Duration::from_secs(3);
const STARTS: Duration = Duration::from_secs(40);
