//! A description that is accepted is rewritten to one that is accepted again and then stays unchanged; only candidate
//! lines are added or removed.

use sluicegate_core::rtc::sdp::{
    Announced, MAX_SDP, answer, client_fragment, offer, origin_fragment,
};

/// The input is a description.
pub fn law(data: &[u8]) {
    let announced = Announced {
        addresses: vec![([203, 0, 113, 7], 8000).into()],
        tcp: true,
    };
    if let Ok(once) = answer(data, &announced) {
        lines(data, &once.sdp);
        if once.sdp.len() <= MAX_SDP {
            assert_eq!(answer(once.sdp.as_bytes(), &announced), Ok(once));
        }
    }
    if let Ok(once) = offer(data) {
        lines(data, &once.sdp);
        if once.sdp.len() <= MAX_SDP {
            assert_eq!(offer(once.sdp.as_bytes()), Ok(once));
        }
    }
    if let Ok(once) = client_fragment(data) {
        lines(data, &once.sdp);
    }
    if let Ok(once) = origin_fragment(data, &announced) {
        lines(data, &once.sdp);
    }
}

fn lines(before: &[u8], after: &str) {
    let kept = |line: &&str| {
        let attribute = line
            .strip_prefix("a=")
            .and_then(|rest| rest.split_once(':'));
        !attribute.is_some_and(|(name, _)| {
            ["candidate", "remote-candidates"]
                .iter()
                .any(|known| name.trim().eq_ignore_ascii_case(known))
        })
    };
    let before = std::str::from_utf8(before).expect("it was taken as text");
    assert_eq!(
        before.lines().filter(kept).count(),
        after.lines().filter(kept).count()
    );
}
