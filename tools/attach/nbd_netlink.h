// SPDX-License-Identifier: Apache-2.0
//
// The kernel's NBD client, steered by generic netlink.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "blockdev/result.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {

class NbdNetlink {
public:
    struct Plan {
        int socket;  // In the transmission phase. The kernel takes a reference of its own.
        uint64_t size;
        uint64_t block_size;
        uint64_t server_flags;
        uint64_t
            request_timeout_s;    // After that an unanswered request goes to the next connection.
        uint64_t dead_timeout_s;  // How long requests wait for the next connection.
        std::string identifier;   // Shown in /sys/block/nbdN/backend.
    };

    // Fails where the kernel has no nbd.
    static Outcome<NbdNetlink> open();

    // Makes a free device of an open connection; returns its number.
    Outcome<uint32_t> connect(const Plan& plan);
    // Replaces a dead connection. Errc::no_space: the kernel does not think it dead yet.
    Outcome<void> reconnect(uint32_t index, int socket, const std::string& identifier);
    // Fails what is unanswered and lets go of the device.
    Outcome<void> disconnect(uint32_t index);

private:
    class Message;
    NbdNetlink(FileDescriptor socket, uint16_t family)
        : socket_(std::move(socket)), family_(family) {}

    static Outcome<uint16_t> find_family(int socket);
    // Sends a message and waits for the kernel's verdict. A number found in the answer's attribute
    // `wanted` is returned, else 0.
    static Outcome<uint32_t> ask(int socket, Message& message, uint16_t wanted);

    FileDescriptor socket_;
    uint16_t family_;
};

}  // namespace gemel::tools
