//! Checks the floors of the house: a file imports only from its own floor or a lower one, and rooms of one floor that
//! must not know each other do not.

use std::fs;
use std::path::{Path, PathBuf};

/// The floor of a module, as `docs/architecture.md` draws it.
fn floor(module: &str) -> Option<u8> {
    Some(match module {
        "cli" | "main" => 4,
        "demo" | "logging" | "server" => 3,
        "admin" | "listener" => 2,
        "cluster" | "finder" | "fleet_api" | "health" | "lookup" | "metrics" | "net" | "placer"
        | "probe" | "proxy" | "readiness" | "registry" | "reported" | "sessions" | "sources"
        | "systemd" => 1,
        "bell" | "store" | "stream_names" | "value" => 0,
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
