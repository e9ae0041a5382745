//! Logins by challenge: what a client is asked to answer, and whether a text that it answers is ours.

use sluicegate_core::access::challenge::{Answer, Nonces, WHO, adobe_challenge, adobe_user};
use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::query::Query;
use sluicegate_core::access::question::Question;
use sluicegate_core::access::rules::Challenges;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};

use crate::proxy::{Proxy, Request};
use crate::random;
use crate::sessions::question;
use crate::unix_time;
use crate::value::ClientAddr;

/// An RTMP client that has not named its stream yet.
#[derive(Debug, Clone)]
pub struct Connecting<'a> {
    /// The streams that it may mean, by what it has said so far: the vhost and the app count.
    pub streams: Vec<StreamUrl>,
    /// What clients of its kind do.
    pub action: Action,
    /// Where it is.
    pub client: ClientAddr,
    /// The query of its URL.
    pub query: &'a str,
}

/// What an RTMP client hears that connects.
#[derive(Debug)]
pub enum Welcome {
    /// It may say what it wants. What it answered to a challenge of ours is judged then.
    Come(Option<Answer>),
    /// It is turned away with these words, and connects again with an answer.
    Login(String),
}

impl Proxy {
    /// Whether RTMP clients may have to log in as they connect.
    pub fn has_logins(&self) -> bool {
        self.shared.gate.rules().have_logins()
    }

    /// What an RTMP client hears that connects.
    pub fn welcome(&self, connecting: &Connecting<'_>) -> Welcome {
        let ip = connecting.client.ip().to_canonical();
        let client = ip.to_string();
        let nonces = Nonces {
            secret: &self.shared.gate.nonces,
            client: &client,
            now: unix_time::seconds(),
        };
        let query = Query(connecting.query);
        if let Some(answer) = Answer::of_adobe(query, &nonces) {
            return Welcome::Come(Some(answer));
        }
        let rules = self.shared.gate.rules();
        let nothing = Credentials::default();
        let wants_login = |stream: &StreamUrl| {
            rules.wants_login(&Question {
                stream,
                action: connecting.action,
                protocol: Protocol::Rtmp,
                client: ip,
                credentials: &nothing,
            })
        };
        if !connecting.streams.iter().any(wants_login) {
            return Welcome::Come(None);
        }
        Welcome::Login(match adobe_user(query) {
            None => WHO.to_owned(),
            Some(user) => adobe_challenge(&user, &nonces.make(random::bytes(), &user)),
        })
    }

    /// Whether the client of a request may say who it is by a user and a password, where its protocol does not have it
    /// answer challenges.
    pub fn takes_basic(&self, request: &Request) -> bool {
        let nothing = Credentials::default();
        let rules = self.shared.gate.rules();
        !rules.is_empty() && rules.takes_basic(&question(request, &nothing))
    }

    /// In which ways the client of a request may say who it is.
    pub fn challenges(&self, request: &Request) -> Challenges {
        let nothing = Credentials::default();
        let rules = self.shared.gate.rules();
        rules.challenges(&question(request, &nothing))
    }
}
