#!/usr/bin/env bash
# Installs what tests/real needs: published MCP servers, their back-ends, and MCP clients, all pinned.
#
#   setup.sh               servers, moto and the Python SDK in one virtual environment; Redis from Debian
#   setup.sh --clients     also Node, the two TypeScript SDKs, MCP Inspector and server-everything
#   setup.sh --agents      also Claude Code (large; for the recipe in README.md, not for CI)
#   setup.sh --bridges     also mcp-remote and supergateway (they need --clients too)
#   setup.sh --fastmcp     also FastMCP, in an environment of its own
#   setup.sh --rmcp        also the client on rmcp: some three minutes of building
#
# Options can be given together.
#
# Everything goes under COUNTERSIGN_TEST_HOME (default: tests/.venv of this repository) and is kept until a
# pin changes: each part has a stamp with the hash of its pins, so a second run is over at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=${COUNTERSIGN_TEST_HOME:-$here/../.venv}
mkdir -p "$home"
home=$(cd "$home" && pwd)

say() { echo "setup: $*"; }

# A part is fresh when its stamp names the present content of its pin files.
fingerprint() { cat "$@" | sha256sum | cut -d' ' -f1; }
fresh() { [ "$(cat "$home/$1.stamp" 2>/dev/null)" = "$2" ]; }
installed() {
  echo "$2" > "$home/$1.stamp"
  say "$1 installed in $(($(date +%s) - $3)) s, $(du -sh "$home/$1" | cut -f1)"
}

# A virtual environment: its name, and the list of what is in it.
install_python() {
  local part=$1 pins=("$here/pins/$2" "$here/pins/uv.txt") print started
  print=$(python3 -V; fingerprint "${pins[@]}")
  if fresh "$part" "$print"; then say "$part is up to date"; return; fi
  if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "python3 must be 3.11 or newer: the servers need it" >&2
    exit 1
  fi
  started=$(date +%s)
  rm -rf "${home:?}/$part" "$home/uv"
  python3 -m venv "$home/$part"
  # uv installs the 150 packages several times faster than pip; without it pip does the same.
  if python3 -m venv "$home/uv" && "$home/uv/bin/pip" install -q --disable-pip-version-check -r "$here/pins/uv.txt"; then
    "$home/uv/bin/uv" pip install -q --no-deps --python "$home/$part/bin/python" -r "${pins[0]}"
  else
    say "uv could not be installed, using pip (slower)"
    "$home/$part/bin/pip" install -q --disable-pip-version-check --no-deps -r "${pins[0]}"
  fi
  installed "$part" "$print" "$started"
}

install_redis() {
  if command -v redis-server > /dev/null || command -v valkey-server > /dev/null; then
    say "redis is up to date"
  elif [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    if DEBIAN_FRONTEND=noninteractive apt_install > "$home/redis.log" 2>&1; then
      say "redis installed"
    else
      say "SKIPPED valkey: redis-server could not be installed, see $home/redis.log"
    fi
  else
    say "SKIPPED valkey: no redis-server or valkey-server on PATH, and not root to install one (Debian: redis-server)"
  fi
}

apt_install() {
  apt-get install -y --no-install-recommends redis-server ||
    { apt-get update && apt-get install -y --no-install-recommends redis-server; }
}

install_node() {
  local part=$1 print started
  print=$(fingerprint "$here/$part/package.json" "$here/$part/package-lock.json")
  if fresh "$part" "$print"; then say "$part are up to date"; return; fi
  if ! command -v npm > /dev/null; then
    say "SKIPPED $part: there is no npm on PATH"
    return
  fi
  started=$(date +%s)
  rm -rf "${home:?}/$part"
  mkdir -p "$home/$part"
  cp "$here/$part"/package.json "$here/$part"/package-lock.json "$here/$part"/.npmrc "$home/$part/"
  # No install scripts: what these packages would run at install time is not needed.
  (cd "$home/$part" && npm ci --ignore-scripts --loglevel=error > /dev/null)
  installed "$part" "$print" "$started"
}

# A program of its own, with its own lock file: what it brings stays out of the broker's.
install_rmcp() {
  local print started
  print=$(fingerprint "$here"/rmcp/Cargo.toml "$here"/rmcp/Cargo.lock "$here"/rmcp/src/main.rs)
  if fresh rmcp "$print"; then say "rmcp is up to date"; return; fi
  started=$(date +%s)
  (cd "$here/rmcp" && CARGO_TARGET_DIR="$home/rmcp" cargo build --quiet --locked)
  installed rmcp "$print" "$started"
}

install_python python servers.txt
install_redis
for option in "$@"; do
  case $option in
    --clients) install_node clients ;;
    --agents) install_node agents ;;
    --bridges) install_node bridges ;;
    --fastmcp) install_python fastmcp fastmcp.txt ;;
    --rmcp) install_rmcp ;;
    *) say "unknown option $option" >&2; exit 2 ;;
  esac
done
