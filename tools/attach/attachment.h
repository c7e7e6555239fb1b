// SPDX-License-Identifier: Apache-2.0
//
// The attachments of this machine. Each has a folder below /run/gemel with its mount point, its
// log and a small record; what the kernel says (mounts, loop devices) is the authority, so that
// an attachment whose daemon crashed, or whose record is lost, can still be found and cleared.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/result.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {

struct Attachment {
    std::string folder;
    std::string uri;     // Canonical.
    std::string device;  // /dev/loopN or /dev/nbdN; empty while attach is at work.
    pid_t daemon = 0;
    uint64_t daemon_start = 0;  // Its start time: tells it from a later process of that number.

    std::string mount_point() const { return folder + "/mnt"; }
    std::string backing_file() const;
    std::string log() const { return folder + "/log"; }
    bool daemon_alive() const;
};

// A fresh folder with a mount point in it, for root's eyes only.
Outcome<Attachment> make_attachment(const std::string& canonical_uri);
// Records what is known, whole or not at all.
Outcome<void> save(const Attachment& attachment);
// Unmounts if need be, and removes the folder. Nothing may use the device any more.
void remove(const Attachment& attachment);

// All folders found; fields that no record tells stay empty.
std::vector<Attachment> list_attachments();
// The attachment behind a block device; nothing if it is not one of ours.
std::optional<Attachment> find_attachment(const std::string& device);
// Removes folders whose daemon is dead and that no device uses.
void remove_leftovers();

// Held while attaching, so that two cannot attach the same export at the same time.
Outcome<FileDescriptor> lock_attachments();

uint64_t process_start_time(pid_t process);  // 0 if there is no such process.

}  // namespace gemel::tools
