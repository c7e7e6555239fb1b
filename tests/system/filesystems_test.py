#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real file systems on the attached device: a tree of real files is copied while the server is
killed and restarted, and must be there, whole, afterwards."""

import subprocess
import time

import harness
from harness import MIB, run

TREE_MAX = 100 * MIB


class FilesystemsTest(harness.Case):
    tools = ("losetup", "tar", "cmp")

    def setUp(self):
        super().setUp()
        self.require_root()

    def copy_through_kills(self, volume, paths, target):
        """Copies with tar; the server is killed during the copy, and again during the sync."""
        with open(self.path("list"), "w", encoding="utf-8") as file:
            file.write("".join(path + "\n" for path in paths))
        copy = subprocess.Popen(
            ["sh", "-c", 'tar -C / -cf - -T "$1" | tar -C "$2" -xf - && sync -f "$2"', "copy",
             self.path("list"), target])
        self.addCleanup(copy.kill)
        for _ in range(2):
            time.sleep(1.5)
            volume.kill_and_restart()
        self.assertEqual(copy.wait(harness.DEADLINE * 3), 0)

    def life_of(self, kind, mkfs, check):
        known = subprocess.run(["modprobe", kind], check=False, capture_output=True)
        with open("/proc/filesystems", encoding="utf-8") as file:
            if kind not in file.read().split():
                self.skipTest(f"this kernel has no {kind}: {known.stderr.decode().strip()}")
        volume = self.volume(size="1G")
        volume.start()
        device = self.attach(volume)
        run(*mkfs, device)
        target = self.mount(device)
        paths = harness.sample_tree(TREE_MAX)
        expected = harness.tree_hashes("/", paths)
        print(f"\n{kind}: {len(paths)} files")
        self.copy_through_kills(volume, paths, target)
        self.assertEqual(harness.tree_hashes(target, paths), expected)
        run("umount", target)
        run(*check, device)
        run("mount", device, target)
        self.assertEqual(harness.tree_hashes(target, paths), expected)
        run("umount", target)
        run(harness.GEMEL, "detach", device)
        volume.stop()
        volume.compare_homes()
        return volume, paths, expected

    def test_ext4(self):
        volume, paths, expected = self.life_of("ext4", ["mkfs.ext4", "-q", "-F"],
                                               ["e2fsck", "-f", "-n"])
        # Each member's home is a plain image that needs no Gemel at all.
        for member in volume.members:
            facts = volume.inspect(member)
            offset, size = facts["home_offset"], facts["volume_size"]
            target = self.mount("-o", f"ro,noload,loop,offset={offset},sizelimit={size}", member)
            self.assertEqual(harness.tree_hashes(target, paths), expected)
            run("umount", target)

    def test_xfs(self):
        self.life_of("xfs", ["mkfs.xfs", "-q", "-f"], ["xfs_repair", "-n"])

    def test_btrfs(self):
        self.life_of("btrfs", ["mkfs.btrfs", "-q", "-f"], ["btrfs", "check", "--readonly"])


if __name__ == "__main__":
    harness.main()
