//! Every policy between real encoders and real origins: streams go where the policy decides, their players follow, and
//! an origin gets no more than it may.

use std::collections::BTreeMap;

use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, Registrar, machine};

#[test]
fn every_policy_places_streams_that_their_players_find() {
    let _turn = machine::share();
    let origins = ["origin1", "origin2", "origin3"].map(NginxRtmp::start);
    for policy in [
        "rendezvous",
        "least_streams",
        "least_load",
        "round_robin",
        "random",
    ] {
        let proxy = Proxy::start(&format!(
            "[placement]\npolicy = \"{policy}\"\n\
             [origins]\nattributes = [\"origin3 max_streams=1\", \"origin1 weight=200\"]\n"
        ));
        let _registrars = origins
            .each_ref()
            .map(|origin| Registrar::start(&proxy, origin));
        let streams: Vec<String> = (1..=6)
            .map(|number| format!("live/{policy}{number}"))
            .collect();
        let _publishers: Vec<Publisher> = streams
            .iter()
            .map(|stream| {
                let publisher = Publisher::clip(&proxy.rtmp_url(stream)).start();
                // One after the other, so that each decision knows the previous one.
                publisher.wait_frames(5);
                publisher
            })
            .collect();
        let players: Vec<Player> = streams
            .iter()
            .map(|stream| Player::open(&proxy.rtmp_url(stream)))
            .collect();
        let mut shares: BTreeMap<String, usize> = BTreeMap::new();
        for (stream, player) in streams.iter().zip(&players) {
            player.wait_frames(FRAMES);
            let at = proxy.origin_of(stream).expect("it is placed");
            let held: Vec<&str> = origins
                .iter()
                .filter(|origin| origin.was_published(stream))
                .map(Origin::name)
                .collect();
            assert_eq!(held, [at.as_str()], "{policy} {stream}");
            *shares.entry(at).or_default() += 1;
        }
        let share = |name: &str| shares.get(name).copied().unwrap_or(0);
        assert!(share("origin3") <= 1, "{policy}: {shares:?}");
        match policy {
            "least_streams" => {
                assert_eq!((share("origin1"), share("origin2")), (3, 2), "{shares:?}");
            }
            "round_robin" => assert!(share("origin1") >= share("origin2"), "{shares:?}"),
            _ => assert!(
                share("origin1") + share("origin2") >= 5,
                "{policy}: {shares:?}"
            ),
        }
    }
}

const FRAMES: usize = 30;
