// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/attach.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>
#include <utility>

#include "tools/attach/attachment.h"
#include "tools/attach/block_devices.h"
#include "tools/attach/fuse_daemon.h"
#include "tools/attach/nbd_connect.h"
#include "tools/attach/nbd_daemon.h"
#include "tools/attach/nbd_netlink.h"
#include "tools/attach/nbd_uri.h"

namespace gemel::tools {
namespace {

constexpr std::chrono::seconds kFirstConnectLimit{10};
constexpr int kDaemonAnswerLimitMs = 30'000;
constexpr int kUndoLimitMs = 15'000;
constexpr std::chrono::milliseconds kClearLimit{5'000};
// The largest logical block a loop device can have.
constexpr uint32_t kLoopBlockBytesMax = 4096;

Problem with_hint(Problem problem, const NbdUri& uri) {
    if (problem.code != Errc::closed) return problem;
    const std::string name = uri.export_name.empty() ? "NAME" : uri.export_name;
    problem.text += "; is the server running? 'gemel serve " + name + "' starts it";
    return problem;
}

Outcome<void> fuse_usable() {
    const FileDescriptor fuse(open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (fuse.valid()) return {};
    return Problem{error_from_errno(errno, "").code, std::string("cannot use /dev/fuse: ") +
                                                         std::strerror(errno) +
                                                         "; is the kernel's fuse module loaded?"};
}

Outcome<void> not_attached_yet(const std::string& canonical_uri) {
    for (const Attachment& each : list_attachments()) {
        if (each.uri != canonical_uri) continue;
        if (each.daemon_alive()) {
            return Problem{Errc::busy, canonical_uri + " is attached already, as " + each.device};
        }
        return Problem{Errc::busy, canonical_uri + " is still attached as " + each.device +
                                       ", whose daemon has died: 'gemel detach " + each.device +
                                       "' clears it"};
    }
    return {};
}

enum class FrontEnd { fuse, kernel_nbd };

// What both ways have in common.
struct Plan {
    FrontEnd front_end;
    std::string canonical_uri;
    NbdPlace place;
    std::chrono::milliseconds timeout;
};

// The folder is made here: attach may be killed at any moment, the daemon cleans up.
[[noreturn]] void run_daemon(const Plan& plan, NbdConnection connection, DaemonChannel channel) {
    const Outcome<Attachment> made = make_attachment(plan.canonical_uri);
    if (!made.ok()) {
        channel.say("failed: " + made.error().text);
        _exit(1);
    }
    const Attachment& attachment = made.value();
    send_errors_to(attachment.log());
    if (plan.front_end == FrontEnd::kernel_nbd) {
        run_nbd_daemon({attachment, plan.place, plan.timeout}, std::move(connection),
                       std::move(channel));
    }
    run_fuse_daemon({attachment, plan.place, plan.timeout}, std::move(connection),
                    std::move(channel));
}

// The daemon's "ready PID FOLDER [DEVICE]", as far as it goes.
Outcome<Attachment> daemon_ready(const Plan& plan, const DaemonChannel& channel) {
    Attachment attachment;
    attachment.uri = plan.canonical_uri;
    std::istringstream answer(channel.hear(kDaemonAnswerLimitMs));
    std::string word;
    answer >> word;
    if (word == "ready") {
        answer >> attachment.daemon >> attachment.folder >> attachment.device;
        attachment.daemon_start = process_start_time(attachment.daemon);
        return attachment;
    }
    std::string why;
    std::getline(answer >> std::ws, why);
    return Problem{Errc::io, why.empty() ? "the attachment's daemon died" : why};
}

Outcome<std::string> finish_set_up(Attachment& attachment, const NbdExport& exported,
                                   const DaemonChannel& channel) {
    if (attachment.device.empty()) {
        // 512 even where the server prefers more: file systems made elsewhere must mount.
        const Outcome<std::string> loop =
            set_up_loop({attachment.backing_file(), exported.read_only(),
                         std::max(512u, exported.block_minimum)});
        if (!loop.ok()) return loop.error();
        attachment.device = loop.value();
    }
    const Outcome<void> saved = save(attachment);
    if (!saved.ok()) return saved.error();
    if (channel.say("keep " + attachment.device)) return attachment.device;
    return Problem{Errc::io, "the attachment's daemon died"};
}

Outcome<std::string> attach_with_daemon(const Plan& plan, NbdConnection connection) {
    const NbdExport exported = connection.exported;
    Outcome<Spawned> spawned = spawn_daemon(connection.socket.get());
    if (!spawned.ok()) return spawned.error();
    if (spawned.value().in_daemon) {
        run_daemon(plan, std::move(connection), std::move(spawned.value().channel));
    }
    {
        // The daemon's alone from now on: its close must end the connection.
        const FileDescriptor handed_over(std::move(connection.socket));
    }
    const DaemonChannel& channel = spawned.value().channel;
    Outcome<Attachment> ready = daemon_ready(plan, channel);
    if (!ready.ok()) {
        channel.hang_up(kUndoLimitMs);
        return ready.error();
    }
    Attachment& attachment = ready.value();
    Outcome<std::string> device = finish_set_up(attachment, exported, channel);
    if (device.ok()) return device;
    // The daemon undoes everything, a loop device included; what it could not is undone here.
    channel.hang_up(kUndoLimitMs);
    for (const std::string& left : loop_devices_on(attachment.backing_file())) {
        static_cast<void>(clear_loop(left, kClearLimit).ok());
    }
    remove(attachment);
    return device;
}

Outcome<FrontEnd> choose(const std::string& as, const NbdExport& exported) {
    struct stat info{};
    const bool may_be_nbd = as == "nbd" || (as == "auto" && stat("/dev/nbd0", &info) == 0);
    if (may_be_nbd) {
        const Outcome<NbdNetlink> kernel = NbdNetlink::open();
        if (kernel.ok()) return FrontEnd::kernel_nbd;
        if (as == "nbd") {
            return Problem{kernel.error().code,
                           kernel.error().text + "; is the kernel's nbd module loaded?"};
        }
    }
    if (exported.block_minimum > kLoopBlockBytesMax) {
        return Problem{Errc::unsupported, "the export has blocks of more than 4096 bytes"};
    }
    const Outcome<void> usable = fuse_usable();
    if (!usable.ok()) return usable.error();
    return FrontEnd::fuse;
}

Outcome<std::string> attach(const AttachOptions& options) {
    const Outcome<NbdUri> uri = parse_nbd_uri(options.uri);
    if (!uri.ok()) return uri.error();
    if (geteuid() != 0) return Problem{Errc::permission, "attaching needs root"};
    const std::string canonical = uri.value().canonical();
    const Outcome<FileDescriptor> lock = lock_attachments();
    if (!lock.ok()) return lock.error();
    remove_leftovers();
    const Outcome<void> alone = not_attached_yet(canonical);
    if (!alone.ok()) return alone.error();
    const Outcome<NbdPlace> place = resolve(uri.value());
    if (!place.ok()) return place.error();
    Outcome<NbdConnection> connection =
        connect_nbd(place.value(), new_session(), kFirstConnectLimit);
    if (!connection.ok()) return with_hint(connection.error(), uri.value());
    const Outcome<FrontEnd> front_end = choose(options.as, connection.value().exported);
    if (!front_end.ok()) return front_end.error();
    return attach_with_daemon({front_end.value(), canonical, place.value(), options.timeout},
                              std::move(connection).value());
}

}  // namespace

int run_attach(const AttachOptions& options) {
    if (options.as != "auto" && options.as != "nbd" && options.as != "fuse") {
        std::fprintf(stderr, "gemel attach: --as %s: must be auto, nbd or fuse\n",
                     options.as.c_str());
        return 2;
    }
    const Outcome<std::string> device = attach(options);
    if (!device.ok()) {
        std::fprintf(stderr, "gemel attach: %s\n", device.error().text.c_str());
        return 1;
    }
    std::printf("%s\n", device.value().c_str());
    return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace gemel::tools
