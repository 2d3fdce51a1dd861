#!/usr/bin/env bash
# Installs what lint and test need: a C compiler, make and a Postgres server (Debian packages, where that is
# allowed), the crates of Cargo.lock, cargo-deny into target/tools, the upstreams of the tests, and the environments
# of the Python tests. Does nothing when all is there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
tools=${CARGO_TARGET_DIR:-target}/tools
cargo_deny=0.20.2

name=install
source tests/common.sh

command -v cargo >/dev/null || fail "missing a Rust toolchain, 1.95 or newer: see https://rustup.rs"
for part in rustfmt:cargo-fmt clippy:cargo-clippy; do
  command -v "${part#*:}" >/dev/null || fail "missing ${part%:*}; run: rustup component add ${part%:*}"
done

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v make >/dev/null || packages+=(make)
# Debian keeps the server's programs out of the path.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || packages+=(postgresql)
[ ${#packages[@]} = 0 ] || apt "${packages[@]}"

# All platforms: licences and the core's dependencies are checked for each.
cargo fetch --locked --quiet

installed=$("$tools/bin/cargo-deny" --version 2>/dev/null | cut -d' ' -f2 || true)
if [ "$installed" != "$cargo_deny" ]; then
  say "building cargo-deny $cargo_deny into $tools"
  # It looks at some hundred licences: unoptimised it needs a second and compiles in a third of the time.
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$tools" "cargo-deny@$cargo_deny" >&2
fi

tests/upstreams/install.sh
tests/python/install.sh
