//! Session descriptions: what changes in them, and that nothing else does.

use proptest::prelude::*;
use sluicegate_core::rtc::sdp::{
    Announced, Check, MAX_CANDIDATES, MAX_SDP, MAX_SECTIONS, SdpError, answer, checks,
    client_fragment, offer, origin_fragment,
};

const PASSWORD: &str = "a=ice-pwd:0123456789012345678901\r\n";

fn announced(tcp: bool) -> Announced {
    Announced {
        addresses: vec![
            "203.0.113.7:8000".parse().unwrap(),
            "[2001:db8::7]:8000".parse().unwrap(),
        ],
        tcp,
    }
}

const OURS: &str = "a=candidate:1 1 udp 2130706431 203.0.113.7 8000 typ host\r\n\
    a=candidate:2 1 udp 2130706175 2001:db8::7 8000 typ host\r\n";
const OURS_TCP: &str = "a=candidate:3 1 tcp 1526726655 203.0.113.7 8000 typ host tcptype passive\r\n\
    a=candidate:4 1 tcp 1526726399 2001:db8::7 8000 typ host tcptype passive\r\n";
const PLACEHOLDER: &str = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n";

/// The answer of an origin like SRS: two bundled sections, with a candidate of each kind in each.
fn lite_answer(candidates: &str) -> String {
    format!(
        "v=0\r\no=SRS/7.0 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd1234\r\n{PASSWORD}\
         a=setup:passive\r\na=mid:0\r\n{candidates}\
         m=video 9 UDP/TLS/RTP/SAVPF 106\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd1234\r\n{PASSWORD}\
         a=mid:1\r\n{candidates}"
    )
}

#[test]
fn the_candidates_of_an_answer_become_ours_and_no_other_byte_changes() {
    let theirs = "a=candidate:0 1 udp 2130706431 10.0.0.5 8000 typ host generation 0\r\n\
        a=candidate:1 1 udp 2130706431 fd00::5 8000 typ host generation 0\r\n\
        a=candidate:2 1 tcp 2130706431 10.0.0.5 8000 typ host tcptype passive\r\n";
    let rewritten = answer(lite_answer(theirs).as_bytes(), &announced(false)).unwrap();
    assert_eq!(rewritten.sdp, lite_answer(OURS));
    let rewritten = answer(lite_answer(theirs).as_bytes(), &announced(true)).unwrap();
    assert_eq!(rewritten.sdp, lite_answer(&format!("{OURS}{OURS_TCP}")));
    assert_eq!(rewritten.credentials.len(), 2);
}

#[test]
fn every_place_where_an_origin_may_write_its_address_says_ours() {
    let cases = [
        (
            "a default address",
            "c=IN IP4 10.0.0.5",
            "c=IN IP4 203.0.113.7",
        ),
        ("one of IPv6", "c=IN IP6 fd00::5", "c=IN IP4 203.0.113.7"),
        ("a name", "c=IN IP4 origin.internal", "c=IN IP4 203.0.113.7"),
        (
            "with a time to live",
            "c=IN IP4 10.0.0.5/127",
            "c=IN IP4 203.0.113.7",
        ),
        ("no address", "c=IN IP4 0.0.0.0", "c=IN IP4 0.0.0.0"),
        (
            "RTCP",
            "a=rtcp:8000 IN IP4 10.0.0.5",
            "a=rtcp:8000 IN IP4 203.0.113.7",
        ),
        (
            "RTCP, port alone",
            "a=rtcp:53000",
            "a=rtcp:8000 IN IP4 203.0.113.7",
        ),
        (
            "RTCP nowhere",
            "a=rtcp:9 IN IP4 0.0.0.0",
            "a=rtcp:9 IN IP4 0.0.0.0",
        ),
        (
            "a reflexive candidate",
            "a=candidate:1 1 udp 1 198.51.100.9 1 typ srflx raddr 10.0.0.5 rport 1",
            "",
        ),
        (
            "odd spelling",
            "a=Candidate :1 1 UDP 1 10.0.0.5 1 typ host",
            "",
        ),
        (
            "an RTCP component",
            "a=candidate:1 2 udp 1 10.0.0.5 8001 typ host",
            "",
        ),
        (
            "a name as candidate",
            "a=candidate:1 1 udp 1 origin.local 1 typ host",
            "",
        ),
        (
            "remote candidates",
            "a=remote-candidates:1 10.0.0.5 8000",
            "",
        ),
        (
            "the end of candidates",
            "a=end-of-candidates",
            "a=end-of-candidates",
        ),
        ("lite", "a=ice-lite", "a=ice-lite"),
        (
            "anything else",
            "a=fmtp:1 x=10.0.0.5",
            "a=fmtp:1 x=10.0.0.5",
        ),
    ];
    for (cause, theirs, expected) in cases {
        // A candidate precedes it, so that ours are in the same place in every case.
        let head = format!("v=0\r\nm=audio 9 X 1\r\na=ice-ufrag:abcd\r\n{PASSWORD}");
        let text = format!("{head}a=candidate:0 1 udp 1 10.0.0.9 1 typ host\r\n{theirs}\r\n");
        let end = if expected.is_empty() { "" } else { "\r\n" };
        let rewritten = answer(text.as_bytes(), &announced(false)).unwrap();
        assert_eq!(
            rewritten.sdp,
            format!("{head}{OURS}{expected}{end}"),
            "{cause}"
        );
    }
    let text = format!(
        "v=0\r\no=- 1 2 IN IP4 10.0.0.5\r\nm=audio 8000 X 1\r\na=ice-ufrag:abcd\r\n{PASSWORD}"
    );
    let rewritten = answer(text.as_bytes(), &announced(false)).unwrap();
    let expected = format!(
        "v=0\r\no=- 1 2 IN IP4 203.0.113.7\r\nm=audio 8000 X 1\r\n{OURS}a=ice-ufrag:abcd\r\n{PASSWORD}"
    );
    assert_eq!(
        rewritten.sdp, expected,
        "an answer without candidates gets ours"
    );
}

#[test]
fn an_offer_keeps_no_address_of_its_client() {
    let text = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 54321 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.9\r\na=rtcp:54322 IN IP4 192.0.2.9\r\n\
         a=candidate:1 1 udp 2122260223 192.0.2.9 54321 typ host generation 0\r\n\
         a=candidate:2 1 tcp 1518280447 192.0.2.9 9 typ host tcptype active\r\n\
         a=ice-ufrag:EsAw\r\n{PASSWORD}a=ice-options:trickle\r\na=end-of-candidates\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:EsAw\r\n{PASSWORD}"
    );
    let rewritten = offer(text.as_bytes()).unwrap();
    let expected = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n{PLACEHOLDER}a=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:EsAw\r\n{PASSWORD}a=ice-options:trickle\r\na=end-of-candidates\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n{PLACEHOLDER}a=rtcp:9 IN IP4 0.0.0.0\r\n\
         a=ice-ufrag:EsAw\r\n{PASSWORD}"
    );
    assert_eq!(rewritten.sdp, expected);
}

#[test]
fn lines_may_end_in_a_line_feed_alone() {
    let text = "v=0\nm=audio 9 X 1\na=candidate:1 1 udp 1 10.0.0.5 1 typ host\na=ice-ufrag:ab\na=ice-pwd:0123456789012345678901";
    let rewritten = answer(text.as_bytes(), &announced(false)).unwrap();
    let ours = OURS.replace('\r', "");
    let expected =
        format!("v=0\nm=audio 9 X 1\n{ours}a=ice-ufrag:ab\na=ice-pwd:0123456789012345678901");
    assert_eq!(rewritten.sdp, expected);
}

#[test]
fn a_rejected_section_gets_no_candidates() {
    let text = format!(
        "v=0\r\nm=audio 0 X 1\r\na=inactive\r\nm=video 9 X 1\r\na=ice-ufrag:abcd\r\n{PASSWORD}"
    );
    let rewritten = answer(text.as_bytes(), &announced(false)).unwrap();
    let expected = format!(
        "v=0\r\nm=audio 0 X 1\r\na=inactive\r\nm=video 9 X 1\r\n{OURS}a=ice-ufrag:abcd\r\n{PASSWORD}"
    );
    assert_eq!(rewritten.sdp, expected);
}

#[test]
fn a_fragment_keeps_its_form() {
    let text = format!(
        "a=ice-ufrag:EsAw\r\n{PASSWORD}m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 2122260223 192.0.2.9 54321 typ host\r\na=end-of-candidates\r\n"
    );
    let rewritten = client_fragment(text.as_bytes()).unwrap();
    let expected = format!(
        "a=ice-ufrag:EsAw\r\n{PASSWORD}m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=end-of-candidates\r\n"
    );
    assert_eq!(rewritten.sdp, expected);
    let rewritten = origin_fragment(text.as_bytes(), &announced(false)).unwrap();
    assert_eq!(
        rewritten.sdp,
        expected.replace("a=end", &format!("{OURS}a=end"))
    );
    assert_eq!(rewritten.credentials[0].as_ref().unwrap().fragment, "EsAw");
}

#[test]
fn a_client_is_known_by_both_fragments() {
    let of = |fragments: &[&str]| {
        let mut text = "v=0\r\n".to_owned();
        for fragment in fragments {
            text += &format!("m=audio 9 X 1\r\na=ice-ufrag:{fragment}\r\n{PASSWORD}");
        }
        answer(text.as_bytes(), &announced(false))
            .unwrap()
            .credentials
    };
    let names = |client: &[&str], origin: &[&str]| {
        checks(&of(client), &of(origin)).map(|checks| {
            checks
                .into_iter()
                .map(|Check { username, .. }| username)
                .collect()
        })
    };
    let named = |names: &[&str]| {
        Ok::<Vec<String>, SdpError>(names.iter().map(|n| (*n).to_owned()).collect())
    };
    assert_eq!(names(&["c", "c"], &["o", "o"]), named(&["o:c"]), "bundled");
    assert_eq!(
        names(&["c", "d"], &["o", "p"]),
        named(&["o:c", "p:d"]),
        "not bundled"
    );
    let many: Vec<String> = (0..9).map(|number| format!("f{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(names(&many, &many), Err(SdpError::TooMany { .. })));
    let session = format!("v=0\r\na=ice-ufrag:s\r\n{PASSWORD}m=audio 9 X 1\r\n");
    let session = answer(session.as_bytes(), &announced(false)).unwrap();
    assert_eq!(session.credentials[0].as_ref().unwrap().fragment, "s");
}

#[test]
fn what_no_origin_should_have_to_read_is_refused() {
    let sound = format!("v=0\r\nm=audio 9 X 1\r\na=ice-ufrag:abcd\r\n{PASSWORD}");
    let with = |line: &str| format!("{sound}{line}\r\n");
    let too_many = |what, limit| SdpError::TooMany { what, limit };
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n";
    let cases = [
        ("nothing", String::new(), SdpError::Version),
        (
            "not a description",
            "hello\r\n".to_owned(),
            SdpError::Version,
        ),
        ("no section", "v=0\r\n".to_owned(), SdpError::NoCredentials),
        (
            "no credentials",
            "v=0\r\nm=audio 9 X 1\r\n".to_owned(),
            SdpError::NoCredentials,
        ),
        (
            "a line end that Python sees",
            with("a=x\u{b}a=candidate:1"),
            SdpError::ControlCharacter,
        ),
        (
            "one that JavaScript sees",
            with("a=x\u{2028}a=candidate:1"),
            SdpError::ControlCharacter,
        ),
        (
            "a carriage return alone",
            with("a=x\ra=candidate:1"),
            SdpError::ControlCharacter,
        ),
        ("a zero byte", with("a=x\0"), SdpError::ControlCharacter),
        ("a line that is none", with("candidate"), SdpError::Line),
        (
            "a space before a line",
            with(" a=candidate:1"),
            SdpError::Line,
        ),
        (
            "a short password",
            with("a=ice-pwd:short"),
            SdpError::Secret,
        ),
        (
            "a fragment with a colon",
            with("a=ice-ufrag:a:b"),
            SdpError::Secret,
        ),
        (
            "a long fragment",
            with(&format!("a=ice-ufrag:{}", "x".repeat(257))),
            SdpError::Secret,
        ),
        (
            "thousands of candidates",
            sound.clone() + &candidate.repeat(2000),
            too_many("candidates", MAX_CANDIDATES),
        ),
        (
            "hundreds of sections",
            sound.clone() + &"m=audio 9 X 1\r\n".repeat(200),
            too_many("media sections", MAX_SECTIONS),
        ),
        (
            "a megabyte",
            sound.clone() + &"a=x\r\n".repeat(200_000),
            too_many("bytes", MAX_SDP),
        ),
    ];
    for (cause, text, expected) in cases {
        assert_eq!(offer(text.as_bytes()), Err(expected), "{cause}");
    }
    assert_eq!(offer(b"v=0\r\ns=\xff\r\n"), Err(SdpError::NotText));
    // The size ladder: whatever fits is answered.
    for lines in [0, 1, 10, 100, 1000, 10_000] {
        let text = sound.clone() + &"a=rtpmap:96 VP8/90000\r\n".repeat(lines);
        assert_eq!(
            offer(text.as_bytes()).is_ok(),
            text.len() <= MAX_SDP,
            "{lines} lines"
        );
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("m=video 9 UDP/TLS/RTP/SAVPF 96".to_owned()),
        Just("m=audio 5004 UDP/TLS/RTP/SAVPF 0".to_owned()),
        Just("c=IN IP4 10.9.8.7".to_owned()),
        Just("a=rtcp:1 IN IP4 10.9.8.7".to_owned()),
        Just("a=candidate:1 1 udp 1 10.9.8.7 5 typ host".to_owned()),
        Just("a=ice-ufrag:abcd".to_owned()),
        Just("a=ice-pwd:0123456789012345678901".to_owned()),
        "a=[a-z]{1,9}(:[ -~]{0,20})?",
        "[a-z]=[ -~]{0,20}",
    ]
}

proptest! {
    #[test]
    fn no_address_of_either_side_is_left(lines in prop::collection::vec(line(), 0..40)) {
        prop_assume!(lines.iter().all(|line| !line.contains("ice-") || line.contains("abcd") || line.contains("0123")));
        let text = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        for rewritten in [answer(text.as_bytes(), &announced(false)), offer(text.as_bytes())].into_iter().flatten() {
            prop_assert!(!rewritten.sdp.contains("10.9.8.7"), "{}", rewritten.sdp);
            // Lines without an address are unchanged and in order.
            let plain = |line: &&str| !["m=", "c=", "o=", "a=rtcp:", "a=candidate", "a=remote-candidates"].iter().any(|start| line.starts_with(start));
            let before: Vec<&str> = text.lines().filter(plain).collect();
            let after: Vec<&str> = rewritten.sdp.lines().filter(plain).collect();
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn rewriting_twice_changes_nothing_more(lines in prop::collection::vec(line(), 0..40)) {
        let text = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        if let Ok(once) = answer(text.as_bytes(), &announced(true)) {
            let twice = answer(once.sdp.as_bytes(), &announced(true)).unwrap();
            prop_assert_eq!(once, twice);
        }
    }
}
