// SPDX-License-Identifier: Apache-2.0
//
// Older versions put back: alone, and together with the structures above them.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "blockdev/recording.h"
#include "tests/unit/blockdev/damage_world.h"

namespace gemel::blockdev {
namespace {

using testing::HasSubstr;

class InjectStaleTest : public DamageWorld {
protected:
    void SetUp() override {
        DamageWorld::SetUp();
        write(0, 10);
        write(700);
        checkpoint();
        write(20, 3);
        ASSERT_TRUE(world_.run(record_member(*world_.env, "/m", "/r")).ok());
        then_ = snapshot();
    }
    static InjectOptions stale(std::optional<Structure> into, uint64_t count = 1,
                               uint64_t seed = 1) {
        InjectOptions result = options(into, DamageKind::stale, count, seed);
        result.recording = "/r";
        return result;
    }
    // After it, blocks 2, 3 and 20 to 22 differ, both slots of page 0, and the log.
    void go_on() {
        write(2, 2);
        checkpoint();
        write(3);
        checkpoint();
        write(5);
        close();
    }
    void expect_put_back(const Injection& injection) {
        for (const Damage& damage : injection.damages) {
            EXPECT_EQ(damage.length, kBlockSize);
            const std::vector<std::byte> now = world_.platter("/m", damage.offset, kBlockSize);
            EXPECT_EQ(std::memcmp(now.data(), then_.data() + damage.offset, kBlockSize), 0);
        }
    }

    std::vector<std::byte> then_;
};

TEST_F(InjectStaleTest, PutsBackWhatHasChangedSince) {
    go_on();
    const std::vector<std::byte> before = snapshot();
    for (const Structure structure : kAllStructures) {
        SCOPED_TRACE(name(structure));
        const auto injected = inject(stale(structure, 100));
        ASSERT_TRUE(injected.ok()) << injected.error().text;
        expect_put_back(injected.value());
        expect_only(before, injected.value());
        std::multiset<uint64_t> numbers;
        for (const Damage& damage : injected.value().damages) numbers.insert(damage.place.number);
        switch (structure) {
            case Structure::data:
                EXPECT_EQ(numbers, (std::multiset<uint64_t>{2, 3, 20, 21, 22}));
                break;
            case Structure::checksum: EXPECT_EQ(numbers, (std::multiset<uint64_t>{0})); break;
            case Structure::index: EXPECT_EQ(numbers, (std::multiset<uint64_t>{0, 0})); break;
            case Structure::log: EXPECT_EQ(numbers, (std::multiset<uint64_t>{6, 6})); break;
            case Structure::superblock: EXPECT_EQ(numbers, (std::multiset<uint64_t>{0, 1})); break;
        }
        restore(before);
    }
}

// The structures of one event, each with how many places.
using Shape = std::map<std::string, int>;

Shape shape_of(const Injection& injection) {
    Shape shape;
    for (const Damage& damage : injection.damages) {
        std::string what = name(damage.place.structure);
        if (damage.place.level != 0) what += std::to_string(damage.place.level);
        ++shape[what];
    }
    return shape;
}

TEST_F(InjectStaleTest, IntoAnyAlsoTakesTheLayersAboveAlong) {
    go_on();
    const std::vector<std::byte> before = snapshot();
    std::set<Shape> shapes;
    for (uint64_t seed = 0; seed < 120; ++seed) {
        const auto injected = inject(stale(std::nullopt, 1, seed));
        ASSERT_TRUE(injected.ok()) << injected.error().text;
        for (const Damage& damage : injected.value().damages) EXPECT_EQ(damage.event, 1u);
        expect_put_back(injected.value());
        expect_only(before, injected.value());
        shapes.insert(shape_of(injected.value()));
        restore(before);
    }
    EXPECT_EQ(shapes, (std::set<Shape>{
                          {{"data", 1}},
                          {{"checksum", 1}},
                          {{"index1", 1}},
                          {{"index2", 1}},
                          {{"log", 1}},
                          {{"superblock", 1}},
                          {{"data", 1}, {"checksum", 2}},
                          {{"data", 1}, {"checksum", 2}, {"index1", 2}},
                          {{"data", 1}, {"checksum", 2}, {"index1", 2}, {"index2", 2}},
                      }));
}

TEST_F(InjectStaleTest, SeveralEventsNeverMeetInOnePlace) {
    go_on();
    const std::vector<std::byte> before = snapshot();
    for (uint64_t seed = 0; seed < 20; ++seed) {
        const Injection injection = inject(stale(std::nullopt, 50, seed)).value();
        std::set<uint64_t> offsets;
        uint64_t event = 1;
        for (const Damage& damage : injection.damages) {
            EXPECT_TRUE(offsets.insert(damage.offset).second);
            EXPECT_TRUE(damage.event == event || damage.event == event + 1);
            event = damage.event;
        }
        EXPECT_EQ(event, injection.events);
        expect_only(before, injection);
        restore(before);
    }
}

TEST_F(InjectStaleTest, TheSameSeedPutsBackTheSame) {
    go_on();
    const std::vector<std::byte> before = snapshot();
    ASSERT_TRUE(inject(stale(std::nullopt, 3, 9)).ok());
    const std::vector<std::byte> first = snapshot();
    restore(before);
    ASSERT_TRUE(inject(stale(std::nullopt, 3, 9)).ok());
    EXPECT_TRUE(snapshot() == first);
}

TEST_F(InjectStaleTest, ABlockDamagedSinceGoesBackAlone) {
    close();
    const std::vector<std::byte> garbage(kBlockSize, std::byte{0x77});
    world_.drive("/m").platter().tamper(layout_.home(4), garbage);
    for (uint64_t seed = 0; seed < 20; ++seed) {
        const Injection injection = inject(stale(std::nullopt, 1, seed)).value();
        // Opening and closing have not changed a superblock, nor the page above.
        ASSERT_EQ(injection.damages.size(), 1u);
        EXPECT_EQ(injection.damages[0].place.number, 4u);
        world_.drive("/m").platter().tamper(layout_.home(4), garbage);
    }
}

TEST_F(InjectStaleTest, NothingHasChanged) {
    close();
    EXPECT_THAT(problem(stale(Structure::data)), HasSubstr("nothing there differs"));
}

TEST_F(InjectStaleTest, RefusesARecordingOfAnotherMember) {
    go_on();
    add_quick_member(world_, "/other", layout_, fixed_configuration(2), 1);
    ASSERT_TRUE(world_.run(record_member(*world_.env, "/other", "/o")).ok());
    InjectOptions wrong = stale(Structure::data);
    wrong.recording = "/o";
    EXPECT_THAT(problem(wrong), HasSubstr("another member"));
    wrong.recording = "/none";
    EXPECT_THAT(problem(wrong), HasSubstr("/none"));
}

TEST_F(InjectStaleTest, ATornBlockShowsWhatWasRemembered) {
    go_on();
    const std::vector<std::byte> before = snapshot();
    InjectOptions torn = options(Structure::data, DamageKind::torn);
    torn.range = NumberRange{2, 3};
    torn.recording = "/r";
    torn.count = 2;
    const Injection injection = inject(torn).value();
    ASSERT_EQ(injection.damages.size(), 2u);
    for (const Damage& damage : injection.damages) {
        const std::vector<std::byte> now = world_.platter("/m", damage.offset, damage.length);
        EXPECT_EQ(std::memcmp(now.data(), then_.data() + damage.offset, damage.length), 0);
    }
    expect_only(before, injection);
}

// With more than one page on level 1 of the index.
class InjectIntoAWideIndex : public DamageWorld {
protected:
    InjectIntoAWideIndex() : DamageWorld(small_layout(600 * kMiB)) {}
};

TEST_F(InjectIntoAWideIndex, FindsThePagesAboveABlock) {
    const uint64_t page = kIndexEntries + 7;
    const uint64_t block_at = layout_.home(page * kPageBlocks);
    write(3);
    write(page * kPageBlocks);
    checkpoint();
    ASSERT_TRUE(world_.run(record_member(*world_.env, "/m", "/r")).ok());
    for (int i = 0; i < 2; ++i) {
        write(page * kPageBlocks);
        checkpoint();
    }
    close();
    InjectOptions stale = options(std::nullopt, DamageKind::stale);
    stale.recording = "/r";
    std::set<uint64_t> offsets;
    for (; offsets.size() != 7 && stale.seed < 100; ++stale.seed) {
        // All that a damage may have fallen on, to be as it was for the next seed.
        const std::vector<std::byte> before = world_.platter("/m", 0, layout_.home_offset);
        const std::vector<std::byte> home = world_.platter("/m", block_at, kBlockSize);
        const auto injected = inject(stale);
        ASSERT_TRUE(injected.ok()) << injected.error().text;
        offsets.clear();
        for (const Damage& damage : injected.value().damages) offsets.insert(damage.offset);
        restore(before);
        world_.drive("/m").platter().tamper(block_at, home);
    }
    EXPECT_EQ(offsets,
              (std::set<uint64_t>{block_at, layout_.checksum_page_offset(page, 0),
                                  layout_.checksum_page_offset(page, 1),
                                  layout_.index_page_offset(1, 0), layout_.index_page_offset(1, 1),
                                  layout_.root_page_offset(0, 0), layout_.root_page_offset(0, 1)}));
}

TEST_F(InjectIntoAWideIndex, SwapsPagesOfTheIndex) {
    write(3);
    write((kIndexEntries + 7) * kPageBlocks);
    checkpoint();
    close();
    InjectOptions swap = options(Structure::index, DamageKind::swap);
    swap.range = NumberRange{0, 1};
    const Injection injection = inject(swap).value();
    ASSERT_EQ(injection.damages.size(), 1u);
    const uint64_t one = injection.damages[0].offset;
    const uint64_t other = injection.damages[0].partner->offset;
    EXPECT_EQ(
        (std::set<uint64_t>{one, other}),
        (std::set<uint64_t>{layout_.index_page_offset(0, 0), layout_.index_page_offset(1, 0)}));
    // The first is level 1's page 0 where page 1 is looked for, and the other way round.
    const std::vector<std::byte> bytes =
        world_.platter("/m", layout_.index_page_offset(1, 0), kBlockSize);
    EXPECT_EQ(reinterpret_cast<const IndexPage*>(bytes.data())->number, 0u);
}

}  // namespace
}  // namespace gemel::blockdev
