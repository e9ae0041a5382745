//! What a publishing and a playing browser experience when their origin dies, or stops.

use std::time::{Duration, Instant};

use crate::support::browser::Browser;
use crate::support::rtc::RtcOrigin;
use crate::support::{Proxy, machine};
use crate::webrtc::{page, proxy};

/// A publisher and a player that both show pictures, on one of two origins.
struct Scene {
    proxy: Proxy,
    origins: [RtcOrigin; 2],
    home: usize,
    publisher: Browser,
    player: Browser,
}

impl Scene {
    fn open() -> Self {
        let origins = ["origin1", "origin2"].map(RtcOrigin::start);
        let proxy = proxy();
        for origin in &origins {
            origin.register(&proxy);
        }
        let (publisher, player) = call(&proxy);
        let held = proxy.origin_of("live/camera").expect("it is placed");
        let home = usize::from(origins[1].name() == held);
        Self {
            proxy,
            origins,
            home,
            publisher,
            player,
        }
    }

    /// Waits until both pages are told; returns how long after `began` each was.
    fn are_told(&self, began: Instant) -> [Duration; 2] {
        [&self.publisher, &self.player].map(|browser| {
            browser.wait_video("it is told", |shown| shown["call"]["state"] == "failed");
            began.elapsed()
        })
    }

    /// Both come back, as a page does that tries again, and are on the other origin.
    fn come_back(self) {
        let Self {
            proxy,
            origins,
            home,
            publisher,
            player,
        } = self;
        drop((publisher, player));
        let (_publisher, _player) = call(&proxy);
        let there = proxy.origin_of("live/camera");
        assert_eq!(there.as_deref(), Some(origins[1 - home].name()));
    }
}

/// A publisher and a player, once both show pictures.
fn call(proxy: &Proxy) -> (Browser, Browser) {
    ["publish", "play"]
        .map(|action| {
            let browser = Browser::open(&page(proxy, action, "camera"));
            browser.wait_video(action, |shown| shown["call"]["frames"].as_u64() >= Some(20));
            browser
        })
        .into()
}

#[test]
fn an_origin_that_dies_ends_both_calls_and_who_comes_back_is_at_the_next() {
    let _turn = machine::share();
    let mut scene = Scene::open();
    let home = scene.home;
    let began = Instant::now();
    scene.origins[home].kill();
    for action in ["publish", "play"] {
        let ended = scene
            .proxy
            .wait_log("session ended", |record| record["action"] == action);
        assert_eq!(ended["reason"], "origin_closed", "{ended}");
    }
    let noticed = began.elapsed();
    let told = scene.are_told(began);
    // Sooner than silence would be noticed, by us and by the browsers.
    assert!(noticed < Duration::from_secs(8), "{noticed:?}");
    for told in told {
        assert!(told < Duration::from_secs(16), "{told:?}");
    }
    scene.come_back();
}

#[test]
fn an_origin_that_stops_is_missed_by_browsers_themselves() {
    let _turn = machine::share();
    let scene = Scene::open();
    let began = Instant::now();
    scene.origins[scene.home].freeze();
    for browser in [&scene.publisher, &scene.player] {
        browser.wait_video("it doubts", |shown| {
            shown["call"]["state"] == "disconnected"
        });
    }
    let doubted = began.elapsed();
    let told = scene.are_told(began);
    // Chromium's own timeouts: five seconds without an answer, and a dozen more.
    assert!(doubted > Duration::from_secs(3), "{doubted:?}");
    for told in told {
        assert!(told < Duration::from_secs(60), "{told:?}");
    }
    scene.come_back();
}
