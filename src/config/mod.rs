//! Settings: what was written (a TOML file, `.env`, the environment) and what it means.
//!
//! [`TABLE`] names every setting once; [`Settings::load`] lays the layers over each other (default, file, `.env`,
//! process environment; later wins), checks each value and returns typed settings, or every problem found at once.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `table` | every setting: its path, variables, default and documentation |
//! | `layers` | which layer set what, and names nobody knows |
//! | `credentials` | what origins ask of those who use their APIs |
//! | `dotenv` | the grammar of `.env` |
//! | `duration`, `value` | what a text means |
//! | `meaning` | the typed settings; `meaning/sections` reads them from the table, `meaning/values` each of them |
//! | `sources` | the lists `[[origin]]` and `[[source]]`, which are read again while the proxy runs |
//! | `report` | what `sluicegate check` prints |

mod credentials;
mod dotenv;
mod duration;
mod layers;
mod meaning;
mod mesh;
mod placement;
mod report;
mod sources;
mod table;

pub use credentials::{Credential, Credentials};
pub use duration::{format_duration, parse_duration};
pub use layers::{Environment, Source};
pub use meaning::{
    Api, Cluster, DefaultOrigin, Drain, Health, Http, Log, LogFormat, Mesh, Metrics, Origins,
    Placement, Probing, ProxyProtocol, Question, Rtc, Rtmp, Rtsp, SessionLimits, Settings,
    Shutdown, Srt, Store, System, Takeover,
};
pub use placement::{NetworkZone, Unanswered};
pub use report::check;
pub use sources::{Place, SourceSettings, Sources, read_sources};
pub(crate) use table::URL_VARIABLE;
pub use table::{Setting, Shape, TABLE, setting};

use sluicegate_core::fleet::origin::AddressRules;
use std::path::Path;

use crate::value::ValueError;

/// Settings that hold, and how they came to be.
#[derive(Debug)]
pub struct Loaded {
    /// What the settings mean.
    pub settings: Settings,
    /// Every setting in the order of [`TABLE`], for people to read.
    pub effective: Vec<Effective>,
    /// What deserves a warning at start, one sentence each.
    pub warnings: Vec<String>,
}

/// One setting as it stands.
#[derive(Debug, Clone)]
pub struct Effective {
    /// Which setting.
    pub setting: &'static Setting,
    /// Its value as TOML; a secret is `"***"`.
    pub value: String,
    /// Who set it.
    pub source: Source,
}

/// Settings that don't hold: every problem found, one line each.
#[derive(Debug)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// Why the settings don't hold.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Two settings that contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// A TOML value of a kind no setting of this name takes.
    #[error("{name}: a value of the wrong kind; allowed: {allowed}")]
    Kind {
        /// File, line and key.
        name: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A variable that is not UTF-8.
    #[error("{0}: its value is not UTF-8 text")]
    NotText(String),
    /// The file is not TOML.
    #[error("{path}:{line}: not TOML: {message}")]
    Syntax {
        /// The file as it was named.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What the parser met.
        message: String,
    },
    /// A section or key of the file that means nothing here.
    #[error("{path}:{line}: unknown setting {key}{hint}")]
    UnknownKey {
        /// The file as it was named.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        key: String,
        /// What may have been meant.
        hint: String,
    },
    /// One of our variables that means nothing here.
    #[error("{0}: no such setting{1}")]
    UnknownVariable(Source, String),
    /// A file that cannot be read.
    #[error("{0}: cannot be read: {1}")]
    Unreadable(String, #[source] std::io::Error),
    /// A value its setting doesn't take.
    #[error("{name} = {shown}: {why}; allowed: {allowed}")]
    Value {
        /// The variable, or the file, line and key.
        name: String,
        /// The value, masked if secret.
        shown: String,
        /// What is wrong with it.
        why: ValueError,
        /// What may stand there.
        allowed: &'static str,
    },
}

impl Settings {
    /// Settings from `file`, if one is named, and `environment` over it.
    ///
    /// # Errors
    /// Every problem found: an unreadable file, unknown names, wrong values, contradictions.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let entries = layers::gather(file, environment, &mut problems, &mut warnings);
        let effective = entries
            .iter()
            .map(|entry| Effective {
                setting: entry.setting,
                value: entry.setting.shown(&entry.written),
                source: entry.source.clone(),
            })
            .collect();
        if environment.variable("GO_PPROF").is_some() {
            warnings.push("GO_PPROF is ignored: it turns on a profiler of the Go proxy".to_owned());
        }
        let mut settings = meaning::read(&entries, &mut problems, &mut warnings);
        // A file that cannot be read has been told of.
        if let Some(file) = file.filter(|_| problems.is_empty()) {
            let rules = AddressRules {
                allow_special: settings.system.allow_special_addresses,
            };
            settings.sources = sources::gather(file, &rules, &mut problems);
        }
        if problems.is_empty() {
            Ok(Loaded {
                settings,
                effective,
                warnings,
            })
        } else {
            Err(ConfigError { problems })
        }
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
