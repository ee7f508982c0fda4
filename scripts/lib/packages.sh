# Finds what the scripts need and installs what is missing with apt. Sourced after common.sh.

OLDEST_POSTGRESQL=15

# What building the module takes, beside PostgreSQL.
MODULE_NEEDS=(make:make g++:g++ libre2-dev)

installed() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^.i'; }

# Prints those of the packages that are missing. A program may also have come without a package: "program:package".
missing_packages() {
  local need
  for need in "$@"; do
    case $need in
      *:*) have "${need%%:*}" || echo "${need#*:}" ;;
      *) installed "$need" || echo "$need" ;;
    esac
  done
}

# A new server package makes and starts a cluster, and starts those that are stopped. This keeps it from both while
# "$@" runs, and leaves no trace. The body is a subshell, so that its trap ends with it.
without_touching_clusters() (
  policy=/usr/sbin/policy-rc.d
  conf=/etc/postgresql-common/createcluster.conf
  own_policy=''
  kept_conf=''
  undo() {
    [ -z "$own_policy" ] || as_root rm -f "$own_policy"
    [ -z "$kept_conf" ] || as_root mv "$kept_conf" "$conf"
  }
  trap undo EXIT
  trap 'exit 130' INT TERM
  if [ ! -e "$policy" ]; then
    own_policy=$policy
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  if [ -f "$conf" ]; then
    as_root cp -p "$conf" "$conf.before-pgcache"
    kept_conf=$conf.before-pgcache
    echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
  fi
  "$@"
)

# Its progress is for a person; in a log, only what went wrong is of use.
apt_install() {
  local command=(apt-get install -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@") log
  if [ -t 1 ]; then
    as_root env DEBIAN_FRONTEND=noninteractive "${command[@]}" </dev/null
    return
  fi
  log=$(as_root env DEBIAN_FRONTEND=noninteractive "${command[@]}" -q 2>&1 </dev/null) || {
    tail -n 50 <<<"$log"
    die "apt-get could not install the packages"
  }
}

# Installs the packages; lists them first.
install_packages() {
  [ $# -gt 0 ] || return 0
  have apt-get || die "missing: $*. Only Debian's packages can be installed from here: install them yourself"
  say "Installing with apt: $*"
  as_root apt-get update -qq </dev/null || say "apt-get update failed; going on with the lists that are there"
  # Its settings say whether a server package makes a cluster, so it must be there before one.
  case " $* " in
    *' postgresql-'[1-9]*) without_touching_clusters apt_install postgresql-common ;;
  esac
  without_touching_clusters apt_install "$@"
}

# The pg_config of an installation: Debian's wrapper answers for another one than it seems to.
real_pg_config() {
  local bindir
  bindir=$("$1" --bindir 2>/dev/null) || return 1
  [ -x "$bindir/pg_config" ] && echo "$bindir/pg_config"
}

major_version() { "$1" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'; }

has_server() { [ -x "$("$1" --bindir)/postgres" ]; }

has_headers() { [ -f "$("$1" --includedir-server)/postgres.h" ] && [ -f "$("$1" --pgxs)" ]; }

# Prints the pg_config of each server that is there and new enough: the one that PG_CONFIG names, or else what PATH has,
# then Debian's from the newest on. $1: only this major version, if given.
servers_found() {
  local candidate config
  for candidate in ${PG_CONFIG:-pg_config $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV)}; do
    config=$(real_pg_config "$candidate") || continue
    has_server "$config" || continue
    [ "$(major_version "$config")" -ge "$OLDEST_POSTGRESQL" ] || continue
    [ -z "${1:-}" ] || [ "$(major_version "$config")" = "$1" ] || continue
    echo "$config"
  done | awk '!seen[$0]++'
}

# Prints the pg_config to use: of a server with its headers, else of a server without them; nothing if there is none.
choose_server() {
  local found config
  found=$(servers_found "${1:-}")
  for config in $found; do
    if has_headers "$config"; then
      echo "$config"
      return
    fi
  done
  [ -z "$found" ] || head -n 1 <<<"$found"
}

# The major version that this Debian has.
debian_version() {
  apt-cache show --no-all-versions postgresql 2>/dev/null | sed -n 's/^Depends:.*postgresql-\([0-9]*\).*/\1/p' | head -n 1
}

# Prints the packages that a server with headers lacks: of the major version $1, if given.
missing_postgresql() {
  local config version
  config=$(choose_server "${1:-}")
  if [ -n "$config" ]; then
    has_headers "$config" && return
    case $config in
      /usr/lib/postgresql/*) echo "postgresql-server-dev-$(major_version "$config")" ;;
      *) die "$config names a PostgreSQL without its headers for extensions" ;;
    esac
    return
  fi
  [ -z "${PG_CONFIG:-}" ] || die "PG_CONFIG=$PG_CONFIG is not the pg_config of a server of version $OLDEST_POSTGRESQL or later"
  have apt-get || die "no PostgreSQL $OLDEST_POSTGRESQL or later was found; PG_CONFIG can name one"
  version=${1:-$(debian_version)}
  if [ -z "$version" ]; then
    as_root apt-get update -qq </dev/null >&2
    version=$(debian_version)
  fi
  [ "${version:-0}" -ge "$OLDEST_POSTGRESQL" ] || die "this Debian has no PostgreSQL $OLDEST_POSTGRESQL or later"
  echo "postgresql-$version"
  echo "postgresql-server-dev-$version"
}
