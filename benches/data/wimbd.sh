#!/usr/bin/env bash
# Processor seconds of the `wimbd` crate's command and of this program on the same gzipped JSON lines, side by side:
#   benches/data/wimbd.sh WIMBD CORPUS [N...]
# WIMBD is the command that `cargo install wimbd` made. It counts with one hashed table of 1 GiB; ours is exact.
set -euo pipefail
wimbd=$1 corpus=$2
shift 2
sizes=("${@:-1}")
[ $# -gt 0 ] || sizes=(1 2 3 5 10)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mapfile -t files < <(find -L "$corpus" -name '*.jsonl.gz' | sort)
cargo build --release -q -p data --no-default-features --example analyze
ours=${CARGO_TARGET_DIR:-target}/release/examples/analyze

# user + sys seconds of a command
cpu() {
    local TIMEFORMAT='%U %S'
    { time "$@" >"$scratch/out" 2>"$scratch/err"; } 2>&1 | awk '{ printf "%.2f", $1 + $2 }'
}

row() { printf '%-12s %10s %10s %8s\n' "$1" "$2" "$3" "$(awk -v a="$2" -v b="$3" 'BEGIN { printf "%.2f", a / b }')"; }
threads=${THREADS:-2}
export RAYON_NUM_THREADS=$threads
printf '%-12s %10s %10s %8s\n' question 'wimbd s' 'ours s' ratio
row stats "$(cpu "$wimbd" stats -j "$threads" -q "${files[@]}")" "$(cpu "$ours" "$scratch/a" summary 1 10 "$corpus")"
for n in "${sizes[@]}"; do
    theirs=$(cpu "$wimbd" topk -n "$n" -k 1000 --size 1GiB --seed 1 -j "$threads" -q --json -o "$scratch/topk-$n" -f "${files[@]}")
    row "topk n=$n" "$theirs" "$(cpu "$ours" "$scratch/t$n" common_ngrams "$n" 1000 "$corpus")"
    theirs=$(cpu "$wimbd" unique -n "$n" --size 1GiB --seed 1 -j "$threads" -q "${files[@]}")
    row "unique n=$n" "$theirs" "$(cpu "$ours" "$scratch/u$n" rare_ngrams "$n" 1 "$corpus")"
done
