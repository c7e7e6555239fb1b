// SPDX-License-Identifier: Apache-2.0
//
// What will happen in the simulated world, in order of time; what falls on the same nanosecond
// happens in the order in which it was scheduled. Nothing is ever taken back: whoever schedules
// something that may lose its meaning checks that when it comes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "blockdev/assert.h"

namespace gemel::sim {

// Something that happens. It lives until it has happened.
class Happening {
public:
    virtual ~Happening() = default;
    virtual void happen() = 0;
};

class EventQueue {
public:
    void schedule(uint64_t time_ns, Happening& what) {
        heap_.push_back({time_ns, ++scheduled_, &what});
        std::push_heap(heap_.begin(), heap_.end(), later);
    }

    bool empty() const { return heap_.empty(); }
    // UINT64_MAX if there is nothing.
    uint64_t next_time_ns() const { return heap_.empty() ? UINT64_MAX : heap_.front().time_ns; }

    Happening& take() {
        CHECK(!heap_.empty());
        std::pop_heap(heap_.begin(), heap_.end(), later);
        Happening* what = heap_.back().what;
        heap_.pop_back();
        return *what;
    }

private:
    struct Entry {
        uint64_t time_ns;
        uint64_t number;
        Happening* what;
    };
    static bool later(const Entry& a, const Entry& b) {
        return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.number > b.number;
    }

    std::vector<Entry> heap_;
    uint64_t scheduled_ = 0;
};

}  // namespace gemel::sim
