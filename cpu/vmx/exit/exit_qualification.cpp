#include "cpu/vmx/exit/exit_qualification.hpp"

#include "cpu/x86/vcpu.hpp"

namespace droste {

u64 cr_access_qualification(const Insn& insn, Intercepts::CrAccess access, u8 cr, u64 lmsw_source) {
    u64 qualification = cr | (static_cast<u64>(access) << 4);
    if (access == Intercepts::CrAccess::Lmsw) {
        qualification |= (insn.mem() ? u64{1} << 6 : 0) | ((lmsw_source & 0xFFFF) << 16);
    } else if (access != Intercepts::CrAccess::Clts) {
        qualification |= u64{insn.rm} << 8;
    }
    return qualification;
}

u64 mov_dr_qualification(const Insn& insn) {
    const bool from_dr = insn.op == Op::MOV_DR_FROM;
    return (insn.reg & 7U) | (from_dr ? u64{1} << 4 : 0) | (u64{insn.rm} << 8);
}

bool is_string_io(const Insn& insn) {
    return insn.op == Op::INS || insn.op == Op::OUTS;
}

u64 io_qualification(const Insn& insn, u16 port, unsigned size, IoDirection direction) {
    const bool repeated = is_string_io(insn) && (insn.rep() || insn.repne());
    const bool immediate = !is_string_io(insn) && insn.form != Form::None;
    return (size - 1) | (direction == IoDirection::In ? 1U << 3 : 0) |
           (is_string_io(insn) ? 1U << 4 : 0) | (repeated ? 1U << 5 : 0) |
           (immediate ? 1U << 6 : 0) | (u64{port} << 16);
}

}  // namespace droste
