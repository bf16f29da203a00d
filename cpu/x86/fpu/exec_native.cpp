// Execution of vector instructions by native thunks: checks, memory operands, the call, and what it
// returned.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"
#include "cpu/x86/fpu/x87_state.hpp"

#include <array>
#include <bit>
#include <utility>

namespace droste {
namespace {

const Thunk& thunk_of(const Insn& insn) {
    return *reinterpret_cast<const Thunk*>(static_cast<std::uintptr_t>(insn.imm));
}

// `e` is the register or the buffer of operand E.
u64 call(const Thunk& thunk, Vcpu& cpu, const Insn& insn, void* e) {
    CpuState& state = cpu.state;
    return thunk.entry(thunk.g(state, insn.reg), e, &state.ymm[insn.vvvv], &state.ymm[insn.imm2],
                       &state);
}

// #XM, or #UD while the OS has not said that it handles it. SDM Vol. 1, "SIMD Floating-Point
// Exception (#XM)". A conversion between MMX and XMM registers has left x87 operation by then.
Status simd_exception(Vcpu& cpu, const Thunk& thunk) {
    if ((thunk.traits & Thunk::kUsesMmx) != 0) {
        enter_mmx(cpu.state.x87);
    }
    return raise(cpu, (cpu.state.cr4 & cr4::kOsxmmexcpt) != 0 ? Exception::XM : Exception::UD);
}

// Plain thunks write their destination and nothing else.
template <bool Plain>
Status check_available(Vcpu& cpu, const Thunk& thunk) {
    if ((cpu.mode.fpu_blocked & thunk.blocked_by) != 0) [[unlikely]] {
        return raise(cpu, (cpu.mode.fpu_blocked & thunk.undefined_by) != 0 ? Exception::UD
                                                                           : Exception::NM);
    }
    if constexpr (!Plain) {
        if ((thunk.traits & Thunk::kUsesMmx) != 0) {
            return x87_check_pending(cpu);
        }
    }
    return Status::Next;
}

// Everything a thunk could not do itself.
Status complete(Vcpu& cpu, const Insn& insn, const Thunk& thunk, u64 result) {
    if ((thunk.traits & Thunk::kUsesMxcsr) != 0 && (result & Thunk::kException) != 0) [[unlikely]] {
        return simd_exception(cpu, thunk);
    }
    if ((thunk.traits & Thunk::kWritesFlags) != 0) {
        cpu.state.flags = LazyFlags::from_status(result);
    }
    if ((thunk.traits & Thunk::kUsesMmx) != 0) {
        enter_mmx(cpu.state.x87);
        if ((thunk.traits & Thunk::kWritesMmx) != 0) {
            const bool first_is_e = insn.form == Form::EG || insn.form == Form::EI;
            cpu.state.x87.st[first_is_e ? insn.rm : insn.reg].sign_exponent = 0xFFFF;
        }
    }
    return Status::Next;
}

template <bool Plain>
Status exec_registers(Vcpu& cpu, const Insn& insn) {
    const Thunk& thunk = thunk_of(insn);
    if (const Status status = check_available<Plain>(cpu, thunk); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    const u64 result = call(thunk, cpu, insn, thunk.e(cpu.state, insn.rm));
    return Plain ? Status::Next : complete(cpu, insn, thunk, result);
}

template <unsigned Bytes, bool Plain>
Status exec_load(Vcpu& cpu, const Insn& insn) {
    const Thunk& thunk = thunk_of(insn);
    if (const Status status = check_available<Plain>(cpu, thunk); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    alignas(32) std::array<u8, Bytes> operand;
    if (const Status status = load_vector<Bytes>(cpu, insn, operand); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    const u64 result = call(thunk, cpu, insn, operand.data());
    return Plain ? Status::Next : complete(cpu, insn, thunk, result);
}

template <unsigned Bytes, bool Plain>
Status exec_store(Vcpu& cpu, const Insn& insn) {
    const Thunk& thunk = thunk_of(insn);
    if (const Status status = check_available<Plain>(cpu, thunk); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    alignas(32) std::array<u8, Bytes> operand;
    // VCVTPS2PH's conversion comes before its store, as on Intel CPUs: #XM before a fault of the
    // store, and behind such a fault MXCSR has the conversion's flags.
    const u64 result = call(thunk, cpu, insn, operand.data());
    if (!Plain && (thunk.traits & Thunk::kUsesMxcsr) != 0 && (result & Thunk::kException) != 0)
        [[unlikely]] {
        return simd_exception(cpu, thunk);
    }
    if (const Status status = store_vector<Bytes>(cpu, insn, operand); status != Status::Next)
        [[unlikely]] {
        if (!Plain && (thunk.traits & Thunk::kUsesMmx) != 0) {
            x87::set_top(cpu.state.x87, 0);  // the tags still are what they were
        }
        return status;
    }
    return Plain ? Status::Next : complete(cpu, insn, thunk, result);
}

template <bool Plain>
ExecFn select_load(unsigned bytes) {
    constexpr std::array<ExecFn, 6> kBySize = {exec_load<1, Plain>,  exec_load<2, Plain>,
                                               exec_load<4, Plain>,  exec_load<8, Plain>,
                                               exec_load<16, Plain>, exec_load<32, Plain>};
    return kBySize[static_cast<unsigned>(std::countr_zero(bytes))];
}
template <bool Plain>
ExecFn select_store(unsigned bytes) {
    constexpr std::array<ExecFn, 6> kBySize = {exec_store<1, Plain>,  exec_store<2, Plain>,
                                               exec_store<4, Plain>,  exec_store<8, Plain>,
                                               exec_store<16, Plain>, exec_store<32, Plain>};
    return kBySize[static_cast<unsigned>(std::countr_zero(bytes))];
}

bool writes_e(Form form) {
    return form == Form::EG || form == Form::EGI || form == Form::EBG || form == Form::E;
}

}  // namespace

ExecFn select_native_thunk(Vcpu& cpu, Insn& insn) {
    if (const ExecFn shortcut = select_vector_shortcut(insn); shortcut != nullptr) {
        return shortcut;
    }
    if (const ExecFn estimate = select_vector_estimate(insn); estimate != nullptr) {
        return estimate;
    }
    const Thunk* thunk = cpu.thunks->vector_thunk(insn);
    // MMX register numbers ignore REX.
    if (insn.g_class() == Insn::RegClass::Mmx) {
        insn.reg &= 7;
    }
    if (insn.e_class() == Insn::RegClass::Mmx) {
        insn.rm &= 7;
    }
    insn.imm2 &= 15;
    insn.imm = reinterpret_cast<std::uintptr_t>(thunk);
    const bool plain = thunk->traits == 0;
    if (!insn.mem()) {
        return plain ? exec_registers<true> : exec_registers<false>;
    }
    if (writes_e(insn.form)) {
        return plain ? select_store<true>(insn.mem_bytes) : select_store<false>(insn.mem_bytes);
    }
    return plain ? select_load<true>(insn.mem_bytes) : select_load<false>(insn.mem_bytes);
}

}  // namespace droste
