# SPDX-License-Identifier: Apache-2.0
"""Writes to a block device whose result is the device's own."""

import errno
import mmap
import os


def direct_write(device, offset, data, flags=0):
    """Writes past the page cache, so that the server's answer is the result."""
    with mmap.mmap(-1, len(data)) as aligned:
        aligned.write(data)
        fd = os.open(device, os.O_WRONLY | os.O_DIRECT | flags)
        try:
            return os.pwrite(fd, aligned, offset)
        finally:
            os.close(fd)


def write_fails(device):
    """Whether a write gets EIO."""
    try:
        direct_write(device, 0, b"x" * 4096)
        return False
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return True
