#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Damage to a served volume's members is masked, healed and told; for real, with gemel inject."""

import json

import nbd

import harness
from harness import GEMEL, MIB, run, wait_for

BLOCK = 4096
EXTENT = 256 << 10
OFFSETS = range(0, 24 * MIB, MIB)


class HealTest(harness.Case):
    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="32M", log_size="4M")
        self.vol.start()
        self.write("one")
        self.wait_until_home()

    def write(self, seed):
        self.seed = seed
        with self.vol.client() as client:
            for offset in OFFSETS:
                client.write(offset, harness.pattern((seed, offset), EXTENT))
            client.flush()

    def check(self, rounds=2):
        """Everything is right, whichever member it comes from."""
        with self.vol.client() as client:
            for _ in range(rounds):
                for offset in OFFSETS:
                    expected = harness.pattern((self.seed, offset), EXTENT)
                    self.assertEqual(client.read(offset, EXTENT), expected, offset)
                client.read(30 * MIB, BLOCK)  # An odd number of reads: the members swap turns.

    def status(self):
        return json.loads(run(GEMEL, "status", self.vol.file, "--json").stdout)["volumes"][0]

    def wait_until_home(self):
        wait_for("the log to be home",
                 lambda: all(m["log_bytes_used"] == 0 for m in self.status()["members"]))

    def inject(self, member, into, kind, count, *more):
        done = run(GEMEL, "inject", self.vol.members[member], "--into", into, "--kind", kind,
                   "--count", count, *more)
        return json.loads(done.stdout)["damages"]

    def scrub(self, code=0):
        done = run(GEMEL, "scrub", self.vol.file, "--wait", check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("\n"), code, "a failure says why, in one line")
        return self.status()["scrub"]

    def health(self, member):
        return json.loads(run(GEMEL, "inspect", self.vol.members[member], "--json").stdout)["health"]

    def test_damage_beside_the_server(self):
        for seed, kind in enumerate(["flip", "zero", "garbage", "swap", "torn"]):
            with self.subTest(kind=kind):
                member = seed % 2
                for into in ["data", "checksum", "index"]:
                    self.inject(member, into, kind, 20 if into == "data" else 2, "--seed", seed)
                self.inject(member, "superblock", "garbage", 1, "--seed", seed)
                self.check()
                found = self.scrub()
                self.assertEqual(self.status()["unrecoverable_blocks"], 0)
                self.assertGreater(found["blocks_checked"], 0)
                again = self.scrub()
                self.assertEqual(
                    (again["blocks_healed"], again["tables_repaired"], again["logs_healed"]),
                    (0, 0, 0))
        status = self.status()
        for member in status["members"]:
            self.assertGreater(member["blocks_healed"], 0)
            self.assertEqual(member["blocks_healed"], sum(member["healed_by_cause"].values()))
            self.assertIsNotNone(member["last_event"])
            self.assertGreater(member["tables_repaired"], 0)
        table = run(GEMEL, "status", self.vol.file).stdout
        for word in ["bit_rot", "misdirected", "torn", "tables", " UTC, "]:
            self.assertIn(word, table)
        self.assertIn("event=table_repaired page=", self.vol.log_text())
        # Counters outlive the server.
        self.vol.stop()
        for number, member in enumerate(status["members"]):
            health = self.health(number)
            for key in ["healed_by_cause", "tables_repaired", "last_event", "last_event_s"]:
                self.assertEqual(health[key], member[key])
                self.assertEqual(self.status()["members"][number][key], member[key])
            self.assertEqual(health["scrub"]["passes"], status["scrub"]["passes"])
        self.vol.start()
        for before, after in zip(status["members"], self.status()["members"]):
            self.assertEqual(before["healed_by_cause"], after["healed_by_cause"])
        self.vol.stop()
        self.vol.compare_homes()

    def test_damage_while_nobody_serves(self):
        self.write("two")
        self.vol.kill()  # With a full log.
        self.inject(0, "log", "garbage", 10, "--seed", 1)
        self.inject(1, "data", "flip", 50, "--seed", 2)
        self.inject(0, "checksum", "zero", 3, "--seed", 3)
        self.inject(1, "index", "garbage", 3, "--seed", 4)
        self.inject(1, "superblock", "zero", 1, "--seed", 5)
        self.vol.start()
        self.check()
        self.scrub()
        self.check()
        self.vol.stop()
        self.vol.compare_homes()

    def test_stale_together(self):
        record = self.path("record")
        run(GEMEL, "inject", self.vol.members[0], "--remember", record)
        self.write("two")
        self.wait_until_home()
        self.vol.stop()
        self.inject(0, "any", "stale", 6, "--remember", record, "--seed", 3)
        self.vol.start()
        self.check()
        self.scrub()
        self.check()
        self.vol.stop()
        self.vol.compare_homes()

    def test_no_good_copy(self):
        damages = self.inject(0, "data", "garbage", 1, "--range", "257-260", "--seed", 1)
        block = damages[0]["block"]
        self.inject(1, "data", "flip", 1, "--range", f"{block}-{block}")
        chunks = []

        def chunk(data, offset, status, error):
            chunks.append((offset, len(data), status))
            return 0

        client = nbd.NBD()
        client.connect_uri(self.vol.uri)
        with self.assertRaises(nbd.Error):
            client.pread_structured(EXTENT, MIB, chunk)
        bad = [offset for offset, _, status in chunks if status == nbd.READ_ERROR]
        good = sum(length for _, length, status in chunks if status == nbd.READ_DATA)
        self.assertEqual(bad, [block * BLOCK])
        self.assertEqual(good, EXTENT - BLOCK)
        self.assertEqual(self.status()["unrecoverable"], [{"first_block": block, "blocks": 1}])
        self.scrub(code=1)
        # It is remembered, and cured by a write.
        self.vol.stop()
        lost = [{"first_block": block, "blocks": 1}]
        for member in 0, 1:
            health = self.health(member)
            self.assertEqual((health["unrecoverable_blocks"], health["unrecoverable"]), (1, lost))
            self.assertIn(f"{block}+1", run(GEMEL, "inspect", self.vol.members[member]).stdout)
        self.assertEqual(self.status()["unrecoverable"], lost)
        self.assertIn(f"{block}+1", run(GEMEL, "status", self.vol.file).stdout)
        self.vol.start()
        self.assertEqual(self.status()["unrecoverable_blocks"], 1)
        with self.vol.client() as writer:
            at = block * BLOCK - MIB
            writer.write(block * BLOCK, harness.pattern((self.seed, MIB), EXTENT)[at:at + BLOCK])
        self.assertEqual(self.status()["unrecoverable_blocks"], 0)
        self.check()
        self.scrub()


if __name__ == "__main__":
    harness.main()
