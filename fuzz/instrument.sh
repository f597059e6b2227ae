#!/bin/sh
# A RUSTC_WRAPPER that prepares only the crates under test for libFuzzer, so that the hundreds of others keep what was built of them
# before. `cargo fuzz` does not need it: it prepares everything.
case "$CARGO_CRATE_NAME" in
plan | cache | data | workbench | rhai | journal | manifest | preimage | record | archive | compressed_archive | pattern | rows | attributes | warc | recipe)
    exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks
    ;;
*) exec "$@" ;;
esac
