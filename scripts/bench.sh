#!/usr/bin/env bash
# Measures: `scripts/bench.sh multipath --quick`, or without --quick for the whole table. Builds the
# release programs first and installs what is missing. `scripts/bench.sh multipath --help` says more.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_packages cc=gcc ip=iproute2 nft=nftables unshare=util-linux
need_rust
[[ " $* " == *" --sim "* ]] || need_kernel
modprobe -q tcp_bbr 2>/dev/null || true

cargo build --locked --release --workspace --bins
exec target/release/bench "$@"
