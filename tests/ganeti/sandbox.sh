#!/bin/sh
# Runs a command in a copy-on-write view of this machine that has Ganeti, our programs, our provider and a running stack, with
# namespaces of its own. Nothing of it is seen outside but loop devices, and those go with the stack.
#
#   sandbox.sh PACKAGES PROGRAMS GANETI_EXT SCRIPTS COMMAND...
#
# PACKAGES: a folder of Debian's packages, unpacked without their installation scripts, which would start services.
# SCRIPTS: the folder of this file; there as /mnt/scripts. Needs root. Exit status 77: there can be no such view here.
set -eu

# How long the command may take, in seconds; a busy machine takes ten times as long as a quiet one.
LIMIT=300

impossible() {
    echo "$1" >&2
    exit 77
}

if [ -z "${INSIDE_SANDBOX:-}" ]; then
    unshare --mount --net --uts --ipc --pid true || impossible 'namespaces cannot be made here'
    exec env INSIDE_SANDBOX=1 unshare --mount --net --uts --ipc --pid --fork --kill-child --propagation private "$0" "$@"
fi

packages=$1 programs=$2 provider=$3 scripts=$4
shift 4

# The view: this machine below, a file system in memory above. Only the machine's own root file system shows through.
mount -t tmpfs -o size=2G sandbox /mnt
mkdir /mnt/changes /mnt/work /mnt/view
mount -t overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work sandbox /mnt/view ||
    impossible 'overlays cannot be mounted here'
for package in "$packages"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C /mnt/view --keep-directory-symlink
done
cd /mnt/view
mount -t proc sandbox proc
mount --rbind /sys sys
mount --rbind /dev dev
for place in dev/shm run tmp; do
    mount -t tmpfs -o mode=1777 sandbox "$place"
done
mkdir -p run/lock mnt/programs mnt/scripts
mount --bind "$programs" mnt/programs
mount --bind "$scripts" mnt/scripts
for program in archipelago vlmc; do
    ln -sfn "/mnt/programs/$program" "usr/bin/$program"
done

# What Ganeti's packages would have done. Users and groups are those of its daemons.
for release in usr/share/ganeti/[3-9]*; do
    for part in lib share; do
        ln -sfn "/usr/$part/ganeti/${release##*/}" "etc/ganeti/$part"
    done
done
number=64900
add_user() {
    number=$((number + 1))
    printf 'gnt-%s:x:%s:%s:ganeti:/var/lib/ganeti:/usr/sbin/nologin\n' "$1" "$number" "$number" >>etc/passwd
    printf 'gnt-%s:x:%s:%s\n' "$1" "$number" "$2" >>etc/group
}
add_user confd gnt-masterd
add_user masterd ''
add_user metad ''
add_user rapi ''
add_user luxid gnt-masterd
add_user admin gnt-masterd,gnt-rapi
add_user daemons gnt-confd,gnt-masterd,gnt-metad,gnt-rapi
# Without this folder every call of a provider fails.
mkdir -p var/log/ganeti/extstorage usr/share/ganeti/extstorage etc/ganeti/hooks
cp -R "$provider/extstorage/." usr/share/ganeti/extstorage
cp -R "$provider/hooks/." etc/ganeti/hooks
chmod -R go-w usr/share/ganeti/extstorage etc/ganeti/hooks

# A node with an address, which Ganeti insists on.
hostname node1.sandbox.test
echo node1.sandbox.test >etc/hostname
ip link set lo up
ip link add eth9 type veth peer name eth9p || impossible 'pairs of network devices cannot be made here'
ip address add 10.77.0.1/24 dev eth9
ip link set eth9 up
ip link set eth9p up
cat >etc/hosts <<'HOSTS'
127.0.0.1 localhost
10.77.0.1 node1.sandbox.test node1
10.77.0.2 cluster.sandbox.test cluster
10.77.0.10 instance1.sandbox.test instance1
HOSTS
: >etc/resolv.conf

# Two nodes' stacks on one store; the first one is where an operator would have it.
mkdir -p etc/archipelago tmp/one tmp/two
in_view() { chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
in_view archipelago config init --dir /tmp/one >/dev/null
in_view archipelago config init --dir /tmp/two --blocks /tmp/one/blocks --maps /tmp/one/maps >/dev/null
ln -s /tmp/one/archipelago.toml etc/archipelago/archipelago.toml
stop() {
    for node in one two; do
        in_view archipelago -c "/tmp/$node/archipelago.toml" stop --force >/dev/null 2>&1 || :
    done
}
trap stop EXIT
for node in one two; do
    in_view archipelago -c "/tmp/$node/archipelago.toml" start >/dev/null
done
in_view timeout --kill-after=10 "$LIMIT" "$@" </dev/null
