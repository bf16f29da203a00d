// XSAVE, XSAVEOPT, XSAVEC, XSAVES; XGETBV, XSETBV. SDM Vol. 1, "Managing State Using the XSAVE
// Feature Set".
//
// The init optimization is exact (a component that is in its initial configuration is not written);
// the modified optimization is not used, which the manual allows.

#include "cpu/x86/fpu/exec_xsave.hpp"

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"
#include "cpu/x86/fpu/legacy_area.hpp"
#include "cpu/x86/fpu/state_area.hpp"
#include "cpu/x86/model/xstate.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/control_regs.hpp"

#include <algorithm>
#include <array>

namespace droste {
namespace {

constexpr u32 kInitialMxcsr = 0x1F80;
constexpr u64 kCompactedBit = bit(63);
constexpr std::size_t kAreaBytes = 2696;  // standard format, all components
using Area = std::array<u8, kAreaBytes>;

bool x87_in_use(const X87State& fpu) {
    const bool registers =
        std::any_of(fpu.st.begin(), fpu.st.end(), [](const X87State::Register& value) {
            return value.significand != 0 || value.sign_exponent != 0;
        });
    return registers || fpu.control != x87::kInitialControl || fpu.status != 0 ||
           fpu.tag_valid != 0 || fpu.opcode != 0 || fpu.instruction_pointer != 0 ||
           fpu.data_pointer != 0 || fpu.instruction_selector != 0 || fpu.data_selector != 0;
}

// Bit 0: some bit of XMM0.. is set, bit 1: some bit of the upper halves.
unsigned vector_halves_in_use(const Vcpu& cpu) {
    std::array<u64, 4> any{};
    for (unsigned i = 0; i < xmm_count(cpu); ++i) {
        std::array<u64, 4> words{};
        std::memcpy(words.data(), cpu.state.ymm[i].bytes.data(), sizeof(words));
        for (unsigned k = 0; k < 4; ++k) {
            any[k] |= words[k];
        }
    }
    return ((any[0] | any[1]) != 0 ? 1U : 0U) | ((any[2] | any[3]) != 0 ? 2U : 0U);
}

struct SavePlan {
    u64 rfbm;
    u64 in_use;
    u64 components;  // written
    bool mxcsr;      // MXCSR and MXCSR_MASK written
    bool compacted;
};

SavePlan plan_save(const Vcpu& cpu, XsaveKind kind) {
    u64 enabled = cpu.state.xcr0;
    if (kind == XsaveKind::XSAVES) {
        enabled |= cpu.state.xss;
    }
    SavePlan plan{};
    plan.rfbm = enabled & instruction_mask(cpu);
    plan.in_use = xinuse(cpu);
    plan.components = plan.rfbm;
    plan.compacted = kind == XsaveKind::XSAVEC || kind == XsaveKind::XSAVES;
    if (kind != XsaveKind::XSAVE) {
        plan.components &= plan.in_use;
    }
    // In the standard format MXCSR goes with SSE and AVX, in the compacted one with SSE only.
    plan.mxcsr = plan.compacted ? (plan.components & xstate::kSse) != 0
                                : (plan.rfbm & (xstate::kSse | xstate::kAvx)) != 0;
    return plan;
}

u32 component_offset(const XstateComponent& component, const SavePlan& plan) {
    return plan.compacted ? xsave_compacted_offset(plan.rfbm, component.number) : component.offset;
}

void put_words(std::initializer_list<u64> words, std::span<u8> out) {
    std::memcpy(out.data(), words.begin(), words.size() * sizeof(u64));
}

void put_component(const Vcpu& cpu, const XstateComponent& component, std::span<u8> out) {
    const CpuState& s = cpu.state;
    switch (bit(component.number)) {
    case xstate::kPkru: put_words({s.pkru}, out); return;
    case xstate::kCetUser: put_words({s.u_cet, s.pl3_ssp}, out); return;
    case xstate::kCetSupervisor: put_words({s.pl0_ssp, s.pl1_ssp, s.pl2_ssp}, out); return;
    default: break;
    }
    for (unsigned i = 0; i < xmm_count(cpu); ++i) {
        std::memcpy(out.data() + 16 * i, cpu.state.ymm[i].bytes.data() + 16, 16);
    }
}
unsigned component_bytes(const Vcpu& cpu, const XstateComponent& component) {
    return bit(component.number) == xstate::kAvx ? 16 * xmm_count(cpu) : component.bytes;
}

// The byte ranges an XSAVE writes, ascending; what lies between them stays as it is.
class WriteList {
  public:
    void add(std::size_t first, std::size_t end) {
        if (count_ != 0 && ranges_[count_ - 1].end == first) {
            ranges_[count_ - 1].end = end;
        } else {
            ranges_[count_++] = {first, end};
        }
    }
    template <typename Visit>
    Status each(Visit&& visit) const {
        for (std::size_t i = 0; i < count_; ++i) {
            if (const Status status = visit(ranges_[i].first, ranges_[i].end);
                status != Status::Next) {
                return status;
            }
        }
        return Status::Next;
    }

  private:
    struct Range {
        std::size_t first, end;
    };
    std::array<Range, 8> ranges_{};
    std::size_t count_ = 0;
};

// Fills `area` and lists what of it is written. `old_xstate_bv` is what the header holds.
WriteList compose(const Vcpu& cpu,
                  const Insn& insn,
                  const SavePlan& plan,
                  u64 old_xstate_bv,
                  std::span<u8> area) {
    WriteList list;
    const bool x87 = (plan.components & xstate::kX87) != 0;
    if (x87) {
        put_legacy_x87(cpu.state.x87, insn.rex_w(), area);
        list.add(legacy_area::kX87First, legacy_area::kMxcsr);
    }
    if (plan.mxcsr) {
        put_legacy_mxcsr(cpu.state, area);
        list.add(legacy_area::kMxcsr, legacy_area::kRegisters);
    }
    if (x87) {
        list.add(legacy_area::kRegisters, legacy_area::kXmm);
    }
    if ((plan.components & xstate::kSse) != 0) {
        put_legacy_xmm(cpu, area);
        list.add(legacy_area::kXmm, legacy_xmm_end(cpu));
    }
    const u64 xstate_bv =
        plan.compacted ? plan.components : (old_xstate_bv & ~plan.rfbm) | (plan.in_use & plan.rfbm);
    const u64 xcomp_bv = plan.rfbm | kCompactedBit;
    std::memcpy(area.data() + xstate::kLegacyBytes, &xstate_bv, 8);
    std::memcpy(area.data() + xstate::kLegacyBytes + 8, &xcomp_bv, 8);
    list.add(xstate::kLegacyBytes, xstate::kLegacyBytes + (plan.compacted ? 16U : 8U));
    for (const XstateComponent& component : kXstateComponents) {
        if (test_bit(plan.components, component.number)) {
            const u32 offset = component_offset(component, plan);
            put_component(cpu, component, area.subspan(offset));
            list.add(offset, offset + component_bytes(cpu, component));
        }
    }
    return list;
}

template <XsaveKind Kind>
Status exec_save(Vcpu& cpu, const Insn& insn) {
    if (const Status status = xsave_ready(cpu, insn, Kind == XsaveKind::XSAVES);
        status != Status::Next) {
        return status;
    }
    const SavePlan plan = plan_save(cpu, Kind);
    const auto seg = static_cast<SegReg>(insn.seg);
    const u32 extent =
        plan.compacted ? xsave_compacted_bytes(plan.rfbm) : xsave_standard_bytes(plan.rfbm);
    LinearAddr linear = 0;
    if (const Status status = area_address(cpu, insn, extent, true, linear);
        status != Status::Next) {
        return status;
    }
    if (linear % 64 != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    u64 old_xstate_bv = 0;
    if (!plan.compacted) {
        if (const Status status =
                load_linear(cpu, linear + xstate::kLegacyBytes, old_xstate_bv, seg);
            status != Status::Next) {
            return status;
        }
    }
    Area area;
    const WriteList list = compose(cpu, insn, plan, old_xstate_bv, area);
    if (const Status status = list.each([&](std::size_t first, std::size_t end) {
            return probe_area(cpu, linear + first, end - first, seg);
        });
        status != Status::Next) {
        return status;
    }
    return list.each([&](std::size_t first, std::size_t end) {
        return store_area(cpu, linear + first, {area.data() + first, end - first}, seg, 64);
    });
}

// XGETBV: ECX = 0: XCR0; ECX = 1: XCR0 & XINUSE.
Status exec_xgetbv(Vcpu& cpu, const Insn& /*insn*/) {
    CpuState& s = cpu.state;
    if ((s.cr4 & cr4::kOsxsave) == 0) {
        return raise(cpu, Exception::UD);
    }
    const auto index = static_cast<u32>(s.gpr[RCX]);
    if (index > 1 || (index == 1 && !cpu.features.has(Feature::XGETBV1))) {
        return raise(cpu, Exception::GP, 0);
    }
    const u64 value = index == 0 ? s.xcr0 : s.xcr0 & xinuse(cpu);
    s.gpr[RAX] = static_cast<u32>(value);
    s.gpr[RDX] = value >> 32;
    return Status::Next;
}

// XSETBV: a VM exit whenever executed in VMX non-root operation.
Status exec_xsetbv(Vcpu& cpu, const Insn& insn) {
    CpuState& s = cpu.state;
    if ((s.cr4 & cr4::kOsxsave) == 0) {
        return raise(cpu, Exception::UD);
    }
    if (cpu.mode.cpl != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    if (cpu.non_root.intercepts != nullptr &&
        cpu.non_root.intercepts->instruction(cpu, insn, Interceptable::XSETBV, 0)) {
        return Status::Switched;
    }
    const Status status = write_xcr0(cpu, static_cast<u32>(s.gpr[RCX]), instruction_mask(cpu));
    return status == Status::Next ? Status::Sync : status;
}

template <ExecFn kExec>
ExecFn always(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return kExec;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::FXSAVE, always<exec_fxsave>},
    {Op::FXRSTOR, always<exec_fxrstor>},
    {Op::XSAVE, select_xsave},
    {Op::XSAVEOPT, select_xsave},
    {Op::XSAVEC, select_xsave},
    {Op::XSAVES, select_xsave},
    {Op::XRSTOR, select_xrstor},
    {Op::XRSTORS, select_xrstor},
    {Op::XGETBV, always<exec_xgetbv>},
    {Op::XSETBV, always<exec_xsetbv>},
    {Op::LDMXCSR, select_ldmxcsr},
    {Op::STMXCSR, select_stmxcsr},
});

}  // namespace

u64 instruction_mask(const Vcpu& cpu) {
    return (cpu.state.gpr[RDX] << 32) | static_cast<u32>(cpu.state.gpr[RAX]);
}

u64 xinuse(const Vcpu& cpu) {
    u64 mask = x87_in_use(cpu.state.x87) ? xstate::kX87 : 0;
    const unsigned halves = vector_halves_in_use(cpu);
    mask |= cpu.state.mxcsr != kInitialMxcsr || (halves & 1) != 0 ? xstate::kSse : 0;
    mask |= (halves & 2) != 0 ? xstate::kAvx : 0;
    const CpuState& s = cpu.state;
    mask |= s.pkru != 0 ? xstate::kPkru : 0;
    mask |= (s.u_cet | s.pl3_ssp) != 0 ? xstate::kCetUser : 0;
    mask |= (s.pl0_ssp | s.pl1_ssp | s.pl2_ssp) != 0 ? xstate::kCetSupervisor : 0;
    return mask;
}

// SDM Vol. 3C, "Instructions That Cause VM Exits Conditionally", XSAVES and XRSTORS.
Status xsave_ready(Vcpu& cpu, const Insn& insn, bool supervisor) {
    const auto kind = insn.op == Op::XSAVES ? Interceptable::XSAVES : Interceptable::XRSTORS;
    const bool enabled = !supervisor || cpu.non_root.intercepts == nullptr ||
                         cpu.non_root.intercepts->instruction_enabled(cpu, kind);
    if (!enabled) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_unit(cpu, Vcpu::kFpuNoOsxsave); status != Status::Next) {
        return status;
    }
    if (!supervisor) {
        return Status::Next;
    }
    if (cpu.mode.cpl != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    const bool exited =
        cpu.non_root.intercepts != nullptr &&
        cpu.non_root.intercepts->instruction(cpu, insn, kind, instruction_mask(cpu));
    return exited ? Status::Switched : Status::Next;
}

ExecFn select_xsave(Vcpu& /*cpu*/, Insn& insn) {
    switch (insn.op) {
    case Op::XSAVE: return exec_save<XsaveKind::XSAVE>;
    case Op::XSAVEOPT: return exec_save<XsaveKind::XSAVEOPT>;
    case Op::XSAVEC: return exec_save<XsaveKind::XSAVEC>;
    default: return exec_save<XsaveKind::XSAVES>;
    }
}

std::span<const ExecRow> exec_rows_xsave() {
    return kRows;
}

}  // namespace droste
