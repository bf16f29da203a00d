// MSRs that say what the processor is, and the ones whose effect an emulator does not have:
// speculation controls, microcode, power. SDM Vol. 4, "Architectural MSRs".

#include "core/bits.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

namespace droste {

namespace {

// A revision no update can exceed, so that nobody tries one. Bits 63:32 of IA32_BIOS_SIGN_ID.
constexpr u64 kMicrocodeRevision = u64{0x7000'0001} << 32;

constexpr u64 kBusRatio = 10;  // 1 GHz from a 100 MHz bus clock; CPUID leaf 16H says the same
// maximum non-turbo, maximum efficiency ratio
constexpr u64 kPlatformInfo = (kBusRatio << 8) | (kBusRatio << 40);

// MSR_IA32_MISC_ENABLE. SDM Vol. 4, Table "IA-32 Architectural MSRs", 1A0H. Fast strings on, BTS
// and PEBS unavailable.
constexpr u64 kMiscEnableReset = bit(0) | bit(11) | bit(12);
constexpr u64 kMiscEnableWritable =
    bit(0) | bit(3) | bit(16) | bit(18) | bit(22) | bit(23) | bit(38);
// QUIRK(xd-disable): read-only bits, prefetcher and thermal switches of older models, and XD Bit Disable (34), which
// we do not have. A guest clears bit 34 before it has an IDT, so nothing here may fault that a real
// processor took.
constexpr u64 kMiscEnableIgnored = bit(2) | bit(7) | bit(9) | bit(10) | bit(11) | bit(12) |
                                   bit(13) | bit(19) | bit(20) | bit(24) | bit(34) | bit(37) |
                                   bit(39);

// IA32_ARCH_CAPABILITIES: affected by nothing, so that guests skip the mitigations.
constexpr u64 kArchCapabilities = bit(0) |   // RDCL_NO
                                  bit(3) |   // SKIP_L1DFL_VMENTRY
                                  bit(4) |   // SSB_NO
                                  bit(5) |   // MDS_NO
                                  bit(6) |   // IF_PSCHANGE_MC_NO
                                  bit(8) |   // TAA_NO
                                  bit(13) |  // SBDR_SSDP_NO
                                  bit(14) |  // FBSDP_NO
                                  bit(15) |  // PSDP_NO
                                  bit(20) |  // BHI_NO
                                  bit(24) |  // PBRSB_NO
                                  bit(26) |  // GDS_NO
                                  bit(27) |  // RFDS_NO
                                  bit(62);   // ITS_NO: only ever set for virtual processors
constexpr u64 kIbrsAll = bit(1);             // enhanced IBRS: set once, never switched

bool read_arch_capabilities(Vcpu& cpu, u32 /*index*/, u64& value) {
    value = kArchCapabilities | (cpu.features.has(Feature::SPEC_CTRL) ? kIbrsAll : 0);
    return true;
}

bool read_core_thread_count(Vcpu& cpu, u32 /*index*/, u64& value) {
    value = (u64{cpu.features.vcpu_count} << 16) | cpu.features.vcpu_count;
    return true;
}

// SDM Vol. 4, IA32_SPEC_CTRL: STIBP is accepted where only IBRS exists; SSBD needs its own CPUID
// bit.
bool check_spec_ctrl(const Vcpu& cpu, u32 /*index*/, u64 value) {
    return !test_bit(value, 2) || cpu.features.has(Feature::SSBD);
}

// Commands that clear predictors or caches: nothing to clear.
bool write_command(Vcpu& /*cpu*/, u32 /*index*/, u64 /*value*/) {
    return true;
}

using enum MsrAccess;

// clang-format off
constexpr auto kRows = std::to_array<MsrRow>({
    {.index = 0x000, .name = "IA32_P5_MC_ADDR", .writable = ~u64{0}, .count = 2},  // and IA32_P5_MC_TYPE
    {.index = 0x006, .name = "IA32_MONITOR_FILTER_SIZE", .feature = Feature::MONITOR, .reset = 64, .writable = 0xFFFF},
    {.index = 0x017, .name = "IA32_PLATFORM_ID", .access = ReadOnly},
    {.index = 0x02A, .name = "MSR_EBL_CR_POWERON", .access = ReadOnly},
    {.index = 0x033, .name = "MSR_MEMORY_CTRL", .writable = bit(31)},  // split-lock disable; a locked access is always atomic
    {.index = 0x034, .name = "MSR_SMI_COUNT", .access = ReadOnly},
    {.index = 0x035, .name = "MSR_CORE_THREAD_COUNT", .access = ReadOnly, .read = read_core_thread_count},
    {.index = 0x048, .name = "IA32_SPEC_CTRL", .feature = Feature::SPEC_CTRL, .writable = 7, .check = check_spec_ctrl},
    {.index = 0x049, .name = "IA32_PRED_CMD", .feature = Feature::SPEC_CTRL, .access = WriteOnly, .writable = 1,
     .write = write_command},
    {.index = 0x079, .name = "IA32_BIOS_UPDT_TRIG", .access = WriteOnly, .writable = ~u64{0}, .write = write_command},
    // Software writes 0, executes CPUID leaf 1 and reads the revision back: the write is accepted and forgotten.
    {.index = 0x08B, .name = "IA32_BIOS_SIGN_ID", .reset = kMicrocodeRevision, .ignored = ~u64{0}},
    {.index = 0x0CE, .name = "MSR_PLATFORM_INFO", .reset = kPlatformInfo, .ignored = ~u64{0}},
    {.index = 0x0E2, .name = "MSR_PKG_CST_CONFIG_CONTROL", .reset = bit(15), .ignored = 0xFFFF'FFFF},  // locked
    {.index = 0x10A, .name = "IA32_ARCH_CAPABILITIES", .feature = Feature::ARCH_CAPABILITIES, .access = ReadOnly,
     .read = read_arch_capabilities},
    {.index = 0x10B, .name = "IA32_FLUSH_CMD", .feature = Feature::L1D_FLUSH, .access = WriteOnly, .writable = 1,
     .write = write_command},
    {.index = 0x11E, .name = "MSR_BBL_CR_CTL3", .reset = bit(0) | bit(8), .ignored = 0xFFFF'FFFF},  // L2 enabled
    {.index = 0x140, .name = "MSR_MISC_FEATURES_ENABLES"},  // no CPUID faulting, no ring-3 MWAIT
    {.index = 0x198, .name = "IA32_PERF_STATUS", .access = ReadOnly, .reset = kBusRatio << 8},
    {.index = 0x199, .name = "IA32_PERF_CTL", .reset = kBusRatio << 8, .writable = 0xFFFF | bit(32)},
    {.index = 0x1A0, .name = "IA32_MISC_ENABLE", .reset = kMiscEnableReset, .writable = kMiscEnableWritable,
     .ignored = kMiscEnableIgnored},
    {.index = 0x1FC, .name = "MSR_POWER_CTL", .writable = 0xFFFF'FFFF},
    {.index = 0x345, .name = "IA32_PERF_CAPABILITIES", .feature = Feature::PDCM, .access = ReadOnly},
    // Energy counters that stand still, for tools that read them unasked.
    {.index = 0x606, .name = "MSR_RAPL_POWER_UNIT", .access = ReadOnly},
    {.index = 0x611, .name = "MSR_PKG_ENERGY_STATUS", .access = ReadOnly},
    {.index = 0x619, .name = "MSR_DRAM_ENERGY_STATUS", .access = ReadOnly},
    {.index = 0x639, .name = "MSR_PP0_ENERGY_STATUS", .access = ReadOnly},
    {.index = 0x641, .name = "MSR_PP1_ENERGY_STATUS", .access = ReadOnly},
});
// clang-format on

}  // namespace

std::span<const MsrRow> msr_rows_platform() {
    return kRows;
}

}  // namespace droste
