#!/usr/bin/env bash
# Shows what Hawser does, on this machine alone: two emulated links, a client, a server, three uplinks.
# Takes about two minutes once everything is built. Installs the Debian packages that it lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_packages cc=gcc ip=iproute2 nft=nftables ping=iputils-ping unshare=util-linux
need_rust
need_kernel
say "Building (the first time takes a few minutes)"
cargo build --locked --bins -p hawser -p hawser-server -p lab
bin=${CARGO_TARGET_DIR:-target}/debug
work=$(mktemp -d)
umask 077
# Where the programs put their sockets when there is no root; not every login has one.
export XDG_RUNTIME_DIR="$work/run"
mkdir "$XDG_RUNTIME_DIR"
pids=() pings=()
finish() {
    for pid in $(printf '%s\n' "${pids[@]:-}" | tac); do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# await FILE TEXT: waits until a program has said something.
await() {
    for _ in $(seq 100); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done
    cat "$1" >&2
    fail "nothing said \"$2\" within ten seconds: see above"
}
# start LOG COMMAND...: starts a program in the background.
start() { local log=$1; shift; "$@" >"$log" 2>&1 & pids+=($!); }
# field FILE NAME: a number of a tool's report.
field() { grep -o "\"$2\":[0-9.]*" "$1" | head -n1 | cut -d: -f2; }

say "Raising two links, a client, a server and three uplinks"
start "$work/lab" "$bin/lab" up fibre=100M/20ms lte=50M/60ms --uplinks 3
await "$work/lab" "Ctrl-C ends"
"$bin/hawser-server" init --listen 0.0.0.0:4500 --advertise 10.70.0.1:4500 --pool 10.200.0.0/24 \
    --pool6 fd20::/64 --routes default "$work/server" >/dev/null
for index in 0 1 2; do
    printf '\n[[uplink]]\nname = "up%s"\ninterface = "up%s"\ntier = %s\nprobe = "icmp 10.98.%s.2"\ninterval = "%s"\n' \
        $index $index $((index + 1)) $index $([ $index = 0 ] && echo 100ms || echo 20ms) >>"$work/server/server.toml"
done
# Calls, by their port here, leave an uplink that loses packets; the last one is for them alone.
cat >>"$work/server/server.toml" <<'END'
only = "real-time"

[[class]]
name = "real-time"
protocol = "udp"
ports = 6002

[[egress.class]]
name = "real-time"
END
"$bin/hawser-server" client add demo --config "$work/server/server.toml" >"$work/demo.toml" 2>/dev/null
start "$work/server.log" "$bin/lab" exec server -- "$bin/hawser-server" run --config "$work/server/server.toml" --name demo-server
await "$work/server.log" '^ready'
# up ARGUMENTS...: raises the client, and leaves its process in $client.
up() {
    : >"$work/client.log"
    start "$work/client.log" "$bin/lab" exec client -- "$bin/hawser" up --config "$work/demo.toml" --name demo "$@"
    client=$!
    await "$work/client.log" '^ready'
    sleep 1
}
down() { kill "$client"; wait "$client" 2>/dev/null || true; }
# live SECONDS: what the links carry from the client to the server; each look takes a second.
live() {
    local second head='\r' tail='' clear='\r\033[K'
    [ -t 1 ] || { head='' tail='\n' clear=''; }
    for second in $(seq "$1"); do
        printf "$head     %2d s   %s$tail" "$second" \
            "$("$bin/lab" status | awk '$2 == "up" { printf "%s %5.1f Mbit/s   ", $1, $3 }')"
    done
    printf '%b' "$clear"
}
# tcp: one TCP flow through the tunnel; its Mbit/s in $mbit.
tcp() {
    "$bin/lab" exec server -- "$bin/lab" tcp-recv --listen 10.200.0.1:5001 >"$work/tcp" 2>/dev/null &
    local receiver=$!
    sleep 0.5
    "$bin/lab" exec client -- "$bin/lab" tcp-send --to 10.200.0.1:5001 --seconds 8 >/dev/null &
    sender=$!
    live 8
    wait "$sender"
    wait "$receiver"
    mbit=$(field "$work/tcp" goodput_bits_per_second | awk '{printf "%.1f", $1 / 1e6}')
}
# udp SECONDS [ADDRESS OPTIONS...]: a stream of 1000 packets a second, through the tunnel unless another
# address is given; its report in $work/udp.
udp() {
    local seconds=$1 to=${2:-10.200.0.1}
    "$bin/lab" exec server -- "$bin/lab" udp-recv --listen "$to:6001" >"$work/udp" 2>/dev/null &
    receiver=$!
    sleep 0.5
    "$bin/lab" exec client -- "$bin/lab" udp-send --to "$to:6001" --seconds "$seconds" "${@:3}" >/dev/null &
    sender=$!
}
both_done() { wait "$sender"; wait "$receiver"; }

say "1. One TCP flow through the tunnel, over each link alone and over both"
for link in fibre lte; do
    up --link $link; tcp; printf '   %-22s %6s Mbit/s\n' "$link alone" "$mbit"; down
    printf -v "alone_$link" '%s' "$mbit"
done
up; tcp; split=$mbit
printf '   %-22s %6s Mbit/s\n' "both, split" "$split"

say "2. A link falls silent under 1000 packets a second"
udp 6; live 2
echo "   fibre falls silent"
"$bin/lab" set fibre blackhole=both >/dev/null; live 2; "$bin/lab" set fibre blackhole=off >/dev/null
echo "   fibre is back"
live 2
both_done
death_lost=$(field "$work/udp" lost)
death_gap=$(field "$work/udp" gap_max_us | awk '{printf "%.0f", $1 / 1000}')
echo "   lost $death_lost of $(field "$work/udp" sent), longest gap $death_gap ms"

say "3. An uplink of the server dies under a ping to a host behind it, and the next one degrades"
"$bin/lab" exec client -- ping -c 2 -i 0.2 -q 10.99.0.1 >/dev/null || fail "the host behind the uplinks does not answer"
"$bin/lab" uplink 0 silent >/dev/null
began=$(date +%s%N)
until "$bin/lab" exec client -- ping -c 1 -W 0.1 -q 10.99.0.1 >/dev/null 2>&1; do
    [ $(($(date +%s%N) - began)) -lt 10000000000 ] || fail "the traffic did not move to the other uplink"
done
uplink=$((($(date +%s%N) - began) / 1000000))
echo "   answers again by the second uplink after $uplink ms"
echo "   the second one loses three of ten packets; a call and a download go on by it"
for port in 6002 6003; do start "$work/echo" "$bin/lab" exec inet -- "$bin/lab" udp-echo --listen 10.99.0.1:$port; done
sleep 0.3
"$bin/lab" uplink 1 lossy >/dev/null
sleep 1.5
for port in 6002 6003; do
    "$bin/lab" exec client -- "$bin/lab" ping --to 10.99.0.1:$port --rate 50 --seconds 4 >"$work/ping$port" &
    pings+=($!)
done
for pid in "${pings[@]}"; do wait "$pid"; done
call=$(field "$work/ping6002" lost) bulk=$(field "$work/ping6003" lost)
[ "${call:-1}" -lt 10 ] || fail "the call did not move to the third uplink: it lost $call of 200 packets"
echo "   the call has moved to the third uplink and loses $call of 200 packets, the download stays and loses $bulk"
"$bin/lab" exec server -- "$bin/hawser-server" events --name demo-server | grep -v "IPv6\|healthy (ans" | tail -n 5 | cut -c1-100 | sed 's/^/   /'
down

say "4. Both links lose 5 % of all packets"
for link in fibre lte; do "$bin/lab" set $link loss=5% >/dev/null; done
lossy() { # NAME: what became of the stream, said and left in $lost and $gap
    lost=$(field "$work/udp" lost)
    gap=$(field "$work/udp" gap_max_us | awk '{printf "%.0f", $1 / 1000}')
    printf '   %-32s lost %4s of %s, longest gap %3s ms\n' "$1" "$lost" "$(field "$work/udp" sent)" "$gap"
}
udp 4 10.70.0.1 --interface fibre; live 4; both_done; lossy "the bare link"; bare=$lost
up --link fibre; udp 4; live 4; both_done; lossy "one link, lost packets sent again"; down
up --mode duplicate; udp 4; live 4; both_done; lossy "duplicate, no packet sent again"; down; twice=$lost

say "What you saw"
row() { printf '  %-44s %18s %18s\n' "$1" "$2" "$3"; }
row "" "one link" "Hawser, both links"
row "one TCP flow" "$alone_fibre Mbit/s" "$split Mbit/s"
row "a link falls silent: packets lost" "all that follow" "$death_lost"
row "a link falls silent: longest gap" "until it returns" "$death_gap ms"
row "5 % loss on each link: packets lost of 4000" "$bare" "$twice"
row "an uplink of the server dies: silence" "-" "$uplink ms"
row "the next one degrades: packets of a call lost" "about 60 of 200" "$call"
cat <<END

Try next:
  cargo run -p lab -- up fibre=100M/20ms lte=50M/60ms     raise the links by hand, and follow what it prints
  ./scripts/test.sh                                       run every test
  README.md                                               set up a server and a client of your own
END
