//! Requests for files, whose paths may name more than one stream: who may have one is decided under every name that counts.
//!
//! An origin decides what a path is. So each rule that decides about one of its names has to let the client in, and a file of
//! a stream that somebody may not have is not served by the name of another. What one rule says of several names it has to
//! say of one of them, since a signature or a token names one only. It has to be one that the path names by itself: a
//! signature for `show` opens no `show_hd`. The request goes on as one for a stream that the client may have, because its
//! links are good for that.

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::rules::{PartOfTheName, Rule, Rules};
use sluicegate_core::access::verdict::{Grant, Verdict};
use sluicegate_core::http::segment::Owners;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};

use super::{Telling, tell_refused};
use crate::lookup::AccessSaid;
use crate::proxy::{Proxy, Refusal, Request};
use crate::sessions::question;

impl Proxy {
    /// Whether a rule may decide about a player of any owner of a file.
    pub fn may_judge_owners(&self, owners: &Owners) -> bool {
        let mut all = owners.all();
        self.has_rules() && all.any(|name| self.may_judge(name, Action::Play))
    }

    /// Whether a rule that decides about a request for a file takes a user and a password.
    pub fn takes_basic_for(&self, request: &Request, owners: &Owners) -> bool {
        let mut all = owners.all().filter(|_| self.has_rules());
        all.any(|name| self.takes_basic(&called(request, name)))
    }

    /// Whether a ban of `name` counts for a file of these owners: it is a rendition or a numbered file of another stream only
    /// where nobody publishes it by itself.
    fn is_bannable(&self, name: &StreamUrl, owners: &Owners) -> bool {
        let registry = self.registry();
        let is_published = |own: &StreamUrl| {
            let key = self.key(own);
            registry.published_here(&key) || registry.reported(&key).is_some()
        };
        let mut own = owners.own();
        !owners.beside.contains(name) || !own.any(|own| is_beside(own, name) && is_published(own))
    }

    /// Whether a ban stands in the way of a file.
    ///
    /// # Errors
    /// [`Refusal::Denied`]
    pub(super) fn refuse_banned_owners(
        &self,
        request: &Request,
        owners: &Owners,
    ) -> Result<(), Refusal> {
        if !self.has_bans() {
            return Ok(());
        }
        let names = owners.all().filter(|name| self.is_bannable(name, owners));
        for name in names {
            self.refuse_banned(&called(request, name), &Default::default())?;
        }
        Ok(())
    }

    /// Takes a request for a file through the gate, under every name that counts.
    pub(in crate::proxy) async fn pass_gate_for(
        &self,
        request: &Request,
        owners: &Owners,
    ) -> Result<Passed, Refusal> {
        if owners.all().next().is_none() {
            let (grant, telling) = self.pass_gate(request).await?;
            return Ok(Passed {
                grant,
                telling,
                goes_on_as: None,
            });
        }
        self.may_come(request)?;
        self.refuse_banned_owners(request, owners)?;
        let mut passed: Option<(Grant, Option<Telling>)> = None;
        let mut let_in = Vec::new();
        for names in self.names_to_judge(request, owners) {
            let (name, grant, telling) = match self.pass_by_one_of(request, &names).await {
                Ok(passed) => passed,
                Err(refusal) => {
                    tell_refused(passed.and_then(|(_, telling)| telling), request);
                    return Err(refusal);
                }
            };
            let_in.push(name);
            passed = Some(match passed {
                None => (grant, telling),
                Some((first, first_telling)) => {
                    // There is one session, of whose end the first backend hears. A file has none.
                    if request.protocol != Protocol::HttpSegments {
                        tell_refused(telling, request);
                    }
                    (both(first, grant), first_telling)
                }
            });
        }
        let (grant, telling) = passed.unwrap_or_default();
        Ok(Passed {
            grant,
            telling,
            goes_on_as: self.other_than(request, let_in),
        })
    }

    /// The first name of those that a client was let in by, if it may not have the stream that its request is for.
    fn other_than(&self, request: &Request, let_in: Vec<StreamUrl>) -> Option<StreamUrl> {
        let rules = self.shared.gate.rules();
        let nothing = Credentials::default();
        let decides = |name| rules.deciding(&question(&called(request, name), &nothing));
        let (number, rule) = rules.deciding(&question(request, &nothing))?;
        let is_alike = rules.part_of_the_name(rule) == PartOfTheName::Nothing;
        let may_have_it = let_in.iter().any(|name| {
            let is_of_the_rule = || decides(name).is_some_and(|(other, _)| other == number);
            *name == request.stream || is_alike && is_of_the_rule()
        });
        let_in.into_iter().find(|_| !may_have_it)
    }

    /// Takes a request through the gate that one of `names` is enough for, of which there is one at least. Says which it was.
    async fn pass_by_one_of(
        &self,
        request: &Request,
        names: &[StreamUrl],
    ) -> Result<(StreamUrl, Grant, Option<Telling>), Refusal> {
        let mut refused = None;
        for name in names {
            let by_name = called(request, name);
            let (verdict, telling) = self.judged(&by_name).await;
            if matches!(verdict, Verdict::Yes(_)) {
                let (grant, telling) = self.settle(&by_name, verdict, telling).await?;
                return Ok((by_name.stream, grant, telling));
            }
            // What is said of the first counts: it is the likeliest.
            match &refused {
                None => refused = Some((by_name, verdict, telling)),
                Some(_) => tell_refused(telling, &by_name),
            }
        }
        let Some((by_name, verdict, telling)) = refused else {
            return Ok((request.stream.clone(), Grant::default(), None));
        };
        let (grant, telling) = self.settle(&by_name, verdict, telling).await?;
        Ok((by_name.stream, grant, telling))
    }

    /// The names under which a file has to be let in: one of each list.
    fn names_to_judge(&self, request: &Request, owners: &Owners) -> Vec<Vec<StreamUrl>> {
        let rules = self.shared.gate.rules();
        let mut lists = Vec::new();
        let own = by_rule(&rules, request, owners.own());
        for OfRule { rule, names, .. } in &own {
            let part = rules.part_of_the_name(rule);
            // A stream without end is no file of the folder that its address has, and needs a yes of its own.
            let is_live = request.protocol != Protocol::HttpSegments;
            let (named, around): (Vec<_>, Vec<_>) = names
                .iter()
                .cloned()
                .partition(|name| owners.named.contains(name));
            if part != PartOfTheName::Judged && (!is_live || named.is_empty()) {
                lists.push(names.clone());
                continue;
            }
            // A backend may let everybody have what it does not know, or nobody: it is asked about the stream that the path
            // names, and about others of which we know that they are there.
            let is_there = |name: &StreamUrl| {
                let (registry, key) = (self.registry(), self.key(name));
                registry.holder(&key).is_some() || registry.reported(&key).is_some()
            };
            let counts = |name: &StreamUrl| {
                part == PartOfTheName::Judged && (named.is_empty() || is_there(name))
            };
            lists.extend(around.into_iter().filter(counts).map(|name| vec![name]));
            if !named.is_empty() {
                lists.insert(0, named);
            }
        }
        let nothing = Credentials::default();
        let is_by_name = |own: &StreamUrl| {
            let by_name = called(request, own);
            let deciding = rules.deciding(&question(&by_name, &nothing));
            deciding.is_some_and(|(_, rule)| rule.is_by_name(own))
        };
        let counts = |name: &&StreamUrl| {
            let mut own = owners.own();
            !own.any(|own| is_beside(own, name) && is_by_name(own))
        };
        let beside = owners.beside.iter().filter(counts);
        for OfRule {
            rule,
            number,
            names,
        } in by_rule(&rules, request, beside)
        {
            if own.iter().any(|own| own.number == number) {
                continue;
            }
            match rules.part_of_the_name(rule) {
                PartOfTheName::Judged => lists.extend(names.into_iter().map(|name| vec![name])),
                PartOfTheName::Nothing | PartOfTheName::Shown => lists.push(names),
            }
        }
        lists
    }

    /// Which rule decides about a request for a file, and what it says: of several, the first that refuses it. No backend is
    /// asked.
    pub async fn explain_access_for(&self, request: &Request, owners: &Owners) -> AccessSaid {
        let mut first = None;
        for names in self.names_to_judge(request, owners) {
            let mut said = None;
            for name in &names {
                let one = self.explain_access(&called(request, name)).await;
                if one.may {
                    said = Some(one);
                    break;
                }
                said.get_or_insert(one);
            }
            match said {
                Some(said) if !said.may => return said,
                Some(said) => drop(first.get_or_insert(said)),
                None => {}
            }
        }
        match first {
            Some(said) => said,
            None => self.explain_access(request).await,
        }
    }
}

/// A request for a file that was let in.
pub(in crate::proxy) struct Passed {
    pub(in crate::proxy) grant: Grant,
    pub(in crate::proxy) telling: Option<Telling>,
    /// The stream that it is for from here on, where it is another.
    pub(in crate::proxy) goes_on_as: Option<StreamUrl>,
}

/// The names that one rule decides about.
struct OfRule<'a> {
    number: usize,
    rule: &'a Rule,
    names: Vec<StreamUrl>,
}

/// The names that rules decide about, by the rules.
fn by_rule<'a, 'n>(
    rules: &'a Rules,
    request: &Request,
    names: impl Iterator<Item = &'n StreamUrl>,
) -> Vec<OfRule<'a>> {
    let mut all: Vec<OfRule<'a>> = Vec::new();
    let nothing = Credentials::default();
    for name in names {
        let by_name = called(request, name);
        let Some((number, rule)) = rules.deciding(&question(&by_name, &nothing)) else {
            continue;
        };
        let alike = rules.part_of_the_name(rule) == PartOfTheName::Nothing;
        match all.iter_mut().find(|of_rule| of_rule.number == number) {
            // It would say the same of this one.
            Some(_) if alike => {}
            Some(of_rule) => of_rule.names.push(name.clone()),
            None => all.push(OfRule {
                number,
                rule,
                names: vec![name.clone()],
            }),
        }
    }
    all
}

/// Whether two streams lie in one app, so that one may be named after the other.
fn is_beside(one: &StreamUrl, other: &StreamUrl) -> bool {
    (one.vhost(), one.app()) == (other.vhost(), other.app())
}

/// A request by another name of its stream. What may be a segment as well as a stream without end is, by that name, a segment.
fn called(request: &Request, name: &StreamUrl) -> Request {
    let is_its_own = *name == request.stream;
    Request {
        stream: name.clone(),
        protocol: match request.protocol {
            Protocol::HttpAac | Protocol::HttpMp3 | Protocol::HttpTs if !is_its_own => {
                Protocol::HttpSegments
            }
            protocol => protocol,
        },
        ..request.clone()
    }
}

/// What is left where two rules let somebody in: the stricter terms of both.
fn both(one: Grant, other: Grant) -> Grant {
    let (bind, recheck) = (
        one.bind.min(other.bind),
        one.recheck.into_iter().chain(other.recheck).min(),
    );
    let mut grant = one.and(other);
    (grant.bind, grant.recheck) = (bind, recheck);
    grant
}
