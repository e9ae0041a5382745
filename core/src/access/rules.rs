//! Which rule decides about a request, and the checks that it lists.
//!
//! The rules stand in an order, and the first that fits decides; a request that none fits may. A rule says yes or no
//! itself, or lists checks, of which all must say yes or any may.

use std::fmt;
use std::time::Duration;

use super::challenge::AnswerScheme;
use super::digests::DigestUsers;
use super::hooks::Hook;
use super::identity::Identity;
use super::jwt::{Jwt, JwtKeys};
use super::keys::Keys;
use super::limits::Limit;
use super::networks::Network;
use super::passwords::Users;
use super::question::{Question, UsedHeader};
use super::signed::{Scheme, Signed};
use super::verdict::{Denial, Grant, Quorum, Trial, Verdict, Why};
use crate::counted::counted;
use crate::place::pattern::{Pattern, VhostPattern};
use crate::stream::{Action, Protocol, StreamUrl};

/// All rules, and the checks that they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) checks: Vec<Check>,
    pub(super) limits: Vec<Limit>,
}

/// Whom a rule or a limit is about. A part that says nothing fits everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whom {
    pub(super) vhosts: Vec<VhostPattern>,
    pub(super) apps: Vec<Pattern>,
    pub(super) streams: Vec<Pattern>,
    pub(super) action: Option<Action>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) networks: Vec<Network>,
}

/// One rule: whom it is about, and what decides about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub(super) whom: Whom,
    pub(super) decide: Decide,
    /// Whether the query parameters that the checks used are kept from the origin.
    pub take_out: bool,
    /// How long a session lasts until it is judged again; `None`: it is not.
    pub recheck: Option<Duration>,
    /// Where the holder of a link has to be, besides holding it.
    pub bind: Bind,
}

/// Where the holder of a link has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Bind {
    /// At the address that the viewing began at.
    Address,
    /// In its [network](Network::around).
    Network,
    /// Anywhere.
    #[default]
    Nowhere,
}

/// What decides about those that a rule fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Decide {
    /// They may.
    #[default]
    Allow,
    /// All or any of these checks, by their places in [`Rules`], as the quorum says.
    Checks(Quorum, Vec<usize>),
    /// They may not.
    Deny,
}

/// What the verdict of a rule has to do with the name of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartOfTheName {
    /// It would be the same for any other.
    Nothing,
    /// The client shows something that names the stream, so that a yes is about that one.
    Shown,
    /// A backend knows streams by their names, and may let everybody have those that it does not know.
    Judged,
}

/// A check with the name that rules call it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: Box<str>,
    /// What it checks.
    pub kind: CheckKind,
}

/// What a check checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// The subject of the client's certificate, as a pattern.
    Certificate(Vec<Pattern>),
    /// A user who answers a challenge.
    Digest(DigestUsers),
    /// What a backend says.
    Hook(Hook),
    /// A token.
    Jwt(Jwt),
    /// A generated key, in `Authorization`, an SRT stream id, or one of these query parameters and cookies.
    Keys(Keys, Vec<Box<str>>),
    /// Where the client is.
    Networks(Vec<Network>),
    /// A user and a password.
    Passwords(Users),
    /// A signed address.
    Signed(Signed),
}

/// In which ways a client may say who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenges {
    /// By a user and a password, or by a key in the place of the password.
    pub basic: bool,
    /// By an answer to a challenge, made in these ways.
    pub digest: Vec<AnswerScheme>,
}

/// What comes of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Its answer.
    Answer(Verdict),
    /// A backend has to be asked.
    Ask,
    /// A token has to be checked with keys that are published, by [`Jwt::check`].
    Keys,
    /// A password has to be compared with a hash, which takes too long to do at once; if it fits, the answer is this one.
    Password {
        /// The hash.
        hash: Box<str>,
        /// What was shown.
        password: Box<str>,
        /// The answer if it fits.
        then: Box<Verdict>,
    },
}

impl Rules {
    /// The rule that decides about a request, and its place, counted from 1.
    pub fn deciding(&self, question: &Question<'_>) -> Option<(usize, &Rule)> {
        let mut numbered = (1..).zip(&self.rules);
        numbered.find(|(_, rule)| rule.whom.fits(question))
    }

    /// Whether the rule that decides about a request denies it to everybody.
    pub fn deny(&self, question: &Question<'_>) -> bool {
        self.deciding(question)
            .is_some_and(|(_, rule)| rule.denies())
    }

    /// Whether a rule may decide about a request for `stream`, by somebody somewhere: without one, everybody may.
    pub fn may_judge(&self, stream: &StreamUrl, action: Action) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.whom.is_about(stream, action))
    }

    /// In which ways a client may say who it is, where its protocol has it asked.
    pub fn challenges(&self, question: &Question<'_>) -> Challenges {
        let deciding = self.deciding(question).into_iter();
        let listed = deciding.flat_map(|(_, rule)| self.listed(rule));
        let mut challenges = Challenges::default();
        for check in listed {
            match &check.kind {
                CheckKind::Digest(users) => challenges.digest.extend(&users.algorithms),
                CheckKind::Hook(_)
                | CheckKind::Jwt(_)
                | CheckKind::Keys(..)
                | CheckKind::Passwords(_) => challenges.basic = true,
                CheckKind::Certificate(_) | CheckKind::Networks(_) | CheckKind::Signed(_) => {}
            }
        }
        challenges.digest.dedup();
        challenges.basic |= challenges.digest.is_empty();
        challenges
    }

    /// Whether a check of the rule that decides about a request takes a user and a password, or a key or a token in the place
    /// of the password.
    pub fn takes_basic(&self, question: &Question<'_>) -> bool {
        let deciding = self.deciding(question).into_iter();
        let mut listed = deciding.flat_map(|(_, rule)| self.listed(rule));
        listed.any(|check| match &check.kind {
            CheckKind::Digest(_)
            | CheckKind::Hook(_)
            | CheckKind::Jwt(_)
            | CheckKind::Keys(..)
            | CheckKind::Passwords(_) => true,
            CheckKind::Certificate(_) | CheckKind::Networks(_) | CheckKind::Signed(_) => false,
        })
    }

    /// Whether a client has to log in before it has named its stream, of which `question` knows the vhost and the app: a
    /// rule that may be about what it will ask for lets nobody else in.
    pub fn wants_login(&self, question: &Question<'_>) -> bool {
        for rule in &self.rules {
            if !rule.whom.may_fit(question) {
                continue;
            }
            let wants = self.only_logins(rule, question);
            if wants || rule.whom.streams.is_empty() {
                return wants;
            }
        }
        false
    }

    /// Whether only clients that log in pass a rule.
    fn only_logins(&self, rule: &Rule, question: &Question<'_>) -> bool {
        let is_login = |check: &Check| matches!(check.kind, CheckKind::Digest(_));
        let mut listed = self.listed(rule);
        match rule.decide {
            Decide::Allow | Decide::Deny => false,
            Decide::Checks(Quorum::All, _) => listed.any(is_login),
            Decide::Checks(Quorum::Any, _) => {
                let is_elsewhere = |check: &Check| match &check.kind {
                    CheckKind::Networks(networks) => !networks
                        .iter()
                        .any(|network| network.contains(question.client)),
                    _ => false,
                };
                self.listed(rule).any(is_login)
                    && listed.all(|check| is_login(check) || is_elsewhere(check))
            }
        }
    }

    /// The checks of a rule, in their order.
    fn listed<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a Check> {
        let places = match &rule.decide {
            Decide::Allow | Decide::Deny => [].as_slice(),
            Decide::Checks(_, places) => places.as_slice(),
        };
        places.iter().filter_map(|place| self.checks.get(*place))
    }

    /// The headers in which a client may show who it is, where the rule that decides about it keeps what was used up from
    /// origins.
    pub fn headers_to_take_out(&self, question: &Question<'_>) -> Vec<UsedHeader> {
        let Some((_, rule)) = self.deciding(question).filter(|(_, rule)| rule.take_out) else {
            return Vec::new();
        };
        let mut headers = vec![UsedHeader::Authorization];
        for check in self.listed(rule) {
            if let CheckKind::Keys(_, names)
            | CheckKind::Jwt(Jwt {
                parameters: names, ..
            }) = &check.kind
            {
                headers.extend(names.iter().cloned().map(UsedHeader::Cookie));
            }
        }
        headers
    }

    /// Where keys are published that sign tokens.
    pub fn key_sets(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().filter_map(|check| match &check.kind {
            CheckKind::Jwt(jwt) => jwt.published_at.as_deref(),
            _ => None,
        })
    }

    /// Whether a check has clients answer a challenge.
    pub fn have_logins(&self) -> bool {
        let is_login = |check: &Check| matches!(check.kind, CheckKind::Digest(_));
        self.checks.iter().any(is_login)
    }

    /// How much there may be at once.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// Whether a backend of the operator is asked about anybody.
    pub fn ask_backends(&self) -> bool {
        self.checks.iter().any(Check::asks)
    }

    /// Whether a rule has sessions judged again.
    pub fn rechecks(&self) -> bool {
        self.rules.iter().any(|rule| rule.recheck.is_some())
    }

    /// The checks of our own signature, each by its name and with the secret that signs now.
    pub fn own_secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.checks.iter().filter_map(|check| match &check.kind {
            CheckKind::Signed(signed) if signed.scheme == Scheme::Ours => {
                Some((&*check.name, &**signed.secrets.first()?))
            }
            _ => None,
        })
    }

    /// What the verdict of a rule has to do with the name of the stream.
    pub fn part_of_the_name(&self, rule: &Rule) -> PartOfTheName {
        let parts = self.listed(rule).map(|check| match &check.kind {
            CheckKind::Certificate(_)
            | CheckKind::Digest(_)
            | CheckKind::Keys(..)
            | CheckKind::Networks(_)
            | CheckKind::Passwords(_) => PartOfTheName::Nothing,
            CheckKind::Jwt(_) | CheckKind::Signed(_) => PartOfTheName::Shown,
            CheckKind::Hook(_) => PartOfTheName::Judged,
        });
        parts.max().unwrap_or(PartOfTheName::Nothing)
    }

    /// Whether there are no rules.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The trial that a rule orders, and the checks to ask in turn.
    pub fn trial<'a>(&'a self, rule: &'a Rule) -> (Trial, impl Iterator<Item = &'a Check>) {
        let trial = match &rule.decide {
            Decide::Allow => Trial::new(Quorum::All, 0),
            Decide::Deny => Trial::new(Quorum::Any, 0),
            Decide::Checks(quorum, listed) => Trial::new(*quorum, listed.len()),
        };
        (trial, self.listed(rule))
    }

    /// Every rule in plain words, in order.
    pub fn in_words(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(|rule| self.words_of(rule))
    }

    /// Whether a rule speaks of players, so that who may watch is decided here.
    pub fn speak_of_players(&self) -> bool {
        let of_players = |rule: &Rule| rule.whom.action != Some(Action::Publish);
        self.rules.iter().any(of_players)
    }

    /// One rule in plain words: whom it is about, and what decides about them.
    pub fn words_of(&self, rule: &Rule) -> String {
        let decides = match &rule.decide {
            Decide::Allow => "may".to_owned(),
            Decide::Deny => "may not".to_owned(),
            Decide::Checks(quorum, listed) => {
                let named = listed.iter().filter_map(|index| self.checks.get(*index));
                let named: Vec<String> = named.map(Check::to_string).collect();
                let how = match (named.len(), quorum) {
                    (1, _) => "",
                    (_, Quorum::All) => "all of ",
                    (_, Quorum::Any) => "any of ",
                };
                format!("may if {how}{} says yes", named.join(", "))
            }
        };
        let out = if rule.take_out {
            "; what was shown is kept from the origin"
        } else {
            ""
        };
        let again = match rule.recheck {
            Some(period) => format!("; judged again every {} s", period.as_secs()),
            None => String::new(),
        };
        format!("who wants to {} {decides}{out}{again}", rule.whom)
    }
}

impl Rule {
    /// Whether it is about `stream` by its whole name, and not by one with stars or by none.
    pub fn is_by_name(&self, stream: &StreamUrl) -> bool {
        let mut names = self.whom.streams.iter();
        names.any(|pattern| pattern.as_str() == stream.stream())
    }

    /// Whether it refuses everybody.
    pub fn denies(&self) -> bool {
        self.decide == Decide::Deny
    }
}

impl Whom {
    /// Whether it is about a request.
    pub fn fits(&self, question: &Question<'_>) -> bool {
        self.is_about(question.stream, question.action) && self.is_about_client(question)
    }

    /// Whether it may be about a request of which the stream is not known yet, and only its vhost and app.
    fn may_fit(&self, question: &Question<'_>) -> bool {
        let unnamed = Self {
            streams: Vec::new(),
            ..self.clone()
        };
        unnamed.fits(question)
    }

    fn is_about_client(&self, question: &Question<'_>) -> bool {
        let anywhere = self.networks.is_empty();
        (self.protocols.is_empty() || self.protocols.contains(&question.protocol))
            && (anywhere
                || self
                    .networks
                    .iter()
                    .any(|network| network.contains(question.client)))
    }

    /// Whether it may be about a request for `stream`, by somebody somewhere.
    pub fn is_about(&self, stream: &StreamUrl, action: Action) -> bool {
        let names = |patterns: &[Pattern], text| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
        };
        let mut vhosts = self.vhosts.iter();
        self.action.is_none_or(|own| own == action)
            && (self.vhosts.is_empty() || vhosts.any(|pattern| pattern.matches(stream.vhost())))
            && names(&self.apps, stream.app())
            && names(&self.streams, stream.stream())
    }
}

impl fmt::Display for Whom {
    /// Whom it is about: `publish app live over rtmp or srt from 10.0.0.0/8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action.map_or("publish or play", Action::as_str))?;
        let parts = [
            ("vhost", or(&self.vhosts)),
            ("app", or(&self.apps)),
            ("stream", or(&self.streams)),
        ];
        let mut named = false;
        for (name, patterns) in parts {
            if !patterns.is_empty() {
                named = true;
                write!(f, " {name} {patterns}")?;
            }
        }
        if !named {
            f.write_str(" any stream")?;
        }
        if !self.protocols.is_empty() {
            write!(f, " over {}", or(&self.protocols))?;
        }
        if !self.networks.is_empty() {
            write!(f, " from {}", or(&self.networks))?;
        }
        Ok(())
    }
}

fn or(items: &[impl ToString]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}

impl Check {
    /// Whether somebody outside has to be asked.
    pub const fn asks(&self) -> bool {
        matches!(self.kind, CheckKind::Hook(_))
    }

    /// What it says of a request, at `now` in seconds since 1970.
    pub fn examine(&self, question: &Question<'_>, now: u64) -> Step {
        let verdict = match &self.kind {
            CheckKind::Certificate(subjects) => certificate(subjects, question),
            CheckKind::Digest(users) => users.check(question),
            CheckKind::Hook(_) => return Step::Ask,
            CheckKind::Jwt(jwt) if jwt.published_at.is_some() => return Step::Keys,
            CheckKind::Jwt(jwt) => jwt.check(question, &JwtKeys::default(), now),
            CheckKind::Keys(keys, parameters) => key(keys, parameters, question),
            CheckKind::Networks(networks) => {
                if networks
                    .iter()
                    .any(|network| network.contains(question.client))
                {
                    Verdict::Yes(Grant::default())
                } else {
                    no(Why::Forbidden, "this is not allowed from your address")
                }
            }
            CheckKind::Passwords(users) => return password(users, question),
            CheckKind::Signed(signed) => signed.check(question, now),
        };
        Step::Answer(verdict)
    }
}

fn one_of(count: usize, what: &str) -> String {
    match count {
        1 => format!("the one {what}"),
        _ => format!("one of {}", counted(count, what)),
    }
}

impl fmt::Display for Check {
    /// Its name and what it is: `encoders (one of 3 keys)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.name)?;
        match &self.kind {
            CheckKind::Certificate(_) => f.write_str("the client's certificate")?,
            CheckKind::Digest(users) => {
                let who = one_of(users.count(), "user");
                write!(f, "{who} who answers a challenge")?;
            }
            CheckKind::Hook(hook) => write!(f, "a backend asked as {}", hook.shape.name())?,
            CheckKind::Jwt(jwt) => {
                let keys = counted(jwt.keys.count(), "key");
                write!(f, "a JSON Web Token, {keys}")?;
                if jwt.published_at.is_some() {
                    f.write_str(" and those that are published")?;
                }
            }
            CheckKind::Keys(keys, _) => f.write_str(&one_of(keys.count(), "key"))?,
            CheckKind::Networks(networks) => write!(f, "from {}", or(networks))?,
            CheckKind::Passwords(users) => f.write_str(&one_of(users.count(), "user"))?,
            CheckKind::Signed(signed) => write!(f, "an address signed as {}", signed.name())?,
        }
        f.write_str(")")
    }
}

fn certificate(subjects: &[Pattern], question: &Question<'_>) -> Verdict {
    match question.credentials.tls.as_deref() {
        None => Verdict::No(Denial::nothing_shown("a client certificate is needed")),
        Some(subject) if subjects.iter().any(|pattern| pattern.matches(subject)) => {
            Verdict::Yes(Grant {
                who: Identity::viewer(subject),
                ..Grant::default()
            })
        }
        Some(_) => no(Why::Forbidden, "this is not allowed for your certificate"),
    }
}

fn key(keys: &Keys, parameters: &[Box<str>], question: &Question<'_>) -> Verdict {
    let mut any = false;
    for shown in question.shown(parameters).take(MOST_SHOWN) {
        any = true;
        if let Some(owner) = keys.owner(&shown.text) {
            return Verdict::Yes(Grant {
                who: Identity::key(owner),
                used: shown.parameter.into_iter().map(Into::into).collect(),
                headers: shown.header.into_iter().collect(),
                ..Grant::default()
            });
        }
    }
    match any {
        true => no(Why::Unknown, "the key is not known"),
        false => Verdict::No(Denial::nothing_shown("a key is needed")),
    }
}

fn password(users: &Users, question: &Question<'_>) -> Step {
    let Some(login) = question.login() else {
        let words = "a user and a password are needed";
        return Step::Answer(Verdict::No(Denial::nothing_shown(words)));
    };
    let wrong = no(Why::Unknown, "the user or the password is wrong");
    let Some(hash) = users.hash_of(&login.user) else {
        return Step::Answer(wrong);
    };
    let then = if users.knows(&login.user) {
        Verdict::Yes(Grant {
            who: Identity::viewer(&login.user),
            used: login.parameters.into_iter().map(Into::into).collect(),
            headers: login.header.into_iter().collect(),
            ..Grant::default()
        })
    } else {
        wrong
    };
    Step::Password {
        hash: hash.into(),
        password: login.password.into(),
        then: Box::new(then),
    }
}

/// The answer to a password that does not fit.
pub fn wrong_password() -> Verdict {
    no(Why::Unknown, "the user or the password is wrong")
}

fn no(why: Why, reason: &str) -> Verdict {
    Verdict::No(Denial::new(why, reason))
}

/// Texts of one client that are tried as a key.
const MOST_SHOWN: usize = 8;

#[cfg(test)]
mod tests;
