// SPDX-License-Identifier: Apache-2.0
//
// A process ends when the kernel has no more requests of its threads, and has closed its files. For
// both it may wait for a FUSE daemon that has stopped, or for a host that does not answer, and no
// signal ends that. So what has to do with files where that may happen is left to a child: the
// process that the operator knows has none of them open, and ends when the child has ended, or has
// said that its work is done. What then is left of the child keeps its locks, as it must, until the
// last of its requests has come to its end.
#pragma once

#include <functional>

namespace gemel::tools {

// Runs `work` in a child process and returns what it returned, or throws Failure with what it
// failed with. SIGTERM and SIGINT are passed on to it, the first time; the second time they kill.
// Whatever else ends one of the two ends the other one. Call it before any thread starts.
int run_overseen(const std::function<int()>& work);

}  // namespace gemel::tools
