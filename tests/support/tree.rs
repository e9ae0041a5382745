//! Folders into which ffmpeg packages a live picture, served by a plain nginx: an origin of files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::ffmpeg;
use super::machine::{self, Scratch, installed};
use super::origin::{Origin, listening};
use super::program::Program;
use super::wait_for;

/// The origin and its packager; both end with the value.
///
/// | path | what it is |
/// | --- | --- |
/// | `live/fmp4/master.m3u8` | a master playlist, fragmented MP4, an init segment |
/// | `live/aes.m3u8` | encrypted MPEG-TS and its key |
/// | `live/full.m3u8` | MPEG-TS, each segment by a URL that names the origin in full |
/// | `live/dash/index.mpd` | a manifest with templates and timelines |
pub(crate) struct Tree {
    name: String,
    http: SocketAddr,
    nginx: Program,
    scratch: Scratch,
    _packager: Program,
}

impl Tree {
    /// Returns when every playlist exists.
    pub(crate) fn start(name: &str) -> Self {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
        let scratch = Scratch::new(name);
        for folder in ["www/live/fmp4", "www/live/dash"] {
            std::fs::create_dir_all(scratch.path().join(folder)).expect("a folder in ours");
        }
        scratch.write("www/live/aes.key", "sixteen letters!");
        scratch.write("key", "aes.key\nwww/live/aes.key\n");
        scratch.write(
            "nginx.conf",
            &format!(
                "daemon off; master_process off; user root; pid nginx.pid;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ {HTTP} server {{ listen {http}; }} }}\n"
            ),
        );
        let packager = Program::start("packager", &mut packager(scratch.path(), http)).abrupt();
        let nginx = run(name, scratch.path(), http);
        let tree = Self {
            name: name.to_owned(),
            http,
            nginx,
            scratch,
            _packager: packager,
        };
        for file in [
            "fmp4/seg-2.m4s",
            "aes-2.ts",
            "full-2.ts",
            "dash/chunk-stream0-00003.m4s",
        ] {
            wait_for(file, PATIENCE, || {
                let path = tree.scratch.path().join("www/live").join(file);
                path.is_file().then_some(())
            });
        }
        tree
    }

    /// Kills nginx and starts another on the same port; the packager goes on.
    pub(crate) fn restart(&mut self) {
        self.nginx.kill();
        self.nginx = run(&self.name, self.scratch.path(), self.http);
    }

    /// Kills nginx; nobody gets its files any more.
    pub(crate) fn kill(&mut self) {
        self.nginx.kill();
    }

    /// The targets that were requested, one entry per request.
    pub(crate) fn asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.scratch.path().join("access.log"));
        let log = log.unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Origin for Tree {
    fn name(&self) -> &str {
        &self.name
    }

    /// It has no RTMP, which its registration says.
    fn rtmp(&self) -> SocketAddr {
        self.http
    }

    fn http(&self) -> Option<SocketAddr> {
        Some(self.http)
    }

    fn was_published(&self, stream: &str) -> bool {
        self.scratch
            .path()
            .join("www")
            .join(format!("{stream}.m3u8"))
            .is_file()
    }
}

fn run(name: &str, folder: &Path, http: SocketAddr) -> Program {
    let mut nginx = Command::new(installed(&["nginx"]));
    nginx
        .arg("-p")
        .arg(folder)
        .args(["-c", "nginx.conf", "-e", "stderr"]);
    listening(Program::start(name, &mut nginx).abrupt(), http)
}

fn packager(folder: &Path, http: SocketAddr) -> Command {
    let mut ffmpeg = Command::new(installed(&["ffmpeg"]));
    ffmpeg.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]);
    ffmpeg
        .args(["-re", "-stream_loop", "-1", "-i"])
        .arg(ffmpeg::clip())
        .current_dir(folder);
    let mut hls = |arguments: &[&str], playlist: &str| {
        ffmpeg.args([
            "-map",
            "0",
            "-c",
            "copy",
            "-f",
            "hls",
            "-hls_time",
            "1",
            "-hls_list_size",
            "8",
        ]);
        ffmpeg.args(arguments).arg(format!("www/live/{playlist}"));
    };
    hls(
        &[
            "-hls_segment_type",
            "fmp4",
            "-hls_fmp4_init_filename",
            "init.mp4",
            "-master_pl_name",
            "master.m3u8",
            "-hls_segment_filename",
            "www/live/fmp4/seg-%d.m4s",
        ],
        "fmp4/index.m3u8",
    );
    hls(
        &[
            "-hls_key_info_file",
            "key",
            "-hls_segment_filename",
            "www/live/aes-%d.ts",
        ],
        "aes.m3u8",
    );
    let base = format!("http://{http}/live/");
    hls(
        &[
            "-hls_base_url",
            &base,
            "-hls_segment_filename",
            "www/live/full-%d.ts",
        ],
        "full.m3u8",
    );
    ffmpeg.args([
        "-map",
        "0",
        "-c",
        "copy",
        "-f",
        "dash",
        "-seg_duration",
        "1",
        "-window_size",
        "8",
    ]);
    ffmpeg.arg("www/live/dash/index.mpd");
    ffmpeg
}

/// The configuration that origins of files share; the log has a line for each request.
const HTTP: &str = "\
types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; video/mp4 mp4 m4s; application/dash+xml mpd; }
log_format target '$request_method $request_uri'; access_log access.log target; root www; etag on; gzip on;
gzip_types application/vnd.apple.mpegurl application/dash+xml;";

const PATIENCE: Duration = Duration::from_secs(40);
