# A PostgreSQL of our own to install into, without touching the machine's. Sourced after common.sh.
#
# PostgreSQL finds its files by where its programs lie, so a copy of the programs beside links to everything else is a
# complete installation: `make install` with its pg_config puts the module there and nowhere else, needs no root, and
# removing the folder removes all.

# Fills folder $2 from the PostgreSQL of pg_config $1, and prints the new pg_config.
private_postgres() {
  local config=$1 root=$2 bindir pkglibdir sharedir headers
  bindir=$("$config" --bindir)
  pkglibdir=$("$config" --pkglibdir)
  sharedir=$("$config" --sharedir)
  headers=$("$config" --includedir-server)

  mkdir -p "$root$bindir" "$root$pkglibdir" "$root$sharedir/extension" "$root$(dirname "$headers")"
  cp -L "$bindir"/* "$root$bindir/"
  ln -s "$pkglibdir"/* "$root$pkglibdir/"
  ln -s "$headers" "$root$headers"
  local file
  for file in "$sharedir"/*; do
    [ "$file" = "$sharedir/extension" ] || ln -s "$file" "$root$sharedir/"
  done
  ln -s "$sharedir"/extension/* "$root$sharedir/extension/"
  # One that the machine has already must not show through.
  rm -f "$root$pkglibdir/pgcache.so" "$root$sharedir"/extension/pgcache{.control,--*.sql}

  [ "$("$root$bindir/pg_config" --sharedir)" = "$root$sharedir" ] ||
    die "the PostgreSQL of $config does not work from another folder"
  echo "$root$bindir/pg_config"
}
