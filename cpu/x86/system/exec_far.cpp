// JMP, CALL and RET far: where the far pointer comes from. What happens to it is in
// far_transfer.cpp and far_return.cpp.

#include "cpu/x86/system/exec_system.hpp"
#include "cpu/x86/system/segment.hpp"

namespace droste {

Status
operand_address(Vcpu& cpu, const Insn& insn, unsigned bytes, bool write, LinearAddr& linear) {
    return linear_address(cpu, static_cast<SegReg>(insn.seg), effective_offset(cpu, insn), bytes,
                          write, linear);
}

Status load_far_pointer(Vcpu& cpu, const Insn& insn, FarPointer& out) {
    const auto seg = static_cast<SegReg>(insn.seg);
    const unsigned bytes = insn.opsize;
    LinearAddr linear = 0;
    if (const Status status = operand_address(cpu, insn, bytes + 2, false, linear);
        status != Status::Next) {
        return status;
    }
    u64 offset = 0;
    if (const Status status = load_slow(cpu, linear, &offset, bytes, seg); status != Status::Next) {
        return status;
    }
    const LinearAddr behind =
        cpu.mode.long_mode64 ? linear + bytes : static_cast<u32>(linear + bytes);
    if (const Status status = load_slow(cpu, behind, &out.selector, 2, seg);
        status != Status::Next) {
        return status;
    }
    out.offset = offset;
    return Status::Next;
}

namespace {

Status far_operand(Vcpu& cpu, const Insn& insn, FarPointer& out) {
    if (insn.form == Form::I) {
        out = {insn.opsize == 2 ? insn.imm & 0xFFFF : insn.imm & 0xFFFF'FFFF, insn.imm2};
        return Status::Next;
    }
    if (!insn.mem()) {
        return raise(cpu, Exception::UD);
    }
    return load_far_pointer(cpu, insn, out);
}

}  // namespace

Status exec_jmp_far(Vcpu& cpu, const Insn& insn) {
    FarPointer target;
    const Status status = far_operand(cpu, insn, target);
    return status == Status::Next ? far_jump(cpu, insn, target.selector, target.offset) : status;
}

Status exec_call_far(Vcpu& cpu, const Insn& insn) {
    FarPointer target;
    const Status status = far_operand(cpu, insn, target);
    return status == Status::Next ? far_call(cpu, insn, target.selector, target.offset) : status;
}

Status exec_ret_far(Vcpu& cpu, const Insn& insn) {
    return far_return(cpu, insn, insn.form == Form::I ? static_cast<u16>(insn.imm) : 0);
}

}  // namespace droste
