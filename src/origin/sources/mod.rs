//! Keeps the fleet as its sources say: the list in the settings file, names, and documents over HTTP.
//!
//! The file is read again on SIGHUP and when it changes; nothing else of it is taken, and no session is cut. A source
//! that fails, or answers with nothing at all, leaves its origins as they are: it is more likely to be broken than the
//! whole fleet to be gone.

mod dns;

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sluicegate_core::fleet::listed::parse_list;
use sluicegate_core::fleet::origin::{AddressRules, Origin, OriginId};
use sluicegate_core::http::page::split_byte_order_mark;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::config::{Environment, Settings, SourceKind, SourceSettings, Sources, read_sources};
use crate::file_stamp::FileStamp;
use crate::origin::connect::Connector;
use crate::origin::fetch;
use crate::registry::Registry;

/// The lists as they hold, each kept by a task of its own. Dropping them leaves the fleet as it is.
#[derive(Debug)]
pub struct Lists {
    registry: Arc<Registry>,
    sources: Sources,
    rules: AddressRules,
    connector: Connector,
    polls: JoinSet<()>,
    hang_up: Option<Signal>,
    /// The file, and those that it names, as they were read last.
    seen: Vec<Option<FileStamp>>,
    players_need_a_rule: bool,
}

/// What came of reading the lists again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reread {
    /// These changed, in words.
    Changed(Vec<&'static str>),
    /// They are kept as they were, for this reason.
    Kept(String),
    /// They are as before.
    Same,
}

impl Lists {
    /// Brings the fleet of `registry` to what `sources` say, and keeps it so.
    /// `connector` reaches the sources.
    pub fn start(
        registry: Arc<Registry>,
        sources: Sources,
        rules: AddressRules,
        connector: Connector,
    ) -> Self {
        registry.reconcile(&SETTINGS.into(), sources.origins.clone());
        let seen = stamps(&files_of(&sources));
        let mut lists = Self {
            registry,
            sources,
            rules,
            connector,
            polls: JoinSet::new(),
            hang_up: signal(SignalKind::hangup()).ok(),
            seen,
            players_need_a_rule: false,
        };
        lists.poll_all();
        lists
    }

    /// The same, which takes no lists that say nothing of players, where `need` says that nobody else judges them.
    #[must_use]
    pub const fn players_need_a_rule(mut self, need: bool) -> Self {
        self.players_need_a_rule = need;
        self
    }

    /// Returns when the file is to be read again; true when somebody asked for it. Without a file that is the only way.
    pub async fn changed(&mut self) -> bool {
        let files = files_of(&self.sources);
        changed(&files, &mut self.seen, self.hang_up.as_mut()).await
    }

    /// The lists as they hold.
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Takes the lists as they stand in the file now; what does not hold changes nothing. `asked` says that somebody
    /// waits to hear of it.
    pub async fn read_again(&mut self, asked: bool) -> Reread {
        let Some(file) = self.sources.file.clone() else {
            info!("there is no settings file to read again");
            return Reread::Same;
        };
        let read = match read_sources(&file, &self.rules) {
            Ok(read) => read,
            Err(error) => {
                warn!(file = %file.display(), %error, "the lists of origins and the access rules are kept: the file does not hold");
                return Reread::Kept(error.to_string());
            }
        };
        warn_of_mistakes(&file);
        if self.players_need_a_rule && !read.rules.speak_of_players() {
            let why = "no access rule would be about players, and fanout.mode is open without fanout.public";
            warn!(file = %file.display(), "the lists are kept: {why}");
            return Reread::Kept(why.to_owned());
        }
        if let Some(lost) = self.loses(&read).filter(|_| !asked) {
            warn!(
                file = %file.display(),
                "the lists are kept: the file holds {lost} any more, like one that was cut short; SIGHUP takes it as it is"
            );
            return Reread::Kept(format!(
                "it holds {lost} any more; SIGHUP takes it as it is"
            ));
        }
        if read == self.sources {
            if asked {
                info!(
                    file = %file.display(),
                    "the lists of origins and the access rules are as before; other settings are read at the next start"
                );
            }
            return Reread::Same;
        }
        let changed = self.tell_changes(&file, &read);
        self.take(read).await;
        Reread::Changed(changed)
    }

    /// What there was and is none of in `read`. A full disk or an editor leaves files that are cut short, and without its rules
    /// everybody would be let in.
    fn loses(&self, read: &Sources) -> Option<&'static str> {
        let before = &self.sources;
        let lists_any =
            |sources: &Sources| !(sources.origins.is_empty() && sources.lists.is_empty());
        [
            (
                !before.rules.is_empty() && read.rules.is_empty(),
                "no access rule",
            ),
            (
                lists_any(before) && !lists_any(read),
                "no origin and no source",
            ),
        ]
        .into_iter()
        .find_map(|(is_lost, what)| is_lost.then_some(what))
    }

    /// Logs what changed, and returns it in words.
    fn tell_changes(&self, file: &Path, read: &Sources) -> Vec<&'static str> {
        let (before, file) = (&self.sources, file.display());
        let mut changed = Vec::new();
        if (&read.origins, &read.lists) != (&before.origins, &before.lists) {
            let (origins, sources) = (read.origins.len(), read.lists.len());
            info!(%file, origins, sources, "the lists of origins changed");
            changed.push("the lists of origins");
        }
        if read.rules != before.rules {
            let rules = read.rules.in_words().count();
            info!(%file, rules, "the access rules, checks or limits changed");
            changed.push("the access rules, checks or limits");
        }
        if read.tokens != before.tokens {
            info!(%file, "the tokens of the system API changed");
            changed.push("the tokens of the system API");
        }
        changed
    }

    async fn take(&mut self, read: Sources) {
        let registry = &self.registry;
        registry.reconcile(&SETTINGS.into(), read.origins.clone());
        if read.lists != self.sources.lists {
            self.polls.shutdown().await;
            let place = |list: &SourceSettings| list.place.to_string();
            let kept: Vec<String> = read.lists.iter().map(place).collect();
            let gone = self.sources.lists.iter().map(place);
            for gone in gone.filter(|name| !kept.contains(name)) {
                registry.reconcile(&gone.as_str().into(), Vec::new());
            }
            self.sources = read;
            self.poll_all();
        } else {
            self.sources = read;
        }
    }

    fn poll_all(&mut self) {
        for list in &self.sources.lists {
            let registry = Arc::clone(&self.registry);
            let connector = self.connector.clone();
            let poll = poll(registry, list.clone(), self.rules, connector);
            self.polls.spawn(poll);
        }
    }
}

/// Tells what else is wrong with a file whose lists hold: nobody is to hear of it at the next start.
fn warn_of_mistakes(file: &Path) {
    let whole = Environment::read().and_then(|read| Settings::load(Some(file), &read));
    if let Err(error) = whole {
        warn!(file = %file.display(), %error, "its lists are read, but the next start will refuse the file");
    }
}

/// The settings file, and those that it names: `keys_file` of a check, as secrets of Kubernetes are mounted. None without a
/// settings file.
fn files_of(sources: &Sources) -> Vec<PathBuf> {
    let named = sources.named.iter();
    let files = sources.file.iter();
    files
        .flat_map(|file| [file].into_iter().chain(named.clone()))
        .cloned()
        .collect()
}

/// How they are now.
fn stamps(files: &[PathBuf]) -> Vec<Option<FileStamp>> {
    files.iter().map(|file| FileStamp::of(file)).collect()
}

/// Waits for the signal, or for one of the files to change.
async fn changed(
    files: &[PathBuf],
    seen: &mut Vec<Option<FileStamp>>,
    mut hang_up: Option<&mut Signal>,
) -> bool {
    // How a changed file looked last: one that is still being written may be half a file, or empty.
    let mut growing = None;
    loop {
        let asked = async {
            match hang_up.as_mut() {
                Some(signal) => signal.recv().await,
                None => pending().await,
            }
        };
        let look = async {
            match files {
                [] => pending().await,
                _ if growing.is_some() => sleep(SETTLE).await,
                _ => sleep(LOOK).await,
            }
        };
        let asked = tokio::select! {
            _ = asked => true,
            () = look => false,
        };
        let now = stamps(files);
        // A settings file that is away for a moment is being replaced.
        let is_there = now.first().is_some_and(Option::is_some);
        let differs = is_there && now != *seen;
        if asked || (differs && growing.as_ref() == Some(&now)) {
            if is_there {
                *seen = now;
            }
            return asked;
        }
        growing = differs.then_some(now);
    }
}

/// Asks one source again and again.
async fn poll(
    registry: Arc<Registry>,
    source: SourceSettings,
    rules: AddressRules,
    connector: Connector,
) {
    let name: Arc<str> = source.place.to_string().into();
    let mut told = String::new();
    loop {
        let looked = timeout(source.time_limit, look(&source, &rules, &connector)).await;
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
                registry.reconcile(&name, listed);
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
    connector: &Connector,
) -> Result<Vec<(OriginId, Origin)>, String> {
    let document = match &source.place {
        SourceKind::Dns(name, server) => dns::addresses(name, *server).await?,
        SourceKind::Srv(name, server) => dns::targets(name, *server, &source.common).await?,
        SourceKind::Url(url, token) => {
            let url = url
                .parse()
                .map_err(|error: crate::value::NotAUrl| error.to_string())?;
            let body = fetch::get(
                connector,
                &url,
                token.as_ref(),
                source.time_limit,
                MOST_BYTES,
            )
            .await
            .map_err(|error| error.to_string())?;
            read_document(&body)?
        }
    };
    parse_list(&document, &source.common, rules).map_err(|error| error.to_string())
}

/// The JSON of a body, with or without a byte order mark (RFC 8259 §8.1 lets readers pass over one).
fn read_document(body: &[u8]) -> Result<Value, String> {
    if body.starts_with(&GZIP) {
        return Err("its answer is compressed, which it was not asked for".to_owned());
    }
    let (_, text) = split_byte_order_mark(body);
    serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))
}

/// How a gzip stream begins (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1F, 0x8B];
/// What the origins that the settings file lists are known by.
const SETTINGS: &str = "settings";
/// How often the file is looked at. A change of a list is no emergency, and a look is one system call.
const LOOK: Duration = Duration::from_secs(2);
/// How long a changed file has to stay as it is before it is read: editors and scripts write it in several steps.
const SETTLE: Duration = Duration::from_millis(300);
/// A list of a thousand origins, with room.
const MOST_BYTES: usize = 1024 * 1024;
