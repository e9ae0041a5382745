//! Reads `[[access]]`, `[[check]]` and `[[limit]]` of a settings file.
//!
//! The document comes as JSON. A field may be a text or a list of texts where it holds several; a text of several lines is
//! a list too, which is how the content of a file arrives. What is wrong is said without quoting it, because it may be a
//! secret.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::challenge::AnswerScheme;
use super::digests::DigestUsers;
use super::hooks::{Hook, Shape, Unanswered};
use super::jwt::{Claims, Jwt, JwtKeys};
use super::keys::Keys;
use super::limits::{Limit, Most, Per};
use super::passwords::Users;
use super::rules::{Bind, Check, CheckKind, Decide, Rule, Rules, Whom};
use super::signed::{Scheme, Signed, alibaba::Alibaba, nginx::Nginx, ome::Ome, tencent::Tencent};
use super::verdict::Quorum;
use crate::near::unknown_keys;
use crate::place::pattern::Pattern;
use crate::stream::{Action, Protocol};

/// The sections that are read here.
pub const LISTS: [&str; 3] = ["access", "check", "limit"];

/// Says what is wrong with a text as a URL that is asked.
pub type IsUrl<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// What is wrong with an entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// The list: `access`.
    pub list: &'static str,
    /// The number of the entry in it, counted from 1; 0 where the list itself is wrong.
    pub number: usize,
    what: String,
}

impl Misread {
    /// What is wrong with the entry `number` of `list`.
    pub const fn new(list: &'static str, number: usize, what: String) -> Self {
        Self { list, number, what }
    }

    /// What stands in the place of `list` is none.
    pub fn no_list(list: &'static str) -> Self {
        Self::new(list, 0, format!("a list, written [[{list}]]"))
    }
}

impl fmt::Display for Misread {
    /// `[[access]] 2: action: neither publish, play nor any`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, number, what } = self;
        match number {
            0 => write!(f, "[{list}]: {what}"),
            number => write!(f, "[[{list}]] {number}: {what}"),
        }
    }
}

impl Rules {
    /// The rules and checks of a whole settings file, or everything that is wrong with them. `is_url` says what is wrong with a
    /// text as the URL of a backend or of published keys.
    ///
    /// # Errors
    /// Every problem that was found.
    pub fn read(document: &Value, is_url: IsUrl<'_>) -> Result<Self, Vec<Misread>> {
        let mut read = Self::default();
        let mut problems = Vec::new();
        let listed = |name: &str| document.get(name).and_then(Value::as_array);
        for (number, entry) in (1..).zip(listed("check").into_iter().flatten()) {
            match check(entry, is_url) {
                Ok(check) if read.checks.iter().any(|known| known.name == check.name) => {
                    let what = format!("{} is named twice", check.name);
                    problems.push(Misread::new("check", number, what));
                }
                Ok(check) => read.checks.push(check),
                Err(what) => {
                    problems.push(Misread::new("check", number, what));
                    read.checks.extend(stand_in(entry));
                }
            }
        }
        for (number, entry) in (1..).zip(listed("access").into_iter().flatten()) {
            match rule(entry, &read.checks) {
                Ok(rule) => read.rules.push(rule),
                Err(what) => problems.push(Misread::new("access", number, what)),
            }
        }
        for (number, entry) in (1..).zip(listed("limit").into_iter().flatten()) {
            match limit(entry) {
                Ok(limit) => read.limits.push(limit),
                Err(what) => problems.push(Misread::new("limit", number, what)),
            }
        }
        for name in LISTS {
            let entries = document.get(name);
            if entries.is_some_and(|entries| !entries.is_array()) {
                problems.push(Misread::no_list(name));
            }
            if listed(name).is_some_and(|entries| entries.len() > MOST_ENTRIES) {
                let what = format!("more than {MOST_ENTRIES} of them");
                problems.push(Misread::new(name, MOST_ENTRIES + 1, what));
            }
        }
        if problems.is_empty() {
            Ok(read)
        } else {
            Err(problems)
        }
    }
}

/// A check with the name of one that cannot be read: rules that name it are not wrong.
fn stand_in(entry: &Value) -> Option<Check> {
    let name = entry.get("name")?.as_str()?.into();
    let kind = CheckKind::Networks(Vec::new());
    Some(Check { name, kind })
}

fn rule(entry: &Value, checks: &[Check]) -> Result<Rule, String> {
    let own = ["all", "any", "decide", "take_out", "recheck", "bind"];
    let fields = Fields::of(entry, &[WHOM.as_slice(), &own].concat())?;
    let recheck = match fields.seconds("recheck", 0)? {
        0 => None,
        seconds if seconds < SHORTEST_RECHECK => {
            return Err(format!("recheck: less than {SHORTEST_RECHECK} seconds"));
        }
        seconds => Some(Duration::from_secs(seconds)),
    };
    Ok(Rule {
        whom: whom(&fields)?,
        decide: decide(&fields, checks)?,
        take_out: fields.flag("take_out")?,
        recheck,
        bind: match fields.text("bind")? {
            None => Bind::Nowhere,
            Some("address") => Bind::Address,
            Some("network") => Bind::Network,
            Some(_) => return Err("bind: neither address nor network".to_owned()),
        },
    })
}

fn limit(entry: &Value) -> Result<Limit, String> {
    let amounts = [
        "publishers",
        "viewers",
        "sessions",
        "publish_kbps",
        "new_per_second",
        "failures_per_minute",
    ];
    let known = [WHOM.as_slice(), &["per"], &amounts].concat();
    let fields = Fields::of(entry, &known)?;
    let per = fields.text("per")?.and_then(Per::named);
    let per = per.ok_or("per: none of address, app, key, network, stream, vhost and viewer")?;
    let most = Most {
        publishers: fields.number("publishers")?,
        viewers: fields.number("viewers")?,
        sessions: fields.number("sessions")?,
        publish_kbps: fields.number("publish_kbps")?,
        new_per_second: fields.number("new_per_second")?,
        failures_per_minute: fields.number("failures_per_minute")?,
    };
    if most == Most::default() {
        return Err(format!("a limit has one of {}", amounts.join(", ")));
    }
    if most.failures_per_minute.is_some() && matches!(per, Per::Key | Per::Viewer) {
        return Err(
            "failures_per_minute: who fails is not known; count per address, network or stream"
                .to_owned(),
        );
    }
    Ok(Limit::new(whom(&fields)?, per, most))
}

fn whom(fields: &Fields<'_>) -> Result<Whom, String> {
    let mut protocols = Vec::new();
    for word in fields.list("protocol")? {
        protocols.extend(protocols_of(word)?);
    }
    Ok(Whom {
        vhosts: fields.parsed("vhost")?,
        apps: fields.read("app", Pattern::of_app)?,
        streams: fields.read("stream", Pattern::of_stream)?,
        action: match fields.text("action")? {
            None | Some("any") => None,
            Some("play") => Some(Action::Play),
            Some("publish") => Some(Action::Publish),
            Some(_) => return Err("action: neither publish, play nor any".to_owned()),
        },
        protocols,
        networks: fields.parsed("network")?,
    })
}

fn decide(fields: &Fields<'_>, checks: &[Check]) -> Result<Decide, String> {
    let listed = |quorum: Quorum, field: &str| {
        let place = |name: &str| {
            let found = checks.iter().position(|check| *check.name == *name);
            found.ok_or_else(|| format!("{field}: there is no [[check]] with the name {name:?}"))
        };
        let names = fields.list(field)?;
        let places: Vec<usize> = names
            .into_iter()
            .map(place)
            .collect::<Result<_, String>>()?;
        if places.is_empty() {
            return Err(format!("{field}: it names no check"));
        }
        Ok(Decide::Checks(quorum, places))
    };
    match (fields.text("decide")?, fields.has("all"), fields.has("any")) {
        (Some("allow"), false, false) => Ok(Decide::Allow),
        (Some("deny"), false, false) => Ok(Decide::Deny),
        (None, true, false) => listed(Quorum::All, "all"),
        (None, false, true) => listed(Quorum::Any, "any"),
        _ => Err(
            "a rule has exactly one of decide (\"allow\" or \"deny\"), all and any (names of checks)"
                .to_owned(),
        ),
    }
}

fn protocols_of(word: &str) -> Result<Vec<Protocol>, String> {
    let all = Protocol::ALL.into_iter();
    let found: Vec<Protocol> = match word {
        "dash" | "hls" => vec![Protocol::HttpSegments],
        "http" => all
            .filter(|protocol| protocol.as_str().starts_with("http_"))
            .collect(),
        word => all.filter(|protocol| protocol.as_str() == word).collect(),
    };
    if found.is_empty() {
        let known = Protocol::ALL.map(Protocol::as_str).join(", ");
        return Err(format!("protocol: none of http, hls, dash, {known}"));
    }
    Ok(found)
}

fn check(entry: &Value, is_url: IsUrl<'_>) -> Result<Check, String> {
    let kind = entry.get("kind").and_then(Value::as_str);
    let (kind, name) = match kind {
        Some("certificate") => {
            let fields = Fields::of_check(entry, &["subjects"])?;
            (
                CheckKind::Certificate(fields.several("subjects")?),
                fields.name()?,
            )
        }
        Some("digest") => digest(entry)?,
        Some("hook") => hook(entry, is_url)?,
        Some("jwt") => jwt(entry, is_url)?,
        Some("keys") => {
            let fields = Fields::of_check(entry, &["keys", "parameters"])?;
            let mut keys = Keys::default();
            for line in fields.needed("keys")? {
                keys.add(line).map_err(|error| format!("keys: {error}"))?;
            }
            let parameters = fields.names("parameters", &["key"])?;
            (CheckKind::Keys(keys, parameters), fields.name()?)
        }
        Some("networks") => {
            let fields = Fields::of_check(entry, &["networks"])?;
            (
                CheckKind::Networks(fields.several("networks")?),
                fields.name()?,
            )
        }
        Some("passwords") => {
            let fields = Fields::of_check(entry, &["users"])?;
            let mut users = Users::default();
            for line in fields.needed("users")? {
                users.add(line).map_err(|error| format!("users: {error}"))?;
            }
            (CheckKind::Passwords(users), fields.name()?)
        }
        Some("signed") => signed(entry)?,
        _ => {
            return Err(
                "kind: none of certificate, digest, hook, jwt, keys, networks, passwords and signed"
                    .to_owned(),
            );
        }
    };
    Ok(Check { name, kind })
}

fn digest(entry: &Value) -> Result<(CheckKind, Box<str>), String> {
    let fields = Fields::of_check(entry, &["users", "algorithms"])?;
    let mut users = DigestUsers::default();
    for line in fields.needed("users")? {
        users.add(line).map_err(|error| format!("users: {error}"))?;
    }
    let named = |word: &str| match word {
        "md5" => Ok(AnswerScheme::Md5),
        "sha-256" => Ok(AnswerScheme::Sha256),
        _ => Err("algorithms: neither md5 nor sha-256".to_owned()),
    };
    if fields.has("algorithms") {
        let listed = fields.needed("algorithms")?.into_iter().map(named);
        users.algorithms = listed.collect::<Result<_, String>>()?;
    }
    Ok((CheckKind::Digest(users), fields.name()?))
}

fn hook(entry: &Value, is_url: IsUrl<'_>) -> Result<(CheckKind, Box<str>), String> {
    let fields = Fields::of_check(
        entry,
        &[
            "shape",
            "on_connect",
            "on_publish",
            "on_play",
            "on_unpublish",
            "on_stop",
            "on_close",
            "publish_unanswered",
            "play_unanswered",
            "timeout",
        ],
    )?;
    let url = |field: &str| -> Result<Option<Box<str>>, String> {
        let url = fields.url(field, is_url)?;
        Ok(url.map(Into::into))
    };
    let unanswered = |field: &str| match fields.text(field)? {
        None | Some("deny") => Ok(Unanswered::Deny),
        Some("allow") => Ok(Unanswered::Allow),
        Some(_) => Err(format!("{field}: neither allow nor deny")),
    };
    let shape = fields.text("shape")?.and_then(Shape::named);
    let timeout = fields.seconds("timeout", 3)?;
    if !(1..=LONGEST_TIMEOUT).contains(&timeout) {
        return Err(format!("timeout: not 1 to {LONGEST_TIMEOUT} seconds"));
    }
    let hook = Hook {
        shape: shape.ok_or("shape: none of mediamtx, nginx-rtmp, sluicegate and srs")?,
        on_connect: url("on_connect")?,
        on_publish: url("on_publish")?,
        on_play: url("on_play")?,
        on_unpublish: url("on_unpublish")?,
        on_stop: url("on_stop")?,
        on_close: url("on_close")?,
        publish_unanswered: unanswered("publish_unanswered")?,
        play_unanswered: unanswered("play_unanswered")?,
        timeout: Duration::from_secs(timeout),
    };
    for (field, url) in [
        ("on_connect", &hook.on_connect),
        ("on_close", &hook.on_close),
    ] {
        if url.is_some() && hook.shape != Shape::Srs {
            return Err(format!("{field}: it is for the shape srs"));
        }
    }
    if hook.on_publish.is_none() && hook.on_play.is_none() && hook.on_connect.is_none() {
        return Err("a hook asks at on_publish, on_play or on_connect".to_owned());
    }
    Ok((CheckKind::Hook(hook), fields.name()?))
}

fn jwt(entry: &Value, is_url: IsUrl<'_>) -> Result<(CheckKind, Box<str>), String> {
    let fields = Fields::of_check(
        entry,
        &[
            "jwks",
            "jwks_url",
            "secrets",
            "issuer",
            "audience",
            "claims",
            "permissions_claim",
            "parameters",
        ],
    )?;
    let keys = keys_of(&fields)?;
    let published_at = fields.url("jwks_url", is_url)?;
    if published_at.is_some_and(|url| !may_publish_keys(url)) {
        return Err("jwks_url: not https://, which keys have to come by".to_owned());
    }
    if keys.count() == 0 && published_at.is_none() {
        return Err("a jwt check needs jwks, jwks_url or secrets".to_owned());
    }
    let permissions = fields.text("permissions_claim")?;
    let claims = match fields.text("claims")? {
        None | Some("sluicegate") if permissions.is_none() => Claims::Ours,
        Some("mediamtx") => Claims::MediaMtx(permissions.unwrap_or("mediamtx_permissions").into()),
        Some("sluicegate") | None => {
            return Err("permissions_claim: it is for claims = \"mediamtx\"".to_owned());
        }
        Some(_) => return Err("claims: neither sluicegate nor mediamtx".to_owned()),
    };
    let jwt = Jwt {
        keys,
        published_at: published_at.map(Into::into),
        issuer: fields.text("issuer")?.map(Into::into),
        audience: fields.text("audience")?.map(Into::into),
        claims,
        parameters: fields.names("parameters", &["token", "jwt"])?,
    };
    Ok((CheckKind::Jwt(jwt), fields.name()?))
}

/// The keys in the fields `jwks` and `secrets` of an entry in the settings.
///
/// # Errors
/// What is wrong with them, without a word of theirs.
pub fn token_keys(entry: &Value) -> Result<JwtKeys, String> {
    keys_of(&Fields(entry.as_object().ok_or("not a table")?))
}

fn keys_of(fields: &Fields<'_>) -> Result<JwtKeys, String> {
    let mut keys = JwtKeys::default();
    if let Some(document) = fields.text("jwks")? {
        let read = JwtKeys::of_set(document).map_err(|error| format!("jwks: {error}"))?;
        keys = keys.and(read);
    }
    let secrets = JwtKeys::of_secrets(fields.list("secrets")?);
    Ok(keys.and(secrets.map_err(|error| format!("secrets: {error}"))?))
}

/// Whether keys that come from there are those that were published: who can change them on their way signs tokens. Nobody
/// can on this machine.
fn may_publish_keys(url: &str) -> bool {
    let local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    url.starts_with("https://") || local.iter().any(|prefix| url.starts_with(prefix))
}

fn signed(entry: &Value) -> Result<(CheckKind, Box<str>), String> {
    let scheme = entry
        .get("scheme")
        .and_then(Value::as_str)
        .unwrap_or("sluicegate");
    let more: &[&str] = match scheme {
        "alibaba" => &["life", "parameter"],
        "nginx" => &["expression", "md5_parameter", "expires_parameter"],
        "ome" => &["policy_parameter", "signature_parameter"],
        "sluicegate" => &[],
        "tencent" => &["life", "hash"],
        _ => return Err("scheme: none of alibaba, nginx, ome, sluicegate and tencent".to_owned()),
    };
    let fields = Fields::of_check(entry, &[&["scheme", "secrets"], more].concat())?;
    let or = |field: &str, default: &str| -> Result<Box<str>, String> {
        Ok(fields.text(field)?.unwrap_or(default).into())
    };
    let secrets = fields.list("secrets")?;
    let mut holds_secret = false;
    let scheme = match scheme {
        "alibaba" => Scheme::Alibaba(Alibaba {
            life: fields.seconds("life", 1800)?,
            parameter: or("parameter", "auth_key")?,
        }),
        "nginx" => {
            let expression = fields.text("expression")?.ok_or("expression: missing")?;
            holds_secret = !expression.contains("$secret") && !expression.contains("${secret}");
            let md5 = or("md5_parameter", "md5")?;
            let expires = or("expires_parameter", "expires")?;
            let nginx = Nginx::new(expression, &md5, &expires);
            Scheme::Nginx(nginx.map_err(|error| format!("expression: {error}"))?)
        }
        "ome" => Scheme::Ome(Ome {
            policy: or("policy_parameter", "policy")?,
            signature: or("signature_parameter", "signature")?,
        }),
        "tencent" => Scheme::Tencent(Tencent {
            sha256: match fields.text("hash")? {
                None | Some("md5") => false,
                Some("sha256") => true,
                Some(_) => return Err("hash: neither md5 nor sha256".to_owned()),
            },
            life: fields.seconds("life", 0)?,
        }),
        _ => Scheme::Ours,
    };
    if secrets.is_empty() != holds_secret {
        let words = if holds_secret {
            "secrets: the expression does not use them; write $secret where they belong"
        } else {
            "secrets: missing"
        };
        return Err(words.to_owned());
    }
    let secrets = secrets.into_iter().map(Into::into).collect();
    Ok((
        CheckKind::Signed(Signed { scheme, secrets }),
        fields.name()?,
    ))
}

/// The fields of one entry.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn of(entry: &'a Value, known: &[&str]) -> Result<Self, String> {
        let fields = entry.as_object().ok_or("not a table")?;
        match unknown_keys(fields, known) {
            Some(what) => Err(what),
            None => Ok(Self(fields)),
        }
    }

    fn of_check(entry: &'a Value, known: &[&str]) -> Result<Self, String> {
        Self::of(entry, &[&["name", "kind"], known].concat())
    }

    fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    fn name(&self) -> Result<Box<str>, String> {
        let name = self.text("name")?.unwrap_or_default();
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_word) {
            return Err("name: missing, or other than letters, digits, - _ and .".to_owned());
        }
        Ok(name.into())
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.trim())),
            Some(_) => Err(format!("{field}: not a text, or an empty one")),
        }
    }

    /// A URL that is asked.
    fn url(&self, field: &str, is_url: IsUrl<'_>) -> Result<Option<&'a str>, String> {
        let url = self.text(field)?;
        url.map_or(Ok(()), is_url)
            .map_err(|what| format!("{field}: {what}"))?;
        Ok(url)
    }

    fn list(&self, field: &str) -> Result<Vec<&'a str>, String> {
        let listed = match self.0.get(field) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect(),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.ok_or_else(|| format!("{field}: not a list of texts"))?
            }
            Some(_) => return Err(format!("{field}: not a text or a list of texts")),
        };
        if listed.iter().any(|text| text.is_empty()) {
            return Err(format!("{field}: an empty text in it"));
        }
        Ok(listed)
    }

    fn needed(&self, field: &str) -> Result<Vec<&'a str>, String> {
        let listed = self.list(field)?;
        if listed.is_empty() {
            return Err(format!("{field}: missing"));
        }
        Ok(listed)
    }

    fn names(&self, field: &str, default: &[&str]) -> Result<Vec<Box<str>>, String> {
        let listed = self.list(field)?;
        let names = if self.has(field) { &listed } else { default };
        Ok(names.iter().map(|name| (*name).into()).collect())
    }

    fn parsed<T: std::str::FromStr<Err: ToString>>(&self, field: &str) -> Result<Vec<T>, String> {
        self.read(field, str::parse)
    }

    /// What `read` makes of each text of a list.
    fn read<T, E: ToString>(
        &self,
        field: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, String> {
        let read =
            |text: &str| read(text).map_err(|error| format!("{field}: {}", error.to_string()));
        self.list(field)?.into_iter().map(read).collect()
    }

    fn several<T: std::str::FromStr<Err: ToString>>(&self, field: &str) -> Result<Vec<T>, String> {
        self.needed(field)?;
        self.parsed(field)
    }

    fn flag(&self, field: &str) -> Result<bool, String> {
        match self.0.get(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(format!("{field}: neither true nor false")),
        }
    }

    /// A number from 0 on that a counter can reach.
    fn number(&self, field: &str) -> Result<Option<u32>, String> {
        let read = |value: &Value| u32::try_from(value.as_u64()?).ok();
        match self.0.get(field) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(number) => Ok(Some(number)),
                None => Err(format!("{field}: not a whole number")),
            },
        }
    }

    /// A number of seconds.
    fn seconds(&self, field: &str, default: u64) -> Result<u64, String> {
        match self.0.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| format!("{field}: not a whole number of seconds")),
        }
    }
}

/// The keys that say whom a rule or a limit is about.
const WHOM: [&str; 6] = ["vhost", "app", "stream", "action", "protocol", "network"];
/// Seconds between two judgements of one session: a backend hears of each.
const SHORTEST_RECHECK: u64 = 5;
/// Rules, checks and limits; each request walks the rules and the limits.
const MOST_ENTRIES: usize = 1_000;
/// Seconds that a hook may take: a client of any protocol gives up sooner.
const LONGEST_TIMEOUT: u64 = 30;
/// Bytes of a check's name.
const LONGEST_NAME: usize = 64;
