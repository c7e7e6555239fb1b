#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kills a served mirror in the middle of random writes, again and again.

Arguments go to gemel-crash-test: --cycles, --seed, --seconds-per-cycle ... A soak run is
`crash_test.py --cycles 200`. At the end both members must hold the same bytes.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import harness


class CrashTest(harness.Case):
    arguments = []

    def crash_test(self, volume, size, *arguments):
        return subprocess.run(
            [os.path.join(harness.BUILD, "gemel-crash-test"), "--uri", volume.uri, "--size", size,
             "--server-log", volume.log, *arguments, "--", *volume.serve_command()],
            check=False,
        ).returncode

    def test_nothing_acknowledged_is_lost(self):
        # The smallest useful log, so that checkpoints and a full ring are part of every cycle.
        volume = self.volume(size="64M", log_size="16M")
        code = self.crash_test(volume, "64M", *self.arguments)
        if code != 0:
            print(volume.log_text()[-4000:])
        self.assertEqual(code, 0)
        volume.compare_homes()


    def test_three_members_in_the_page_cache_with_the_smallest_log(self):
        if not os.path.isdir("/dev/shm"):
            self.skipTest("there is no /dev/shm")
        place = tempfile.mkdtemp(prefix="gemel-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, place)
        volume = self.volume(size="32M", log_size="4M",
                             members=[os.path.join(place, f"{i}.img") for i in "abc"])
        code = self.crash_test(volume, "32M", "--cycles", "6", "--seconds-per-cycle", "0.5")
        self.assertEqual(code, 0)
        volume.compare_homes()


class JudgeTest(harness.Case):
    """A server that loses what it acknowledged does not get away with it."""

    tools = ("nbdkit",)

    def judge(self, *nbdkit):
        socket = self.path("bad.sock")
        server = ["nbdkit", "-f", "-t", "4", "-U", socket, *nbdkit]
        done = harness.run(
            os.path.join(harness.BUILD, "gemel-crash-test"), "--uri",
            f"nbd+unix:///?socket={socket}", "--size", "8M", "--cycles", "8", "--seed", "1",
            "--no-trim", "--no-stop", "--server-log", self.path("log"), "--",
            "sh", "-c", f"rm -f {socket}; exec {shlex.join(server)}", check=False,
        )
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stdout

    def test_a_server_that_forgets_everything(self):
        said = self.judge("memory", "8M")
        self.assertRegex(said, r"FAILED with seed 1 in cycle \d+: offset \d+ holds zeroes")

    def test_a_server_that_forgets_what_was_not_flushed(self):
        with open(self.path("image"), "wb") as file:
            file.truncate(8 * harness.MIB)
        said = self.judge("--filter=cache", "file", self.path("image"), "cache=writeback")
        self.assertIn("FAILED with seed 1", said)


if __name__ == "__main__":
    CrashTest.arguments = sys.argv[1:]
    del sys.argv[1:]
    harness.main()
