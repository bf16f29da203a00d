#pragma once
// Small operations on X87State: the stack, tags, error summary and the instruction and data
// pointers.

#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/fpu/x87.hpp"
#include "cpu/x86/state/cpu_state.hpp"

namespace droste::x87 {

inline unsigned top(const X87State& fpu) {
    return (fpu.status & kTopMask) >> kTopShift;
}
inline void set_top(X87State& fpu, unsigned value) {
    fpu.status = static_cast<u16>((fpu.status & ~u32{kTopMask}) | ((value & 7) << kTopShift));
}
// The physical register behind ST(i).
inline unsigned physical(const X87State& fpu, unsigned i) {
    return (top(fpu) + i) & 7;
}
inline X87State::Register& st(X87State& fpu, unsigned i) {
    return fpu.st[physical(fpu, i)];
}
inline bool empty(const X87State& fpu, unsigned i) {
    return ((fpu.tag_valid >> physical(fpu, i)) & 1) == 0;
}
inline void set_valid(X87State& fpu, unsigned i) {
    fpu.tag_valid = static_cast<u8>(fpu.tag_valid | (1U << physical(fpu, i)));
}
inline void set_empty(X87State& fpu, unsigned i) {
    fpu.tag_valid = static_cast<u8>(fpu.tag_valid & ~(1U << physical(fpu, i)));
}
inline void pop(X87State& fpu) {
    set_empty(fpu, 0);
    set_top(fpu, top(fpu) + 1);
}
// Makes room for a new ST(0). Requires: ST(7) is empty.
inline X87State::Register& push(X87State& fpu) {
    set_top(fpu, top(fpu) - 1);
    set_valid(fpu, 0);
    return st(fpu, 0);
}
inline void set_c1(X87State& fpu, bool value) {
    fpu.status = static_cast<u16>((fpu.status & ~kC1) | (value ? kC1 : 0));
}

// The exceptions of `status` that `control` does not mask.
inline u16 unmasked(u16 status, u16 control) {
    return static_cast<u16>(status & ~control & kExceptions);
}
// ES, and B which mirrors it, follow from the flags and masks.
inline void update_summary(X87State& fpu) {
    const bool pending = unmasked(fpu.status, fpu.control) != 0;
    fpu.status = static_cast<u16>((fpu.status & ~(kEs | kBusy)) | (pending ? kEs | kBusy : 0));
}
// update_summary(), and FERR# falls when nothing is pending any more. For the instructions that
// clear or load flags and masks.
void update_error_line(Vcpu& cpu);

inline u16 loadable_control(u16 value) {
    return static_cast<u16>((value & kControlDefined) | 0x40);
}

// The two-bit tags of FSTENV and FSAVE, physical register 0 in bits 1:0. SDM Vol. 1, "x87 FPU Tag
// Word".
u16 full_tag_word(const X87State& fpu);
void load_full_tag_word(X87State& fpu, u16 tags);

// FIP, FCS, FOP and, with a memory operand, FDP and FDS, of a non-control instruction.
// SDM Vol. 1, "x87 FPU Instruction and Data (Operand) Pointers".
void note_pointers(Vcpu& cpu, const Insn& insn);

}  // namespace droste::x87
