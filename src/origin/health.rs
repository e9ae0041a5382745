//! Asks origins how they are, when the [rules](sluicegate_core::fleet::health) say that it is time or an operator does, and
//! passes on what they say. Which answer means what is decided there; here is the asking.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::StatusCode;
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::fleet::inventory::health_page;
use sluicegate_core::fleet::origin::{Origin, OriginId, Target};
use sluicegate_core::stream::Service;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::{Credentials, Health, ProbeKind, Probing};
use crate::origin::connect::Connector;
use crate::origin::fetch::FetchError;
use crate::origin::probe::{self, ProbeError};
use crate::registry::Registry;

/// Asks the origins of a registry how they are; a cheap clone.
#[derive(Debug, Clone)]
pub struct Prober {
    pub(super) registry: Arc<Registry>,
    connector: Connector,
    credentials: Arc<Credentials>,
    settings: Arc<Health>,
    /// The origins that are asked because somebody wants to know now.
    asked_now: Arc<Mutex<BTreeSet<OriginId>>>,
}

/// What a service of an origin said when all of them were asked.
#[derive(Debug)]
pub struct ServiceAnswer {
    /// The service.
    pub service: Service,
    /// Where it was asked.
    pub target: Target,
    /// Whether it answers, or why not.
    pub answer: Result<(), ProbeError>,
    /// How long that took, at most a second and a half.
    pub took: Duration,
    /// Whether the origin is judged by it.
    pub judged: bool,
}

/// Why an origin is not asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// There are enough whose answers are awaited.
    #[error("{MOST_ASKED_NOW} origins are being probed; try again in a second")]
    Busy,
    /// Its answers are awaited.
    #[error("the origin is being probed already")]
    UnderWay,
    /// Nothing is known of it.
    #[error("no origin stands under that id; GET /api/v1/origins lists them")]
    Unknown,
}

/// Probes origins as the settings say, for ever.
pub async fn run(prober: Prober) {
    let settings = Arc::clone(&prober.settings);
    if settings.probe == Probing::Off {
        return;
    }
    let turns = Arc::new(Semaphore::new(settings.probes_at_once));
    let reporting = settings.probe == Probing::Always;
    let mut looks = tokio::time::interval(LOOK);
    let mut doubts = false;
    let mut asked: JoinSet<OriginId> = JoinSet::new();
    let mut under_way = BTreeSet::new();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            Some(done) = asked.join_next() => {
                if let Ok(id) = done {
                    under_way.remove(&id);
                }
                continue;
            }
        }
        doubts = prober.note_doubt(doubts);
        let due = prober
            .registry
            .probes_due(settings.probe_interval, reporting);
        for id in due {
            if !under_way.insert(id.clone()) {
                continue;
            }
            let (prober, turns) = (prober.clone(), Arc::clone(&turns));
            asked.spawn(async move {
                // Origins that were found together would be asked together for ever.
                tokio::time::sleep(jitter(prober.settings.probe_interval)).await;
                let _turn = turns.acquire().await;
                prober.ask(&id).await;
                id
            });
        }
    }
}

impl Prober {
    /// Asks the origins of `registry` as `settings` say, over connections that `connector` opens, with the `credentials` that
    /// they want for their APIs.
    pub fn new(
        registry: Arc<Registry>,
        connector: Connector,
        credentials: Credentials,
        settings: Health,
    ) -> Self {
        Self {
            registry,
            connector,
            credentials: Arc::new(credentials),
            settings: Arc::new(settings),
            asked_now: Arc::default(),
        }
    }

    /// The origins that are asked.
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Before an origin is taken that has the server id of others at other addresses: notes those of them that nobody
    /// answers for. Such a one is the same origin, which has moved, as one in a container does when it starts again.
    pub async fn look_at_namesakes(&self, origin: &Origin) {
        for id in self.registry.namesakes_elsewhere(origin) {
            let by_srt = || Some((Service::Srt, self.target(&id, Service::Srt)?));
            let question = self.question(ProbeKind::Tcp, &id).or_else(by_srt);
            let Some((service, target)) = question else {
                continue;
            };
            if let Err(error) = probe::accepts(&self.connector, &target, service).await {
                info!(origin = %id, %target, %error, now = %origin.ip, "the origin is not where it was");
                self.registry.note_absent(&id);
            }
        }
    }

    /// Asks every service of an origin at once, whether or not it is time, and notes what the one says by which the origin is
    /// judged. That counts as any probe does.
    ///
    /// # Errors
    /// [`NotAsked`]: it is not known, or as many are asked as may be at once.
    pub async fn ask_now(&self, id: &OriginId) -> Result<Vec<ServiceAnswer>, NotAsked> {
        let _turn = self.turn(id)?;
        let judged = self.question(self.settings.probe_with, id);
        let services = Service::ALL.into_iter().filter_map(|service| {
            let target = self.target(id, service)?;
            let judged = judged.as_ref().filter(|(judged, _)| *judged == service);
            Some((service, target, judged.is_some()))
        });
        let answers = services.map(|(service, target, judged)| async move {
            let kind = match judged {
                true => self.settings.probe_with,
                // Whatever tells a server from a port that something holds open.
                false => ProbeKind::Rtmp,
            };
            let begun = Instant::now();
            let answer = self.ask_service(kind, id, service, &target).await;
            ServiceAnswer {
                service,
                target,
                answer,
                took: begun.elapsed(),
                judged,
            }
        });
        let answers = join_all(answers).await;
        for said in answers.iter().filter(|said| said.judged) {
            self.note(id, &said.target, &said.answer);
        }
        Ok(answers)
    }

    /// The place of an origin among those that are asked now, until it is dropped.
    fn turn(&self, id: &OriginId) -> Result<AskedNow, NotAsked> {
        if self.registry.member(id).is_none() {
            return Err(NotAsked::Unknown);
        }
        let mut asked = asked_now(&self.asked_now);
        if asked.contains(id) {
            return Err(NotAsked::UnderWay);
        }
        if asked.len() >= MOST_ASKED_NOW {
            return Err(NotAsked::Busy);
        }
        asked.insert(id.clone());
        Ok(AskedNow {
            all: Arc::clone(&self.asked_now),
            id: id.clone(),
        })
    }

    /// Asks one origin, and notes what it says.
    async fn ask(&self, id: &OriginId) {
        let kind = self.settings.probe_with;
        if let Some((service, target)) = self.question(kind, id) {
            let said = self.ask_service(kind, id, service, &target).await;
            self.note(id, &target, &said);
        }
    }

    /// Asks a service of an origin as it is asked where probes are of this `kind`.
    async fn ask_service(
        &self,
        kind: ProbeKind,
        id: &OriginId,
        service: Service,
        target: &Target,
    ) -> Result<(), ProbeError> {
        let connector = &self.connector;
        match (service, kind) {
            (Service::Http | Service::Api, ProbeKind::Http) => match self.page(id, service) {
                Some(page) => self.show(id, target, page).await,
                None => probe::accepts(connector, target, service).await,
            },
            (Service::Rtmp | Service::Rtsp, ProbeKind::Rtmp) => {
                probe::answers(connector, target, service).await
            }
            _ => probe::accepts(connector, target, service).await,
        }
    }

    /// Notes what the service said by which an origin is judged.
    fn note(&self, id: &OriginId, target: &Target, said: &Result<(), ProbeError>) {
        match said {
            Ok(()) => {
                if self.registry.probed(id, Ok(())) {
                    info!(origin = %id, %target, "the origin answers again");
                }
            }
            Err(error) => {
                let why = format!("{target}: {error}");
                if self.registry.probed(id, Err((fault(error), &why))) {
                    warn!(origin = %id, %target, %error, "the origin does not answer");
                }
            }
        }
    }

    /// Whether an origin shows a page, and what it says that it is. Other servers than SRS are not asked for what operators
    /// chose, but for what needs credentials: that they want some is an answer, too.
    async fn show(&self, id: &OriginId, target: &Target, page: &str) -> Result<(), ProbeError> {
        let member = self.registry.member(id);
        let names = member.as_ref().map(|member| {
            let origin = &member.origin;
            [id.as_str(), &origin.server, origin.label()]
        });
        let credential = names.and_then(|names| self.credentials.of(names));
        let shown = probe::shows(&self.connector, target, page, credential).await;
        if let Some(software) = shown.software {
            self.registry.note_software(id, software);
        }
        let is_srs =
            member.is_none_or(|member| member.origin.attributes.naming.dialect == Dialect::Srs);
        match shown.answer {
            Err(ProbeError::Http(FetchError::Status(StatusCode::UNAUTHORIZED))) if !is_srs => {
                Ok(())
            }
            answer => answer,
        }
    }

    /// The page of an origin that shows its health: `health.probe_path` is meant for SRS, and other servers have their own.
    fn page(&self, id: &OriginId, service: Service) -> Option<&str> {
        let member = self.registry.member(id);
        let dialect = member.map(|member| member.origin.attributes.naming.dialect);
        match dialect.unwrap_or_default() {
            Dialect::Srs => Some(&self.settings.probe_path),
            dialect => health_page(dialect).filter(|_| service == Service::Api),
        }
    }

    /// Whether an origin answers anything at all: a handshake if it has one, else a request for its first page. A no is an
    /// answer too.
    pub(super) async fn speaks(&self, id: &OriginId) -> bool {
        let said = self.answer(id).await;
        said.is_none_or(|said| said.map_or_else(|fault| fault != Fault::Silent, |()| true))
    }

    /// Whether an origin shows that it lives: a refused connection does not.
    pub(crate) async fn lives(&self, id: &OriginId) -> bool {
        self.answer(id).await.is_some_and(|said| said.is_ok())
    }

    /// What an origin answers to a question that costs it nothing; `None` where it has no service that can be asked.
    async fn answer(&self, id: &OriginId) -> Option<Result<(), Fault>> {
        let connector = &self.connector;
        let said = match self.question(ProbeKind::Rtmp, id)? {
            (service @ (Service::Rtmp | Service::Rtsp), target) => {
                probe::answers(connector, &target, service).await
            }
            (_, target) => probe::answers_http(connector, &target, "/").await,
        };
        Some(said.map_err(|error| fault(&error)))
    }

    /// Which service of an origin is asked, and where: the one the question is about, else any that can be connected to.
    fn question(&self, wanted: ProbeKind, id: &OriginId) -> Option<(Service, Target)> {
        let first: &[Service] = match wanted {
            ProbeKind::Http => &[Service::Api, Service::Http],
            ProbeKind::Rtmp | ProbeKind::Tcp => &[Service::Rtmp],
        };
        let rest = [Service::Rtmp, Service::Rtsp, Service::Http, Service::Api];
        let mut services = first.iter().chain(&rest);
        services.find_map(|service| Some((*service, self.target(id, *service)?)))
    }

    /// Where a service of an origin is asked.
    fn target(&self, id: &OriginId, service: Service) -> Option<Target> {
        let member = self.registry.member(id)?;
        match service {
            Service::Api => member.origin.target_for_lists(),
            service => member.origin.target(service),
        }
    }

    /// Says once when this proxy begins to doubt itself, and once when that is over.
    fn note_doubt(&self, before: bool) -> bool {
        let now = self.registry.suspects_itself();
        if now && !before {
            warn!(
                "most origins fell silent at once: this proxy suspects its own network and keeps the last good set \
                 (health.panic)"
            );
        } else if before && !now {
            info!("most origins are heard again");
        }
        now
    }
}

/// The place of an origin among those that are asked now.
#[derive(Debug)]
struct AskedNow {
    all: Arc<Mutex<BTreeSet<OriginId>>>,
    id: OriginId,
}

impl Drop for AskedNow {
    fn drop(&mut self) {
        asked_now(&self.all).remove(&self.id);
    }
}

fn asked_now(all: &Mutex<BTreeSet<OriginId>>) -> MutexGuard<'_, BTreeSet<OriginId>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A word is a word, however rude; only its lack may be our own fault.
fn fault(error: &ProbeError) -> Fault {
    match error {
        ProbeError::Silent => Fault::Silent,
        ProbeError::Unreachable(error) => match error.kind() {
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Fault::Silent,
            _ => Fault::Refused,
        },
        ProbeError::Closed => Fault::Closed,
        ProbeError::Datagrams(_)
        | ProbeError::Http(_)
        | ProbeError::NotRtmp(_)
        | ProbeError::NotRtsp
        | ProbeError::NotSrt => Fault::Refused,
    }
}

/// Up to a tenth of `every`.
fn jitter(every: Duration) -> Duration {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    every
        .mul_f64(f64::from(byte[0]) / 2560.0)
        .min(LONGEST_JITTER)
}

/// Origins that are asked at once because somebody wants to know now.
const MOST_ASKED_NOW: usize = 16;
/// How often it is looked who is due.
const LOOK: Duration = Duration::from_millis(250);
/// However seldom origins are asked, one that is out comes back within its back-off and this.
const LONGEST_JITTER: Duration = Duration::from_millis(500);
