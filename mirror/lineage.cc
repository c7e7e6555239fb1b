// SPDX-License-Identifier: Apache-2.0
#include "mirror/lineage.h"

#include <algorithm>
#include <optional>

#include "blockdev/superblock.h"

namespace gemel::mirror {

using blockdev::EpochRecord;
using blockdev::Superblock;

namespace {

// Where `history` was at the end of its epoch `index`.
uint64_t end_of(const History& history, size_t index) {
    if (index + 1 == history.epochs.size()) return history.end;
    return std::min<uint64_t>(history.end, history.epochs[index + 1].first_sequence - 1);
}

std::optional<size_t> find(const std::vector<EpochRecord>& epochs, const Uuid& id) {
    for (size_t i = epochs.size(); i-- > 0;) {
        if (epochs[i].id == id) return i;
    }
    return std::nullopt;
}

}  // namespace

History history_of(const Superblock& superblock, uint64_t log_end) {
    History history;
    history.epochs.assign(superblock.epochs, superblock.epochs + superblock.epoch_count);
    history.end = log_end;
    if (!is_running(superblock.resync)) return history;
    const std::optional<size_t> base = find(history.epochs, superblock.resync.base_epoch);
    if (!base || superblock.resync.base_sequence == 0) return History{};
    history.epochs.resize(*base + 1);
    history.end = superblock.resync.base_sequence;
    return history;
}

Lineage compare_histories(const History& first, const History& second) {
    Lineage lineage;
    size_t first_epochs = 0;  // Up to and with the one in common.
    size_t second_epochs = 0;
    for (size_t i = first.epochs.size(); i-- > 0;) {
        const std::optional<size_t> other = find(second.epochs, first.epochs[i].id);
        if (!other) continue;
        lineage.epoch = first.epochs[i].id;
        lineage.sequence = std::min(end_of(first, i), end_of(second, *other));
        first_epochs = i + 1;
        second_epochs = *other + 1;
        break;
    }
    lineage.first_went_on = first.end > lineage.sequence;
    lineage.second_went_on = second.end > lineage.sequence;
    lineage.first_has_own_epochs = first.epochs.size() > first_epochs;
    lineage.second_has_own_epochs = second.epochs.size() > second_epochs;
    return lineage;
}

}  // namespace gemel::mirror
