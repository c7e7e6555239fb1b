// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_input.h"

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"

namespace gemel::net {

bool NbdInput::make_room(size_t wanted) {
    CHECK(wanted <= kChunkBytes);
    const bool is_ours = !chunk_->shared();
    if (is_ours && begin_ == end_) begin_ = end_ = 0;
    const size_t needed = std::max(begin_ + wanted, end_ + kReceiveBytesMin);
    if (needed <= kChunkBytes) return true;
    // Short of the whole chunk there is no better place: what is unread begins it already.
    if (begin_ == 0 && wanted > end_) return true;
    if (!is_ours) return false;
    const auto rest = unread();
    std::memmove(chunk_->memory().data(), rest.data(), rest.size());
    begin_ = 0;
    end_ = rest.size();
    return true;
}

void NbdInput::replace(NbdBuffer next) {
    CHECK(next.size() == kChunkBytes);
    const auto rest = unread();
    std::memcpy(next.data(), rest.data(), rest.size());
    chunk_ = NbdPin(new NbdChunk(std::move(next)));
    begin_ = 0;
    end_ = rest.size();
}

}  // namespace gemel::net
