//! SRT: callers are placed by their stream id, and packets pass as they are.
//!
//! The [table of flows](flows) speaks the handshake with both sides. Here it is given what it asks for: a caller is a
//! session like any other, and a dial is an origin that is asked to agree. An origin that stays silent is a dial that
//! failed, so the next candidate is tried. A caller whose origin is lost, or whose stream goes elsewhere, is held: another
//! origin is dialled in its place.

mod held;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::dialect::Dialect;
use sluicegate_core::flow::{FlowId, LinkId};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::srt::cookie::Cookies;
use sluicegate_core::srt::flows::{self, End, Event, Failure, Flows, Limits, Traffic};
use sluicegate_core::srt::packet::Rejection;
use sluicegate_core::stream::{Protocol, SrtStreamId};
use tokio::sync::{oneshot, watch};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use crate::config;
use crate::net::datagram::{Driver, Entries, Handle, Links, Shard, handle};
use crate::net::workers::Workers;
use crate::origin::dial::Dialer;
use crate::proxy::{Attempt, DialError, Proxy, Refusal, Request, Session, Why};
use crate::sessions::{Direction, EndReason, Row};
use crate::stream_names::masked;

/// Serves SRT.
#[derive(Debug, Clone)]
pub struct Srt {
    /// Its section of the settings.
    pub settings: config::Srt,
    /// Maximum concurrent sessions of the proxy.
    pub most: usize,
    /// How origins are reached.
    pub dialer: Arc<Dialer>,
}

impl Srt {
    /// Serves `entries`, one shard on each worker, until `stop` and until the flows have ended; `tasks` keeps count
    /// of the shards and of the sessions.
    pub fn serve(
        self,
        entries: Vec<Entries>,
        workers: &Workers,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        proxy: &Proxy,
    ) {
        for address in entries.first().into_iter().flat_map(Entries::addresses) {
            info!(listener = NAME, %address, "listening");
        }
        let mut secret = [0; 32];
        if let Err(error) = getrandom::fill(&mut secret) {
            error!(listener = NAME, %error, "not served: the system has no random numbers");
            return;
        }
        let cookies = Cookies::new(secret, Instant::now());
        let limits = Limits {
            flows: self.most.min(flows::MOST_FLOWS),
            idle: self.settings.idle,
            per_source: self.settings.calls_per_source,
            default_stream_id: self.settings.default_streamid,
        };
        let addresses = entries.first().into_iter().flat_map(Entries::addresses);
        let ports: Vec<u16> = addresses.map(|address| address.port()).collect();
        for (index, entries) in entries.into_iter().enumerate() {
            let (to_shard, commands) = handle();
            let seed = getrandom::u64().unwrap_or_default();
            let driver = Table {
                flows: Flows::new(limits.clone(), cookies.clone(), seed)
                    .of_clients(Arc::clone(proxy.dialects()), ports.clone()),
                joined: BTreeMap::new(),
                origins: BTreeMap::new(),
                own_links: Vec::new(),
                to_shard,
                dialer: Arc::clone(&self.dialer),
                proxy: proxy.clone(),
                tasks: tasks.clone(),
                tidy_at: Instant::now() + TIDY_EVERY,
            };
            let (metrics, stop) = (Arc::clone(proxy.metrics()), stop.clone());
            workers.run_at(index, tasks, async move {
                let served = Shard::serve(NAME, entries, commands, driver, &metrics, stop);
                if let Err(error) = served.await {
                    error!(listener = NAME, %error, "a shard cannot be served");
                }
            });
        }
    }
}

/// One shard's table, and what it needs to answer what the table asks.
struct Table {
    flows: Flows,
    joined: BTreeMap<FlowId, Open>,
    /// One link to each origin serves all flows there.
    origins: BTreeMap<SocketAddr, LinkId>,
    /// The links of flows that need one of their own.
    own_links: Vec<LinkId>,
    to_shard: Handle<Command>,
    dialer: Arc<Dialer>,
    proxy: Proxy,
    tasks: TaskTracker,
    tidy_at: Instant,
}

/// A flow and the task of its session.
struct Open {
    /// Its row, once it is joined.
    row: Option<Arc<Row>>,
    /// Who waits for an origin's answer.
    answer: Option<oneshot::Sender<Result<(), DialError>>>,
    /// Who waits for its end.
    closed: oneshot::Sender<EndReason>,
    /// What its session hears of its leg.
    leg: watch::Sender<Leg>,
    /// It may outlive its origin.
    may_hold: bool,
}

/// How the leg of a flow is, for its session.
#[derive(Debug, Clone, Copy, Default)]
struct Leg {
    /// Why it has no origin, if it has none.
    lost: Option<LegEnd>,
    /// How often media began to pass at another origin.
    resumed: u32,
    /// For how long no media passed before it did so last.
    gap: Duration,
    /// How often an origin that was to have it left before that.
    left: u32,
}

/// What a session's task tells the shard.
enum Command {
    /// Ask this origin.
    Attempt {
        flow: FlowId,
        origin: SocketAddr,
        /// In place of the caller's own.
        stream_id: Option<Box<str>>,
        answer: oneshot::Sender<Result<(), DialError>>,
    },
    /// The origin that answered is the one.
    Join {
        flow: FlowId,
        row: Arc<Row>,
        /// The flow may outlive it.
        may_hold: bool,
        /// Hears that it is done.
        done: oneshot::Sender<()>,
    },
    /// Nobody takes it.
    Reject { flow: FlowId, code: Rejection },
    /// The origin that was called for a joined flow is not to have it.
    Abandon { flow: FlowId },
    /// The session was ended.
    Close { flow: FlowId },
    /// Whether the origin that is asked has shown that it lives.
    Lives {
        flow: FlowId,
        answer: oneshot::Sender<bool>,
    },
}

impl Driver for Table {
    type Flows = Flows;
    type Command = Command;
    /// A receiver shows nothing before its latency has passed, which is 120 ms if nobody chose otherwise.
    const REST: Duration = Duration::from_millis(2);

    fn flows(&mut self) -> &mut Flows {
        &mut self.flows
    }

    fn event(&mut self, _: Instant, event: Event, _: &mut Links) {
        match event {
            Event::Asked {
                flow,
                client,
                dialect,
                asked,
                bond,
            } => self.open(flow, client, dialect, (asked, bond)),
            Event::Answered { flow } => self.answer(flow, Ok(())),
            Event::Back { flow } => self.tell(flow, |leg| leg.lost = None),
            Event::Lost { flow, end } => self.tell(flow, |leg| leg.lost = Some(end)),
            Event::Resumed { flow, dropped, gap } => {
                let open = self.joined.get(&flow);
                if let Some(row) = open.and_then(|open| open.row.as_ref()) {
                    row.goes_on(dropped.into());
                }
                self.tell(flow, |leg| {
                    leg.lost = None;
                    leg.resumed += 1;
                    leg.gap = gap;
                });
            }
            Event::Failed { flow, why } => {
                if why == Failure::Left {
                    self.tell(flow, |leg| leg.left += 1);
                }
                self.answer(flow, Err(held::failed(why)));
            }
            Event::Unasked {
                client,
                code,
                named,
                why,
            } => info!(
                %client,
                id = masked(&named),
                code = code.0.saturating_sub(1000),
                rule = why,
                "refused before anything was asked for"
            ),
            Event::Rejected { flow, code } => {
                // As libsrt prints it.
                let is_joined = self
                    .joined
                    .get(&flow)
                    .is_some_and(|open| open.row.is_some());
                let why = format!(
                    "its origin rejected it with SRT code {}",
                    code.0.saturating_sub(1000)
                );
                let no = match code {
                    // An origin that had the caller may not have noticed that it left. A caller that is not joined yet has
                    // heard of the rejection already.
                    Rejection::CONFLICT if is_joined => DialError::Busy(why),
                    Rejection::CONFLICT => DialError::Taken(why),
                    _ => DialError::Refused(why),
                };
                self.answer(flow, Err(no));
            }
            Event::Closed { flow, end, traffic } => {
                if let Some(open) = self.joined.remove(&flow) {
                    if let Some(row) = &open.row {
                        count(row, traffic);
                    }
                    let _ = open.closed.send(reason(end));
                }
            }
        }
    }

    fn command(&mut self, now: Instant, command: Command, links: &mut Links) {
        match command {
            Command::Attempt {
                flow,
                origin,
                stream_id,
                answer,
            } => {
                let link = self.link(flow, origin, links);
                let Some(open) = self.joined.get_mut(&flow) else {
                    return;
                };
                match link {
                    Ok(link) => {
                        // What was refused to flows before must not be held against a server that came since.
                        links.forget_refusal(link);
                        open.answer = Some(answer);
                        self.flows.attempt_as(now, flow, link, origin, stream_id);
                    }
                    Err(error) => {
                        let _ = answer.send(Err(DialError::of_socket(&error)));
                    }
                }
            }
            Command::Join {
                flow,
                row,
                may_hold,
                done,
            } => {
                if let Some(open) = self.joined.get_mut(&flow) {
                    open.row = Some(row);
                    open.may_hold = may_hold;
                    open.leg.send_if_modified(|leg| leg.lost.take().is_some());
                    match may_hold {
                        true => self.flows.join_and_keep(now, flow),
                        false => self.flows.join(now, flow),
                    }
                }
                let _ = done.send(());
            }
            Command::Reject { flow, code } => {
                self.flows.reject(now, flow, code);
                self.joined.remove(&flow);
            }
            Command::Abandon { flow } => self.flows.abandon(flow),
            Command::Close { flow } => self.flows.close(flow),
            Command::Lives { flow, answer } => {
                let _ = answer.send(self.flows.has_heard(flow));
            }
        }
    }

    fn settle(&mut self, now: Instant, links: &mut Links) {
        let (joined, mut begin) = (&self.joined, Vec::new());
        self.flows.traffic(|flow, traffic| {
            let open = joined.get(&flow);
            if let Some((open, row)) = open.and_then(|open| Some((open, open.row.as_ref()?))) {
                count(row, traffic);
                if open.may_hold && traffic.media && !row.may_be_held() {
                    begin.push((flow, Arc::clone(row)));
                }
            }
        });
        for (flow, row) in begin {
            if self.flows.may_go_on(flow) {
                row.allow_hold();
            }
        }
        if now >= self.tidy_at {
            self.tidy_at = now + TIDY_EVERY;
            let flows = &self.flows;
            let mut used = |link: LinkId| {
                let used = flows.uses(link);
                if !used {
                    links.close(link);
                }
                used
            };
            self.origins.retain(|_, link| used(*link));
            self.own_links.retain(|link| used(*link));
        }
    }

    fn stop(&mut self, _: Instant) {
        self.flows.stop();
    }

    fn is_empty(&self) -> bool {
        self.flows.open() == 0
    }
}

impl Table {
    /// A link to `origin` that the flow may use.
    fn link(&mut self, flow: FlowId, origin: SocketAddr, links: &mut Links) -> io::Result<LinkId> {
        if self.flows.needs_own_link(flow) {
            let link = links.open(origin)?;
            self.own_links.push(link);
            return Ok(link);
        }
        if let Some(link) = self.origins.get(&origin) {
            return Ok(*link);
        }
        let link = links.open(origin)?;
        self.origins.insert(origin, link);
        Ok(link)
    }

    /// Starts the session of a caller.
    fn open(
        &mut self,
        flow: FlowId,
        client: SocketAddr,
        dialect: Dialect,
        (asked, bond): (SrtStreamId, Option<u32>),
    ) {
        let (closed, over) = oneshot::channel();
        let (leg, heard) = watch::channel(Leg::default());
        let open = Open {
            row: None,
            answer: None,
            closed,
            leg,
            may_hold: false,
        };
        self.joined.insert(flow, open);
        let caller = FlowSession {
            flow,
            dialect,
            to_shard: self.to_shard.clone(),
            dialer: Arc::clone(&self.dialer),
            proxy: self.proxy.clone(),
        };
        let request = Request {
            stream: asked.stream,
            action: asked.action,
            protocol: Protocol::Srt,
            client: client.into(),
            by_way_of: None,
            bond,
            credentials: asked.credentials,
        };
        self.tasks.spawn(caller.serve(request, over, heard));
    }

    fn tell(&self, flow: FlowId, change: impl FnOnce(&mut Leg)) {
        if let Some(open) = self.joined.get(&flow) {
            open.leg.send_modify(change);
        }
    }

    fn answer(&mut self, flow: FlowId, result: Result<(), DialError>) {
        let open = self.joined.get_mut(&flow);
        if let Some(answer) = open.and_then(|open| open.answer.take()) {
            let _ = answer.send(result);
        }
    }
}

/// The session of one flow.
struct FlowSession {
    flow: FlowId,
    dialect: Dialect,
    to_shard: Handle<Command>,
    dialer: Arc<Dialer>,
    proxy: Proxy,
}

impl FlowSession {
    async fn serve(
        self,
        request: Request,
        mut over: oneshot::Receiver<EndReason>,
        leg: watch::Receiver<Leg>,
    ) {
        // Set-up takes kilobytes for milliseconds, and the session lasts for hours: it does not keep that room.
        let joined = Box::pin(self.set_up(request, &mut over)).await;
        if let Some(session) = joined {
            let reason = match session.hold_either_for() {
                Some(hold) => self.attend(&session, hold, over, leg).await,
                None => self.wait(&session, over).await,
            };
            session.finish(reason);
        }
    }

    /// Joins the caller to an origin; `None` once it was told why not, or is gone.
    async fn set_up(
        &self,
        request: Request,
        over: &mut oneshot::Receiver<EndReason>,
    ) -> Option<Session> {
        let opened = tokio::select! {
            opened = self.proxy.open(request) => opened,
            _ = &mut *over => return None,
        };
        let session = match opened {
            Ok(session) => session.within(SETUP),
            Err(refusal) => {
                self.reject(&refusal).await;
                return None;
            }
        };
        let joined = tokio::select! {
            joined = session.dial(|attempt| self.ask(&session, attempt)) => joined,
            end = over => {
                session.finish(end.unwrap_or(EndReason::ClientClosed));
                return None;
            }
        };
        if let Err(refusal) = joined {
            self.reject(&refusal).await;
            return None;
        }
        session.answered();
        self.join(&session).await;
        Some(session)
    }

    /// The origin that has answered is the one. Returns when the flow is joined to it, so that what its leg says from there on
    /// is about this one.
    async fn join(&self, session: &Session) {
        let (done, is_done) = oneshot::channel();
        let join = Command::Join {
            flow: self.flow,
            row: Arc::clone(session.row()),
            may_hold: session.hold_either_for().is_some(),
            done,
        };
        self.to_shard.send(join).await;
        let _ = is_done.await;
    }

    /// Waits for the end: the flow's, or one that somebody else decided on.
    async fn wait(&self, session: &Session, mut over: oneshot::Receiver<EndReason>) -> EndReason {
        let flow = self.flow;
        tokio::select! {
            end = &mut over => end.unwrap_or(EndReason::Crashed),
            reason = session.row().ended() => {
                self.to_shard.send(Command::Close { flow }).await;
                // The last bytes are counted by then.
                let _ = over.await;
                reason
            }
        }
    }

    /// Asks one origin, until it answers or its time is over. One that has shown that it lives may think about the call: no
    /// other would do that sooner.
    async fn ask(&self, session: &Session, attempt: Attempt) -> Result<(), DialError> {
        let request = &session.row().request;
        let shown = request.credentials.as_deref();
        let stream_id = match session.taken_out() {
            [] if attempt.naming.is_of(self.dialect) => None,
            used => {
                let left = shown.map(|shown| shown.without(used));
                let (stream, action) = (&request.stream, request.action);
                let id = attempt.naming.srt(stream, action, left.as_ref())?;
                Some(Box::from(id))
            }
        };
        let deadline = Instant::now() + attempt.time_limit.min(TIME_LIMIT);
        let words = || format!("{}: no answer in time", attempt.target);
        let silent = || DialError::Silent(words());
        let addresses = timeout_at(deadline.into(), self.dialer.datagrams(&attempt)).await;
        let addresses = addresses.map_err(|_| silent())??;
        let mut failure = silent();
        for (index, origin) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let mut asked = pin!(self.ask_at(*origin, stream_id.clone()));
            let mut told = timeout(share, &mut asked).await.ok();
            if told.is_none() && self.lives().await {
                let thinks = || DialError::Slow(words());
                let answered = timeout(session.patience(), asked).await;
                told = Some(answered.unwrap_or_else(|_| Err(thinks())));
            }
            match told.unwrap_or_else(|| Err(silent())) {
                Err(error @ (DialError::Failed(_) | DialError::Silent(_))) => failure = error,
                told => return told,
            }
        }
        Err(failure)
    }

    /// Whether the origin that is asked now has shown that it lives.
    async fn lives(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let flow = self.flow;
        self.to_shard.send(Command::Lives { flow, answer }).await;
        answered.await.unwrap_or(false)
    }

    /// Asks an origin at one of its addresses, for as long as the caller waits.
    async fn ask_at(
        &self,
        origin: SocketAddr,
        stream_id: Option<Box<str>>,
    ) -> Result<(), DialError> {
        let (answer, answered) = oneshot::channel();
        let flow = self.flow;
        let command = Command::Attempt {
            flow,
            origin,
            stream_id,
            answer,
        };
        self.to_shard.send(command).await;
        let gone = || DialError::Failed("it was given up".to_owned());
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn reject(&self, refusal: &Refusal) {
        let (flow, code) = (self.flow, code(refusal));
        self.to_shard.send(Command::Reject { flow, code }).await;
    }
}

/// What a caller is told. What an origin said it was told already.
const fn code(refusal: &Refusal) -> Rejection {
    match refusal {
        Refusal::AllClosed { .. }
        | Refusal::AllFailed { .. }
        | Refusal::Gone { .. }
        | Refusal::TooSlow { .. } => Rejection::GATEWAY,
        Refusal::Draining
        | Refusal::Ended(_)
        | Refusal::NoOrigin { .. }
        | Refusal::NotYet { .. } => Rejection::DOWN,
        Refusal::Exhausted { .. }
        | Refusal::Full
        | Refusal::Limited { .. }
        | Refusal::NoRoom { .. }
        | Refusal::TooManyClaims => Rejection::OVERLOAD,
        Refusal::Denied {
            why: Why::Unknown, ..
        } => Rejection::UNAUTHORIZED,
        Refusal::CannotAsk { .. } => Rejection::BAD_REQUEST,
        Refusal::Denied { .. } => Rejection::FORBIDDEN,
        Refusal::Published { .. } => Rejection::CONFLICT,
        Refusal::HungUp { .. } | Refusal::Redirected { .. } | Refusal::Refused { .. } => {
            Rejection::INTERNAL
        }
        Refusal::WrongService { .. } => Rejection::NOT_FOUND,
    }
}

const fn reason(end: End) -> EndReason {
    match end {
        End::Asked => EndReason::Drained,
        End::ClientClosed | End::ClientIdle => EndReason::ClientClosed,
        End::OriginClosed | End::OriginIdle => EndReason::OriginClosed,
    }
}

fn count(row: &Row, traffic: Traffic) {
    if traffic.to_client > 0 {
        row.count(Direction::ToClient, traffic.to_client as usize);
    }
    if traffic.to_origin > 0 {
        row.count(Direction::ToOrigin, traffic.to_origin as usize);
    }
    if traffic.media {
        row.media_flows();
    }
}

const NAME: &str = "srt";
/// All candidates together, up to one that lives: a libsrt caller gives up after 3 s if nobody chose otherwise, and its first
/// packets took a part of them.
const SETUP: Duration = Duration::from_millis(2400);
/// How long a candidate may take to show that it lives: it is asked four times in this, and a third one still has its time.
const TIME_LIMIT: Duration = Duration::from_millis(800);
/// How often links that no flow needs are closed.
const TIDY_EVERY: Duration = Duration::from_secs(10);
