#!/bin/sh
# Runs a command as root in a virtual machine: a kernel of Debian's on a processor that qemu emulates, with this machine's files as its own.
# What it writes to them stays in its memory.
#
#   machine.sh KERNEL FOLDER COMMAND...
#
# KERNEL: an unpacked package linux-image-*, with what depmod says of its modules. FOLDER: what both have, there as /mnt/host; gets `output` and `console`.
# The exit status is the command's.
set -eu

# How long the machine may run, in seconds; a busy host takes ten times as long as a quiet one.
LIMIT=600

kernel=$1 folder=$2
shift 2
image=$(echo "$kernel"/boot/vmlinuz-*)
release=${image##*/vmlinuz-}
modules=$kernel/lib/modules

# The first file system: modules enough to reach the host's files, and who does it.
first=$folder/first
mkdir -p "$first/bin" "$first/modules"
cp "$(command -v busybox)" "$first/bin/busybox"
for module in virtio_pci 9p 9pnet_virtio overlay; do
    modprobe --dirname "$kernel" --set-version "$release" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    name=$(basename "$file" .xz)
    case $file in
        *.xz) xz -dc "$file" ;;
        *) cat "$file" ;;
    esac >"$first/modules/$name"
    echo "$name" >>"$first/modules/order"
done
cat >"$first/init" <<'INIT'
#!/bin/busybox sh
set -e
/bin/busybox --install -s /bin
mkdir -p /proc /changes /below /root
mount -t proc proc /proc
while read -r module; do insmod "/modules/$module"; done </modules/order
shared=trans=virtio,version=9p2000.L,msize=262144
mount -t tmpfs -o size=75% changes /changes
mkdir /changes/upper /changes/work
mount -t 9p -o "ro,cache=loose,$shared" files /below
mount -t overlay -o lowerdir=/below,upperdir=/changes/upper,workdir=/changes/work root /root
cd /root
mount -t proc proc proc
mount -t sysfs sys sys
mount -t devtmpfs dev dev
for place in run dev/shm; do
    mkdir -p "$place"
    mount -t tmpfs place "$place"
done
mkdir -p mnt/host lib/modules
mount -t 9p -o "cache=none,$shared" host mnt/host
mount -t 9p -o "ro,cache=loose,$shared" modules lib/modules
chroot . /bin/sh /mnt/host/command >mnt/host/output 2>&1 <dev/null && status=0 || status=$?
echo "$status" >mnt/host/status
sync
poweroff -f
INIT
chmod +x "$first/init"
(cd "$first" && find . | cpio --create --format=newc --quiet) >"$folder/first.cpio"

# The words of the command, as the shell reads them.
printf 'export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\nhostname machine\n' >"$folder/command"
for word in "$@"; do
    printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"
done >>"$folder/command"

# A guest that measures its clock while the host is busy gets it wrong.
clock=$(awk '/^cpu MHz/ { printf "tsc=reliable clocksource=tsc tsc_early_khz=%d", $4 * 1000; exit }' /proc/cpuinfo)
timeout "$LIMIT" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1536M -nodefaults -no-user-config -no-reboot -display none \
    -kernel "$image" -initrd "$folder/first.cpio" -append "console=ttyS0 quiet panic=-1 rdinit=/init $clock" \
    -serial "file:$folder/console" -device virtio-rng-pci \
    -virtfs local,path=/,mount_tag=files,security_model=passthrough,readonly=on,multidevs=remap \
    -virtfs "local,path=$folder,mount_tag=host,security_model=none,multidevs=remap" \
    -virtfs "local,path=$modules,mount_tag=modules,security_model=none,readonly=on" </dev/null >&2 || :
cat "$folder/output" 2>/dev/null || :
if [ ! -s "$folder/status" ]; then
    echo 'the virtual machine did not run to its end; the last of its console:' >&2
    tail -n 20 "$folder/console" >&2
    exit 1
fi
exit "$(cat "$folder/status")"
