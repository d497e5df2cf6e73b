#!/usr/bin/python3
"""Looks at what guest.s does, where its disk is attached on this node: guest.py VOLUME BOOTS STEPS.

Waits until it has booted that often and done more than that many steps since, and prints how many. Fails if something on its disk is wrong.
"""

import json
import mmap
import os
import struct
import subprocess
import sys
import time

SECTOR = 512
RING_AT, RING = 64, 64
LOOKED_AT = 128 * SECTOR
PATIENCE_S = 60


def must(is_so, told):
    if not is_so:
        sys.exit(told)


class Device:
    """The disk as a block device, past the page cache."""

    def __init__(self, path):
        self.opened = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, LOOKED_AT)

    def pread(self, size, offset):
        os.preadv(self.opened, [self.buffer], 0)
        return self.buffer[offset : offset + size]


def disk(volume):
    """The disk as qemu opens it."""
    mapped = json.loads(subprocess.run(["vlmc", "showmapped", "--json"], check=True, capture_output=True).stdout)
    places = {each["via"]: each["location"] for each in mapped if each["volume"] == volume}
    if "nbd" not in places:
        return Device(places["fuse"])
    import nbd

    connection = nbd.NBD()
    connection.connect_uri(places["nbd"])
    return connection


def look(disk):
    boots, steps, verdict = struct.unpack("<II4s", disk.pread(12, SECTOR))
    must(verdict == bytes(4), f"after {steps} steps the guest found something wrong on its disk")
    ring = disk.pread(RING * SECTOR, RING_AT * SECTOR)
    for index in range(RING):
        words = set(struct.unpack_from("<128I", ring, index * SECTOR))
        must(len(words) == 1, f"sector {RING_AT + index} was torn: {words}")
        step = words.pop()
        must(step == 0 or step % RING == index, f"sector {RING_AT + index} is of step {step}")
        # The guest goes on between the two reads; what it did before its last boot is still there.
        must(step == 0 or boots > 1 or step > steps - RING, f"after {steps} steps sector {RING_AT + index} is of step {step}")
    return boots, steps


def main():
    volume, boots, beyond = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    place = disk(volume)
    deadline = time.monotonic() + PATIENCE_S
    seen = look(place)
    while seen[0] != boots or seen[1] <= beyond:
        must(time.monotonic() < deadline, f"boots and steps are {seen}, not {boots} and more than {beyond}")
        time.sleep(0.05)
        seen = look(place)
    print(seen[1])


main()
