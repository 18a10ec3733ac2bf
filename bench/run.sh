#!/bin/sh
# The measurements of BENCHMARKS.md. `./dev bench [NAME]` builds first. Everything alternates with what it is
# compared to, in the same run; medians of ratios.
# `./dev bench flood ADDRESS [--connections N] [--parallel P] [--bytes B] [--seconds S] [--kind silent|garbage|greeting|mixed]`
# is not one of them: it sends a stranger's flood to a node (loopback and private addresses only; by default 10000
# connections, 1000 at a time, 100 MB, at most 10 s) and prints what became of it as JSON. Measure a job beside it, as
# `./dev bench flood` does. Benchmarks of devices on a network are in bench/network/bench.sh.
set -eu
case ${1:-} in network | distribution | flood | idle)
    [ $# -gt 1 ] || exec sh bench/network/bench.sh "$1"
    ;;
esac
if [ "${1:-}" = flood ]; then
    shift
    exec build/release/flood "$@"
fi
shoal=build/release/shoal
export SHOAL_HOME="${SHOAL_HOME:-$(mktemp -d)}"
rounds=${BENCH_ROUNDS:-5}

key() { sed -n "s/^ \"$1\": \([0-9.eE+-]*\),*\$/\1/p" | head -n 1; }
median() { sort -g | awk '{v[NR] = $1} END {print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2)}'; }

engine() {
    echo "## engine: fraction of the processor's own multiply-add peak (one thread, f32)"
    for isa in native avx2; do
        for model in vit-base vit-large; do
            for batch in 1 8; do
                for _ in $(seq "$rounds"); do
                    "$shoal" bench engine "$model" --batch "$batch" --isa "$isa" --repeats 3 --json 2>/dev/null |
                        key fraction_of_peak
                done | median | sed "s/^/$model batch $batch isa $isa: median fraction of peak /" || echo "$model $isa: not possible here"
            done
        done
    done
}

steady() { "$shoal" run "$1" --input "random:$2" --devices "$3" --threads 1 --json 2>/dev/null | key steady_items_per_second; }

pipeline() {
    echo "## pipeline: two devices against one, one thread each, ViT-Base, 200 items, alternating"
    "$shoal" profile vit-base --devices 2 --threads 1 >/dev/null 2>&1
    for i in $(seq "$rounds"); do
        one=$(steady vit-base 200 1)
        two=$(steady vit-base 200 2)
        echo "$one $two" | awk '{printf "%s items/s alone, %s with two: %.3f\n", $1, $2, $2 / $1}' >&2
        echo "$one $two" | awk '{print $2 / $1}'
    done | median | sed 's/^/median speed-up /'
    echo "## overhead: CPU time outside computing, 4 devices, ViT-Base, CURVE on"
    "$shoal" run vit-base --input random:100 --devices 4 --threads 1 --json 2>/dev/null |
        awk -F'[:,]' '/"compute_cpu_s"/ {c += $2} /"cpu_s"/ && !/compute|io|owner/ {t += $2} /"owner_cpu_s"/ {o = $2}
            END {printf "devices: %.2f s of %.2f s CPU is not computing: %.2f %%; with the owner (%.2f s): %.2f %%\n",
                 t - c, t, 100 * (t - c) / t, o, 100 * (t + o - c) / (t + o)}'
}

memory() {
    echo "## memory: peak of every stage against the plan"
    for case in "vit-base 2" "vit-base 4" "vit-large 4" "vit-huge 4"; do
        # shellcheck disable=SC2086
        set -- $case
        "$shoal" run "$1" --input random:6 --devices "$2" --threads 1 --json 2>/dev/null |
            awk -F'[:,]' -v what="$case devices" '/"peak_memory_bytes"/ {p = $2} /"predicted_memory_bytes"/ {
                printf "%s: peak %.1f MB, planned %.1f MB, ratio %.3f\n", what, p / 1e6, $2 / 1e6, p / $2}'
    done
}

plan() { build/release/plan_bench; }
tokens() {
    texts=${SHOAL_SHARED:-../shared}/data/datasets/text
    if [ -e "$texts/bert-base-uncased-vocab.txt" ]; then
        echo "## tokens: SST-2's training sentences, bert-base-uncased's vocabulary, one core"
        build/release/tokens_bench "$texts/bert-base-uncased-vocab.txt" "$texts/sst2/train.tsv" 512 9 >/dev/null
    else
        echo "## tokens: no texts in $texts (SHOAL_SHARED)"
    fi
}
transport() { build/release/transport_bench; }
kernels() {
    for isa in native avx2; do
        for batch in 1 8; do
            build/release/kernels_block_bench --batch "$batch" --isa "$isa" || echo "$isa: not possible here"
        done
    done
}

if [ $# -gt 0 ]; then
    for name in "$@"; do
        case $name in
        engine | pipeline | memory | plan | tokens | transport | kernels) "$name" ;;
        *) echo "bench: '$name' is none of engine, pipeline, memory, plan, tokens, transport, kernels, network, distribution, flood, idle" >&2; exit 2 ;;
        esac
    done
else
    engine
    pipeline
    memory
    plan
    tokens
    transport
    kernels
fi
