// SPDX-License-Identifier: Apache-2.0
//
// What each verb was asked to do: plain values, already checked for form. The verbs take these and
// know nothing of the command line.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "blockdev/inject.h"
#include "blockdev/result.h"
#include "mirror/create.h"
#include "mirror/watchdog.h"

namespace gemel::tools {

enum ExitCode : int { kDone = 0, kFailed = 1, kWrongUsage = 2 };

// Thrown by verbs and caught in main, which prints it as one line.
class Failure : public std::runtime_error {
public:
    explicit Failure(const std::string& text) : std::runtime_error(text) {}
    explicit Failure(const Problem& problem) : std::runtime_error(problem.text) {}
};

// The same, for what a look at the command line alone shows to be wrong.
class UsageError : public std::runtime_error {
public:
    explicit UsageError(const std::string& text) : std::runtime_error(text) {}
};

struct CreateArguments {
    std::string name;
    uint64_t size = 0;
    std::vector<std::string> members;
    std::vector<std::string> spares;
    uint64_t log_size = mirror::kDefaultLogSize;
    uint64_t log_limit = mirror::kDefaultLogLimit;
    uint64_t max_size = 0;
    bool preallocate = false;
    std::optional<std::string> witness;
    std::string folder = ".";
    bool force = false;
    bool json = false;
};

struct ServeArguments {
    std::string volume;
    std::vector<std::string> nbd_addresses;  // Empty: the socket beside the volume file.
    std::optional<uint64_t> cache_bytes;
    uint64_t scrub_every_s = 7 * 86'400;  // 0: only when asked to.
    mirror::WatchLimits limits;
    bool read_only = false;
    bool force = false;
    std::string folder = ".";
};

struct AttachArguments {
    std::string target;  // A volume, or an NBD URI.
    std::string front_end = "auto";
    uint64_t timeout_ns = 60 * kSecond;
    std::string folder = ".";
};

struct DetachArguments {
    std::string device;
};

struct StatusArguments {
    std::optional<std::string> volume;  // Nothing: every volume in the folder.
    std::string folder = ".";
    bool json = false;
    bool watch = false;
};

struct ScrubArguments {
    std::string volume;
    std::string folder = ".";
    bool wait = false;
};

enum class MemberAction { offline, online, add, remove, replace };

struct MemberArguments {
    MemberAction action = MemberAction::offline;
    std::string volume;
    std::string member;                    // Path or UUID; of a new one its path.
    std::optional<std::string> successor;  // Nothing: another disk at the same path.
    std::string folder = ".";
    bool wait = false;
    bool force = false;
    bool spare = false;
};

struct InspectArguments {
    std::string member;
    bool json = false;
};

struct InjectArguments {
    std::string member;
    bool damages = false;             // False: only remember.
    blockdev::InjectOptions options;  // All but the seed; its recording is the --remember file.
    std::optional<uint64_t> seed;     // Nothing: a random one.
};

struct AssembleArguments {
    std::vector<std::string> members;
    std::optional<std::string> witness;
    std::string folder = ".";
    bool force = false;
    bool json = false;
};

// Help or the version: printed already, nothing is left to do.
struct NothingToDo {};

using Arguments = std::variant<NothingToDo, CreateArguments, ServeArguments, AttachArguments,
                               DetachArguments, StatusArguments, ScrubArguments, MemberArguments,
                               InspectArguments, InjectArguments, AssembleArguments>;

}  // namespace gemel::tools
