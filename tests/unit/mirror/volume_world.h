// SPDX-License-Identifier: Apache-2.0
//
// A small volume on simulated drives: made, opened, closed, killed and opened again.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "mirror/create.h"
#include "mirror/open.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {

class VolumeWorld {
public:
    struct Options {
        uint64_t seed = 1;
        size_t members = 2;
        uint64_t size = 5 << 20;
        uint64_t log_size = blockdev::kMinimumLogSize;
        sim::FileSystem* space = nullptr;
        bool open = true;
    };
    VolumeWorld() : VolumeWorld(Options{}) {}
    explicit VolumeWorld(Options options) : store(options.seed) {
        CreateOptions create;
        create.name = "vol";
        create.size = options.size;
        create.log_size = options.log_size;
        create.witness_path = "/witness";
        for (size_t i = 0; i < options.members; ++i) {
            create.members.push_back(path(i));
            if (options.space == nullptr) continue;
            store.world.add_drive({.path = path(i), .file_system = options.space});
        }
        auto created = store.run(create_volume(*store.env, create));
        CHECK(created.ok());
        description = created.value();
        if (options.open) open();
    }
    ~VolumeWorld() {
        if (volume) static_cast<void>(close());
    }
    static std::string path(size_t member) { return "/m" + std::to_string(member); }

    Outcome<std::unique_ptr<Volume>> try_open(OpenOptions options = {}) {
        options.cache_bytes = 1 << 20;
        options.keep = [this](const VolumeDescription& now) {
            description = now;
            return Outcome<void>();
        };
        return store.run(open_volume(*store.env, description, options));
    }
    // Only the parts; see close_parts().
    Outcome<VolumeParts> try_parts(OpenOptions options = {}) {
        options.cache_bytes = 1 << 20;
        return store.run(open_parts(*store.env, description, options));
    }
    void open(OpenOptions options = {}) {
        auto opened = try_open(options);
        ASSERT_TRUE(opened.ok()) << opened.error().text;
        volume = std::move(opened).value();
    }
    Status close(uint64_t patience_ns = 60 * kSecond) {
        const Status status = store.run(volume->close(store.world.now_ns() + patience_ns));
        volume.reset();
        return status;
    }
    // kill -9; the next process is there.
    void kill() {
        static_cast<void>(volume.release());
        store.world.kill(*store.env);
        store.restart();
    }
    void lose_power() {
        std::vector<sim::Drive*> drives;
        std::vector<std::string> paths = more_drives;
        for (const MemberDescription& member : description.members) paths.push_back(member.path);
        std::sort(paths.begin(), paths.end());
        paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
        for (const std::string& name : paths) {
            if (sim::Drive* drive = store.world.find_drive(name)) drives.push_back(drive);
        }
        static_cast<void>(volume.release());
        store.world.lose_power(0, drives);
        store.restart();
    }
    sim::Drive& drive(size_t member) { return store.drive(path(member)); }

    Status write(uint64_t offset, std::span<const std::byte> data, WriteOptions options = {}) {
        return store.run(volume->write(offset, data, options));
    }
    Status fill(uint64_t offset, uint64_t length, uint8_t value, WriteOptions options = {}) {
        const std::vector<std::byte> data(length, static_cast<std::byte>(value));
        return write(offset, data, options);
    }
    Status trim(uint64_t offset, uint64_t length) {
        return store.run(volume->trim(offset, length, {}));
    }
    Status zero(uint64_t offset, uint64_t length, ZeroOptions options = {}) {
        return store.run(volume->write_zeroes(offset, length, options));
    }
    Status flush() { return store.run(volume->flush()); }
    Status drain() { return store.run(volume->drain(store.world.now_ns() + 60 * kSecond)); }
    Result<std::vector<std::byte>> read(uint64_t offset, uint64_t length) {
        const AlignedBytes data = allocate_aligned(std::max<uint64_t>(length, 1));
        std::memset(data.get(), 0xee, length);
        const Status status = store.run(volume->read(offset, {data.get(), length}));
        if (!status.ok()) return status.error();
        return std::vector<std::byte>(data.get(), data.get() + length);
    }
    // The one value that all bytes of the range have; -1 if they differ, -2 if they cannot be read.
    int value_of(uint64_t offset, uint64_t length) {
        const auto data = read(offset, length);
        if (!data.ok()) return -2;
        for (const std::byte byte : data.value()) {
            if (byte != data.value()[0]) return -1;
        }
        return std::to_integer<int>(data.value()[0]);
    }
    uint64_t home(size_t member, uint64_t block) {
        blockdev::Superblock superblock;
        const auto bytes = store.platter(path(member), 0, blockdev::kSuperblockSize);
        std::memcpy(static_cast<void*>(&superblock), bytes.data(), bytes.size());
        return blockdev::layout_of(superblock).home(block);
    }
    void damage_home(size_t member, uint64_t block) {
        auto bytes = store.platter(path(member), home(member, block), 512);
        bytes[17] ^= std::byte{8};
        drive(member).platter().tamper(home(member, block), bytes);
    }

    blockdev::StoreWorld store;
    VolumeDescription description;
    std::vector<std::string> more_drives;  // That lose power, too, if they exist.
    std::unique_ptr<Volume> volume;
};

}  // namespace gemel::mirror
