// MSRs of the memory hierarchy: MTRRs, PAT, and the machine-check banks.
//
// Memory types have no effect here (there is one coherent memory), but firmware and kernels write,
// check and copy them between processors, so they are validated exactly. SDM Vol. 3A, "Memory Type
// Range Registers (MTRRs)" and "Page Attribute Table (PAT)"; Vol. 3B, "Machine-Check Architecture".

#include "core/bits.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

namespace droste {

namespace {

constexpr u64 kVariableRanges = 8;
constexpr u64 kMtrrCap = kVariableRanges | bit(8) | bit(10);  // VCNT, fixed ranges, write-combining
constexpr u32 kBanks = 4;
constexpr u64 kMcgCap = kBanks | bit(8);  // IA32_MCG_CTL present; no CMCI, no extended MSRs

constexpr u64 kMtrrTypes = bit(0) | bit(1) | bit(4) | bit(5) | bit(6);  // UC, WC, WT, WP, WB
constexpr u64 kPatTypes = kMtrrTypes | bit(7);                          // and UC-

constexpr bool type_in(u64 types, u64 type) {
    return type < 8 && test_bit(types, static_cast<unsigned>(type));
}

constexpr bool all_types_in(u64 types, u64 value) {
    for (unsigned byte = 0; byte < 8; ++byte) {
        if (!type_in(types, (value >> (byte * 8)) & 0xFF)) {
            return false;
        }
    }
    return true;
}

bool check_pat(const Vcpu& /*cpu*/, u32 /*index*/, u64 value) {
    return all_types_in(kPatTypes, value);
}

bool check_mtrr_fixed(const Vcpu& /*cpu*/, u32 /*index*/, u64 value) {
    return all_types_in(kMtrrTypes, value);
}

// PHYSBASE (even): type 7:0, base. PHYSMASK (odd): valid 11, mask.
bool check_mtrr_variable(const Vcpu& cpu, u32 index, u64 value) {
    const u64 address_bits = (bit(cpu.features.physical_address_bits) - 1) & kPageMask;
    if ((index & 1) != 0) {
        return (value & ~(address_bits | bit(11))) == 0;
    }
    return (value & ~(address_bits | 0xFF)) == 0 && type_in(kMtrrTypes, value & 0xFF);
}

bool check_mtrr_default(const Vcpu& /*cpu*/, u32 /*index*/, u64 value) {
    return type_in(kMtrrTypes, value & 0xFF);
}

// IA32_MCi_CTL takes anything; STATUS, ADDR and MISC only 0. SDM Vol. 3B, "IA32_MCi_STATUS MSRs".
bool check_machine_check_bank(const Vcpu& /*cpu*/, u32 index, u64 value) {
    return (index & 3) == 0 || value == 0;
}

using enum MsrAccess;

// clang-format off
constexpr auto kRows = std::to_array<MsrRow>({
    {.index = 0x0FE, .name = "IA32_MTRRCAP", .feature = Feature::MTRR, .access = ReadOnly, .reset = kMtrrCap},
    {.index = 0x179, .name = "IA32_MCG_CAP", .feature = Feature::MCA, .access = ReadOnly, .reset = kMcgCap},
    {.index = 0x17A, .name = "IA32_MCG_STATUS", .feature = Feature::MCA, .writable = 7},
    {.index = 0x17B, .name = "IA32_MCG_CTL", .feature = Feature::MCA, .reset = ~u64{0}, .writable = ~u64{0}},
    {.index = 0x200, .name = "IA32_MTRR_PHYSBASE/PHYSMASK", .feature = Feature::MTRR, .writable = ~u64{0},
     .check = check_mtrr_variable, .count = 2 * kVariableRanges},
    {.index = 0x250, .name = "IA32_MTRR_FIX64K_00000", .feature = Feature::MTRR, .writable = ~u64{0},
     .check = check_mtrr_fixed},
    {.index = 0x258, .name = "IA32_MTRR_FIX16K", .feature = Feature::MTRR, .writable = ~u64{0}, .check = check_mtrr_fixed,
     .count = 2},
    {.index = 0x268, .name = "IA32_MTRR_FIX4K", .feature = Feature::MTRR, .writable = ~u64{0}, .check = check_mtrr_fixed,
     .count = 8},
    {.index = 0x277, .name = "IA32_PAT", .feature = Feature::PAT, .reset = 0x0007'0406'0007'0406, .writable = ~u64{0},
     .field = &CpuState::pat, .check = check_pat},
    {.index = 0x2FF, .name = "IA32_MTRR_DEF_TYPE", .feature = Feature::MTRR, .writable = 0xFF | bit(10) | bit(11),
     .check = check_mtrr_default},
    {.index = 0x400, .name = "IA32_MCi_CTL/STATUS/ADDR/MISC", .feature = Feature::MCA, .writable = ~u64{0},
     .check = check_machine_check_bank, .count = 4 * kBanks},
});
// clang-format on

}  // namespace

std::span<const MsrRow> msr_rows_memory() {
    return kRows;
}

}  // namespace droste
