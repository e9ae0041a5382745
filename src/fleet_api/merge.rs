//! One document from many. What origins say is taken as it comes: numbers that overflow saturate, what has another
//! shape than it should is left out.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

/// The lists an origin has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Clients,
    Streams,
    Vhosts,
}

/// The documents whose numbers are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Summed {
    Features,
    Meminfos,
    Rusages,
    SelfProcStats,
    Summaries,
    SystemProcStats,
}

/// An origin as answers name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) origin: String,
    pub(super) device_id: Option<String>,
}

/// What one origin said.
#[derive(Debug)]
pub(super) struct OriginAnswer {
    pub(super) named: Named,
    pub(super) document: Value,
}

impl List {
    pub(super) const ALL: [Self; 3] = [Self::Clients, Self::Streams, Self::Vhosts];

    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Streams => "streams",
            Self::Vhosts => "vhosts",
        }
    }

    pub(super) const fn singular(self) -> &'static str {
        match self {
            Self::Clients => "client",
            Self::Streams => "stream",
            Self::Vhosts => "vhost",
        }
    }

    /// What SRS answers where there is no such row.
    pub(super) const fn not_found(self) -> i64 {
        match self {
            Self::Clients => 2049,
            Self::Streams => 2048,
            Self::Vhosts => 2047,
        }
    }
}

impl Summed {
    pub(super) const ALL: [Self; 6] = [
        Self::Features,
        Self::Meminfos,
        Self::Rusages,
        Self::SelfProcStats,
        Self::Summaries,
        Self::SystemProcStats,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Meminfos => "meminfos",
            Self::Rusages => "rusages",
            Self::SelfProcStats => "self_proc_stats",
            Self::Summaries => "summaries",
            Self::SystemProcStats => "system_proc_stats",
        }
    }
}

/// The rows of all, at most `most` of each: vhosts by name, all others with the origin they are on, ordered by it and
/// by their ids, so that a page shows what it showed before as long as nobody comes or goes.
pub(super) fn rows(list: List, answers: Vec<OriginAnswer>, most: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    for OriginAnswer {
        named,
        mut document,
    } in answers
    {
        let Value::Array(found) = document[list.plural()].take() else {
            continue;
        };
        let objects = found.into_iter().filter_map(|row| match row {
            Value::Object(row) => Some(row),
            _ => None,
        });
        for mut row in objects.take(most) {
            row.insert("origin".to_owned(), json!(named.origin));
            row.insert("device_id".to_owned(), json!(named.device_id));
            rows.push(row);
        }
    }
    let place = |row: &Map<String, Value>| {
        let text = |name| {
            row.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        (text("origin"), text("id"))
    };
    rows.sort_by_cached_key(place);
    if list == List::Vhosts {
        return vhosts(rows);
    }
    rows.into_iter().map(Value::Object).collect()
}

/// Whether a row goes by `id`: by its own, or for a vhost by the one it has on some origin.
pub(super) fn goes_by(row: &Value, id: &str) -> bool {
    let same = |row: &Value| row["id"] == id;
    let origins = row["origins"].as_array();
    same(row) || origins.is_some_and(|origins| origins.iter().any(same))
}

/// A vhost has one name and, on each origin, another id: the first origin's stands for all.
fn vhosts(rows: Vec<Map<String, Value>>) -> Vec<Value> {
    let mut merged: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for mut row in rows {
        let Some(name) = row.get("name").and_then(Value::as_str).map(str::to_owned) else {
            continue;
        };
        let mut of = |name: &str| row.remove(name).unwrap_or_default();
        let part =
            json!({"origin": of("origin"), "device_id": of("device_id"), "id": row.get("id")});
        let Some(sums) = merged.get_mut(&name) else {
            row.insert("origins".to_owned(), json!([part]));
            merged.insert(name, row);
            continue;
        };
        if let Some(Value::Array(origins)) = sums.get_mut("origins") {
            origins.push(part);
        }
        for (name, value) in row {
            if name == "id" || name == "origins" {
                continue;
            }
            let slot = sums.entry(name).or_insert(Value::Null);
            *slot = either(slot.take(), value, DEEPEST);
        }
    }
    merged.into_values().map(Value::Object).collect()
}

/// Numbers are added, a flag is on where it is on anywhere, what is said first stands otherwise.
fn either(a: Value, b: Value, depth: usize) -> Value {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Value::Bool(a || b),
        (Value::Number(a), Value::Number(b)) => add(&a, &b),
        (Value::Object(mut a), Value::Object(b)) if depth > 0 => {
            for (name, value) in b {
                let slot = a.entry(name).or_insert(Value::Null);
                *slot = either(slot.take(), value, depth - 1);
            }
            Value::Object(a)
        }
        (Value::Null, b) => b,
        (a, _) => a,
    }
}

/// The `data` of all in one: numbers added, averaged or the greatest taken, as their names ask for; flags on where they
/// are on everywhere; `origins` has what each one said.
pub(super) fn sums(answers: Vec<OriginAnswer>) -> Value {
    let mut parts = Vec::new();
    let mut origins = Vec::new();
    for OriginAnswer {
        named,
        mut document,
    } in answers
    {
        let Value::Object(data) = document["data"].take() else {
            continue;
        };
        let mut own = data.clone();
        own.insert("origin".to_owned(), json!(named.origin));
        own.insert("device_id".to_owned(), json!(named.device_id));
        origins.push(Value::Object(own));
        parts.push(Value::Object(data));
    }
    let count = parts.len().max(1) as f64;
    let mut merged = parts
        .into_iter()
        .reduce(|a, b| together("", a, b, DEEPEST))
        .unwrap_or_else(|| json!({}));
    average("", &mut merged, count, DEEPEST);
    merged["origins"] = Value::Array(origins);
    merged
}

fn together(name: &str, a: Value, b: Value, depth: usize) -> Value {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Value::Bool(a && b),
        (Value::Number(a), Value::Number(b)) => match Kind::of(name) {
            Kind::Greatest => greater(a, b),
            Kind::Mean | Kind::Sum => add(&a, &b),
        },
        (Value::Object(mut a), Value::Object(b)) if depth > 0 => {
            for (name, value) in b {
                let before = a.remove(&name);
                let value = match before {
                    Some(before) => together(&name, before, value, depth - 1),
                    None => value,
                };
                a.insert(name, value);
            }
            Value::Object(a)
        }
        (Value::String(a), Value::String(b)) if a != b => Value::String(MIXED.to_owned()),
        (Value::Null, b) => b,
        (a, _) => a,
    }
}

/// Divides the sums that stand for a mean.
fn average(name: &str, value: &mut Value, count: f64, depth: usize) {
    match value {
        Value::Number(sum) if Kind::of(name) == Kind::Mean => {
            let mean = sum.as_f64().unwrap_or_default() / count;
            *value = Number::from_f64(mean).map_or(Value::Null, Value::Number);
        }
        Value::Object(object) if depth > 0 => {
            for (name, value) in object {
                average(name, value, count, depth - 1);
            }
        }
        _ => {}
    }
}

/// What becomes of the same number of several origins.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Greatest,
    Mean,
    Sum,
}

impl Kind {
    fn of(name: &str) -> Self {
        if name.contains("percent") || name.starts_with("load_") || name == "percent" {
            Self::Mean
        } else if name.ends_with("_time")
            || name.ends_with("uptime")
            || matches!(
                name,
                "now_ms" | "pid" | "ppid" | "major" | "minor" | "revision" | "page_size"
            )
        {
            Self::Greatest
        } else {
            Self::Sum
        }
    }
}

fn greater(a: Number, b: Number) -> Value {
    let less = a.as_f64().unwrap_or_default() < b.as_f64().unwrap_or_default();
    Value::Number(if less { b } else { a })
}

fn add(a: &Number, b: &Number) -> Value {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return json!(a.saturating_add(b));
    }
    let sum = a.as_f64().unwrap_or_default() + b.as_f64().unwrap_or_default();
    Number::from_f64(sum).map_or(Value::Null, Value::Number)
}

/// Documents of SRS nest three deep; what is deeper is taken from the first.
const DEEPEST: usize = 6;
/// Stands where origins say different things.
const MIXED: &str = "mixed";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(origin: &str, document: Value) -> OriginAnswer {
        OriginAnswer {
            named: Named {
                origin: origin.to_owned(),
                device_id: Some(format!("{origin}-label")),
            },
            document,
        }
    }

    #[test]
    fn rows_say_where_they_are_and_stay_in_order() {
        let answers = || {
            vec![
                answer(
                    "b",
                    json!({"streams": [{"id": "vid-2", "name": "x"}, {"id": "vid-1"}]}),
                ),
                answer(
                    "a",
                    json!({"streams": [{"id": "vid-9", "clients": 3}, 7, null, []]}),
                ),
                answer("c", json!({"streams": "none"})),
            ]
        };
        let merged = rows(List::Streams, answers(), 10);
        let places: Vec<_> = merged
            .iter()
            .map(|row| (row["origin"].as_str().unwrap(), row["id"].as_str().unwrap()))
            .collect();
        assert_eq!(places, [("a", "vid-9"), ("b", "vid-1"), ("b", "vid-2")]);
        assert_eq!(merged[0]["device_id"], "a-label");
        assert_eq!(merged[0]["clients"], 3);
        assert_eq!(rows(List::Streams, answers(), 1).len(), 2, "one of each");
    }

    #[test]
    fn vhosts_are_one_by_name() {
        let vhost = |id: &str, clients: i64, hls: bool| {
            json!({"vhosts": [{"id": id, "name": "__defaultVhost__", "enabled": true, "clients": clients,
                "send_bytes": i64::MAX, "kbps": {"recv_30s": 1, "send_30s": 2}, "hls": {"enabled": hls, "fragment": 10}}]})
        };
        let merged = rows(
            List::Vhosts,
            vec![
                answer("a", vhost("vid-a", 1, false)),
                answer("b", vhost("vid-b", 2, true)),
            ],
            10,
        );
        assert_eq!(merged.len(), 1);
        let row = &merged[0];
        assert_eq!(row["id"], "vid-a");
        assert_eq!(row["clients"], 3);
        assert_eq!(
            row["send_bytes"],
            i64::MAX,
            "a sum that has no room stays at the maximum"
        );
        assert_eq!(row["kbps"], json!({"recv_30s": 2, "send_30s": 4}));
        assert_eq!(row["hls"]["enabled"], true);
        assert_eq!(
            row["origins"][1],
            json!({"origin": "b", "device_id": "b-label", "id": "vid-b"})
        );
        assert!(goes_by(row, "vid-b") && goes_by(row, "vid-a") && !goes_by(row, "vid-c"));
    }

    #[test]
    fn summaries_are_summed_as_their_names_ask_for() {
        let summary = |percent: f64, uptime: i64, version: &str| {
            json!({"code": 0, "data": {"ok": true, "now_ms": uptime, "self": {"version": version, "mem_kbyte": 100,
                "cpu_percent": percent, "srs_uptime": uptime}, "system": {"conn_srs": 4, "load_1m": percent}}})
        };
        let merged = sums(vec![
            answer("a", summary(0.5, 10, "7.0.1")),
            answer("b", summary(1.5, 30, "7.0.2")),
        ]);
        assert_eq!(merged["ok"], true);
        assert_eq!(
            merged["self"],
            json!({"version": "mixed", "mem_kbyte": 200, "cpu_percent": 1.0, "srs_uptime": 30})
        );
        assert_eq!(merged["system"], json!({"conn_srs": 8, "load_1m": 1.0}));
        assert_eq!(merged["origins"][1]["self"]["srs_uptime"], 30);
        assert_eq!(merged["origins"][1]["origin"], "b");
        assert_eq!(sums(Vec::new()), json!({"origins": []}));
    }

    #[test]
    fn what_has_another_shape_is_left_out() {
        let odd = [
            json!({"data": []}),
            json!({}),
            json!({"data": {"self": 7, "origins": "x"}}),
        ];
        let merged = sums(
            odd.into_iter()
                .map(|document| answer("a", document))
                .collect(),
        );
        assert_eq!(merged["self"], 7);
        assert_eq!(merged["origins"].as_array().map(Vec::len), Some(1));
        let vhosts = json!({"vhosts": [{"name": 7}, {"name": "v", "clients": "many"}, {"name": "v", "clients": 1e308}]});
        let merged = rows(List::Vhosts, vec![answer("a", vhosts)], 10);
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0]["clients"], "many");
    }
}
