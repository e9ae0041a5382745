//! What an answer says to pages of other sites (Fetch standard §3.2).

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Response, StatusCode};
use sluicegate_core::http::head::is_cors;

use super::http::{Body, full};

/// Whether a header is about pages of other sites.
pub fn is_about(name: &HeaderName) -> bool {
    is_cors(name.as_str())
}

/// Whether a request is that of a browser that asks whether its page may send another (Fetch standard §3.2.2).
pub fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets a browser send requests by `methods` and with `headers` for a day.
pub fn preflight(methods: &'static str, headers: &'static str) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let rows = [
        (ACCESS_CONTROL_ALLOW_METHODS, methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, headers),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    let rows = rows.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(rows);
    response
}

/// Replaces what `ours` says to pages of other sites by what an origin says, if it says anything.
pub fn take_word(theirs: &HeaderMap, ours: &mut HeaderMap) {
    if !theirs.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    let about: Vec<HeaderName> = ours.keys().filter(|name| is_about(name)).cloned().collect();
    for name in about {
        ours.remove(name);
    }
    for (name, value) in theirs {
        // An answer that names one site is for that site.
        if is_about(name) || name == VARY {
            ours.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        lines.collect()
    }

    #[test]
    fn an_origins_word_takes_the_place_of_ours() {
        let own = [
            ("access-control-allow-origin", "*"),
            ("access-control-max-age", "86400"),
            ("allow", "POST"),
        ];
        let rows: [(&str, &[_], &[_]); 3] = [
            ("it says nothing", &[("server", "SRS")], &own),
            (
                "it names a site",
                &[
                    ("access-control-allow-origin", "https://app.example"),
                    ("vary", "Origin"),
                    ("link", "<stun:a>"),
                ],
                &[
                    ("allow", "POST"),
                    ("access-control-allow-origin", "https://app.example"),
                    ("vary", "Origin"),
                ],
            ),
            ("it names no site", &[("access-control-max-age", "1")], &own),
        ];
        for (cause, theirs, expected) in rows {
            let mut ours = headers(&own);
            take_word(&headers(theirs), &mut ours);
            assert_eq!(ours, headers(expected), "{cause}");
        }
    }
}
