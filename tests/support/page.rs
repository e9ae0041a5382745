//! Pages with a player, on a server of their own: they play from another web origin.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::browser::Browser;
use super::http::{Answer, Server};
use super::machine::{peer_file, player_file};

/// A page that plays, in a browser.
pub(crate) struct Page {
    pub(crate) browser: Browser,
    _server: Server,
}

impl Page {
    /// hls.js, which takes parts where there are some.
    pub(crate) fn hls(url: &str) -> Self {
        Self::open(&peer_file(HLS_JS), PLAY_HLS, url)
    }

    /// The page of [`hls`](Self::hls) and its script as files in `folder`, for a server that is tested to serve.
    pub(crate) fn write_hls(folder: &Path, url: &str) {
        let script = std::fs::read(peer_file(HLS_JS)).expect("a file that was found");
        let page = page(PLAY_HLS, url);
        for (name, bytes) in [("player.js", script), ("player.html", page.into_bytes())] {
            std::fs::write(folder.join(name), bytes).expect("a file");
        }
    }

    /// mpegts.js, the one that is built in: of HTTP-FLV and WebSocket-FLV (`flv`), or HTTP-TS (`mpegts`).
    pub(crate) fn mpegts(format: &str, url: &str) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/assets/vendor/mpegts.js/mpegts.js"
        );
        let play = format!(
            "const player = mpegts.createPlayer({{ type: '{format}', isLive: true, url }});
            player.on(mpegts.Events.ERROR, (kind, detail) => say(`${{kind}}: ${{detail}}`));
            player.attachMediaElement(video);
            player.load();"
        );
        Self::open(Path::new(script), &play, url)
    }

    /// flv.js.
    pub(crate) fn flv(url: &str) -> Self {
        let play = "const player = flvjs.createPlayer({ type: 'flv', isLive: true, url });
            player.on(flvjs.Events.ERROR, (kind, detail) => say(`${kind}: ${detail}`));
            player.attachMediaElement(video);
            player.load();";
        Self::open(&peer_file("node_modules/flv.js/dist/flv.min.js"), play, url)
    }

    /// hls.js with the settings that it comes with, where only what it cannot recover from is a problem.
    pub(crate) fn hls_until_it_is_fatal(url: &str) -> Self {
        let play = "const hls = new Hls();
            hls.on(Hls.Events.ERROR, (_, error) => error.fatal && say(error.details));
            hls.loadSource(url);
            hls.attachMedia(video);";
        Self::open(&peer_file("node_modules/hls.js/dist/hls.min.js"), play, url)
    }

    /// video.js, where only what it cannot recover from is a problem.
    pub(crate) fn video_js(url: &str) -> Self {
        let play = "const player = videojs(video, { autoplay: true, muted: true });
            player.on('error', () => say(player.error().message));
            player.src({ src: url, type: 'application/x-mpegURL' });";
        Self::open(
            &player_file("node_modules/video.js/dist/video.min.js"),
            play,
            url,
        )
    }

    /// Shaka Player, where only what it cannot recover from is a problem.
    pub(crate) fn shaka(url: &str) -> Self {
        let play = "shaka.polyfill.installAll();
            const player = new shaka.Player();
            const fails = (error) => error.severity === 2 && say(`Shaka: ${error.code} ${error.data}`);
            player.addEventListener('error', (event) => fails(event.detail));
            player.attach(video).then(() => player.load(url)).catch(fails);";
        let script = player_file("node_modules/shaka-player/dist/shaka-player.compiled.js");
        Self::open(&script, play, url)
    }

    /// dash.js.
    pub(crate) fn dash(url: &str) -> Self {
        let play = "const player = dashjs.MediaPlayer().create();
            player.updateSettings({ debug: { logLevel: 0 } });
            player.on('error', (event) => say(event.error.message ?? JSON.stringify(event.error)));
            player.initialize(video, url, true);";
        let script = peer_file("node_modules/dashjs/dist/modern/umd/dash.all.min.js");
        Self::open(&script, play, url)
    }

    fn open(player: &Path, play: &str, url: &str) -> Self {
        let script = std::fs::read(player).expect("a file that was found");
        let page = page(play, url);
        let server = Server::start(move |asked| {
            let (kind, body) = match asked.target.as_str() {
                "/" => ("text/html", page.clone().into_bytes()),
                "/player.js" => ("text/javascript", script.clone()),
                _ => return Answer::status(404),
            };
            Answer {
                headers: vec![("Content-Type", kind)],
                body,
                ..Answer::status(200)
            }
        });
        let browser = Browser::open(&format!("http://{}/", server.address));
        Self {
            browser,
            _server: server,
        }
    }

    /// Watches until its place in the stream is so far on, and returns how often hls.js fetched its playlist again, and how
    /// often a segment had another URL then.
    ///
    /// # Panics
    /// When the player reports a problem.
    #[track_caller]
    pub(crate) fn wait_time(&self, time: Duration) -> (u64, u64) {
        let (what, patience) = (format!("{time:?}"), time * 2 + Duration::from_secs(60));
        let shown = self.browser.wait_video_within(patience, &what, |shown| {
            let reached = shown["time"].as_f64().unwrap_or(0.0);
            shown["problem"].is_string() || reached >= time.as_secs_f64()
        });
        assert!(shown["problem"].is_null(), "{shown}");
        let count = |name: &str| shown["call"][name].as_u64().expect("a number");
        (count("reloads"), count("changed"))
    }

    /// What the player reports as a problem, once it does, where no frame is shown.
    #[track_caller]
    pub(crate) fn wait_problem(&self) -> String {
        let shown = self
            .browser
            .wait_video("a problem", |shown| shown["problem"].is_string());
        assert_eq!(shown["frames"].as_u64().unwrap_or(0), 0, "{shown}");
        shown["problem"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns the number of decoded frames once there are at least `count`, with a picture of many colours.
    ///
    /// # Panics
    /// When the player reports a problem.
    #[track_caller]
    pub(crate) fn wait_frames(&self, count: u64) -> u64 {
        let shown = self.wait_shown(&format!("{count} frames"), |shown| {
            let frames = shown["frames"].as_u64().unwrap_or(0);
            let colours = shown["colours"].as_u64().unwrap_or(0);
            frames >= count && colours > 8
        });
        shown["frames"].as_u64().unwrap_or(0)
    }

    /// Returns what its video shows once `pick` accepts that; see [`Browser::wait_video`].
    ///
    /// # Panics
    /// When the player reports a problem.
    #[track_caller]
    pub(crate) fn wait_shown(&self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        let done = |shown: &Value| shown["problem"].is_string() || pick(shown);
        let shown = self.browser.wait_video(what, done);
        assert!(shown["problem"].is_null(), "{shown}");
        shown
    }
}

fn page(play: &str, url: &str) -> String {
    PAGE.replace("URL", url).replace("PLAY", play)
}

const HLS_JS: &str = "node_modules/hls.js/dist/hls.min.js";
const PLAY_HLS: &str = "const hls = new Hls({ lowLatencyMode: true, fragLoadPolicy: policy, playlistLoadPolicy: policy });
    hls.on(Hls.Events.ERROR, (_, error) => (error.fatal || error.response?.code >= 400) && say(error.details));
    const links = new Map();
    window.callStats = { reloads: 0, changed: 0 };
    hls.on(Hls.Events.LEVEL_UPDATED, (_, { details }) => {
        window.callStats.reloads += 1;
        for (const { sn, url } of details.fragments) {
            if ((links.get(sn) ?? url) !== url) window.callStats.changed += 1;
            links.set(sn, url);
        }
        for (const sn of links.keys()) if (sn < details.startSN) links.delete(sn);
    });
    hls.loadSource(url);
    hls.attachMedia(video);";
const PAGE: &str = "<!doctype html><title>player</title><video muted autoplay playsinline></video><p role=alert hidden></p>
<script src=/player.js></script>
<script>
const [video, problem, url] = [document.querySelector('video'), document.querySelector('p'), 'URL'];
const say = (text) => { problem.textContent ||= text; problem.hidden = false; };
const retry = { maxNumRetry: 3, retryDelayMs: 100, maxRetryDelayMs: 1000 };
const policy = { default: { maxTimeToFirstByteMs: 10000, maxLoadTimeMs: 20000, timeoutRetry: retry, errorRetry: retry } };
PLAY
</script>";
