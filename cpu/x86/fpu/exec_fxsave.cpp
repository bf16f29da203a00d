// FXSAVE, FXRSTOR: "Save/Restore x87 FPU, MMX Technology, and SSE State".

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/exec_xsave.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"
#include "cpu/x86/fpu/legacy_area.hpp"
#include "cpu/x86/fpu/state_area.hpp"

#include <array>

namespace droste {
namespace {

using Area = std::array<u8, legacy_area::kBytes>;

// CR0.EM -> #UD, CR0.TS -> #NM, then the address, a multiple of 16.
Status fx_address(Vcpu& cpu, const Insn& insn, bool write, LinearAddr& linear) {
    if (const Status status = require_unit(cpu, Vcpu::kFpuEm); status != Status::Next) {
        return status;
    }
    if (const Status status = area_address(cpu, insn, legacy_area::kBytes, write, linear);
        status != Status::Next) {
        return status;
    }
    return linear % 16 != 0 ? raise(cpu, Exception::GP, 0) : Status::Next;
}

// With CR4.OSFXSR = 0 the XMM registers are neither stored nor loaded: the manual leaves it open,
// processors do so.
bool includes_xmm(const Vcpu& cpu) {
    return (cpu.state.cr4 & cr4::kOsfxsr) != 0;
}

}  // namespace

// Bytes 416 to 511 are not written; reserved ones before are written as zeros. No pending exception
// is raised.
Status exec_fxsave(Vcpu& cpu, const Insn& insn) {
    LinearAddr linear = 0;
    if (const Status status = fx_address(cpu, insn, true, linear); status != Status::Next) {
        return status;
    }
    const auto seg = static_cast<SegReg>(insn.seg);
    if (const Status status = probe_area(cpu, linear, legacy_area::kBytes, seg);
        status != Status::Next) {
        return status;
    }
    Area area{};
    put_legacy_x87(cpu.state.x87, insn.rex_w(), area);
    put_legacy_mxcsr(cpu.state, area);
    put_legacy_xmm(cpu, area);
    const unsigned bytes = includes_xmm(cpu) ? legacy_xmm_end(cpu) : legacy_area::kXmm;
    return store_area(cpu, linear, {area.data(), bytes}, seg, 64);
}

Status exec_fxrstor(Vcpu& cpu, const Insn& insn) {
    LinearAddr linear = 0;
    if (const Status status = fx_address(cpu, insn, false, linear); status != Status::Next) {
        return status;
    }
    Area area;
    if (const Status status = load_area(cpu, linear, area, static_cast<SegReg>(insn.seg), 64);
        status != Status::Next) {
        return status;
    }
    if (includes_xmm(cpu)) {
        const u32 mxcsr = legacy_mxcsr(area);
        if ((mxcsr & ~kMxcsrMask) != 0) {
            return raise(cpu, Exception::GP, 0);
        }
        cpu.state.mxcsr = mxcsr;
        take_legacy_xmm(cpu, area);
    }
    take_legacy_x87(cpu, insn.rex_w(), area);
    return Status::Next;
}

}  // namespace droste
