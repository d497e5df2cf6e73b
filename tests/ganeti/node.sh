#!/bin/sh
# One node of sandbox.sh, in namespaces of its own: node.sh NUMBER PROGRAMS SCRIPTS COMMAND...
# Runs the command there, and afterwards stops the stacks that were started.
set -eu

# How long the command may take, in seconds; a busy machine takes ten times as long as a quiet one.
LIMIT=600

number=$1 programs=$2 scripts=$3
shift 3

node=/mnt/node$number
mkdir "$node" "$node/changes" "$node/work" "$node/view"
mount -t overlay -o "lowerdir=/mnt/common:/,upperdir=$node/changes,workdir=$node/work" sandbox "$node/view"
cd "$node/view"
mount -t proc sandbox proc
mount --rbind /sys sys
mount --rbind /dev dev
for place in dev/shm run tmp; do
    mount -t tmpfs -o mode=1777 sandbox "$place"
done
mkdir -p run/lock run/sshd srv
mount --bind /mnt/shared srv
mount --bind "$programs" mnt/programs
mount --bind "$scripts" mnt/scripts

hostname "node$number.sandbox.test"
hostname >etc/hostname
ip link set lo up
ip address add "10.77.0.$number/24" dev eth9
ip link set eth9 up

in_view() { chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
in_view /usr/sbin/sshd
stop() {
    for configuration in tmp/*/archipelago.toml; do
        [ ! -e "$configuration" ] || in_view archipelago -c "/$configuration" stop --force >/dev/null 2>&1 || :
    done
}
trap stop EXIT
in_view timeout --kill-after=10 "$LIMIT" "$@"
