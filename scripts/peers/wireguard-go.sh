#!/usr/bin/env bash
# wireguard-go over the first link, as Debian ships it, or another WireGuard in user space that takes the
# same words, as $WIREGUARD says. See raw-link.sh.
set -euo pipefail
trap 'exit 0' TERM INT
# It removes its socket when it ends: waited for, or it would remove that of the next one.
trap 'kill "$(jobs -p)" 2>/dev/null; wait' EXIT

read -r link _ <<<"$LINKS"
read -r client _ <<<"$CLIENT_ADDRESSES"
read -r server _ <<<"$SERVER_ADDRESSES"
# Not secret: the keys of a measurement.
key() { printf '%b' "$(printf '%s' "$1" | sha256sum | cut -c1-64 | sed 's/../\\x&/g')" | base64; }
case "$1" in
server) device=wgs own=10.250.0.1 peer=10.250.0.2 other=client endpoint=() port=51820 ;;
client) device=wgc own=10.250.0.2 peer=10.250.0.1 other=server endpoint=(endpoint "$server:51820") port=51821 ;;
esac
read -ra program <<<"${WIREGUARD:-wireguard-go}"
WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error "${program[@]}" -f "$device" >/dev/null 2>&1 &
for _ in $(seq 100); do
    wg show "$device" >/dev/null 2>&1 && break
    sleep 0.05
done
wg set "$device" listen-port "$port" private-key <(key "$1") \
    peer "$(key "$other" | wg pubkey)" allowed-ips "$peer/32" "${endpoint[@]}"
ip address add "$own/32" dev "$device"
ip link set "$device" mtu 1420 up
ip route add "$peer/32" dev "$device" src "$own"
if [ "$1" = client ]; then
    # The handshake, so that it is not measured.
    ping -c 1 -W 5 -q "$peer" >/dev/null
fi
echo ready >&2
wait
