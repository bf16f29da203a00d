// isa-debug-exit, the POST port 80h, the debug console at E9h.

#include "devices/char/debug_console_e9.hpp"
#include "devices/system/debug_exit.hpp"
#include "devices/system/post_port80.hpp"
#include "tests/unit/devices/device_test_support.hpp"

#include <catch2/catch.hpp>

using namespace droste;
using namespace droste::test;

TEST_CASE("isa-debug-exit: a write of any size reports its value", "[devices][debug_exit]") {
    std::vector<u32> values;
    DebugExit exit(0xF4, 4, [&](u32 value) { values.push_back(value); });
    out<u8>(exit, 0xF4, 0x10);
    out<u16>(exit, 0xF4, 0x1234);
    out<u32>(exit, 0xF4, 0xDEADBEEF);
    CHECK(values == std::vector<u32>{0x10, 0x1234, 0xDEADBEEF});
    CHECK(in<u32>(exit, 0xF4) == 0);
}

TEST_CASE("POST port 80h: keeps the last code", "[devices][post_port80]") {
    PostPort80 post;
    out8(post, 0x80, 0x55);
    CHECK(post.last_code() == 0x55);
    CHECK(in8(post, 0x80) == 0x55);
}

TEST_CASE("debug console: reads E9h and forwards bytes", "[devices][debug_console_e9]") {
    RecordingBackend backend;
    DebugConsoleE9 console(backend);
    CHECK(in8(console, 0xE9) == 0xE9);
    out8(console, 0xE9, 'h');
    out8(console, 0xE9, 'i');
    CHECK(backend.text == "hi");
}

TEST_CASE("debug ports: survive any access sequence", "[devices][debug_exit][storm]") {
    FakeTime time;
    RecordingBackend backend;
    DebugExit exit(0xF4, 4, [](u32) {});
    DebugConsoleE9 console(backend, DebugConsoleE9::kSeaBiosPort);
    PostPort80 post;
    port_storm(exit, time);
    port_storm(console, time);
    port_storm(post, time);
    CHECK_FALSE(backend.text.empty());
}
