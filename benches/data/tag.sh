#!/bin/sh
# Taggers beside those of Dolma: megabytes of text per processor second (user + system, start included) on one corpus.
#
#   benches/data/tag.sh DOCUMENTS [DOLMA] [DATATROVE]
#
# DOCUMENTS is a folder that benches/data/corpus.py made. DOLMA is the `dolma` program of an environment with PyPI dolma 1.2.1
# (pip install dolma==1.2.1 detect-secrets==1.4.0 beautifulsoup4 pygments boto3==1.28.17 botocore==1.31.17 aiobotocore==2.5.4
# s3fs==2023.6.0 fsspec==2023.6.0 'numpy<2'), DATATROVE the `python` of one with datatrove[processing]==0.10.1 and spacy==3.8.
# Build before: cargo build --release -p data --example tag_rate.
set -eu
documents=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
ours=${TAG_RATE:-${CARGO_TARGET_DIR:-target}/release/examples/tag_rate}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bytes=$(zcat "$documents"/*/*.gz | python3 -c 'import json, sys; print(sum(len(json.loads(line)["text"].encode()) for line in sys.stdin))')

rate() { # name, command...
    name=$1; shift
    /usr/bin/time -o "$scratch/time" -f '%U %S %e %M' "$@" >"$scratch/log" 2>&1 || { echo "$name failed:"; tail -3 "$scratch/log"; return 0; }
    awk -v name="$name" -v bytes="$bytes" '{ cpu = $1 + $2; printf "%-46s %8.2f CPU s %8.2f MB/CPU-s %8.2f s wall %6d MB\n", name, cpu, bytes / 1e6 / cpu, $3, $4 / 1024 }' "$scratch/time"
}

for tagger in gopher_v1 c4_v2 pii_regex_with_counts_fast_v2 code_redpajama_taggers_v1 whitespace_tokenizer_with_paragraphs_v1; do
    for threads in 1 2; do
        rate "workbench $tagger, $threads threads" "$ours" "$documents" "$scratch/ours" "$threads" "$tagger"
    done
    if [ -n "${2:-}" ]; then
        RUST_LOG=error rate "dolma $tagger" "$2" tag --documents "$documents/*/*.gz" --destination "$scratch/dolma/$tagger" --taggers "$tagger" --processes 1
    fi
done
rate "workbench all five in one pass" "$ours" "$documents" "$scratch/ours" 1 gopher_v1 c4_v2 pii_regex_with_counts_fast_v2 code_redpajama_taggers_v1 whitespace_tokenizer_with_paragraphs_v1
for preset in datatrove fineweb olmo3; do
    rate "workbench quality_${preset}_v1" "$ours" "$documents" "$scratch/ours" 1 "quality_${preset}_v1"
done
if [ -n "${3:-}" ]; then
    for filter in gopher_quality gopher_repetition fineweb_quality; do
        rate "datatrove $filter" "$3" "$here/datatrove_filter.py" "$documents" "$filter"
    done
fi
