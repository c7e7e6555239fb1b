#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""gemel status --watch: on a terminal, into a pipe, and to its end."""

import os
import pty
import signal
import subprocess
import threading
import time

import harness
from harness import GEMEL, MIB, wait_for


class Output:
    """All that comes out of a descriptor, read by a thread so that nobody has to wait."""

    def __init__(self, descriptor):
        self.text = ""
        self.descriptor = descriptor
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            try:
                part = os.read(self.descriptor, 65536)
            except OSError:  # A terminal whose last program has gone.
                return
            if not part:
                return
            self.text += part.decode()

    def close(self):
        self.thread.join(harness.DEADLINE)
        os.close(self.descriptor)


class WatchTest(harness.Case):
    def setUp(self):
        super().setUp()
        self.vol = self.volume(size="64M", log_size="16M")

    def watch(self, **streams):
        watcher = subprocess.Popen([GEMEL, "status", "--watch", self.vol.file],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   **streams)
        self.addCleanup(watcher.stderr.close)
        self.addCleanup(lambda: watcher.poll() is None and (watcher.kill(), watcher.wait()))
        return watcher

    def watch_pipe(self):
        reading, writing = os.pipe()
        watcher = self.watch(stdout=writing)
        os.close(writing)
        output = Output(reading)
        self.addCleanup(output.close)
        return watcher, output

    def end(self, watcher, code, words, number=None):
        if number is not None:
            watcher.send_signal(number)
        self.assertEqual(watcher.wait(harness.DEADLINE), code)
        said = watcher.stderr.read()
        if words is None:
            self.assertEqual(said, "")
        else:
            self.assertEqual(said.count("\n"), 1, said)
            self.assertIn(words, said)

    def write(self, seed):
        with self.vol.client() as client:
            client.write(0, harness.pattern(seed, MIB))
            client.flush()

    def is_idle(self, output):
        """Nothing new for longer than the watcher waits between two looks."""
        before = output.text
        time.sleep(2.5)
        return output.text == before

    def test_into_a_pipe_one_block_for_each_change(self):
        self.vol.start()
        watcher, output = self.watch_pipe()
        wait_for("the first block", lambda: "vol  serving" in output.text)
        wait_for("the volume to be idle", lambda: self.is_idle(output))
        before = output.text.count("vol  serving")
        self.write("one")
        wait_for("another block", lambda: "1 writes (1 MiB)" in output.text)
        self.assertGreater(output.text.count("vol  serving"), before)
        self.assertNotIn("\x1b", output.text)
        self.end(watcher, 0, None, signal.SIGINT)
        self.vol.stop()

    def test_on_a_terminal_drawn_again_and_again(self):
        self.vol.start()
        control, terminal = pty.openpty()
        watcher = self.watch(stdout=terminal)
        os.close(terminal)
        output = Output(control)
        self.addCleanup(output.close)
        wait_for("three pictures", lambda: output.text.count("vol  serving") >= 3)
        self.assertEqual(output.text.count("\x1b[2J"), 1)
        self.assertGreaterEqual(output.text.count("\x1b[H"), 3)
        self.end(watcher, 0, None, signal.SIGINT)
        self.vol.stop()

    def test_ends_when_the_server_goes(self):
        for go in (self.vol.stop, self.vol.kill):
            self.vol.start()
            watcher, output = self.watch_pipe()
            wait_for("the first block", lambda out=output: "vol  serving" in out.text)
            go()
            self.end(watcher, 1, "is not served any more")

    def test_needs_a_server(self):
        watcher, output = self.watch_pipe()
        self.end(watcher, 1, "is not served; start it with")
        self.assertEqual(output.text, "")

    def test_ends_when_nobody_reads_any_more(self):
        self.vol.start()
        reading, writing = os.pipe()
        watcher = self.watch(stdout=writing)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        self.assertIn(watcher.wait(harness.DEADLINE), [0, -signal.SIGPIPE])
        self.vol.stop()


if __name__ == "__main__":
    harness.main()
