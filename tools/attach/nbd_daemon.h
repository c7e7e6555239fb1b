// SPDX-License-Identifier: Apache-2.0
//
// The daemon beside a kernel nbd device: not in the data path, it gives the kernel a new
// connection when the old one has died, and takes the device down at the end.
#pragma once

#include "tools/attach/attachment.h"
#include "tools/attach/daemon_process.h"
#include "tools/attach/nbd_connect.h"

namespace gemel::tools {

struct NbdDaemonPlan {
    Attachment attachment;
    NbdPlace place;
    std::chrono::milliseconds timeout{0};
};

// Supervises until the device is detached; then nothing of the attachment is left. Does not
// return. Answers attach with "ready PID FOLDER DEVICE".
[[noreturn]] void run_nbd_daemon(NbdDaemonPlan plan, NbdConnection connection,
                                 DaemonChannel channel);

}  // namespace gemel::tools
