// SPDX-License-Identifier: Apache-2.0
//
// A small member at "/m" with something in every structure, and a check of what damage did to it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "blockdev/inject.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {

class DamageWorld : public ::testing::Test {
protected:
    explicit DamageWorld(Layout layout = small_layout()) : layout_(layout) {}

    void SetUp() override {
        add_quick_member(world_, "/m", layout_, fixed_configuration(2), 0);
        open();
    }
    void TearDown() override {
        if (member_) close();
    }

    void open() {
        auto opened = open_member(world_, "/m", pool_);
        CHECK(opened.ok());
        member_ = std::move(opened).value();
    }
    void close() {
        EXPECT_TRUE(world_.run(member_->close()).ok());
        member_.reset();
    }
    void write(uint64_t block, uint32_t count = 1) {
        append_and_wait(world_, *member_, chain_.next_write(block, count));
    }
    void checkpoint() {
        const uint64_t newest = chain_.place.first_sequence - 1;
        ASSERT_TRUE(world_.run(member_->checkpoint(newest, UINT64_MAX, 32)).ok());
        chain_.place.stable_point = newest;
    }
    // Data in three pages, a zero page, two batches in the log; nobody has it open afterwards.
    void fill() {
        write(0, 10);
        write(700);
        write(1030, 4);
        append_and_wait(world_, *member_, chain_.next({{EntryKind::trim, 1536, 512, nullptr}}));
        checkpoint();
        write(4, 2);
        write(2047);
        close();
    }
    // The blocks of home that hold data after fill().
    static std::vector<uint64_t> filled_blocks() {
        return {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 700, 1030, 1031, 1032, 1033};
    }

    static InjectOptions options(std::optional<Structure> into, DamageKind kind, uint64_t count = 1,
                                 uint64_t seed = 1) {
        InjectOptions options;
        options.into = into;
        options.kind = kind;
        options.count = count;
        options.seed = seed;
        return options;
    }
    Outcome<Injection> inject(const InjectOptions& options, const std::string& path = "/m") {
        return world_.run(inject_damage(*world_.env, path, options));
    }
    std::string problem(const InjectOptions& options, const std::string& path = "/m") {
        const Outcome<Injection> outcome = inject(options, path);
        return outcome.ok() ? "" : outcome.error().text;
    }

    std::vector<std::byte> snapshot() { return world_.platter("/m", 0, layout_.member_size()); }
    void restore(const std::vector<std::byte>& bytes) {
        world_.drive("/m").platter().tamper(0, bytes);
    }

    // Every byte that differs is one that a damage lists; and each of those lists changed some.
    void expect_only(const std::vector<std::byte>& before, const Injection& injection) {
        std::vector<std::byte> after = snapshot();
        const auto undo = [&](uint64_t offset, uint64_t length) {
            ASSERT_LE(offset + length, after.size());
            const std::byte* was = before.data() + offset;
            EXPECT_NE(std::memcmp(after.data() + offset, was, length), 0) << offset;
            std::memcpy(after.data() + offset, was, length);
        };
        for (const Damage& damage : injection.damages) {
            EXPECT_GE(damage.offset, damage.place.offset);
            EXPECT_LE(damage.offset + damage.length, damage.place.offset + kBlockSize);
            undo(damage.offset, damage.length);
            if (damage.partner) undo(damage.partner->offset, kBlockSize);
        }
        EXPECT_TRUE(after == before);
    }

    const Layout layout_;
    StoreWorld world_;
    BufferPool pool_{0};
    ChainMaker chain_{fixed_configuration(2).epoch};
    std::unique_ptr<LocalMember> member_;
};

inline constexpr Structure kAllStructures[] = {
    Structure::data, Structure::checksum, Structure::index, Structure::log, Structure::superblock};

}  // namespace gemel::blockdev
