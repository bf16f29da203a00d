// What becomes of a CPU model that the native CPU cannot provide, tried by hiding native features.

#include "frontends/cli/command_line.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace droste::cli {
namespace {

// On a native CPU without AVX, which the option may say before or behind the others.
Expected<CommandLine> parse(std::vector<std::string_view> options) {
    options.insert(options.begin(), {"-kernel", "k"});
    options.insert(options.end(), {"--native-features", "-avx"});
    return parse_command_line(options, 0, 0);
}
bool mentions(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

TEST_CASE("-cpu with --icount: a model that the native CPU cannot provide is refused") {
    for (const std::vector<std::string_view>& options : {std::vector<std::string_view>{"--icount"},
                                                         {"--icount", "-cpu", "nested,+vmx"},
                                                         {"--icount", "-cpu", "max"}}) {
        const auto line = parse(options);
        REQUIRE_FALSE(line);
        CHECK(mentions(line.error().message, "lacks "));
        CHECK(mentions(line.error().message, "'avx'"));
        CHECK(mentions(line.error().message, "'avx2'"));
    }
    CHECK(parse({"--icount", "-cpu", "baseline"}).has_value());
    CHECK(parse({"--icount", "-cpu", "nested,-avx"}).has_value());
}

TEST_CASE("-cpu without --icount: a model is thinned out with a warning, max without a word") {
    const auto nested = parse({});
    REQUIRE(nested);
    CHECK_FALSE(nested.value().machine.cpu.has(Feature::AVX2));
    REQUIRE(nested.value().warnings.size() == 1);
    CHECK(mentions(nested.value().warnings[0], "-cpu nested: this machine's own CPU lacks"));
    const auto max = parse({"-cpu", "max"});
    REQUIRE(max);
    CHECK_FALSE(max.value().machine.cpu.has(Feature::AVX));
    CHECK(max.value().warnings.empty());
}

}  // namespace
}  // namespace droste::cli
