#!/bin/bash
# Starts the controller of the Slurm in FOLDER, at first and after it was ended.
set -euo pipefail
run=${1:?the folder given to up.sh}
PATH=$PATH:/usr/sbin:/sbin
SLURM_CONF=$run/slurm.conf slurmctld -f "$run/slurm.conf"
