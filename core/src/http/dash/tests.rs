use super::*;
use crate::fleet::origin::{OriginId, Target};
use crate::http::link::{Link, LinkKey};
use crate::http::page::Other;
use crate::http::stamp::{Stamping, is_listed};

const PAGE: Page<'_> = Page::EXAMPLE;

fn rewritten(manifest: &str) -> String {
    let out = rewrite(manifest.as_bytes(), &PAGE).unwrap().into_owned();
    let again = rewrite(&out, &PAGE).unwrap();
    assert!(
        matches!(again, Cow::Borrowed(_)),
        "twice is once: {manifest}"
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn only_uris_change() {
    let cases = [
        (
            "a template",
            r#"<SegmentTemplate media="c-$Number%05d$.m4s" startNumber='1' initialization='i.m4s'/>"#,
            r#"<SegmentTemplate media="c-$Number%05d$.m4s?spbhid=LINK" startNumber='1' initialization='i.m4s?spbhid=LINK'/>"#,
        ),
        (
            "a template with a timeline",
            "<SegmentTemplate media=\"c-$Time$.m4s\"\n  ><SegmentTimeline><S t=\"0\" d=\"9\" r=\"-1\" /></SegmentTimeline></SegmentTemplate>",
            "<SegmentTemplate media=\"c-$Time$.m4s?spbhid=LINK\"\n  ><SegmentTimeline><S t=\"0\" d=\"9\" r=\"-1\" /></SegmentTimeline></SegmentTemplate>",
        ),
        (
            "a query",
            r#"<SegmentTemplate media = "c.m4s?a=1&amp;b=2"/>"#,
            r#"<SegmentTemplate media = "c.m4s?a=1&amp;b=2&amp;spbhid=LINK"/>"#,
        ),
        (
            "a list",
            r#"<SegmentList><Initialization sourceURL="i.mp4"/><SegmentURL media="1.m4s" index="1.idx"/><SegmentURL mediaRange="0-1"/></SegmentList>"#,
            r#"<SegmentList><Initialization sourceURL="i.mp4?spbhid=LINK"/><SegmentURL media="1.m4s?spbhid=LINK" index="1.idx?spbhid=LINK"/><SegmentURL mediaRange="0-1"/></SegmentList>"#,
        ),
        (
            "a file as base",
            "<BaseURL> a.mp4\n</BaseURL>",
            "<BaseURL> a.mp4?spbhid=LINK\n</BaseURL>",
        ),
        (
            "a folder as base",
            "<BaseURL>v/</BaseURL>",
            "<BaseURL>v/</BaseURL>",
        ),
        (
            "our folder as base",
            "<BaseURL>http://10.0.0.1:8080/v/</BaseURL><SegmentTemplate media='a'/>",
            "<BaseURL>/v/</BaseURL><SegmentTemplate media='a?spbhid=LINK'/>",
        ),
        (
            "another server's folder as base",
            "<BaseURL>https://cdn.net/v/</BaseURL><Period><BaseURL>w/</BaseURL><SegmentTemplate media='a'/></Period>",
            "<BaseURL>https://cdn.net/v/</BaseURL><Period><BaseURL>w/</BaseURL><SegmentTemplate media='a'/></Period>",
        ),
        (
            "a folder of ours beside another server's",
            "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><SegmentTemplate media='a'/>",
            "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><SegmentTemplate media='a'/>",
        ),
        (
            "another server's folder beside ours",
            "<BaseURL>http://10.0.0.1:8080/v/</BaseURL><BaseURL>https://cdn.net/</BaseURL><SegmentTemplate media='a'/>",
            "<BaseURL>/v/</BaseURL><BaseURL>https://cdn.net/</BaseURL><SegmentTemplate media='a'/>",
        ),
        (
            "a base of its own below those of several servers",
            "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><Period><BaseURL>/w/</BaseURL><SegmentTemplate media='a'/></Period>",
            "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL><Period><BaseURL>/w/</BaseURL><SegmentTemplate media='a'/></Period>",
        ),
        (
            "a base ends with its element",
            "<Period><BaseURL>https://cdn.net/</BaseURL></Period><Period><SegmentTemplate media='a'/></Period>",
            "<Period><BaseURL>https://cdn.net/</BaseURL></Period><Period><SegmentTemplate media='a?spbhid=LINK'/></Period>",
        ),
        (
            "a location",
            "<Location>http://play.example.com/a.mpd?x=1&amp;y</Location>",
            "<Location>/a.mpd?x=1&amp;y&amp;spbhid=LINK</Location>",
        ),
        (
            "a patch location",
            "<PatchLocation ttl='60'>a.mpp</PatchLocation>",
            "<PatchLocation ttl='60'>a.mpp?spbhid=LINK</PatchLocation>",
        ),
        (
            "unparsed text",
            "<Location><![CDATA[a.mpd?x&y]]></Location>",
            "<Location>a.mpd?x&amp;y&amp;spbhid=LINK</Location>",
        ),
        (
            "a clock of the origin, and one elsewhere",
            "<UTCTiming schemeIdUri='urn:x' value='http://10.0.0.1:8080/t https://time.net/'/>",
            "<UTCTiming schemeIdUri='urn:x' value='https://play.example.com/t?spbhid=LINK https://time.net/'/>",
        ),
        (
            "a clock by its path",
            "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:http-iso:2014' value='t'/>",
            "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:http-iso:2014' value='https://play.example.com/live/t?spbhid=LINK'/>",
        ),
        (
            "a time in place of a clock",
            "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:direct:2014' value='2026-11-28T12:00:00Z'/>",
            "<UTCTiming schemeIdUri='urn:mpeg:dash:utc:direct:2014' value='2026-11-28T12:00:00Z'/>",
        ),
        (
            "steering",
            "<ContentSteering defaultServiceLocation='a' proxyServerURL='/p'>http://10.0.0.1:8080/s</ContentSteering>",
            "<ContentSteering defaultServiceLocation='a' proxyServerURL='https://play.example.com/p?spbhid=LINK'>https://play.example.com/s?spbhid=LINK</ContentSteering>",
        ),
        (
            "a part of the manifest",
            "<Period xlink:href='period.xml' xlink:actuate='onLoad'/>",
            "<Period xlink:href='period.xml?spbhid=LINK' xlink:actuate='onLoad'/>",
        ),
        (
            "a part of the manifest that is none",
            "<Period xlink:href='urn:mpeg:dash:resolve-to-zero:2013'/>",
            "<Period xlink:href='urn:mpeg:dash:resolve-to-zero:2013'/>",
        ),
        (
            "a license server at the origin, and one elsewhere",
            "<ContentProtection><d:Laurl>http://10.0.0.1:8080/l?a</d:Laurl><x laurl='https://drm.net/l' own='http://10.0.0.1:8080/l'/></ContentProtection>",
            "<ContentProtection><d:Laurl>https://play.example.com/l?a&amp;spbhid=LINK</d:Laurl><x laurl='https://drm.net/l' own='https://play.example.com/l?spbhid=LINK'/></ContentProtection>",
        ),
        (
            "a certificate",
            "<ContentProtection><d:Certurl>c.der</d:Certurl></ContentProtection>",
            "<ContentProtection><d:Certurl>https://play.example.com/live/c.der?spbhid=LINK</d:Certurl></ContentProtection>",
        ),
        (
            "a manifest that follows, and ones in this one's place",
            "<SupplementalProperty schemeIdUri='urn:mpeg:dash:mpd-chaining:2016' value='../b.mpd'/><EssentialProperty schemeIdUri='urn:mpeg:dash:fallback:2016' value='http://10.0.0.1:8080/b.mpd https://cdn.net/b.mpd'/>",
            "<SupplementalProperty schemeIdUri='urn:mpeg:dash:mpd-chaining:2016' value='https://play.example.com/live/../b.mpd?spbhid=LINK'/><EssentialProperty schemeIdUri='urn:mpeg:dash:fallback:2016' value='https://play.example.com/b.mpd?spbhid=LINK https://cdn.net/b.mpd'/>",
        ),
        (
            "another property",
            "<SupplementalProperty schemeIdUri='urn:x' value='b.mpd'/>",
            "<SupplementalProperty schemeIdUri='urn:x' value='b.mpd'/>",
        ),
        (
            "another presentation, a font and a report",
            "<Event><InsertPresentation url='ad.mpd'/><ReplacePresentation uri='http://10.0.0.1:8080/ad.mpd'/></Event><x dvb:url='/f.woff'/><Reporting dvb:reportingUrl='r?a' dvb:x='y'/>",
            "<Event><InsertPresentation url='ad.mpd?spbhid=LINK'/><ReplacePresentation uri='/ad.mpd?spbhid=LINK'/></Event><x dvb:url='/f.woff?spbhid=LINK'/><Reporting dvb:reportingUrl='r?a&amp;spbhid=LINK' dvb:x='y'/>",
        ),
        (
            "a manifest that is imported",
            "<ImportedMPD uri='a.mpd'/><ImportedMPD>b.mpd</ImportedMPD>",
            "<ImportedMPD uri='a.mpd?spbhid=LINK'/><ImportedMPD>b.mpd?spbhid=LINK</ImportedMPD>",
        ),
        (
            "a text with the origin in it",
            "<Event>{&quot;at&quot;:&quot;http://10.0.0.1:8080/a?b&quot;,&quot;by&quot;:&quot;https://cdn.net/&quot;}</Event>",
            "<Event>{&quot;at&quot;:&quot;https://play.example.com/a?b&amp;spbhid=LINK&quot;,&quot;by&quot;:&quot;https://cdn.net/&quot;}</Event>",
        ),
        (
            "a patch of an attribute",
            "<replace sel=\"/MPD/Period[@id='a/b']/SegmentTemplate/@media\">b-$Number$.m4s</replace><replace sel='/MPD/@publishTime'>2026</replace>",
            "<replace sel=\"/MPD/Period[@id='a/b']/SegmentTemplate/@media\">b-$Number$.m4s?spbhid=LINK</replace><replace sel='/MPD/@publishTime'>2026</replace>",
        ),
        (
            "a new attribute of a patch",
            "<add sel='/p:MPD/p:Period[1]/p:SegmentTemplate' type='@initialization'>i.mp4</add><add sel='/MPD' type='@media'>a</add>",
            "<add sel='/p:MPD/p:Period[1]/p:SegmentTemplate' type='@initialization'>i.mp4?spbhid=LINK</add><add sel='/MPD' type='@media'>a</add>",
        ),
        (
            "a patch of a location",
            "<replace sel='/MPD/PatchLocation[1]/text()'>http://10.0.0.1:8080/p?t=5</replace><replace sel='/MPD/Location'>b.mpd</replace>",
            "<replace sel='/MPD/PatchLocation[1]/text()'>/p?t=5&amp;spbhid=LINK</replace><replace sel='/MPD/Location'>b.mpd?spbhid=LINK</replace>",
        ),
        (
            "a patch of a base",
            "<replace sel='/MPD/BaseURL/text()'>http://10.0.0.1:8080/v/</replace><replace sel='//BaseURL'>v/</replace>",
            "<replace sel='/MPD/BaseURL/text()'>/v/</replace><replace sel='//BaseURL'>v/</replace>",
        ),
        (
            "elements of a patch",
            "<add sel='/MPD'><Location>a.mpd</Location></add><replace sel='/MPD/PatchLocation'><PatchLocation>p</PatchLocation></replace>",
            "<add sel='/MPD'><Location>a.mpd?spbhid=LINK</Location></add><replace sel='/MPD/PatchLocation'><PatchLocation>p?spbhid=LINK</PatchLocation></replace>",
        ),
        (
            "a patch of what steers, of a clock and of a part",
            "<replace sel='/MPD/ContentSteering/text()'>s</replace><replace sel='/MPD/UTCTiming[@id=\"1\"]/@value'>/time</replace><replace sel='/MPD/Period/@x:href'>p.xml</replace>",
            "<replace sel='/MPD/ContentSteering/text()'>https://play.example.com/live/s?spbhid=LINK</replace><replace sel='/MPD/UTCTiming[@id=\"1\"]/@value'>https://play.example.com/time?spbhid=LINK</replace><replace sel='/MPD/Period/@x:href'>p.xml?spbhid=LINK</replace>",
        ),
        (
            "a patch without a selector, and of nothing",
            "<add>a.mpd</add><replace sel=''>a.mpd</replace><remove sel='/MPD/BaseURL'/>",
            "<add>a.mpd</add><replace sel=''>a.mpd</replace><remove sel='/MPD/BaseURL'/>",
        ),
        (
            "a namespace",
            "<m:BaseURL>a.mp4</m:BaseURL>",
            "<m:BaseURL>a.mp4?spbhid=LINK</m:BaseURL>",
        ),
        (
            "a comment",
            "<!-- <BaseURL>a.mp4</BaseURL> -->",
            "<!-- <BaseURL>a.mp4</BaseURL> -->",
        ),
        (
            "an attribute of another element",
            "<S media='a'/>",
            "<S media='a'/>",
        ),
        (
            "a sign of another attribute",
            "<SegmentTemplate x=' media=1' media='a>b'/>",
            "<SegmentTemplate x=' media=1' media='a&gt;b?spbhid=LINK'/>",
        ),
    ];
    for (cause, inner, expected) in cases {
        for (head, foot) in [
            ("<MPD>", "</MPD>"),
            (
                "<?xml version=\"1.0\"?>\r\n<Patch a='b'>\r\n",
                "\r\n</Patch>\n",
            ),
            ("\u{feff}<MPD>", "</MPD>"),
        ] {
            let manifest = format!("{head}{inner}{foot}");
            assert_eq!(
                rewritten(&manifest),
                format!("{head}{expected}{foot}"),
                "{cause}"
            );
        }
    }
}

#[test]
fn what_is_below_a_base_is_listed_where_that_leads() {
    let key = LinkKey::new(b"k");
    let link = Link {
        stream: "h.example/live/a".parse().unwrap(),
        origin: "one".into(),
        target: Target::plain("10.0.0.1".parse().unwrap(), 8080),
        expires: 1,
        viewing: None,
    };
    let stamping = Stamping {
        key: &key,
        stream: &link.stream,
        origin: &link.origin,
        lets_in: false,
    };
    let page = Page {
        stamping: Some(stamping),
        ..PAGE
    };
    // A description; the bases, outermost first; where the template leads.
    let rows: [(&str, &[&str], &str); 7] = [
        ("none", &[], "/live/v0/12"),
        ("a folder", &["dash/"], "/live/dash/v0/12"),
        ("two folders", &["dash/", "v/"], "/live/dash/v/v0/12"),
        ("from the root", &["dash/", "/v/"], "/v/v0/12"),
        ("in full", &["http://10.0.0.1:8080/d/"], "/d/v0/12"),
        ("a file", &["dash/a.mp4"], "/live/dash/v0/12"),
        ("a folder up", &["dash/", "../"], "/live/v0/12"),
    ];
    for (cause, bases, path) in rows {
        let mut body = "<SegmentTemplate media='$RepresentationID$/$Number$'/>".to_owned();
        for base in bases.iter().rev() {
            body = format!("<Period><BaseURL>{base}</BaseURL>{body}</Period>");
        }
        let manifest = format!("<MPD>{body}</MPD>");
        let out = rewrite(manifest.as_bytes(), &page).unwrap();
        let out = String::from_utf8(out.into_owned()).unwrap();
        let (_, stamp) = out.split_once("$?spbhid=LINK.").expect(cause);
        let (stamp, _) = stamp.split_once('\'').expect(cause);
        assert!(is_listed(&key, &link, stamp, path), "{cause}: {out}");
        for other in ["/stat", "/live/x/v0/12", "/v0/12", "/x/y/12"] {
            assert!(!is_listed(&key, &link, stamp, other), "{cause}: {other}");
        }
    }
}

#[test]
fn what_is_below_a_base_at_another_origin_has_the_link_of_that_one() {
    let there = OriginId::from("two");
    let others = [Other {
        authority: ["10.0.0.2:8080"],
        link: "TWO",
        origin: &there,
    }];
    let page = Page {
        others: &others,
        ..PAGE
    };
    let template = "<SegmentTemplate media='a'/>";
    let rows = [
        (
            "a folder",
            "<BaseURL>http://10.0.0.2:8080/v/</BaseURL>",
            "<BaseURL>/v/</BaseURL>",
            "a?spbhid=TWO",
        ),
        (
            "a folder within",
            "<BaseURL>http://10.0.0.2:8080/v/</BaseURL><Period><BaseURL>w/</BaseURL>",
            "<BaseURL>/v/</BaseURL><Period><BaseURL>w/</BaseURL>",
            "a?spbhid=TWO",
        ),
        (
            "a file",
            "<BaseURL>http://10.0.0.2:8080/v.mp4</BaseURL>",
            "<BaseURL>/v.mp4?spbhid=TWO</BaseURL>",
            "a?spbhid=TWO",
        ),
        (
            "back at ours",
            "<BaseURL>http://10.0.0.2:8080/v/</BaseURL><Period><BaseURL>http://10.0.0.1:8080/w/</BaseURL>",
            "<BaseURL>/v/</BaseURL><Period><BaseURL>/w/</BaseURL>",
            "a?spbhid=LINK",
        ),
        (
            "several",
            "<BaseURL>http://10.0.0.2:8080/v/</BaseURL><BaseURL>http://10.0.0.1:8080/w/</BaseURL>",
            "<BaseURL>/v/</BaseURL><BaseURL>/w/</BaseURL>",
            "a",
        ),
        (
            "several, ours first",
            "<BaseURL>w/</BaseURL><BaseURL>http://10.0.0.2:8080/v/</BaseURL>",
            "<BaseURL>w/</BaseURL><BaseURL>/v/</BaseURL>",
            "a",
        ),
    ];
    for (cause, bases, expected, media) in rows {
        let end = if bases.contains("<Period>") {
            "</Period>"
        } else {
            ""
        };
        let manifest = format!("<MPD>{bases}{template}{end}</MPD>");
        let out = rewrite(manifest.as_bytes(), &page).unwrap().into_owned();
        let written = template.replace("'a'", &format!("'{media}'"));
        let expected = format!("<MPD>{expected}{written}{end}</MPD>");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{cause}");
    }
}

#[test]
fn a_manifest_in_another_encoding_is_written_in_that() {
    let manifest = b"<?xml encoding='ISO-8859-1'?><MPD t='caf\xe9'><Location>http://10.0.0.1:8080/\xe9&#x20ac;.mpd</Location></MPD>";
    let expected = b"<?xml encoding='ISO-8859-1'?><MPD t='caf\xe9'><Location>/\xe9&#8364;.mpd?spbhid=LINK</Location></MPD>";
    assert_eq!(rewrite(manifest, &PAGE).as_deref(), Ok(&expected[..]));
}

#[test]
fn what_is_no_manifest_is_said_to_be_none() {
    let kind = RewriteError::Kind("manifest");
    let deep = format!("<MPD>{}", "<a>".repeat(40));
    let cases = [
        ("nothing", "", kind),
        ("a page", "<html></html>", kind),
        ("a playlist", "#EXTM3U\n", kind),
        ("cut short", "<MPD><Period>", kind),
        ("crossed tags", "<MPD><a></MPD></a>", RewriteError::Xml(8)),
        ("too deep", &deep, RewriteError::Nested(MAX_DEPTH)),
    ];
    for (cause, manifest, expected) in cases {
        assert_eq!(
            rewrite(manifest.as_bytes(), &PAGE),
            Err(expected),
            "{cause}"
        );
    }
}
