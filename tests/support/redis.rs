//! A Redis for several proxies.

use std::process::Command;
use std::time::Duration;

use super::program::Program;
use super::proxy::Proxy;
use super::{machine, wait_for};

/// A server that keeps nothing on disk. It ends with the value.
pub(crate) struct Redis {
    port: u16,
    _program: Program,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = machine::free_port();
        let mut command = Command::new(machine::installed(&["redis-server"]));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]);
        let program = Program::start("redis-server", &mut command).abrupt();
        wait_for("redis-server listens", Duration::from_secs(30), || {
            machine::is_listening(port).then_some(())
        });
        Self {
            port,
            _program: program,
        }
    }

    /// The value of a key that ends with `name`, whatever stands before it.
    #[track_caller]
    pub(crate) fn values(&self, name: &str) -> String {
        let script = "local all = {} for _, key in ipairs(redis.call('keys', '*' .. ARGV[1])) do \
            all[#all + 1] = redis.call('type', key).ok == 'hash' and table.concat(redis.call('hvals', key), ' ') or redis.call('get', key) \
            end return table.concat(all, ' ')";
        let mut command = Command::new(machine::installed(&["redis-cli"]));
        command.args(["-p", &self.port.to_string(), "eval", script, "0", name]);
        let output = command.output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A proxy that uses it, with additional settings.
    pub(crate) fn proxy(&self, settings: &str) -> Proxy {
        let store = format!(
            "store = {{ type = \"redis\", url = \"redis://127.0.0.1:{}\", wait_at_start = true, timeout = \"2s\" }}",
            self.port
        );
        Proxy::start(&format!("{store}\n{settings}"))
    }
}
