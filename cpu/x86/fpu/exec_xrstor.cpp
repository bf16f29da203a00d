// XRSTOR, XRSTORS. SDM Vol. 1, "Operation of XRSTOR", "Operation of XRSTORS".
//
// Everything is loaded and checked before any state changes.

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/exec_xsave.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"
#include "cpu/x86/fpu/legacy_area.hpp"
#include "cpu/x86/fpu/state_area.hpp"
#include "cpu/x86/fpu/x87_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/xstate.hpp"
#include "cpu/x86/system/cet.hpp"

#include <algorithm>
#include <array>

namespace droste {
namespace {

constexpr u32 kInitialMxcsr = 0x1F80;
constexpr u64 kCompactedBit = bit(63);

struct Header {
    u64 xstate_bv;
    u64 xcomp_bv;
    std::array<u64, 6> reserved;
};
static_assert(sizeof(Header) == xstate::kHeaderBytes);

struct RestorePlan {
    u64 rfbm;
    u64 load;    // components taken from memory; the rest of RFBM is initialized
    u64 layout;  // XCOMP_BV without bit 63
    bool compacted;
    bool mxcsr_from_memory;
    bool mxcsr_initial;
};

// The checks that raise #GP(0). `enabled` is XCR0, for XRSTORS with IA32_XSS.
bool header_legal(const Vcpu& cpu, const Header& header, u64 enabled, bool supervisor) {
    const bool compacted = (header.xcomp_bv & kCompactedBit) != 0;
    if (!compacted) {
        // "Standard form": bytes 23:8 of the header are zero.
        return !supervisor && (header.xstate_bv & ~enabled) == 0 && header.xcomp_bv == 0 &&
               header.reserved[0] == 0;
    }
    const u64 layout = header.xcomp_bv & ~kCompactedBit;
    const bool reserved_clear = std::all_of(header.reserved.begin(), header.reserved.end(),
                                            [](u64 word) { return word == 0; });
    const bool supported = supervisor || cpu.features.has(Feature::XSAVEC);
    return supported && (layout & ~enabled) == 0 && (header.xstate_bv & ~layout) == 0 &&
           reserved_clear;
}

RestorePlan plan_restore(const Vcpu& cpu, const Header& header, u64 enabled) {
    RestorePlan plan{};
    plan.rfbm = enabled & instruction_mask(cpu);
    plan.load = plan.rfbm & header.xstate_bv;
    plan.layout = header.xcomp_bv & ~kCompactedBit;
    plan.compacted = (header.xcomp_bv & kCompactedBit) != 0;
    if (plan.compacted) {
        plan.mxcsr_from_memory = (plan.load & xstate::kSse) != 0;
        plan.mxcsr_initial = (plan.rfbm & ~plan.load & xstate::kSse) != 0;
    } else {
        plan.mxcsr_from_memory = (plan.rfbm & (xstate::kSse | xstate::kAvx)) != 0;
    }
    return plan;
}

struct Components {
    std::array<u8, legacy_area::kBytes> legacy{};
    std::array<u8, 256> ymm_high{};
    u32 pkru = 0;
    std::array<u64, 2> cet_user{};        // IA32_U_CET, IA32_PL3_SSP
    std::array<u64, 3> cet_supervisor{};  // IA32_PL0_SSP .. IA32_PL2_SSP
};

// What WRMSR would refuse. SDM Vol. 1, "CET State".
bool cet_legal(const Vcpu& cpu, const Components& from) {
    return cet_control_loadable(cpu, from.cet_user[0]) && ssp_loadable(cpu, from.cet_user[1]) &&
           std::all_of(from.cet_supervisor.begin(), from.cet_supervisor.end(),
                       [&cpu](u64 ssp) { return ssp_loadable(cpu, ssp); });
}

Status load_component(Vcpu& cpu, u64 component, LinearAddr linear, SegReg seg, Components& out) {
    switch (component) {
    case xstate::kPkru: return load_linear(cpu, linear, out.pkru, seg);
    case xstate::kCetUser: return load_linear(cpu, linear, out.cet_user, seg);
    case xstate::kCetSupervisor: return load_linear(cpu, linear, out.cet_supervisor, seg);
    default: return load_area(cpu, linear, {out.ymm_high.data(), 16U * xmm_count(cpu)}, seg, 64);
    }
}

Status load_components(
    Vcpu& cpu, const Insn& insn, const RestorePlan& plan, LinearAddr linear, Components& out) {
    const auto seg = static_cast<SegReg>(insn.seg);
    if ((plan.load & (xstate::kX87 | xstate::kSse)) != 0 || plan.mxcsr_from_memory) {
        if (const Status status = load_area(cpu, linear, out.legacy, seg, 64);
            status != Status::Next) {
            return status;
        }
        if (plan.mxcsr_from_memory && (legacy_mxcsr(out.legacy) & ~kMxcsrMask) != 0) {
            return raise(cpu, Exception::GP, 0);
        }
    }
    for (const XstateComponent& component : kXstateComponents) {
        if (!test_bit(plan.load, component.number)) {
            continue;
        }
        const u32 offset = plan.compacted ? xsave_compacted_offset(plan.layout, component.number)
                                          : component.offset;
        if (const Status status =
                load_component(cpu, bit(component.number), linear + offset, seg, out);
            status != Status::Next) {
            return status;
        }
    }
    return cet_legal(cpu, out) ? Status::Next : raise(cpu, Exception::GP, 0);
}

void commit_x87(Vcpu& cpu, const Insn& insn, const RestorePlan& plan, const Components& from) {
    if ((plan.rfbm & xstate::kX87) == 0) {
        return;
    }
    if ((plan.load & xstate::kX87) != 0) {
        take_legacy_x87(cpu, insn.rex_w(), from.legacy);
        return;
    }
    cpu.state.x87.st.fill({});
    x87_initialize(cpu.state.x87);
    x87::update_error_line(cpu);
}

void commit_vectors(Vcpu& cpu, const RestorePlan& plan, const Components& from) {
    if ((plan.rfbm & xstate::kSse) != 0) {
        take_legacy_xmm(cpu, (plan.load & xstate::kSse) != 0 ? from.legacy : Components{}.legacy);
    }
    if (plan.mxcsr_from_memory) {
        cpu.state.mxcsr = legacy_mxcsr(from.legacy);
    } else if (plan.mxcsr_initial) {
        cpu.state.mxcsr = kInitialMxcsr;
    }
    if ((plan.rfbm & xstate::kAvx) != 0) {  // zeros where not loaded
        for (unsigned i = 0; i < xmm_count(cpu); ++i) {
            std::memcpy(cpu.state.ymm[i].bytes.data() + 16, from.ymm_high.data() + 16 * i, 16);
        }
    }
}

void commit_pkru(Vcpu& cpu, const RestorePlan& plan, const Components& from) {
    if ((plan.rfbm & xstate::kPkru) != 0) {
        write_pkru(cpu, from.pkru);
    }
}

void commit_cet(Vcpu& cpu, const RestorePlan& plan, const Components& from) {
    CpuState& s = cpu.state;
    if ((plan.rfbm & xstate::kCetUser) != 0) {
        s.u_cet = from.cet_user[0];
        s.pl3_ssp = from.cet_user[1];
        mode_changed(cpu);
    }
    if ((plan.rfbm & xstate::kCetSupervisor) != 0) {
        s.pl0_ssp = from.cet_supervisor[0];
        s.pl1_ssp = from.cet_supervisor[1];
        s.pl2_ssp = from.cet_supervisor[2];
    }
}

template <bool Supervisor>
Status exec_restore(Vcpu& cpu, const Insn& insn) {
    if (const Status status = xsave_ready(cpu, insn, Supervisor); status != Status::Next) {
        return status;
    }
    LinearAddr linear = 0;
    if (const Status status = area_address(cpu, insn, xstate::kExtendedOffset, false, linear);
        status != Status::Next) {
        return status;
    }
    if (linear % 64 != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    Header header;
    if (const Status status =
            load_linear(cpu, linear + xstate::kLegacyBytes, header, static_cast<SegReg>(insn.seg));
        status != Status::Next) {
        return status;
    }
    const u64 enabled = Supervisor ? cpu.state.xcr0 | cpu.state.xss : cpu.state.xcr0;
    if (!header_legal(cpu, header, enabled, Supervisor)) {
        return raise(cpu, Exception::GP, 0);
    }
    const RestorePlan plan = plan_restore(cpu, header, enabled);
    Components components;
    if (const Status status = load_components(cpu, insn, plan, linear, components);
        status != Status::Next) {
        return status;
    }
    commit_x87(cpu, insn, plan, components);
    commit_vectors(cpu, plan, components);
    commit_cet(cpu, plan, components);
    commit_pkru(cpu, plan, components);
    return Status::Sync;
}

}  // namespace

ExecFn select_xrstor(Vcpu& /*cpu*/, Insn& insn) {
    return insn.op == Op::XRSTORS ? exec_restore<true> : exec_restore<false>;
}

}  // namespace droste
