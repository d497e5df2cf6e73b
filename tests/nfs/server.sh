#!/bin/sh
# In machine.sh's virtual machine: an NFS server, two clients of it with networks and names of their own, mounted at /clients/1 and
# /clients/2, and at /clients/plain with no option at all; then a command.
#
#   server.sh PACKAGES COMMAND...
#
# PACKAGES: a folder of Debian's packages for the server and its clients, unpacked without their installation scripts.
set -eu

# For how many seconds a client that is silent keeps what it has, and one that comes back gets it again: as few as the kernel allows.
LEASE=10

packages=$1
shift
for package in "$packages"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C / --keep-directory-symlink
done
for module in nfsd nfsv4 veth bridge fuse loop ext4; do
    modprobe "$module"
done

# A client's number, where, and how. One that has another's name would be taken for it.
mount_at() {
    mkdir -p "/clients/$2"
    nsenter --net="/run/net$1" unshare --uts sh -c "hostname client$1 && mount -t nfs4 -o vers=4.2,$3 10.78.0.1:/ /clients/$2"
}

mkdir -p /srv /run/rpc_pipefs /var/lib/nfs/nfsdcld
# A file system that counts a file's changes: by tmpfs's clock two in the same tick are one to a client, which then goes on showing what it has.
truncate -s 512M /run/disk
mkfs.ext4 -q /run/disk
mount -o loop /run/disk /srv
mount -t rpc_pipefs pipes /run/rpc_pipefs
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
echo "$LEASE" >/proc/fs/nfsd/nfsv4leasetime
echo "$LEASE" >/proc/fs/nfsd/nfsv4gracetime
nfsdcld
echo '/srv *(rw,sync,no_root_squash,no_subtree_check,insecure,fsid=0)' >/etc/exports
exportfs -a
rpc.mountd --no-nfs-version 3
rpc.nfsd --no-nfs-version 3 8

ip link add hosts address 06:77:00:00:00:01 type bridge
ip address add 10.78.0.1/24 dev hosts
ip link set hosts up
for number in 1 2; do
    : >"/run/net$number"
    unshare --net="/run/net$number" true
    ip link add "client$number" type veth peer name cable netns "/run/net$number"
    ip link set "client$number" master hosts up
    inside="nsenter --net=/run/net$number"
    $inside ip address add "10.78.0.1$number/24" dev cable
    $inside ip link set cable up
    mount_at "$number" "$number" nosharecache,lookupcache=none,timeo=50
done
mount_at 1 plain nosharecache
exec "$@"
