//! What the clients of a run saw.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sluicegate_core::stream::Action;

use crate::checker::{Excuse, Life, REPORTED, Verdict, judge};
use crate::client::Session;
use crate::origin::Report;

/// The history of one run.
pub(crate) struct History {
    began: Instant,
    /// The number of requests so far.
    asks: AtomicUsize,
    lives: Mutex<Vec<Life>>,
    excuses: Mutex<Vec<Excuse>>,
    /// Proxies and instances of origins that were killed, and when.
    killed: Mutex<Vec<(String, Duration)>>,
    refused: Mutex<BTreeMap<String, usize>>,
}

impl History {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            asks: AtomicUsize::new(0),
            lives: Mutex::default(),
            excuses: Mutex::default(),
            killed: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn asks(&self) -> usize {
        self.asks.load(Ordering::Relaxed)
    }

    /// A client that wants a stream for some time, and comes back when it is cut off. `ask` chooses the proxy and asks
    /// it.
    pub(crate) async fn attend<F>(
        &self,
        action: Action,
        stream: &str,
        stays: Duration,
        ask: impl Fn() -> (String, F),
    ) where
        F: Future<Output = Result<Session, String>>,
    {
        let end = tokio::time::Instant::now() + stays;
        loop {
            self.asks.fetch_add(1, Ordering::Relaxed);
            let asked = self.now();
            let (proxy, answer) = ask();
            match answer.await {
                Ok(mut session) => {
                    let from = self.now();
                    let stayed = match action {
                        Action::Play => session.stay(end).await,
                        Action::Publish => session.publish(end).await,
                    };
                    self.lived(stream, action, &proxy, &session, (asked, from));
                    if stayed {
                        return;
                    }
                }
                Err(why) => {
                    let is_busy = why.contains("BadName");
                    let mut refused = self.refused.lock().expect("a test");
                    *refused.entry(why).or_default() += 1;
                    if is_busy {
                        return;
                    }
                }
            }
            tokio::time::sleep(COMES_BACK).await;
            if tokio::time::Instant::now() >= end {
                return;
            }
        }
    }

    /// Notes that a session, requested and granted at these times, is over.
    pub(crate) fn lived(
        &self,
        stream: &str,
        action: Action,
        proxy: &str,
        session: &Session,
        (asked, from): (Duration, Duration),
    ) {
        let life = Life {
            stream: stream.to_owned(),
            action: action.as_str(),
            proxy: proxy.to_owned(),
            origin: session.origin.clone(),
            asked,
            from,
            until: self.now(),
        };
        self.lives.lock().expect("a test").push(life);
    }

    /// Notes that a proxy may have placed streams without the store from `from` until now.
    pub(crate) fn excuse(&self, proxy: String, from: Duration) {
        let until = self.now();
        let excuse = Excuse { proxy, from, until };
        self.excuses.lock().expect("a test").push(excuse);
    }

    /// Notes that a proxy or an instance of an origin is being killed.
    pub(crate) fn kill(&self, who: String) {
        let at = self.now();
        self.killed.lock().expect("a test").push((who, at));
    }

    /// The sessions that clients saw. No session outlives its proxy or its origin, whenever its client noticed.
    pub(crate) fn lives(&self) -> Vec<Life> {
        let mut lives = self.lives.lock().expect("a test").clone();
        let killed = self.killed.lock().expect("a test");
        for life in &mut lives {
            for (who, at) in killed.iter() {
                let was_there = *who == life.origin || (*who == life.proxy && life.asked < *at);
                if was_there {
                    life.until = life.until.min(*at);
                }
            }
        }
        lives
    }

    /// Judges what clients saw and origins report. `proxy` names who called from an address.
    pub(crate) fn judged(&self, reports: &[Report], proxy: impl Fn(IpAddr) -> String) -> Verdict {
        let killed = self.killed.lock().expect("a test").clone();
        let since = |at: Instant| at.saturating_duration_since(self.began);
        let reported = reports.iter().map(|report| {
            let gone = report.until.map_or_else(|| self.now(), since);
            let ends = killed.iter().filter(|(who, _)| *who == report.origin);
            let killed = ends.map(|(_, at)| *at).min();
            Life {
                stream: report.stream.clone(),
                action: REPORTED,
                proxy: proxy(report.peer),
                origin: report.origin.clone(),
                asked: since(report.from),
                from: since(report.from),
                until: killed.map_or(gone, |killed| killed.min(gone)),
            }
        });
        let reported: Vec<Life> = reported.collect();
        let mut lives = self.lives();
        for life in lives.iter_mut().filter(|life| life.action == "publish") {
            // An encoder that is held believes that it is where it was.
            let known = reported.iter().find(|reported| {
                reported.stream == life.stream
                    && reported.origin == life.origin
                    && (reported.from..=reported.until).contains(&life.from)
            });
            life.until = known.map_or(life.until, |known| life.until.min(known.until));
        }
        lives.extend(reported);
        judge(&lives, &self.excuses.lock().expect("a test"))
    }

    /// The refusals, and how often each was heard.
    pub(crate) fn refused(&self) -> BTreeMap<String, usize> {
        self.refused.lock().expect("a test").clone()
    }
}

/// How soon a client comes back: as encoders and players do, only sooner.
const COMES_BACK: Duration = Duration::from_millis(50);
