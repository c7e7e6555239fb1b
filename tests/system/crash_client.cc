// SPDX-License-Identifier: Apache-2.0
#include "tests/system/crash_client.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>

#include <stdexcept>
#include <utility>

namespace gemel::crash {
namespace {

// What libnbd carries for us until the answer.
struct Pending {
    std::vector<Client::Completion>* ended;
    size_t tag;
};

// libnbd reports what its connection's death left unanswered as ENOTCONN, which no server sends.
int translate(int error) { return error == ENOTCONN ? Client::kUnanswered : error; }

int on_completion(void* data, int* error) {
    auto* pending = static_cast<Pending*>(data);
    pending->ended->push_back({pending->tag, translate(*error)});
    return 1;  // libnbd may forget the command.
}

void on_free(void* data) { delete static_cast<Pending*>(data); }

nbd_completion_callback completion(std::vector<Client::Completion>& ended, size_t tag) {
    return {on_completion, new Pending{&ended, tag}, on_free};
}

bool is_dead(nbd_handle* handle) {
    return nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1;
}

}  // namespace

bool Client::connect(const std::string& uri, size_t connections) {
    close();
    for (size_t i = 0; i < connections; ++i) {
        nbd_handle* handle = nbd_create();
        if (handle == nullptr) throw std::runtime_error(nbd_get_error());
        handles_.push_back(handle);
        // Gemel takes any offset and length; peers that do not say so themselves.
        nbd_set_strict_mode(handle, nbd_get_strict_mode(handle) & ~LIBNBD_STRICT_ALIGN);
        if (nbd_connect_uri(handle, uri.c_str()) == -1) {
            close();
            return false;
        }
    }
    return true;
}

void Client::close() {
    for (nbd_handle* handle : handles_) nbd_close(handle);
    handles_.clear();
    ended_.clear();
}

uint64_t Client::size() const { return static_cast<uint64_t>(nbd_get_size(handles_.front())); }

void Client::sent(size_t tag, nbd_handle* handle, int64_t cookie) {
    if (cookie != -1) return;
    if (!is_dead(handle)) throw std::runtime_error(nbd_get_error());
    ended_.push_back({tag, kUnanswered});
}

void Client::read(size_t tag, std::span<uint8_t> into, uint64_t offset) {
    nbd_handle* handle = next_handle();
    sent(tag, handle,
         nbd_aio_pread(handle, into.data(), into.size(), offset, completion(ended_, tag), 0));
}

void Client::write(size_t tag, std::span<const uint8_t> from, uint64_t offset, bool fua) {
    nbd_handle* handle = next_handle();
    sent(tag, handle,
         nbd_aio_pwrite(handle, from.data(), from.size(), offset, completion(ended_, tag),
                        fua ? LIBNBD_CMD_FLAG_FUA : 0));
}

void Client::zero(size_t tag, uint64_t offset, uint64_t length, bool no_hole) {
    nbd_handle* handle = next_handle();
    sent(tag, handle,
         nbd_aio_zero(handle, length, offset, completion(ended_, tag),
                      no_hole ? LIBNBD_CMD_FLAG_NO_HOLE : 0));
}

void Client::trim(size_t tag, uint64_t offset, uint64_t length) {
    nbd_handle* handle = next_handle();
    sent(tag, handle, nbd_aio_trim(handle, length, offset, completion(ended_, tag), 0));
}

void Client::flush(size_t tag) {
    nbd_handle* handle = next_handle();
    sent(tag, handle, nbd_aio_flush(handle, completion(ended_, tag), 0));
}

std::vector<Client::Completion> Client::poll(int timeout_ms) {
    std::vector<pollfd> fds;
    for (nbd_handle* handle : handles_) {
        pollfd entry{-1, 0, 0};
        if (!is_dead(handle)) {
            entry.fd = nbd_aio_get_fd(handle);
            const unsigned direction = nbd_aio_get_direction(handle);
            if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0) entry.events |= POLLIN;
            if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) entry.events |= POLLOUT;
        }
        fds.push_back(entry);
    }
    ::poll(fds.data(), fds.size(), ended_.empty() ? timeout_ms : 0);
    for (size_t i = 0; i < fds.size(); ++i) {
        const short got = fds[i].revents;
        // Failures show themselves as the handle's death, and as errors of its commands.
        if ((got & (POLLIN | POLLHUP | POLLERR)) != 0 && (fds[i].events & POLLIN) != 0) {
            nbd_aio_notify_read(handles_[i]);
        } else if (got != 0) {
            nbd_aio_notify_write(handles_[i]);
        }
    }
    return std::exchange(ended_, {});
}

bool Client::all_dead() const {
    for (nbd_handle* handle : handles_) {
        if (!is_dead(handle)) return false;
    }
    return true;
}

bool Client::read_now(std::span<uint8_t> into, uint64_t offset) {
    nbd_handle* handle = next_handle();
    if (nbd_pread(handle, into.data(), into.size(), offset, 0) == 0) return true;
    if (!is_dead(handle)) throw std::runtime_error(nbd_get_error());
    return false;
}

}  // namespace gemel::crash
