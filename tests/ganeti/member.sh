#!/bin/sh
# What a node of sandbox.sh gets before it is a member of the cluster.
set -eu

# A stack on the folder that both nodes have.
archipelago config init --dir /tmp/stack --blocks /srv/blocks --maps /srv/maps >/dev/null
sed -i 's/^archip_dir .*/&\nshared = true/' /tmp/stack/archipelago.toml
mkdir -p /etc/archipelago
ln -s /tmp/stack/archipelago.toml /etc/archipelago/
archipelago start

# An operating system that needs no installing: Ganeti wants one to be named.
os=/usr/share/ganeti/os/none
mkdir -p "$os/variants"
echo 20 >"$os/ganeti_api_version"
echo default >"$os/variants.list"
: >"$os/parameters.list"
for script in create import export rename verify; do
    printf '#!/bin/sh\n' >"$os/$script"
    chmod +x "$os/$script"
done

# After our hook another one notes who has the lock.
hook=/etc/ganeti/hooks/instance-migrate-pre.d/later
cat >$hook <<'HOOK'
#!/bin/sh
[ "$(hostname -f)" != "$GANETI_INSTANCE_PRIMARY" ] || vlmc info "$GANETI_INSTANCE_DISK0_ID" >/srv/locked
HOOK
chmod +x $hook
/usr/lib/ganeti/ensure-dirs
