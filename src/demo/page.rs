//! The pages of `sluicegate demo` and the files they load, all from the binary itself. One page plays with HTTP-FLV,
//! the other publishes and plays with WebRTC.

/// The policy that is sent with the pages: everything comes from this address and nothing from elsewhere, except that
/// calls are made at the API's port. Media Source playback needs `blob:`.
pub fn content_security_policy(api_port: u16) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' *:{api_port}; \
         media-src 'self' blob:; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// The content type and the bytes at `path`, which is a request target without its query; `None` if there is nothing.
pub fn asset(path: &str) -> Option<(&'static str, &'static [u8])> {
    match path {
        "/" | "/index.html" => Some((HTML, include_bytes!("../../assets/page/index.html"))),
        "/demo/mpegts.js" => Some((
            SCRIPT,
            include_bytes!("../../assets/vendor/mpegts.js/mpegts.js"),
        )),
        "/demo/mpegts.js.LICENSE" => Some((
            TEXT,
            include_bytes!("../../assets/vendor/mpegts.js/LICENSE"),
        )),
        "/demo/page.css" => Some((STYLE, include_bytes!("../../assets/page/page.css"))),
        "/demo/page.js" => Some((SCRIPT, include_bytes!("../../assets/page/page.js"))),
        "/webrtc/" => Some((HTML, include_bytes!("../../assets/webrtc/index.html"))),
        "/webrtc/webrtc.css" => Some((STYLE, include_bytes!("../../assets/webrtc/webrtc.css"))),
        "/webrtc/webrtc.js" => Some((SCRIPT, include_bytes!("../../assets/webrtc/webrtc.js"))),
        _ => None,
    }
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_a_page_names_is_served_and_nothing_comes_from_elsewhere() {
        for (path, least) in [("/", 4), ("/webrtc/", 2)] {
            names_what_is_served(path, least);
        }
        let policy = content_security_policy(11985);
        assert!(policy.contains("connect-src 'self' *:11985;"), "{policy}");
    }

    /// Checks that the page at `path` names at least `least` files, and that all of them are served.
    fn names_what_is_served(path: &str, least: usize) {
        let (content_type, page) = asset(path).expect("the page is there");
        assert_eq!(content_type, "text/html; charset=utf-8");
        let page = std::str::from_utf8(page).expect("the page is text");
        let named: Vec<&str> = ["src=\"", "href=\""]
            .iter()
            .flat_map(|attribute| page.split(attribute).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .filter(|link| !link.starts_with("data:"))
            .collect();
        assert!(named.len() >= least, "styles, scripts, licences: {named:?}");
        for link in named {
            let link = if link.starts_with('/') {
                link.to_owned()
            } else {
                format!("{path}{link}")
            };
            assert!(
                asset(&link).is_some(),
                "{link} is named by the page and not served"
            );
        }
        // Finds what the policy would block in the browser.
        assert!(
            !page.contains("<style") && !page.contains(" style=") && !page.contains("<script>")
        );
    }

    #[test]
    fn other_paths_are_not_ours() {
        for path in [
            "",
            "/demo",
            "/demo/",
            "/demo/../page.js",
            "/live/demo.flv",
            "/demo/page.js/",
            "/webrtc",
        ] {
            assert!(asset(path).is_none(), "{path}");
        }
    }
}
