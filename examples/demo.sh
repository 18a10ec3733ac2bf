#!/bin/sh
# The main job in a minute: one model on one device, then split over several, same numbers, more of them; then devices with
# keys and a cluster file, as on machines of their own, which get the weights over their links, once.
# Called by ./dev demo after the release build. DEMO_MODEL and DEMO_IMAGES change what is run.
set -eu
shoal=build/release/shoal
draw=build/release/draw_images
model=${DEMO_MODEL:-vit-base}
images=${DEMO_IMAGES:-64}
cores=$(nproc)
devices=$cores
[ "$devices" -gt 4 ] && devices=4
[ "$devices" -lt 2 ] && devices=2

work=$(mktemp -d)
nodes=
finish() {
    # shellcheck disable=SC2086
    [ -z "$nodes" ] || kill $nodes 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# number KEY FILE: a top-level number of a JSON document
number() { sed -n "s/^ \"$1\": \([0-9.eE+-]*\),*\$/\1/p" "$2" | head -n 1; }
text() { sed -n "s/^ \"$1\": \"\(.*\)\",*\$/\1/p" "$2" | head -n 1; }

classify() { # NAME DEVICES; the progress bar shows on a terminal
    "$shoal" run "$model" --input "$work/pictures" --devices "$2" --threads 1 --output "$work/$1.jsonl" --json >"$work/$1.json"
    awk -v rate="$(number steady_items_per_second "$work/$1.json")" 'BEGIN {printf "%.2f pictures a second\n", rate}'
}

echo
echo "== Shoal draws $images pictures"
"$draw" "$work/pictures" "$images" 7
echo
echo "== The best partition of $model over $devices devices of this machine, one thread each"
"$shoal" plan "$model" --devices "$devices" --threads 1
echo
echo "== One device"
classify one 1
echo
echo "== $devices devices: processes of their own, encrypted links between them"
classify many "$devices"

one=$(number steady_items_per_second "$work/one.json")
many=$(number steady_items_per_second "$work/many.json")
same=NO
[ "$(text output_digest "$work/one.json")" = "$(text output_digest "$work/many.json")" ] &&
    cmp -s "$work/one.jsonl" "$work/many.jsonl" && same="yes, bit for bit"
memory() { sed -n 's/.*"peak_memory_bytes": \([0-9]*\),*/\1/p' "$1" | sort -n | tail -n 1; }

echo
echo "$model, $images pictures, weights from a seed (the labels mean nothing, the arithmetic does)"
awk -v one="$one" -v many="$many" -v devices="$devices" -v same="$same" \
    -v m1="$(memory "$work/one.json")" -v mn="$(memory "$work/many.json")" 'BEGIN {
    printf "\n  %-28s %12s %12s\n", "", "one device", devices " devices"
    printf "  %-28s %12.2f %12.2f\n", "pictures a second", one, many
    printf "  %-28s %12s %11.2fx\n", "speed-up", "1.00x", many / one
    printf "  %-28s %9.0f MB %9.0f MB\n", "memory, largest device", m1 / 1e6, mn / 1e6
    printf "  %-28s %25s\n\n", "outputs identical", same
}'
[ "$cores" -lt "$devices" ] && echo "This machine has $cores core: its devices share it, so there is no speed-up to see."
[ "$same" != NO ] || exit 1

echo "== As on machines of their own: a key each, a cluster file that says who is who, and nobody else gets in"
export SHOAL_HOME="$work/laptop"
cluster=$work/mine.yaml
small=deit-small
public() { SHOAL_HOME="$work/$1" "$shoal" key --name "$1" --json | sed -n 's/^ "public_key": "\(.*\)",*$/\1/p'; }
client=$(public laptop)
echo "laptop $client" >"$work/allow"
for device in pi-1 pi-2; do public "$device" | sed "s/^/$device /" >>"$work/allow"; done
echo "devices:" >"$cluster"
for device in pi-1 pi-2; do # port 0: whichever is free
    SHOAL_HOME="$work/$device" "$shoal" node --name "$device" --listen tcp://127.0.0.1:0 --allow "$work/allow" --threads 1 \
        --memory 2G --log warn >"$work/$device.out" &
    nodes="$nodes $!"
done
for device in pi-1 pi-2; do
    for _ in $(seq 100); do
        grep -q '^ready' "$work/$device.out" && break
        sleep 0.1
    done
    printf '  - {name: %s, address: "%s", key: "%s", memory: 2G, threads: 1}\n' "$device" \
        "$(sed -n 's/^ready //p' "$work/$device.out")" "$(public "$device")" >>"$cluster"
done
printf 'clients:\n  - {name: laptop, key: "%s"}\n' "$client" >>"$cluster"
"$shoal" nodes --cluster "$cluster"
build/release/random_weights "$small" "$work/$small.safetensors" 7
on_cluster() { # NAME: the weights' file is here only; each device gets its part
    "$shoal" run "$small" --weights "$work/$small.safetensors" --input "$work/pictures" --cluster "$cluster" --json >"$work/$1.json"
}
on_cluster first
on_cluster second
"$shoal" run "$small" --weights "$work/$small.safetensors" --input "$work/pictures" --threads 1 --json >"$work/alone.json"
same=NO
[ "$(text output_digest "$work/second.json")" = "$(text output_digest "$work/alone.json")" ] && same="yes, bit for bit"
awk -v a="$(number weights_sent_bytes "$work/first.json")" -v b="$(number weights_sent_bytes "$work/second.json")" -v same="$same" \
    -v model="$small" 'BEGIN {
    printf "\n  %s from one file on this machine, over encrypted links\n", model
    printf "  %-40s %9.1f MB\n", "weights sent in the first run", a / 1e6
    printf "  %-40s %9.1f MB\n", "weights sent in the second run", b / 1e6
    printf "  %-40s %25s\n\n", "outputs as on one device from the file", same
}'
[ "$same" != NO ]
