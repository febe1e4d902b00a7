#!/usr/bin/env bash
# The first link without any tunnel, and a pattern for adapters of other tunnels:
#   scripts/bench.sh multipath --only flagship --peer scripts/peers/raw-link.sh
# It is started on both machines of the lab, as `raw-link.sh server` and as `raw-link.sh client`, with
# the links' device names in $LINKS, the client's addresses on them in $CLIENT_ADDRESSES, the
# server's in $SERVER_ADDRESSES, the address of the server that every link reaches in $SERVER, and a folder
# that both ends see in $SHARED; the server's end is ready before the client's begins. It gives the server the inner address 10.250.0.1 and the client 10.250.0.2, prints "ready" on its standard
# error, and stays until it is told to end; then it ends whatever it has started.
set -euo pipefail
trap 'kill "$(jobs -p)" 2>/dev/null; exit 0' TERM INT

read -r link _ <<<"$LINKS"
read -r client _ <<<"$CLIENT_ADDRESSES"
read -r server _ <<<"$SERVER_ADDRESSES"
case "$1" in
server)
    ip address add 10.250.0.1/32 dev lo
    ip route add 10.250.0.2/32 via "$client" dev "$link" src 10.250.0.1
    ;;
client)
    ip address add 10.250.0.2/32 dev lo
    ip route add 10.250.0.1/32 via "$server" dev "$link" src 10.250.0.2
    ;;
esac
echo ready >&2
sleep infinity &
wait
