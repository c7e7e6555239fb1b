// SPDX-License-Identifier: Apache-2.0
//
// UringSpaceProbe: how much space a file system that may hang still has. The question is put by a
// thread of its own; whoever wants to know gets the last answer at once, however old, and has the
// question put again. So while the file system hangs the answer stays, and nobody waits.
#pragma once

#include <cstdint>
#include <memory>

#include "blockdev/result.h"

namespace gemel {

// Bytes that the file system under `descriptor` could still give; UINT64_MAX if it does not say.
// Asks it, so it may hang.
Result<uint64_t> free_space(int descriptor);

class UringSpaceProbe {
public:
    using Question = Result<uint64_t> (*)(int descriptor);

    // Takes `descriptor` over. `first` is the answer until there is a newer one.
    UringSpaceProbe(int descriptor, Result<uint64_t> first, Question question = free_space);
    // Returns at once: the descriptor is closed by the thread, since that may hang as well.
    ~UringSpaceProbe();
    UringSpaceProbe(const UringSpaceProbe&) = delete;
    UringSpaceProbe& operator=(const UringSpaceProbe&) = delete;

    Result<uint64_t> free_bytes();

private:
    struct Shared;
    static void* run(void* argument);

    std::shared_ptr<Shared> shared_;
};

}  // namespace gemel
