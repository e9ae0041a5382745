//! The gate: whether a client may have what it asks for.
//!
//! Every request of every protocol comes here once, in [`Proxy::open`] or [`Proxy::place`], before anything is done for
//! it: it has no row, no share in a placement, and no origin has heard of it. Deciding is pure and stands in
//! [`core::access`](sluicegate_core::access); here is what takes time: passwords, verdicts that are kept for a while, and
//! answers to those who keep guessing, which come late.

mod again;
mod failures;
mod hooks;
mod kept;
mod key_sets;
pub(crate) mod login;
mod owners;
mod passwords;
pub(super) mod rename;
mod viewings;

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::hooks::Hook;
use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::question::{Question, UsedHeader};
use sluicegate_core::access::rules::{Check, CheckKind, Rule, Rules, Step, wrong_password};
use sluicegate_core::stream::{Action, StreamUrl};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

pub use self::again::BeginningViewing;
use self::again::limited_by;
use self::failures::Failures;
pub(super) use self::hooks::Telling;
use self::hooks::{Hooks, not_asked};
use self::kept::CachedVerdicts;
use self::key_sets::KeySets;
pub(super) use self::owners::Passed;
use self::passwords::Passwords;
use self::viewings::Viewings;
use super::{Proxy, Refusal, Request};
use crate::lookup::{AccessSaid, CheckSaid};
use crate::origin::connect::Connector;
use crate::random;
use crate::sessions::{EndReason, Row, question};
use crate::unix_time;
pub use sluicegate_core::access::verdict::{Delay, Denial, Grant, Verdict, Why};

/// The rules, and what is remembered of those who came.
#[derive(Debug)]
pub(super) struct Gate {
    // Read for a line by each request, and written when the settings file changed.
    rules: RwLock<Arc<Rules>>,
    kept: CachedVerdicts,
    passwords: Passwords,
    failures: Failures,
    hooks: Hooks,
    viewings: Viewings,
    key_sets: KeySets,
    /// Makes the texts that clients who log in hash with their passwords.
    nonces: [u8; 32],
}

impl Gate {
    /// A gate with these rules, which reaches backends by `connector`. Proxies with the same `nonces` take each other's
    /// challenges for their own.
    pub(super) fn new(rules: Rules, connector: Connector, nonces: [u8; 32]) -> Self {
        Self {
            rules: RwLock::new(Arc::new(rules)),
            kept: CachedVerdicts::new(),
            passwords: Passwords::default(),
            failures: Failures::default(),
            hooks: Hooks::new(connector.clone()),
            viewings: Viewings::default(),
            key_sets: KeySets::new(connector),
            nonces,
        }
    }

    /// Forgets viewers that have gone, and fetches keys that are due. Called every second.
    pub(super) fn sweep(&self) {
        self.viewings.sweep();
        self.key_sets.sweep(&self.rules());
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What `read` makes of the rules, which nobody changes meanwhile.
    fn read_rules<T>(&self, read: impl FnOnce(&Rules) -> T) -> T {
        read(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The verdict on a request, whether the rule keeps what was shown from the origin, and who is told of its end.
    async fn judge(&self, request: &Request) -> Judged {
        let rules = self.rules();
        let nothing = Credentials::default();
        let question = question(request, &nothing);
        let Some((_, rule)) = rules.deciding(&question) else {
            return Judged::default();
        };
        let session = rules.trial(rule).1.any(Check::asks).then(session_id);
        let session = session.unwrap_or_default();
        let sitting = Sitting {
            session: Some(&session),
            now: unix_time::seconds(),
            is_again: false,
        };
        let (mut verdict, hooks) = self.try_by(&rules, rule, &question, &sitting).await;
        if let Verdict::Yes(grant) = &mut verdict {
            (grant.bind, grant.recheck) = (rule.bind, rule.recheck);
        }
        // A client that is judged again is asked about by the same id.
        let is_known = !hooks.is_empty() || rule.recheck.is_some() && !session.is_empty();
        let telling = is_known.then(|| Telling {
            session,
            hooks,
            credentials: request.credentials.clone(),
            way: self.hooks.way(),
        });
        Judged {
            verdict,
            takes_out: rule.take_out,
            telling,
        }
    }

    /// The verdict of a rule, and the backends that said yes and want to hear of the end of what they said it to.
    async fn try_by(
        &self,
        rules: &Rules,
        rule: &Rule,
        question: &Question<'_>,
        sitting: &Sitting<'_>,
    ) -> (Verdict, Vec<Hook>) {
        let (mut trial, checks) = rules.trial(rule);
        let checks: Vec<&Check> = checks.collect();
        let mut hooks = Vec::new();
        for check in checks {
            if trial.is_decided() {
                break;
            }
            let verdict = self.examine(check, question, sitting).await;
            if let (CheckKind::Hook(hook), Verdict::Yes(_)) = (&check.kind, &verdict)
                && hook.counts()
            {
                hooks.push(hook.clone());
            }
            trial.hear(verdict);
        }
        (trial.verdict(), hooks)
    }

    /// The answer of one check.
    async fn examine(
        &self,
        check: &Check,
        question: &Question<'_>,
        sitting: &Sitting<'_>,
    ) -> Verdict {
        let (session, now) = (sitting.session, sitting.now);
        let ask = async || match (check.examine(question, now), &check.kind, session) {
            (Step::Answer(verdict), _, _) => verdict,
            (Step::Ask, CheckKind::Hook(hook), Some(session)) => {
                self.hooks.ask(&check.name, hook, question, session).await
            }
            (Step::Ask, _, _) => not_asked(),
            (Step::Keys, CheckKind::Jwt(jwt), _) => {
                self.key_sets
                    .check(jwt, question, now, session.is_some())
                    .await
            }
            // No other check has keys.
            (Step::Keys, _, _) => not_asked(),
            (
                Step::Password {
                    hash,
                    password,
                    then,
                },
                _,
                _,
            ) => match self.passwords.fits(hash, password).await {
                Some(true) => *then,
                Some(false) => wrong_password(),
                None => Verdict::later(BUSY, "too many passwords are compared"),
            },
        };
        let verdict = match &check.kind {
            CheckKind::Passwords(_) => self.kept.or_ask(&check.name, question, ask).await,
            // A backend that counts sessions hears of each.
            CheckKind::Hook(hook) if session.is_some() && !hook.counts() && !sitting.is_again => {
                self.kept.or_ask(&check.name, question, ask).await
            }
            // What costs microseconds is not worth a place in a table.
            _ => ask().await,
        };
        match verdict {
            Verdict::Later(delay) => Verdict::later(
                delay.after,
                format!("check {}: {}", check.name, delay.cause),
            ),
            verdict => verdict,
        }
    }
}

/// The circumstances of a judgement.
#[derive(Debug, Clone, Copy)]
struct Sitting<'a> {
    /// Names the session to backends; without it none is asked.
    session: Option<&'a str>,
    /// The time that signatures and tokens are held against, in seconds since 1970.
    now: u64,
    /// Whether somebody is judged again who was let in: no answer from before counts.
    is_again: bool,
}

/// What came of a request at the gate.
struct Judged {
    verdict: Verdict,
    takes_out: bool,
    telling: Option<Telling>,
}

impl Default for Judged {
    /// Nobody has anything against it.
    fn default() -> Self {
        Self {
            verdict: Verdict::Yes(Grant::default()),
            takes_out: false,
            telling: None,
        }
    }
}

impl Proxy {
    /// Takes other rules from here on. Whom the old ones let in stays.
    pub fn take_rules(&self, rules: Rules) {
        let gate = &self.shared.gate;
        self.shared.sessions.take_limits(rules.limits());
        *gate.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        gate.kept.clear();
    }

    /// Whether a rule may decide about requests for `stream`: without one, everybody may.
    pub fn may_judge(&self, stream: &StreamUrl, action: Action) -> bool {
        self.shared
            .gate
            .read_rules(|rules| rules.may_judge(stream, action))
    }

    /// Whether there are rules at all.
    pub fn has_rules(&self) -> bool {
        !self.shared.gate.read_rules(Rules::is_empty)
    }

    /// Whether a backend of the operator may be asked about a request, so that it wants to know where the client comes from.
    pub fn asks_backends(&self) -> bool {
        self.shared.gate.read_rules(Rules::ask_backends)
    }

    /// Whether every request is let in as it comes: no rule, ban or limit is about anybody, and no drain is over.
    pub fn lets_everybody_in(&self) -> bool {
        let is_limited = self.shared.sessions.tally().is_limited();
        !self.has_rules() && !self.has_bans() && !is_limited && !self.has_drained()
    }

    /// Whether a request may go on, and with which query parameters kept from the origin.
    async fn judged(&self, request: &Request) -> (Verdict, Option<Telling>) {
        if !self.has_rules() {
            return (Verdict::Yes(Grant::default()), None);
        }
        // Boxed: most requests wait for nothing here, and need no room for what others wait for.
        let judging: Pin<Box<dyn Future<Output = Judged> + Send + '_>> =
            Box::pin(self.shared.gate.judge(request));
        let judged = judging.await;
        match judged.verdict {
            Verdict::Yes(grant) if !judged.takes_out => {
                (Verdict::Yes(without_used(grant)), judged.telling)
            }
            verdict => (verdict, judged.telling),
        }
    }

    /// Takes a further request of a session that was let in through the gate, one that shows something else than the first.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub async fn judge_request(&self, request: &Request) -> Result<(), Refusal> {
        let passed = self.pass_gate(request).await;
        passed
            .map(drop)
            .inspect_err(|refusal| self.note_refusal(request, refusal))
    }

    /// The headers in which the client of a request may have shown who it is, where a rule keeps them from origins.
    pub fn headers_to_take_out(&self, request: &Request) -> Vec<UsedHeader> {
        let nothing = Credentials::default();
        let rules = self.shared.gate.rules();
        rules.headers_to_take_out(&question(request, &nothing))
    }

    /// Which rule decides about a request, what each of its checks says, and so what the verdict is. No backend is asked.
    pub async fn explain_access(&self, request: &Request) -> AccessSaid {
        let gate = &self.shared.gate;
        let rules = gate.rules();
        let nothing = Credentials::default();
        let question = question(request, &nothing);
        let Some((number, rule)) = rules.deciding(&question) else {
            return AccessSaid {
                rule: None,
                words: "no rule is about this: everybody may".to_owned(),
                checks: Vec::new(),
                may: true,
                reason: String::new(),
            };
        };
        let mut checks = Vec::new();
        let (mut trial, listed) = rules.trial(rule);
        let listed: Vec<&Check> = listed.collect();
        for check in listed {
            let sitting = Sitting {
                session: None,
                now: unix_time::seconds(),
                is_again: false,
            };
            let verdict = gate.examine(check, &question, &sitting).await;
            trial.hear(verdict.clone());
            let says = match verdict {
                Verdict::Yes(grant) => match grant.who.viewer {
                    Some(viewer) => format!("yes, it is {viewer}"),
                    None => "yes".to_owned(),
                },
                Verdict::No(denial) => format!("no: {}", denial.reason),
                Verdict::Later(_) => "it cannot say now".to_owned(),
            };
            let check = check.to_string();
            checks.push(CheckSaid { check, says });
        }
        let verdict = trial.verdict();
        AccessSaid {
            rule: Some(number),
            words: rules.words_of(rule),
            checks,
            may: matches!(verdict, Verdict::Yes(_)),
            reason: match verdict {
                Verdict::No(denial) => denial.reason,
                Verdict::Later(_) => "that cannot be said now".to_owned(),
                Verdict::Yes(_) => String::new(),
            },
        }
    }

    /// Takes a request through the gate. A client that has failed often hears of it late; a wait holds no thread, and
    /// only a bounded number wait.
    pub(super) async fn pass_gate(
        &self,
        request: &Request,
    ) -> Result<(Grant, Option<Telling>), Refusal> {
        self.may_come(request)?;
        let (verdict, telling) = self.judged(request).await;
        self.settle(request, verdict, telling).await
    }

    /// Whether a request is looked at: no ban is on it, and its client has not failed too often.
    fn may_come(&self, request: &Request) -> Result<(), Refusal> {
        self.refuse_banned(request, &Identity::default())?;
        let tally = self.shared.sessions.tally();
        let nothing = Credentials::default();
        let limited = tally.may_ask(&question(request, &nothing));
        limited.map_err(|exceeded| limited_by(exceeded, &request.stream))
    }

    /// What comes of a verdict.
    async fn settle(
        &self,
        request: &Request,
        verdict: Verdict,
        telling: Option<Telling>,
    ) -> Result<(Grant, Option<Telling>), Refusal> {
        let stream = || request.stream.clone();
        let tally = self.shared.sessions.tally();
        let nothing = Credentials::default();
        match verdict {
            Verdict::Yes(grant) => match self.refuse_banned(request, &grant.who) {
                Ok(()) => Ok((grant, telling)),
                Err(refusal) => {
                    tell_refused(telling, request);
                    Err(refusal)
                }
            },
            Verdict::No(Denial { why, reason, .. }) => {
                tell_refused(telling, request);
                // To show nothing is how many protocols begin.
                let shown = request.credentials.as_deref();
                if why == Why::Unknown && shown.is_some_and(Credentials::shows_something) {
                    tally.failed(&question(request, &nothing));
                    let failures = &self.shared.gate.failures;
                    if let Some((delay, _waits)) = failures.note(request.client.ip()) {
                        sleep(delay).await;
                    }
                }
                Err(Refusal::Denied {
                    stream: stream(),
                    why,
                    reason,
                })
            }
            Verdict::Later(Delay { after, cause }) => {
                tell_refused(telling, request);
                Err(Refusal::NotYet {
                    stream: stream(),
                    after,
                    cause,
                })
            }
        }
    }
}

/// Backends that said yes hear that somebody else said no.
fn tell_refused(telling: Option<Telling>, request: &Request) {
    if let Some(telling) = telling {
        telling.refused(request);
    }
}

/// Ends the session of `row` at `end`, in seconds since 1970, unless it is dropped before.
pub(super) fn term(end: u64, row: &Arc<Row>) -> AbortOnDropHandle<()> {
    let left = Duration::from_secs(end.saturating_sub(unix_time::seconds()));
    let row = Arc::downgrade(row);
    AbortOnDropHandle::new(tokio::spawn(async move {
        sleep(left).await;
        if let Some(row) = row.upgrade() {
            row.end(EndReason::AccessOver);
        }
    }))
}

/// Names a session to backends.
fn session_id() -> Box<str> {
    format!("{:016x}", u64::from_ne_bytes(random::bytes())).into()
}

fn without_used(mut grant: Grant) -> Grant {
    grant.passed = std::mem::take(&mut grant.used);
    grant.headers = Box::default();
    grant
}

/// The target for the origin, without the query parameters that were used up here.
pub fn for_origin<'a>(target: &'a str, used: &[Box<str>]) -> Cow<'a, str> {
    if used.is_empty() {
        return Cow::Borrowed(target);
    }
    let names: Vec<&str> = used.iter().map(|name| &**name).collect();
    sluicegate_core::access::query::strip(target, &names).into()
}

/// When a client may try again that came while all waited for passwords.
const BUSY: Duration = Duration::from_secs(2);
