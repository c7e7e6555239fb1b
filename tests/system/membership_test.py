#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members are added, removed and replaced under load and under kill -9, as an operator would."""

import os
import random
import threading
import time

import harness
from harness import GEMEL, MIB, run

PIECE = 64 << 10
SIZE = 256 * MIB


class MembershipTest(harness.Case):
    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="256M", log_size="16M")
        self.a, self.b = self.vol.members
        self.model = {}
        self.random = random.Random(self.id())
        self.vol.start()

    def member(self, verb, *words, check=True):
        return run(GEMEL, "member", verb, self.vol.file, *words, check=check,
                   timeout=harness.DEADLINE)

    def path(self, name):
        return os.path.join(os.path.dirname(self.vol.file), name)

    def write(self, count):
        with self.vol.client() as client:
            for _ in range(count):
                self.write_one(client)
            client.flush()

    def write_one(self, client):
        place = self.random.randrange(SIZE // PIECE)
        version = self.model.get(place, 0) + 1
        client.write(place * PIECE, harness.pattern((place, version), PIECE))
        self.model[place] = version

    def check(self):
        with self.vol.client() as client:
            for place, version in self.model.items():
                self.assertEqual(client.read(place * PIECE, PIECE),
                                 harness.pattern((place, version), PIECE), place)

    def paths(self):
        return sorted(member["path"] for member in self.vol.status()["members"])

    def file_text(self):
        with open(self.vol.file, encoding="utf-8") as file:
            return file.read()

    def test_an_added_member_alone_has_everything(self):
        self.write(200)
        new = self.path("new.img")
        added = self.member("add", new, "--wait")
        self.assertIn("is in sync", added.stdout)
        self.write(50)
        self.assertIn("new.img", self.file_text())
        for old in (self.a, self.b):
            self.member("remove", old)
        self.assertEqual(self.paths(), [new])
        self.check()
        self.vol.kill_and_restart()
        self.check()
        self.assertNotIn(os.path.basename(self.a) + '"', self.file_text())

    def test_the_last_one_cannot_be_removed(self):
        self.member("remove", self.a)
        refused = self.member("remove", self.b, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("only member in sync", refused.stderr)

    def test_replaced_under_load_and_killed_meanwhile(self):
        self.write(300)
        new = self.path("new.img")
        self.member("replace", self.b, new)
        for _ in range(3):
            self.write(20)
            self.vol.kill_and_restart()
        harness.wait_for("the successor alone",
                         lambda: self.paths() == sorted([self.a, new]) and self.vol.all_in_sync())
        self.check()
        self.member("remove", self.a)
        self.check()

    def test_clients_work_while_members_come_and_go(self):
        stop = threading.Event()

        def work():
            with self.vol.client() as client:
                while not stop.is_set():
                    self.write_one(client)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for turn in range(4):
                new = self.path(f"turn{turn}.img")
                self.member("add", new, "--wait")
                self.member("remove", new)
        finally:
            stop.set()
            worker.join()
        self.check()
        self.assertEqual(self.paths(), sorted([self.a, self.b]))

    def test_a_destroyed_disk_is_exchanged_in_place(self):
        self.write(100)
        self.vol.stop()
        with open(self.b, "r+b") as disk:
            size = os.path.getsize(self.b)
            disk.truncate(0)
            disk.truncate(size)
        self.vol.start()
        self.assertEqual(self.vol.member_status(self.b)["state"], "missing")
        self.member("replace", self.b, "--force", "--wait")
        self.write(20)
        self.member("remove", self.a)
        self.check()

    def test_what_is_there_is_not_overwritten(self):
        precious = self.path("precious.img")
        with open(precious, "wb") as file:
            file.write(b"precious" * 4096)
        refused = self.member("add", precious, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--force", refused.stderr)
        with open(precious, "rb") as file:
            self.assertEqual(file.read(), b"precious" * 4096)
        self.assertEqual(self.member("add", self.a, check=False).returncode, 1)

    def test_a_spare_stands_in(self):
        self.write(100)
        spare = self.path("spare.img")
        self.member("add", spare, "--spare")
        self.assertEqual(self.vol.member_status(spare)["state"], "spare")
        self.vol.kill_and_restart()
        self.assertEqual(self.vol.member_status(spare)["state"], "spare")
        self.vol.stop()
        os.rename(self.b, self.b + ".gone")
        self.vol.start()
        harness.wait_for("the spare in sync",
                         lambda: self.vol.member_status(spare)["state"] == "in-sync")
        self.write(10)
        os.rename(self.b + ".gone", self.b)
        harness.wait_for("the spare a spare again", lambda: self.vol.member_status(spare)["state"]
                         == "spare" and self.vol.member_status(self.b)["state"] == "in-sync")
        self.check()


if __name__ == "__main__":
    harness.main()
