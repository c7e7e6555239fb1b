#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A volume far larger than the machine: made at once, and served in bounded memory."""

import os
import shutil
import tempfile
import time

import harness
from harness import run

MEMORY = "/dev/shm"
RSS_MAX = 300 * harness.MIB


class ScaleTest(harness.Case):
    tools = ("fio", "nbdinfo")

    def memory(self, volume):
        """The most that the server's resident memory ever was."""
        with open(f"/proc/{volume.server.pid}/status", encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["VmHWM"].split()[0]) * 1024

    def fio(self, volume, name, *options):
        run("fio", f"--name={name}", "--ioengine=nbd", f"--uri={volume.uri}", "--bs=4k",
            "--iodepth=32", "--randrepeat=1", "--norandommap", *options)

    def test_a_sparse_tebibyte_in_bounded_memory(self):
        # In memory where there is room: to delete a file of many pieces takes minutes on a file
        # system that discards each of them.
        place = tempfile.mkdtemp(prefix="gemel-", dir=MEMORY if os.path.isdir(MEMORY) else None)
        self.addCleanup(shutil.rmtree, place)
        begun = time.monotonic()
        volume = self.volume(size="1T", log_size="64M",
                             members=[os.path.join(place, "a.img"), os.path.join(place, "b.img")])
        print(f"\ncreated in {time.monotonic() - begun:.2f} s (at most 3 s are wanted)")
        volume.start()
        self.assertEqual(run("nbdinfo", "--size", volume.uri).stdout.strip(), str(1 << 40))
        # Each write touches a page of its own: the worst case for what is kept of the tables.
        self.fio(volume, "write", "--rw=randwrite", "--number_ios=20000", "--size=1t")
        self.fio(volume, "read", "--rw=randread", "--number_ios=20000", "--size=1t")
        with volume.client() as client:
            client.write(2**40 - 4096, harness.pattern(1, 4096))
            client.flush()
            for start in range(0, 2**40 - 2**31, 2**31):
                client.trim(start, 2**31)
            self.assertEqual(client.read(2**40 - 4096, 4096), harness.pattern(1, 4096))
        peak = self.memory(volume)
        volume.kill_and_restart()
        with volume.client() as client:
            self.assertEqual(client.read(2**40 - 4096, 4096), harness.pattern(1, 4096))
        print(f"served in {max(peak, self.memory(volume)) // harness.MIB} MiB")
        self.assertLess(peak, RSS_MAX)
        self.assertLess(self.memory(volume), RSS_MAX)
        volume.stop()


if __name__ == "__main__":
    harness.main()
