// The command line: what each option does to the configuration, and the sentence for each mistake.

#include "frontends/cli/command_line.hpp"
#include "frontends/cli/exit_status.hpp"
#include "frontends/cli/values.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace droste::cli {
namespace {

constexpr i64 kNow = 1'000'000'000;
constexpr i64 kOffset = 7200;

Expected<CommandLine> parse(std::vector<std::string_view> arguments) {
    return parse_command_line(arguments, kNow, kOffset);
}

CommandLine parsed(std::vector<std::string_view> arguments) {
    auto line = parse(std::move(arguments));
    INFO((line ? "" : line.error().message));
    REQUIRE(line);
    return std::move(line).value();
}

std::string refused(std::vector<std::string_view> arguments) {
    const auto line = parse(std::move(arguments));
    return line ? "" : line.error().message;
}

TEST_CASE("Command line: without options for it, the machine is QEMU's default") {
    const CommandLine line = parsed({"-kernel", "k"});
    CHECK(line.machine.ram_bytes == u64{128} << 20);
    CHECK(line.machine.vcpu_count == 1);
    CHECK(line.machine.clock_mode == Clock::Mode::FreeRunning);
    CHECK(line.machine.rtc_start_seconds == kNow);
    REQUIRE(line.serials.size() == 1);
    CHECK(line.serials[0].kind == CharSpec::Kind::Stdio);
    CHECK(line.serials[0].with_monitor);
}

TEST_CASE("Command line: one dash or two, value apart or after an equals sign") {
    CHECK(parsed({"--kernel", "k", "--append", "a=b c"}).machine.boot.append == "a=b c");
    CHECK(parsed({"-kernel", "k", "--append=a=b"}).machine.boot.append == "a=b");
    CHECK(parsed({"-kernel", "-strange"}).machine.boot.kernel == "-strange");
}

TEST_CASE("Command line: native features are hidden from this machine, in order") {
    const auto native = [](std::string_view value) {
        return parsed({"-kernel", "k", "-cpu", "max", "--native-features", value}).machine.native;
    };
    CHECK(native("-sse3").lacking_of_v2() == "'sse3'");
    CHECK(native("sse3=off,popcnt=off").lacking_of_v2() == "'sse3', 'popcnt'");
    CHECK(native("-sse3,-popcnt,+sse3").lacking_of_v2() == "'popcnt'");
    CHECK(native("-sse3,sse3=on").lacking_of_v2().empty());
    CHECK_FALSE(native("v2").has(Feature::BMI1));
    CHECK_FALSE(native("v2,-random").has(NativeFeatures::Trait::RandomNumbers));
    CHECK_FALSE(native("-avx").has(Feature::AVX2));
    const CommandLine twice = parsed({"-kernel", "k", "-cpu", "max", "--native-features", "-sse3",
                                      "--native-features", "-popcnt"});
    CHECK(twice.machine.native.lacking_of_v2() == "'sse3', 'popcnt'");
    CHECK_FALSE(twice.machine.cpu.has(Feature::SSE3));
    CHECK(parsed({"-kernel", "k"}).machine.native.lacking_of_v2().empty());
}

TEST_CASE("Command line: the one kvm-unit-tests' runner makes is accepted") {
    const CommandLine line =
        parsed({"--no-reboot", "-nodefaults", "-global", "kvm-pit.lost_tick_policy=discard",
                "-device",     "pc-testdev",  "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4",
                "-display",    "none",        "-serial", "stdio",
                "-machine",    "accel=tcg",   "-kernel", "x86/apic.flat",
                "-smp",        "4",           "-append", "",
                "-initrd",     "/tmp/env",    "-cpu",    "max",
                "-m",          "2560"});
    CHECK(line.no_reboot);
    REQUIRE(line.machine.devices.size() == 2);
    CHECK(line.machine.devices[0].driver == "pc-testdev");
    CHECK(line.machine.devices[1].driver == "isa-debug-exit");
    REQUIRE(line.serials.size() == 1);
    CHECK_FALSE(line.serials[0].with_monitor);
    CHECK(line.machine.vcpu_count == 4);
    CHECK(line.machine.ram_bytes == u64{2560} << 20);
    CHECK(line.warnings.empty());
}

TEST_CASE(
    "Command line: serial ports in order, -nodefaults and -display none mean none by default") {
    const CommandLine line = parsed({"-kernel", "k", "-serial", "null", "-serial", "file:x,y",
                                     "-serial", "none", "-serial", "pty"});
    REQUIRE(line.serials.size() == 4);
    CHECK(line.serials[1].kind == CharSpec::Kind::File);
    CHECK(line.serials[1].path == "x,y");
    CHECK(line.serials[2].kind == CharSpec::Kind::None);
    CHECK(line.serials[3].kind == CharSpec::Kind::Pty);
    CHECK(parsed({"-kernel", "k", "-nodefaults"}).serials.empty());
    CHECK(parsed({"-kernel", "k", "-display", "none"}).serials.empty());
    CHECK(parsed({"-kernel", "k", "-display", "none", "-nographic"}).serials.size() == 1);
}

TEST_CASE("Command line: character devices by id, and the debug console's port") {
    const CommandLine line = parsed({"-bios", "b", "-chardev", "file,id=log,path=/tmp/log",
                                     "-device", "isa-debugcon,iobase=0x402,chardev=log",
                                     "-debugcon", "stdio", "-global", "isa-debugcon.iobase=0x403"});
    REQUIRE(line.debug_consoles.size() == 2);
    CHECK(line.debug_consoles[0].port == 0x402);
    CHECK(line.debug_consoles[0].chars.path == "/tmp/log");
    CHECK(line.debug_consoles[1].port == 0x403);
}

TEST_CASE("Command line: an id of -device names one device, and is its name in the machine") {
    CHECK_THAT(refused({"-device", "pc-testdev,id=a", "-device", "isa-debug-exit,id=a"}),
               Catch::Contains("already one with the id 'a'"));
    CHECK(parsed({"-device", "pc-testdev,id=a"}).machine.devices[0].id == "a");
    CHECK(parsed({"-device", "pc-testdev"}).machine.devices[0].id == "pc-testdev");
}

TEST_CASE("Command line: the ROM gets an isa-debug-exit unless there is one") {
    REQUIRE(parsed({}).machine.devices.size() == 1);
    CHECK(parsed({}).machine.devices[0].driver == "isa-debug-exit");
    CHECK(parsed({"-device", "isa-debug-exit"}).machine.devices.size() == 1);
    CHECK(parsed({"-device", "pc-testdev"}).machine.devices.size() == 2);
    CHECK(parsed({"-kernel", "k"}).machine.devices.empty());
}

TEST_CASE("Command line: an id names one character device") {
    CHECK_THAT(refused({"-chardev", "null,id=a", "-chardev", "stdio,id=a"}),
               Catch::Contains("already one with the id 'a'"));
    CHECK(refused({"-chardev", "null,id=a", "-chardev", "null,id=b"}).empty());
}

TEST_CASE("Command line: -D takes a limit") {
    CHECK(parsed({"-D", "a=b"}).log_file == "a=b");
    CHECK(parsed({"-D", "log"}).log_limit_bytes == 0);
    CHECK(parsed({"-D", "log,limit=2M"}).log_file == "log");
    CHECK(parsed({"-D", "log,limit=2M"}).log_limit_bytes == u64{2} << 20);
    CHECK_THAT(refused({"-D", "log,limit=x"}), Catch::Contains("expected a size"));
    CHECK_THAT(refused({"-D", "log,size=1"}), Catch::Contains("known: limit"));
    CHECK_THAT(refused({"-D", ",limit=1M"}), Catch::Contains("expected FILE"));
}

TEST_CASE("Command line: --icount-ns sets the rate and turns counting on") {
    const CommandLine line = parsed({"-kernel", "k", "--icount-ns", "2"});
    CHECK(line.machine.clock_mode == Clock::Mode::Counting);
    CHECK(line.machine.counting_ns == 2);
    CHECK(parsed({"-kernel", "k"}).machine.counting_ns == Clock::kCountingNsPerInsn);
}

TEST_CASE("Command line: with --icount the clock starts at a fixed time unless one is given") {
    const i64 fixed = parsed({"-kernel", "k", "--icount"}).machine.rtc_start_seconds;
    CHECK(fixed == *parse_datetime("2024-01-01"));
    CHECK(
        parsed({"-kernel", "k", "--icount", "-rtc", "base=localtime"}).machine.rtc_start_seconds ==
        kNow + kOffset);
    CHECK(parsed({"-kernel", "k", "-rtc", "base=2000-01-01T00:00:01"}).machine.rtc_start_seconds ==
          946'684'801);
}

TEST_CASE("Command line: unknown options name the nearest known one, if one is near") {
    using Catch::Contains;
    CHECK_THAT(refused({"-kernal", "x"}), Contains("did you mean -kernel?"));
    CHECK_THAT(refused({"--no-rebot"}), Contains("did you mean -no-reboot?"));
    CHECK_THAT(refused({"-xyzzy"}), !Contains("did you mean"));
}

TEST_CASE("Command line: questions are answered before anything else is checked") {
    CHECK(parsed({"-m", "64G", "-help"}).answer == help_text());
    CHECK_FALSE(parsed({"-device", "?"}).answer.empty());
    CHECK_FALSE(parsed({"-cpu", "help"}).answer.empty());
    CHECK(parsed({"-version"}).answer == version_text());
}

TEST_CASE("Help: no line is wider than a terminal, and every exit status is there") {
    std::size_t start = 0;
    const std::string text = help_text();
    for (std::size_t end = text.find('\n'); end != std::string::npos;
         end = text.find('\n', start)) {
        CAPTURE(text.substr(start, end - start));
        CHECK(end - start <= 110);
        start = end + 1;
    }
    for (const ExitRow& row : kExitRows) {
        CHECK(text.find(row.meaning.substr(0, 20)) != std::string::npos);
    }
}

TEST_CASE("Values: sizes") {
    CHECK(parse_size("512") == u64{512} << 20);
    CHECK(parse_size("512M") == u64{512} << 20);
    CHECK(parse_size("2g") == u64{2} << 30);
    CHECK(parse_size("64K") == u64{64} << 10);
    CHECK(parse_size("0x10M") == u64{16} << 20);
    for (const char* bad : {"", "M", "-1", "1.5G", "1GB", "12345678901234567890", "99999999999T"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_size(bad));
    }
}

TEST_CASE("Values: seconds and dates") {
    CHECK(parse_seconds("2") == 2'000'000'000U);
    CHECK(parse_seconds("0.25") == 250'000'000U);
    CHECK_FALSE(parse_seconds("1."));
    CHECK_FALSE(parse_seconds(".5"));
    CHECK(parse_datetime("1970-01-01") == 0);
    CHECK(parse_datetime("2000-03-01") == 951'868'800);
    CHECK(parse_datetime("2024-02-29T12:34:56") == 1'709'210'096);
    for (const char* bad :
         {"2024", "2024-1-1", "2024-00-01", "2024-01-01 00:00:00", "2024-01-01T24:00:00"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_datetime(bad));
    }
}

TEST_CASE("Values: properties, with doubled commas") {
    const auto properties = parse_properties("file,id=a,,b,path=x=y");
    REQUIRE(properties.size() == 3);
    CHECK(properties[0].key.empty());
    CHECK(properties[0].value == "file");
    CHECK(properties[1].value == "a,b");
    CHECK(properties[2].key == "path");
    CHECK(properties[2].value == "x=y");
}

TEST_CASE("Exit status: each reason has the documented one") {
    const auto status = [](EndReason reason, u32 value = 0, bool until = false) {
        RunControl control;
        control.end(reason, value);
        return exit_status_of(control, until);
    };
    CHECK(status(EndReason::PowerOff) == 0);
    CHECK(status(EndReason::PowerOff, 0, true) == 6);
    CHECK(status(EndReason::UntilMatched, 0, true) == 0);
    CHECK(status(EndReason::DebugExit, 0) == 1);
    CHECK(status(EndReason::DebugExit, 0x31) == 0x63);
    CHECK(status(EndReason::DebugExit, 0xFFFF'FFFF) == 0xFF);
    CHECK(status(EndReason::TripleFault) == 4);
    CHECK(status(EndReason::Timeout) == 124);
    CHECK(status(EndReason::Signal, 15) == 143);
}

TEST_CASE("Run control: the first reason to end stays") {
    RunControl control;
    class Counter final : public RunObserver {
      public:
        void look_up() override { ++calls; }
        int calls = 0;
    };
    Counter observer;
    control.set_observer(&observer);
    control.end(EndReason::DebugExit, 7);
    control.end(EndReason::PowerOff);
    CHECK(control.reason() == EndReason::DebugExit);
    CHECK(control.value() == 7);
    control.tick();
    CHECK(observer.calls == 3);
    CHECK(control.reason() == EndReason::DebugExit);
}

}  // namespace
}  // namespace droste::cli
