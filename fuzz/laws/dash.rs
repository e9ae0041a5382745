//! A manifest keeps its markup, only URIs change, and rewriting twice is the same as once.

use sluicegate_core::http::dash::rewrite;
use sluicegate_core::http::page::Page;

/// The data is a manifest.
pub fn law(data: &[u8]) {
    let page = Page {
        host: "play.example.com",
        origin: &["10.0.0.1:8080"],
        link: "LINK",
        report: "LINK",
        base: "",
        folder: None,
        site: "https://play.example.com",
        at: "/live/",
        stamping: None,
        others: &[],
    };
    let Ok(once) = rewrite(data, &page) else {
        return;
    };
    assert_eq!(
        rewrite(&once, &page).as_deref(),
        Ok(&*once),
        "twice is once"
    );
    if *once == *data {
        return;
    }
    let named = |text: &[u8]| {
        [
            "BaseURL",
            "Location",
            "Segment",
            "Initialization",
            "Representation",
            "Bitstream",
            "10.0.0.1",
            "Steering",
            "UTCTiming",
            "href",
            "Certurl",
            "ImportedMPD",
            "Property",
            "Url",
            "uri",
            "url",
        ]
        .iter()
        .any(|name| text.windows(name.len()).any(|at| at == name.as_bytes()))
    };
    assert!(named(data), "something without a URI changed");
}
