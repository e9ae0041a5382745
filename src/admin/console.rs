//! The console: its files, all from the binary itself, and logging in to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Json};
use flate2::Compression;
use serde::Deserialize;
use sluicegate_core::access::pass::Pass;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::caller::Caller;

use super::access::{AUTH_TOKEN, Access, Holder};
use super::asked::{self, Path};
use super::list::gzipped;
use super::{System, problem};
use crate::api::{Done, Me};
use crate::config::Role;
use crate::net::conditional;
use crate::net::entrance::Ends;
use crate::random;
use crate::unix_time;

/// A file of the console.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// The bytes compressed, once somebody asked for them.
    small: OnceLock<Option<Vec<u8>>>,
}

impl Asset {
    /// It is done once, and may take a few milliseconds.
    fn compressed(&self) -> Option<Vec<u8>> {
        gzipped(self.bytes, Compression::default())
    }
}

macro_rules! assets {
    ($($name:literal, $kind:expr, $path:literal;)*) => {
        [$(Asset {
            name: $name,
            kind: $kind,
            bytes: include_bytes!(concat!("../../assets/", $path)),
            small: OnceLock::new(),
        },)*]
    };
}

static ASSETS: [Asset; 17] = assets![
    "index.html", HTML, "console/index.html";
    "console.css", STYLE, "console/console.css";
    "app.mjs", SCRIPT, "console/app.mjs";
    "actions.mjs", SCRIPT, "console/actions.mjs";
    "badges.mjs", SCRIPT, "console/badges.mjs";
    "charts.mjs", SCRIPT, "console/charts.mjs";
    "data.mjs", SCRIPT, "console/data.mjs";
    "dom.mjs", SCRIPT, "console/dom.mjs";
    "format.mjs", SCRIPT, "console/format.mjs";
    "fragments.mjs", SCRIPT, "console/fragments.mjs";
    "pages.mjs", SCRIPT, "console/pages.mjs";
    "picture.mjs", SCRIPT, "console/picture.mjs";
    "runbook.md", TEXT, "../docs/runbook.md";
    "runbook.mjs", SCRIPT, "console/runbook.mjs";
    "table.mjs", SCRIPT, "console/table.mjs";
    "mpegts.js", SCRIPT, "vendor/mpegts.js/mpegts.js";
    "mpegts.js.LICENSE", TEXT, "vendor/mpegts.js/LICENSE";
];

/// Who tried to log in, and how often in this minute.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<HashMap<IpAddr, (u64, u32)>>);

#[derive(Debug, Deserialize)]
pub(super) struct Typed {
    token: String,
}

/// `GET /console`: the directory.
pub(super) async fn without_slash() -> Redirect {
    Redirect::permanent("console/")
}

/// `GET /console/`.
pub(super) async fn index(headers: HeaderMap) -> Response {
    asset("index.html", &headers)
}

/// `GET /console/{file}`.
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    asset(&name, &headers)
}

fn asset(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return problem(StatusCode::NOT_FOUND, "the console has no such file");
    };
    let tag = conditional::tag_of(asset.bytes);
    let said = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let common = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::VARY, "Accept-Encoding".to_owned()),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin".to_owned(),
        ),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin".to_owned(),
        ),
    ];
    if conditional::has(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.kind)];
    let reads_gzip = said(header::ACCEPT_ENCODING).is_some_and(|all| all.contains("gzip"));
    let small = asset.small.get_or_init(|| asset.compressed());
    match small.as_deref().filter(|_| reads_gzip) {
        Some(small) => {
            let coded = [(header::CONTENT_ENCODING, "gzip")];
            (common, kind, coded, Body::from(small)).into_response()
        }
        None => (common, kind, Body::from(asset.bytes)).into_response(),
    }
}

/// `GET /console/me`. A pass that is in use is replaced by a newer one.
pub(super) async fn me(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let access = &system.access;
    let base = system.base(ends, &headers);
    let passed = access.holder_of_pass(&headers);
    let role = access.role_of(&caller, &headers);
    let document = Me {
        role: role.map(|role| role.as_str().to_owned()),
        has_login: access.asks(),
        is_logged_in: passed.is_some(),
        version: role.map(|_| env!("CARGO_PKG_VERSION").to_owned()),
    };
    let newer = passed.and_then(|(holder, pass)| {
        access.cookie(&holder, pass.replaced(unix_time::seconds())?, &base)
    });
    let kept = [(header::CACHE_CONTROL, "no-store")];
    let answer = super::fleet::data(document);
    match newer {
        Some(cookie) => (kept, [(header::SET_COOKIE, cookie)], answer).into_response(),
        None => (kept, answer).into_response(),
    }
}

/// `POST /console/login`.
pub(super) async fn login(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    headers: HeaderMap,
    asked::Json(typed): asked::Json<Typed>,
) -> Response {
    let access = &system.access;
    if !access.asks() {
        let words = "no token is set (system.auth_token, system.tokens), so there is nothing to log in with";
        return problem(StatusCode::CONFLICT, words);
    }
    if !system.tries.may_try(ends.client.ip()) {
        let retry = [(header::RETRY_AFTER, "60")];
        let words = "too many tries from this address; wait a minute";
        return (retry, problem(StatusCode::TOO_MANY_REQUESTS, words)).into_response();
    }
    let holder = access.holder_of(typed.token.trim());
    let cookie = holder.as_ref().and_then(|holder| {
        access.cookie(
            holder,
            Pass::begun(unix_time::seconds()),
            &system.base(ends, &headers),
        )
    });
    match (holder, cookie) {
        (Some(holder), _) if !holder.role.may(Role::Viewer) => {
            let words = "this token registers origins; it does not see the fleet";
            problem(StatusCode::FORBIDDEN, words)
        }
        (Some(_), Some(cookie)) => {
            ([(header::SET_COOKIE, cookie)], Json(Done::default())).into_response()
        }
        (Some(_), None) => {
            let words =
                "this token is for programs; log in with one that system.tokens has the hash of";
            problem(StatusCode::FORBIDDEN, words)
        }
        (None, _) => {
            system.count_refusal(super::access::Surface::Management);
            problem(StatusCode::UNAUTHORIZED, "nobody has that token")
        }
    }
}

/// `POST /console/logout`: the browser forgets its pass.
pub(super) async fn logout(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    headers: HeaderMap,
) -> Response {
    let base = system.base(ends, &headers);
    let gone = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path={base}/; Max-Age=0");
    ([(header::SET_COOKIE, gone)], Json(Done::default())).into_response()
}

impl Access {
    /// Who a browser is that logged in, and its pass.
    pub(super) fn holder_of_pass(&self, headers: &HeaderMap) -> Option<(Holder, Pass)> {
        let all = headers.get_all(header::COOKIE).into_iter();
        let pairs = all
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut ours = pairs.filter(|(name, _)| *name == COOKIE);
        ours.find_map(|(_, text)| {
            let name = Pass::name(text)?;
            let (role, key) = self.signing(&name)?;
            let pass = Pass::open(text, &key, unix_time::seconds())?;
            Some((Holder { name, role }, pass))
        })
    }

    /// The cookie with a pass, for the folder under which browsers reach us and no other part of that site.
    fn cookie(&self, holder: &Holder, pass: Pass, base: &BasePath) -> Option<String> {
        let (_, key) = self.signing(&holder.name)?;
        let mut nonce = [0; 8];
        // Without randomness, two passes of one second are equal, which does no harm.
        let _ = getrandom::fill(&mut nonce);
        let sealed = pass.seal(&holder.name, &key, u64::from_ne_bytes(nonce));
        Some(format!(
            "{COOKIE}={sealed}; HttpOnly; SameSite=Strict; Path={base}/"
        ))
    }

    /// What passes of somebody are signed with, and what they may do. A pass of system.auth_token is good at every proxy
    /// that has the same token. Of the others only hashes are known, and who can read those must not be able to make a
    /// pass of them: these passes are good at this process.
    fn signing(&self, name: &str) -> Option<(Role, Vec<u8>)> {
        if let (AUTH_TOKEN, Some(token)) = (name, &self.token) {
            return Some((Role::Admin, token.reveal().as_bytes().to_vec()));
        }
        let (role, hash) = self.tokens.now().stored(name)?;
        static OWN: OnceLock<[u8; 32]> = OnceLock::new();
        let own = OWN.get_or_init(random::bytes);
        Some((role, [own.as_slice(), &hash].concat()))
    }
}

impl Tries {
    /// Counts a try, and says whether it is one of the first of its address in this minute.
    fn may_try(&self, address: IpAddr) -> bool {
        let minute = unix_time::seconds() / 60;
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= MOST_ADDRESSES {
            tries.retain(|_, (then, _)| *then == minute);
        }
        if tries.len() >= MOST_ADDRESSES && !tries.contains_key(&address) {
            return false;
        }
        let (then, count) = tries.entry(address).or_insert((minute, 0));
        if *then != minute {
            (*then, *count) = (minute, 0);
        }
        *count += 1;
        *count <= TRIES
    }
}

/// Everything comes from this address, nothing from elsewhere. Media Source playback needs `blob:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const COOKIE: &str = "sluicegate_pass";
/// Logins that one address may try in a minute.
const TRIES: u32 = 5;
/// Addresses that are remembered for trying.
const MOST_ADDRESSES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_is_asked_for_at_once() {
        let [page, modules @ ..] = &ASSETS;
        let page = std::str::from_utf8(page.bytes).expect("a text");
        for module in modules.iter().filter(|asset| asset.kind == SCRIPT) {
            // Players are large, and only one page needs them.
            let is_named = page.contains(&format!("\"{}\"", module.name));
            assert!(
                is_named || module.name.starts_with("mpegts"),
                "{} is asked for only after another is there",
                module.name
            );
        }
    }

    #[test]
    fn everything_that_a_file_names_is_there_and_nothing_comes_from_elsewhere() {
        for asset in &ASSETS {
            if asset.name.starts_with("mpegts") {
                continue;
            }
            let text = std::str::from_utf8(asset.bytes).expect("a text");
            for elsewhere in [
                "http://",
                "https://",
                "url(",
                "innerHTML",
                "eval(",
                " style=",
            ] {
                let known = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!known.contains(elsewhere), "{} has {elsewhere}", asset.name);
            }
            let named = ["from \"./", "href=\"", "src=\""].into_iter();
            let named = named.flat_map(|before| text.split(before).skip(1));
            for name in named.filter_map(|rest| rest.split('"').next()) {
                let is_there = ASSETS.iter().any(|asset| asset.name == name);
                assert!(
                    is_there || name.starts_with(['#', 'd']),
                    "{} names {name}",
                    asset.name
                );
            }
        }
    }

    #[test]
    fn the_console_is_small() {
        let own = ASSETS
            .iter()
            .filter(|asset| !asset.name.starts_with("mpegts"));
        let sizes = own.map(|asset| {
            let small = asset.compressed();
            small.map_or(asset.bytes.len(), |small| small.len())
        });
        let size: usize = sizes.sum();
        assert!(size <= 60_000, "{size} bytes on the way");
    }

    #[test]
    fn an_address_has_five_tries_a_minute() {
        let tries = Tries::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        let may: Vec<bool> = (0..7).map(|_| tries.may_try(address)).collect();
        let count = may.iter().filter(|may| **may).count();
        // A minute may end in between.
        assert!(
            (5..=7).contains(&count) && may[..5].iter().all(|may| *may),
            "{may:?}"
        );
        assert!(tries.may_try(IpAddr::from([192, 0, 2, 2])));
    }
}
