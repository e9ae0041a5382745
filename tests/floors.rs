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
        "cluster" | "fleet_api" | "lookup" | "metrics" | "net" | "origin" | "placer" | "proxy"
        | "readiness" | "registry" | "reported" | "sessions" | "systemd" => 1,
        "api" | "bell" | "store" | "stream_names" | "value" => 0,
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

/// The modules of this crate that a file names, each as the path after `crate::`.
fn imports(text: &str) -> Vec<String> {
    let paths = text.split("crate::").skip(1).map(|rest| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
            .collect::<String>()
    });
    paths.filter(|path| !path.is_empty()).collect()
}

#[test]
fn every_import_points_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were found");
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in files {
        let inside = file
            .strip_prefix(&root)
            .expect("a source")
            .with_extension("");
        let module = inside
            .iter()
            .next()
            .expect("a module")
            .to_string_lossy()
            .into_owned();
        let Some(own) = floor(&module) else {
            assert!(
                matches!(module.as_str(), "config" | "lib"),
                "{module} has no floor; give it one"
            );
            continue;
        };
        for import in imports(&fs::read_to_string(&file).expect("a source")) {
            let target = import.split("::").next().unwrap_or_default();
            checked += 1;
            if floor(target).is_some_and(|below| below > own) {
                wrong.push(format!(
                    "{} imports {import} from a floor above",
                    inside.display()
                ));
            }
            let listener = |name: &str| matches!(name, "api" | "http" | "rtc" | "rtmp");
            let own_room = inside
                .iter()
                .nth(1)
                .map(|room| room.to_string_lossy().into_owned())
                .unwrap_or_default();
            let room = import.split("::").nth(1).unwrap_or_default();
            if module == "listener" && target == "listener" && listener(room) && room != own_room {
                wrong.push(format!(
                    "{} knows another listener: {import}",
                    inside.display()
                ));
            }
            if (module == "listener" && target == "admin")
                || (module == "admin" && target == "listener")
            {
                wrong.push(format!(
                    "{} knows another surface: {import}",
                    inside.display()
                ));
            }
        }
    }
    assert!(checked > 50, "imports were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rooms of this crate and what each imports, by the folder or file directly in `src`.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(&root).expect("a source");
        let inside = inside.with_extension("");
        let room = inside.iter().next().expect("a room").to_string_lossy();
        let text = fs::read_to_string(&file).expect("a source");
        let imported = rooms.entry(room.into_owned()).or_default();
        let first = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
        imported.extend(imports(&text).iter().map(|path| first(path)));
        let grouped = text.split("use crate::{").skip(1);
        let grouped = grouped.filter_map(|rest| rest.split_once("};"));
        let names = grouped.flat_map(|(names, _)| names.split(','));
        imported.extend(names.map(|name| first(name.trim())));
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

/// Imports that still close a circle.
const YET_TO_MEND: &[(&str, &str)] = &[];
