#!/usr/bin/env bash
# Builds everything and runs every test: less than half an hour on two cores from a fresh clone.
# Installs what is missing: Debian packages by apt-get, cargo-nextest by cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_packages cc=gcc ip=iproute2 nft=nftables ping=iputils-ping conntrack=conntrack \
    unshare=util-linux git=git faketime=faketime python3=python3 openssl=openssl \
    dnsmasq=dnsmasq-base valgrind=valgrind
need_rust
need_kernel
if ! cargo nextest --version >/dev/null 2>&1; then
    say "Installing the test runner cargo-nextest"
    cargo install cargo-nextest --locked
fi

say "Format"
cargo fmt --all --check
say "Lints"
cargo clippy --locked --workspace --all-targets -- -D warnings
say "Programs"
cargo build --locked --workspace --bins
say "Examples in the documentation"
cargo test --locked --workspace --doc
say "Tests"
cargo nextest run --locked --workspace --no-fail-fast
echo
echo "Everything passed."
