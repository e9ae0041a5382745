//! What happens to a world, and what its clients do.

use sluicegate_core::fleet::drain::{Cause, Drain, Duty};
use sluicegate_core::stream::Action;

use super::proxy::{LIFETIME, Phase};
use super::world::{Event, World};

/// Somebody who publishes or plays.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) action: Action,
    address: u8,
    pub(crate) wants: bool,
    at: Option<(usize, usize)>,
    /// The proxy that it asks.
    asks: usize,
    asks_at: u64,
}

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scene {
    Comes(usize),
    CutOff(usize),
    /// It closes its connection, and comes back.
    Closes(usize),
    Drains(usize),
    Empties,
    Fast,
    Heard(usize, usize),
    Kill(usize),
    Leaves(usize),
    Moves(usize),
    Rejoins(usize),
    Revives(usize),
    Silent(usize, usize),
    Slow,
    Undrains(usize),
    /// Its network breaks, and it comes back.
    Vanishes(usize),
}

impl World {
    pub(crate) fn begin_scenes(&mut self) {
        let slowness = [4, 40, 150][self.below(3)];
        self.slow_down_to(slowness);
        let publishers = 1 + self.below(2);
        let players = self.below(4);
        for number in 0..publishers + players {
            let action = if number < publishers {
                Action::Publish
            } else {
                Action::Play
            };
            let asks = self.below(self.proxies.len());
            let asks_at = self.millis(0, 3_000);
            self.clients.push(Client {
                action,
                address: u8::try_from(number + 1).expect("few"),
                wants: true,
                at: None,
                asks,
                asks_at,
            });
        }
        for _ in 0..self.below(24) {
            let at = self.millis(500, LIVES);
            let (origin, proxy) = (
                self.below(self.origins.len()),
                self.below(self.proxies.len()),
            );
            let client = self.below(self.clients.len());
            let lasts = match self.below(3) {
                0 => self.millis(50, 1_500),
                1 => self.millis(1_000, 8_000),
                _ => self.millis(5_000, 45_000),
            };
            let (scene, end) = match self.below(14) {
                0..=2 => (Scene::Kill(origin), Some(Scene::Revives(origin))),
                3 | 4 => (
                    Scene::Silent(origin, proxy),
                    Some(Scene::Heard(origin, proxy)),
                ),
                5 => (Scene::Drains(origin), Some(Scene::Undrains(origin))),
                6 | 7 => (Scene::CutOff(proxy), Some(Scene::Rejoins(proxy))),
                8 => (Scene::Slow, Some(Scene::Fast)),
                9 if self.below(4) == 0 => (Scene::Empties, None),
                9 | 10 => (Scene::Vanishes(client), None),
                11 => (Scene::Closes(client), None),
                12 => (Scene::Leaves(client), Some(Scene::Comes(client))),
                _ => (Scene::Moves(origin), None),
            };
            self.after(at, Event::Scene(scene));
            if let Some(end) = end {
                self.after(at + lasts, Event::Scene(end));
            }
        }
        if self.below(6) == 0 {
            // Origins that start and die again, one after the other.
            let mut at = self.millis(3_000, 20_000);
            for _ in 0..24 {
                let origin = self.below(self.origins.len());
                self.after(at, Event::Scene(Scene::Kill(origin)));
                let lasts = self.millis(200, 1_500);
                self.after(at + lasts, Event::Scene(Scene::Revives(origin)));
                at += self.millis(200, 1_200);
            }
        }
    }

    /// Lets what was planned happen, then nothing for a while, and then all leave.
    pub(crate) fn live_and_leave(&mut self) {
        self.pass(LIVES);
        self.calm_down();
        self.leave();
    }

    /// All is well from here on, and after a while it has to be as if it always had been.
    fn calm_down(&mut self) {
        self.is_calm = true;
        for proxy in 0..self.proxies.len() {
            self.play_now(Scene::Rejoins(proxy));
            for origin in 0..self.origins.len() {
                self.play_now(Scene::Heard(origin, proxy));
            }
        }
        for origin in 0..self.origins.len() {
            self.play_now(Scene::Revives(origin));
            self.play_now(Scene::Undrains(origin));
        }
        self.play_now(Scene::Fast);
        self.pass(CALMS);
        self.check_calm();
    }

    /// Everybody leaves, some in the middle of a move.
    fn leave(&mut self) {
        if self.below(2) == 0 {
            let to = self.below(self.origins.len());
            self.play_now(Scene::Moves(to));
            let pause = self.millis(0, 3_000);
            self.pass(pause);
        }
        self.note_used();
        for client in 0..self.clients.len() {
            self.play_now(Scene::Leaves(client));
        }
        for proxy in 0..self.proxies.len() {
            for session in 0..self.proxies[proxy].sessions.len() {
                self.end(proxy, session);
            }
        }
        let lifetime = u64::try_from(LIFETIME.as_millis()).expect("short");
        self.pass(lifetime + 10_000);
        self.check_end();
    }

    pub(crate) fn play(&mut self, scene: Scene) {
        // What was planned for later than the calm does not come.
        if !self.is_calm {
            self.play_now(scene);
        }
    }

    fn play_now(&mut self, scene: Scene) {
        self.tell_of(|| format!("{scene:?}"));
        match scene {
            Scene::Comes(client) => self.clients[client].wants = true,
            Scene::CutOff(proxy) => drop(self.store.cut_off.insert(proxy)),
            Scene::Closes(client) => {
                if let Some((proxy, session)) = self.clients[client].at.take() {
                    self.end(proxy, session);
                }
                self.comes_back(client);
            }
            Scene::Drains(origin) => self.origins[origin].drains = true,
            Scene::Empties => self.empty_store(),
            Scene::Fast => self.slow_down_to(40),
            Scene::Heard(origin, proxy) => {
                self.origins[origin].silent_to.remove(&proxy);
                self.notices_gone(origin);
            }
            Scene::Kill(origin) => {
                self.origins[origin].is_up = false;
                self.origins[origin].publisher = None;
                for proxy in 0..self.proxies.len() {
                    self.loses_origin(proxy, origin, (1, 50));
                }
            }
            Scene::Leaves(client) => {
                self.clients[client].wants = false;
                if let Some((proxy, session)) = self.clients[client].at.take() {
                    self.end(proxy, session);
                }
            }
            Scene::Moves(to) => {
                for proxy in 0..self.proxies.len() {
                    self.begin_move(proxy, to);
                }
            }
            Scene::Rejoins(proxy) => {
                self.store.cut_off.remove(&proxy);
                // What was told meanwhile was on its way.
                self.tell(proxy);
            }
            Scene::Revives(origin) => self.origins[origin].is_up = true,
            Scene::Silent(origin, proxy) => {
                self.origins[origin].silent_to.insert(proxy);
                self.loses_origin(proxy, origin, (2_000, 2_500));
            }
            Scene::Slow => self.slow_down_to(1_500),
            Scene::Undrains(origin) => self.origins[origin].drains = false,
            Scene::Vanishes(client) => {
                if let Some((proxy, session)) = self.clients[client].at.take() {
                    let one = &mut self.proxies[proxy].sessions[session];
                    match one.action {
                        Action::Play => self.end(proxy, session),
                        Action::Publish => one.is_live = false,
                    }
                }
                self.comes_back(client);
            }
        }
    }

    fn comes_back(&mut self, client: usize) {
        let pause = self.millis(100, 6_000);
        let asks = self.below(self.proxies.len());
        let client = &mut self.clients[client];
        client.asks_at = self.now + pause;
        client.asks = asks;
    }

    /// The sessions of a proxy on an origin notice that it is gone.
    fn loses_origin(&mut self, proxy: usize, origin: usize, (least, most): (u64, u64)) {
        self.loses_target(proxy, origin);
        for session in 0..self.proxies[proxy].sessions.len() {
            let one = &self.proxies[proxy].sessions[session];
            if one.state == Phase::Relaying && one.origin == Some(origin) {
                let takes = self.millis(least, most);
                self.after(takes, Event::Lost(proxy, session, origin));
            }
        }
    }

    /// An origin that is heard again hears who has left it meanwhile.
    fn notices_gone(&mut self, origin: usize) {
        let Some((proxy, session)) = self.origins[origin].publisher else {
            return;
        };
        let one = &self.proxies[proxy].sessions[session];
        let is_there = match one.state {
            Phase::Relaying => one.origin == Some(origin) || one.is_moving(),
            Phase::Connecting | Phase::Held => true,
            Phase::Over => false,
        };
        if !is_there && self.hears(proxy, origin) {
            self.origins[origin].publisher = None;
        }
    }

    pub(crate) fn keep_clients(&mut self) {
        let time = self.time();
        for origin in 0..self.origins.len() {
            self.notices_gone(origin);
            let media = &self.origins[origin];
            for proxy in self.proxies.iter_mut().filter(|proxy| proxy.is_connected) {
                let duty = proxy.fleet.member(&media.id).map(|member| member.duty);
                let drains = matches!(duty, Some(Duty::Draining(_)));
                if drains != media.drains {
                    let duty = if media.drains {
                        let drain = Drain::begin(Duty::Active, time, None, Cause::Operator);
                        Duty::Draining(drain)
                    } else {
                        Duty::Active
                    };
                    proxy.fleet.set_duty(&media.id, duty);
                }
            }
        }
        for client in 0..self.clients.len() {
            let one = &self.clients[client];
            if let Some((proxy, session)) = one.at
                && self.proxies[proxy].sessions[session].state == Phase::Over
            {
                self.clients[client].at = None;
                let pause = self.millis(500, 2_500);
                self.clients[client].asks_at = self.now + pause;
            }
            let one = &self.clients[client];
            if one.wants && one.at.is_none() && one.asks_at <= self.now {
                let (asks, address, action) = (one.asks, one.address, one.action);
                let session = self.open(asks, client, address, action);
                self.clients[client].at = Some((asks, session));
            }
        }
    }
}

/// How long things happen.
const LIVES: u64 = 60_000;
/// How long it takes until all is as it should be.
const CALMS: u64 = 60_000;
