#!/bin/bash
# Starts munged, slurmctld and slurmd for tests, all on the loopback address and all their files below one folder, beside whatever
# Slurm the machine has. Usage, as root: up.sh FOLDER, which is new and below folders that only root writes, or /tmp. Afterwards
# SLURM_CONF=FOLDER/slurm.conf reaches it, and down.sh FOLDER ends it.
set -euo pipefail
run=${1:?a new folder}
here=$(dirname "$(readlink -f "$0")")
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$run/state" "$run/spool"
chmod 0755 "$run"

free_port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}
control=$(free_port $((20000 + $$ % 10000)))
node=$(free_port $((control + 1)))
shape=$(slurmd -C | head -1 | sed 's/^NodeName=[^ ]* //')
sed "s#@RUN@#$run#g; s#@HOST@#$(hostname -s)#g; s#@CONTROL_PORT@#$control#; s#@NODE_PORT@#$node#; s#@SHAPE@#$shape#" \
  "$here/slurm.conf.in" >"$run/slurm.conf"
# Devices that exist everywhere stand in for GPUs.
printf 'Name=gpu Type=fake File=%s\n' /dev/null /dev/zero >"$run/gres.conf"

head -c 128 /dev/urandom >"$run/munge.key"
chmod 0400 "$run/munge.key"
munged --force --socket="$run/munge.socket" --key-file="$run/munge.key" --pid-file="$run/munged.pid" \
  --log-file="$run/munged.log" --seed-file="$run/munge.seed"
export SLURM_CONF=$run/slurm.conf
"$here/control.sh" "$run"
slurmd -f "$SLURM_CONF"
for _ in $(seq 100); do
  if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then exit 0; fi
  sleep 0.1
done
echo "error: the node of $run is not idle: $(sinfo 2>&1)" >&2
tail -n 20 "$run"/*.log >&2
exit 1
