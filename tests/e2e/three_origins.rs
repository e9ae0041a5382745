//! Three origins, ten streams: each stream is on one origin, and every client is led there.

use std::collections::BTreeSet;

use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Player, Proxy, Publisher, Registrar, machine,
};

#[test]
fn ten_streams_meet_their_players_over_rtmp_and_flv() {
    let _turn = machine::share();
    let origins = ["origin1", "origin2", "origin3"].map(NodeMediaServer::start);
    let proxy = Proxy::start("");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    let publishers = publish(&proxy);

    let players: Vec<Player> = streams()
        .flat_map(|stream| [proxy.rtmp_url(&stream), proxy.flv_url(&stream)])
        .map(|url| Player::open(&url))
        .collect();
    for player in &players {
        player.wait_frames(FRAMES);
    }
    each_stream_is_on_one_origin(
        &proxy,
        &origins.each_ref().map(|origin| origin as &dyn Origin),
    );
    assert_eq!(
        proxy.sessions().len(),
        publishers.len() + players.len(),
        "one row for each client"
    );
}

#[test]
fn origins_of_different_makes_share_ten_streams() {
    let _turn = machine::share();
    let (first, second) = (NginxRtmp::start("origin1"), NginxRtmp::start("origin2"));
    let third = NodeMediaServer::start("origin3");
    let proxy = Proxy::start("");
    // If its HTTP port were registered too, node-media-server would offer more protocols and get every stream.
    let origins: [&dyn Origin; 3] = [&first, &second, &third];
    let _registrars = origins.map(|origin| Registrar::rtmp_only(&proxy, origin));
    let _publishers = publish(&proxy);

    let players: Vec<Player> = streams()
        .map(|stream| Player::open(&proxy.rtmp_url(&stream)))
        .collect();
    for player in &players {
        player.wait_frames(FRAMES);
    }
    each_stream_is_on_one_origin(&proxy, &origins);
}

fn streams() -> impl Iterator<Item = String> {
    (1..=10).map(|number| format!("live/camera{number}"))
}

fn publish(proxy: &Proxy) -> Vec<Publisher> {
    let publishers: Vec<Publisher> = streams()
        .map(|stream| Publisher::clip(&proxy.rtmp_url(&stream)).start())
        .collect();
    for publisher in &publishers {
        publisher.wait_frames(5);
    }
    publishers
}

/// According to the proxy's table, and to the logs of the origins.
fn each_stream_is_on_one_origin(proxy: &Proxy, origins: &[&dyn Origin]) {
    let mut used = BTreeSet::new();
    for stream in streams() {
        let held: Vec<&str> = origins
            .iter()
            .filter(|origin| origin.was_published(&stream))
            .map(|origin| origin.name())
            .collect();
        assert_eq!(held.len(), 1, "{stream} was published on {held:?}");
        assert_eq!(
            proxy.origin_of(&stream).as_deref(),
            Some(held[0]),
            "{stream}"
        );
        used.insert(held[0].to_owned());
    }
    assert_eq!(
        used.len(),
        origins.len(),
        "ten streams spread over all: {used:?}"
    );
}

const FRAMES: usize = 100;
