# Sourced by the scripts: tells how to use one, before it builds or installs anything.

# The comment at the top of the script.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# usage_if_asked ARGUMENT...: where one of them asks for help, that is all that happens.
usage_if_asked() {
  local argument
  for argument; do
    if [[ $argument == -h || $argument == --help ]]; then
      usage
      exit 0
    fi
  done
}

# misused WORDS...: what is wrong with the arguments, and how to use the script.
misused() {
  echo "$*" >&2
  usage >&2
  exit 2
}
