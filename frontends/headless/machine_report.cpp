#include "frontends/headless/machine_report.hpp"

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "frontends/debugger/vmx_report.hpp"
#include "jit/engine.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace droste {

namespace {

struct CounterRow {
    std::string_view name;
    u64 VcpuCounters::*member;
};

// clang-format off
constexpr std::array kRows = {
    CounterRow{"blocks entered",        &VcpuCounters::blocks},
    CounterRow{"blocks decoded",        &VcpuCounters::block_misses},
    CounterRow{"writes to code pages",  &VcpuCounters::smc_writes},
    CounterRow{"data TLB misses",       &VcpuCounters::tlb_misses},
    CounterRow{"code TLB misses",       &VcpuCounters::code_tlb_misses},
    CounterRow{"TLB flushes",           &VcpuCounters::tlb_flushes},
    CounterRow{"page walks",            &VcpuCounters::page_walks},
    CounterRow{"address-space switches", &VcpuCounters::context_switches},
    CounterRow{"exceptions",            &VcpuCounters::exceptions},
    CounterRow{"  page faults",         &VcpuCounters::page_faults},
    CounterRow{"interrupts",            &VcpuCounters::interrupts},
    CounterRow{"NMIs",                  &VcpuCounters::nmis},
    CounterRow{"halts",                 &VcpuCounters::halts},
    CounterRow{"port accesses",         &VcpuCounters::pio_accesses},
    CounterRow{"MMIO accesses",         &VcpuCounters::mmio_accesses},
    CounterRow{"VM entries",            &VcpuCounters::vm_entries},
    CounterRow{"VM exits",              &VcpuCounters::vm_exits},
};
// clang-format on

u64 total_instructions(Pc& pc) {
    u64 total = 0;
    for (const auto& cpu : pc.vcpus()) {
        total += cpu->icount;
    }
    return total;
}

u64 vendor_results(Pc& pc) {
    u64 total = 0;
    for (const auto& cpu : pc.vcpus()) {
        total += cpu->thunks->vendor_results(cpu->index);
    }
    return total;
}

std::string describe_segment(std::string_view name, const Segment& segment) {
    return fmt::format("{:<4} {:04x} {:016x} {:08x} {:05x}\n", name, segment.selector, segment.base,
                       segment.limit, segment.rights);
}

std::string describe_vcpu(const Vcpu& cpu) {
    static constexpr std::array<std::string_view, 16> kNames = {
        "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
        "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
    static constexpr std::array<std::string_view, 6> kSegments = {"ES", "CS", "SS",
                                                                  "DS", "FS", "GS"};
    static constexpr std::array<std::string_view, 4> kActivities = {"active", "HLT", "shutdown",
                                                                    "wait-for-SIPI"};
    const CpuState& s = cpu.state;
    std::string text = fmt::format("CPU#{} ({}, {}-bit code, CPL {})\n", cpu.index,
                                   kActivities[static_cast<std::size_t>(s.activity)],
                                   cpu.mode.code_bits, cpu.mode.cpl);
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        text += fmt::format("{}={:016x}{}", kNames[i], s.gpr[i], i % 4 == 3 ? "\n" : " ");
    }
    text += fmt::format("RIP={:016x} RFL={:08x}\n", s.rip(), s.rflags());
    for (std::size_t i = 0; i < kSegments.size(); ++i) {
        text += describe_segment(kSegments[i], s.seg[i]);
    }
    text += describe_segment("LDT", s.ldtr);
    text += describe_segment("TR", s.tr);
    text += fmt::format("GDT  {:016x} {:04x}\nIDT  {:016x} {:04x}\n", s.gdtr.base, s.gdtr.limit,
                        s.idtr.base, s.idtr.limit);
    text += fmt::format("CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x} EFER={:x}\n", s.cr0, s.cr2,
                        s.cr3, s.cr4, s.efer);
    if ((s.cr4 & cr4::kCet) != 0) {
        text += fmt::format("SSP={:016x} S_CET={:x} U_CET={:x} PL0_SSP={:x} PL3_SSP={:x}\n", s.ssp,
                            s.s_cet, s.u_cet, s.pl0_ssp, s.pl3_ssp);
    }
    return text;
}

constexpr std::array kDeathRows = {"  killed: code written", "  killed: memory layout",
                                   "  killed: no room"};
static_assert(kDeathRows.size() == static_cast<std::size_t>(BlockDeath::kCount));

std::string row(std::string_view name, u64 value) {
    return fmt::format("{:<24}{:>16}\n", name, value);
}
std::string ratio_row(std::string_view name, u64 value, u64 of, double scale) {
    const double ratio = of == 0 ? 0 : static_cast<double>(value) / static_cast<double>(of) * scale;
    return fmt::format("{:<24}{:>16.3f}\n", name, ratio);
}

// The instructions that the interpreter executed most, one a line.
std::string describe_interpreted(const jit::EngineStatistics& engines, u64 instructions) {
    constexpr std::size_t kShown = 10;
    std::vector<std::size_t> ops(engines.by_op.size());
    std::iota(ops.begin(), ops.end(), std::size_t{0});
    std::stable_sort(ops.begin(), ops.end(), [&](std::size_t a, std::size_t b) {
        return engines.by_op[a] > engines.by_op[b];
    });
    std::string text;
    for (std::size_t i = 0; i < kShown && engines.by_op[ops[i]] != 0; ++i) {
        const u64 count = engines.by_op[ops[i]];
        text += fmt::format("interpreted {:<12}{:>16} {:>10.4f} % of all instructions\n",
                            mnemonic(static_cast<Op>(ops[i])), count,
                            100.0 * static_cast<double>(count) / static_cast<double>(instructions));
    }
    return text;
}

// What the translator did (docs/jit/index.md).
std::string describe_translator(const Pc& pc, u64 instructions) {
    if (pc.translated_code() == nullptr) {
        return {};
    }
    const auto [engines, cache] = jit::statistics(*pc.translated_code());
    u64 misses = 0;
    for (const auto& cpu : pc.vcpus()) {
        misses += cpu->counters.tlb_misses;
    }
    std::string text = row("interpreted", engines.interpreted());
    text += row("  in cold code", engines.cold);
    text += row("  not carried over", engines.not_carried);
    text += row("  access not plain", engines.slow);
    text += ratio_row("interpreted, %", engines.interpreted(), instructions, 100);
    text += row("entries from C++", engines.entries);
    text += ratio_row("  per 1000 instructions", engines.entries, instructions, 1000);
    text += row("entries behind interpreted ones", engines.rejoined);
    text += ratio_row("TLB misses per 1000", misses, instructions, 1000);
    text += row("translations made", cache.made);
    for (std::size_t i = 0; i < kDeathRows.size(); ++i) {
        text += row(kDeathRows[i], cache.killed[i]);
    }
    text += row("  killed: windows fail", cache.killed_for_windows);
    text += row("  killed: slots miss", cache.killed_for_slots);
    text += row("regions of code evicted", cache.evictions);
    text += row("links made", cache.links);
    text += row("jump tables cleared", engines.jump_table_clears);
    text += row("code bytes made", cache.made_code_bytes);
    text += ratio_row("  per guest byte", cache.made_code_bytes, cache.made_guest_bytes, 1);
    text += row("code bytes present", cache.code_bytes);
    text += row("table bytes present", cache.table_bytes);
    text += row("translation time, ns", cache.translation_ns);
    text += ratio_row("  per instruction, ns", cache.translation_ns, cache.made_guest_insns, 1);
    return text + describe_interpreted(engines, instructions);
}

}  // namespace

std::string describe_registers(const Pc& pc) {
    std::string text;
    for (const auto& cpu : pc.vcpus()) {
        text += describe_vcpu(*cpu);
    }
    return text;
}

std::string describe_counters(Pc& pc, std::optional<std::chrono::nanoseconds> elapsed) {
    const u64 instructions = total_instructions(pc);
    std::string text = fmt::format("{:<24}", "");
    const bool many = pc.vcpus().size() > 1;
    text += fmt::format("{:>16}", "total");
    if (many) {
        for (const auto& cpu : pc.vcpus()) {
            text += fmt::format("{:>16}", fmt::format("CPU#{}", cpu->index));
        }
    }
    text += fmt::format("\n{:<24}{:>16}", "instructions", instructions);
    if (many) {
        for (const auto& cpu : pc.vcpus()) {
            text += fmt::format("{:>16}", cpu->icount);
        }
    }
    text += "\n";
    for (const CounterRow& row : kRows) {
        u64 sum = 0;
        for (const auto& cpu : pc.vcpus()) {
            sum += cpu->counters.*row.member;
        }
        text += fmt::format("{:<24}{:>16}", row.name, sum);
        if (many) {
            for (const auto& cpu : pc.vcpus()) {
                text += fmt::format("{:>16}", cpu->counters.*row.member);
            }
        }
        text += "\n";
    }
    // The vCPUs share their code.
    text += fmt::format("{:<24}{:>16}\n", "blocks invalidated",
                        pc.vcpus().front()->blocks->invalidated());
    text += fmt::format("{:<24}{:>16}\n", "vendor-dependent results", vendor_results(pc));
    text += fmt::format("{:<24}{:>16}\n", "accesses to nothing", pc.bus().unclaimed_accesses());
    text += fmt::format("{:<24}{:>16.3f}\n", "virtual time, s",
                        static_cast<double>(pc.clock().now_ns()) / 1e9);
    text += fmt::format("{:<24}{:>16}\n", "RAM touched, MiB", pc.memory().resident_bytes() >> 20);
    text += describe_translator(pc, instructions);
    text += describe_exits(pc);
    if (elapsed) {
        const double seconds = static_cast<double>(elapsed->count()) / 1e9;
        text += fmt::format("{:<24}{:>16.3f}\n", "time, s", seconds);
        text += fmt::format("{:<24}{:>16.1f}\n", "MIPS",
                            static_cast<double>(instructions) / 1e6 / seconds);
    }
    return text;
}

}  // namespace droste
