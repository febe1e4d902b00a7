#!/usr/bin/env bash
# Measures: `scripts/bench.sh multipath --quick`, or without --quick for the whole table. Builds the
# release programs first and installs what is missing. `speed` is one fast wire, beside wireguard-go and OpenVPN
# as Debian ships them and boringtun as its registry does. `scripts/bench.sh multipath --help` says more.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_packages cc=gcc ip=iproute2 nft=nftables unshare=util-linux
need_rust
[[ " $* " == *" --sim "* ]] || need_kernel
modprobe -q tcp_bbr 2>/dev/null || true

if [ "${1:-}" = speed ] && [[ " $* " != *" --help "* ]]; then
    need_packages wireguard-go=wireguard-go wg=wireguard-tools openvpn=openvpn openssl=openssl
    # Beside our own programs, not among the user's.
    peers=$PWD/target/peers
    [ -x "$peers/bin/boringtun-cli" ] ||
        cargo install --locked --quiet --root "$peers" --target-dir "$peers/build" --version 0.7.1 boringtun-cli
    export PATH="$peers/bin:$PATH"
    for peer in wireguard-go boringtun openvpn; do
        set -- "$@" --peer "scripts/peers/$peer.sh"
    done
fi

cargo build --locked --release --workspace --bins
exec target/release/bench "$@"
