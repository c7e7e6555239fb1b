// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <variant>

#include "tools/gemel/command_line.h"
#include "tools/gemel/plain_text.h"
#include "tools/gemel/verbs.h"
#include "tools/gemel/version.h"

namespace gemel::tools {

namespace {

// One line, whatever names it contains.
void complain(const char* text) { std::fprintf(stderr, "gemel: %s\n", plain_text(text).c_str()); }

// A caller may have closed standard descriptors. Then the next file opened, a member perhaps, would
// take their number, and what we print would be written into it.
void occupy_standard_descriptors() {
    int descriptor = 0;
    while (descriptor >= 0 && descriptor <= 2) descriptor = open("/dev/null", O_RDWR);
    if (descriptor < 0) std::exit(kFailed);
    close(descriptor);
}

int run(int argc, char** argv) {
    occupy_standard_descriptors();
    if (!ecc::kBlocksAreHashed) complain((std::string("this is ") + version_text()).c_str());
    try {
        const Arguments arguments = parse_command_line(argc, argv);
        int code = std::visit([](const auto& verb) { return run_verb(verb); }, arguments);
        // A full disk or a closed pipe behind standard output is a failure like any other.
        if (std::fflush(stdout) != 0) {
            complain("cannot write to standard output");
            code = kFailed;
        }
        return code;
    } catch (const UsageError& error) {
        complain(error.what());
        return kWrongUsage;
    } catch (const std::exception& error) {
        complain(error.what());
        return kFailed;
    }
}

}  // namespace

}  // namespace gemel::tools

int main(int argc, char** argv) { return gemel::tools::run(argc, argv); }
