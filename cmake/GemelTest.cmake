# SPDX-License-Identifier: Apache-2.0
#
# How tests are registered. Everything is a ctest test with one label:
#   unit    GoogleTest, a case each          tree    the rules of the tree itself
#   sim     simulated seeds                  system  the real binary, kernel and tools
#   asan, clang                              the other builds' unit tests and seeds
include(GoogleTest)

# Debian's own python: the packages' modules (nbd, matplotlib) are only there.
set(GEMEL_PYTHON /usr/bin/python3)

# gemel_unit_test(NAME SOURCES file... LIBRARIES target...)
function(gemel_unit_test name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE gemel_flags ${ARG_LIBRARIES} GTest::gmock_main)
    # The suite's file name stands before the case's, so that -R finds both.
    gtest_discover_tests(${name}
        TEST_PREFIX ${name}. DISCOVERY_TIMEOUT 60 PROPERTIES LABELS unit TIMEOUT 300)
endfunction()

# gemel_script_test(NAME LABEL label TIMEOUT seconds COMMAND ...)
# A script that exits with 77 could not run here and counts as a visible skip.
function(gemel_script_test name)
    cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "COMMAND" ${ARGN})
    add_test(NAME ${name} COMMAND ${ARG_COMMAND} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES
        LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} SKIP_RETURN_CODE 77)
endfunction()
