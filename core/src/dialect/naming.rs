//! How one origin is asked.

use std::borrow::Cow;

use super::address::{RtmpAddress, RtmpAsked, escape};
use super::{Dialect, File, SrtWanted, TWO_LEVEL_APP};
use crate::access::credentials::Credentials;
use crate::access::query::Query;
use crate::dialect::Rename;
use crate::stream::{Action, Protocol, StreamUrl, decode_name};

/// How one origin is asked: its dialect, and what is taken off a path or put before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Naming {
    /// The addresses that it understands.
    pub dialect: Dialect,
    /// Segments at the start of a path that this origin does not know, such as `site-a`. It is only asked for streams
    /// that begin with them.
    pub strip: Option<Box<str>>,
    /// Segments that are put before every path.
    pub prepend: Option<Box<str>>,
    /// The stream has another name than the client's address gives it, so that no address passes as it came.
    pub is_other: bool,
}

/// Why an origin cannot be asked for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{dialect} origins: {rule}")]
pub struct Unsayable {
    /// The origin's dialect.
    pub dialect: Dialect,
    /// The rule in the way.
    pub rule: &'static str,
}

impl Naming {
    /// What differs from the usual, as registrations, records and lists write it.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let dialect = (self.dialect != Dialect::default()).then(|| self.dialect.as_str());
        let named = [
            ("dialect", dialect),
            ("strip", self.strip.as_deref()),
            ("prepend", self.prepend.as_deref()),
        ];
        named
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Whether addresses of `clients` pass as they came.
    pub fn is_of(&self, clients: Dialect) -> bool {
        let is_same = self.strip.is_none() && self.prepend.is_none() && !self.is_other;
        self.dialect == clients && is_same
    }

    /// Whether the origin can be asked for `stream` at all.
    ///
    /// # Errors
    /// [`Unsayable`], with the rule in the way.
    pub fn check(
        &self,
        stream: &StreamUrl,
        protocol: Protocol,
        action: Action,
    ) -> Result<(), Unsayable> {
        if *self == Self::default() {
            return Ok(());
        }
        let server = self.dialect.server();
        server
            .serves(protocol, action)
            .map_err(|rule| self.unsayable(rule))?;
        let path = self.path(stream)?;
        match protocol {
            // Without credentials, which this request may yet bring.
            Protocol::Srt => self.srt(stream, action, None).map(drop),
            Protocol::Rtmp => self.plain(&path),
            _ => Ok(()),
        }
    }

    /// The path by which the origin knows `stream`. Parameters that belong to the name are in the query, which every
    /// address of the client brings along.
    ///
    /// # Errors
    /// [`Unsayable`] when it has no such path.
    pub fn path<'a>(&self, stream: &'a StreamUrl) -> Result<Cow<'a, str>, Unsayable> {
        let bare = stream.bare_path();
        let mut path = Cow::Borrowed(bare);
        if let Some(strip) = &self.strip {
            let rest = bare.strip_prefix(&**strip);
            let rest = rest.and_then(|rest| rest.strip_prefix('/'));
            path = Cow::Borrowed(rest.ok_or_else(|| self.unsayable(OTHER_PREFIX))?);
        }
        if let Some(prepend) = &self.prepend {
            path = Cow::Owned([&**prepend, "/", &path].concat());
        }
        let fitting = match &path {
            Cow::Borrowed(path) => return self.fit(path),
            Cow::Owned(path) => self.fit(path)?.into_owned(),
        };
        Ok(Cow::Owned(fitting))
    }

    /// Every name by which clients may know what the origin knows as `known`, `known` itself among them: what is put before
    /// paths is off, what is taken off is there again, and the usual app may be there or not.
    pub fn names_of(&self, known: &StreamUrl) -> Vec<StreamUrl> {
        let path = known.path();
        let bare = path
            .split_once('/')
            .filter(|(app, _)| *app == TWO_LEVEL_APP);
        let mut names = vec![known.clone()];
        let forms = [Some(path.to_owned()), bare.map(|(_, name)| name.to_owned())];
        let with_app = [TWO_LEVEL_APP, "/", path].concat();
        for form in forms.into_iter().flatten().chain([with_app]) {
            let form = match &self.prepend {
                Some(prepend) => form.strip_prefix(&**prepend).map(str::to_owned),
                None => Some(form),
            };
            let Some(form) = form else { continue };
            let form = match &self.strip {
                Some(strip) => [&**strip, "/", &form].concat(),
                None => form,
            };
            let Ok(name) = StreamUrl::of_path(known.vhost(), &form) else {
                continue;
            };
            let is_it = self.path(&name).is_ok_and(|found| found == path);
            if is_it && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The RTMP address for `stream`; `asked` is what the client sent. `None` when that passes as it came.
    ///
    /// # Errors
    /// [`Unsayable`], with the rule in the way.
    pub fn rtmp(
        &self,
        clients: Dialect,
        stream: &StreamUrl,
        asked: &RtmpAsked<'_>,
    ) -> Result<Option<RtmpAddress>, Unsayable> {
        let server = self.dialect.server();
        if self.is_of(clients) && !server.misreads(asked) {
            return Ok(None);
        }
        let path = self.path(stream)?;
        self.plain(&path)?;
        Ok(Some(server.write_rtmp(&path, asked)))
    }

    /// The SRT stream id for `stream`, with what the caller showed.
    ///
    /// # Errors
    /// [`Unsayable`], with the rule in the way.
    pub fn srt(
        &self,
        stream: &StreamUrl,
        action: Action,
        shown: Option<&Credentials>,
    ) -> Result<String, Unsayable> {
        let path = self.path(stream)?;
        let wanted = SrtWanted::new(stream.vhost(), &path, action, shown);
        let written = self.dialect.server().write_srt(&wanted);
        let id = written.map_err(|rule| self.unsayable(rule))?;
        if id.len() > MAX_SRT_ID {
            return Err(self.unsayable("an SRT id has at most 512 bytes"));
        }
        Ok(id)
    }

    /// The target of a WHIP or WHEP request for `stream`; `query` is that of the client's own request.
    ///
    /// # Errors
    /// [`Unsayable`], with the rule in the way.
    pub fn call(
        &self,
        clients: Dialect,
        stream: &StreamUrl,
        action: Action,
        query: &str,
    ) -> Result<String, Unsayable> {
        let path = self.path(stream)?;
        let query = Query(query).without(clients.server().naming_parameters());
        Ok(self.dialect.server().write_call(&path, action, &query))
    }

    /// The target of an HTTP request for `stream`; `query` is that of the client's own request.
    ///
    /// # Errors
    /// [`Unsayable`], with the rule in the way.
    pub fn file(
        &self,
        clients: Dialect,
        stream: &StreamUrl,
        file: File,
        query: &str,
    ) -> Result<String, Unsayable> {
        let path = self.path(stream)?;
        let query = Query(query).without(clients.server().naming_parameters());
        let written = self.dialect.server().write_file(&path, file, &query);
        written.map_err(|rule| self.unsayable(rule))
    }

    /// The two paths of an RTSP stream that the client calls `named`, a path as it stands in its URL; `None` when both
    /// are the same.
    ///
    /// # Errors
    /// [`Unsayable`] when the origin has no such path.
    pub fn rtsp(
        &self,
        clients: Dialect,
        stream: &StreamUrl,
        named: &str,
    ) -> Result<Option<Rename>, Unsayable> {
        if self.is_of(clients) {
            return Ok(None);
        }
        let path = self.path(stream)?;
        let path = escape(&path);
        Ok((path != named).then(|| Rename::new(named, &path)))
    }

    fn fit<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, Unsayable> {
        let fitting = self.dialect.server().fit(path);
        fitting.map_err(|rule| self.unsayable(rule))
    }

    /// Whether a path can stand in an RTMP command as it is: there is no escape that all servers undo. At nginx-rtmp, only a
    /// question mark ends a name. It undoes no escape, but clients write them, so one that is part of a name has no spelling.
    fn plain(&self, path: &str) -> Result<(), Unsayable> {
        let (parted, rule) = match self.dialect {
            Dialect::NginxRtmp => (
                path.contains(['?', '#']) || decode_name(path) != path,
                "RTMP names cannot carry ? or # or an escape such as %41",
            ),
            _ => (
                path.contains(['?', '#', '%', '&']),
                "RTMP names cannot carry any of ? # % &",
            ),
        };
        if parted {
            return Err(self.unsayable(rule));
        }
        Ok(())
    }

    const fn unsayable(&self, rule: &'static str) -> Unsayable {
        Unsayable {
            dialect: self.dialect,
            rule,
        }
    }
}

const OTHER_PREFIX: &str = "this one has only streams that begin with its prefix";

/// Maximum bytes of a stream id (SRT access control guidelines).
const MAX_SRT_ID: usize = 512;
