//! The man pages in packaging/man follow from the command line's definition and from the table of settings.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use sluicegate::cli::Cli;
use sluicegate::config::TABLE;

const FOLDER: &str = "packaging/man";

/// `packaging/man` is written from what the program says of itself, so it cannot fall behind.
#[test]
fn the_pages_say_what_the_program_says() {
    let folder = Path::new(FOLDER);
    let expected = pages();
    assert!(expected.len() > 10, "{:?}", expected.keys());
    if std::env::var_os("UPDATE_MAN").is_some() {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).unwrap();
        for (name, text) in &expected {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let there: BTreeMap<String, String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    assert!(
        there == expected,
        "{FOLDER} is not what the program says; write it again with UPDATE_MAN=1 cargo test --test man"
    );
}

/// Each page by its file name.
fn pages() -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    // No color, and no `help` command: it says the same again.
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder.path()).unwrap();
    let mut pages: BTreeMap<String, String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    pages.insert("sluicegate.toml.5".to_owned(), settings_page());
    pages
}

/// sluicegate.toml(5): every setting of the table.
fn settings_page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".TH sluicegate.toml 5 \"\" \"sluicegate {version}\"\n\
         .SH NAME\n\
         sluicegate.toml \\- settings of sluicegate\n\
         .SH DESCRIPTION\n\
         A TOML file that sluicegate(1) reads with \\fB\\-\\-config\\fR. Every key has a default, so a file needs only those \
         that differ. Each key is also a variable of the environment, SLUICEGATE_<SECTION>__<KEY>, and some have a second \
         name, that of the SRS proxy. Later wins: the file, .env in the current directory, the environment.\n\
         .PP\n\
         A secret may be in a file of its own, which KEY_file names. \\fBsluicegate check\\fR prints each value and where it \
         is set.\n"
    );
    let mut section = "";
    for setting in TABLE {
        if setting.section() != section {
            section = setting.section();
            let _ = writeln!(page, ".SH [{section}]");
        }
        let _ = writeln!(
            page,
            ".TP\n\\fB{}\\fR = {}\n{}",
            escaped(setting.key()),
            escaped(&setting.default_toml()),
            escaped(setting.doc)
        );
        let _ = writeln!(page, "Allowed: {}.", escaped(setting.allowed));
        if let Some(name) = setting.env {
            let _ = writeln!(page, "The SRS proxy's name is {}.", escaped(name));
        }
        if let Some(key) = setting.file_key() {
            let _ = writeln!(page, "May be in the file that {} names.", escaped(&key));
        }
    }
    page.push_str(".SH SEE ALSO\nsluicegate(1), sluicegate\\-check(1)\n");
    page
}

/// Text as roff takes it: a backslash and a hyphen are themselves, and no line begins as a request does.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}
