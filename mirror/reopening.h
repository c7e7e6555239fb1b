// SPDX-License-Identifier: Apache-2.0
//
// Reopening: opens and claims a member that was away, without anybody waiting for it: its device
// may hang. Until it has come to its end nobody else may try, for it may hold the member's lock.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blockdev/env.h"
#include "blockdev/local_member.h"

namespace gemel::mirror {

class Reopening {
public:
    // What the member must be to be taken back.
    struct Wanted {
        std::string path;
        Uuid volume;
        Uuid member;
        blockdev::GeometryRecord geometry;
        uint64_t cache_bytes = 0;
    };
    // `ended` is notified at the end. `env` and `pool` outlive the opening.
    Reopening(Env& env, blockdev::BufferPool& pool, Event& ended, Wanted wanted);

    // The member, or what is the matter; nothing while it goes on. Once.
    std::optional<Outcome<std::unique_ptr<blockdev::LocalMember>>> take_result();

    // Leaves one that goes on to itself, for good.
    static void let_go(std::unique_ptr<Reopening> reopening);
    bool ended() const { return scope_.running() == 0; }

private:
    Task<void> run();
    Task<Outcome<std::unique_ptr<blockdev::LocalMember>>> open();

    Env& env_;
    blockdev::BufferPool& pool_;
    Event* ended_;  // Null: nobody listens any more.
    Wanted wanted_;
    std::optional<Outcome<std::unique_ptr<blockdev::LocalMember>>> result_;
    Scope scope_;
};

}  // namespace gemel::mirror
