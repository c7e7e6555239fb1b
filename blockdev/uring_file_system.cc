// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uring_file_system.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <iterator>

namespace gemel {

namespace {

// Those that a disk of this machine, or its memory, is all there is behind. An overlay's layers may
// be anything, but are local all but always. The numbers are of those that the header lacks.
constexpr uint64_t kLocal[] = {
    EXT4_SUPER_MAGIC,  // ext2 and ext3 as well.
    XFS_SUPER_MAGIC,   BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, NILFS_SUPER_MAGIC,
    MSDOS_SUPER_MAGIC, TMPFS_MAGIC,       RAMFS_MAGIC,      OVERLAYFS_SUPER_MAGIC,
    0xca451a4e,  // bcachefs
    0x2fc12fc1,  // ZFS
    0x3153464a,  // JFS
    0x2011bab0,  // exFAT
    0x7366746e,  // NTFS, the kernel's own
};

}  // namespace

bool file_system_may_hang(uint64_t type) {
    // The kernel's field is signed, and 32 bits wide on some machines.
    return std::find(std::begin(kLocal), std::end(kLocal), type & 0xffffffff) == std::end(kLocal);
}

bool path_may_hang(const std::string& path) {
    struct statfs info{};
    if (statfs(path.c_str(), &info) == 0) {
        return file_system_may_hang(static_cast<uint64_t>(info.f_type));
    }
    const size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    // What is not there cannot hang.
    if (statfs(folder.c_str(), &info) != 0) return false;
    return file_system_may_hang(static_cast<uint64_t>(info.f_type));
}

}  // namespace gemel
