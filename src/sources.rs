//! Keeps the fleet as its sources say: the list in the settings file, names, and documents over HTTP.
//!
//! The file is read again on SIGHUP and when it changes; nothing else of it is taken, and no session is cut. A source
//! that fails, or answers with nothing at all, leaves its origins as they are: it is more likely to be broken than the
//! whole fleet to be gone.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use serde_json::{Map, Value, json};
use sluicegate_core::listed::parse_list;
use sluicegate_core::origin::{AddressRules, Origin, OriginId};
use tokio::net::lookup_host;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::config::{Place, SourceSettings, Sources, read_sources};
use crate::net::fetch;
use crate::proxy::Proxy;

/// Keeps the fleet as `sources` and what becomes of their file say, for ever.
pub async fn run(proxy: Proxy, mut sources: Sources, rules: AddressRules) {
    let settings: Arc<str> = "settings".into();
    let mut hang_up = signal(SignalKind::hangup()).ok();
    let mut polls = JoinSet::new();
    proxy
        .registry()
        .reconcile(&settings, sources.origins.clone());
    start(&mut polls, &proxy, &sources.lists, rules);
    let Some(file) = sources.file.clone() else {
        return wait_for_all(polls).await;
    };
    let mut seen = stamp(&file);
    loop {
        let asked = changed(&file, &mut seen, hang_up.as_mut()).await;
        let read = match read_sources(&file, &rules) {
            Ok(read) => read,
            Err(error) => {
                warn!(file = %file.display(), %error, "the lists of origins are kept: the file does not hold");
                continue;
            }
        };
        if read == sources {
            if asked {
                info!(file = %file.display(), "the lists of origins are as before");
            }
            continue;
        }
        info!(
            file = %file.display(),
            origins = read.origins.len(),
            sources = read.lists.len(),
            "the lists of origins changed"
        );
        proxy.registry().reconcile(&settings, read.origins.clone());
        if read.lists != sources.lists {
            polls.shutdown().await;
            let place = |list: &SourceSettings| list.place.to_string();
            let kept: Vec<String> = read.lists.iter().map(place).collect();
            for gone in sources
                .lists
                .iter()
                .map(place)
                .filter(|name| !kept.contains(name))
            {
                proxy
                    .registry()
                    .reconcile(&gone.as_str().into(), Vec::new());
            }
            start(&mut polls, &proxy, &read.lists, rules);
        }
        sources = read;
    }
}

fn start(polls: &mut JoinSet<()>, proxy: &Proxy, lists: &[SourceSettings], rules: AddressRules) {
    for list in lists {
        polls.spawn(poll(proxy.clone(), list.clone(), rules));
    }
}

async fn wait_for_all(mut polls: JoinSet<()>) {
    while polls.join_next().await.is_some() {}
}

/// Returns when the file is to be read again; true when somebody asked for it.
async fn changed(file: &Path, seen: &mut Option<Stamp>, hang_up: Option<&mut Signal>) -> bool {
    let asked = async {
        match hang_up {
            Some(signal) => signal.recv().await,
            None => pending().await,
        }
    };
    let differs = async {
        loop {
            sleep(LOOK).await;
            let now = stamp(file);
            // A file that is away for a moment is being replaced.
            if now.is_some() && now != *seen {
                *seen = now;
                return;
            }
        }
    };
    tokio::select! {
        _ = asked => true,
        () = differs => false,
    }
}

/// What tells one state of a file from another.
type Stamp = (SystemTime, u64);

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Asks one source again and again.
async fn poll(proxy: Proxy, source: SourceSettings, rules: AddressRules) {
    let name: Arc<str> = source.place.to_string().into();
    let mut told = String::new();
    loop {
        let looked = timeout(source.patience, look(&source, &rules)).await;
        match looked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(listed) if listed.is_empty() => {
                say_once(
                    &name,
                    "it names no origin at all, which is not believed",
                    &mut told,
                );
            }
            Ok(listed) => {
                if !told.is_empty() {
                    info!(source = %name, "the source answers again");
                    told.clear();
                }
                proxy.registry().reconcile(&name, listed);
            }
            Err(why) => say_once(&name, &why, &mut told),
        }
        sleep(source.every).await;
    }
}

/// A source that is broken is worth a line, not one each time.
fn say_once(name: &str, why: &str, told: &mut String) {
    if told != why {
        warn!(
            source = name,
            why, "the source failed: its origins stay as they are"
        );
        why.clone_into(told);
    }
}

/// The list as it is now, or why there is none.
async fn look(
    source: &SourceSettings,
    rules: &AddressRules,
) -> Result<Vec<(OriginId, Origin)>, String> {
    let document = match &source.place {
        Place::Dns(name) => addresses(name).await?,
        Place::Srv(name) => targets(name, &source.common).await?,
        Place::Url(url, token) => {
            let url = url
                .parse()
                .map_err(|error: fetch::NotAUrl| error.to_string())?;
            let body = fetch::get(&url, token.as_ref(), source.patience, MOST_BYTES)
                .await
                .map_err(|error| error.to_string())?;
            serde_json::from_slice(&body).map_err(|error| format!("not JSON: {error}"))?
        }
    };
    parse_list(&document, &source.common, rules).map_err(|error| error.to_string())
}

/// The addresses of a name, by the resolver of the system, which knows `/etc/hosts` too.
async fn addresses(name: &str) -> Result<Value, String> {
    let found = lookup_host((name, 0))
        .await
        .map_err(|error| error.to_string())?;
    let mut addresses: Vec<String> = found
        .map(|address| address.ip().to_canonical().to_string())
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(json!(addresses))
}

/// The targets of a service with the lowest priority, each with its port and weight (RFC 2782).
async fn targets(name: &str, common: &Map<String, Value>) -> Result<Value, String> {
    // Built anew each time: the system's servers may have changed, and its cache would hide what has.
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| error.to_string())?;
    let found = resolver
        .srv_lookup(name)
        .await
        .map_err(|error| error.to_string())?;
    let records = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(target) => Some(target),
            _ => None,
        });
    Ok(entries(records.collect(), service_of(name), common))
}

/// The entries of the best targets. Those of a higher number are there for when the best are all gone, which is for
/// whoever writes the zone to say.
fn entries(records: Vec<&SRV>, service: &str, common: &Map<String, Value>) -> Value {
    let best = records.iter().map(|target| target.priority).min();
    let entry = |target: &SRV| {
        let host = target.target.to_utf8();
        let host = host.trim_end_matches('.');
        let mut entry = json!({"id": format!("{host}:{}", target.port), "ip": host});
        entry[service] = json!([target.port.to_string()]);
        // 0 is "no preference" there, and "never" here.
        if target.weight > 0 && !common.contains_key("weight") {
            entry["weight"] = json!(target.weight);
        }
        entry
    };
    let best = records
        .into_iter()
        .filter(|target| Some(target.priority) == best);
    Value::Array(best.map(entry).collect())
}

/// Which service the ports are of, by the first label: `_http._tcp.example` is HTTP, any other is RTMP.
fn service_of(name: &str) -> &'static str {
    let label = name.split('.').next().unwrap_or_default();
    match label {
        "_api" => "api",
        "_http" => "http",
        "_rtsp" => "rtsp",
        "_srt" => "srt",
        _ => "rtmp",
    }
}

/// How often the file is looked at. A change of a list is no emergency, and a look is one system call.
const LOOK: Duration = Duration::from_secs(2);
/// A list of a thousand origins, with room.
const MOST_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use sluicegate_core::stream::Service;

    #[test]
    fn the_best_targets_of_a_service_are_origins() {
        let target = |priority, weight, port, name: &str| {
            SRV::new(priority, weight, port, name.parse().expect("a name"))
        };
        let records = [
            target(10, 60, 1935, "one.example."),
            target(20, 60, 1935, "spare.example."),
            target(10, 0, 19350, "two.example."),
        ];
        let list = |name: &str| {
            let document = entries(records.iter().collect(), service_of(name), &Map::new());
            parse_list(&document, &Map::new(), &AddressRules::default()).expect("a list")
        };
        let listed = list("_rtmp._tcp.origins.example");
        let told: Vec<(String, u32, String)> = listed
            .iter()
            .map(|(id, origin)| {
                let target = origin.target(Service::Rtmp).expect("RTMP");
                (id.to_string(), origin.attributes.weight, target.to_string())
            })
            .collect();
        let one = "one.example:1935".to_owned();
        let two = "two.example:19350".to_owned();
        assert_eq!(told, [(one.clone(), 60, one), (two.clone(), 100, two)]);
        assert!(
            list("_http._tcp.origins.example")[0]
                .1
                .target(Service::Http)
                .is_some()
        );
    }

    #[tokio::test]
    async fn a_name_of_this_machine_has_an_address() {
        let found = addresses("localhost").await.expect("every machine has it");
        let found = found.as_array().expect("a list");
        assert!(
            found.contains(&json!("127.0.0.1")) || found.contains(&json!("::1")),
            "{found:?}"
        );
    }
}
