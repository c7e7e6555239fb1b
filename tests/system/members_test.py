#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members that are not what the volume needs: the others serve without them, say why, leave them as
they are, and bring them up to date once they are right."""

import ctypes
import hashlib
import os
import shutil
import struct

import harness
from harness import MIB, run

SUPERBLOCK_SIZE = 16384
OWNER_RECORD = range(SUPERBLOCK_SIZE, SUPERBLOCK_SIZE + 4096)
SUPERBLOCK_B_FIELD = 184  # Where a superblock says where its other copy lies.


class MembersTest(harness.Case):
    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="64M", log_size="16M")
        self.a, self.b = self.vol.members

    def write(self, seed, volume=None, stop=True):
        volume = volume or self.vol
        volume.start()
        with volume.client() as client:
            for number in range(4):
                client.write(number * 5 * MIB, harness.pattern((seed, number), MIB))
            client.flush()
        if stop:
            volume.stop()

    def check(self, seed, volume=None):
        """All members are brought up to date, and everything is there."""
        volume = volume or self.vol
        volume.start()
        harness.wait_for("all members in sync", lambda: volume.all_in_sync())
        with volume.client() as client:
            for number in range(4):
                self.assertEqual(client.read(number * 5 * MIB, MIB),
                                 harness.pattern((seed, number), MIB))
        volume.stop()
        volume.compare_homes()

    def content(self):
        """Of member b, if it is a file; but who last looked at it may be noted in its owner
        record."""
        if not os.path.isfile(self.b):
            return None
        with open(self.b, "rb") as file:
            digest = hashlib.sha256(file.read(OWNER_RECORD.start))
            file.seek(OWNER_RECORD.stop)
            digest.update(file.read())
            return digest.hexdigest()

    def assert_masked(self, *words, seed="one"):
        """The volume serves without member b, all data is there, b is missing with a reason that
        has all the words, and stays as it is."""
        before = self.content()
        self.vol.start()
        b = self.vol.member_status(self.b)
        self.assertEqual(b["state"], "missing")
        for word in words:
            self.assertRegex(self.vol.log_text(), word)
        with self.vol.client() as client:
            for number in range(4):
                self.assertEqual(client.read(number * 5 * MIB, MIB),
                                 harness.pattern((seed, number), MIB))
        self.vol.stop()
        self.assertEqual(before, self.content(), "a member that cannot be used was changed")

    def test_missing(self):
        self.write("one")
        os.rename(self.b, self.b + ".away")
        self.assert_masked(self.b)
        self.assertFalse(os.path.exists(self.b), "the start made the missing member")
        os.rename(self.b + ".away", self.b)
        self.check("one")

    def test_of_another_volume(self):
        self.write("one")
        other = self.volume("other", size="64M", log_size="16M")
        self.write("two", other)
        os.rename(self.b, self.b + ".away")
        os.rename(other.members[1], self.b)
        self.assert_masked(self.b, "other")
        os.rename(self.b, other.members[1])
        os.rename(self.b + ".away", self.b)
        self.check("one")
        self.check("two", other)

    def test_swapped_with_each_other_is_fine(self):
        self.write("one")
        os.rename(self.a, self.a + ".away")
        os.rename(self.b, self.a)
        os.rename(self.a + ".away", self.b)
        self.check("one")

    def test_truncated(self):
        self.write("one")
        shutil.copyfile(self.b, self.b + ".whole")
        for length in (0, 4096, 8 * MIB, os.path.getsize(self.b) - 4096):
            with self.subTest(length=length):
                os.truncate(self.b, length)
                try:
                    self.assert_masked(self.b)
                finally:
                    shutil.copyfile(self.b + ".whole", self.b)
        self.check("one")

    def test_foreign_content(self):
        self.write("one")
        os.rename(self.b, self.b + ".away")
        with open(self.b, "wb") as file:
            file.write(harness.pattern("foreign", 80 * MIB))
        self.assert_masked(self.b)
        os.rename(self.b + ".away", self.b)
        self.check("one")

    def test_a_directory(self):
        self.write("one")
        os.rename(self.b, self.b + ".away")
        os.mkdir(self.b)
        self.assert_masked("is a directory")
        os.rmdir(self.b)
        os.rename(self.b + ".away", self.b)
        self.check("one")

    def test_in_use(self):
        self.write("one", stop=False)
        pid = str(self.vol.server.pid)
        line = self.vol.refused(self)
        self.assertRegex(line, rf"\b{pid}\b")
        with self.vol.client() as client:  # The owner is not disturbed.
            self.assertEqual(client.read(0, MIB), harness.pattern(("one", 0), MIB))
            client.write(MIB, harness.pattern("more", MIB))
        self.vol.stop()
        self.check("one")

    def test_in_use_through_another_name(self):
        self.write("one", stop=False)
        os.mkdir(self.path("elsewhere"))
        link = self.path("elsewhere", "link.img")
        os.link(self.b, link)
        done = run(harness.GEMEL, "create", "second", "--size", "64M", "--member", link, "--member",
                   self.path("elsewhere", "c.img"), "--dir", self.path("elsewhere"), "--force",
                   "--log-size", "16M", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf"\b{self.vol.server.pid}\b")
        self.assertFalse(os.path.exists(self.path("elsewhere", "c.img")))
        self.vol.stop()
        self.check("one")

    def stale_copy(self, end):
        self.write("one")
        shutil.copyfile(self.b, self.b + ".old")
        self.write("two", stop=False)
        end()
        shutil.copyfile(self.b + ".old", self.b)
        self.vol.start()
        self.assertRegex(self.vol.log_text(), f"{self.b}: behind: stale")
        with self.vol.client() as client:
            for number in range(20):  # Whichever member would be asked.
                self.assertEqual(client.read(5 * MIB * (number % 4), MIB),
                                 harness.pattern(("two", number % 4), MIB))
        self.vol.stop()
        self.check("two")

    def test_an_older_copy_of_itself(self):
        self.stale_copy(self.vol.stop)

    def test_an_older_copy_of_itself_after_a_kill(self):
        self.stale_copy(self.vol.kill)

    def test_only_a_stale_one_is_left(self):
        """Alone it is refused, with one line that says what to do."""
        self.write("one")
        shutil.copyfile(self.b, self.b + ".old")
        os.rename(self.b, self.b + ".away")
        self.write("two")
        os.rename(self.a, self.a + ".away")
        shutil.copyfile(self.b + ".old", self.b)
        line = self.vol.refused(self)
        for words in (self.a, "in sync last", "--force", "lose"):
            self.assertIn(words, line)
        os.rename(self.a + ".away", self.a)
        self.check("two")

    def make_newer(self, path):
        """Marks both superblocks as of a format that this release cannot read, checksums right."""
        try:
            xxhash = ctypes.CDLL("libxxhash.so.0")
        except OSError:
            self.skipTest("libxxhash is not there")
        xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
        with open(path, "r+b") as file:
            first = file.read(SUPERBLOCK_SIZE)
            for offset in (0, struct.unpack_from("<Q", first, SUPERBLOCK_B_FIELD)[0]):
                file.seek(offset)
                block = bytearray(file.read(SUPERBLOCK_SIZE))
                struct.pack_into("<II", block, 16, 7, 7)
                body = bytes(block[8:])
                checksum = xxhash.XXH3_64bits_withSeed(
                    body, ctypes.c_size_t(len(body)), ctypes.c_uint64(offset))
                struct.pack_into("<Q", block, 0, checksum)
                file.seek(offset)
                file.write(block)

    def test_a_newer_format(self):
        self.write("one")
        shutil.copyfile(self.b, self.b + ".now")
        self.make_newer(self.b)
        self.assert_masked(self.b, "format 7", "upgrade")
        shutil.copyfile(self.b + ".now", self.b)
        self.check("one")


if __name__ == "__main__":
    harness.main()
