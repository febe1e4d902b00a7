#!/usr/bin/env bash
# Measures: `scripts/bench.sh multipath --quick`, or without --quick for the whole table. Builds the
# release programs first and installs what is missing. `speed` is one fast wire, beside wireguard-go, and
# beside boringtun where `cargo install boringtun-cli` has put it. `scripts/bench.sh multipath --help` says more.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_packages cc=gcc ip=iproute2 nft=nftables unshare=util-linux
need_rust
[[ " $* " == *" --sim "* ]] || need_kernel
modprobe -q tcp_bbr 2>/dev/null || true

if [ "${1:-}" = speed ]; then
    need_packages wireguard-go=wireguard-go wg=wireguard-tools
    set -- "$@" --peer scripts/peers/wireguard-go.sh
    command -v boringtun-cli >/dev/null 2>&1 && set -- "$@" --peer scripts/peers/boringtun.sh
fi

cargo build --locked --release --workspace --bins
exec target/release/bench "$@"
