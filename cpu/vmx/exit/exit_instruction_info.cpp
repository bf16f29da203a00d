// The VM-exit instruction-information field. SDM Vol. 3C, Tables "Format of the VM-Exit
// Instruction-Information Field as Used for ...".

#include "core/bits.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

namespace {

constexpr u32 kRegisterOperand = 1U << 10;
constexpr u32 kIndexInvalid = 1U << 22;
constexpr u32 kBaseInvalid = 1U << 27;

u32 size_code(unsigned bytes) {  // 0: 16-bit, 1: 32-bit, 2: 64-bit
    return bytes == 2 ? 0 : bytes == 4 ? 1 : 2;
}

// Bits 1:0, 9:7, 17:15, 27:18: the memory operand.
u32 memory_operand(const Insn& insn) {
    u32 info = (insn.scale & 3U) | (size_code(insn.addrsize) << 7) | (u32{insn.seg} << 15);
    info |= insn.index < 16 ? u32{insn.index} << 18 : kIndexInvalid;
    info |= insn.base < 16 ? u32{insn.base} << 23 : kBaseInvalid;
    return info;
}

// Bits 29:28 of LGDT.. and LLDT..: which of the four.
u32 identity(Op op) {
    switch (op) {
    case Op::SIDT:
    case Op::STR: return 1U << 28;
    case Op::LGDT:
    case Op::LLDT: return 2U << 28;
    case Op::LIDT:
    case Op::LTR: return 3U << 28;
    default: return 0;  // SGDT, SLDT
    }
}

}  // namespace

u32 instruction_information(const Insn& insn) {
    const u32 operand =
        insn.mem() ? memory_operand(insn) : kRegisterOperand | (u32{insn.rm & 15U} << 3);
    switch (insn.op) {
    case Op::INS:
    case Op::OUTS:
        return (size_code(insn.addrsize) << 7) | (insn.op == Op::OUTS ? u32{insn.seg} << 15 : 0);
    case Op::INVEPT:
    case Op::INVVPID:
    case Op::INVPCID:
    case Op::VMREAD:
    case Op::VMWRITE: return operand | (u32{insn.reg & 15U} << 28);
    case Op::SGDT:
    case Op::SIDT:
    case Op::LGDT:
    case Op::LIDT: return operand | (insn.opsize != 2 ? 1U << 11 : 0) | identity(insn.op);
    case Op::SLDT:
    case Op::STR:
    case Op::LLDT:
    case Op::LTR: return operand | identity(insn.op);
    case Op::RDRAND:
    case Op::RDSEED: return (u32{insn.rm & 15U} << 3) | (size_code(insn.opsize) << 11);
    case Op::TPAUSE:
    case Op::UMWAIT: return u32{insn.rm & 15U} << 3;
    case Op::VMCLEAR:
    case Op::VMPTRLD:
    case Op::VMPTRST:
    case Op::VMXON:
    case Op::XSAVES:
    case Op::XRSTORS: return operand;
    default: return 0;
    }
}

void fill_operand_information(const Vcpu& cpu, const Insn& insn, ExitInfo& info) {
    info.instruction_info = instruction_information(insn);
    if (insn.mem() && !is_string_io(insn) && info.instruction_info != 0) {
        // RIP-relative: Insn::disp counts from the start of the instruction, so RIP + disp is the
        // address.
        const u64 rip = insn.base == kRipSlot ? cpu.state.rip() : 0;
        info.qualification = static_cast<u64>(insn.disp) + rip;
    }
}

}  // namespace droste
