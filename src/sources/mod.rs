//! Keeps the fleet as its sources say: the list in the settings file, names, and documents over HTTP.
//!
//! The file is read again on SIGHUP and when it changes; nothing else of it is taken, and no session is cut. A source
//! that fails, or answers with nothing at all, leaves its origins as they are: it is more likely to be broken than the
//! whole fleet to be gone.

mod dns;

use std::future::pending;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sluicegate_core::fleet::listed::parse_list;
use sluicegate_core::fleet::origin::{AddressRules, Origin, OriginId};
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
                info!(
                    file = %file.display(),
                    "the lists of origins are as before; other settings are read at the next start"
                );
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
async fn changed(file: &Path, seen: &mut Option<Stamp>, mut hang_up: Option<&mut Signal>) -> bool {
    loop {
        let asked = async {
            match hang_up.as_mut() {
                Some(signal) => signal.recv().await,
                None => pending().await,
            }
        };
        let asked = tokio::select! {
            _ = asked => true,
            () = sleep(LOOK) => false,
        };
        let now = stamp(file);
        // A file that is away for a moment is being replaced.
        let differs = now.is_some() && now != *seen;
        if differs {
            *seen = now;
        }
        if asked || differs {
            return asked;
        }
    }
}

/// What tells one state of a file from another: when it was written, how long it is, and which file it is.
type Stamp = (SystemTime, u64, u64);

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
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
        Place::Dns(name, server) => dns::addresses(name, *server).await?,
        Place::Srv(name, server) => dns::targets(name, *server, &source.common).await?,
        Place::Url(url, token) => {
            let url = url
                .parse()
                .map_err(|error: crate::value::NotAUrl| error.to_string())?;
            let body = fetch::get(&url, token.as_ref(), source.patience, MOST_BYTES)
                .await
                .map_err(|error| error.to_string())?;
            serde_json::from_slice(&body).map_err(|error| format!("not JSON: {error}"))?
        }
    };
    parse_list(&document, &source.common, rules).map_err(|error| error.to_string())
}

/// How often the file is looked at. A change of a list is no emergency, and a look is one system call.
const LOOK: Duration = Duration::from_secs(2);
/// A list of a thousand origins, with room.
const MOST_BYTES: usize = 1024 * 1024;
