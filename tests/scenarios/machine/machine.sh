#!/bin/sh
# A new host: a copy-on-write view of this machine, in namespaces of its own, with a store and the configuration that the original left.
# Nothing of it is seen outside. Types the lines of a file there, as root; the first that fails is told.
#
#   machine.sh PROGRAMS CHECKOUT LINES
#
# Needs root. Exit status 77: there can be no such view here.
set -eu

impossible() {
    echo "$1" >&2
    exit 77
}

if [ -z "${INSIDE_MACHINE:-}" ]; then
    unshare --mount --ipc --pid true || impossible 'namespaces cannot be made here'
    exec env INSIDE_MACHINE=1 unshare --mount --ipc --pid --fork --kill-child --mount-proc --propagation private "$0" "$@"
fi

programs=$1 checkout=$2
exec 3<"$3"
mount -t tmpfs -o size=1G machine /mnt
mkdir /mnt/changes /mnt/work /mnt/view
mount -t overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work machine /mnt/view ||
    impossible 'overlays cannot be mounted here'
cd /mnt/view
mount -t proc machine proc
mount --rbind /sys sys
mount --rbind /dev dev
for place in dev/shm run tmp srv mnt; do
    mount -t tmpfs -o mode=1777 machine "$place"
done

# What is there before anything is installed: what was built, the checkout's sample, Ganeti's folders, the original's files.
mkdir -p mnt/programs usr/share/ganeti/extstorage etc/ganeti/hooks srv/archip
mount --bind "$programs" mnt/programs
for program in archipelago vlmc xseg; do
    ln -sfn "/mnt/programs/$program" "usr/bin/$program"
done
rm -rf etc/archipelago
mkdir -p root
cp -R "$checkout/etc" root/
install -D -m 644 "$checkout/tests/scenarios/machine/archipelago.conf" etc/archipelago/archipelago.conf
tar --zstd -C srv/archip -xf "$checkout/tests/golden/archipelago/store.tar.zst"

in_view() { chroot . /usr/bin/env -i -C /root PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@" </dev/null 3<&-; }
while IFS= read -r line <&3; do
    in_view sh -euc "$line" || {
        echo "failed: $line" >&2
        in_view archipelago stop --force >/dev/null 2>&1 || :
        exit 1
    }
done
