// SPDX-License-Identifier: Apache-2.0
//
// BackgroundPace: what resync and scrub of a volume ask before each piece of work, and what every
// request of a client tells. Alone with the disks they go as fast as these allow; beside clients as
// fast as the clients' p99 latency permits: see PaceController.
#pragma once

#include <cstdint>

#include "blockdev/env.h"
#include "mirror/pace_controller.h"

namespace gemel::mirror {

class BackgroundPace {
public:
    explicit BackgroundPace(Env& env) : env_(env) {}

    // Lives as long as a client's request does.
    class Request {
    public:
        explicit Request(BackgroundPace& pace)
            : pace_(pace), counts_(pace.begin_request()), pieces_begun_(pace.pieces_begun_) {
            if (!counts_) return;
            began_ns_ = pace_.env_.now_ns();
            calm_ = pace_.pieces_in_flight_ == 0;
        }
        ~Request() {
            if (counts_)
                pace_.end_request(began_ns_, calm_ && pieces_begun_ == pace_.pieces_begun_);
        }
        Request(const Request&) = delete;
        Request& operator=(const Request&) = delete;

    private:
        BackgroundPace& pace_;
        bool counts_;
        bool calm_ = false;
        uint64_t pieces_begun_;
        uint64_t began_ns_ = 0;
    };

    // Lives as long as the devices work on a piece of background work.
    class Piece {
    public:
        explicit Piece(BackgroundPace& pace) : pace_(pace), began_ns_(pace.env_.now_ns()) {
            pace_.under_way_ = true;
            ++pace_.pieces_begun_;
            ++pace_.pieces_in_flight_;
        }
        ~Piece() {
            --pace_.pieces_in_flight_;
            pace_.last_piece_ns_ = pace_.env_.now_ns();
        }
        Piece(const Piece&) = delete;
        Piece& operator=(const Piece&) = delete;
        uint64_t took_ns() const { return pace_.env_.now_ns() - began_ns_; }

    private:
        BackgroundPace& pace_;
        uint64_t began_ns_;
    };

    // Looked at again before each piece.
    PaceStep step();
    // How long to rest after a piece that took `work_ns`.
    uint64_t rest_ns(uint64_t work_ns);

    void set_factor(double factor) { controller_.set_factor(factor); }
    double factor() const { return controller_.factor(); }
    // For people: how far up the ladder it is, and what clients have without it.
    size_t step_number() const { return controller_.step(); }
    uint64_t calm_p99_ns() const { return controller_.calm_p99_ns(); }
    bool clients_are_there();

    static constexpr uint64_t kQuiet_ns = kSecond / 2;  // Clients are there until so long after
                                                        // their last request.
    static constexpr uint64_t kRestMax_ns = 100 * kMillisecond;

private:
    // Whether this one is looked at: all while there is background work, else some.
    bool begin_request() {
        ++requests_;
        return is_running() || requests_ % kSampled == 0;
    }
    void end_request(uint64_t began_ns, bool calm);
    bool is_running() const { return pieces_in_flight_ != 0 || under_way_; }
    void note_presence(uint64_t now_ns);

    static constexpr uint64_t kSampled = 8;
    // A step without rests is interrupted, to see what clients have without it.
    static constexpr uint64_t kLookEvery_ns = kSecond;
    static constexpr uint64_t kLook_ns = 50 * kMillisecond;
    static constexpr uint64_t kOver_ns = 3 * kRestMax_ns;  // Without a piece: it was the last one.

    Env& env_;
    PaceController controller_;
    uint64_t requests_ = 0;
    uint64_t requests_seen_ = 0;
    uint64_t seen_ns_ = 0;
    uint64_t looked_ns_ = 0;
    bool there_ = false;
    bool under_way_ = false;
    uint64_t pieces_begun_ = 0;
    size_t pieces_in_flight_ = 0;
    uint64_t last_piece_ns_ = 0;
    uint64_t next_look_ns_ = 0;
    uint64_t look_until_ns_ = 0;
};

}  // namespace gemel::mirror
