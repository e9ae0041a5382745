//! Checks the floors of the house: a file imports only from its own floor or a lower one, and rooms of one floor that
//! must not know each other do not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of a module, as `docs/architecture.md` draws it.
fn floor(module: &str) -> Option<u8> {
    Some(match module {
        "cli" | "main" => 4,
        "demo" | "logging" | "server" => 3,
        "admin" | "listener" => 2,
        "acme" | "cluster" | "fleet_api" | "hub" | "lookup" | "metrics" | "net" | "origin"
        | "placer" | "proxy" | "readiness" | "registry" | "reported" | "sessions" | "systemd" => 1,
        "api" | "bell" | "config" | "file_stamp" | "journal" | "output" | "pem" | "random"
        | "store" | "stream_names" | "unix_time" | "value" => 0,
        _ => return None,
    })
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a source directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The path of the module that a source file is: `src/listener/rtc/mod.rs` is `listener`, `rtc`.
fn module_of(inside: &Path) -> Vec<String> {
    let names = inside
        .iter()
        .map(|name| name.to_string_lossy().into_owned());
    let mut path: Vec<String> = names.collect();
    if path.last().is_some_and(|name| name == "mod") {
        path.pop();
    }
    path
}

/// The modules of this crate that the code of `module` names, each as its path from the root: by `crate::`, alone or in
/// braces, or by `super::`.
fn imports(module: &[String], text: &str) -> Vec<Vec<String>> {
    // A module of tests is one step further down.
    let code = text.split("\nmod tests {").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let words = |rest: &str| -> Vec<String> {
        let path: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
            .collect();
        let words = path.split("::").filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once("};"))
        {
            Some((names, _)) => found.extend(names.split(',').map(|name| words(name.trim()))),
            None => found.push(words(rest)),
        }
    }
    let mut rest = code.as_str();
    while let Some((_, after)) = rest.split_once("super::") {
        let mut up = 1;
        rest = after;
        while let Some(further) = rest.strip_prefix("super::") {
            up += 1;
            rest = further;
        }
        let base = module.get(..module.len().saturating_sub(up));
        found.push([base.unwrap_or_default(), &words(rest)].concat());
    }
    found.retain(|path| !path.is_empty());
    found
}

/// The listeners: all that is in their folder but what they share.
fn listeners() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/listener");
    let names = fs::read_dir(folder)
        .expect("a source directory")
        .map(|entry| {
            let path = entry.expect("an entry").path().with_extension("");
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        });
    let is_own = |name: &String| name != "mod" && !SHARED_BY_LISTENERS.contains(&name.as_str());
    names.filter(is_own).collect()
}

/// Each source file of this crate, as the module that it is, with its text.
fn modules() -> Vec<(Vec<String>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were found");
    let of = |file: &PathBuf| {
        let inside = file
            .strip_prefix(&root)
            .expect("a source")
            .with_extension("");
        (
            module_of(&inside),
            fs::read_to_string(file).expect("a source"),
        )
    };
    files.iter().map(of).collect()
}

#[test]
fn every_import_points_down() {
    let listeners = listeners();
    assert!(
        listeners.contains("srt") && listeners.contains("rtmp"),
        "{listeners:?}"
    );
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (module, text) in modules() {
        let [room, rest @ ..] = module.as_slice() else {
            continue;
        };
        let Some(own) = floor(room) else {
            assert!(room == "lib", "{room} has no floor; give it one");
            continue;
        };
        for import in imports(&module, &text) {
            let [target, further @ ..] = import.as_slice() else {
                continue;
            };
            checked += 1;
            let said = format!("{} imports {}", module.join("::"), import.join("::"));
            if floor(target).is_some_and(|below| below > own) {
                wrong.push(format!("{said} from a floor above"));
            }
            let knows = (rest.first(), further.first());
            if let (Some(from), Some(to)) = knows
                && room == "listener"
                && target == "listener"
                && from != to
                && listeners.contains(from)
                && listeners.contains(to)
                && !HOSTS.contains(&(from.as_str(), to.as_str()))
            {
                wrong.push(format!("{said}, another listener"));
            }
            let surfaces = [room.as_str(), target.as_str()];
            if surfaces == ["listener", "admin"] || surfaces == ["admin", "listener"] {
                wrong.push(format!("{said}, another surface"));
            }
        }
    }
    assert!(checked > 500, "imports were found: {checked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_read_in_each_of_their_forms() {
    let module = ["listener", "http", "live"].map(str::to_owned);
    let text = "use crate::net::relay::{self, Passage};\nuse super::super::pair;\nuse super::{Http, refusal};\n\
        // use crate::comment;\nuse crate::{health, sources};\nfn f() { crate::bell::ring(); }\n\
        mod tests {\n use super::nothing;\n}";
    let found = imports(&module, text)
        .into_iter()
        .map(|path| path.join("::"));
    let found: Vec<String> = found.collect();
    let expected = [
        "net::relay",
        "health",
        "sources",
        "bell::ring",
        "listener::pair",
        "listener::http",
    ];
    assert_eq!(found, expected);
}

/// The rooms of this crate and what each imports, by the folder or file directly in `src`.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in modules() {
        let Some(room) = module.first() else {
            continue;
        };
        let imported = rooms.entry(room.clone()).or_default();
        let paths = imports(&module, &text).into_iter();
        imported.extend(paths.filter_map(|path| path.into_iter().next()));
    }
    for room in ["lib", "main"] {
        // The one names every room, and the other is the one that names it.
        rooms.remove(room);
    }
    let known: BTreeSet<String> = rooms.keys().cloned().collect();
    for (room, imported) in &mut rooms {
        imported.retain(|name| name != room && known.contains(name));
    }
    rooms
}

/// A way from `room` back to `room` over imports, if there is one.
fn circle(rooms: &BTreeMap<String, BTreeSet<String>>, room: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![room.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way.last().expect("a way has a room");
        for next in rooms.get(last).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == room {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

#[test]
fn no_room_imports_what_imports_it() {
    let mut rooms = rooms();
    assert!(rooms.len() > 15, "the rooms were found");
    let edges: usize = rooms.values().map(BTreeSet::len).sum();
    assert!(edges > 50, "their imports were found");
    for (from, to) in YET_TO_MEND {
        let mends = rooms.get_mut(*from).expect("a room");
        assert!(
            mends.remove(*to),
            "{from} imports {to} no more: strike it off"
        );
    }
    let circles: Vec<String> = rooms
        .keys()
        .filter_map(|room| circle(&rooms, room))
        .map(|way| way.join(" -> "))
        .collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let rooms = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")];
    let rooms = rooms.map(|(room, imported)| (room.into(), BTreeSet::from([imported.into()])));
    let rooms = BTreeMap::from(rooms);
    let way = circle(&rooms, "a").expect("a circle");
    assert_eq!(way.join(" "), "a b c a");
    assert_eq!(circle(&rooms, "d"), None, "it only leads to one");
}

/// The tree in `docs/architecture.md`: for `core/src` and `src` the lines beneath them, each as the names at its start
/// and the text after them.
fn drawn(root: &str) -> Vec<(Vec<String>, String)> {
    let map = include_str!("../docs/architecture.md");
    let head = format!("\n{root}/\n");
    let (_, tree) = map.split_once(&head).expect("the tree has this root");
    let mut entries: Vec<(Vec<String>, String)> = Vec::new();
    for line in tree.lines() {
        let Some(line) = line.strip_prefix("  ") else {
            break;
        };
        if line.starts_with(' ') {
            let (_, text) = entries
                .last_mut()
                .expect("a line that goes on has a first one");
            text.push_str(line);
            continue;
        }
        let (names, text) = line.split_once("  ").unwrap_or((line, ""));
        let names = names.split(' ').filter(|name| !name.is_empty());
        entries.push((names.map(str::to_owned).collect(), text.to_owned()));
    }
    entries
}

#[test]
fn the_map_shows_what_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for root in ["core/src", "src"] {
        let folder = top.join(root);
        let there = fs::read_dir(&folder)
            .expect("a source directory")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let name = path
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned();
                if path.is_dir() {
                    format!("{name}/")
                } else {
                    name
                }
            });
        let there: BTreeSet<String> = there.filter(|name| name != "lib.rs").collect();
        let entries = drawn(root);
        let on_the_map: BTreeSet<String> = entries
            .iter()
            .flat_map(|(names, _)| names.iter().cloned())
            .collect();
        let missing: Vec<&String> = there.difference(&on_the_map).collect();
        assert!(
            missing.is_empty(),
            "{root} has {missing:?}, and docs/architecture.md has not"
        );
        let gone: Vec<&String> = on_the_map.difference(&there).collect();
        assert!(
            gone.is_empty(),
            "docs/architecture.md has {gone:?}, and {root} has not"
        );
        for (names, text) in &entries {
            let mut files = Vec::new();
            for name in names.iter().filter(|name| name.ends_with('/')) {
                sources(&folder.join(name), &mut files);
            }
            let named = text
                .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/')))
                .filter(|word| word.ends_with(".rs"));
            for word in named {
                let exists =
                    folder.join(word).exists() || files.iter().any(|file| file.ends_with(word));
                assert!(exists, "docs/architecture.md: {names:?} has no {word}");
            }
        }
    }
}

/// Imports that still close a circle.
const YET_TO_MEND: &[(&str, &str)] = &[];
/// What is in the folder of listeners and is none.
const SHARED_BY_LISTENERS: [&str; 3] = ["calls", "pair", "turned_away"];
/// Listeners whose port brings what another one serves: signalling comes to the API port.
const HOSTS: [(&str, &str); 1] = [("api", "whip")];

/// What opens connections, resolves names or speaks HTTP as a client, and the only files that may use it. A way to an
/// origin of its own would pass by the address rules.
const WAYS_OUT: &[(&str, &[&str])] = &[
    // The demo publishes to its own origins.
    ("TcpStream::connect", &["origin/connect", "demo/publisher"]),
    // Lists of origins name their addresses, and a mesh has seeds of the operator's.
    (
        "lookup_host(",
        &[
            "origin/connect",
            "origin/sources/dns/mod",
            "store/mesh/gossip",
        ],
    ),
    ("client::conn", &["origin/http"]),
];

#[test]
fn every_way_to_an_origin_is_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for (what, allowed) in WAYS_OUT {
        let mut users = BTreeSet::new();
        for file in &files {
            let text = fs::read_to_string(file).expect("a source");
            // Tests connect to what they built.
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            if product.contains(what) {
                let inside = file.strip_prefix(&root).expect("a source");
                users.insert(inside.with_extension("").to_string_lossy().into_owned());
            }
        }
        let allowed: BTreeSet<String> = allowed.iter().map(|&file| file.to_owned()).collect();
        assert_eq!(users, allowed, "{what}");
    }
}
