// SPDX-License-Identifier: Apache-2.0
//
// A process killed in the simulation leaves its coroutines and objects as they were: they are
// never resumed, and destroying them would run code of a dead process. So they stay behind until
// the simulating process ends, which runs one seed, or one short test, per such process. The leak
// checker would name every one of them.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
