# SPDX-License-Identifier: Apache-2.0
"""The program called as an operator calls it, in a folder whose every change is seen."""

import os
import stat

import harness
from harness import GEMEL, run


def look(folder):
    """Everything below a folder: what it is, how long, when it was changed, and what it holds."""
    found = {}
    for base, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(base, name)
            info = os.lstat(path)
            held = None
            if stat.S_ISREG(info.st_mode) and info.st_size < harness.MIB:
                with open(path, "rb") as file:
                    held = file.read()
            changed = info.st_mtime_ns if not stat.S_ISDIR(info.st_mode) else 0
            found[path] = (info.st_mode, info.st_ino, info.st_size, changed, held)
    return found


class CliCase(harness.Case):
    def gemel(self, *arguments, **options):
        return run(GEMEL, *arguments, check=False, cwd=self.folder, timeout=harness.DEADLINE,
                   **options)

    def refused(self, code, words, *arguments):
        """Exit code, one line on standard error with these words, nothing printed or changed."""
        before = look(self.folder)
        done = self.gemel(*arguments)
        what = f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        self.assertEqual(done.returncode, code, what)
        self.assertEqual(done.stdout, "", what)
        self.assertEqual(done.stderr.count("\n"), 1, what)
        self.assertTrue(done.stderr.startswith("gemel: "), what)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, done.stderr, what)
        self.assertEqual(before, look(self.folder), what)

    def create(self, *options, name="vol", size="64M", members=("a.img", "b.img"), log="16M"):
        """The arguments of a create that would work if nothing was wrong with it."""
        places = [part for member in members for part in ("--member", member)]
        return ["create", name, "--size", size, *places, "--log-size", log, *options]

    def made(self, *options, **changes):
        done = self.gemel(*self.create(*options, **changes))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def write(self, name, content=b"precious"):
        with open(self.path(name), "wb") as file:
            file.write(content)

    def loop_device(self, name, size):
        with open(self.path(name), "wb") as file:
            file.truncate(size)
        device = run("losetup", "--find", "--show", self.path(name)).stdout.strip()
        self.addCleanup(lambda: run("losetup", "--detach", device, check=False))
        return device

    def tmpfs(self, options):
        self.require_root()
        return self.mount("-t", "tmpfs", "-o", options, "tmpfs")
