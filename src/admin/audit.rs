//! What an audit says of a request: what was asked for, and whom or what that concerns.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request};
use axum::http::Method;
use sluicegate_core::access::bans::Target;
use sluicegate_core::events::News;
use tracing::info;

use super::access::Holder;
use super::{System, bans, fleet, lookup};
use crate::value::ClientAddr;

/// A request that people are told of.
#[derive(Debug)]
pub(super) struct Audited {
    method: Method,
    /// Its path; only the pattern of it where a stream may be named, which has a field of its own and may be a secret.
    what: String,
    concerns: Concerned,
}

/// Whom or what a request concerns.
#[derive(Debug, Default)]
struct Concerned {
    /// As it is placed.
    stream: Option<String>,
    session: Option<String>,
    origin: Option<String>,
    /// The target of a ban, or what was named as one.
    banned: Option<String>,
    /// A proxy of the cluster.
    proxy: Option<String>,
}

impl Audited {
    /// What `request` asks for, by the parameters in its path. `looks`: what it names may be looked up.
    pub(super) fn of(
        system: &System,
        request: &Request,
        params: &Result<RawPathParams, RawPathParamsRejection>,
        looks: bool,
    ) -> Self {
        let pattern = request.extensions().get::<MatchedPath>();
        let pattern = pattern.map(MatchedPath::as_str).unwrap_or_default();
        let what = match pattern {
            _ if pattern.contains("{*") || pattern.contains("{ban}") => pattern,
            _ => request.uri().path(),
        };
        let params = params.as_ref().into_iter().flatten();
        let mut concerns = Concerned::default();
        for (name, value) in params {
            match name {
                "ban" => concerns.note_ban(system, value, looks),
                "id" if pattern.starts_with("/api/v1/origins/") => {
                    concerns.origin = Some(value.to_owned());
                }
                "id" => concerns.note_session(system, value),
                "stream" => concerns.note_stream(system, value),
                _ => {}
            }
        }
        let query = request.uri().query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "stream" => concerns.note_stream(system, &value),
                "target" => concerns.note_target(system, &value),
                "to" | "origin" if concerns.origin.is_none() => {
                    concerns.origin = Some(value.into_owned());
                }
                "proxy" => concerns.proxy = Some(value.into_owned()),
                _ => {}
            }
        }
        Self {
            method: request.method().clone(),
            what: what.to_owned(),
            concerns,
        }
    }

    /// Writes a line about a change, and what came of it.
    pub(super) fn log(&self, holder: Option<&Holder>, from: ClientAddr, status: u16) {
        let it = &self.concerns;
        info!(
            who = holder.map_or("nobody with a token", |holder| &holder.name),
            role = holder.map_or("-", |holder| holder.role.as_str()),
            method = %self.method,
            what = self.what,
            stream = it.stream.as_deref(),
            session = it.session.as_deref(),
            origin = it.origin.as_deref(),
            banned = it.banned.as_deref(),
            proxy = it.proxy.as_deref(),
            %from,
            status,
            "audit: a change through the system API"
        );
    }

    /// The same for people who read what happened.
    pub(super) fn news(self, holder: Option<&Holder>, from: ClientAddr, status: u16) -> News {
        let who = holder.map_or_else(String::new, |holder| {
            format!(" by {} ({})", holder.name, holder.role.as_str())
        });
        let Self {
            method,
            what,
            concerns,
        } = self;
        let named = [
            ("", concerns.banned),
            ("session ", concerns.session),
            ("proxy ", concerns.proxy),
        ];
        let mut whom = String::new();
        for (kind, name) in named {
            if let Some(name) = name.filter(|name| !what.ends_with(name.as_str())) {
                whom.push_str(&format!(" ({kind}{name})"));
            }
        }
        News {
            stream: concerns.stream.unwrap_or_default(),
            origin: concerns.origin.unwrap_or_default(),
            client: from.ip().to_string(),
            what: format!("{method} {what}{whom}: {status}{who}"),
        }
    }
}

impl Concerned {
    fn note_stream(&mut self, system: &System, named: &str) {
        let stream = lookup::stream(named).ok();
        self.stream = stream.map(|stream| system.proxy.key(&stream).as_str().to_owned());
    }

    /// A session, and the stream that it is of, while it is here.
    fn note_session(&mut self, system: &System, id: &str) {
        let row = fleet::find(system, id);
        self.stream = row.map(|row| row.key.as_str().to_owned());
        self.session = Some(id.to_owned());
    }

    /// What is to be banned; nothing where it is none of the kinds there are, since it may be anything then.
    fn note_target(&mut self, system: &System, named: &str) {
        if let Ok(target) = bans::target_of(system, named) {
            self.take_target(&target);
        }
    }

    /// A ban, by its target or its id.
    fn note_ban(&mut self, system: &System, named: &str, looks: bool) {
        if let Ok(target) = bans::target_of(system, named) {
            return self.take_target(&target);
        }
        let words = looks.then(|| system.proxy.sessions().bans().words());
        let words = words.into_iter().flatten();
        match words
            .map(|ban| ban.target)
            .find(|target| target.id() == named)
        {
            Some(target) => self.take_target(&target),
            // Of anything else it is not known what it says.
            None if named.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                self.banned = Some(named.to_owned());
            }
            None => {}
        }
    }

    fn take_target(&mut self, target: &Target) {
        let (kind, name) = target.parts();
        if kind == "stream" {
            self.stream = Some(name.clone());
        }
        self.banned = Some(format!("{kind}:{name}"));
    }
}
