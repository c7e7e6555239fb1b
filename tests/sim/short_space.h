// SPDX-License-Identifier: Apache-2.0
//
// A file system, shared by the members of a volume, on which somebody else's files come and go: now
// there is plenty of space, now none.
#pragma once

#include <cstdint>

#include "tests/sim/event_queue.h"
#include "tests/sim/platter.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

class ShortSpace final : public Happening {
public:
    explicit ShortSpace(SimWorld& world) : world_(world), random_(world.random().fork()) {}

    FileSystem& file_system() { return file_system_; }
    // From now on the space changes now and then, until make_plenty().
    void begin();
    void make_plenty();
    void happen() override;

private:
    SimWorld& world_;
    Random random_;
    FileSystem file_system_;
    bool changing_ = false;
    bool scheduled_ = false;
};

}  // namespace gemel::sim
