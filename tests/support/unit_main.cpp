// The main program of every unit test. Signals stay ours: tests that run instructions on the native
// CPU catch its faults.
#define CATCH_CONFIG_NO_POSIX_SIGNALS
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
