// Finding and making thunks. See thunk_cache.hpp for what they are, thunk_builder.cpp for their
// code.

#include "cpu/x86/fpu/thunk_cache.hpp"

#include "cpu/x86/fpu/thunk_builder.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>
#include <cstddef>
#include <utility>

namespace droste {
namespace {

// Address space, not memory: all encodings with all immediates take about 12 MiB.
constexpr std::size_t kReservedBytes = std::size_t{32} << 20;

using RegClass = Insn::RegClass;

// VBLENDVPS, VBLENDVPD, VPBLENDVB: the immediate names a register.
bool has_register_immediate(const Insn& insn) {
    return insn.vex() && insn.map == OpcodeMap::Map0F3A && insn.opcode >= 0x4A &&
           insn.opcode <= 0x4C;
}

bool form_has_immediate(Form form) {
    using enum Form;
    return form == EI || form == GEI || form == EGI || form == GBEI || form == BEI || form == GI ||
           form == I;
}

// Of these W is the size of a general register, and ignored outside 64-bit mode; elsewhere it is
// part of the opcode.
bool w_is_a_size(const Insn& insn) {
    const bool pcmpestr =
        insn.map == OpcodeMap::Map0F3A && (insn.opcode == 0x60 || insn.opcode == 0x61);
    return pcmpestr || (form_has_g(insn.form) && insn.g_class() == RegClass::Gpr) ||
           (form_has_e(insn.form) && insn.e_class() == RegClass::Gpr);
}

u8 mandatory_prefix(const Insn& insn) {
    if (insn.repne()) {
        return 3;
    }
    if (insn.rep()) {
        return 2;
    }
    return (insn.flags & kInsnOpSize) != 0 ? 1 : 0;
}

// CR0.EM, CR4.OSFXSR, CR4.OSXSAVE and XCR0 make an instruction undefined, CR0.TS unavailable.
// SDM Vol. 2A, "Instruction Exception Specification".
void set_availability(const ThunkKey& key, bool uses_xmm, Thunk& thunk) {
    if (key.vex) {
        thunk.undefined_by = Vcpu::kFpuNoOsxsave | Vcpu::kFpuNoAvxState;
    } else {
        thunk.undefined_by = static_cast<u8>(Vcpu::kFpuEm | (uses_xmm ? Vcpu::kFpuNoOsfxsr : 0));
    }
    thunk.blocked_by = thunk.undefined_by | Vcpu::kFpuTs;
}

// Where the registers of a file lie in CpuState.
struct RegisterFile {
    std::size_t offset;
    u8 shift;
};
constexpr std::array<RegisterFile, 3> kRegisterFiles = {{
    {offsetof(CpuState, gpr), 3},
    {offsetof(CpuState, x87) + offsetof(X87State, st) + offsetof(X87State::Register, significand),
     4},
    {offsetof(CpuState, ymm), 5},
}};
static_assert(sizeof(u64) == 8 && sizeof(X87State::Register) == 16 && sizeof(Ymm) == 32);

void set_register_files(RegClass g, RegClass e, Thunk& thunk) {
    if (g != RegClass::Other) {
        thunk.g_offset = static_cast<u16>(kRegisterFiles[static_cast<unsigned>(g)].offset);
        thunk.g_shift = kRegisterFiles[static_cast<unsigned>(g)].shift;
    }
    if (e != RegClass::Other) {
        thunk.e_offset = static_cast<u16>(kRegisterFiles[static_cast<unsigned>(e)].offset);
        thunk.e_shift = kRegisterFiles[static_cast<unsigned>(e)].shift;
    }
}

Thunk describe(const ThunkKey& key) {
    const auto g = static_cast<RegClass>(key.classes & 3);
    const auto e = static_cast<RegClass>((key.classes >> 2) & 3);
    const bool g_used = form_has_g(key.form);
    const bool e_register = form_has_e(key.form) && !key.mem;
    const bool uses_xmm = (g_used && g == RegClass::Xmm) || (e_register && e == RegClass::Xmm);
    // "This instruction causes a transition from x87 FPU to MMX technology operation". The manual
    // has CVTPI2PS from memory do so, too; Intel's and AMD's processors leave the x87 alone, as
    // CVTPI2PD does.
    const bool uses_mmx = (g_used && g == RegClass::Mmx) || (e_register && e == RegClass::Mmx);

    Thunk thunk;
    thunk.immediate = key.immediate;
    const u8 traits = encoding_traits(key);
    const Operand first = first_operand(key.form);
    const bool writes_mmx = (first == Operand::G && g == RegClass::Mmx) ||
                            (first == Operand::E && e_register && e == RegClass::Mmx);
    thunk.traits =
        static_cast<u8>(((traits & EncodingTraits::kMxcsr) != 0 ? Thunk::kUsesMxcsr : 0) |
                        ((traits & EncodingTraits::kFlags) != 0 ? Thunk::kWritesFlags : 0) |
                        (uses_mmx ? Thunk::kUsesMmx : 0) | (writes_mmx ? Thunk::kWritesMmx : 0));
    set_availability(key, uses_xmm, thunk);
    set_register_files(g, e, thunk);
    return thunk;
}

template <typename Function>
Function entry_point(const u8* code) {
    return reinterpret_cast<Function>(reinterpret_cast<std::uintptr_t>(code));
}

const u8* append_landing(ExecutableMemory& memory, bool avx) {
    NativeEmitter emit;
    build_fault_landing(emit, avx);
    return memory.append(emit.code());
}

}  // namespace

ThunkKey ThunkKey::of(const Insn& insn) {
    ThunkKey key;
    key.prefix = mandatory_prefix(insn);
    key.map = insn.map;
    key.opcode = insn.opcode;
    key.extension = form_has_g(insn.form) ? u8{0} : static_cast<u8>((insn.modrm >> 3) & 7);
    key.classes = insn.classes;
    key.form = insn.form;
    key.w = insn.rex_w() && (!w_is_a_size(insn) || insn.opsize == 8);
    key.l = (insn.flags & kInsnVexL) != 0;
    key.vex = insn.vex();
    key.mem = insn.mem();
    key.has_immediate = form_has_immediate(insn.form);
    key.immediate_is_register = has_register_immediate(insn);
    if (key.has_immediate) {
        key.immediate = static_cast<u8>(key.immediate_is_register ? insn.imm & 0xF : insn.imm);
    }
    return key;
}

u64 ThunkKey::packed() const {
    u64 value = 0;
    const auto add = [&value](u64 field, unsigned width) { value = (value << width) | field; };
    add(prefix, 2);
    add(static_cast<u64>(map), 3);
    add(opcode, 8);
    add(extension, 3);
    add(immediate, 8);
    add(classes, 8);
    add(static_cast<u64>(form), 5);
    add(w, 1);
    add(l, 1);
    add(vex, 1);
    add(mem, 1);
    return value;
}

Expected<std::shared_ptr<ThunkCache>> ThunkCache::create(bool avx) {
    auto memory = ExecutableMemory::create(kReservedBytes);
    if (!memory) {
        return memory.error();
    }
    return std::make_shared<ThunkCache>(std::move(memory).value(), avx);
}

ThunkCache::ThunkCache(ExecutableMemory memory, bool avx)
    : memory_(std::move(memory))
    , fault_range_(memory_.first(), memory_.end(), append_landing(memory_, avx)) {}

const Thunk* ThunkCache::vector_thunk(const Insn& insn) {
    const ThunkKey key = ThunkKey::of(insn);
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = by_key_.find(key.packed());
    if (found != by_key_.end()) {
        return found->second;
    }
    NativeEmitter emit;
    build_vector_thunk(key, emit);
    Thunk& thunk = thunks_.emplace_back(describe(key));
    thunk.entry = entry_point<Thunk::Entry>(memory_.append(emit.code()));
    by_key_.emplace(key.packed(), &thunk);
    return &thunk;
}

const X87Operation* ThunkCache::x87_operation(const Insn& insn, const X87Spec& spec) {
    // Memory forms: opcode and ModRM.reg; register forms: opcode and all of ModRM.
    const u32 modrm = insn.mem() ? insn.modrm & 0x38U : insn.modrm;
    const u32 key = (static_cast<u32>(insn.opcode) << 16) | (insn.mem() ? 0x100U : 0U) | modrm;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = x87_by_key_.find(key);
    if (found != x87_by_key_.end()) {
        return found->second;
    }
    NativeEmitter full;
    NativeEmitter quick;
    build_x87_full(insn, spec, full);
    build_x87_quick(insn, spec, quick);
    X87Operation& operation = x87_operations_.emplace_back();
    operation.spec = &spec;
    operation.full = entry_point<X87Operation::Full>(memory_.append(full.code()));
    operation.quick = entry_point<X87Operation::Quick>(memory_.append(quick.code()));
    x87_by_key_.emplace(key, &operation);
    return &operation;
}

}  // namespace droste
