// SPDX-License-Identifier: Apache-2.0
//
// A FUSE file system of one file, whose bytes are those of an NBD export. Nothing is cached: each
// request of the kernel becomes one request to the server and is answered with the server's
// answer. One thread, many requests in flight.
#pragma once

#include <memory>
#include <string>

#include "blockdev/result.h"
#include "tools/attach/nbd_session.h"

struct fuse_session;

namespace gemel::tools {

inline constexpr char kFuseFileName[] = "device";
// The kernel's limit for one FUSE request, unless an administrator raised it.
inline constexpr uint32_t kFuseRequestBytesMax = 1u << 20;
// A loop device has 128 requests in flight, of which FUSE may cut each in two.
inline constexpr uint32_t kFuseRequestsMax = 256;
// Payload of writes up to this size is copied into memory that each request has of its own...
inline constexpr uint32_t kSmallWriteBytesMax = 64u << 10;
// ...and larger payload stays in the buffer it was received in. No free buffer, no further request.
inline constexpr uint32_t kReceiveBuffers = 24;

class FuseDevice {
public:
    // All memory is taken here. `session` outlives the device.
    FuseDevice(const NbdExport& exported, NbdSession& session, DaemonLog& log);
    ~FuseDevice();

    // Mounts at an existing folder; the file system answers once receive() is called.
    Outcome<void> mount(const std::string& mount_point);

    // What to poll for reading, while ready().
    int descriptor() const;
    // There is memory for one more request.
    bool ready() const;
    // Takes what the kernel has for us, at most some dozen requests. False: unmounted.
    bool receive();
    // The file was opened once and is closed again: whoever used it has gone.
    bool abandoned() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace gemel::tools
