// SPDX-License-Identifier: Apache-2.0
#include "mirror/member_search.h"

#include "blockdev/local_member.h"

namespace gemel::mirror {

using blockdev::LocalMember;
using blockdev::Member;

namespace {

struct Search {
    std::string path;
    std::unique_ptr<LocalMember> member;
    Problem problem;
};

Task<void> open_one(Env& env, size_t cache_bytes, blockdev::BufferPool& pool, uint64_t superblock_b,
                    Search& search) {
    Outcome<std::unique_ptr<LocalMember>> opened =
        co_await LocalMember::open(env, search.path, cache_bytes, pool, superblock_b);
    if (opened.ok()) {
        search.member = std::move(opened).value();
    } else {
        search.problem = opened.error();
    }
}

bool has_no_superblock(const Search& search) {
    const Errc code = search.problem.code;
    return !search.member && (code == Errc::invalid || code == Errc::corrupt);
}

}  // namespace

Task<Outcome<FoundMembers>> find_members(Env& env, VolumeDescription description,
                                         size_t cache_bytes, blockdev::BufferPool& pool) {
    std::vector<Search> searches(description.members.size());
    Scope scope(env);
    for (size_t i = 0; i < searches.size(); ++i) {
        searches[i].path = description.members[i].path;
        scope.start(open_one(env, cache_bytes, pool, 0, searches[i]));
    }
    co_await scope.join();
    // Where the beginning is lost superblock B may be whole: the others know where it must be.
    uint64_t superblock_b = 0;
    for (const Search& search : searches) {
        if (!search.member || search.member->superblock().volume != description.uuid) continue;
        superblock_b = search.member->layout().superblock_b_offset;
    }
    for (Search& search : searches) {
        if (superblock_b == 0 || !has_no_superblock(search)) continue;
        scope.start(open_one(env, cache_bytes, pool, superblock_b, search));
    }
    co_await scope.join();
    FoundMembers found;
    for (size_t i = 0; i < searches.size(); ++i) {
        Search& search = searches[i];
        const Uuid uuid = description.members[i].uuid;
        if (!search.member) {
            if (search.problem.code == Errc::busy) co_return search.problem;
            found.absent.push_back({search.path, uuid, search.problem.text});
        } else if (search.member->superblock().volume != description.uuid) {
            const blockdev::Superblock& other = search.member->superblock();
            found.absent.push_back({search.path, uuid,
                                    search.path + ": belongs to volume " + other.volume.text() +
                                        " (" + blockdev::volume_name(other) + "), not to " +
                                        description.name + "; check the paths in the volume file"});
        } else {
            found.present.push_back(std::move(search.member));
        }
    }
    co_return found;
}

std::vector<MemberEvidence> evidence_of(const std::vector<std::unique_ptr<Member>>& members) {
    std::vector<MemberEvidence> evidence;
    for (const auto& member : members) {
        evidence.push_back({member->path(), &member->superblock(), std::nullopt});
    }
    return evidence;
}

}  // namespace gemel::mirror
