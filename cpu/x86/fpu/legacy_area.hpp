#pragma once
// The 512-byte legacy region, which FXSAVE stores alone and XSAVE as the first part of its area.
// SDM Vol. 1, "Legacy Region of an XSAVE Area"; SDM Vol. 2A, "FXSAVE", Tables "Layout".

#include "cpu/x86/vcpu.hpp"

#include <span>

namespace droste {

namespace legacy_area {
inline constexpr unsigned kBytes = 512, kX87First = 0, kMxcsr = 24, kMxcsrMask = 28,
                          kRegisters = 32, kXmm = 160;
}  // namespace legacy_area

// XMM registers a mode can name; only they are stored and loaded.
inline unsigned xmm_count(const Vcpu& cpu) {
    return cpu.mode.long_mode64 ? 16 : 8;
}
inline unsigned legacy_xmm_end(const Vcpu& cpu) {
    return legacy_area::kXmm + 16 * xmm_count(cpu);
}

// `wide_pointers`: REX.W, 64-bit FIP and FDP without selectors.
void put_legacy_x87(const X87State& fpu, bool wide_pointers, std::span<u8> area);
void put_legacy_mxcsr(const CpuState& state, std::span<u8> area);
void put_legacy_xmm(const Vcpu& cpu, std::span<u8> area);

void take_legacy_x87(Vcpu& cpu, bool wide_pointers, std::span<const u8> area);
void take_legacy_xmm(Vcpu& cpu, std::span<const u8> area);
u32 legacy_mxcsr(std::span<const u8> area);

}  // namespace droste
