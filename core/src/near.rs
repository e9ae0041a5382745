//! Names that nobody knows, and those that may have been meant.

use serde_json::{Map, Value};

/// The nearest of `candidates`, as the end of a sentence; empty if none is near. A name without a section is compared with
/// names without sections as well.
pub fn did_you_mean(name: &str, candidates: impl IntoIterator<Item = String>) -> String {
    let compared = candidates.into_iter().map(|it| (it.clone(), it));
    nearest(name, compared)
}

/// The same, for candidates that are compared under one name and shown under another.
pub fn nearest(name: &str, candidates: impl IntoIterator<Item = (String, String)>) -> String {
    let near = (name.len() / 3).clamp(1, 6);
    let distance = |candidate: &str| {
        let bare = candidate
            .split_once('.')
            .filter(|_| !name.contains('.'))
            .map(|(_, key)| edit_distance(name, key));
        bare.unwrap_or(usize::MAX)
            .min(edit_distance(name, candidate))
    };
    let nearest = candidates
        .into_iter()
        .map(|(compared, shown)| (distance(&compared), shown))
        .min();
    nearest
        .filter(|(distance, _)| *distance <= near)
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The keys of a table that are none of `known`, in one sentence with what may have been meant; `None` where all are known.
pub fn unknown_keys(fields: &Map<String, Value>, known: &[&str]) -> Option<String> {
    let unknown: Vec<&String> = fields
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .take(MOST_TOLD)
        .collect();
    match unknown.as_slice() {
        [] => None,
        [key] => {
            let meant = did_you_mean(key, known.iter().map(|known| (*known).to_owned()));
            let meant = match meant.is_empty() {
                true => format!("; there are {}", known.join(", ")),
                false => meant,
            };
            Some(format!("unknown key {key}{meant}"))
        }
        keys => {
            let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
            let (keys, known) = (keys.join(", "), known.join(", "));
            Some(format!("unknown keys {keys}; there are {known}"))
        }
    }
}

/// How many characters must be added, removed, changed or swapped with their neighbour to turn `a` into `b`. Of a name
/// longer than any setting's, only the beginning counts.
fn edit_distance(a: &str, b: &str) -> usize {
    // In capitals a name is another one, and meant to be this one.
    let letters = |name: &str| name.to_ascii_lowercase().chars().take(LONGEST).collect();
    let [a, b]: [Vec<char>; 2] = [a, b].map(letters);
    let mut cost = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            cost[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = cost[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped {
                    cost[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                changed
                    .min(swap)
                    .min(cost[i - 1][j] + 1)
                    .min(cost[i][j - 1] + 1)
            };
        }
    }
    cost[a.len()][b.len()]
}

/// Characters of a name that are compared.
const LONGEST: usize = 128;
/// Keys of one table that are told of.
const MOST_TOLD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("lisen", "listen", 1),
            ("rmtp", "rtmp", 1),
            ("same", "same", 0),
            ("LISTEN", "listen", 0),
        ] {
            assert_eq!(edit_distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let paths = || ["rtmp.listen", "http.listen", "origins.ttl"].map(str::to_owned);
        assert_eq!(
            did_you_mean("rtmp.lisen", paths()),
            "; did you mean `rtmp.listen`?"
        );
        assert_eq!(
            did_you_mean("tll", paths()),
            "; did you mean `origins.ttl`?"
        );
        assert_eq!(did_you_mean("colour.scheme", paths()), "");
    }

    #[test]
    fn keys_that_nobody_knows_are_told_together() {
        let known = ["rtmp", "weight"];
        for (keys, expected) in [
            (&["rtmp"][..], None),
            (&["rmtp"], Some("unknown key rmtp; did you mean `rtmp`?")),
            (
                &["colour"],
                Some("unknown key colour; there are rtmp, weight"),
            ),
            (
                &["rmtp", "weight", "wieght"],
                Some("unknown keys rmtp, wieght; there are rtmp, weight"),
            ),
        ] {
            let fields = keys.iter().map(|key| ((*key).to_owned(), Value::Null));
            let told = unknown_keys(&fields.collect(), &known);
            assert_eq!(told.as_deref(), expected);
        }
    }
}
