#include "frontends/cli/translator_options.hpp"

#include "frontends/cli/values.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace droste::cli {

namespace {

struct LockstepProperty {
    std::string_view key;
    u64 least, most;
    std::string_view unit;
    void (*set)(LockstepOptions& options, u64 value);
};

constexpr u64 kManyInstructions = u64{1} << 62;

// The last two are for tests: --help does not tell of them, docs/jit/index.md does.
constexpr std::array kLockstepProperties = {
    LockstepProperty{"every", 1, kManyInstructions, "instructions",
                     [](LockstepOptions& options, u64 value) { options.every = value; }},
    LockstepProperty{"memory", 1, kManyInstructions, "instructions",
                     [](LockstepOptions& options, u64 value) { options.memory = value; }},
    LockstepProperty{"flip", 1, kManyInstructions, "instructions",
                     [](LockstepOptions& options, u64 value) { options.flip = value; }},
    LockstepProperty{"flip-address", 0, kManyInstructions, "",
                     [](LockstepOptions& options, u64 value) { options.flip_address = value; }},
};

}  // namespace

Expected<void> set_lockstep(CommandLine& line, std::string_view value) {
    line.lockstep.on = true;
    for (const Property& property : parse_properties(value)) {
        if (property.key.empty() && (property.value == "each" || property.value.empty())) {
            line.lockstep.each = property.value == "each";
            continue;
        }
        const auto row = std::find_if(
            kLockstepProperties.begin(), kLockstepProperties.end(),
            [&](const LockstepProperty& candidate) { return candidate.key == property.key; });
        if (row == kLockstepProperties.end()) {
            return Error{fmt::format("--lockstep {}: expected each, every=N or memory=N", value)};
        }
        const auto number = parse_number(property.value);
        if (!number || *number < row->least || *number > row->most) {
            return Error{fmt::format("--lockstep {}={}: expected {} or more {}", row->key,
                                     property.value, row->least, row->unit)};
        }
        row->set(line.lockstep, *number);
    }
    return {};
}

Expected<void> set_jitdump(CommandLine& line, std::string_view value) {
    line.jitdump_directory = value.empty() ? "." : value;
    return {};
}

Expected<void> check_translator_options(const CommandLine& line) {
    const bool translates = line.machine.accelerator == Accelerator::Translator;
    if (!translates && (line.perf_map || !line.jitdump_directory.empty())) {
        return Error{fmt::format("--{} without -accel jit: there is no translated code to name",
                                 line.perf_map ? "perf-map" : "jitdump")};
    }
    if (!line.lockstep.on) {
        return {};
    }
    if (line.machine.clock_mode != Clock::Mode::Counting) {
        return Error{"--lockstep without --icount: only where time is counted do two machines stay "
                     "together"};
    }
    if (!translates) {
        return Error{"--lockstep without -accel jit: there is no translator to compare with the "
                     "interpreter"};
    }
    return {};
}

}  // namespace droste::cli
