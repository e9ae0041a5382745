//! Players of all kinds whose origin is killed: each goes on by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::support::watched::{Mpv, Vlc, Watched};
use crate::support::{
    NginxRtmp, Origin, Page, Player, Proxy, Publisher, Registrar, http, machine, wait_for,
};

/// `scripts/long players`.
#[test]
#[ignore = "takes minutes"]
fn long_players() {
    let _turn = machine::alone();
    let wanted = std::env::var("PLAYERS").unwrap_or_default();
    let mut failed = Vec::new();
    for (format, name, open) in PLAYERS {
        let title = format!("{name} on {}", format.name());
        if !title.contains(&wanted) {
            continue;
        }
        let across = AssertUnwindSafe(|| across_a_kill(*format, *open));
        match catch_unwind(across) {
            Ok(Ok((gap, pauses))) => println!("{title}: {gap:.1?} without a picture; {pauses}"),
            Ok(Err(why)) => {
                println!("{title}: DOES NOT GO ON: {why}");
                failed.push(title);
            }
            Err(_) => failed.push(title),
        }
    }
    assert_eq!(failed, [""; 0]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Dash,
    Flv,
    Hls,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Dash => "DASH",
            Self::Flv => "HTTP-FLV",
            Self::Hls => "HLS",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Dash => "/live/a.mpd",
            Self::Flv => "/live/a.flv",
            Self::Hls => "/live/a.m3u8",
        }
    }

    /// What a list has for each segment.
    const fn segment(self) -> &'static str {
        match self {
            Self::Dash => "<S ",
            Self::Flv | Self::Hls => "#EXTINF",
        }
    }
}

type Open = fn(&str) -> Box<dyn Watched>;

const PLAYERS: &[(Format, &str, Open)] = &[
    (Format::Hls, "hls.js", |url| {
        Box::new(Page::hls_until_it_is_fatal(url))
    }),
    (Format::Hls, "video.js", |url| Box::new(Page::video_js(url))),
    (Format::Hls, "Shaka", |url| Box::new(Page::shaka(url))),
    (Format::Hls, "ffmpeg", |url| Box::new(Player::open(url))),
    (Format::Hls, "mpv", |url| Box::new(Mpv::open(url))),
    (Format::Hls, "VLC", |url| Box::new(Vlc::open(url))),
    (Format::Flv, "mpegts.js", |url| {
        Box::new(Page::mpegts("flv", url))
    }),
    (Format::Flv, "flv.js", |url| Box::new(Page::flv(url))),
    (Format::Flv, "ffmpeg", |url| Box::new(Player::open(url))),
    (Format::Flv, "mpv", |url| Box::new(Mpv::open(url))),
    (Format::Flv, "VLC", |url| Box::new(Vlc::open(url))),
    (Format::Dash, "dash.js", |url| Box::new(Page::dash(url))),
    (Format::Dash, "Shaka", |url| Box::new(Page::shaka(url))),
];

/// The longest time without a picture that a player has after its origin was killed, and before that, where it goes on.
fn across_a_kill(format: Format, open: Open) -> Result<(Duration, String), String> {
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::packaging);
    let proxy =
        Proxy::start("cluster.key = \"one\"\nfanout.mode = \"open\"\nfanout.public = true\n");
    let _registrars = origins.each_ref().map(|origin| match format {
        Format::Flv => Registrar::rtmp_only(&proxy, origin),
        Format::Dash | Format::Hls => Registrar::start(&proxy, origin),
    });
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/a")).gop(25).start();
    publisher.wait_frames(50);
    if format != Format::Flv {
        let list = || http::request(proxy.http, "GET", format.path(), &[], "").text();
        wait_for("segments", PATIENCE, || {
            (list().matches(format.segment()).count() >= 6).then_some(())
        });
    }
    let mut player = open(&format!("http://{}{}", proxy.http, format.path()));
    let began = wait_for("a picture", PATIENCE, || {
        let places = player.places();
        places.iter().find(|(_, place)| *place > 0.0).copied()
    });
    wait_for("ten seconds", PATIENCE, || {
        (began.0.elapsed() >= BEFORE).then_some(())
    });
    if let Some(problem) = player.problem() {
        return Err(format!("before the kill: {problem}"));
    }
    let before = pauses(&player.places(), began.0 + BEFORE / 2);
    let lost = proxy.origin_of("live/a").expect("it is placed");
    let killed = Instant::now();
    for origin in origins.iter_mut().filter(|origin| origin.name() == lost) {
        origin.kill();
    }
    wait_for("what it does about that", AFTER * 2, || {
        (killed.elapsed() >= AFTER).then_some(())
    });
    let said = player.problem();
    assert!(publisher.is_running(), "the encoder never noticed");
    let places = player.places();
    let lately = Instant::now() - LATELY;
    if pauses(&places, lately) > LATELY {
        return Err(said.unwrap_or_else(|| "its picture stands still".to_owned()));
    }
    // Shaka reports what it is going to try again with the same words as what it gives up for.
    let said = said.map_or_else(String::new, |said| format!("; it said: {said}"));
    Ok((
        pauses(&places, killed),
        format!("{before:.1?} at most before that{said}"),
    ))
}

/// The longest time in which a player was at one place, of those that ended after `since` or are not over.
fn pauses(places: &[(Instant, f64)], since: Instant) -> Duration {
    let mut steps: Vec<Instant> = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for (at, place) in places {
        if *place != last {
            steps.push(*at);
            last = *place;
        }
    }
    steps.push(Instant::now());
    let ended = steps.windows(2).filter(|two| two[1] >= since);
    let longest = ended.map(|two| two[1] - two[0]).max();
    longest.unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a player plays before the kill.
const BEFORE: Duration = Duration::from_secs(10);
/// How long it is watched after it: longer than what players keep, and what of the lost origin is listed.
const AFTER: Duration = Duration::from_secs(25);
const LATELY: Duration = Duration::from_secs(4);
