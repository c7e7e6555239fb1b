// SPDX-License-Identifier: Apache-2.0
//
// gemel serve: opens the volume, listens, and ends in order on SIGTERM or SIGINT. Nothing listens
// before the volume is open: whoever reaches a socket reaches a volume that serves.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "blockdev/uring_file_system.h"
#include "mirror/open.h"
#include "net/nbd_server.h"
#include "tools/config/units.h"
#include "tools/config/volume_file.h"
#include "tools/config/volume_name.h"
#include "tools/gemel/control_server.h"
#include "tools/gemel/create_checks.h"
#include "tools/gemel/overseer.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/server_log.h"
#include "tools/gemel/verbs.h"
#include "tools/gemel/version.h"

namespace gemel::tools {

namespace {

// From the signal to the end: half for the clients' requests, the rest to bring the log home.
constexpr uint64_t kShutdownLimitNs = 10 * kSecond;
constexpr uint64_t kDrainLimitNs = kShutdownLimitNs / 2;
// A member that hangs inside the kernel can hold all of that up; then the kernel ends us.
constexpr unsigned kAlarmSeconds = 20;
static_assert(kAlarmSeconds * kSecond > kShutdownLimitNs);

// Static, since a task that waits for them outlives the call that names them.
constexpr std::initializer_list<int> kEndSignals = {SIGTERM, SIGINT};

constexpr uint64_t kCacheBytesMin = 1 << 20;

struct ServePlan {
    std::string file;
    mirror::VolumeDescription description;
    VolumePaths paths;
    std::vector<Address> addresses;
    mirror::OpenOptions open;
    bool overseen = false;  // Some member lies where the kernel may never let go of us.
};

Address parse_address(const std::string& text) {
    Outcome<Address> parsed = Address::parse(text);
    if (!parsed.ok()) throw UsageError(fmt::format("--nbd {}", parsed.error().text));
    Address address = std::move(parsed).value();
    if (!address.unix_path.empty()) {
        address.unix_path = absolute_path(address.unix_path);
        const Outcome<void> fits = check_socket_path(address.unix_path);
        if (!fits.ok()) throw UsageError(fmt::format("--nbd: {}", fits.error().text));
    }
    return address;
}

// The volume file has seen to it that no path stands there twice.
void check_members(const mirror::VolumeDescription& description) {
    std::vector<std::string> paths;
    for (const mirror::MemberDescription& member : description.members) {
        paths.push_back(member.path);
    }
    try {
        check_distinct(paths);
    } catch (const UsageError& error) {
        throw Failure(fmt::format("{}; each member once", error.what()));
    }
}

ServePlan plan_from(const ServeArguments& arguments) {
    ServePlan plan;
    for (const std::string& text : arguments.nbd_addresses) {
        const Address address = parse_address(text);
        for (const Address& other : plan.addresses) {
            // Of port 0 the system makes another one each time.
            if (other.text() != address.text() || (other.unix_path.empty() && other.port == 0)) {
                continue;
            }
            throw UsageError(fmt::format("--nbd {} is given twice", address.text()));
        }
        plan.addresses.push_back(address);
    }
    if (arguments.cache_bytes) plan.open.cache_bytes = *arguments.cache_bytes;
    if (plan.open.cache_bytes < kCacheBytesMin) throw UsageError("--cache must be at least 1M");
    plan.open.read_only = arguments.read_only;
    plan.open.force = arguments.force;
    plan.open.scrub.interval_s = arguments.scrub_every_s;
    plan.open.limits = arguments.limits;
    plan.open.limits.flush_ns = std::max(plan.open.limits.flush_ns, plan.open.limits.request_ns);
    plan.file = value_or_throw(resolve_volume_file(arguments.volume, arguments.folder));
    plan.description = value_or_throw(read_volume_file(plan.file));
    check_members(plan.description);
    plan.overseen = std::any_of(plan.description.members.begin(), plan.description.members.end(),
                                [](const auto& member) { return path_may_hang(member.path); });
    plan.paths = volume_paths(folder_of(plan.file), plan.description.name);
    value_or_throw(check_socket_path(plan.paths.control_socket));
    if (plan.addresses.empty()) {
        value_or_throw(check_socket_path(plan.paths.nbd_socket));
        plan.addresses.push_back(Address{plan.paths.nbd_socket, "", 0});
    }
    return plan;
}

// While the volume opens a signal may simply kill us: opening is as safe as a crash. Afterwards the
// first one is waited for, and the second kills again; if we are overseen the overseer sees to
// that, since some who end services send each signal to both of us.
void let_signals_kill(bool kill) {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : kEndSignals) sigaddset(&set, number);
    CHECK(pthread_sigmask(kill ? SIG_UNBLOCK : SIG_BLOCK, &set, nullptr) == 0);
}

// One open volume and everything that listens for it.
class VolumeServer {
public:
    VolumeServer(UringEnv& env, const ServePlan& plan, std::unique_ptr<mirror::Volume> volume)
        : env_(env),
          plan_(plan),
          volume_(std::move(volume)),
          nbd_(env, *volume_, plan.description.name,
               // An attachment that comes back knows its volume by the UUID.
               fmt::format("gemel {}", plan.description.uuid.text())),
          started_ns_(env.now_ns()) {}

    // Listens everywhere, or says where it cannot.
    Outcome<void> listen() {
        for (const Address& address : plan_.addresses) {
            Outcome<std::unique_ptr<Listener>> listener = env_.listen(address);
            if (!listener.ok()) return listener.error();
            addresses_.push_back(listener.value()->address().text());
            nbd_.start(std::move(listener).value());
        }
        auto control = ControlServer::start(
            env_, plan_.paths.control_socket,
            {.status = [this] { return status(); },
             .scrub = [this] { volume_->scrub(); },
             .member = [this](ControlRequest request) { return change_member(request); }});
        if (!control.ok()) return control.error();
        control_ = std::move(control).value();
        return {};
    }

    Task<std::optional<Problem>> change_member(ControlRequest request) {
        const mirror::NewMemberOrder order{request.path, request.force, request.spare};
        if (request.command == ControlCommand::member_add) {
            co_return why_not(co_await volume_->add_member(order));
        }
        const std::optional<size_t> index = volume_->find_member(request.member);
        if (!index) {
            co_return Problem{Errc::not_found, fmt::format("{} has no member {}; 'gemel status' "
                                                           "lists them",
                                                           plan_.description.name, request.member)};
        }
        switch (request.command) {
            case ControlCommand::member_online: co_return co_await volume_->bring_online(*index);
            case ControlCommand::member_remove:
                co_return co_await volume_->remove_member(*index, request.force);
            case ControlCommand::member_replace:
                co_return why_not(co_await volume_->replace_member(*index, order, request.force));
            default: co_return co_await volume_->take_offline(*index);
        }
    }

    void announce() const {
        const std::string line =
            fmt::format("serving {} ({}{}) at {}\n", plan_.description.name,
                        readable_size(volume_->geometry().size),
                        plan_.open.read_only ? ", read-only" : "", fmt::join(addresses_, ", "));
        // Straight to the descriptor: nobody may be reading, and that must not matter.
        [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, line.data(), line.size());
        env_.log(LogLevel::info, fmt::format("ready pid={} epoch={} nbd={}", getpid(),
                                             volume_->report().epoch, fmt::join(addresses_, ",")));
    }

    // Requests are answered, the log goes home, the sockets go away.
    Task<Outcome<void>> stop() {
        const uint64_t begin_ns = env_.now_ns();
        volume_->close_down();
        co_await nbd_.stop(begin_ns + kDrainLimitNs);
        if (control_) co_await control_->stop();
        const Status closed = co_await volume_->close(begin_ns + kShutdownLimitNs);
        if (closed.ok()) co_return Outcome<void>();
        if (closed.error().code == Errc::timed_out) {
            env_.log(LogLevel::warning,
                     "the log could not be brought home in time; nothing is "
                     "lost, the next start does it");
            co_return Outcome<void>();
        }
        co_return Problem{closed.error().code,
                          fmt::format("{} did not close in order: {}", plan_.description.name,
                                      closed.error().text())};
    }

private:
    static std::optional<Problem> why_not(const Outcome<size_t>& outcome) {
        return outcome.ok() ? std::nullopt : std::optional<Problem>(outcome.error());
    }

    VolumeStatus status() const {
        VolumeStatus status;
        status.file = plan_.file;
        status.report = volume_->report();
        status.server = ServerFacts{static_cast<uint64_t>(getpid()), version_text(),
                                    (env_.now_ns() - started_ns_) / kSecond, addresses_};
        return status;
    }

    UringEnv& env_;
    const ServePlan& plan_;
    std::unique_ptr<mirror::Volume> volume_;
    net::NbdServer nbd_;
    std::unique_ptr<ControlServer> control_;
    std::vector<std::string> addresses_;
    uint64_t started_ns_;
};

Task<Outcome<void>> serve(UringEnv& env, const ServePlan& plan) {
    mirror::OpenOptions options = plan.open;
    options.keep = [&plan](const mirror::VolumeDescription& description) {
        return write_volume_file(plan.file, description, true);
    };
    auto volume = co_await mirror::open_volume(env, plan.description, options);
    if (!volume.ok()) co_return volume.error();
    let_signals_kill(false);
    VolumeServer server(env, plan, std::move(volume).value());
    const Outcome<void> listening = server.listen();
    if (listening.ok()) {
        server.announce();
        const Result<int> number = co_await env.next_signal(kEndSignals);
        const char* name = number.ok() ? sigabbrev_np(number.value()) : nullptr;
        env.log(LogLevel::info, fmt::format("stopping signal={}", name == nullptr ? "?" : name));
    }
    if (!plan.overseen) let_signals_kill(true);
    alarm(kAlarmSeconds);
    const Outcome<void> stopped = co_await server.stop();
    if (!listening.ok()) co_return listening.error();
    if (stopped.ok()) env.log(LogLevel::info, "stopped");
    co_return stopped;
}

int serve_here(const ServePlan& plan) {
    // Blocked for the log's thread; the reactor's takes them back.
    UringEnv::block_signals(kEndSignals);
    start_server_log(plan.description.name);
    let_signals_kill(true);
    signal(SIGPIPE, SIG_IGN);
    // The kernel may write back to our own device to find memory for us: no such waits. Needs a
    // privilege; without it the volume still works, for clients on other machines without any risk.
    (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    UringOptions options;
    options.log_sink = log_to_server_log;
    const std::unique_ptr<UringEnv> env = make_env(options);
    const Outcome<void> served = run_task(*env, serve(*env, plan));
    finish_server_log(served.ok() ? kDone : kFailed);
    value_or_throw(served);
    return kDone;
}

}  // namespace

int run_serve(const ServeArguments& arguments) {
    const ServePlan plan = plan_from(arguments);
    if (!plan.overseen) return serve_here(plan);
    return run_overseen([&plan] { return serve_here(plan); });
}

}  // namespace gemel::tools
