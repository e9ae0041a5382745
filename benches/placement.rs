//! Measures what a placement costs: `scripts/bench place`. With a million known streams and a thousand registered
//! origins, known streams and new ones are requested, each on one thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::config::{Credentials, Environment, Settings};
use sluicegate::lookup::Lookup;
use sluicegate::metrics::Metrics;
use sluicegate::origin::connect::Connector;
use sluicegate::origin::health::Prober;
use sluicegate::placer::Placer;
use sluicegate::proxy::{Parts, Proxy, Request, Timing};
use sluicegate::registry::Registry;
use sluicegate::sessions::{Limits, Sessions};
use sluicegate_core::fleet::Fleet;
use sluicegate_core::fleet::health::Rules;
use sluicegate_core::fleet::origin::{AddressRules, parse_registration};
use sluicegate_core::place::policy::{NAMES, by_name};
use sluicegate_core::place::rule::HoldRules;
use sluicegate_core::place::shares::ClaimLimits;
use sluicegate_core::place::takeover::Takeover;
use sluicegate_core::stream::{Action, Protocol, StreamUrl, VhostRule};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    println!("{ORIGINS} origins, {STREAMS} known streams; median and 99th of a hundred");
    for policy in NAMES {
        runtime.block_on(measure(policy));
    }
}

async fn measure(policy: &str) {
    let proxy = proxy(policy);
    // With few origins a million decisions take seconds; the rest of the fleet is added when they are made.
    (0..FIRST).for_each(|number| register(&proxy, number));
    for number in 0..STREAMS {
        let request = Request {
            stream: stream("known", number),
            action: Action::Publish,
            protocol: Protocol::Rtmp,
            client: std::net::SocketAddr::from(([192, 0, 2, 1], 5000)).into(),
            by_way_of: None,
            bond: None,
            credentials: None,
        };
        let session = proxy.open(request).await.expect("room");
        let joined = session.dial(|_| async { Ok(()) }).await;
        joined.expect("an origin");
    }
    (FIRST..ORIGINS).for_each(|number| register(&proxy, number));
    // Known streams are timed by the thousand, because reading the clock costs as much as one of them.
    let known = timed(
        1000,
        |number| {
            let stream = stream("known", number * 7919 % STREAMS);
            move |proxy: &Proxy| {
                proxy
                    .origin_of(&stream, Protocol::Rtmp, Action::Play)
                    .is_ok()
            }
        },
        &proxy,
    );
    let ranked = timed(
        20,
        |number| {
            let stream = stream("new", number);
            move |proxy: &Proxy| {
                proxy
                    .origin_of(&stream, Protocol::Rtmp, Action::Play)
                    .is_ok()
            }
        },
        &proxy,
    );
    println!(
        "{policy:>14}   known {:>6.2} us ({:.2})   ranked {:>6.1} us ({:.1})   ratio {:.0}",
        known.0,
        known.1,
        ranked.0,
        ranked.1,
        ranked.0 / known.0
    );
}

/// Median and 99th percentile, in microseconds per call, of a hundred rounds of `calls` each.
fn timed<F: Fn(&Proxy) -> bool>(
    calls: usize,
    ask: impl Fn(usize) -> F,
    proxy: &Proxy,
) -> (f64, f64) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let asks: Vec<F> = (0..calls).map(|call| ask(round * calls + call)).collect();
            let began = Instant::now();
            let answered = asks.iter().filter(|ask| ask(proxy)).count();
            assert_eq!(answered, calls);
            began.elapsed().as_secs_f64() * 1e6 / calls as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[ROUNDS / 2], rounds[ROUNDS * 99 / 100])
}

fn proxy(policy: &str) -> Proxy {
    let metrics = Arc::new(Metrics::new());
    let fleet = Fleet::new(HOUR, ORIGINS, Rules::default());
    let placer = Placer {
        bound: Some(125),
        ..Placer::new(by_name(policy).expect("a name of the list"))
    };
    let claims = ClaimLimits {
        lifetime: HOUR,
        per_source: STREAMS,
    };
    let registry = Registry::new(fleet, placer, claims, Arc::clone(&metrics));
    let limits = Limits {
        publisher_idle: HOUR,
        player_idle: HOUR,
        play_wait: HOUR,
        write_stall: HOUR,
        max: STREAMS,
    };
    let sessions = Sessions::new(limits, Arc::clone(&metrics));
    let timing = Timing {
        dial: HOUR,
        setup: HOUR,
        play_wait: HOUR,
        publisher_idle: HOUR,
        takeover_after: HOUR,
        takeover: Takeover::Never,
        drain_pace: HOUR,
        holds: HoldRules::default(),
        ask_streams: false,
    };
    let registry = Arc::new(registry);
    let health = Settings::load(None, &Environment::new([], "")).expect("the defaults are valid");
    let prober = Prober::new(
        Arc::clone(&registry),
        Connector::unrestricted(),
        Credentials::default(),
        health.settings.health,
    );
    Proxy::new(Parts {
        registry,
        sessions: Arc::new(sessions),
        metrics,
        vhosts: VhostRule::Ignored,
        dialects: Arc::default(),
        timing,
        lookup: Lookup::default(),
        placement_service: None,
        cluster: None,
        connector: Connector::unrestricted(),
        prober,
        api_credentials: Credentials::default(),
        rules: sluicegate_core::access::rules::Rules::default(),
        tokens: sluicegate::config::LiveTokens::default(),
        nonces: [0; 32],
    })
}

fn register(proxy: &Proxy, number: usize) {
    let (high, low) = (number / 250, number % 250 + 1);
    let weight = 50 + number % 4 * 50;
    let body = format!(
        r#"{{"ip":"10.1.{high}.{low}","server":"vid-{number}","service":"s","pid":"1","rtmp":["1935"],"weight":{weight}}}"#
    );
    let origin = parse_registration(body.as_bytes(), &AddressRules::default());
    let registered = proxy.registry().register(origin.expect("a registration"));
    registered.expect("room");
}

fn stream(app: &str, number: usize) -> StreamUrl {
    StreamUrl::new("", app, &format!("camera-{number}")).expect("a name")
}

const ORIGINS: usize = 1000;
const FIRST: usize = 8;
const STREAMS: usize = 1_000_000;
const ROUNDS: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);
