// SPDX-License-Identifier: Apache-2.0
//
// One request on its way through a simulated drive. It holds all it needs itself: the process that
// asked may die before it lands.
#pragma once

#include "tests/sim/drive.h"

namespace gemel::sim {

class Flight final : public Happening {
public:
    explicit Flight(Drive& owner) : drive(owner) {}
    void happen() override { drive.advance(*this); }

    Drive& drive;
    uint64_t number = 0;
    SimEnv* process = nullptr;  // Null once it is dead.
    uint64_t handle = 0;
    IoRequest* request = nullptr;  // Null once the process is dead.
    IoKind kind = IoKind::read;
    uint64_t offset = 0;
    uint64_t length = 0;
    Change change;            // Of a write, punch or zero.
    uint64_t sync_point = 0;  // Of a sync.
    Status outcome;
    uint64_t landing_begin = 0;  // The sectors that will reach the platter.
    uint64_t landing_end = 0;
    uint64_t cut = 0;  // Sectors moved by the first step.
    uint64_t finish_ns = 0;
    uint64_t reserved_pages = 0;
    bool stepped = true;    // No first step, or it is done.
    bool resolved = false;  // A power loss has decided about it.

    bool changes() const { return kind != IoKind::read && kind != IoKind::sync; }
    uint64_t sectors() const { return length / kSectorSize; }
};

}  // namespace gemel::sim
