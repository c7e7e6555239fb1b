// SPDX-License-Identifier: Apache-2.0
//
// Time is a chain of nodes, one for each moment at which something was submitted or acknowledged:
// an event leads to the moment of its acknowledgement, moments lead to later ones, and a moment
// leads to what was submitted at it. So the order in time needs a number of edges that is linear
// in the number of events instead of one edge for each pair.
#include "tests/system/crash_order.h"

#include <algorithm>

namespace gemel::crash {
namespace {

constexpr size_t kNotSeen = SIZE_MAX;  // The edge comes from time, not from an observation.

struct Edge {
    size_t target;
    size_t precedence;
};

class Graph {
public:
    Graph(const std::vector<Event>& events, const std::vector<Precedence>& seen) {
        for (const Event& event : events) {
            moments_.push_back(event.submitted);
            if (event.acknowledged != UINT64_MAX) moments_.push_back(event.acknowledged);
        }
        std::sort(moments_.begin(), moments_.end());
        moments_.erase(std::unique(moments_.begin(), moments_.end()), moments_.end());
        first_moment_ = events.size();
        edges_.resize(events.size() + moments_.size());
        for (size_t i = 0; i + 1 < moments_.size(); ++i) {
            edges_[first_moment_ + i].push_back({first_moment_ + i + 1, kNotSeen});
        }
        for (size_t i = 0; i < events.size(); ++i) {
            edges_[node_at(events[i].submitted)].push_back({i, kNotSeen});
            if (events[i].acknowledged != UINT64_MAX) {
                edges_[i].push_back({node_at(events[i].acknowledged), kNotSeen});
            }
        }
        for (size_t i = 0; i < seen.size(); ++i) {
            edges_[seen[i].earlier].push_back({seen[i].later, i});
        }
    }

    // A depth-first walk without recursion; returns the edges of the first cycle met.
    std::vector<Edge> find_cycle() {
        state_.assign(edges_.size(), State::unseen);
        for (size_t root = 0; root < edges_.size(); ++root) {
            if (state_[root] != State::unseen) continue;
            std::vector<Edge> cycle = walk(root);
            if (!cycle.empty()) return cycle;
        }
        return {};
    }

private:
    enum class State : uint8_t { unseen, on_path, done };
    struct Step {
        size_t node;
        size_t next_edge;
    };

    size_t node_at(uint64_t moment) const {
        const auto found = std::lower_bound(moments_.begin(), moments_.end(), moment);
        return first_moment_ + static_cast<size_t>(found - moments_.begin());
    }

    std::vector<Edge> walk(size_t root) {
        std::vector<Step> path{{root, 0}};
        std::vector<Edge> taken;
        state_[root] = State::on_path;
        while (!path.empty()) {
            Step& top = path.back();
            if (top.next_edge == edges_[top.node].size()) {
                state_[top.node] = State::done;
                path.pop_back();
                if (!taken.empty()) taken.pop_back();
                continue;
            }
            const Edge edge = edges_[top.node][top.next_edge++];
            if (state_[edge.target] == State::done) continue;
            taken.push_back(edge);
            if (state_[edge.target] == State::on_path) {
                size_t first = 0;
                while (path[first].node != edge.target) ++first;
                return {taken.begin() + static_cast<ptrdiff_t>(first), taken.end()};
            }
            state_[edge.target] = State::on_path;
            path.push_back({edge.target, 0});
        }
        return {};
    }

    std::vector<uint64_t> moments_;
    size_t first_moment_ = 0;
    std::vector<std::vector<Edge>> edges_;
    std::vector<State> state_;
};

}  // namespace

std::vector<Precedence> find_contradiction(const std::vector<Event>& events,
                                           const std::vector<Precedence>& seen) {
    std::vector<Precedence> result;
    for (const Edge& edge : Graph(events, seen).find_cycle()) {
        if (edge.precedence != kNotSeen) result.push_back(seen[edge.precedence]);
    }
    return result;
}

}  // namespace gemel::crash
