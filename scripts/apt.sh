# Sourced by the scripts that install packages: runs apt as root or through sudo.

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "run this as root, or install sudo: $*" >&2
    return 1
  fi
}

# apt_install WHAT_FOR PACKAGE...: says what it installs, and tries again once if a mirror fails.
apt_install() {
  local what=$1
  shift
  if ! command -v apt-get >/dev/null; then
    echo "$what need these programs, and this machine has no apt to install them with: $*" >&2
    return 1
  fi
  echo "installing for $what with apt: $*"
  apt_once "$@" || { echo "apt failed; trying once more"; apt_once "$@"; }
}

apt_once() {
  as_root apt-get -qq -o DPkg::Lock::Timeout=300 update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
      install --no-install-recommends "$@" >/dev/null
}

# stop_service NAME: stops and disables a service that a package has just started, with the tools that the machine has.
stop_service() {
  if [[ -d /run/systemd/system ]]; then
    as_root systemctl disable --now "$1" >/dev/null 2>&1 || true
  elif [[ -x /etc/init.d/$1 ]]; then
    as_root "/etc/init.d/$1" stop >/dev/null 2>&1 || true
  fi
}
