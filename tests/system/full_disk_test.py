#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sparse members on a file system that fills up: new writes fail, acknowledged ones never."""

import errno
import os
import time

import harness
from harness import MIB, run
from nbd_client import NbdError

SMALL = 384 * MIB
BALLAST = 96 * MIB


class FullDiskTest(harness.Case):
    tools = ("mkfs.ext4", "losetup")

    def setUp(self):
        super().setUp()
        self.require_root()
        self.known = {}  # For each MiB of the volume the seed of its content.

    def small_ext4(self):
        image = self.path("small.img")
        with open(image, "wb") as file:
            file.truncate(SMALL)
        run("mkfs.ext4", "-q", "-m", "0", image)
        return self.mount("-o", "loop", image, name="small")

    def small_tmpfs(self):
        return self.mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", name="small")

    def write_until_full(self, volume, seed):
        """Writes the MiBs in order until one is refused; returns its number."""
        with volume.client() as client:
            for number in range(1024):
                try:
                    client.write(number * MIB, harness.pattern((seed, number), MIB))
                except NbdError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                    self.known.pop(number, None)  # Any of its blocks may be old or new.
                    return number
                self.known[number] = (seed, number)
        self.fail("the file system never ran full")

    def check(self, volume):
        with volume.client() as client:
            for number, seed in self.known.items():
                self.assertEqual(client.read(number * MIB, MIB), harness.pattern(seed, MIB),
                                 f"MiB {number}")

    def write_again(self, volume, number, seed):
        """Space is back: the volume must go on, as soon as it has noticed."""
        def accepted():
            with volume.client() as client:
                try:
                    client.write(number * MIB, harness.pattern(seed, MIB))
                    return True
                except NbdError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                    time.sleep(0.1)
                    return False
        harness.wait_for("a write to be accepted again", accepted)
        self.known[number] = seed

    def fill_and_recover(self, place):
        ballast = os.path.join(place, "ballast")
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST)
        members = [os.path.join(place, "a.img"), os.path.join(place, "b.img")]
        volume = self.volume(size="1G", log_size="16M", members=members)
        volume.start()
        full_at = self.write_until_full(volume, "first")
        self.assertGreater(full_at, 8)
        with volume.client() as client:
            client.flush()
        self.check(volume)

        volume.kill_and_restart()  # Settlement needs no space either.
        self.check(volume)
        self.write_until_full(volume, "second")  # Overwrites may pass, new blocks may not.
        self.check(volume)
        volume.stop()
        volume.start()
        self.check(volume)

        os.unlink(ballast)
        for number in range(full_at, full_at + 8):
            self.write_again(volume, number, ("third", number))
        with volume.client() as client:
            client.flush()
        self.check(volume)
        volume.kill_and_restart()
        self.check(volume)
        volume.stop()
        volume.compare_homes()

    def test_members_on_a_small_ext4(self):
        self.fill_and_recover(self.small_ext4())

    def test_members_on_a_small_tmpfs(self):
        self.fill_and_recover(self.small_tmpfs())

    def test_trimming_makes_space_too(self):
        place = self.small_ext4()
        volume = self.volume(size="1G", log_size="16M",
                             members=[os.path.join(place, "a.img"), os.path.join(place, "b.img")])
        volume.start()
        full_at = self.write_until_full(volume, "first")
        with volume.client() as client:
            client.trim(0, 32 * MIB)  # Needs no space itself.
            client.flush()
        for number in range(32):
            self.known.pop(number, None)
        for number in range(full_at, full_at + 4):
            self.write_again(volume, number, ("second", number))
        self.check(volume)
        volume.stop()


if __name__ == "__main__":
    harness.main()
