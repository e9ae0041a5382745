//! The origins that failed a session: each once, with what it did last, however often that was. A session that is held asks
//! the same origins several times a second.

use sluicegate_core::fleet::origin::OriginId;

/// Those that failed, the last to do so at the end.
#[derive(Debug, Default)]
pub(super) struct Failures(Vec<Failure>);

#[derive(Debug)]
struct Failure {
    origin: OriginId,
    why: String,
    times: u64,
}

impl Failures {
    /// An origin failed, once more perhaps.
    pub(super) fn note(&mut self, origin: OriginId, mut why: String) {
        if let Some((end, _)) = why.char_indices().nth(LONGEST) {
            why.truncate(end);
        }
        let before = self.0.iter().position(|one| one.origin == origin);
        let times = match before {
            Some(at) => self.0.remove(at).times,
            None => 0,
        };
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(Failure {
            origin,
            why,
            times: times.saturating_add(1),
        });
    }

    /// Each, with what went wrong in words.
    pub(super) fn told(&self) -> Vec<(OriginId, String)> {
        let told = |one: &Failure| match one.times {
            1 => one.why.clone(),
            times => format!("{}; it failed {times} times", one.why),
        };
        let each = self.0.iter().map(|one| (one.origin.clone(), told(one)));
        each.collect()
    }
}

/// Origins that are kept, those that failed last: a line of the log has room for them, and for the rest of the session.
const MOST: usize = 16;
/// Characters of what went wrong.
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(noted: &[(&str, &str)]) -> Vec<String> {
        let mut failures = Failures::default();
        for (origin, why) in noted {
            failures.note(OriginId::from(*origin), (*why).to_owned());
        }
        let told = failures.told().into_iter();
        told.map(|(origin, why)| format!("{origin}: {why}"))
            .collect()
    }

    #[test]
    fn each_origin_is_told_once() {
        for (noted, expected) in [
            (&[][..], &[][..]),
            (&[("a", "refused")], &["a: refused"]),
            (
                &[("a", "refused"), ("b", "silent")],
                &["a: refused", "b: silent"],
            ),
            (
                &[("a", "refused"), ("b", "silent"), ("a", "closed")],
                &["b: silent", "a: closed; it failed 2 times"],
            ),
        ] {
            assert_eq!(told(noted), expected, "{noted:?}");
        }
    }

    #[test]
    fn however_many_fail_what_is_kept_has_a_bound() {
        let mut failures = Failures::default();
        for round in 0..100 {
            for number in 0..40 {
                let why = format!("{round} {}", "ü".repeat(1000));
                failures.note(OriginId::from(format!("o{number}")), why);
            }
        }
        let told = failures.told();
        assert_eq!(told.len(), MOST);
        assert_eq!(told.last().unwrap().0, OriginId::from("o39"));
        assert!(told.iter().all(|(_, why)| why.chars().count() < 240));
    }
}
