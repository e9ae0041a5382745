//! A web site made by nginx, some of whose folders are listeners of the proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::machine::{self, Scratch, installed};
use super::origin::listening;
use super::program::Program;
use super::proxy::Proxy;

/// The site; it ends with the value.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    _program: Program,
    _scratch: Scratch,
}

impl Site {
    /// A proxy in the folder `/media`, by the directives that its documentation gives operators.
    pub(crate) fn as_documented(proxy: &Proxy) -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        let page = std::fs::read_to_string(page).expect("a page of the documentation");
        let section = page.split("\n## In a folder of a web server\n").nth(1);
        let block = section.and_then(|section| section.split("```nginx\n").nth(1));
        let block = block.and_then(|block| block.split("```").next());
        let mut directives = block.expect("a block of directives").to_owned();
        for (usual, ours) in [
            ("127.0.0.1:18080", proxy.http),
            ("127.0.0.1:11985", proxy.api),
            ("127.0.0.1:12025", proxy.system),
        ] {
            assert!(directives.contains(usual), "{usual}: {directives}");
            directives = directives.replace(usual, &ours.to_string());
        }
        Self::start(&directives)
    }

    /// A listener in a folder such as `/media`, of which the web server says nothing.
    pub(crate) fn silent(folder: &str, to: SocketAddr) -> Self {
        Self::start(&format!(
            "location {folder}/ {{ proxy_pass http://{to}/; proxy_set_header Host $http_host; }}"
        ))
    }

    fn start(directives: &str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
        let scratch = Scratch::new("site");
        scratch.write(
            "nginx.conf",
            &format!(
                "daemon off; master_process off; user root; pid nginx.pid;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ access_log off; server {{ listen {address};\n{directives}\n}} }}\n"
            ),
        );
        let mut nginx = Command::new(installed(&["nginx"]));
        nginx
            .arg("-p")
            .arg(scratch.path())
            .args(["-c", "nginx.conf", "-e", "stderr"]);
        let program = listening(Program::start("site", &mut nginx).abrupt(), address);
        Self {
            address,
            _program: program,
            _scratch: scratch,
        }
    }

    /// The address of a target on it, such as `/media/live/a.m3u8`.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }
}
