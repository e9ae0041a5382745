//! A network that loses, delays and reorders packets: SRT repairs that through the proxy as it does without.

use std::time::Duration;

use crate::support::srt::srt_url;
use crate::support::{BadNetwork, Player, Proxy, Publisher, SrtOrigin, machine};

#[test]
fn lost_and_late_packets_are_sent_again_through_the_proxy() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let _origin = SrtOrigin::start(&proxy, "origin1");
    let network = BadNetwork::before(proxy.srt, 30, Duration::from_millis(30), 20_260);
    // Handshakes are lost too: five callers of each kind.
    let latency = "&latency=2000000";
    let publishers: Vec<Publisher> = (1..=5)
        .map(|number| {
            let id = format!("#!::r=live/{number},m=publish");
            let url = srt_url(network.address, &id) + latency;
            Publisher::srt(&url).start()
        })
        .collect();
    for publisher in &publishers {
        publisher.wait_frames(25);
    }
    let players: Vec<Player> = (1..=5)
        .map(|number| {
            let url = srt_url(network.address, &format!("live/{number}")) + latency;
            Player::open(&url)
        })
        .collect();
    for player in &players {
        let frames = player.wait_frames(150);
        let first = frames[0].time;
        // Every frame arrives, in order: 25 a second, without a gap.
        for (index, frame) in frames.iter().enumerate() {
            let due = first + 0.04 * index as f64;
            assert!(
                (frame.time - due).abs() < 0.03,
                "frame {index} is of {} s",
                frame.time
            );
        }
    }
    drop(players);
    drop(publishers);
}
