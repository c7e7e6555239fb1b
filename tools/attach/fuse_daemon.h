// SPDX-License-Identifier: Apache-2.0
//
// The daemon behind a FUSE + loop attachment.
#pragma once

#include "tools/attach/attachment.h"
#include "tools/attach/daemon_process.h"
#include "tools/attach/nbd_session.h"

namespace gemel::tools {

struct FuseDaemonPlan {
    Attachment attachment;
    NbdPlace place;
    std::chrono::milliseconds timeout{0};
};

// Serves until the device is detached; then nothing of the attachment is left. Does not return.
[[noreturn]] void run_fuse_daemon(FuseDaemonPlan plan, NbdConnection connection,
                                  DaemonChannel channel);

}  // namespace gemel::tools
