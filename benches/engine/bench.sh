#!/usr/bin/env bash
# The engine against ninja and make on one graph of N steps (root -> chain of N/10 and a fan -> join), each copying a small file.
# Prints processor seconds (user + system, children included) and wall seconds of each case; the smallest of REPS for what changes nothing.
# usage: bench.sh WORKBENCH GEN [N]    WORKBENCH: the program; GEN: the generator of the peers' build files and of dag.json
set -euo pipefail
program=$(realpath "$1"); gen=$(realpath "$2"); steps=${3:-1000}; reps=${REPS:-5}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
for tool in json ninja ninja_restat make; do python3 "$gen" "$tool" "$steps" "$dir/$tool" >/dev/null; done
for way in shell native; do python3 "$here/recipe.py" "$dir/json/dag.json" "$way" >"$dir/json/$way.rhai"; done

# measure NAME TIMES FOLDER COMMAND...: the run with the least processor time
measure() {
  local name=$1 times=$2 folder=$3; shift 3
  python3 - "$name" "$times" "$folder" "$@" <<'PY'
import os, resource, subprocess, sys, time
name, times, folder, command = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
best = None
for _ in range(times):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    best = min(best or (9e9,), (cpu, time.time() - start))
print(f"{name:<28} {best[0]:8.3f} s CPU {best[1]:8.3f} s wall", flush=True)
PY
}

load() { cut -d' ' -f1 /proc/loadavg; }
echo "$steps steps, load $(load)"
measure "ninja cold" 1 "$dir/ninja" ninja -j2
measure "make cold" 1 "$dir/make" make -j2
measure "workbench cold, shell" 1 "$dir/json" "$program" run shell.rhai
measure "workbench cold, native" 1 "$dir/json" "$program" --home native run native.rhai
measure "ninja nothing to do" "$reps" "$dir/ninja" ninja
measure "make nothing to do" "$reps" "$dir/make" make
measure "workbench nothing, shell" "$reps" "$dir/json" "$program" run shell.rhai
measure "workbench nothing, native" "$reps" "$dir/json" "$program" --home native run native.rhai
measure "ninja restat cold" 1 "$dir/ninja_restat" ninja -j2
# The root's source changes behind its 64th byte: its output does not.
for folder in ninja_restat json; do printf '%064d changed\n' 0 | tr 0 A >"$dir/$folder/src/root.txt"; done
measure "ninja restat, cut off" 1 "$dir/ninja_restat" ninja -j2
measure "workbench, cut off" 1 "$dir/json" "$program" run shell.rhai
(cd "$dir/json" && "$program" runs | tail -1)
echo "load $(load)"
