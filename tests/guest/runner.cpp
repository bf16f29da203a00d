// Runs one guest test: guest_runner TEST.bin TEST.asm [-v] [--fresh] [-accel interp|jit]
//
// TEST.bin is loaded at 0000:8000 and entered there in real mode on a bare vCPU (no devices, no
// firmware). What it writes to port E9h is compared, line by line, with the "; expect: TEXT" lines
// of TEST.asm. The test ends when the vCPU halts with interrupts off ("; stop: hlt", the default)
// or shuts down ("; stop: shutdown"), or when it has executed "; limit: N" instructions (default
// one million), which is a failure. With --fresh no decoded code is kept from one call of the engine
// to the next, and each may execute one instruction: the result must be the same. -accel jit runs
// it by the translator, which translates what it can at first sight.

#include "cpu/x86/interp/block_cache.hpp"
#include "tests/support/engines.hpp"
#include "tests/support/test_machine.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace {

using namespace droste;

constexpr u64 kLoadAddress = 0x8000;

// The debug console of Bochs and QEMU.
class Console final : public PioDevice {
  public:
    std::string_view name() const override { return "test console"; }
    std::span<const PortRange> pio_ranges() const override { return kRanges; }
    IoStatus pio_read(u16 /*port*/, std::span<u8> data) override {
        std::fill(data.begin(), data.end(), u8{0xE9});
        return IoStatus::Done;
    }
    IoStatus pio_write(u16 /*port*/, std::span<const u8> data) override {
        for (const u8 byte : data) {
            text_ += static_cast<char>(byte);
        }
        return IoStatus::Done;
    }
    const std::string& text() const { return text_; }

  private:
    static constexpr std::array kRanges = {PortRange{.first = 0xE9, .count = 1}};
    std::string text_;
};

struct Expectations {
    std::vector<std::string> lines;
    Activity stop = Activity::Hlt;
    u64 limit = 1'000'000;
};

std::string trimmed(std::string line) {
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\n')) {
        line.pop_back();
    }
    return line;
}

Expectations read_expectations(const char* path) {
    Expectations result;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        const auto value_of = [&](std::string_view key) {
            return line.starts_with(key) ? trimmed(line.substr(key.size())) : std::string();
        };
        if (const std::string text = value_of("; expect: "); !text.empty()) {
            result.lines.push_back(text);
        } else if (const std::string stop = value_of("; stop: "); !stop.empty()) {
            result.stop = stop == "shutdown" ? Activity::Shutdown : Activity::Hlt;
        } else if (const std::string limit = value_of("; limit: "); !limit.empty()) {
            result.limit = std::stoull(limit);
        }
    }
    return result;
}

std::vector<std::string> split_lines(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = std::min(text.find('\n', start), text.size());
        lines.push_back(trimmed(text.substr(start, end - start)));
        start = end + 1;
    }
    return lines;
}

bool same_output(const std::vector<std::string>& expected, const std::vector<std::string>& got) {
    bool same = expected.size() == got.size();
    for (std::size_t i = 0; i < std::max(expected.size(), got.size()); ++i) {
        const std::string want = i < expected.size() ? expected[i] : "(nothing)";
        const std::string have = i < got.size() ? got[i] : "(nothing)";
        if (want != have) {
            fmt::print("line {}: expected '{}', got '{}'\n", i + 1, want, have);
            same = false;
        }
    }
    return same;
}

void start_in_real_mode(Vcpu& cpu) {
    for (unsigned reg = 0; reg < kSegRegCount; ++reg) {
        load_real_mode_segment(cpu, static_cast<SegReg>(reg), 0);
    }
    cpu.state.rip() = kLoadAddress;
    mode_changed(cpu);
}

struct Options {
    bool verbose = false;
    bool fresh = false;
    test::EngineKind engine = test::EngineKind::Interpreter;
};

int run(const char* binary, const char* source, const Options& options) {
    const Expectations expectations = read_expectations(source);
    std::ifstream file(binary, std::ios::binary);
    const std::vector<char> image{std::istreambuf_iterator<char>(file), {}};
    if (image.empty()) {
        fmt::print("{}: nothing to run\n", binary);
        return 2;
    }
    test::TestMachine machine;
    Console console;
    if (!machine.bus().attach_pio(console)) {
        return 2;
    }
    machine.poke(kLoadAddress, {reinterpret_cast<const u8*>(image.data()), image.size()});
    Vcpu& cpu = machine.cpu();
    if (options.verbose) {
        machine.log().enable(LogCategory::Interrupts);
        machine.log().enable(LogCategory::CpuReset);
    }
    start_in_real_mode(cpu);
    const auto engine = test::make_engine(options.engine, cpu);
    while (cpu.icount < expectations.limit) {
        if (options.fresh) {
            cpu.blocks->flush();
        }
        const u64 budget = options.fresh ? 1 : expectations.limit - cpu.icount;
        if (engine->run(cpu, budget) == RunResult::Idle) {
            break;
        }
    }
    if (options.verbose) {
        fmt::print("{}", console.text());
    }
    bool passed = same_output(expectations.lines, split_lines(console.text()));
    if (cpu.state.activity != expectations.stop) {
        fmt::print("ended with activity state {} after {} instructions at {:#x}\n",
                   static_cast<unsigned>(cpu.state.activity), cpu.icount, cpu.state.rip());
        passed = false;
    }
    return passed ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    bool understood = argc >= 3;
    for (int i = 3; i < argc; ++i) {
        const std::string_view option = argv[i];
        const std::string_view value = i + 1 < argc ? argv[i + 1] : "";
        if (option == "-v") {
            options.verbose = true;
        } else if (option == "--fresh") {
            options.fresh = true;
        } else if (option == "-accel" && (value == "interp" || value == "jit")) {
            options.engine =
                value == "jit" ? test::EngineKind::Translator : test::EngineKind::Interpreter;
            ++i;
        } else {
            understood = false;
        }
    }
    if (!understood) {
        fmt::print("usage: guest_runner TEST.bin TEST.asm [-v] [--fresh] [-accel interp|jit]\n");
        return 2;
    }
    return run(argv[1], argv[2], options);
}
