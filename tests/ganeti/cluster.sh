#!/bin/sh
# A Ganeti cluster of two nodes, and an instance whose disks are ours: cluster.sh HYPERVISOR, on node1 of sandbox.sh.
# With the hypervisor kvm the instance is a qemu with a guest that writes all the time and looks at what it wrote; with fake it is a file.
# Every step is printed, and the first that fails ends it.
set -eux
hypervisor=$1

on() { ssh -q "node$1" "$2" </dev/null; }

for node in 1 2; do
    on $node /mnt/scripts/member.sh
done

# An image, as an operator makes one.
as --32 /mnt/scripts/guest.s -o /tmp/guest.o
ld -m elf_i386 -Ttext 0x7c00 --oformat binary /tmp/guest.o -o /tmp/guest
vlmc create image1 --size 64
dd if=/tmp/guest of="$(vlmc map image1)" conv=notrunc,fsync status=none
vlmc unmap image1
vlmc snapshot image1 image1-golden

gnt-cluster init --enabled-hypervisors="$hypervisor" --enabled-disk-templates=ext,diskless --no-ssh-init --no-etc-hosts \
    --master-netdev=eth9 --nic-parameters mode=routed,link=100 \
    --ipolicy-bounds-specs min:disk-size=1,spindle-use=1,memory-size=1,nic-count=0,disk-count=0,cpu-count=1/max:disk-size=1048576,spindle-use=64,memory-size=32768,nic-count=8,disk-count=16,cpu-count=8 \
    cluster.sandbox.test
gnt-cluster modify --ipolicy-disk-templates=ext,diskless
[ "$hypervisor" != kvm ] || gnt-cluster modify \
    -H kvm:kvm_path=/usr/bin/qemu-system-x86_64,kvm_flag=disabled,kernel_path=,serial_console=False,vnc_bind_address=,migration_downtime=500
gnt-node add --no-ssh-key-check node2.sandbox.test
gnt-storage diagnose

instance=instance1.sandbox.test
gnt-instance add -t ext --disk 0:size=64m,provider=archipelago,origin=image1-golden,origin_size=67108864 \
    --no-install --no-start --no-name-check --no-ip-check --no-nics -B memory=32 -o none+default -n node1.sandbox.test "$instance"
volume=$(vlmc list --json | sed -n 's/^ *"name": "\(.*\.ext\.disk0\)",/\1/p')

# Where the instance is: this node has the lock, and shows the disks; the other shows none.
is_on() {
    vlmc info "$volume" | grep -E "locked by +node$1"
    [ "$(on $((3 - $1)) 'vlmc showmapped --json')" = '[]' ]
    gnt-instance list --no-headers -o pnode,status "$instance" | grep -E "^node$1.sandbox.test +running"
}
steps=0
goes_on() {
    [ "$hypervisor" != kvm ] || steps=$(on "$1" "/usr/bin/python3 /mnt/scripts/guest.py $volume $2 $3")
}

# As a block device.
gnt-instance start "$instance"
is_on 1
goes_on 1 1 100
device=$(vlmc showmapped --json | sed -n 's/^ *"location": "\(.*\)",/\1/p')
gnt-instance grow-disk "$instance" 0 64m
[ "$(blockdev --getsize64 "$device")" = $((128 << 20)) ]
gnt-instance migrate -f "$instance"
is_on 2
goes_on 2 1 $((steps + 100))
grep -E 'locked by +node1' /srv/locked

# As an address that qemu opens itself.
[ "$hypervisor" != kvm ] || gnt-cluster modify -D ext:access=userspace
gnt-instance modify --disk add:size=32m,provider=archipelago,name=second "$instance"
gnt-instance reboot --shutdown-timeout=0 "$instance"
goes_on 2 2 100
[ "$hypervisor" != kvm ] || on 2 "grep -a 'file=nbd+unix:///$volume?socket=' /proc/[0-9]*/cmdline" >/dev/null
gnt-instance migrate -f "$instance"
is_on 1
goes_on 1 2 $((steps + 100))
gnt-instance failover -f --shutdown-timeout=0 "$instance"
is_on 2
goes_on 2 3 100

# A node dies. Its locks do not, and nobody starts the instance elsewhere until they are broken.
left=$(on 2 'vlmc showmapped --json' | sed -n 's/^ *"location": "\(\/dev\/loop[0-9]*\)",/\1/p')
on 2 'kill -KILL -1' || :
# A machine that dies takes its devices with it; this one shares them with the host.
for device in $left; do losetup --detach "$device"; done
gnt-node modify --offline=yes node2.sandbox.test
if gnt-instance failover -f --shutdown-timeout=0 "$instance"; then exit 1; fi
vlmc list --json | sed -n 's/^ *"name": "\(.*\.ext\.disk.\)",/\1/p' | while read -r disk; do vlmc unlock -f "$disk"; done
# To Ganeti the instance is here already.
gnt-instance start "$instance"
goes_on 1 4 100

gnt-instance stop --timeout=0 "$instance"
[ "$(vlmc showmapped --json)" = '[]' ]
vlmc info "$volume" | grep -E 'locked by +-'
gnt-instance remove -f "$instance"
if vlmc list | grep -F .ext.disk; then exit 1; fi
