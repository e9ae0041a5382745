//! SRT through three origins: each stream is on one of them, every client is led there, and frames decode.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::srt::srt_url;
use crate::support::srt_live_transmit::SrtLiveTransmit;
use crate::support::{Player, Proxy, Publisher, SrtOrigin, machine, wait_for};

#[test]
fn twenty_streams_on_three_origins_meet_their_players() {
    let _turn = machine::share();
    let proxy = Proxy::start("srt.default_streamid = \"#!::r=live/encoder,m=publish\"");
    let origins = ["origin1", "origin2", "origin3"].map(|name| SrtOrigin::start(&proxy, name));
    let streams: Vec<String> = (1..=19)
        .map(|number| format!("live/camera{number}"))
        .collect();
    let mut publishers: Vec<Publisher> = streams
        .iter()
        .map(|stream| Publisher::srt(&proxy.srt_publish(stream)).start())
        .collect();
    // A hardware encoder that cannot send a stream id.
    publishers.push(Publisher::srt(&format!("srt://{}", proxy.srt)).start());
    for publisher in &publishers {
        publisher.wait_frames(25);
    }
    let mut used = BTreeSet::new();
    for stream in streams.iter().map(String::as_str).chain(["live/encoder"]) {
        let published = format!("publish {stream}");
        let holds = |origin: &&SrtOrigin| origin.said(&published);
        let held: Vec<&str> = origins.iter().filter(holds).map(SrtOrigin::name).collect();
        assert_eq!(proxy.origin_of(stream).as_deref(), held.first().copied());
        assert_eq!(held.len(), 1, "{stream} was published on {held:?}");
        used.insert(held[0].to_owned());
    }
    assert_eq!(used.len(), 3, "twenty streams spread over all: {used:?}");

    // Both spellings of a stream id, for every fourth stream: decoding takes the time.
    let urls = streams.iter().step_by(4).flat_map(|stream| {
        let plain = srt_url(proxy.srt, stream);
        [proxy.srt_play(stream), plain]
    });
    let players: Vec<Player> = urls.map(|url| Player::open(&url)).collect();
    for player in &players {
        player.wait_frames(50);
    }
    // The other common caller.
    let out = format!("udp://127.0.0.1:{}", machine::free_port());
    let taken = Player::open(&out);
    let transmit = SrtLiveTransmit::start(&proxy.srt_play("live/encoder"), &out);
    taken.wait_frames(50);
    drop((transmit, taken));

    // Callers' goodbyes pass, and their rows go.
    drop(players);
    for publisher in &mut publishers {
        publisher.stop();
    }
    wait_for("every row is gone", Duration::from_secs(40), || {
        proxy.sessions().is_empty().then_some(())
    });
    for origin in &origins {
        let said = |start: &str| -> BTreeSet<String> {
            let lines = streams.iter().map(|stream| format!("{start} {stream}"));
            lines.filter(|line| origin.said(line)).collect()
        };
        assert!(said("gone").len() >= said("publish").len());
    }
}
