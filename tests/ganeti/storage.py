#!/usr/bin/python3
"""Ganeti's own code for external storage, on our provider and two nodes' stacks: storage.py STORY, inside sandbox.sh."""

import json
import os
import subprocess
import sys

sys.path.insert(0, "/usr/share/ganeti/default")
from ganeti import backend, constants, errors  # noqa: E402
from ganeti.storage import extstorage  # noqa: E402

PROVIDER = "archipelago"
MIB = 1 << 20
NODES = {"one": "/tmp/one/archipelago.toml", "two": "/tmp/two/archipelago.toml"}
NAMES = {"name": None, "uuid": "99999999-0000-0000-0000-000000000000"}


def vlmc(*arguments):
    return subprocess.run(["vlmc", *arguments], check=True, capture_output=True, text=True).stdout


def start_stacks():
    """Two nodes' stacks on one store; the first one is where an operator would have it."""
    stores = ["--blocks", "/srv/blocks", "--maps", "/srv/maps"]
    os.mkdir("/etc/archipelago")
    os.symlink(NODES["one"], "/etc/archipelago/archipelago.toml")
    for configuration in NODES.values():
        for told in (["config", "init", "--dir", os.path.dirname(configuration), *stores], ["-c", configuration, "start"]):
            subprocess.run(["archipelago", *told], check=True, capture_output=True)


def disk_id(index):
    return (PROVIDER, f"11111111-2222-3333-4444-555555555555.ext.disk{index}")


def parameters(node="one", **more):
    return {"provider": PROVIDER, "access": "kernelspace", "config": NODES[node], **more}


def create(index, size_mib, **more):
    given = parameters(**more)
    return extstorage.ExtStorageDevice.Create(disk_id(index), [], size_mib, None, given, False, {}, **NAMES)


def found(index, size_mib, node="one", **more):
    """The device as any later call of Ganeti's finds it: attached again."""
    return extstorage.ExtStorageDevice(disk_id(index), [], size_mib, parameters(node, **more), {}, **NAMES)


def write(device, text):
    with open(device.dev_path, "r+b") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def read(device, size):
    with open(device.dev_path, "rb") as opened:
        return opened.read(size)


def size_of(device):
    with open(device.dev_path, "rb") as opened:
        return opened.seek(0, os.SEEK_END)


def owner(volume):
    lock = json.loads(vlmc("info", "--json", volume))["lock"]
    return lock and lock["owner"]


def node_name(node):
    lines = open(NODES[node], encoding="utf-8").read().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("node = "))


def must_fail(words, tried):
    try:
        tried()
    except errors.BlockDeviceError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"did not fail with: {words}")


def life():
    """A disk from its first to its last call, and another one that begins as its snapshot."""
    is_valid, storage = extstorage.ExtStorageFromDisk(PROVIDER)
    assert is_valid, storage
    assert {"origin", "origin_size", "config"} <= {name for name, _ in storage.supported_parameters}

    disk = create(0, 64)
    disk.Open(exclusive=True)
    disk.SetInfo("originstname+instance1")
    assert found(0, 64).dev_path == disk.dev_path, "attached twice, it is the same device"
    write(disk, b"before")
    provider, snapshot = disk.Snapshot(snap_name="daily")
    assert (provider, snapshot) == (PROVIDER, "daily")
    write(disk, b"after!")

    clone = create(1, 96, origin="daily", origin_size=-1)
    assert (read(clone, 6), size_of(clone)) == (b"before", 96 * MIB)
    assert read(disk, 6) == b"after!"
    disk.Grow(32, False, True, False)
    assert size_of(disk) == 96 * MIB

    for gone in (disk, clone):
        gone.Remove()
    assert [line["name"] for line in json.loads(vlmc("list", "--json", "11111111"))] == []
    must_fail("there is no volume", lambda: found(0, 64))
    must_fail("exists", lambda: (create(2, 64), create(2, 64)))
    found(2, 64).Remove()


def userspace():
    """qemu's address beside the device."""
    disk = create(0, 64, access="userspace")
    uri = disk.GetUserspaceAccessUri("kvm")
    assert uri.startswith("nbd+unix:///" + disk.vol_name), uri
    write(disk, b"device")
    subprocess.run(["nbdcopy", uri.split(",")[0], "/tmp/copy"], check=True)
    with open("/tmp/copy", "rb") as copy:
        assert copy.read(6) == b"device"
    # The node that an instance comes to is given the address while the other one still writes.
    disk.Open(exclusive=True)
    target = found(0, 64, "two", access="userspace")
    assert target.GetUserspaceAccessUri("kvm") != uri
    target.Shutdown()
    disk.Remove()
    assert json.loads(vlmc("showmapped", "--json")) == []


def run_hook(primary, cleanup=False):
    environment = {
        "PATH": "/sbin:/bin:/usr/sbin:/usr/bin",
        "GANETI_INSTANCE_PRIMARY": primary,
        "GANETI_MIGRATE_CLEANUP": str(cleanup),
        "GANETI_INSTANCE_DISK_COUNT": "2",
        "GANETI_INSTANCE_DISK0_PROVIDER": "another",
        "GANETI_INSTANCE_DISK0_ID": "a volume of another provider",
        "GANETI_INSTANCE_DISK1_PROVIDER": PROVIDER,
        "GANETI_INSTANCE_DISK1_ID": disk_id(0)[1],
    }
    results = backend.HooksRunner().RunHooks("instance-migrate", "pre", environment)
    assert [status for _, status, _ in results] == [constants.HKR_SUCCESS], results


def migrate():
    """The calls of Ganeti's migration in their order, with the hook before them, and an instance that writes all the time."""
    source = create(0, 64)
    volume = disk_id(0)[1]
    source.Shutdown()
    assert owner(volume) is None
    run_hook("node2.sandbox.test")
    run_hook("node1.sandbox.test", cleanup=True)
    assert owner(volume) is None
    run_hook("node1.sandbox.test")
    assert owner(volume) == node_name("one")

    source = found(0, 64)
    write(source, b"source")
    target = found(0, 64, "two")
    target.Close()
    source.Open(exclusive=False)
    target = found(0, 64, "two")
    target.Open(exclusive=False)
    assert owner(volume) == node_name("one")
    must_fail("is held by", lambda: target.Open(exclusive=True))
    assert read(target, 6) == b"source"
    write(source, b"source writes on")
    arguments = ["dd", f"of={target.dev_path}", "oflag=direct", "conv=notrunc", "bs=512", "count=1", "status=none"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE) as writer:
        writer.stdin.write(b"target".ljust(512, b"."))
        writer.stdin.close()
        write(source, b"source to the end")
        source.Close()
        assert writer.wait() == 0
    target.Open(exclusive=True)
    assert owner(volume) == node_name("two")
    found(0, 64).Shutdown()
    assert owner(volume) == node_name("two")

    target.Shutdown()
    assert owner(volume) is None
    back = found(0, 64)
    assert read(back, 10) == b"target...."
    back.Remove()


start_stacks()
{"life": life, "userspace": userspace, "migrate": migrate}[sys.argv[1]]()
