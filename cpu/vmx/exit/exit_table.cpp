// The VM exits of a run as a table. See exit_trace.hpp.

#include "cpu/vmx/explain/exit_trace.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace droste {

namespace {

struct Line {
    unsigned level;
    unsigned reason;
    ExitCost cost;
};

std::vector<Line> lines_of(std::span<const ExitTrace* const> traces) {
    std::vector<Line> lines;
    for (unsigned level = 0; level < kMaxLevels; ++level) {
        for (unsigned reason = 0; reason < kExitReasonLimit; ++reason) {
            ExitCost sum;
            for (const ExitTrace* trace : traces) {
                sum += trace->cost(level, reason);
            }
            if (sum.count != 0) {
                lines.push_back({level, reason, sum});
            }
        }
    }
    std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
        return a.level != b.level ? a.level < b.level : a.cost.count > b.cost.count;
    });
    return lines;
}

double ratio(u64 part, double whole) {
    return whole > 0 ? static_cast<double>(part) / whole : 0;
}

std::string
row(std::string_view level, std::string_view reason, const ExitCost& cost, double seconds) {
    const auto count = static_cast<double>(cost.count);
    return fmt::format("{:<4}{:<28}{:>12}{:>12.1f}{:>14.1f}{:>14.1f}\n", level, reason, cost.count,
                       ratio(cost.count, seconds), ratio(cost.instructions, count),
                       ratio(cost.ns, count));
}

}  // namespace

std::string exit_table(std::span<const ExitTrace* const> traces, double seconds) {
    u64 entries = 0, entry_flushes = 0, exit_flushes = 0;
    std::array<u64, kMaxLevels> entries_of{};
    for (const ExitTrace* trace : traces) {
        entry_flushes += trace->entry_flushes();
        exit_flushes += trace->exit_flushes();
        for (unsigned level = 0; level < kMaxLevels; ++level) {
            entries_of[level] += trace->entries(level);
            entries += trace->entries(level);
        }
    }
    const std::vector<Line> lines = lines_of(traces);
    if (entries == 0 && lines.empty()) {
        return {};
    }
    std::string text = fmt::format("{:<4}{:<28}{:>12}{:>12}{:>14}{:>14}\n", "", "VM exits", "count",
                                   "per second", "instructions", "ns each");
    unsigned level = 0;
    ExitCost all;
    for (const Line& line : lines) {
        if (line.level != level) {
            level = line.level;
            ExitCost sum;
            for (const Line& other : lines) {
                if (other.level == level) {
                    sum += other.cost;
                }
            }
            text += row(fmt::format("L{}", level),
                        fmt::format("all, {} VM entries", entries_of[level]), sum, seconds);
            all += sum;
        }
        text += row("", name_of(static_cast<ExitReason>(line.reason)), line.cost, seconds);
    }
    text += row("all", fmt::format("levels, {} VM entries", entries), all, seconds);
    text += fmt::format("{:<32}{:>12}\n{:<32}{:>12}\n", "TLB flushes by VM entries", entry_flushes,
                        "TLB flushes by VM exits", exit_flushes);
    return text;
}

}  // namespace droste
