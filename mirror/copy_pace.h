// SPDX-License-Identifier: Apache-2.0
//
// CopyPace: how fast background copying goes. Alone with the disks: several large pieces at once.
// Beside clients: one small piece at a time, and a rest after each.
#pragma once

#include <cstdint>

#include "blockdev/env.h"

namespace gemel::mirror {

class CopyPace {
public:
    explicit CopyPace(Env& env) : env_(env) {}

    // Call for each request of a client.
    void note_client() { ++requests_; }

    // Looked at again before each piece.
    uint64_t piece_blocks() { return clients_are_there() ? kPolitePieceBlocks : kPieceBlocks; }
    size_t pages_at_once() { return clients_are_there() ? 1 : kPagesAtOnce; }
    // How long to rest after work that took `work_ns`.
    uint64_t rest_ns(uint64_t work_ns);

    static constexpr uint64_t kPieceBlocks = 256;
    static constexpr size_t kPagesAtOnce = 8;
    static constexpr uint64_t kPolitePieceBlocks = 64;
    static constexpr uint64_t kQuiet_ns = kSecond / 2;  // Clients are there until so long after
                                                        // their last request.
    static constexpr uint64_t kClientShare = 3;         // Times the copying's own time.
    static constexpr uint64_t kRestMax_ns = 200 * kMillisecond;

private:
    bool clients_are_there();

    Env& env_;
    uint64_t requests_ = 0;
    uint64_t requests_seen_ = 0;
    uint64_t seen_ns_ = 0;
    bool ever_seen_ = false;
};

}  // namespace gemel::mirror
