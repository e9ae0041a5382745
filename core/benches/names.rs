//! Measures what naming a stream costs: `cargo bench -p sluicegate-core --bench names`. It fails where reading an address and
//! writing the origin's takes longer than [`LIMIT`]. Names are read and written once for each session or call, and never for a
//! packet.
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use sluicegate_core::dialect::{ClientDialects, Dialect, File, Naming, RtmpAsked};
use sluicegate_core::stream::{Action, StreamUrl};

fn main() -> ExitCode {
    let clients = ClientDialects::default();
    let mut slowest = 0.0_f64;
    for from in Dialect::ALL {
        for to in Dialect::ALL {
            let naming = Naming {
                dialect: to,
                ..Naming::default()
            };
            let took = [
                ("RTMP", measure(|| rtmp(from, &naming))),
                ("RTSP", measure(|| rtsp(from, &naming, &clients))),
                ("SRT", measure(|| srt(from, &naming))),
                ("WHIP", measure(|| call(from, &naming))),
                ("HLS", measure(|| playlist(from, &naming))),
            ];
            for (protocol, took) in took {
                println!("{from:>10} > {to:<10} {protocol:<4} {took:>7.3} µs");
                slowest = slowest.max(took);
            }
        }
    }
    println!("the slowest: {slowest:.3} µs, of {LIMIT:.1} at most");
    if slowest > LIMIT {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Whether a name was read, and its address written.
fn rtmp(from: Dialect, naming: &Naming) -> bool {
    let asked = RtmpAsked {
        tc_url: match from {
            Dialect::Go2rtc => "rtmp://play.example.com/entrance-7",
            _ => "rtmp://play.example.com/live",
        },
        name: "entrance-7?token=0123456789abcdef",
    };
    let stream = from.rtmp(&asked);
    stream.is_ok_and(|stream| naming.rtmp(from, &stream, &asked).is_ok())
}

fn rtsp(from: Dialect, naming: &Naming, clients: &ClientDialects) -> bool {
    let named = match from {
        Dialect::Go2rtc => "entrance-7",
        _ => "live/entrance-7",
    };
    let url = [
        "rtsp://play.example.com:8554/",
        named,
        "?token=0123456789abcdef",
    ]
    .concat();
    let read = from.rtsp(&url);
    let read = read.and_then(|stream| clients.named(stream, &["token=0123456789abcdef"]));
    read.is_ok_and(|stream| naming.rtsp(from, &stream, named).is_ok())
}

fn srt(from: Dialect, naming: &Naming) -> bool {
    let id = match from {
        Dialect::MediaMtx => "publish:live/entrance-7:user:password",
        Dialect::Ome => "default/live/entrance-7",
        Dialect::Go2rtc => "#!::m=publish,r=entrance-7,u=user,s=password",
        Dialect::NginxRtmp | Dialect::Srs => "#!::m=publish,r=live/entrance-7,u=user,s=password",
    };
    let Ok(read) = from.srt(id, "", Some(Action::Publish)) else {
        return false;
    };
    let shown = read.credentials.as_deref();
    naming.srt(&read.stream, read.action, shown).is_ok()
}

fn call(from: Dialect, naming: &Naming) -> bool {
    let host = Some("play.example.com");
    let target = match from {
        Dialect::Go2rtc => "/api/webrtc?dst=entrance-7&token=0123456789abcdef",
        Dialect::MediaMtx | Dialect::NginxRtmp => "/live/entrance-7/whip?token=0123456789abcdef",
        Dialect::Ome => "/live/entrance-7?direction=whip&token=0123456789abcdef",
        Dialect::Srs => "/rtc/v1/whip/?app=live&stream=entrance-7&token=0123456789abcdef",
    };
    let stream = match from.call(host, target) {
        Some(asked) => asked.stream,
        None => StreamUrl::from_whip(host, target),
    };
    let (_, query) = target.split_once('?').unwrap_or_default();
    stream.is_ok_and(|stream| naming.call(from, &stream, Action::Publish, query).is_ok())
}

fn playlist(from: Dialect, naming: &Naming) -> bool {
    let host = Some("play.example.com");
    let target = match from {
        Dialect::Go2rtc => "/api/stream.m3u8?src=entrance-7",
        Dialect::MediaMtx => "/live/entrance-7/index.m3u8?token=0123456789abcdef",
        Dialect::Ome => "/live/entrance-7/master.m3u8?token=0123456789abcdef",
        Dialect::NginxRtmp | Dialect::Srs => "/live/entrance-7.m3u8?token=0123456789abcdef",
    };
    let stream = match from.file(host, target) {
        Some(asked) => asked.stream,
        None => StreamUrl::from_http(host, target),
    };
    let (_, query) = target.split_once('?').unwrap_or_default();
    stream.is_ok_and(|stream| naming.file(from, &stream, File::Playlist, query).is_ok())
}

/// The median of the rounds, in microseconds for one call.
fn measure(work: impl Fn() -> bool) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                black_box(work());
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

/// Microseconds for reading a client's address and writing the origin's.
const LIMIT: f64 = 2.0;
const CALLS: u32 = 5_000;
const ROUNDS: usize = 9;
