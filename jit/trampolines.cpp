// In translated code RSP is the vCPU and every other register the guest's (layout.hpp). C++ runs on
// the stack of the engine that entered:
//
//   enter      saves what the ABI wants kept, remembers the stack, loads the guest's registers
//   leave      the other way round
//   interpret  stores the guest's registers, calls the engine on its own stack, loads them again
//   leave_by_row  to the address in t1 if a row of the jump table has it that is not its own place,
//              where t0 points; else as leave
//   load_vector, load_x87  load those registers, which the ways to C++ store (vector_state.hpp,
//              x87_state.hpp)
//
// The status flags are in TranslatedCode::status on each of these ways.

#include "jit/trampolines.hpp"

#include "jit/layout.hpp"
#include "jit/vector_state.hpp"
#include "jit/x87_state.hpp"

#include <array>

namespace droste::jit {

namespace {

constexpr std::array<u8, 6> kCalleeSaved = {kRbx, kRbp, kR12, kR13, kR14, kR15};

void push(Emitter& e, unsigned reg) {
    if (reg >= 8) {
        e.byte(0x41);
    }
    e.byte(0x50 | (reg & 7));
}
void pop(Emitter& e, unsigned reg) {
    if (reg >= 8) {
        e.byte(0x41);
    }
    e.byte(0x58 | (reg & 7));
}

void load_registers(Emitter& e) {
    for (unsigned guest = 0; guest < kHome.size(); ++guest) {
        if (kHome[guest] != kNoReg) {
            e.load(kHome[guest], at_rsp(layout::gpr(guest)));
        }
    }
    e.load(kBudget, at_rsp(layout::kRemaining));
}
void store_registers(Emitter& e) {
    for (unsigned guest = 0; guest < kHome.size(); ++guest) {
        if (kHome[guest] != kNoReg) {
            e.store(at_rsp(layout::gpr(guest)), kHome[guest]);
        }
    }
    e.store(at_rsp(layout::kRemaining), kBudget);
}

void return_to_engine(Emitter& e) {
    e.alu_imm(0, kRsp, 8 + layout::frame::kBytes);
    for (std::size_t i = kCalleeSaved.size(); i-- > 0;) {
        pop(e, kCalleeSaved[i]);
    }
    e.byte(0xC3);
}

}  // namespace

std::size_t
make_trampolines(CodeMemory& memory, bool avx, InterpretFn interpret, Trampolines& out) {
    constexpr std::size_t kMost = 4096;
    Emitter e{memory.writable(), kMost};
    const auto here = [&] { return memory.executable(e.at()); };
    const auto align = [&] {
        while (e.size() % 64 != 0) {
            e.byte(0xCC);
        }
    };

    out.enter =
        reinterpret_cast<u32 (*)(Vcpu*, const u8*)>(reinterpret_cast<std::uintptr_t>(here()));
    for (const u8 reg : kCalleeSaved) {
        push(e, reg);
    }
    push(e, kRdi);  // the vCPU; and the stack is aligned now
    e.alu_imm(5, kRsp, layout::frame::kBytes);
    e.store({.base = kRdi, .disp = layout::kNativeStack}, kRsp);
    e.store({.base = kRdi, .disp = layout::kTarget}, kRsi);
    e.mov(kRsp, kRdi);
    load_registers(e);
    e.jmp_mem(at_rsp(layout::kTarget));

    align();
    out.leave_by_row = here();
    for (const u8 step : JumpTable::kSteps) {
        e.alu_imm(6, kT0, step);  // xor
        e.rm({.opcode = 0x3B, .w = true}, kT1, {.base = kT0});
        u8* another = e.jcc(cc::kNE);
        e.jmp_mem({.base = kT0, .disp = 8});
        e.lands_here(another);
    }
    out.leave = here();
    store_registers(e);
    store_vector_if_native(e, avx);
    store_x87_if_native(e);
    e.load32(kRax, at_rsp(layout::kSite));
    e.load(kRsp, at_rsp(layout::kNativeStack));
    return_to_engine(e);

    align();
    out.interpret = here();
    store_registers(e);
    store_vector_if_native(e, avx);
    store_x87_if_native(e);
    e.mov(kRdi, kRsp);
    e.load(kRsp, at_rsp(layout::kNativeStack));
    e.load_imm(kRax, reinterpret_cast<std::uintptr_t>(interpret));
    e.xr({.opcode = 0xFF}, 2, kRax);  // call rax
    e.rr({.opcode = 0x85, .w = true}, kRax, kRax);
    u8* ended = e.jcc(cc::kE);
    e.load(kRsp, {.base = kRsp, .disp = layout::frame::kBytes});
    e.store(at_rsp(layout::kTarget), kRax);
    load_registers(e);
    e.jmp_mem(at_rsp(layout::kTarget));
    e.lands_here(ended);
    e.load_imm(kRax, kNoSite);
    return_to_engine(e);

    align();
    out.load_vector = here();
    load_vector(e, avx);
    e.xr({.opcode = 0xFF}, 4, kT0);  // jmp t0

    align();
    const u8* tags = e.at();
    write_tag_table(e);
    out.load_x87 = here();
    load_x87(e, tags);
    e.xr({.opcode = 0xFF}, 4, kT0);
    align();
    return e.size();
}

}  // namespace droste::jit
