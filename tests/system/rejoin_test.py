#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members taken out and brought back while clients work: they get what they missed, whatever is
killed meanwhile."""

import os
import random
import shutil
import subprocess
import time

import harness
from harness import GEMEL, MIB, run

PIECE = 64 << 10


class RejoinTest(harness.Case):
    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="512M", log_size="16M")
        self.a, self.b = self.vol.members
        self.model = {}
        self.random = random.Random(self.id())
        self.vol.start()

    def member(self, *words, check=True):
        return run(GEMEL, "member", *words[:1], self.vol.file, *words[1:], check=check,
                   timeout=harness.DEADLINE)

    def write(self, count):
        with self.vol.client() as client:
            for _ in range(count):
                place = self.random.randrange(512 * MIB // PIECE)
                version = self.model.get(place, 0) + 1
                client.write(place * PIECE, harness.pattern((place, version), PIECE))
                self.model[place] = version
            client.flush()

    def check(self):
        with self.vol.client() as client:
            for place, version in self.model.items():
                self.assertEqual(client.read(place * PIECE, PIECE),
                                 harness.pattern((place, version), PIECE), place)

    def end(self):
        """Each member alone holds all of it."""
        self.check()
        self.vol.stop()
        self.vol.compare_homes()

    def in_sync(self):
        harness.wait_for("all members in sync", self.vol.all_in_sync)

    def test_what_was_missed_and_no_more_is_copied(self):
        self.write(400)
        self.member("offline", self.b, "--wait")
        self.assertEqual(self.vol.member_status(self.b)["state"], "offline")
        self.assertTrue(self.vol.member_status(self.b)["released"])
        places = len(self.model)
        self.write(50)
        changed = 50 * PIECE
        done = self.member("online", self.b, "--wait")
        self.assertIn("is in sync", done.stdout)
        resync = self.vol.status()["resync"]
        self.assertLessEqual(resync["blocks_copied"] * 4096, changed)
        self.assertGreaterEqual(resync["blocks_copied"] * 4096,
                                (len(self.model) - places) * PIECE)
        self.end()

    def test_a_kill_in_the_middle(self):
        self.write(300)
        for _ in range(4):
            self.member("offline", self.b, "--wait")
            self.write(200)
            self.member("online", self.b)
            time.sleep(self.random.random() / 10)
            self.vol.kill_and_restart()
            self.write(20)
            self.in_sync()
            self.check()
        self.end()

    def test_writes_go_on_meanwhile(self):
        self.write(300)
        self.member("offline", self.a)
        self.write(300)
        waiting = subprocess.Popen([GEMEL, "member", "online", self.vol.file, self.a, "--wait"],
                                   stdout=subprocess.PIPE, text=True)
        while waiting.poll() is None:
            self.write(5)
        self.assertEqual(waiting.wait(), 0, waiting.stdout.read())
        waiting.stdout.close()
        self.end()

    def test_offline_lasts_over_a_restart(self):
        self.write(20)
        self.member("offline", self.b, "--wait")
        self.vol.stop()
        os.rename(self.b, self.b + ".away")
        self.vol.start()
        self.write(20)
        self.assertEqual(self.vol.member_status(self.b)["state"], "offline")
        os.rename(self.b + ".away", self.b)
        self.member("online", self.b, "--wait")
        self.end()

    def test_a_file_that_comes_back_is_found(self):
        self.write(20)
        self.vol.stop()
        os.rename(self.b, self.b + ".away")
        self.vol.start()
        self.write(20)
        self.assertEqual(self.vol.member_status(self.b)["state"], "missing")
        os.rename(self.b + ".away", self.b)
        self.in_sync()
        self.end()

    def test_an_old_copy_is_brought_up_to_date(self):
        self.write(50)
        self.member("offline", self.b, "--wait")
        shutil.copyfile(self.b, self.b + ".old")
        self.member("online", self.b, "--wait")
        self.write(50)
        self.member("offline", self.b, "--wait")
        shutil.copyfile(self.b + ".old", self.b)
        self.write(10)
        self.member("online", self.b, "--wait")
        self.end()

    def test_refusals(self):
        self.member("offline", self.b)
        for words, text in [(("offline", self.a), "only member in sync"),
                            (("online", "/nowhere"), "no member /nowhere"),
                            (("offline", "00000000-0000-0000-0000-000000000000"), "no member")]:
            done = self.member(*words, check=False)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
            self.assertIn(text, done.stderr)
        self.assertEqual(run(GEMEL, "member", "offline", "x", check=False).returncode, 2)
        self.vol.stop()
        done = self.member("online", self.b, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is not served", done.stderr)


if __name__ == "__main__":
    harness.main()
