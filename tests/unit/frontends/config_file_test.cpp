// Files of options: how they read, and that writing one is all or nothing.

#include "frontends/cli/command_line.hpp"
#include "frontends/cli/config_file.hpp"

#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

namespace droste::cli {
namespace {

class Scratch {
  public:
    Scratch() {
        char name[] = "/tmp/droste-config-XXXXXX";
        REQUIRE(mkdtemp(name) != nullptr);
        path_ = name;
    }
    ~Scratch() {
        std::remove((path_ + "/f").c_str());
        rmdir(path_.c_str());
    }
    std::string file() const { return path_ + "/f"; }

  private:
    std::string path_;
};

TEST_CASE("Config file: names, values, comments, quotes") {
    const auto parsed =
        parse_config("# c\n\n  -cpu = nested,+vmx \nappend = \" a b \"\r\nS\nname=x=y", "f");
    REQUIRE(parsed);
    const auto& lines = parsed.value().lines;
    REQUIRE(lines.size() == 6);
    CHECK(lines[0].name.empty());
    CHECK(lines[1].name.empty());
    CHECK(lines[2].name == "cpu");
    CHECK(lines[2].value == "nested,+vmx");
    CHECK(lines[3].value == " a b ");
    CHECK(lines[4].name == "S");
    CHECK_FALSE(lines[4].value);
    CHECK(lines[5].value == "x=y");
}

TEST_CASE("Config file: what is written reads back") {
    for (const char* value : {"", "a", " a", "a ", "\"", "\"a\"", "a=b", "# a", "a\"b"}) {
        CAPTURE(value);
        const ConfigLine line = make_config_line("append", value);
        const auto again = parse_config(line.text + "\n", "f");
        REQUIRE(again);
        CHECK(again.value().lines.at(0).value == value);
    }
    CHECK(make_config_line("S", std::nullopt).text == "S");
}

TEST_CASE("Config file: writing replaces the file as a whole") {
    const Scratch scratch;
    ConfigFile file{scratch.file(), {make_config_line("m", "64")}};
    REQUIRE(write_config(file));
    file.lines.push_back(make_config_line("S", std::nullopt));
    REQUIRE(write_config(file));
    const auto read = read_config(scratch.file());
    REQUIRE(read);
    REQUIRE(read.value().lines.size() == 2);
    CHECK(read.value().lines[1].name == "S");
    file.path = scratch.file() + "/below";
    CHECK_FALSE(write_config(file));
}

TEST_CASE("Config file: options name their line when they are wrong") {
    const Scratch scratch;
    REQUIRE(write_config(
        {scratch.file(), {make_config_line("m", "64"), make_config_line("smp", "0")}}));
    const std::vector<std::string> words = {"--config", scratch.file()};
    const std::vector<std::string_view> arguments(words.begin(), words.end());
    const auto line = parse_command_line(arguments, 0, 0);
    REQUIRE_FALSE(line);
    CHECK_THAT(line.error().message, Catch::StartsWith(scratch.file() + ":2: "));
}

TEST_CASE("Command line: the options about VMX") {
    const std::vector<std::string_view> arguments = {"-kernel",
                                                     "k",
                                                     "-cpu",
                                                     "max",
                                                     "--vmexit-trace",
                                                     "t.json,limit=10M,format=text",
                                                     "--symbols",
                                                     "L2:vmlinux,offset=0x1000",
                                                     "--symbols",
                                                     "3:a,,b",
                                                     "--vmcs-dump",
                                                     "-m",
                                                     "64",
                                                     "-machine",
                                                     "pc,feature-control=unlocked"};
    auto parsed = parse_command_line(arguments, 0, 0);
    INFO((parsed ? "" : parsed.error().message));
    REQUIRE(parsed);
    const ExplainOptions& explain = parsed.value().explain;
    REQUIRE(explain.exit_trace);
    CHECK(explain.exit_trace->path == "t.json");
    CHECK(explain.exit_trace->format == ExitTraceOptions::Format::Text);
    CHECK(explain.exit_trace->limit_bytes == u64{10} << 20);
    REQUIRE(explain.symbols.size() == 2);
    CHECK(explain.symbols[0].level == 2);
    CHECK(explain.symbols[0].offset == 0x1000);
    CHECK(explain.symbols[1].path == "a,b");
    CHECK(explain.vmcs_dump == "");  // -m is no file
    CHECK(explain.console_on_stdout);
    CHECK_FALSE(parsed.value().machine.vmx.feature_control_locked);
    CHECK(parsed.value().machine.ram_bytes == u64{64} << 20);
}

TEST_CASE("Command line: an optional value is the next word unless that is an option") {
    const auto dump = [](std::vector<std::string_view> arguments) {
        arguments.insert(arguments.begin(), {"-kernel", "k", "-cpu", "max"});
        const auto parsed = parse_command_line(arguments, 0, 0);
        REQUIRE(parsed);
        return parsed.value().explain.vmcs_dump.value_or("none");
    };
    CHECK(dump({"--vmcs-dump", "file"}) == "file");
    CHECK(dump({"--vmcs-dump=file"}) == "file");
    CHECK(dump({"--vmcs-dump", "-"}) == "-");
    CHECK(dump({"--vmcs-dump"}) == "");
    CHECK(dump({"--vmcs-dump", "-S"}) == "");
    CHECK(dump({}) == "none");
}

}  // namespace
}  // namespace droste::cli
