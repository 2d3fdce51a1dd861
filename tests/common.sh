#!/usr/bin/env bash
# For the scripts that install what the tests need; they read it with `source` and name themselves in $name.

say() { echo "${name:-install}: $*" >&2; }
fail() { say "$*"; exit 1; }

# apt NAME...: installs Debian packages, as root or through sudo without a password.
apt() {
  local as=()
  command -v apt-get >/dev/null || fail "missing $*; install what your system calls them"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || fail "missing $*; run: apt-get install $*"
    as=(sudo -n)
  fi
  say "installing $*"
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 ||
    { "${as[@]}" apt-get update -q >&2 &&
      "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2; }
}

# stamp WORD... < FILES: what was installed, and for what, as one line.
stamp() { { cat; echo "$@"; } | sha256sum | cut -d' ' -f1; }

# same FILE STAMP: whether FILE holds STAMP.
same() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# venv PYTHON FOLDER: an empty virtual environment.
venv() {
  rm -rf "$2"
  "$1" -m venv "$2" >/dev/null 2>&1 || {
    # Debian ships venv's pip apart from python.
    apt "$(basename "$1")-venv"
    rm -rf "$2"
    "$1" -m venv "$2" >&2
  }
}

# pip FOLDER OPTION...: installs into a virtual environment, from wheels alone.
pip() {
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: "${@:2}" >&2
}
