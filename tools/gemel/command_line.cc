// SPDX-License-Identifier: Apache-2.0
//
// The only file that knows CLI11.
#include "tools/gemel/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <charconv>

#include "tools/config/units.h"
#include "tools/gemel/version.h"

namespace gemel::tools {

namespace {

constexpr const char* kFolderHelp = "The folder of the volume file (default: the current one)";
constexpr const char* kVolumeHelp = "A volume's name, or the path of its volume file";

uint64_t size_of(const std::string& text) {
    const Outcome<uint64_t> size = parse_size(text);
    if (!size.ok()) throw CLI::ValidationError(size.error().text);
    return size.value();
}

uint64_t duration_of(const std::string& text) {
    const Outcome<uint64_t> duration = parse_duration(text);
    if (!duration.ok()) throw CLI::ValidationError(duration.error().text);
    return duration.value();
}

uint64_t interval_of(const std::string& text) {
    const Outcome<uint64_t> interval = parse_interval(text);
    if (!interval.ok()) throw CLI::ValidationError(interval.error().text);
    return interval.value();
}

// CLI11's own conversion takes -1 and what is too large for numbers.
uint64_t number_of(const std::string& text) {
    uint64_t number = 0;
    const char* end = text.data() + text.size();
    const std::from_chars_result result = std::from_chars(text.data(), end, number);
    if (result.ec == std::errc() && result.ptr == end) return number;
    throw CLI::ValidationError("'" + text + "' is not a whole number from 0 to 2^64 - 1");
}

uint64_t count_of(const std::string& text) {
    const uint64_t count = number_of(text);
    if (count != 0) return count;
    throw CLI::ValidationError("'" + text + "' must be more than 0");
}

// How long a request to a member may take. A good disk is slow now and then; and a client is not
// to wait for longer than it would for a disk of its own.
uint64_t member_timeout_of(const std::string& text) {
    constexpr uint64_t kMin = 100 * kMillisecond;
    constexpr uint64_t kMax = 600 * kSecond;
    const uint64_t timeout = duration_of(text);
    if (timeout >= kMin && timeout <= kMax) return timeout;
    throw CLI::ValidationError("'" + text + "' is not between 100ms and 10m");
}

double errors_of(const std::string& text) {
    constexpr uint64_t kMax = 1'000'000;
    const uint64_t errors = number_of(text);
    if (errors <= kMax) return static_cast<double>(errors);
    throw CLI::ValidationError("'" + text + "' is more than 1000000");
}

// Options whose text is a quantity. A wrong one is reported with the option's name.
template <typename Target, typename Quantity>
CLI::Option* add_quantity(CLI::App& app, const char* name, Target& target,
                          Quantity (*parse)(const std::string&), const char* type,
                          const char* help) {
    const auto take = [&target, parse, name](const std::string& text) {
        try {
            target = parse(text);
        } catch (const CLI::ValidationError& error) {
            throw CLI::ValidationError(std::string(name) + ": " + error.what());
        }
    };
    return app.add_option_function<std::string>(name, take, help)->type_name(type);
}

// In CLI11's words, or in better ones.
std::string complaint_of(const CLI::App& root, const CLI::ParseError& error) {
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
        // A value that follows an unknown option is not what is wrong.
        for (const std::string& word : root.remaining(true)) {
            if (word.starts_with("-")) {
                return "there is no option '" + word.substr(0, word.find('=')) + "'";
            }
        }
        for (const std::string& word : root.remaining(true)) {
            return "'" + word + "' is one argument too many";
        }
    }
    const std::string text = error.what();
    const size_t twice = text.find(": At Most 1 ");
    if (twice != std::string::npos) return text.substr(0, twice) + " is given more than once";
    return text;
}

// Each occurrence takes exactly one value, so that what follows it stays a position.
CLI::Option* add_repeatable(CLI::App& app, const char* name, std::vector<std::string>& target,
                            const char* help) {
    return app.add_option(name, target, help)->allow_extra_args(false);
}

// Empty text is never meant: an unset variable in a script, most often.
std::string not_empty(const std::string& text) { return text.empty() ? "must not be empty" : ""; }

CLI::Option* add_text(CLI::App& app, const char* name, std::string& target, const char* type,
                      const char* help) {
    return app.add_option(name, target, help)->type_name(type)->check(not_empty);
}

CLI::Option* add_optional_text(CLI::App& app, const char* name, std::optional<std::string>& target,
                               const char* type, const char* help) {
    return app.add_option(name, target, help)->type_name(type)->check(not_empty);
}

struct Verbs {
    CreateArguments create;
    ServeArguments serve;
    AttachArguments attach;
    DetachArguments detach;
    StatusArguments status;
    ScrubArguments scrub;
    MemberArguments member;
    InspectArguments inspect;
    InjectArguments inject;
    AssembleArguments assemble;
};

CLI::App* add_create(CLI::App& root, CreateArguments& arguments) {
    CLI::App* app = root.add_subcommand("create", "Make a volume of two or more members");
    add_text(*app, "NAME", arguments.name, "", "The volume's name; its file will be NAME.toml")
        ->required();
    add_quantity(*app, "--size", arguments.size, size_of, "SIZE",
                 "Bytes the volume offers, a multiple of 4096: 1G, 512M")
        ->required();
    add_repeatable(*app, "--member", arguments.members,
                   "A file (made if missing) or block device; give two or more")
        ->type_name("PATH")
        ->required();
    add_repeatable(*app, "--spare", arguments.spares,
                   "A member that holds nothing until another one is lost, and then takes its "
                   "place")
        ->type_name("PATH");
    add_quantity(*app, "--log-size", arguments.log_size, size_of, "SIZE",
                 "The log of each member (default 256M)");
    add_quantity(*app, "--log-limit", arguments.log_limit, size_of, "SIZE",
                 "Writes up to this size are atomic (default 64K)");
    add_quantity(*app, "--max-size", arguments.max_size, size_of, "SIZE",
                 "How large the volume may ever grow (default: four times its size)");
    app->add_flag("--preallocate", arguments.preallocate, "Allocate the members' space now");
    add_optional_text(*app, "--witness", arguments.witness, "PATH",
                      "The witness file (default: NAME.witness beside the volume file)");
    add_text(*app, "--dir", arguments.folder, "DIR", kFolderHelp);
    app->add_flag("--force", arguments.force, "Overwrite members and a volume file that exist");
    app->add_flag("--json", arguments.json, "Print the result as JSON");
    return app;
}

CLI::App* add_serve(CLI::App& root, ServeArguments& arguments) {
    CLI::App* app = root.add_subcommand(
        "serve", "Serve a volume over NBD, in the foreground, until SIGTERM or SIGINT");
    add_text(*app, "VOLUME", arguments.volume, "", kVolumeHelp)->required();
    add_repeatable(*app, "--nbd", arguments.nbd_addresses,
                   "Where to listen: unix:PATH or HOST:PORT; may be repeated (default: "
                   "NAME.nbd.sock beside the volume file)")
        ->type_name("ADDRESS");
    add_quantity(*app, "--cache", arguments.cache_bytes, size_of, "SIZE",
                 "Memory for checksum pages (default 64M)");
    add_quantity(*app, "--scrub-every", arguments.scrub_every_s, interval_of, "TIME",
                 "How often everything is read and verified: 7d, 12h, off (default 7d)");
    add_quantity(*app, "--member-timeout", arguments.limits.request_ns, member_timeout_of, "TIME",
                 "A member that answers nothing for so long, while others do, is taken out; a\n"
                 "flush may take 5s, or this if it is longer (default 1s)");
    add_quantity(*app, "--member-errors", arguments.limits.errors, errors_of, "N",
                 "How many errors of a member's device are borne, one forgotten every three\n"
                 "minutes, before it is taken out (default 20)");
    app->add_flag("--read-only", arguments.read_only, "Clients may not write");
    app->add_flag("--force", arguments.force,
                  "Start from the newest members that are there although nothing proves them the\n"
                  "newest; what only missing members have is lost");
    add_text(*app, "--dir", arguments.folder, "DIR", kFolderHelp);
    return app;
}

CLI::App* add_attach(CLI::App& root, AttachArguments& arguments) {
    CLI::App* app = root.add_subcommand(
        "attach", "Make a block device of a served volume, or of any NBD export; print its path");
    add_text(*app, "TARGET", arguments.target, "", "A volume's name or file, or an NBD URI")
        ->required();
    app->add_option("--as", arguments.front_end, "How: auto, nbd or fuse (default auto)")
        ->type_name("WAY")
        ->check(CLI::IsMember({"auto", "nbd", "fuse"}));
    add_quantity(*app, "--timeout", arguments.timeout_ns, duration_of, "TIME",
                 "How long to wait for a server that has gone before I/O fails (default 60s)");
    add_text(*app, "--dir", arguments.folder, "DIR", kFolderHelp);
    return app;
}

CLI::App* add_detach(CLI::App& root, DetachArguments& arguments) {
    CLI::App* app = root.add_subcommand("detach", "Remove a block device that attach made");
    add_text(*app, "DEVICE", arguments.device, "", "The path that attach printed")->required();
    return app;
}

CLI::App* add_status(CLI::App& root, StatusArguments& arguments) {
    CLI::App* app = root.add_subcommand("status", "Show a volume and its members");
    add_optional_text(*app, "VOLUME", arguments.volume, "",
                      "A volume's name or file (default: all volumes in the folder)");
    CLI::Option* json =
        app->add_flag("--json", arguments.json, "Print JSON, as described in docs/json.md");
    app->add_flag("--watch", arguments.watch,
                  "Show a served volume until Ctrl-C: anew every second on a terminal, else\n"
                  "whenever something has changed")
        ->excludes(json);
    add_text(*app, "--dir", arguments.folder, "DIR", kFolderHelp);
    return app;
}

CLI::App* add_scrub(CLI::App& root, ScrubArguments& arguments) {
    CLI::App* app = root.add_subcommand(
        "scrub", "Read and verify everything on every member of a served volume, and heal it");
    add_text(*app, "VOLUME", arguments.volume, "", kVolumeHelp)->required();
    app->add_flag("--wait", arguments.wait,
                  "Wait for its end; exit with 1 if unrecoverable blocks remain");
    add_text(*app, "--dir", arguments.folder, "DIR", kFolderHelp);
    return app;
}

constexpr const char* kMemberHelp = "Its path as given at creation, or its UUID";

CLI::App* add_member_action(CLI::App& member, const char* name, const char* help,
                            MemberAction action, MemberArguments& arguments) {
    CLI::App* app = member.add_subcommand(name, help);
    add_text(*app, "VOLUME", arguments.volume, "", kVolumeHelp)->required();
    add_text(*app, "MEMBER", arguments.member, "",
             action == MemberAction::add ? "The file or block device to become one" : kMemberHelp)
        ->required();
    app->callback([&arguments, action] { arguments.action = action; });
    return app;
}

void add_wait(CLI::App& app, MemberArguments& arguments, const char* help) {
    app.add_flag("--wait", arguments.wait, help);
    add_text(app, "--dir", arguments.folder, "DIR", kFolderHelp);
}

CLI::App* add_member(CLI::App& root, MemberArguments& arguments) {
    constexpr const char* kInSync = "Wait until it is in sync, showing how far it is";
    CLI::App* app = root.add_subcommand("member", "Change the members of a served volume");
    app->require_subcommand(1);
    const auto action = [&](const char* name, const char* help, MemberAction which) {
        return add_member_action(*app, name, help, which, arguments);
    };
    add_wait(
        *action("offline", "Take it out: the volume goes on without it", MemberAction::offline),
        arguments, "Wait until its file or device is released");
    add_wait(*action("online", "Bring it back, and up to date: what changed is copied",
                     MemberAction::online),
             arguments, kInSync);
    CLI::App* add = action("add", "Make a file or block device another member", MemberAction::add);
    add->add_flag("--spare", arguments.spare,
                  "It holds nothing until another member fails, and then takes its place");
    add->add_flag("--force", arguments.force, "Overwrite what is there");
    add_wait(*add, arguments, kInSync);
    CLI::App* remove = action("remove", "Let it be a member no more", MemberAction::remove);
    remove->add_flag("--force", arguments.force,
                     "Although it may have what no other member has; never the last good copy of "
                     "all");
    add_text(*remove, "--dir", arguments.folder, "DIR", kFolderHelp);
    CLI::App* replace = action("replace", "Put another one in its place", MemberAction::replace);
    add_optional_text(*replace, "NEW", arguments.successor, "",
                      "The file or block device that takes its place once it is in sync; without "
                      "it, what is at the member's own path now");
    replace->add_flag("--force", arguments.force, "Overwrite what is there");
    add_wait(*replace, arguments, kInSync);
    return app;
}

CLI::App* add_inspect(CLI::App& root, InspectArguments& arguments) {
    CLI::App* app = root.add_subcommand("inspect", "Read a member's structures, changing nothing");
    add_text(*app, "MEMBER", arguments.member, "", "The member's file or block device")->required();
    app->add_flag("--json", arguments.json, "Print JSON, as described in docs/json.md");
    return app;
}

// "5-9", both included.
blockdev::NumberRange range_of(const std::string& text) {
    blockdev::NumberRange range;
    const char* end = text.data() + text.size();
    const std::from_chars_result low = std::from_chars(text.data(), end, range.first);
    bool good = low.ec == std::errc() && low.ptr != end && *low.ptr == '-';
    if (good) {
        const std::from_chars_result high = std::from_chars(low.ptr + 1, end, range.last);
        good = high.ec == std::errc() && high.ptr == end && range.first <= range.last;
    }
    if (!good) {
        throw CLI::ValidationError("--range: '" + text + "' is not a range; give two numbers: 5-9");
    }
    return range;
}

CLI::App* add_inject(CLI::App& root, InjectArguments& arguments) {
    CLI::App* app = root.add_subcommand(
        "inject", "Damage a member on purpose, in use or not; or remember what it holds");
    blockdev::InjectOptions& options = arguments.options;
    add_text(*app, "MEMBER", arguments.member, "", "The member's file or block device")->required();
    const auto take_into = [&options](const std::string& text) {
        options.into = blockdev::parse_structure(text);  // Nothing for any.
    };
    CLI::Option* into =
        app->add_option_function<std::string>("--into", take_into, "Which structure to damage")
            ->type_name("WHERE")
            ->check(CLI::IsMember({"data", "checksum", "index", "log", "superblock", "any"}));
    const auto take_kind = [&arguments](const std::string& text) {
        arguments.damages = true;
        arguments.options.kind = *blockdev::parse_damage_kind(text);
    };
    CLI::Option* kind =
        app->add_option_function<std::string>("--kind", take_kind, "How to damage it")
            ->type_name("HOW")
            ->check(CLI::IsMember({"flip", "zero", "garbage", "swap", "stale", "torn"}));
    into->needs(kind);
    kind->needs(into);
    add_quantity(*app, "--count", options.count, count_of, "N", "How many times (default 1)")
        ->needs(kind);
    add_quantity(*app, "--seed", arguments.seed, number_of, "N",
                 "The same seed damages the same content in the same way (default: random)")
        ->needs(kind);
    const auto take_range = [&options](const std::string& text) { options.range = range_of(text); };
    app->add_option_function<std::string>(
           "--range", take_range,
           "Only these: blocks of the data, pages of the checksums or of the index's level 1, "
           "sequence numbers of the log")
        ->type_name("A-B")
        ->needs(kind);
    add_optional_text(*app, "--remember", options.recording, "FILE",
                      "Without --kind: record what the member holds now into this file. With "
                      "--kind stale or torn: the recording whose versions are put back");
    return app;
}

// What no option shows to be wrong alone.
void check_inject(const InjectArguments& arguments) {
    const blockdev::InjectOptions& options = arguments.options;
    if (!arguments.damages && !options.recording) {
        throw UsageError("give --into and --kind, or --remember; see 'gemel inject --help'");
    }
    if (!arguments.damages) return;
    const bool has_numbers = options.into && *options.into != blockdev::Structure::superblock;
    if (options.range && !has_numbers) {
        throw UsageError("--range needs --into data, checksum, index or log");
    }
    if (options.kind == blockdev::DamageKind::stale && !options.recording) {
        throw UsageError("--kind stale needs --remember with a recording made before");
    }
    const bool puts_back =
        options.kind == blockdev::DamageKind::stale || options.kind == blockdev::DamageKind::torn;
    if (options.recording && !puts_back) {
        throw UsageError("--remember goes with --kind stale or torn, or alone");
    }
    if (options.kind == blockdev::DamageKind::swap && options.count < 2 &&
        options.into == blockdev::Structure::superblock) {
        throw UsageError("a swap damages both superblocks: ask for it with --count 2");
    }
}

CLI::App* add_assemble(CLI::App& root, AssembleArguments& arguments) {
    CLI::App* app =
        root.add_subcommand("assemble", "Write a lost volume file again, from all the members");
    app->add_option("MEMBER", arguments.members, "Every member of the volume")
        ->type_name("")
        ->required();
    add_optional_text(*app, "--witness", arguments.witness, "PATH",
                      "The witness file (default: NAME.witness beside the volume file)");
    add_text(*app, "--dir", arguments.folder, "DIR", "Where to write the volume file");
    app->add_flag("--force", arguments.force, "Replace a volume file that exists");
    app->add_flag("--json", arguments.json, "Print the result as JSON");
    return app;
}

// What CLI11 would report as a missing command only.
void check_first_word(const CLI::App& root, int argc, const char* const* argv) {
    if (argc < 2) throw UsageError("no command given; see 'gemel --help'");
    const std::string word = argv[1];
    if (word == "-h" || word == "--help" || word == "--version") return;
    for (const CLI::App* verb : root.get_subcommands([](const CLI::App*) { return true; })) {
        if (verb->get_name() == word) return;
    }
    throw UsageError("there is no command '" + word + "'; see 'gemel --help'");
}

}  // namespace

Arguments parse_command_line(int argc, const char* const* argv) {
    CLI::App root("Gemel: one reliable disk, kept on several members", "gemel");
    root.set_version_flag("--version", std::string("gemel ") + version_text());
    root.require_subcommand(1);
    root.footer(
        "'gemel COMMAND --help' describes each. Exit codes: 0 done, 1 failed, 2 wrong use.");
    Verbs verbs;
    const CLI::App* create = add_create(root, verbs.create);
    const CLI::App* serve = add_serve(root, verbs.serve);
    const CLI::App* attach = add_attach(root, verbs.attach);
    const CLI::App* detach = add_detach(root, verbs.detach);
    const CLI::App* status = add_status(root, verbs.status);
    const CLI::App* scrub = add_scrub(root, verbs.scrub);
    const CLI::App* member = add_member(root, verbs.member);
    const CLI::App* inspect = add_inspect(root, verbs.inspect);
    const CLI::App* inject = add_inject(root, verbs.inject);
    add_assemble(root, verbs.assemble);
    check_first_word(root, argc, argv);
    try {
        root.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) {
            root.exit(error);
            return NothingToDo{};
        }
        const std::string verb =
            root.get_subcommands().empty() ? "" : root.get_subcommands()[0]->get_name() + " ";
        throw UsageError(complaint_of(root, error) + "; see 'gemel " + verb + "--help'");
    }
    if (create->parsed()) return verbs.create;
    if (serve->parsed()) return verbs.serve;
    if (attach->parsed()) return verbs.attach;
    if (detach->parsed()) return verbs.detach;
    if (status->parsed()) {
        if (verbs.status.watch && !verbs.status.volume) {
            throw UsageError("--watch needs a volume; see 'gemel status --help'");
        }
        return verbs.status;
    }
    if (scrub->parsed()) return verbs.scrub;
    if (member->parsed()) return verbs.member;
    if (inspect->parsed()) return verbs.inspect;
    if (inject->parsed()) {
        check_inject(verbs.inject);
        return verbs.inject;
    }
    return verbs.assemble;
}

}  // namespace gemel::tools
