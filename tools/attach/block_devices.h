// SPDX-License-Identifier: Apache-2.0
//
// What this kernel says about its block devices, and loop devices made and cleared.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/result.h"

namespace gemel::tools {

// The file under a loop device, as the kernel names it; nothing if it is not bound.
std::optional<std::string> loop_backing_file(const std::string& device);
// The path it was set up with: still true when the file system around the file is gone.
std::string loop_given_path(const std::string& device);
// The loop devices on this very file.
std::vector<std::string> loop_devices_on(const std::string& file);

struct LoopPlan {
    std::string file;
    bool read_only = false;
    uint32_t block_size = 512;
};
// Binds a free loop device, with direct I/O.
Outcome<std::string> set_up_loop(const LoopPlan& plan);
// Releases a loop device and waits until the kernel has let go of its file.
Outcome<void> clear_loop(const std::string& device, std::chrono::milliseconds limit);

// True while a kernel nbd device has a connection, or hopes for one.
bool nbd_connected(const std::string& device);
// What whoever connected it left with the kernel as its identifier.
std::string nbd_identifier(const std::string& device);
// The N of /dev/nbdN.
std::optional<uint32_t> nbd_index(const std::string& device);
// Releases a kernel nbd device and waits until it is free. What is unanswered fails.
Outcome<void> disconnect_nbd(const std::string& device, std::chrono::milliseconds limit);

// How far a device's requests have got: another text means progress.
std::string progress_of(const std::string& device);

// Who uses a block device: "mounted at /mnt", "in use as swap", "in use by dm-0", "opened by fio
// (process 71)". Empty if nobody does.
std::string use_of(const std::string& device);

}  // namespace gemel::tools
