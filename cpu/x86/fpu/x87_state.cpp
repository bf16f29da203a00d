// See x87_state.hpp, x87.hpp.

#include "cpu/x86/fpu/x87_state.hpp"

#include "core/irq_line.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/state/features.hpp"

namespace droste {

Status x87_check_pending(Vcpu& cpu) {
    if ((cpu.state.x87.status & x87::kEs) == 0) [[likely]] {
        return Status::Next;
    }
    if ((cpu.state.cr0 & cr0::kNe) != 0) {
        return raise(cpu, Exception::MF);
    }
    if (cpu.ferr != nullptr) {
        cpu.ferr->set_level(true);
    }
    return Status::Next;
}

void x87_initialize(X87State& fpu) {
    fpu.control = x87::kInitialControl;
    fpu.status = 0;
    fpu.tag_valid = 0;
    fpu.opcode = 0;
    fpu.instruction_pointer = 0;
    fpu.data_pointer = 0;
    fpu.instruction_selector = 0;
    fpu.data_selector = 0;
}

namespace x87 {
namespace {

constexpr u16 kTagValid = 0, kTagZero = 1, kTagSpecial = 2, kTagEmpty = 3;

u16 tag_of(const X87State::Register& value) {
    const unsigned exponent = value.sign_exponent & 0x7FFFU;
    const bool integer_bit = (value.significand >> 63) != 0;
    if (exponent == 0 && value.significand == 0) {
        return kTagZero;
    }
    return exponent != 0 && exponent != 0x7FFF && integer_bit ? kTagValid : kTagSpecial;
}

}  // namespace

void update_error_line(Vcpu& cpu) {
    update_summary(cpu.state.x87);
    if (cpu.ferr != nullptr && (cpu.state.x87.status & kEs) == 0) {
        cpu.ferr->set_level(false);
    }
}

u16 full_tag_word(const X87State& fpu) {
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; ++i) {
        const u16 tag = ((fpu.tag_valid >> i) & 1) != 0 ? tag_of(fpu.st[i]) : kTagEmpty;
        tags |= static_cast<unsigned>(tag) << (2 * i);
    }
    return static_cast<u16>(tags);
}

void load_full_tag_word(X87State& fpu, u16 tags) {
    unsigned valid = 0;
    for (unsigned i = 0; i < 8; ++i) {
        valid |= ((tags >> (2 * i)) & 3) != kTagEmpty ? 1U << i : 0;
    }
    fpu.tag_valid = static_cast<u8>(valid);
}

void note_pointers(Vcpu& cpu, const Insn& insn) {
    X87State& fpu = cpu.state.x87;
    const bool zero_selectors = cpu.features.has(Feature::ZERO_FCS_FDS);
    fpu.opcode = static_cast<u16>(((insn.opcode & 7U) << 8) | insn.modrm);
    fpu.instruction_pointer = cpu.state.rip();
    fpu.instruction_selector = zero_selectors ? u16{0} : cpu.state.seg[CS].selector;
    const bool keeps_data_pointer =
        cpu.features.has(Feature::FDP_EXCPTN_ONLY) && (fpu.status & kEs) == 0;
    if (insn.mem() && !keeps_data_pointer) {
        fpu.data_pointer = effective_offset(cpu, insn);
        fpu.data_selector = zero_selectors ? u16{0} : cpu.state.seg[insn.seg].selector;
    }
}

}  // namespace x87
}  // namespace droste
