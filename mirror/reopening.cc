// SPDX-License-Identifier: Apache-2.0
#include "mirror/reopening.h"

#include <cstring>
#include <utility>

namespace gemel::mirror {

using blockdev::LocalMember;
using blockdev::Superblock;

Reopening::Reopening(Env& env, blockdev::BufferPool& pool, Event& ended, Wanted wanted)
    : env_(env), pool_(pool), ended_(&ended), wanted_(std::move(wanted)), scope_(env) {
    scope_.start(run());
}

std::optional<Outcome<std::unique_ptr<LocalMember>>> Reopening::take_result() {
    if (!ended()) return std::nullopt;
    return std::exchange(result_, std::nullopt);
}

void Reopening::let_go(std::unique_ptr<Reopening> reopening) {
    if (!reopening || reopening->ended()) return;
    reopening->ended_ = nullptr;
    static_cast<void>(reopening.release());
}

Task<void> Reopening::run() {
    result_.emplace(co_await open());
    if (ended_ != nullptr) ended_->notify_all();
}

Task<Outcome<std::unique_ptr<LocalMember>>> Reopening::open() {
    const std::string& path = wanted_.path;
    const uint64_t superblock_b = wanted_.geometry.superblock_b_offset;
    Outcome<std::unique_ptr<LocalMember>> opened =
        co_await LocalMember::open(env_, path, wanted_.cache_bytes, pool_, superblock_b);
    if (!opened.ok()) co_return opened;
    const Superblock& found = opened.value()->superblock();
    if (found.volume != wanted_.volume) {
        co_return Problem{Errc::invalid, path + ": belongs to volume " + found.volume.text() +
                                             " (" + blockdev::volume_name(found) + ") now"};
    }
    if (found.member != wanted_.member) {
        co_return Problem{Errc::invalid,
                          path + ": is another member (" + found.member.text() + ") now"};
    }
    if (std::memcmp(&found.geometry, &wanted_.geometry, sizeof wanted_.geometry) != 0) {
        co_return Problem{Errc::invalid, path + ": its geometry differs from that of the volume"};
    }
    const Status claimed = co_await opened.value()->claim();
    if (!claimed.ok()) {
        co_return Problem{claimed.error().code,
                          path + ": cannot be written: " + claimed.error().text()};
    }
    co_return opened;
}

}  // namespace gemel::mirror
