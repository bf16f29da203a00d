// MSRs of control-flow enforcement. SDM Vol. 4, "IA-32 Architectural MSRs"; Vol. 1, "Control-flow
// Enforcement Technology (CET)".

#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/system/cet.hpp"

#include <array>

namespace droste {

bool cet_control_loadable(const Vcpu& cpu, u64 value) {
    return cet_control_legal(cpu.features, value) &&
           is_canonical_register(cpu, value & cet::kLegacyBitmap);
}

bool ssp_loadable(const Vcpu& cpu, u64 ssp) {
    return is_canonical_register(cpu, ssp) && (ssp & 3) == 0;
}

namespace {

bool check_control(const Vcpu& cpu, u32 /*index*/, u64 value) {
    return cet_control_loadable(cpu, value);
}

template <u64 CpuState::*Field>
bool write_control(Vcpu& cpu, u32 /*index*/, u64 value) {
    cpu.state.*Field = value;
    mode_changed(cpu);
    return true;
}

bool check_ssp(const Vcpu& cpu, u32 /*index*/, u64 value) {
    return ssp_loadable(cpu, value);
}

bool check_table(const Vcpu& cpu, u32 /*index*/, u64 value) {
    return is_canonical_register(cpu, value);
}

constexpr u64 kAllBits = ~u64{0};

// clang-format off
constexpr auto kRows = std::to_array<MsrRow>({
    {.index = 0x6A0, .name = "IA32_U_CET", .feature = Feature::CET_SS, .writable = kAllBits, .field = &CpuState::u_cet,
     .check = check_control, .write = write_control<&CpuState::u_cet>, .alternative = Feature::CET_IBT},
    {.index = 0x6A2, .name = "IA32_S_CET", .feature = Feature::CET_SS, .writable = kAllBits, .field = &CpuState::s_cet,
     .check = check_control, .write = write_control<&CpuState::s_cet>, .alternative = Feature::CET_IBT},
    {.index = 0x6A4, .name = "IA32_PL0_SSP", .feature = Feature::CET_SS, .writable = kAllBits,
     .field = &CpuState::pl0_ssp, .check = check_ssp},
    {.index = 0x6A5, .name = "IA32_PL1_SSP", .feature = Feature::CET_SS, .writable = kAllBits,
     .field = &CpuState::pl1_ssp, .check = check_ssp},
    {.index = 0x6A6, .name = "IA32_PL2_SSP", .feature = Feature::CET_SS, .writable = kAllBits,
     .field = &CpuState::pl2_ssp, .check = check_ssp},
    {.index = 0x6A7, .name = "IA32_PL3_SSP", .feature = Feature::CET_SS, .writable = kAllBits,
     .field = &CpuState::pl3_ssp, .check = check_ssp},
    {.index = 0x6A8, .name = "IA32_INTERRUPT_SSP_TABLE_ADDR", .feature = Feature::CET_SS, .writable = kAllBits,
     .field = &CpuState::interrupt_ssp_table, .check = check_table},
});
// clang-format on

}  // namespace

std::span<const MsrRow> msr_rows_cet() {
    return kRows;
}

}  // namespace droste
