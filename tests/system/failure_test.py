#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A member fails under a volume that serves: it hangs, or its device has errors. The clients hardly
notice, the operator is told, and the server ends when it is asked to, whatever the member does.

No time here is a measurement: limits are far above what is expected, and only keep "goes on" from
meaning "after an hour"."""

import json
import os
import signal
import subprocess
import threading
import time

import harness
from fuse_file import FuseFile, put_in_place, require_fuse
from harness import GEMEL, MIB, run, wait_for

GOES_ON_S = 15
ENDS_S = 40
MIBS = 48


class Load(threading.Thread):
    """A client that writes, flushes and reads back, one after the other, for as long as it is let;
    remembers what it wrote, and how long the slowest of it took."""

    def __init__(self, volume):
        super().__init__(daemon=True)
        self.volume = volume
        self.wanted = True
        self.rounds, self.slowest = 0, 0.0
        self.written = {}
        self.problem = None

    def run(self):
        try:
            with self.volume.client() as client:
                while self.wanted:
                    self.one_round(client)
        except Exception as problem:  # pylint: disable=broad-except
            self.problem = problem

    def one_round(self, client):
        number = self.rounds % MIBS
        data = harness.pattern(("load", self.rounds), 128 << 10)
        begin = time.monotonic()
        client.write(number * MIB, data)
        self.written[number] = data
        client.flush()
        known = self.rounds * 7 % MIBS
        if known in self.written and client.read(known * MIB, 128 << 10) != self.written[known]:
            raise AssertionError(f"wrong data at MiB {known}")
        self.slowest = max(self.slowest, time.monotonic() - begin)
        self.rounds += 1

    def end(self):
        self.wanted = False
        self.join(harness.DEADLINE)
        if self.problem:
            raise self.problem


class FailureTest(harness.Case):
    tools = ("fio", "nbdkit", "nbdfuse")

    def setUp(self):
        super().setUp()
        require_fuse(self)

    def serve(self, *filters, options=()):
        """A volume whose second member lies behind a daemon; everything on it is known."""
        self.vol = self.volume(size="64M", log_size="16M")
        self.fuse = FuseFile(self, self.vol.members[1], ".fuse", *filters)
        put_in_place(self.vol, [self.fuse])
        self.vol.serve_options = list(options)
        self.vol.start()
        with self.vol.client() as client:
            for number in range(64):
                client.write(number * MIB, harness.pattern(number, MIB))
            client.flush()
        wait_for("everything to be home", self.is_home)

    def status(self):
        answer = run(GEMEL, "status", self.vol.file, "--json", timeout=GOES_ON_S).stdout
        return json.loads(answer)["volumes"][0]

    def is_home(self):
        return all(member["log_bytes_used"] == 0 for member in self.status()["members"])

    def is_failed(self):
        return self.status()["members"][1]["state"] == "failed"

    def readers(self):
        """Enough reads at a time that those that hang could take every worker there is."""
        command = ["fio", "--name=load", "--ioengine=nbd", f"--uri={self.vol.uri}", "--bs=4k",
                   "--rw=randread", "--iodepth=64", "--size=64m", "--time_based", "--runtime=600"]
        readers = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (readers.kill(), readers.wait()))
        return readers

    def check(self, load):
        with self.vol.client() as client:
            for number in range(64):
                expected = harness.pattern(number, MIB)
                written = load.written.get(number, b"")
                self.assertEqual(client.read(number * MIB, MIB), written + expected[len(written):],
                                 f"MiB {number}")

    def fail_under_load(self, hanging):
        """Stops the process under load; the volume goes on without the member behind it."""
        load = Load(self.vol)
        load.start()
        readers = self.readers()
        wait_for("some load", lambda: load.rounds > 20 or load.problem)
        hanging.send_signal(signal.SIGSTOP)
        wait_for("the member to be failed", self.is_failed, GOES_ON_S)
        rounds = load.rounds
        wait_for("the load to go on", lambda: load.rounds > rounds + 20 or load.problem, GOES_ON_S)
        self.assertIsNone(readers.poll(), "the reader got an error")
        readers.kill()
        load.end()
        self.assertLess(load.slowest, GOES_ON_S)
        return load

    def end(self):
        begin = time.monotonic()
        self.vol.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.vol.server.wait(ENDS_S), 0, self.vol.log_text()[-4000:])
        return time.monotonic() - begin

    def hang_and_come_back(self, hanging_of):
        self.serve()
        hanging = hanging_of(self.fuse)
        load = self.fail_under_load(hanging)
        member = self.status()["members"][1]
        self.assertIn("no progress", member["why"])
        self.assertEqual(member["configured"], "behind")
        table = run(GEMEL, "status", self.vol.file).stdout
        self.assertRegex(table, rf"{self.fuse.path} +failed +no progress")
        self.assertEqual(self.vol.log_text().count("event=member_failed"), 1)
        self.check(load)
        self.end()
        hanging.send_signal(signal.SIGCONT)
        # What was left of the server goes, and with it the lock.
        self.vol.start()
        wait_for("the member to be back",
                 lambda: self.status()["members"][1]["state"] == "in-sync")
        self.check(load)
        self.vol.stop()
        self.vol.compare_homes()

    def test_a_stopped_daemon(self):
        self.hang_and_come_back(lambda fuse: fuse.daemon)

    def test_a_daemon_whose_own_server_has_stopped(self):
        self.hang_and_come_back(lambda fuse: fuse.backend)

    def test_a_kill_ends_the_server_as_well(self):
        self.serve()
        load = self.fail_under_load(self.fuse.daemon)
        self.vol.server.kill()
        self.assertEqual(self.vol.server.wait(ENDS_S), -signal.SIGKILL)
        self.fuse.go_on()
        self.vol.start()
        self.check(load)
        self.vol.stop()

    def test_patience_can_be_had(self):
        self.serve(options=["--member-timeout", "5s"])
        with self.vol.client() as client:
            self.fuse.daemon.send_signal(signal.SIGSTOP)
            begin = time.monotonic()
            client.write(0, b"x" * 4096)
            self.assertGreater(time.monotonic() - begin, 3)
        self.assertTrue(self.is_failed())
        self.fuse.go_on()
        self.vol.stop()

    def read_with_errors(self, borne):
        """Reads everything while the second member's device gives errors only, which is masked."""
        trigger = self.path("errors")
        self.serve("--filter=error", "error-pread=EIO", "error-pread-rate=100%",
                   f"error-pread-file={trigger}", options=["--member-errors", borne])
        with open(trigger, "wb"):
            pass
        with self.vol.client() as client:
            for number in range(16):
                self.assertEqual(client.read(number * MIB, MIB), harness.pattern(number, MIB))

    def test_errors_that_are_borne(self):
        self.read_with_errors("1000000")
        self.assertEqual(self.status()["members"][1]["state"], "in-sync")
        self.assertGreater(self.status()["members"][1]["read_errors"], 0)
        os.unlink(self.path("errors"))
        self.vol.stop()

    def test_errors_that_are_not_borne(self):
        self.read_with_errors("0")
        wait_for("the member to be failed",
                 lambda: "too many errors" in self.vol.log_text(), GOES_ON_S)
        os.unlink(self.path("errors"))
        self.vol.stop()


if __name__ == "__main__":
    harness.main()
