#pragma once
// Control-flow enforcement: shadow stacks and indirect-branch tracking. SDM Vol. 1, "Control-flow
// Enforcement Technology (CET)".
//
// What is on at the present privilege level is derived state (ModeState::cet, refreshed by
// mode_changed()) and part of the key of decoded blocks: with CET off, and in code it does not
// cover, no instruction does anything for it.

#include "core/bits.hpp"
#include "core/types.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/state/features.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// IA32_U_CET and IA32_S_CET. SDM Vol. 4, "IA-32 Architectural MSRs".
namespace cet {
inline constexpr u64 kShadowStack = 1U << 0;       // SH_STK_EN
inline constexpr u64 kWriteShadowStack = 1U << 1;  // WR_SHSTK_EN: WRSS allowed
inline constexpr u64 kEndbranch = 1U << 2;         // ENDBR_EN
inline constexpr u64 kLegacyTreatment = 1U << 3;   // LEG_IW_EN: ask the bit map
inline constexpr u64 kNoTrack = 1U << 4;           // NO_TRACK_EN: prefix 3EH means something
inline constexpr u64 kSuppressDisable = 1U << 5;   // SUPPRESS_DIS
inline constexpr u64 kReserved = 0x3C0;
inline constexpr u64 kSuppress = 1U << 10;
inline constexpr u64 kTracker = 1U << 11;  // 1: WAIT_FOR_ENDBRANCH
inline constexpr u64 kLegacyBitmap = ~u64{0xFFF};
inline constexpr u64 kOfShadowStacks = kShadowStack | kWriteShadowStack;
}  // namespace cet

// Error codes of #CP. SDM Vol. 3A, "Interrupt 21—Control Protection Exception (#CP)".
enum class ControlProtection : u32 {
    NearReturn = 1,
    FarReturn = 2,
    Endbranch = 3,
    Rstorssp = 4,
    Setssbsy = 5,
};
inline Status raise(Vcpu& cpu, ControlProtection reason) {
    return raise(cpu, Exception::CP, static_cast<u32>(reason));
}

// May a MSR of the two hold `value` on a CPU with `features`? Whether bits 63:12 are canonical is
// another question.
inline bool cet_control_legal(const CpuFeatures& features, u64 value) {
    u64 allowed = features.has(Feature::CET_SS) ? cet::kOfShadowStacks : 0;
    allowed |= features.has(Feature::CET_IBT) ? ~(cet::kOfShadowStacks | cet::kReserved) : 0;
    const bool both = (value & cet::kSuppress) != 0 && (value & cet::kTracker) != 0;
    return (value & ~allowed) == 0 && !both;
}

// What WRMSR and XRSTORS let into IA32_U_CET, IA32_S_CET and into IA32_PLn_SSP.
bool cet_control_loadable(const Vcpu& cpu, u64 value);
bool ssp_loadable(const Vcpu& cpu, u64 ssp);

// The MSR in charge of privilege level `cpl`, and IA32_PLn_SSP.
inline u64& cet_control(CpuState& state, unsigned cpl) {
    return cpl == 3 ? state.u_cet : state.s_cet;
}
inline u64 cet_control(const CpuState& state, unsigned cpl) {
    return cpl == 3 ? state.u_cet : state.s_cet;
}
inline u64& level_ssp(CpuState& state, unsigned cpl) {
    u64* const ssp[] = {&state.pl0_ssp, &state.pl1_ssp, &state.pl2_ssp, &state.pl3_ssp};
    return *ssp[cpl];
}

// ShadowStackEnabled(cpl) and EndbranchEnabled(cpl) of the manual's operation sections.
inline bool cet_in_force(const Vcpu& cpu, unsigned cpl, u64 bit) {
    return (cpu.state.cr4 & cr4::kCet) != 0 && cpu.mode.protected_mode && !cpu.mode.virtual8086 &&
           (cet_control(cpu.state, cpl) & bit) != 0;
}
inline bool shadow_stack_enabled(const Vcpu& cpu, unsigned cpl) {
    return cet_in_force(cpu, cpl, cet::kShadowStack);
}
inline bool endbranch_enabled(const Vcpu& cpu, unsigned cpl) {
    return cet_in_force(cpu, cpl, cet::kEndbranch);
}

}  // namespace droste
