//! Three proxies as processes on one Redis, and the origins behind them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Session;
use crate::http;
use crate::network::{self, Way};
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::redis_server::RedisServer;
use crate::wait_for;

pub(crate) struct Fleet {
    redis: Mutex<RedisServer>,
    pub(crate) origins: Vec<Arc<Origin>>,
    members: Vec<Member>,
    /// The addresses of each proxy, for readers that must not wait while it restarts.
    places: Places,
    _reporting: DropGuard,
}

/// One proxy and its path to the Redis.
struct Member {
    proxy: Mutex<Proxy>,
    to_redis: Way,
    settings: String,
}

/// The RTMP and system API addresses of each proxy.
type Places = Arc<Mutex<Vec<(SocketAddr, SocketAddr)>>>;

impl Fleet {
    /// Starts everything; returns when each proxy knows each origin. `frames` is as in [`Origin::start`].
    pub(crate) async fn start(origins: usize, frames: Option<Duration>) -> Self {
        // However busy the machine is: this run is not about a store that takes its time.
        let patient = |_| "store.timeout = \"20s\"\n".to_owned();
        Self::build(origins, frames, patient, 1).await
    }

    /// Like `start`, with this timeout for calls to the store.
    pub(crate) async fn with_store_timeout(origins: usize, timeout: Duration) -> Self {
        let timeout = format!("store.timeout = \"{}ms\"\n", timeout.as_millis());
        Self::build(origins, None, |_| timeout.clone(), 1).await
    }

    /// Proxies that share nothing: each has keys of its own in the Redis, and chooses its origins at random.
    pub(crate) async fn strangers(origins: usize) -> Self {
        let own = |proxy| {
            format!(
                "store.redis_key_prefix = \"own-{proxy}\"\nplacement.policy = \"random\"\nstore.timeout = \"20s\"\n"
            )
        };
        Self::build(origins, None, own, PROXIES).await
    }

    /// Builds a fleet whose origins each report to `reports` of the proxies.
    async fn build(
        origins: usize,
        frames: Option<Duration>,
        own: impl Fn(usize) -> String,
        reports: usize,
    ) -> Self {
        network::lay_links();
        let redis = RedisServer::start_for_all();
        let at: SocketAddr = redis
            .url()
            .trim_start_matches("redis://")
            .parse()
            .expect("an address");
        let members: Vec<Member> = (0..PROXIES)
            .map(|proxy| {
                let to_redis = Way::to(at, proxy);
                let settings = format!(
                    "store.type = \"redis\"\nstore.url = \"redis://{}\"\n{SETTINGS}{}",
                    to_redis.address(),
                    own(proxy)
                );
                Member {
                    proxy: Mutex::new(Proxy::start_terse(&settings, network::home(proxy))),
                    to_redis,
                    settings,
                }
            })
            .collect();
        let mut running = Vec::new();
        for number in 0..origins {
            let origin = Origin::start(&format!("origin-{number}"), frames).await;
            running.push(Arc::new(origin));
        }
        let places = members.iter().map(|member| member.place()).collect();
        let places: Places = Arc::new(Mutex::new(places));
        let stop = CancellationToken::new();
        for (number, origin) in running.iter().enumerate() {
            let reporting = report(number, Arc::clone(origin), Arc::clone(&places), reports);
            tokio::spawn(stop.clone().run_until_cancelled_owned(reporting));
        }
        let fleet = Self {
            redis: Mutex::new(redis),
            origins: running,
            members,
            places,
            _reporting: stop.drop_guard(),
        };
        for proxy in 0..PROXIES {
            fleet.wait_for_origins(proxy);
        }
        fleet
    }

    pub(crate) fn redis(&self) -> MutexGuard<'_, RedisServer> {
        self.redis.lock().expect("a test")
    }

    /// The origin with this name; the number of its instance does not matter.
    pub(crate) fn origin(&self, instance: &str) -> &Origin {
        let name = instance.split('/').next().unwrap_or_default();
        let found = self.origins.iter().find(|origin| origin.name == name);
        found.expect("an origin of this fleet")
    }

    /// The claim on `live/…` in the Redis; empty if there is none.
    pub(crate) fn stands(&self, stream: &str) -> String {
        let key = format!("srs-proxy-url:__defaultVhost__/{stream}");
        self.redis().cli(&["get", &key]).trim().to_owned()
    }

    /// Asks a proxy for a stream.
    pub(crate) async fn ask(
        &self,
        proxy: usize,
        action: Action,
        stream: &str,
    ) -> Result<Session, String> {
        let (rtmp, _) = self.places.lock().expect("a test")[proxy];
        Session::ask(rtmp, action, stream).await
    }

    /// Cuts one proxy off from the Redis without telling anybody: what it sends stays in flight.
    pub(crate) fn part(&self, proxy: usize) {
        self.members[proxy].to_redis.part();
    }

    pub(crate) fn mend(&self, proxy: usize) {
        self.members[proxy].to_redis.mend();
    }

    pub(crate) fn proxy(&self, proxy: usize) -> MutexGuard<'_, Proxy> {
        self.members[proxy].proxy.lock().expect("a test")
    }

    /// Restarts a proxy that was killed; returns when it knows the origins.
    pub(crate) fn start_again(&self, proxy: usize) {
        let member = &self.members[proxy];
        *self.proxy(proxy) = Proxy::start_terse(&member.settings, network::home(proxy));
        self.places.lock().expect("a test")[proxy] = member.place();
        self.wait_for_origins(proxy);
    }

    /// Returns when a proxy reports `word` as the state of its store.
    pub(crate) fn wait_for_store(&self, proxy: usize, word: &str) {
        let (_, system) = self.places.lock().expect("a test")[proxy];
        wait_for(&format!("store {word} at proxy {proxy}"), PATIENCE, || {
            let answer = http::request(system, "GET", "/readyz", &[], "");
            let says = format!(r#""store":"{word}""#);
            answer.text().contains(&says).then_some(())
        });
    }

    /// The sum of a family over all proxies, counting the samples that contain `label`.
    pub(crate) fn count(&self, family: &str, label: &str) -> u64 {
        let count = |proxy| self.count_at(proxy, family, label);
        (0..PROXIES).map(count).sum()
    }

    fn count_at(&self, proxy: usize, family: &str, label: &str) -> u64 {
        let (_, system) = self.places.lock().expect("a test")[proxy];
        let text = http::request(system, "GET", "/metrics", &[], "").text();
        text.lines()
            .filter(|line| line.starts_with(family) && line.contains(label))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    }

    fn wait_for_origins(&self, proxy: usize) {
        let wanted = self.origins.iter().filter(|origin| origin.is_running());
        let wanted = wanted.count();
        wait_for("its origins", PATIENCE, || {
            let up = self.count_at(proxy, "sluicegate_origins{", "\"up\"");
            (up >= wanted as u64).then_some(())
        });
    }
}

impl Member {
    fn place(&self) -> (SocketAddr, SocketAddr) {
        let proxy = self.proxy.lock().expect("a test");
        (proxy.rtmp, proxy.system)
    }
}

/// Reports an origin each second to `reports` proxies, always to the same ones while they answer: as through a balancer
/// that distributes by address, unevenly. The other proxies hear of it only through the store.
async fn report(number: usize, origin: Arc<Origin>, places: Places, reports: usize) {
    loop {
        let mut told = 0;
        for turn in 0..PROXIES {
            if !origin.is_running() || told == reports {
                break;
            }
            let (_, system) = places.lock().expect("a test")[(number.min(1) + turn) % PROXIES];
            let body = origin.registration();
            told += usize::from(timeout(REPORT, post(system, &body)).await == Ok(true));
        }
        tokio::time::sleep(REPORT).await;
    }
}

async fn post(system: SocketAddr, body: &str) -> bool {
    let Ok(mut socket) = TcpStream::connect(system).await else {
        return false;
    };
    let length = body.len();
    let request = format!(
        "POST /api/v1/srs/register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    if socket.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer).await;
    read.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

pub(crate) const PROXIES: usize = 3;
/// All clients of a run have one address. Calls may take longer than by default: the machine is busy with the run
/// itself, and an origin or a store that is slow for that reason is not gone.
const SETTINGS: &str = "placement.claims_per_source = 100000\n\
                        session.dial_timeout = \"5s\"\nsession.setup_timeout = \"15s\"\n";
const REPORT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
