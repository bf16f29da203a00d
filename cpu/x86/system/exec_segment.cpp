// MOV to and from segment registers, LES..LGS, and the instructions that look at descriptors or
// load the system segment registers: LAR, LSL, VERR, VERW, ARPL, SLDT, STR, LLDT, LTR. Far
// transfers are in exec_far.cpp.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/exec_system.hpp"
#include "cpu/x86/system/protection.hpp"
#include "cpu/x86/system/segment.hpp"

#include <array>

namespace droste {

namespace {

bool has_protected_segments(const Vcpu& cpu) {
    return cpu.mode.protected_mode && !cpu.mode.virtual8086;
}

void set_zero_flag(Vcpu& cpu, bool zero) {
    const u64 status = cpu.state.flags.status();
    cpu.state.flags = LazyFlags::from_status(zero ? status | rflags::kZf : status & ~rflags::kZf);
}

// MOV Sreg, r/m16. SDM Vol. 2B, "MOV—Move". Loading SS holds off interrupts and debug traps for one
// instruction.
Status exec_mov_sreg_to(Vcpu& cpu, const Insn& insn) {
    const auto reg = static_cast<SegReg>(insn.reg);
    if (reg == CS || reg >= kSegRegCount) {
        return raise(cpu, Exception::UD);
    }
    u16 selector = 0;
    if (const Status status = read_e(cpu, insn, selector); status != Status::Next) {
        return status;
    }
    if (const Status status = load_segment(cpu, reg, selector); status != Status::Next) {
        return status;
    }
    if (reg != SS) {
        return Status::Next;
    }
    cpu.state.interruptibility |= blocking::kMovSs;
    update_attention(cpu);
    return Status::Sync;
}

Status exec_mov_sreg_from(Vcpu& cpu, const Insn& insn) {
    if (insn.reg >= kSegRegCount) {
        return raise(cpu, Exception::UD);
    }
    return store_zero_extended(cpu, insn, cpu.state.seg[insn.reg].selector);
}

// LDS, LES, LFS, LGS, LSS: offset, then selector. SDM Vol. 2A, "LDS/LES/LFS/LGS/LSS—Load Far
// Pointer".
template <SegReg Reg>
Status exec_load_far_pointer(Vcpu& cpu, const Insn& insn) {
    FarPointer pointer;
    if (const Status status = load_far_pointer(cpu, insn, pointer); status != Status::Next) {
        return status;
    }
    if (const Status status = load_segment(cpu, Reg, pointer.selector); status != Status::Next) {
        return status;
    }
    write_gpr_sized(cpu, insn.reg, insn.width, pointer.offset);
    return Reg == SS ? Status::Sync : Status::Next;
}

// --- looking at descriptors ----------------------------------------------------------------------

// Is `selector` visible at CPL and RPL? Conforming code is visible to all.
bool visible(const Vcpu& cpu, u16 selector, const Descriptor& d) {
    const bool conforming_code = is_code(d) && is_conforming(d);
    return conforming_code || (cpu.mode.cpl <= d.dpl() && rpl_of(selector) <= d.dpl());
}

// Bit n: LAR / LSL accept system type n. SDM Vol. 2A, Tables "Segment and Gate Types" of LAR and
// LSL.
constexpr u16 kLarTypes = 0b0001'1010'0011'1110;       // 1 2 3 4 5 9 B C
constexpr u16 kLarTypesIa32e = 0b0001'1010'0000'0100;  // 2 9 B C
constexpr u16 kLslTypes = 0b0000'1010'0000'1110;       // 1 2 3 9 B
constexpr u16 kLslTypesIa32e = 0b0000'1010'0000'0100;  // 2 9 B

// The common part: reads the selector and its descriptor; `found` = false leaves only ZF = 0 to do.
Status look_up(Vcpu& cpu, const Insn& insn, Descriptor& d, u16& selector, bool& found) {
    found = false;
    if (!has_protected_segments(cpu)) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = read_e(cpu, insn, selector); status != Status::Next) {
        return status;
    }
    return null_selector(selector) ? Status::Next : find_descriptor(cpu, selector, d, found);
}

Status exec_lar(Vcpu& cpu, const Insn& insn) {
    Descriptor d;
    u16 selector = 0;
    bool found = false;
    if (const Status status = look_up(cpu, insn, d, selector, found); status != Status::Next) {
        return status;
    }
    const u16 types = ia32e_mode(cpu) ? kLarTypesIa32e : kLarTypes;
    found = found && (!d.system() || test_bit(types, d.type())) && visible(cpu, selector, d);
    if (found) {
        // Bits 19:16 of the doubleword are undefined by the manual; processors show the limit bits
        // that lie there.
        write_gpr_sized(cpu, insn.reg, insn.width, (d.raw >> 32) & 0x00FF'FF00);
    }
    set_zero_flag(cpu, found);
    return Status::Next;
}

Status exec_lsl(Vcpu& cpu, const Insn& insn) {
    Descriptor d;
    u16 selector = 0;
    bool found = false;
    if (const Status status = look_up(cpu, insn, d, selector, found); status != Status::Next) {
        return status;
    }
    const u16 types = ia32e_mode(cpu) ? kLslTypesIa32e : kLslTypes;
    found = found && (!d.system() || test_bit(types, d.type())) && visible(cpu, selector, d);
    if (found) {
        write_gpr_sized(cpu, insn.reg, insn.width, d.limit());
    }
    set_zero_flag(cpu, found);
    return Status::Next;
}

Status exec_verr(Vcpu& cpu, const Insn& insn) {
    Descriptor d;
    u16 selector = 0;
    bool found = false;
    if (const Status status = look_up(cpu, insn, d, selector, found); status != Status::Next) {
        return status;
    }
    set_zero_flag(cpu, found && is_data_or_readable_code(d) && visible(cpu, selector, d));
    return Status::Next;
}

Status exec_verw(Vcpu& cpu, const Insn& insn) {
    Descriptor d;
    u16 selector = 0;
    bool found = false;
    if (const Status status = look_up(cpu, insn, d, selector, found); status != Status::Next) {
        return status;
    }
    set_zero_flag(cpu, found && is_writable_data(d) && visible(cpu, selector, d));
    return Status::Next;
}

// ARPL r/m16, r16: raises the destination's RPL to the source's.
Status exec_arpl(Vcpu& cpu, const Insn& insn) {
    if (!has_protected_segments(cpu)) {
        return raise(cpu, Exception::UD);
    }
    const unsigned rpl = rpl_of(read_gpr<u16>(cpu, insn.reg));
    bool adjusted = false;
    const auto adjust = [&](u16 selector) -> u16 {
        adjusted = rpl_of(selector) < rpl;
        return adjusted ? with_rpl(selector, rpl) : selector;
    };
    if (const Status status = modify_e<u16>(cpu, insn, adjust); status != Status::Next) {
        return status;
    }
    set_zero_flag(cpu, adjusted);
    return Status::Next;
}

// --- LDTR and TR ---------------------------------------------------------------------------------

Status exec_sldt(Vcpu& cpu, const Insn& insn) {
    if (!has_protected_segments(cpu)) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = check_umip(cpu); status != Status::Next) {
        return status;
    }
    if (intercepted(cpu, insn, Interceptable::SLDT, memory_operand_offset(cpu, insn))) {
        return Status::Switched;
    }
    return store_zero_extended(cpu, insn, cpu.state.ldtr.selector);
}

Status exec_str(Vcpu& cpu, const Insn& insn) {
    if (!has_protected_segments(cpu)) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = check_umip(cpu); status != Status::Next) {
        return status;
    }
    if (intercepted(cpu, insn, Interceptable::STR, memory_operand_offset(cpu, insn))) {
        return Status::Switched;
    }
    return store_zero_extended(cpu, insn, cpu.state.tr.selector);
}

// What LLDT and LTR check alike before they read a descriptor.
Status begin_system_segment_load(Vcpu& cpu, const Insn& insn, Interceptable kind, u16& selector) {
    if (!has_protected_segments(cpu)) {
        return raise(cpu, Exception::UD);
    }
    if (cpu.mode.cpl != 0) {
        return raise(cpu, Exception::GP, 0);
    }
    if (intercepted(cpu, insn, kind, memory_operand_offset(cpu, insn))) {
        return Status::Switched;
    }
    return read_e(cpu, insn, selector);
}

// Reads a system descriptor that must lie in the GDT; in IA-32e mode its upper type field must be
// 0.
Status read_system_descriptor(Vcpu& cpu, u16 selector, Descriptor& d) {
    if (names_ldt(selector)) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    if (const Status status = read_descriptor(cpu, selector, Exception::GP, d);
        status != Status::Next) {
        return status;
    }
    const bool upper_half_bad = ia32e_mode(cpu) && (((d.raw_high >> 40) & 0x1F) != 0 ||
                                                    !is_canonical_register(cpu, d.base()));
    return d.system() && !upper_half_bad ? Status::Next
                                         : raise(cpu, Exception::GP, selector_error(selector));
}

// LLDT r/m16. SDM Vol. 2A, "LLDT—Load Local Descriptor Table Register".
Status exec_lldt(Vcpu& cpu, const Insn& insn) {
    u16 selector = 0;
    if (const Status status = begin_system_segment_load(cpu, insn, Interceptable::LLDT, selector);
        status != Status::Next) {
        return status;
    }
    if (null_selector(selector)) {
        cpu.state.ldtr = null_segment(selector);
        return Status::Sync;
    }
    Descriptor d;
    if (const Status status = read_system_descriptor(cpu, selector, d); status != Status::Next) {
        return status;
    }
    if (d.type() != system_type::kLdt) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    if (!d.present()) {
        return raise(cpu, Exception::NP, selector_error(selector));
    }
    cpu.state.ldtr = system_segment_from(selector, d);
    return Status::Sync;
}

// LTR r/m16. SDM Vol. 2A, "LTR—Load Task Register". Marks the TSS busy, does not switch to it.
Status exec_ltr(Vcpu& cpu, const Insn& insn) {
    u16 selector = 0;
    if (const Status status = begin_system_segment_load(cpu, insn, Interceptable::LTR, selector);
        status != Status::Next) {
        return status;
    }
    if (null_selector(selector)) {
        return raise(cpu, Exception::GP, 0);
    }
    Descriptor d;
    if (const Status status = read_system_descriptor(cpu, selector, d); status != Status::Next) {
        return status;
    }
    if (!is_available_tss(cpu, d)) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    if (!d.present()) {
        return raise(cpu, Exception::NP, selector_error(selector));
    }
    if (const Status status = set_tss_busy(cpu, selector, true); status != Status::Next) {
        return status;
    }
    cpu.state.tr = system_segment_from(selector, d);
    cpu.state.tr.rights |= system_type::kBusyBit;
    return Status::Sync;
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::MOV_SREG_TO, always<exec_mov_sreg_to>},
    {Op::MOV_SREG_FROM, always<exec_mov_sreg_from>},
    {Op::LES, always<exec_load_far_pointer<ES>>},
    {Op::LDS, always<exec_load_far_pointer<DS>>},
    {Op::LSS, always<exec_load_far_pointer<SS>>},
    {Op::LFS, always<exec_load_far_pointer<FS>>},
    {Op::LGS, always<exec_load_far_pointer<GS>>},
    {Op::LAR, always<exec_lar>},
    {Op::LSL, always<exec_lsl>},
    {Op::VERR, always<exec_verr>},
    {Op::VERW, always<exec_verw>},
    {Op::ARPL, always<exec_arpl>},
    {Op::SLDT, always<exec_sldt>},
    {Op::STR, always<exec_str>},
    {Op::LLDT, always<exec_lldt>},
    {Op::LTR, always<exec_ltr>},
    {Op::JMP_FAR, always<exec_jmp_far>},
    {Op::CALL_FAR, always<exec_call_far>},
    {Op::RET_FAR, always<exec_ret_far>},
    {Op::IRET, always<interrupt_return>},
    {Op::SYSCALL, always<exec_syscall>},
    {Op::SYSRET, always<exec_sysret>},
    {Op::SYSENTER, always<exec_sysenter>},
    {Op::SYSEXIT, always<exec_sysexit>},
});

}  // namespace

std::span<const ExecRow> exec_rows_segment() {
    return kRows;
}

}  // namespace droste
