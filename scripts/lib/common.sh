# What the scripts share: messages, and who runs what. Sourced, with `set -euo pipefail` in force.

say() { printf '%s\n' "$*"; }

headline() { printf '\n== %s\n' "$*"; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

as_root() {
  if is_root; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "this needs root, and there is no sudo. Run as root: $*"
  fi
}

# PostgreSQL refuses to run as root. Its Debian package brings an account for it; nobody exists everywhere.
server_user() {
  if ! is_root; then
    id -un
  elif id postgres >/dev/null 2>&1; then
    echo postgres
  else
    echo nobody
  fi
}

# Runs a command as the server's user, at home in a folder that it can read: as_server HOME COMMAND...
as_server() {
  local home=$1
  shift
  if is_root; then
    (cd "$home" && runuser -u "$(server_user)" -- env HOME="$home" "$@")
  else
    (cd "$home" && "$@")
  fi
}

# Variables such as PGHOST would lead the server's programs to another server.
forget_servers() {
  local name
  for name in "${!PG@}"; do
    case $name in
      PG_CONFIG | PGCACHE_*) ;;
      *) unset "$name" ;;
    esac
  done
}

# Copies the tree in folder $1, or only what is named after it, into folder $2; what earlier builds and tests left is
# left out, but for objects: copy_tree keeps them, with their exact times.
copy_sources() { copy_tree "$@" --exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude='./pgcache--*.sql'; }

copy_tree() {
  local from=$1 to=$2 names=() options=()
  shift 2
  local word
  for word in "$@"; do
    case $word in
      --*) options+=("$word") ;;
      *) names+=("$word") ;;
    esac
  done
  mkdir -p "$to"
  tar -C "$from" --format=posix --exclude=./.git --exclude=./build --exclude=./tmp_check --exclude=./results --exclude=./output_iso \
    --exclude=./log "${options[@]}" -cf - "${names[@]:-.}" | tar -C "$to" --no-same-owner -xf -
}

processors() { nproc 2>/dev/null || echo 2; }
