#!/usr/bin/env bash
# boringtun over the first link: `cargo install boringtun-cli` puts it where it is found. See raw-link.sh.
set -euo pipefail
WIREGUARD="boringtun-cli --disable-drop-privileges" exec "$(dirname "$0")/wireguard-go.sh" "$1"
