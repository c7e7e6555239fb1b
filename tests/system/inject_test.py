#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""gemel inject on real files: exactly what it prints has changed, with a server or without."""

import json
import os

import harness
from harness import GEMEL, MIB, run

BLOCK = 4096
KINDS = ["flip", "zero", "garbage", "swap", "torn"]


def content(path):
    with open(path, "rb") as file:
        return file.read()


def listed_blocks(told):
    """The 4 KiB blocks that the JSON says were written to."""
    offsets = [damage["offset"] for damage in told["damages"]]
    offsets += [damage["partner"]["offset"] for damage in told["damages"] if "partner" in damage]
    return sorted(offset // BLOCK for offset in offsets)


def changed_blocks(before, after):
    return [at // BLOCK for at in range(0, len(before), BLOCK)
            if before[at:at + BLOCK] != after[at:at + BLOCK]]


class InjectTest(harness.Case):
    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="8M", log_size="4M")
        self.a, self.b = self.vol.members

    def write(self, seed, offsets=(0, 3 * MIB)):
        with self.vol.client() as client:
            for offset in offsets:
                client.write(offset, harness.pattern((seed, offset), 64 << 10))
            client.flush()

    def filled(self):
        self.vol.start()
        self.write("one")
        self.vol.stop()

    def inject(self, *arguments):
        return json.loads(run(GEMEL, "inject", self.a, *arguments).stdout)

    def refused(self, code, words, *arguments):
        before = content(self.a) if os.path.exists(self.a) else None
        done = run(GEMEL, "inject", *arguments, check=False)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(before, content(self.a) if before is not None else None)

    def test_changes_what_it_prints(self):
        self.filled()
        before = content(self.a)
        for into in ["data", "checksum", "index", "superblock", "any"]:
            for kind in KINDS:
                with self.subTest(into=into, kind=kind):
                    told = self.inject("--into", into, "--kind", kind, "--count", "2")
                    after = content(self.a)
                    self.assertTrue(told["damages"])
                    self.assertEqual(listed_blocks(told), changed_blocks(before, after))
                    with open(self.a, "wb") as file:
                        file.write(before)
                    again = self.inject("--into", into, "--kind", kind, "--count", "2",
                                        "--seed", str(told["seed"]))
                    self.assertEqual(told, again)
                    self.assertEqual(after, content(self.a))
                    with open(self.a, "wb") as file:
                        file.write(before)

    def test_puts_back_what_it_remembered(self):
        self.filled()
        record = self.path("record")
        told = self.inject("--remember", record)
        self.assertEqual(told["remembered_in"], record)
        then = content(self.a)
        self.refused(1, "nothing there differs", self.a, "--into", "data", "--kind", "stale",
                     "--remember", record)
        self.vol.start()
        self.write("two")
        self.vol.stop()
        before = content(self.a)
        told = self.inject("--into", "any", "--kind", "stale", "--remember", record,
                           "--count", "5", "--seed", "1")
        after = content(self.a)
        self.assertEqual(listed_blocks(told), changed_blocks(before, after))
        for damage in told["damages"]:
            place = slice(damage["offset"], damage["offset"] + damage["length"])
            self.assertEqual(after[place], then[place])
        self.refused(1, "another member", self.b, "--into", "data", "--kind", "stale",
                     "--remember", record)
        self.refused(1, "another member", self.b, "--remember", record)
        self.refused(1, "is not a recording", self.a, "--remember", self.b)
        self.assertTrue(self.inject("--remember", record)["length"])  # An earlier one of its own.

    def test_beside_a_server(self):
        self.vol.start()
        self.write("one")
        told = self.inject("--into", "log", "--kind", "torn", "--count", "3")
        self.assertEqual({damage["structure"] for damage in told["damages"]}, {"log"})
        for damage in told["damages"]:
            self.assertEqual(damage["offset"] // BLOCK, (MIB + damage["ring_offset"]) // BLOCK)
        self.vol.stop()  # What is in the log's memory goes home: the log is not read again.
        self.vol.start()
        before = content(self.a)
        told = self.inject("--into", "data", "--kind", "garbage", "--range", "1-2", "--count", "9")
        after = content(self.a)
        self.assertEqual(sorted(damage["block"] for damage in told["damages"]), [1, 2])
        self.assertEqual((told["events"], told["fewer_than_asked"]), (2, True))
        self.assertEqual(listed_blocks(told), changed_blocks(before, after))
        with self.vol.client() as client:  # The rest is as it was.
            kept = harness.pattern(("one", 3 * MIB), 64 << 10)
            self.assertEqual(client.read(3 * MIB, 64 << 10), kept)
        self.vol.stop()

    def test_a_device_in_use(self):
        self.require_root()
        self.filled()
        device = run("losetup", "--find", "--show", self.a).stdout.strip()
        self.addCleanup(lambda: run("losetup", "--detach", device, check=False))
        descriptor = os.open(device, os.O_RDWR | os.O_EXCL)  # As a server has it.
        self.addCleanup(os.close, descriptor)
        before = content(device)
        told = json.loads(run(GEMEL, "inject", device, "--into", "data", "--kind", "flip").stdout)
        self.assertEqual(listed_blocks(told), changed_blocks(before, content(device)))

    def test_refusals(self):
        self.refused(1, "the log is empty", self.a, "--into", "log", "--kind", "flip")
        self.refused(1, "nothing in use", self.a, "--into", "data", "--kind", "flip")
        self.filled()
        self.refused(1, "in that range", self.a, "--into", "data", "--kind", "flip",
                     "--range", "100-200")
        self.refused(1, "none", self.path("none"), "--into", "data", "--kind", "flip")
        self.refused(1, "to be a Gemel member", __file__, "--into", "data", "--kind", "flip")
        self.refused(1, "none", self.a, "--into", "data", "--kind", "stale",
                     "--remember", self.path("none"))
        self.refused(2, "--remember", self.a, "--into", "data", "--kind", "stale")
        self.assertFalse(os.path.exists(self.path("none")))


if __name__ == "__main__":
    harness.main()
