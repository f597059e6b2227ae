#!/bin/bash
# Ends what up.sh started in FOLDER, by the process ids written there.
run=${1:?the folder given to up.sh}
SLURM_CONF=$run/slurm.conf scancel --user=root 2>/dev/null
for name in slurmd slurmctld munged; do
  [ -s "$run/$name.pid" ] || continue
  pid=$(cat "$run/$name.pid")
  kill "$pid" 2>/dev/null
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null
done
exit 0
