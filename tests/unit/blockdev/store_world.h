// SPDX-License-Identifier: Apache-2.0
//
// A simulated world with one process in it, small members to try the member store on, and fixed
// inputs whose bytes are the same in every run.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/batch.h"
#include "blockdev/format_member.h"
#include "blockdev/layout.h"
#include "blockdev/local_member.h"
#include "blockdev/superblock.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_world.h"

namespace gemel::blockdev {

inline Uuid fixed_uuid(uint8_t first) {
    Uuid uuid;
    for (size_t i = 0; i < uuid.bytes.size(); ++i) {
        uuid.bytes[i] = static_cast<uint8_t>(first + i);
    }
    return uuid;
}

inline ecc::VolumeSecret fixed_secret() {
    ecc::VolumeSecret secret;
    for (size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<std::byte>(0x40 + i);
    return secret;
}

inline std::string hex(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte value : bytes) {
        for (const int shift : {4, 0}) {
            text += "0123456789abcdef"[(std::to_integer<int>(value) >> shift) & 15];
        }
    }
    return text;
}

// Blocks that differ from each other and from those of any other tag.
inline AlignedBytes tagged_blocks(uint64_t tag, size_t count) {
    AlignedBytes data = allocate_aligned(count * kBlockSize);
    for (size_t i = 0; i < count; ++i) {
        const uint64_t words[2] = {tag, i};
        std::memset(data.get() + i * kBlockSize, static_cast<int>(tag % 251 + 1), kBlockSize);
        std::memcpy(data.get() + i * kBlockSize, words, sizeof words);
    }
    return data;
}

inline Layout small_layout(uint64_t volume_size = 8 * kMiB) {
    Layout layout = make_layout(volume_size, 4 * volume_size, kMinimumLogSize);
    layout.log_limit = 64 << 10;
    return layout;
}

inline ConfigurationRecord fixed_configuration(size_t members) {
    ConfigurationRecord configuration{};
    configuration.epoch.number = 1;
    configuration.epoch.id = fixed_uuid(0xe0);
    configuration.epoch.first_sequence = 1;
    configuration.version = 1;
    configuration.member_count = static_cast<uint32_t>(members);
    configuration.volume_size = small_layout().volume_size;
    for (size_t i = 0; i < members; ++i) {
        configuration.members[i].uuid = fixed_uuid(static_cast<uint8_t>(0x10 * (i + 1)));
    }
    return configuration;
}

class StoreWorld {
public:
    explicit StoreWorld(uint64_t seed = 1) : world({.seed = seed}) { restart(); }
    // The tasks of a killed process never end: its scope stays behind.
    ~StoreWorld() {
        EXPECT_EQ(world.first_violation(), "");
        if (env->alive()) delete scope_;
    }

    // The next process; the one before has been killed, or has nothing to do any more.
    void restart() {
        env = &world.start_process();
        scope_ = new Scope(*env);
    }

    void start(Task<void> task) { scope_->start(std::move(task)); }
    // Runs until everything started has ended; false if it never will.
    bool finish() {
        Scope* scope = scope_;
        return world.run_until([scope] { return scope->running() == 0; }, world.now_ns() + kLong);
    }

    // What `task` gives; nothing if its process dies first.
    template <typename T>
    std::optional<T> try_run(Task<T> task) {
        auto* result = new std::optional<T>;
        scope_->start(keep(std::move(task), result));
        const sim::SimEnv* process = env;
        const bool ended =
            world.run_until([result, process] { return result->has_value() || !process->alive(); },
                            world.now_ns() + kLong);
        EXPECT_EQ(world.first_violation(), "");
        CHECK(ended);
        std::optional<T> value = std::move(*result);
        if (process->alive()) delete result;
        return value;
    }
    template <typename T>
    T run(Task<T> task) {
        std::optional<T> value = try_run(std::move(task));
        CHECK(value.has_value());
        return std::move(*value);
    }

    std::unique_ptr<Disk> open_disk(const std::string& path) {
        auto opened = env->open_disk(path, DiskOptions{});
        CHECK(opened.ok());
        return std::move(opened).value();
    }
    sim::Drive& drive(const std::string& path) { return *world.find_drive(path); }
    std::vector<std::byte> platter(const std::string& path, uint64_t offset, size_t length) {
        std::vector<std::byte> bytes(length);
        drive(path).platter().read(offset, bytes);
        return bytes;
    }

    static constexpr uint64_t kLong = 3600 * kSecond;

    sim::SimWorld world;
    sim::SimEnv* env = nullptr;

private:
    template <typename T>
    static Task<void> keep(Task<T> task, std::optional<T>* result) {
        T value = co_await std::move(task);
        result->emplace(std::move(value));
    }

    Scope* scope_ = nullptr;
};

// The plain verbs of a disk as tasks. The memory is aligned and stays.
inline Task<Status> write_disk(Disk& disk, uint64_t offset, std::span<const std::byte> data) {
    co_return co_await disk.write(offset, data);
}
inline Task<Status> read_disk(Disk& disk, uint64_t offset, std::span<std::byte> data) {
    co_return co_await disk.read(offset, data);
}
inline Task<Status> sync_disk(Disk& disk) { co_return co_await disk.sync(); }

inline MemberIdentity fixed_identity(const ConfigurationRecord& configuration, size_t index) {
    MemberIdentity identity;
    identity.member = configuration.members[index].uuid;
    identity.volume = fixed_uuid(0xa0);
    identity.name = "vol";
    identity.secret = fixed_secret();
    identity.created_s = 1'700'000'000;
    return identity;
}

// Formats `path` as member `index` of `configuration`.
inline Task<Status> format_member(Env& env, std::string path, Layout layout,
                                  ConfigurationRecord configuration, size_t index) {
    Outcome<NewMember> member = co_await open_new_member(env, path, false);
    if (!member.ok()) co_return Error{member.error().code, 0, "open_new_member"};
    Disk& disk = *member.value().disk;
    const Status prepared = co_await prepare_member(env, disk, layout, false);
    if (!prepared.ok()) co_return prepared;
    configuration.volume_size = layout.volume_size;
    co_return co_await finish_member(env, disk, layout, fixed_identity(configuration, index),
                                     configuration);
}

inline Task<Status> finish_member_on(Env& env, Disk& disk, Layout layout,
                                     ConfigurationRecord configuration, size_t index) {
    configuration.volume_size = layout.volume_size;
    co_return co_await finish_member(env, disk, layout, fixed_identity(configuration, index),
                                     configuration);
}

// The same without writing the ring: on a new drive it reads as zeros anyway. For the many runs of
// a crash test.
inline void add_quick_member(StoreWorld& world, const std::string& path, const Layout& layout,
                             const ConfigurationRecord& configuration, size_t index,
                             sim::FileSystem* space = nullptr) {
    world.world.add_drive({.path = path, .size = layout.member_size(), .file_system = space});
    const auto disk = world.open_disk(path);
    CHECK(world.run(finish_member_on(*world.env, *disk, layout, configuration, index)).ok());
}

// Opened and claimed, as by whoever is going to serve it.
inline Outcome<std::unique_ptr<LocalMember>> open_member(StoreWorld& world, const std::string& path,
                                                         BufferPool& pool) {
    auto opened = world.run(LocalMember::open(*world.env, path, 1 << 20, pool));
    if (opened.ok()) CHECK(world.run(opened.value()->claim()).ok());
    return opened;
}

// Makes the batches of one epoch, each chained to the one before.
class ChainMaker {
public:
    ChainMaker() : ChainMaker(fixed_configuration(1).epoch) {}
    explicit ChainMaker(const EpochRecord& epoch) {
        place.volume = fixed_uuid(0xa0);
        place.epoch_id = epoch.id;
        place.first_sequence = epoch.first_sequence;
        place.previous_hash = chain_start(epoch.id, epoch.previous_hash);
    }

    BatchRef next(std::vector<BatchWrite> writes) {
        BatchRef batch = Batch::encode(pool, hasher, place, writes);
        place.first_sequence = batch->last_sequence() + 1;
        place.previous_hash = batch->hash();
        return batch;
    }
    // One write of `count` blocks that bear the batch's sequence number as their tag.
    BatchRef next_write(uint64_t block, uint32_t count = 1) {
        const AlignedBytes data = tagged_blocks(place.first_sequence, count);
        return next({{EntryKind::write, block, count, data.get()}});
    }

    BufferPool pool{0};
    ecc::BlockHasher hasher{fixed_secret()};
    BatchPlace place;
};

// Appends batches to a member, and remembers what became of each.
class Appender {
public:
    explicit Appender(Member& member) : member_(member) {}

    AppendRequest& append(BatchRef batch) {
        auto& request = *requests_.emplace_back(std::make_unique<AppendRequest>());
        request.batch = std::move(batch);
        request.status = Error{Errc::timed_out, 0, "not answered"};
        request.done.context = this;
        request.done.run = [](void* self) { ++static_cast<Appender*>(self)->answered_; };
        member_.append(request);
        return request;
    }
    bool all_answered() const { return answered_ == requests_.size(); }

private:
    Member& member_;
    size_t answered_ = 0;
    std::vector<std::unique_ptr<AppendRequest>> requests_;
};

inline void append_and_wait(StoreWorld& world, Member& member, BatchRef batch) {
    Appender appender(member);
    AppendRequest& request = appender.append(std::move(batch));
    const auto answered = [&appender] { return appender.all_answered(); };
    ASSERT_TRUE(world.world.run_until(answered, world.world.now_ns() + StoreWorld::kLong));
    ASSERT_TRUE(request.status.ok());
}

}  // namespace gemel::blockdev
