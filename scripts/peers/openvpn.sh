#!/usr/bin/env bash
# OpenVPN over the first link, as Debian ships it: AES-256-GCM, each end known by its certificate's
# fingerprint. See raw-link.sh.
set -euo pipefail
trap 'exit 0' TERM INT
trap 'kill "$(jobs -p)" 2>/dev/null; wait' EXIT

read -r client _ <<<"$CLIENT_ADDRESSES"
read -r server _ <<<"$SERVER_ADDRESSES"
case "$1" in
server)
    own=10.250.0.1 peer=10.250.0.2 other=client ends=(--tls-server --dh none --local "$server" --remote "$client" 1194)
    for end in server client; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$end" \
            -keyout "$SHARED/$end.key" -out "$SHARED/$end.crt" 2>/dev/null
    done
    ;;
client)
    own=10.250.0.2 peer=10.250.0.1 other=server ends=(--tls-client --local "$client" --remote "$server" 1194)
    ;;
esac
print=$(openssl x509 -in "$SHARED/$other.crt" -noout -fingerprint -sha256)
log="$SHARED/$1.log"
openvpn --dev tun --proto udp4 --port 1194 "${ends[@]}" --ifconfig "$own" "$peer" \
    --cert "$SHARED/$1.crt" --key "$SHARED/$1.key" --peer-fingerprint "${print#*=}" \
    --data-ciphers AES-256-GCM --sndbuf 4194304 --rcvbuf 4194304 --verb 3 >"$log" 2>&1 &
if [ "$1" = client ]; then
    for _ in $(seq 50); do
        grep -q "Initialization Sequence Completed" "$log" && break
        sleep 0.1
    done
    ping -c 1 -W 3 -q "$peer" >/dev/null || { cat "$log" >&2; exit 1; }
fi
echo ready >&2
wait
