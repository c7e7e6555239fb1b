#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Requests of a killed server may still be on their way to the disk when it is dead. Whoever gets a
member's lock, a restarted server above all, must never see one land after that."""

import fcntl
import hashlib
import os
import subprocess
import time

import harness
from fuse_file import FuseFile, put_in_place, require_fuse
from harness import wait_for

ROUNDS = 3
# For each write of a slow member, which lands whoever has died.
DELAY_S = 0.2


def content_hash(paths):
    digest = hashlib.blake2b()
    for path in paths:
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()


class LockTest(harness.Case):
    tools = ("fio",)

    def take_lock(self, path):
        """The lock as the product takes it, on a description of its own; returns it open."""
        fd = os.open(path, os.O_RDWR)

        def locked():
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False
        wait_for("the lock of a dead owner", locked)
        return fd

    def load(self, volume):
        command = ["fio", "--name=load", "--ioengine=nbd", f"--uri={volume.uri}", "--rw=randwrite",
                   "--bssplit=4k/60:64k/40", "--iodepth=32", "--size=64m", "--time_based",
                   "--runtime=600"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def one_round(self, volume, stores):
        """Kills the server under load; returns whether a write landed between kill and lock."""
        load = self.load(volume)
        time.sleep(1)  # Enough to be in the middle of things; what happens then is what it is.
        self.assertIsNone(load.poll(), "fio did not run")
        killed = time.time_ns()
        volume.server.kill()
        locks = [self.take_lock(member) for member in volume.members]
        locked = time.time_ns()
        before = content_hash(stores)
        time.sleep(5 * DELAY_S)
        self.assertEqual(content_hash(stores), before, "a write landed after the lock was taken")
        landed = max(os.stat(store).st_mtime_ns for store in stores)
        self.assertLessEqual(landed, locked, "a write landed after the lock was taken")
        for fd in locks:
            os.close(fd)
        volume.server.wait()
        load.wait(harness.DEADLINE)
        volume.start()
        return landed > killed

    def test_no_late_write_lands_on_plain_files(self):
        volume = self.volume(size="64M", log_size="16M")
        volume.start()
        for _ in range(ROUNDS):
            self.one_round(volume, volume.members)
        volume.stop()
        volume.compare_homes()

    def slow_volume(self):
        """Made on fast files; from its first start on, the volume file leads to slow ones."""
        volume = self.volume(size="64M", log_size="16M")
        slow = [FuseFile(self, member, ".slow", "--filter=delay",
                         f"delay-write={int(DELAY_S * 1000)}ms") for member in volume.members]
        put_in_place(volume, slow)
        volume.start()
        return volume, slow

    def test_no_late_write_lands_on_slow_members(self):
        require_fuse(self)
        volume, slow = self.slow_volume()
        late = [self.one_round(volume, [file.backing for file in slow]) for _ in range(ROUNDS)]
        # Else this test would prove nothing: there must be late writes for the lock to hold off.
        self.assertTrue(any(late), "no write was in flight at any kill")
        volume.stop()

    def test_an_immediate_restart_under_load_waits_for_the_lock(self):
        require_fuse(self)
        volume, _ = self.slow_volume()
        for _ in range(ROUNDS):
            load = self.load(volume)
            time.sleep(0.5)
            volume.kill_and_restart()
            load.wait(harness.DEADLINE)
        volume.stop()
        volume.compare_homes()


if __name__ == "__main__":
    harness.main()
