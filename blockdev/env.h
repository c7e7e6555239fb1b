// SPDX-License-Identifier: Apache-2.0
//
// Env: everything the product needs from the outside: time, disks, small files, the network,
// randomness, and a log. Two implementations: UringEnv (the kernel) and the simulator's world.
// Product code gets an Env& by constructor and uses nothing else of the outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockdev/disk.h"
#include "blockdev/loop.h"
#include "blockdev/result.h"
#include "blockdev/stream.h"
#include "blockdev/task.h"

namespace gemel {

enum class LogLevel : uint8_t { debug, info, warning, error };

// A running process, told from any later one with the same pid.
struct ProcessId {
    uint64_t pid = 0;
    uint64_t start_time = 0;       // In clock ticks since boot.
    uint64_t boot_id[2] = {0, 0};  // Which boot of which host.
    bool operator==(const ProcessId&) const = default;
};

struct DiskOptions {
    bool read_only = false;
    bool create = false;  // Create the file if there is none.
    bool beside_owner =
        false;  // Somebody else may have it open, and locked: for damage on purpose.
};

// Waits for connections. Destroyed only when no accept is pending: close(), await it, then destroy.
class Listener {
public:
    virtual ~Listener() = default;
    // The next connection; Errc::closed after close().
    virtual Task<Result<std::unique_ptr<Stream>>> accept() = 0;
    virtual void close() = 0;
    // Where it really listens (the port the system chose).
    virtual const Address& address() const = 0;
};

class Env : public Loop {
public:
    // Whole seconds since 1970, for people to read only; no decision depends on it.
    virtual uint64_t wall_clock_s() const = 0;
    virtual uint64_t random_u64() = 0;
    virtual void log(LogLevel level, std::string_view text) = 0;

    virtual ProcessId this_process() const = 0;
    // False once the process has died or is being torn down.
    virtual bool is_alive(const ProcessId& process) const = 0;

    // The problem names the path and says how to mend it. A member is opened with O_DIRECT where
    // the file system allows that; a block device to be written to also exclusively, unless beside
    // its owner.
    virtual Outcome<std::unique_ptr<Disk>> open_disk(const std::string& path,
                                                     DiskOptions options) = 0;
    // Removes a file this process has just created.
    virtual Status remove_file(const std::string& path) = 0;

    // Small files, whole. Errc::not_found if there is none; larger than `limit` is corrupt.
    virtual Result<std::vector<std::byte>> read_file(const std::string& path, size_t limit) = 0;
    // Durable and atomic: after a crash the file holds the old or the new bytes.
    virtual Status replace_file(const std::string& path, std::span<const std::byte> data) = 0;

    virtual Outcome<std::unique_ptr<Listener>> listen(const Address& address) = 0;
    virtual Task<Result<std::unique_ptr<Stream>>> connect(Address address) = 0;
};

// Fills `out` with random bytes.
void fill_random(Env& env, std::span<std::byte> out);

}  // namespace gemel
