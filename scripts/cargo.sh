# Sourced by the scripts that build: finds a Rust toolchain and a linker, or says how to get them.
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

RUSTUP_LINE="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"

need_cargo() {
  # A toolchain that has just been installed is not on this shell's path yet.
  if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
  fi
  if ! command -v cargo >/dev/null; then
    echo "There is no Rust toolchain on this machine. This line gets one; then run this again:" >&2
    echo "  $RUSTUP_LINE" >&2
    return 1
  fi
  if ! command -v cc >/dev/null; then
    apt_install "Rust's linker" gcc libc6-dev
  fi
  # With rustup the first call fetches the toolchain that rust-toolchain.toml names, and says so.
  local have wanted
  have=$(cargo --version | cut -d ' ' -f 2)
  wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../rust-toolchain.toml")
  if [[ $(printf '%s\n' "$wanted" "${have%%-*}" | sort -V | head -n 1) != "$wanted" ]]; then
    echo "This machine has Rust $have and Sluicegate needs $wanted. rustup gets it by itself:" >&2
    echo "  $RUSTUP_LINE" >&2
    return 1
  fi
}
