#include "frontends/headless/monitor.hpp"

#include "core/text.hpp"
#include "frontends/debugger/vmx_report.hpp"
#include "frontends/headless/machine_report.hpp"
#include "frontends/machine/device_registry.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include <fmt/format.h>

namespace droste {

namespace {

using Words = std::vector<std::string_view>;

struct Context {
    Pc& pc;
    RunControl& control;
};

struct InfoRow {
    std::string_view name;
    std::string_view argument;
    std::string_view help;
    std::string (*show)(Context&, const Words&);
};

std::string show_status(Context& context, const Words& /*words*/) {
    return fmt::format("VM status: {}, {:.3f} s of virtual time\n",
                       context.control.paused() ? "paused" : "running",
                       static_cast<double>(context.pc.clock().now_ns()) / 1e9);
}

std::string show_vmcs(Context& context, const Words& words) {
    const auto address = words.size() > 2 ? parse_number(words[2]) : std::nullopt;
    return words.size() > 2 && !address ? "info vmcs [ADDRESS], e.g. info vmcs 0x9000\n"
                                        : describe_vmcs(context.pc, address);
}

std::string show_exits(Context& context, const Words& /*words*/) {
    const std::string table = describe_exits(context.pc);
    return table.empty() ? "no VM entry so far\n" : table;
}

std::string show_device(Context& context, const Words& words) {
    return words.size() > 2 ? context.pc.devices().describe(words[2])
                            : "info device NAME, e.g. info device pic\n";
}

// clang-format off
constexpr std::array kInfo = {
    InfoRow{"registers", "",          "the CPUs",
            [](Context& c, const Words&) { return describe_registers(c.pc); }},
    InfoRow{"status",    "",          "running or paused, and the time", show_status},
    InfoRow{"stats",     "",          "counters",
            [](Context& c, const Words&) { return describe_counters(c.pc, std::nullopt); }},
    InfoRow{"devices",   "",          "the devices and where they answer",
            [](Context& c, const Words&) { return c.pc.devices().describe(); }},
    InfoRow{"device",    "NAME",      "the registers and hidden state of one", show_device},
    InfoRow{"vmx",       "",          "what each CPU does in VMX",
            [](Context& c, const Words&) { return describe_vmx(c.pc); }},
    InfoRow{"vmcs",      "[ADDRESS]", "a VMCS, the current one by default", show_vmcs},
    InfoRow{"exits",     "",          "VM exits by level and reason", show_exits},
};
// clang-format on

std::string info(Context& context, const Words& words) {
    const std::string_view what = words.size() > 1 ? words[1] : "";
    const auto found = std::find_if(kInfo.begin(), kInfo.end(),
                                    [&](const InfoRow& row) { return row.name == what; });
    if (found != kInfo.end()) {
        return found->show(context, words);
    }
    std::string text;
    for (const InfoRow& row : kInfo) {
        text +=
            fmt::format("info {:<20} {}\n", fmt::format("{} {}", row.name, row.argument), row.help);
    }
    return text;
}

// What "xp" shows: so many units of so many bytes.
struct ExamineFormat {
    u64 count = 1;
    u64 size = 4;
};

// The word "/COUNTFORMATSIZE", e.g. "/16xb".
ExamineFormat parse_format(std::string_view format) {
    constexpr std::string_view kLetters = "bhwg";  // units of 1, 2, 4 and 8 bytes
    ExamineFormat result;
    const std::size_t digits = std::min(format.find_first_not_of("0123456789"), format.size());
    if (digits != 0) {
        result.count = parse_number(format.substr(0, digits)).value_or(1);
    }
    for (const char letter : format.substr(digits)) {
        if (const std::size_t unit = kLetters.find(letter); unit != std::string_view::npos) {
            result.size = u64{1} << unit;
        }
    }
    return result;
}

// xp [/COUNTFORMATSIZE] ADDRESS: physical memory.
std::string examine(Context& context, const Words& words) {
    constexpr std::string_view kUsage =
        "xp /[COUNT][x][b|h|w|g] ADDRESS (physical), e.g. xp /4xw 0x7c00\n";
    if (words.size() < 2) {
        return std::string(kUsage);
    }
    const bool formatted = words[1].starts_with('/');
    const auto [count, size] = formatted ? parse_format(words[1].substr(1)) : ExamineFormat{};
    const auto address = parse_number(words.back());
    constexpr u64 kMostUnits = 4096;
    if (!address || count > kMostUnits) {
        return std::string(kUsage);
    }
    std::string text;
    const u64 per_line = 16 / size;
    for (u64 i = 0; i < count; ++i) {
        std::array<u8, 8> bytes{};
        const PhysAddr at = *address + i * size;
        if (i % per_line == 0) {
            text += fmt::format("{}{:016x}:", i == 0 ? "" : "\n", at);
        }
        if (!context.pc.memory().read(at, std::span<u8>(bytes).first(size))) {
            return text + " not memory\n";
        }
        u64 value = 0;
        for (u64 k = size; k-- > 0;) {
            value = (value << 8) | bytes[k];
        }
        text += fmt::format(" 0x{:0{}x}", value, size * 2);
    }
    return text + "\n";
}

struct CommandRow {
    std::string_view name;
    std::string_view help;
    std::string (*execute)(Context&, const Words&);
};

std::string help(Context& context, const Words& words);

// clang-format off
constexpr std::array kCommands = {
    CommandRow{"help",         "this list",                             help},
    CommandRow{"info",         "WHAT: look at the machine (info lists what)", info},
    CommandRow{"xp",           "/FORMAT ADDRESS: show physical memory", examine},
    CommandRow{"stop",         "pause the machine",
               [](Context& c, const Words&) { c.control.set_paused(true); return std::string(); }},
    CommandRow{"cont",         "go on",
               [](Context& c, const Words&) { c.control.set_paused(false); return std::string(); }},
    CommandRow{"system_reset", "reset the machine",
               [](Context& c, const Words&) { c.control.request_reset(); return std::string(); }},
    CommandRow{"quit",         "end the run",
               [](Context& c, const Words&) { c.control.end(EndReason::Quit); return std::string(); }},
};
// clang-format on

std::string help(Context& /*context*/, const Words& /*words*/) {
    std::string text;
    for (const CommandRow& row : kCommands) {
        text += fmt::format("{:<13} {}\n", row.name, row.help);
    }
    return text;
}

Words split(std::string_view line) {
    Words words;
    while (!line.empty()) {
        const std::size_t start = line.find_first_not_of(' ');
        if (start == std::string_view::npos) {
            break;
        }
        line.remove_prefix(start);
        const std::size_t end = std::min(line.find(' '), line.size());
        words.push_back(line.substr(0, end));
        line.remove_prefix(end);
    }
    return words;
}

}  // namespace

Monitor::Monitor(CharBackend& console, Pc& pc, RunControl& control)
    : console_(console)
    , pc_(pc)
    , control_(control) {
    console_.set_receiver(this);
}

Monitor::~Monitor() {
    console_.set_receiver(nullptr);
}

void Monitor::print(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\n') {
            out.push_back('\r');
        }
        out.push_back(c);
    }
    console_.write({reinterpret_cast<const u8*>(out.data()), out.size()});
}

void Monitor::prompt() {
    line_.clear();
    print("(droste) ");
}

std::string Monitor::execute(std::string_view line) {
    const Words words = split(line);
    if (words.empty()) {
        return "";
    }
    // QEMU's short forms and "x", which here means the same as xp while paging is not followed.
    const std::string_view name = words[0] == "c" ? "cont" : words[0] == "q" ? "quit" : words[0];
    const auto command = std::find_if(kCommands.begin(), kCommands.end(),
                                      [&](const CommandRow& row) { return row.name == name; });
    if (command == kCommands.end()) {
        return fmt::format("unknown command '{}'; help lists them\n", words[0]);
    }
    Context context{pc_, control_};
    return command->execute(context, words);
}

void Monitor::receive(std::span<const u8> bytes) {
    constexpr u8 kBackspace = 0x08, kDelete = 0x7F;
    for (const u8 byte : bytes) {
        if (byte == '\r' || byte == '\n') {
            print("\n");
            print(execute(line_));
            prompt();
        } else if (byte == kBackspace || byte == kDelete) {
            if (!line_.empty()) {
                line_.pop_back();
                print("\b \b");
            }
        } else if (byte >= ' ') {
            line_.push_back(static_cast<char>(byte));
            print(std::string_view(&line_.back(), 1));
        }
    }
}

}  // namespace droste
