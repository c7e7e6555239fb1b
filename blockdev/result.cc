// SPDX-License-Identifier: Apache-2.0
#include "blockdev/result.h"

#include <cerrno>
#include <cstring>

namespace gemel {

const char* name(Errc code) {
    switch (code) {
        case Errc::invalid: return "invalid";
        case Errc::not_found: return "not found";
        case Errc::exists: return "exists";
        case Errc::no_space: return "no space";
        case Errc::io: return "I/O error";
        case Errc::corrupt: return "corrupt";
        case Errc::stale: return "stale";
        case Errc::busy: return "busy";
        case Errc::closed: return "closed";
        case Errc::timed_out: return "timed out";
        case Errc::unsupported: return "unsupported";
        case Errc::read_only: return "read-only";
        case Errc::permission: return "permission denied";
    }
    return "unknown";
}

std::string Error::text() const {
    std::string out = where;
    out += out.empty() ? "" : ": ";
    out += os_errno != 0 ? std::strerror(os_errno) : name(code);
    return out;
}

Error error_from_errno(int os_errno, const char* where) {
    switch (os_errno) {
        case EINVAL: return {Errc::invalid, os_errno, where};
        case ENOENT:
        case ENXIO:
        case ENODEV: return {Errc::not_found, os_errno, where};
        case EEXIST: return {Errc::exists, os_errno, where};
        case ENOSPC:
        case EDQUOT:
        case EFBIG: return {Errc::no_space, os_errno, where};
        case EBUSY:
        case ETXTBSY:
        case EADDRINUSE: return {Errc::busy, os_errno, where};
        case EPIPE:
        case ECONNRESET:
        case ECONNREFUSED:
        case ECANCELED: return {Errc::closed, os_errno, where};
        case ETIMEDOUT: return {Errc::timed_out, os_errno, where};
        case EOPNOTSUPP:
        case ENOSYS: return {Errc::unsupported, os_errno, where};
        case EROFS: return {Errc::read_only, os_errno, where};
        case EACCES:
        case EPERM: return {Errc::permission, os_errno, where};
        default: return {Errc::io, os_errno, where};
    }
}

}  // namespace gemel
