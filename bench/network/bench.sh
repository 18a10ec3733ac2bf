#!/bin/sh
# Devices on a network. usage: bench.sh NAME, through ./dev bench NAME. Hosts are network namespaces of this machine, so
# its cores are shared by all of them; the figures compare the same nodes with and without cables of a given rate.
set -eu
build=${BENCH_BUILD:-build/release}
shoal=$PWD/$build/shoal
rounds=${BENCH_ROUNDS:-5}
. bench/network/lan.sh

reason=$(lan_possible) || {
    echo "bench: not possible here: $reason" >&2
    exit 1
}
key() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},*\$/\1/p" | head -n 1; }
median() { sort -g | awk '{v[NR] = $1} END {if (NR == 0) print "none"; else print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2)}'; }
now() { date +%s.%N; }
resident() { awk '/^VmRSS/ {print $2 * 1024}' "/proc/$1/status"; }
peak() { awk '/^VmHWM/ {print $2 * 1024}' "/proc/$1/status"; }
cpu_ns() { cat /proc/$1/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s}'; }

# measured_run FLEET HOST ITEMS: the run's JSON document in $lan_home/run.json
measured_run() {
    client "$1" "$2" run "${BENCH_MODEL:-vit-base}" --input "random:$3" --json >"$lan_home/run.json" 2>"$lan_home/run.err" || {
        tail -n 5 "$lan_home/run.err" "$lan_home"/*.[0-9].err >&2
        exit 1
    }
}

network() {
    items=${BENCH_ITEMS:-60}
    echo "## network: four nodes with 1 Gbit/s cables against the same on the loopback, ${BENCH_MODEL:-vit-base}, $items items, alternating"
    lan_open 5 1000
    nodes cables lan 4
    nodes loop here 4
    # Both compute with the same kernels by the same measurements.
    measured_run loop here 8
    cp "$lan_home"/loop/*.db* "$lan_home/cables/" 2>/dev/null || true
    measured_run cables 5 8
    for _ in $(seq "$rounds"); do
        measured_run loop here "$items"
        there=$(key steady_items_per_second <"$lan_home/run.json") digest=$(key output_digest <"$lan_home/run.json")
        measured_run cables 5 "$items"
        here=$(key steady_items_per_second <"$lan_home/run.json")
        [ "$digest" = "$(key output_digest <"$lan_home/run.json")" ] || {
            echo "bench: the outputs differ" >&2
            exit 1
        }
        echo "$here $there" | awk '{printf "%s items/s with cables, %s on the loopback: %.3f\n", $1, $2, $1 / $2}' >&2
        echo "$here $there" | awk '{print $1 / $2}'
    done | median | sed 's/^/outputs equal; median ratio (wanted: at least 0.97) /'
}

# weights_run FLEET HOST ITEMS: as measured_run, with the weights from a file that random_weights has written.
weights_run() {
    [ -f "$lan_home/weights" ] || "$build/random_weights" "$model" "$lan_home/weights"
    client "$1" "$2" run "$model" --weights "$lan_home/weights" --input "random:$3" --json \
        >"$lan_home/run.json" 2>"$lan_home/run.err" || {
        tail -n 5 "$lan_home/run.err" "$lan_home"/*.[0-9].err >&2
        exit 1
    }
}

distribution() {
    model=${BENCH_MODEL:-vit-large} devices=${BENCH_DEVICES:-8}
    echo "## distribution: $model from one source to $devices nodes, 100 Mbit/s in each direction of every cable"
    source=$((devices + 1))
    lan_open "$source" 100
    nodes fleet lan "$devices"
    before=$(sent_by "$source")
    weights_run fleet "$source" "$devices"
    echo "$(key weights_seconds <"$lan_home/run.json") $(key weights_sent_bytes <"$lan_home/run.json") $(($(sent_by "$source") - before)) $(stat -c %s "$lan_home/weights")" |
        awk '{printf "%.1f s; %.1f MB of %.1f MB left the source as weights (%.1f MB on its cable in all); of that time at the cable'"'"'s rate (wanted: at most 1.15) %.3f\n",
            $1, $2 / 1e6, $4 / 1e6, $3 / 1e6, $1 / ($2 * 8 / 100e6)}'
    echo "## again: a second run of the same"
    weights_run fleet "$source" "$devices"
    echo "$(key weights_sent_bytes <"$lan_home/run.json") $(key weights_seconds <"$lan_home/run.json")" |
        awk '{printf "%d bytes of weights sent (wanted: 0), %.2f s\n", $1, $2}'
    echo "## sharing: everything to all of these nodes, each byte once from the source (drawn contents of 6 layers of 768)"
    on "$source" "$build/distribution_bench" "$lan_home/fleet.yaml" "$lan_home/fleet/key" all 6 768 "$(date +%s)" 100
}

idle() {
    seconds=${BENCH_SECONDS:-60}
    echo "## idle: one node that nobody asks anything, $seconds s"
    nodes alone here 1
    pid=$(cat "$lan_home/alone.1.pid")
    sleep 2 # a library's threads spin for a moment after they have started
    before=$(cpu_ns "$pid")
    sleep "$seconds"
    echo "$(cpu_ns "$pid") $before $seconds $(resident "$pid")" |
        awk '{printf "%.1f MB resident (wanted: below 25), %.3f %% of a core (wanted: below 0.1)\n", $4 / 1e6, 100 * ($1 - $2) / 1e9 / $3}'
}

# The device has the first core for itself, the strangers and the client have the second: what strangers compute is not the
# device's loss. What the kernel does for a packet on this machine, it does mostly on the sender's core.
flood() {
    items=${BENCH_ITEMS:-90}
    echo "## flood: 10,000 connections and 100 MB of garbage against a node of one core that runs ${BENCH_MODEL:-vit-base}, $items items; alternating"
    lan_open 3 0
    nodes alone lan 1 --threads 1
    pid=$(cat "$lan_home/alone.1.pid")
    taskset -apc 0 "$pid" >/dev/null
    taskset -apc 1 $$ >/dev/null
    measured_run alone 2 8
    measured_run alone 2 "$items"
    quiet_peak=$(peak "$pid")
    for _ in $(seq "$rounds"); do
        measured_run alone 2 "$items"
        quiet=$(key steady_items_per_second <"$lan_home/run.json")
        (sleep 3 && on 3 "$build/flood" tcp://10.77.0.1:7700 --seconds 25 >>"$lan_home/flood.json") &
        measured_run alone 2 "$items"
        flooded=$(key steady_items_per_second <"$lan_home/run.json")
        wait $!
        echo "$flooded $quiet" | awk '{printf "%s items/s flooded, %s not: %.3f\n", $1, $2, $1 / $2}' >&2
        echo "$flooded $quiet" | awk '{print $1 / $2}'
    done | median | sed 's/^/median ratio (wanted: at least 0.95) /'
    tail -n 1 "$lan_home/flood.json"
    echo "$(peak "$pid") $quiet_peak" |
        awk '{printf "peak memory %.1f MB more than without (wanted: at most 20)\n", ($1 - $2) / 1e6}'
}

case ${1:-} in
network | idle | distribution | flood) "$1" ;;
*)
    echo "bench: '${1:-}' is none of network, distribution, flood, idle" >&2
    exit 2
    ;;
esac
