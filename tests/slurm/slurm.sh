#!/usr/bin/env bash
# A real Slurm of one node on this machine, for tests: no systemd, no cgroups, no accounting.
# slurm.sh install        Debian's slurm-wlm and munge, where they are not there already
# slurm.sh start FOLDER   configuration, key, socket, state and logs in FOLDER; clients need SLURM_CONF=FOLDER/slurm.conf
#                         and FOLDER/bin first in PATH
# slurm.sh stop FOLDER    ends what `start` began
set -euo pipefail
PATH=$PATH:/usr/sbin

install() {
  command -v slurmctld slurmd munged >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "slurm.sh: no Slurm on this machine, and only root on Debian can install it: apt-get install slurm-wlm munge" >&2
    return 1
  fi
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge; } >/dev/null 2>&1 ||
    { echo "slurm.sh: apt-get could not install slurm-wlm and munge" >&2; return 1; }
}

free_ports() {
  python3 -c '
import socket
held = [socket.socket() for _ in range(2)]
for one in held:
    one.bind(("", 0))
print(*(one.getsockname()[1] for one in held))'
}

configure() {
  local host user memory controller node
  host=$(hostname -s)
  user=$(id -un)
  memory=$(free -m | awk '/Mem:/ {print $2}')
  read -r controller node < <(free_ports)
  cat >"$1/slurm.conf" <<END
ClusterName=softjet
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$1/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/node
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/log/slurmctld.log
SlurmdLogFile=$1/log/slurmd.log
SlurmctldPort=$controller
SlurmdPort=$node
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=5
ReturnToService=2
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=600
KillWait=5
InactiveLimit=0
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=UNLIMITED State=UP
END
}

start() {
  mkdir -p "$1"/{state,node,log,munge}
  chmod 755 "$1" "$1/munge"
  configure "$1"
  (umask 077 && head -c 1024 /dev/urandom >"$1/munge/key")
  munged --force --socket="$1/munge/socket" --key-file="$1/munge/key" --pid-file="$1/munge/munged.pid" \
    --seed-file="$1/munge/seed" --log-file="$1/munge/log"
  export SLURM_CONF=$1/slurm.conf
  # Snakemake's job step takes SLURM_CONF from the environment of its srun.
  mkdir -p "$1/bin"
  printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$1/bin/srun"
  chmod +x "$1/bin/srun"
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF"
  for _ in $(seq 30); do
    sinfo -h -o %t 2>/dev/null | grep -q '^idle' && return
    sleep 1
  done
  echo "slurm.sh: the node is not idle after 30 s; see $1/log" >&2
  return 1
}

stop() {
  local name
  SLURM_CONF=$1/slurm.conf timeout 10 scancel --user "$(id -un)" 2>/dev/null || true
  for name in slurmd slurmctld munge/munged; do
    [ -s "$1/$name.pid" ] && kill "$(cat "$1/$name.pid")" 2>/dev/null || true
  done
}

case ${1:-} in
  install) install ;;
  start | stop) "$1" "$(realpath "${2:?a folder}")" ;;
  *) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
esac
