// x87 instructions that compute or convert: operands from memory, the native unit (x87_native.hpp),
// the commit.
//
// One handler serves them all; what differs is in the rows. The quick routine is used when it may
// be: every operand present, room for what is pushed. Otherwise the full one, which needs no case
// here for empty registers, overflow, unmasked exceptions or partial results, since the native unit
// does what it does.

#include "cpu/x86/fpu/exec_x87.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"
#include "cpu/x86/fpu/x87_native.hpp"

#include <algorithm>
#include <array>

namespace droste {
namespace {

using x87::kC1;
using x87::kConditions;

// clang-format off
constexpr auto kSpecs = std::to_array<X87Spec>({
    {Op::FADD,   X87Shape::ToTop, 0, kC1},      {Op::FADDP,  X87Shape::ToRegister, 1, kC1}, {Op::FIADD,  X87Shape::ToTop, 0, kC1},
    {Op::FSUB,   X87Shape::ToTop, 0, kC1},      {Op::FSUBP,  X87Shape::ToRegister, 1, kC1}, {Op::FISUB,  X87Shape::ToTop, 0, kC1},
    {Op::FSUBR,  X87Shape::ToTop, 0, kC1},      {Op::FSUBRP, X87Shape::ToRegister, 1, kC1}, {Op::FISUBR, X87Shape::ToTop, 0, kC1},
    {Op::FMUL,   X87Shape::ToTop, 0, kC1},      {Op::FMULP,  X87Shape::ToRegister, 1, kC1}, {Op::FIMUL,  X87Shape::ToTop, 0, kC1},
    {Op::FDIV,   X87Shape::ToTop, 0, kC1},      {Op::FDIVP,  X87Shape::ToRegister, 1, kC1}, {Op::FIDIV,  X87Shape::ToTop, 0, kC1},
    {Op::FDIVR,  X87Shape::ToTop, 0, kC1},      {Op::FDIVRP, X87Shape::ToRegister, 1, kC1}, {Op::FIDIVR, X87Shape::ToTop, 0, kC1},
    {Op::FCOM,   X87Shape::Compare, 0, kConditions}, {Op::FCOMP,  X87Shape::Compare, 1, kConditions}, {Op::FCOMPP,  X87Shape::Compare, 2, kConditions},
    {Op::FUCOM,  X87Shape::Compare, 0, kConditions}, {Op::FUCOMP, X87Shape::Compare, 1, kConditions}, {Op::FUCOMPP, X87Shape::Compare, 2, kConditions},
    {Op::FICOM,  X87Shape::Compare, 0, kConditions}, {Op::FICOMP, X87Shape::Compare, 1, kConditions}, {Op::FTST,    X87Shape::Compare, 0, kConditions},
    {Op::FCOMI,  X87Shape::CompareInt, 0, 0},   {Op::FCOMIP,  X87Shape::CompareInt, 1, 0},
    {Op::FUCOMI, X87Shape::CompareInt, 0, 0},   {Op::FUCOMIP, X87Shape::CompareInt, 1, 0},
    {Op::FSQRT,  X87Shape::Unary, 0, kC1},      {Op::FRNDINT, X87Shape::Unary, 0, kC1},     {Op::FXTRACT, X87Shape::Split, 0, kC1},
    {Op::FPREM,  X87Shape::WithNext, 0, kConditions}, {Op::FPREM1, X87Shape::WithNext, 0, kConditions}, {Op::FSCALE, X87Shape::WithNext, 0, kC1},
    {Op::FLD,    X87Shape::Push, 0, kC1},       {Op::FILD,   X87Shape::Push, 0, kC1},
    {Op::FLD1,   X87Shape::Push, 0, kC1},       {Op::FLDZ,   X87Shape::Push, 0, kC1},       {Op::FLDPI,  X87Shape::Push, 0, kC1},
    {Op::FLDL2E, X87Shape::Push, 0, kC1},       {Op::FLDLN2, X87Shape::Push, 0, kC1},       {Op::FLDL2T, X87Shape::Push, 0, kC1},
    {Op::FLDLG2, X87Shape::Push, 0, kC1},
    {Op::FST,    X87Shape::Store, 0, kC1},      {Op::FSTP,   X87Shape::Store, 1, kC1},
    {Op::FIST,   X87Shape::Store, 0, kC1},      {Op::FISTP,  X87Shape::Store, 1, kC1},
    {Op::FISTTP, X87Shape::Store, 1, kC1},      {Op::FBSTP,  X87Shape::Store, 1, kC1},
    // FADD ST(i), ST(0) and its like are FADDP without the pop.
    {Op::FADD,   X87Shape::ToRegister, 0, kC1}, {Op::FSUB,   X87Shape::ToRegister, 0, kC1}, {Op::FSUBR,  X87Shape::ToRegister, 0, kC1},
    {Op::FMUL,   X87Shape::ToRegister, 0, kC1}, {Op::FDIV,   X87Shape::ToRegister, 0, kC1}, {Op::FDIVR,  X87Shape::ToRegister, 0, kC1},
});
// clang-format on

const X87Spec* find_spec(const Insn& insn) {
    const bool to_register = insn.form == Form::EG && !insn.mem();
    const auto matches = [&](const X87Spec& spec) {
        return spec.op == insn.op && (!to_register || spec.shape != X87Shape::ToTop);
    };
    return std::find_if(kSpecs.begin(), kSpecs.end(), matches);
}

// ST(i) of the second operand.
unsigned other_index(const Insn& insn, X87Shape shape) {
    return shape == X87Shape::WithNext ? 1 : insn.modrm & 7U;
}

bool nan_or_infinity(const X87State::Register& value) {
    return (value.sign_exponent & 0x7FFF) == 0x7FFF;
}

bool quick_may_run(const X87State& fpu, const Insn& insn, const X87Spec& spec) {
    if ((fpu.status & x87::kEs) != 0) {
        return false;  // CR0.NE = 0: the guest goes on with an exception pending
    }
    switch (spec.shape) {
    case X87Shape::WithNext:  // FPREM of a NaN leaves the condition codes alone, which only the
                              // full routine shows
        return !x87::empty(fpu, 0) && !x87::empty(fpu, 1) &&
               !nan_or_infinity(fpu.st[x87::physical(fpu, 0)]) &&
               !nan_or_infinity(fpu.st[x87::physical(fpu, 1)]);
    case X87Shape::Push: return x87::empty(fpu, 7);
    case X87Shape::Split: return !x87::empty(fpu, 0) && x87::empty(fpu, 7);
    case X87Shape::Unary:
    case X87Shape::Store: return !x87::empty(fpu, 0);
    default:
        return !x87::empty(fpu, 0) && (insn.mem() || spec.op == Op::FTST ||
                                       !x87::empty(fpu, other_index(insn, spec.shape)));
    }
}

// The buffer of a memory operand; its size is the operand's, its alignment more than enough.
struct alignas(16) MemoryOperand {
    std::array<u8, 16> bytes{};
};

template <unsigned Bytes>
Status load_bytes(Vcpu& cpu, const Insn& insn, MemoryOperand& memory) {
    std::array<u8, Bytes> value;
    const Status status = load(cpu, insn, value);
    if (status == Status::Next) {
        std::memcpy(memory.bytes.data(), value.data(), Bytes);
    }
    return status;
}
template <unsigned Bytes>
Status store_bytes(Vcpu& cpu, const Insn& insn, const MemoryOperand& memory) {
    std::array<u8, Bytes> value;
    std::memcpy(value.data(), memory.bytes.data(), Bytes);
    return store(cpu, insn, value);
}
Status load_memory(Vcpu& cpu, const Insn& insn, MemoryOperand& memory) {
    switch (insn.mem_bytes) {
    case 2: return load_bytes<2>(cpu, insn, memory);
    case 4: return load_bytes<4>(cpu, insn, memory);
    case 8: return load_bytes<8>(cpu, insn, memory);
    default: return load_bytes<10>(cpu, insn, memory);
    }
}
Status store_memory(Vcpu& cpu, const Insn& insn, const MemoryOperand& memory) {
    switch (insn.mem_bytes) {
    case 2: return store_bytes<2>(cpu, insn, memory);
    case 4: return store_bytes<4>(cpu, insn, memory);
    case 8: return store_bytes<8>(cpu, insn, memory);
    default: return store_tbyte(cpu, insn, memory.bytes.data());
    }
}

const X87Operation& operation_of(const Insn& insn) {
    return *reinterpret_cast<const X87Operation*>(static_cast<std::uintptr_t>(insn.imm));
}

// `status`: what the native unit's status word says after the quick routine.
void commit_quick(X87State& fpu, const X87Spec& spec, u64 status) {
    const u32 flags = static_cast<u32>(status) & x87::kExceptions;
    const u32 conditions = static_cast<u32>(status) & spec.conditions;
    fpu.status = static_cast<u16>((fpu.status & ~u32{spec.conditions}) | conditions | flags);
    for (unsigned i = 0; i < spec.pops; ++i) {
        x87::pop(fpu);
    }
}

// False: the routine gave up.
bool run_quick(Vcpu& cpu,
               const Insn& insn,
               const X87Operation& operation,
               MemoryOperand& memory,
               u64& status) {
    X87State& fpu = cpu.state.x87;
    const X87Shape shape = operation.spec->shape;
    if (shape == X87Shape::Push || shape == X87Shape::Split) {
        X87State::Register pushed;
        void* other = shape == X87Shape::Push ? static_cast<void*>(memory.bytes.data()) : &pushed;
        status = operation.quick(shape == X87Shape::Push ? &pushed : &x87::st(fpu, 0), other,
                                 &fpu.control);
        if ((status & X87Operation::kGaveUp) != 0) {
            return false;
        }
        x87::push(fpu) = pushed;
        return true;
    }
    void* other = insn.mem() ? static_cast<void*>(memory.bytes.data())
                             : &x87::st(fpu, other_index(insn, shape));
    status = operation.quick(&x87::st(fpu, 0), other, &fpu.control);
    return (status & X87Operation::kGaveUp) == 0;
}

// Executes on a copy of the state; the caller commits it.
u64 run_full(const Vcpu& cpu,
             const X87Operation& operation,
             MemoryOperand& memory,
             X87State& after) {
    X87Image image;
    fill_image(after, image);
    const u64 rflags =
        operation.full(&image, memory.bytes.data(), cpu.state.flags.status() | rflags::kFixed1);
    take_image(image, after);
    return rflags;
}

// The memory operand of a store is not written when one of these is raised and unmasked.
bool store_suppressed(const X87State& before, const X87State& after) {
    constexpr u16 kSuppress = x87::kIe | x87::kOe | x87::kUe;
    return (x87::unmasked(after.status, after.control) & ~before.status & kSuppress) != 0;
}

Status
finish_full(Vcpu& cpu, const Insn& insn, const X87Operation& operation, MemoryOperand& memory) {
    const X87Spec& spec = *operation.spec;
    X87State after = cpu.state.x87;
    // Only this instruction's own exceptions decide; those already pending (CR0.NE = 0) must not.
    const u16 pending = after.status & (x87::kExceptions | x87::kSf);
    after.status = static_cast<u16>(after.status & ~pending);
    const X87State before = after;
    const u64 rflags = run_full(cpu, operation, memory, after);
    // Conditions that the instruction leaves undefined stay, whatever the native unit does.
    after.status = static_cast<u16>((after.status & (~x87::kConditions | spec.conditions)) |
                                    (before.status & x87::kConditions & ~spec.conditions));
    if ((after.status & x87::kSf) != 0 && spec.shape == X87Shape::CompareInt) {
        x87::set_c1(after, false);  // else these leave C1, whatever the manual says
    }
    if (spec.shape == X87Shape::Store && !store_suppressed(before, after)) {
        if (const Status status = store_memory(cpu, insn, memory); status != Status::Next) {
            return status;
        }
    }
    after.status = static_cast<u16>(after.status | pending);
    x87::update_summary(after);
    cpu.state.x87 = after;
    if (spec.shape == X87Shape::CompareInt) {
        cpu.state.flags = LazyFlags::from_status(rflags);
    }
    x87::note_pointers(cpu, insn);
    return Status::Next;
}

Status exec_arith(Vcpu& cpu, const Insn& insn) {
    if (const Status status = x87_ready(cpu); status != Status::Next) [[unlikely]] {
        return status;
    }
    const X87Operation& operation = operation_of(insn);
    const X87Spec& spec = *operation.spec;
    MemoryOperand memory;
    if (insn.mem() && spec.shape != X87Shape::Store) {
        if (const Status status = load_memory(cpu, insn, memory); status != Status::Next)
            [[unlikely]] {
            return status;
        }
    }
    X87State& fpu = cpu.state.x87;
    const bool remainder = spec.op == Op::FPREM || spec.op == Op::FPREM1;
    if (remainder && partial_remainder(fpu)) [[unlikely]] {
        x87::note_pointers(cpu, insn);
        return Status::Next;
    }
    u64 result = 0;
    if (!quick_may_run(fpu, insn, spec) || !run_quick(cpu, insn, operation, memory, result))
        [[unlikely]] {
        return finish_full(cpu, insn, operation, memory);
    }
    if (spec.shape == X87Shape::Store) {
        if (const Status status = store_memory(cpu, insn, memory); status != Status::Next)
            [[unlikely]] {
            return status;
        }
    }
    commit_quick(fpu, spec, result);
    if (spec.shape == X87Shape::CompareInt) {
        cpu.state.flags = LazyFlags::from_status(result >> 32);
    }
    x87::note_pointers(cpu, insn);
    return Status::Next;
}

}  // namespace

ExecFn select_x87_arith(Vcpu& cpu, Insn& insn) {
    insn.imm = reinterpret_cast<std::uintptr_t>(cpu.thunks->x87_operation(insn, *find_spec(insn)));
    return exec_arith;
}

}  // namespace droste
