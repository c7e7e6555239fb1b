// SPDX-License-Identifier: Apache-2.0
//
// The handshake's state machine: whatever comes in, it stays within its bounds, answers in whole
// option replies, and does the same however the bytes are cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "blockdev/assert.h"
#include "net/nbd_handshake.h"

namespace {

using namespace gemel;
using namespace gemel::net;

struct Ending {
    NbdHandshake::Phase phase;
    std::vector<std::byte> output;
    size_t consumed;
    bool operator==(const Ending&) const = default;
};

// Feeds `input` as if at most `step` bytes arrived at a time.
Ending feed(const NbdExport& exported, std::span<const std::byte> input, size_t step, bool newest) {
    NbdHandshake handshake(exported);
    std::vector<std::byte> output;
    size_t begin = 0;
    size_t end = 0;
    while (true) {
        const size_t taken = handshake.consume(input.subspan(begin, end - begin));
        CHECK(taken <= end - begin);
        begin += taken;
        if (handshake.phase() == NbdHandshake::Phase::announced) {
            CHECK(handshake.consume(input.subspan(begin)) == 0);
            handshake.answer_announcement(newest);
        }
        output.insert(output.end(), handshake.output().begin(), handshake.output().end());
        handshake.output().clear();
        if (handshake.ended()) break;
        if (taken != 0) continue;
        // Never does it ask for more than one option of the greatest length.
        CHECK(end - begin < NbdHandshake::kOptionBytesMax + sizeof(nbd::OptionHeader));
        if (end == input.size()) break;
        end = std::min(input.size(), end + step);
    }
    return {handshake.phase(), std::move(output), begin};
}

// Every answer but the last, which may be one to NBD_OPT_EXPORT_NAME, is an option reply.
void check_output(std::span<const std::byte> output) {
    CHECK(output.size() >= sizeof(nbd::Greeting));
    output = output.subspan(sizeof(nbd::Greeting));
    while (output.size() >= sizeof(nbd::OptionReplyHeader)) {
        nbd::OptionReplyHeader header;
        std::memcpy(&header, output.data(), sizeof header);
        if (header.magic != nbd::kOptionReplyMagic) break;
        CHECK(header.length <= output.size() - sizeof header);
        output = output.subspan(sizeof header + header.length);
    }
    const size_t old_reply = sizeof(nbd::ExportNameReply);
    CHECK(output.empty() || output.size() == old_reply ||
          output.size() == old_reply + nbd::kExportNamePadding);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    NbdExport exported{"vol", "a volume", {}};
    exported.geometry.size = 1 << 20;
    exported.geometry.read_only = (data[0] & 128) != 0;
    const bool newest = (data[0] & 64) == 0;
    const auto input = std::as_bytes(std::span(data + 1, size - 1));
    const Ending whole = feed(exported, input, size, newest);
    check_output(whole.output);
    CHECK(feed(exported, input, data[0] % 64 + 1, newest) == whole);
    (void)parse_info_request(input);
    const auto query = parse_meta_query(input);
    if (query.ok()) CHECK(query.value().queries.size() * 4 <= input.size());
    return 0;
}
