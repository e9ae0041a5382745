//! The plan of `sluicegate rebalance`, for people.

use super::table::table;
use super::tell::{folded, missing};
use crate::api::{Overloaded, PlannedMove, Rebalance};

/// The overloaded origins, what leaves them, and what stays. `dry_run`: nothing has begun.
pub(super) fn told(plan: &Rebalance, dry_run: bool) -> String {
    let mut text: String = plan.overloaded.iter().map(overloaded).collect();
    if plan.overloaded.is_empty() {
        text.push_str("no origin is overloaded\n");
    }
    if !plan.moves.is_empty() {
        let begins = if dry_run { "BEGINS" } else { "BEGUN" };
        let heading = ["STREAM", "FROM", "TO", "KBIT/S", begins];
        let rows: Vec<[String; 5]> = plan.moves.iter().map(|it| row(it, dry_run)).collect();
        text.push_str(&format!("\n{}", table(heading, &rows)));
    }
    if dry_run && !plan.overloaded.is_empty() {
        let words = match plan.enabled {
            true => {
                "streams move by themselves, when an overload lasts (placement.rebalance_after)"
            }
            false => {
                "nothing moves by itself, because placement.rebalance is off; without --dry-run, these moves begin"
            }
        };
        text.push_str(&format!("\n{}", folded(words)));
    }
    text + &missing(&plan.coverage)
}

fn overloaded(it: &Overloaded) -> String {
    let Overloaded {
        origin,
        load_percent,
        after_percent,
        excess_kbps,
        leaving_kbps,
        ..
    } = it;
    let through = it.proxy.as_ref();
    let through = through.map_or_else(String::new, |proxy| format!(" through {proxy}"));
    let outcome = match leaving_kbps {
        0 => "none can leave".to_owned(),
        leaving => format!("{leaving} kbit/s leave, and it is at {after_percent:.0}% then"),
    };
    let staying = it.staying.iter().filter(|(why, _)| *why != "not_needed");
    let staying = staying.map(|(why, count)| format!("; {count} {}", stays(why, *count)));
    folded(&format!(
        "{origin} is at {load_percent:.0}%: {excess_kbps} kbit/s are too many{through}; {outcome}{}",
        staying.collect::<String>()
    ))
}

/// Why streams stay, after their number.
fn stays(why: &str, count: u64) -> String {
    let (stay, fit, were, have) = match count {
        1 => ("stays", "fits", "was", "has"),
        _ => ("stay", "fit", "were", "have"),
    };
    match why {
        "new" => format!("{stay}, of which the load is not known yet"),
        "no_room" => format!("{fit} nowhere else"),
        "not_ours" => format!("{stay}, published through another proxy or another way"),
        "publisher" => format!("{stay}, with a publisher that cannot be moved"),
        "rests" => format!("{were} moved lately"),
        "viewers" => format!("{have} viewers that could not follow"),
        other => format!("{stay} ({other})"),
    }
}

fn row(it: &PlannedMove, dry_run: bool) -> [String; 5] {
    let begins = match (it.begins, dry_run) {
        (true, true) => "now",
        (true, false) => "yes",
        (false, true) => "later",
        (false, false) => "no",
    };
    [
        it.stream.clone(),
        it.from.clone(),
        it.to.clone(),
        it.kbps.to_string(),
        begins.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::operate::table::WIDTH;

    fn plan(enabled: bool) -> Rebalance {
        let document = json!({"enabled": enabled,
        "overloaded": [{"origin": "hot", "load_percent": 93.4, "after_percent": 79.6, "excess_kbps": 1400,
            "leaving_kbps": 1500, "staying": {"viewers": 1, "rests": 2, "not_needed": 7}}],
        "moves": [
            {"stream": "v/live/a", "from": "hot", "to": "cool", "kbps": 900, "begins": true},
            {"stream": "v/live/b", "from": "hot", "to": "cold", "kbps": 600},
        ]});
        serde_json::from_value(document).expect("a plan")
    }

    #[test]
    fn a_plan_says_what_leaves_and_what_stays() {
        let text = told(&plan(false), true);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "hot is at 93%: 1400 kbit/s are too many; 1500 kbit/s leave, and it is at 80% then",
            "2 were moved lately; 1 has viewers that could not follow",
            "v/live/a hot cool 900 now",
            "v/live/b hot cold 600 later",
            "placement.rebalance is off",
        ] {
            assert!(words.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("not_needed"), "{text}");
        let by_itself = told(&plan(true), true);
        assert!(by_itself.contains("move by themselves"), "{by_itself}");
        let begun = told(&plan(false), false);
        assert!(
            begun.contains("BEGUN") && begun.contains("yes") && !begun.contains("placement"),
            "{begun}"
        );
        assert_eq!(
            told(&Rebalance::default(), true),
            "no origin is overloaded\n"
        );
    }

    #[test]
    fn what_cannot_leave_is_told() {
        let document = json!({"overloaded": [{"origin": "hot", "proxy": "p1", "load_percent": 90.0, "excess_kbps": 100,
            "staying": {"no_room": 1, "weather": 3}}]});
        let plan: Rebalance = serde_json::from_value(document).expect("a plan");
        let text = told(&plan, false);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words,
            "hot is at 90%: 100 kbit/s are too many through p1; none can leave; 1 fits nowhere else; 3 stay (weather)"
        );
    }
}
