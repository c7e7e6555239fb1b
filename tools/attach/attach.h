// SPDX-License-Identifier: Apache-2.0
//
// `gemel attach` and `gemel detach`: an NBD export becomes a block device of this kernel, and goes
// away again. README.md in this folder tells how.
#pragma once

#include <chrono>
#include <string>

namespace gemel::tools {

struct AttachOptions {
    std::string uri;  // An NBD URI: nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH.
    std::string as = "auto";  // auto, nbd, or fuse.
    // How long requests wait for a server that has gone away before they fail with EIO.
    std::chrono::milliseconds timeout{60'000};
};

struct DetachOptions {
    std::string device;  // As printed by attach.
};

// Both print one clear line on standard error and leave nothing behind when they fail. They return
// the exit code: 0 done, 1 failed, 2 wrong usage. The caller must not have started threads: attach
// forks its daemon. On success attach has printed the block device on standard output.
int run_attach(const AttachOptions& options);
int run_detach(const DetachOptions& options);

}  // namespace gemel::tools
