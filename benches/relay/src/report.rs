//! Turns samples into ratios: a Markdown table, or JSON.

use serde_json::{Map, Value, json};

use crate::measure::{Case, Load, NOISY, Sample, Shape};
use crate::process::Kind;
use crate::spread::{Spread, counted_rounds};
use crate::wire::Protocol;

/// The samples: one entry per case and relay, with one sample per round.
pub(crate) type Samples = [(Case, Kind, Vec<Sample>)];

/// One line per case and relay, then what went wrong and whether the goals are met.
pub(crate) fn table(samples: &Samples) -> String {
    let (mut out, mut notes) = (String::new(), String::new());
    for (case, kind, taken) in samples {
        let columns = columns(samples, *case, *kind, taken);
        if out.is_empty() {
            let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
            let rule = "--:|".repeat(titles.len());
            out = format!(
                "| case | relay | {} |\n|---|---|{rule}\n",
                titles.join(" | ")
            );
        }
        out += &format!("| {case} | {} |", kind.name());
        for Column {
            title,
            decimals,
            spread,
            goal,
            ..
        } in columns
        {
            let Some(Spread { median, low, high }) = spread else {
                out += " - |";
                continue;
            };
            out += &match title {
                CPU_RATIO => format!(" {median:.2} ({low:.2}–{high:.2}) |"),
                _ => format!(" {median:.decimals$} |"),
            };
            if let Some(goal) = goal {
                let verdict = if median <= goal { "met" } else { "MISSED" };
                notes += &format!("- {case}: {title} {median:.2}, goal {goal}: {verdict}\n");
            }
        }
        out.push('\n');
        let failed: usize = taken.iter().map(|sample| sample.failures.len()).sum();
        if failed > 0 {
            notes += &format!(
                "- {case} through {}: {failed} players FAILED\n",
                kind.name()
            );
        }
        let noisy = taken.iter().filter(|sample| sample.foreign > NOISY).count();
        if noisy > 0 {
            notes += &format!(
                "- {case} through {}: {noisy} of {} rounds noisy\n",
                kind.name(),
                taken.len()
            );
        }
    }
    out + "\n" + &notes
}

/// An array of objects; a spread is `[lowest, median, highest]` over the rounds.
pub(crate) fn json(samples: &Samples) -> Value {
    let objects = samples.iter().map(|(case, kind, taken)| {
        let spreads = columns(samples, *case, *kind, taken)
            .into_iter()
            .map(|column| {
                let spread = column.spread.map(Spread::ordered);
                (column.key.to_owned(), json!(spread))
            });
        let mut object: Map<String, Value> = spreads.collect();
        let failures: Vec<&String> = taken.iter().flat_map(|sample| &sample.failures).collect();
        let noisy = taken.iter().filter(|sample| sample.foreign > NOISY).count();
        for (key, value) in [
            ("rounds", json!(taken.len())),
            ("noisy_rounds", json!(noisy)),
            ("failures", json!(failures)),
        ] {
            object.insert(key.to_owned(), value);
        }
        object.insert("case".to_owned(), json!(case.to_string()));
        object.insert("relay".to_owned(), json!(kind.name()));
        Value::Object(object)
    });
    objects.collect()
}

/// The limits of a case.
#[derive(Default)]
struct Goals {
    /// CPU per GB against the same build with a leg for each viewer.
    to_off: Option<f64>,
    /// The same against HAProxy.
    to_haproxy: Option<f64>,
    /// kB per connection.
    resident: Option<f64>,
    /// Milliseconds of set-up more than without a relay.
    added: Option<f64>,
    /// Milliseconds of latency more than without a relay.
    added_latency: Option<f64>,
}

/// The limits of a pull that many viewers share; what is not measured against a limit elsewhere has none.
fn fanout_goals(kind: Kind, shape: Shape) -> Goals {
    let large = shape.kilobits >= 20_000;
    let (coalesce, to_off, resident) = match kind {
        Kind::Hub => (40.0, Some(if large { 0.55 } else { 0.42 }), 6.0),
        Kind::Hub20 => (20.0, Some(0.60).filter(|_| !large), 6.0),
        Kind::HubChecked => (40.0, Some(if large { 0.55 } else { 0.42 }), 9.0),
        _ => return Goals::default(),
    };
    Goals {
        to_off,
        to_haproxy: Some(if large { 0.80 } else { 0.65 }),
        // With fewer, what all viewers share weighs more than what each has.
        resident: Some(resident).filter(|_| shape.players >= 500),
        // To the first media byte after the connect.
        added: Some(150.0),
        added_latency: Some(coalesce + 5.0),
    }
}

struct Column {
    title: &'static str,
    key: &'static str,
    decimals: usize,
    spread: Option<Spread>,
    /// The limit that Sluicegate should stay within.
    goal: Option<f64>,
}

fn columns(samples: &Samples, case: Case, kind: Kind, taken: &[Sample]) -> Vec<Column> {
    let of_case = || samples.iter().filter(|(of, ..)| *of == case);
    // A round is one comparison: it counts for every relay or for none.
    let counted = counted_rounds(taken.len(), |round| {
        of_case().all(|(_, _, taken)| {
            taken
                .get(round)
                .is_some_and(|sample| sample.foreign <= NOISY)
        })
    });
    let each = |value: &dyn Fn(&Sample) -> f64| {
        Spread::of(counted.iter().map(|round| value(&taken[*round])))
    };
    let load =
        |value: fn(&Load) -> f64| each(&|sample| sample.load.as_ref().map_or(f64::NAN, value));
    // Ratios and differences are taken within a round, so that a slow minute of the machine cancels out.
    let against = |other: Kind, value: fn(&Sample, &Sample) -> f64| {
        let (_, _, theirs) = of_case().find(|(_, by, _)| *by == other && other != kind)?;
        Spread::of(
            counted
                .iter()
                .filter_map(|round| Some(value(taken.get(*round)?, theirs.get(*round)?))),
        )
    };
    let column = |title, key, decimals, spread| Column {
        title,
        key,
        decimals,
        spread,
        goal: None,
    };
    let relays = |spread: Option<Spread>| spread.filter(|_| kind != Kind::Direct);
    let ours = |goal: f64| Some(goal).filter(|_| kind == Kind::Sluicegate);
    let goals = match case {
        Case::Fanout(_, shape, _) => fanout_goals(kind, shape),
        // A pure pass-through only has to match it; RTMP and HTTP have to be better.
        Case::Load(Protocol::Rtsp, _) => Goals {
            to_haproxy: ours(1.0),
            resident: ours(4.0),
            added: ours(1.5),
            ..Goals::default()
        },
        Case::Burst(_) | Case::Load(..) | Case::Sequence(_) => Goals {
            to_haproxy: ours(0.9),
            resident: ours(4.0),
            added: ours(1.5),
            ..Goals::default()
        },
    };
    vec![
        column("Gbit/s", "gbit_per_s", 2, load(|load| load.gigabits)),
        column(
            "% of offered",
            "received_percent",
            0,
            load(|load| load.kept_up * 100.0),
        ),
        column(
            "CPU-s/GB",
            "relay_cpu_s_per_gb",
            3,
            relays(load(|load| load.cpu.total())),
        ),
        Column {
            goal: goals.to_off,
            ..column(
                "CPU ÷ off",
                "relay_cpu_over_off",
                2,
                relays(against(Kind::Sluicegate, |a, b| a.cpu() / b.cpu())),
            )
        },
        Column {
            goal: goals.to_haproxy,
            ..column(
                CPU_RATIO,
                "relay_cpu_over_haproxy",
                2,
                relays(against(Kind::Haproxy, |a, b| a.cpu() / b.cpu())),
            )
        },
        column(
            "all CPU-s/GB",
            "all_cpu_s_per_gb",
            2,
            load(|load| load.machine),
        ),
        Column {
            goal: goals.resident,
            ..column(
                "kB/conn",
                "resident_kb_per_connection",
                1,
                relays(load(|load| load.resident)),
            )
        },
        column(
            "set-up p50 ms",
            "set_up_p50_ms",
            2,
            each(&|sample| sample.p50),
        ),
        column("p99 ms", "set_up_p99_ms", 2, each(&|sample| sample.p99)),
        column(
            "p50 ÷ direct",
            "set_up_p50_over_direct",
            2,
            against(Kind::Direct, |a, b| a.p50 / b.p50),
        ),
        column(
            "p50 ÷ HAProxy",
            "set_up_p50_over_haproxy",
            2,
            against(Kind::Haproxy, |a, b| a.p50 / b.p50),
        ),
        column(
            "p99 ÷ HAProxy",
            "set_up_p99_over_haproxy",
            2,
            against(Kind::Haproxy, |a, b| a.p99 / b.p99),
        ),
        column(
            "latency p50 ms",
            "latency_p50_ms",
            1,
            load(|load| load.latency).filter(|spread| spread.median.is_finite()),
        ),
        Column {
            goal: goals.added_latency,
            ..column(
                "added latency p50 ms",
                "added_latency_p50_ms",
                1,
                against(Kind::Direct, |a, b| a.latency() - b.latency())
                    .filter(|spread| spread.median.is_finite()),
            )
        },
        Column {
            goal: goals.added,
            ..column(
                "added p50 ms",
                "set_up_p50_added_ms",
                2,
                against(Kind::Direct, |a, b| a.p50 - b.p50),
            )
        },
    ]
}

const CPU_RATIO: &str = "CPU ÷ HAProxy";
