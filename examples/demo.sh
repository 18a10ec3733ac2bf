#!/bin/sh
# The main job in a minute: one model on one device, then split over several, same numbers, more of them.
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
trap 'rm -rf "$work"' EXIT
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
[ "$same" != NO ]
