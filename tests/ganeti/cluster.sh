#!/bin/sh
# A Ganeti cluster of one node, with the fake hypervisor, and an instance whose disks are ours; inside sandbox.sh.
# Every step is printed, and the first that fails ends it.
set -eux

# An operating system that needs no installing: Ganeti wants one to be named.
os=/usr/share/ganeti/os/none
mkdir -p "$os/variants" /root/.ssh
echo 20 >"$os/ganeti_api_version"
echo default >"$os/variants.list"
: >"$os/parameters.list"
for script in create import export rename verify; do
    printf '#!/bin/sh\n' >"$os/$script"
    chmod +x "$os/$script"
done
[ -e /etc/ssh/ssh_host_rsa_key ] || ssh-keygen -q -t rsa -N '' -f /etc/ssh/ssh_host_rsa_key
/usr/lib/ganeti/ensure-dirs

# An image, as an operator makes one.
vlmc create image1 --size 64
device=$(vlmc map image1)
printf 'an image' | dd of="$device" conv=notrunc,fsync status=none
vlmc unmap image1
vlmc snapshot image1 image1-golden

gnt-cluster init --enabled-hypervisors=fake --enabled-disk-templates=ext,diskless --no-ssh-init --no-etc-hosts \
    --master-netdev=eth9 --nic-parameters mode=routed,link=100 \
    --ipolicy-bounds-specs min:disk-size=1,spindle-use=1,memory-size=1,nic-count=0,disk-count=0,cpu-count=1/max:disk-size=1048576,spindle-use=64,memory-size=32768,nic-count=8,disk-count=16,cpu-count=8 \
    cluster.sandbox.test
gnt-cluster modify --ipolicy-disk-templates=ext,diskless
gnt-storage diagnose

instance=instance1.sandbox.test
gnt-instance add -t ext --disk 0:size=64m,provider=archipelago,origin=image1-golden,origin_size=67108864 \
    --no-install --no-start --no-name-check --no-ip-check --net 0:ip=10.77.0.10 -B memory=128 -o none+default \
    -n node1.sandbox.test "$instance"
volume=$(vlmc list --json | sed -n 's/^ *"name": "\(.*\.ext\.disk0\)",/\1/p')
gnt-instance start "$instance"
device=$(vlmc showmapped --json | sed -n 's/^ *"location": "\(.*\)",/\1/p')
[ "$(head -c 8 "$device")" = 'an image' ]
vlmc info "$volume" | grep -E 'locked by +[^ -]'

gnt-instance grow-disk "$instance" 0 64m
[ "$(blockdev --getsize64 "$device")" = $((128 << 20)) ]
gnt-instance modify --disk add:size=32m,provider=archipelago,name=second "$instance"
gnt-instance reboot "$instance"

gnt-instance stop "$instance"
[ "$(vlmc showmapped --json)" = '[]' ]
vlmc info "$volume" | grep -E 'locked by +-'
gnt-instance remove -f "$instance"
if vlmc list | grep -F .ext.disk; then exit 1; fi
