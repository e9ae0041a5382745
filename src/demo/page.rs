//! The page of `sluicegate demo` and what it loads, all from the binary itself.

/// Sent with the page: everything comes from this address, nothing from elsewhere. Media Source playback needs
/// `blob:`.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; media-src 'self' blob:; img-src 'self' data:; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// The content type and the bytes served at `path`, which is a request target without its query. None: the page
/// has nothing there.
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
    fn everything_the_page_names_is_served_and_nothing_comes_from_elsewhere() {
        let (content_type, page) = asset("/").expect("the page is there");
        assert_eq!(content_type, "text/html; charset=utf-8");
        let page = std::str::from_utf8(page).expect("the page is text");
        let named: Vec<&str> = ["src=\"", "href=\""]
            .iter()
            .flat_map(|attribute| page.split(attribute).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .filter(|link| !link.starts_with("data:"))
            .collect();
        assert!(
            named.len() >= 4,
            "style, two scripts and the licence: {named:?}"
        );
        for link in named {
            assert!(
                asset(link).is_some(),
                "{link} is named by the page and not served"
            );
        }
        // What the policy would block in the browser, found here.
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
        ] {
            assert!(asset(path).is_none(), "{path}");
        }
    }
}
