#!/bin/sh
# Two nodes, each a copy-on-write view of this machine with namespaces of its own, that have Ganeti, our programs and our provider. They see
# each other over a network of their own, and both have the folder /srv. Nothing of it is seen outside but loop devices, and those go with the stacks.
#
#   sandbox.sh PACKAGES PROGRAMS GANETI_EXT SCRIPTS COMMAND...
#
# PACKAGES: a folder of Debian's packages, unpacked without their installation scripts, which would start services.
# SCRIPTS: the folder of this file; there as /mnt/scripts. COMMAND runs on node1. Needs root. Exit status 77: there can be no such view here.
set -eu

impossible() {
    echo "$1" >&2
    exit 77
}

if [ -z "${INSIDE_SANDBOX:-}" ]; then
    unshare --mount --net --uts --ipc --pid true || impossible 'namespaces cannot be made here'
    exec env INSIDE_SANDBOX=1 unshare --mount --net --uts --ipc --pid --fork --kill-child --mount-proc --propagation private "$0" "$@"
fi

packages=$1 programs=$2 provider=$3 scripts=$4
shift 4

# What the nodes have in common: this machine below, a file system in memory above. Only the machine's own root file system shows through.
mount -t tmpfs -o size=2G sandbox /mnt
mkdir /mnt/common /mnt/work /mnt/view /mnt/shared
mount -t overlay -o lowerdir=/,upperdir=/mnt/common,workdir=/mnt/work sandbox /mnt/view ||
    impossible 'overlays cannot be mounted here'
cd /mnt/view
for package in "$packages"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink
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
    printf '%s:x:%s:%s:ganeti:/var/lib/ganeti:/usr/sbin/nologin\n' "$1" "$number" "$number" >>etc/passwd
    printf '%s:x:%s:%s\n' "$1" "$number" "$2" >>etc/group
}
add_user gnt-confd gnt-masterd
add_user gnt-masterd gnt-masterd
add_user gnt-metad ''
add_user gnt-rapi ''
add_user gnt-luxid gnt-masterd
add_user gnt-admin gnt-masterd,gnt-rapi
add_user gnt-daemons gnt-confd,gnt-masterd,gnt-metad,gnt-rapi
grep -q ^sshd: etc/passwd || add_user sshd ''
# Without the folder of logs every call of a provider fails.
mkdir -p var/log/ganeti/extstorage usr/share/ganeti/extstorage etc/ganeti/hooks
cp -R "$provider/extstorage/." usr/share/ganeti/extstorage
cp -R "$provider/hooks/." etc/ganeti/hooks
chmod -R go-w usr/share/ganeti/extstorage etc/ganeti/hooks
mkdir -p mnt/programs mnt/scripts
for program in archipelago vlmc; do
    ln -sfn "/mnt/programs/$program" "usr/bin/$program"
done

# Root goes from node to node, as Ganeti does when it adds one; its nodes have one host key.
mkdir -p root/.ssh
rm -f root/.ssh/* etc/ssh/ssh_host_*
: >etc/ssh/sshd_config
mount --rbind /dev dev
chroot . ssh-keygen -q -t rsa -N '' -f /etc/ssh/ssh_host_rsa_key
chroot . ssh-keygen -q -t rsa -N '' -f /root/.ssh/id_rsa
cp root/.ssh/id_rsa.pub root/.ssh/authorized_keys
printf 'StrictHostKeyChecking no\nConnectionAttempts 30\n' >root/.ssh/config
chmod -R go= root/.ssh
cat >etc/hosts <<'HOSTS'
127.0.0.1 localhost
10.77.0.1 node1.sandbox.test node1
10.77.0.2 node2.sandbox.test node2
10.77.0.9 cluster.sandbox.test cluster
10.77.0.10 instance1.sandbox.test instance1
10.77.0.11 instance2.sandbox.test instance2
HOSTS
: >etc/resolv.conf
cd /
umount --recursive /mnt/view

# A network of two nodes, which Ganeti insists on having addresses.
ip link add nodes address 06:77:00:00:00:01 type bridge || impossible 'bridges cannot be made here'
ip link set nodes up
for number in 1 2; do
    : >"/mnt/net$number"
    unshare --net="/mnt/net$number" true
    ip link add "node$number" type veth peer name eth9 netns "/mnt/net$number" || impossible 'pairs of network devices cannot be made here'
    ip link set "node$number" master nodes up
done

# A node ends with its input: the second when this script does.
node() {
    number=$1
    shift
    nsenter --net="/mnt/net$number" unshare --mount --uts --ipc --pid --fork --kill-child --propagation private \
        "$scripts/node.sh" "$number" "$programs" "$scripts" "$@"
}
mkfifo /mnt/second
node 2 cat </mnt/second &
exec 9>/mnt/second
status=0
node 1 "$@" </dev/null 9>&- || status=$?
exec 9>&-
wait
exit "$status"
