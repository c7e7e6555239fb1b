// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uring_file_system.h"

#include <gtest/gtest.h>

namespace gemel {
namespace {

TEST(FileSystemMayHang, NotIfItIsLocal) {
    for (const uint64_t type : {0xef53ul, 0x58465342ul, 0xf2f52010ul, 0x01021994ul}) {
        EXPECT_FALSE(file_system_may_hang(type)) << std::hex << type;
    }
    EXPECT_FALSE(file_system_may_hang(0x9123683e)) << "btrfs";
    EXPECT_FALSE(file_system_may_hang(0xffffffff9123683e)) << "where the field has 32 bits";
    EXPECT_FALSE(file_system_may_hang(0x794c7630)) << "overlay";
}

TEST(FileSystemMayHang, IfSomebodyElseAnswers) {
    EXPECT_TRUE(file_system_may_hang(0x65735546)) << "FUSE";
    EXPECT_TRUE(file_system_may_hang(0x6969)) << "NFS";
    EXPECT_TRUE(file_system_may_hang(0xff534d42)) << "CIFS";
    EXPECT_TRUE(file_system_may_hang(0xfe534d42)) << "SMB2";
    EXPECT_TRUE(file_system_may_hang(0x01021997)) << "9p";
    EXPECT_TRUE(file_system_may_hang(0x00c36400)) << "Ceph";
    EXPECT_TRUE(file_system_may_hang(0x01161970)) << "GFS2";
}

TEST(FileSystemMayHang, IfItIsNotKnown) {
    EXPECT_TRUE(file_system_may_hang(0));
    EXPECT_TRUE(file_system_may_hang(0x12345678));
}

TEST(PathMayHang, AsksTheFileSystemOfWhatIsThere) {
    EXPECT_FALSE(path_may_hang("/dev/null")) << "on a tmpfs, as all devices are";
    EXPECT_TRUE(path_may_hang("/proc/self/status")) << "not one of those known";
}

TEST(PathMayHang, AsksTheFolderOfWhatIsToBeMade) {
    EXPECT_FALSE(path_may_hang("/dev/shm/there-is-none"));
    EXPECT_TRUE(path_may_hang("/proc/there-is-none"));
    EXPECT_FALSE(path_may_hang("/there/is/none")) << "what is not there cannot hang";
}

}  // namespace
}  // namespace gemel
