#include "jit/register_effect.hpp"

#include "cpu/x86/fpu/thunk_builder.hpp"

namespace droste::jit {

namespace {

// What is written of E, G and B, and how E is used if it is memory. Bits.
constexpr unsigned kUnknown = 0;
constexpr unsigned kKnown = 1U << 0;
constexpr unsigned kWritesE = 1U << 1;
constexpr unsigned kWritesG = 1U << 2;
constexpr unsigned kWritesB = 1U << 3;
constexpr unsigned kMemory = 1U << 4;  // E in memory is accessed: read, written too with kWritesE
constexpr unsigned kSource = 1U << 5;  // ... with mem_bytes bytes instead of width
constexpr unsigned kWritesRaxRdx = 1U << 6;
constexpr unsigned kWritesRax = 1U << 7;

struct Row {
    Op op;
    unsigned kind;
};

constexpr unsigned kRead = kKnown | kMemory;
constexpr unsigned kModify = kKnown | kMemory | kWritesE;
constexpr unsigned kToG = kKnown | kMemory | kWritesG;

constexpr auto kRows = std::to_array<Row>({
    {Op::CMP, kRead},
    {Op::TEST, kRead},
    {Op::NOT, kModify},
    {Op::NEG, kModify},
    {Op::INC, kModify},
    {Op::DEC, kModify},
    {Op::ROL, kModify},
    {Op::ROR, kModify},
    {Op::RCL, kModify},
    {Op::RCR, kModify},
    {Op::SHL, kModify},
    {Op::SHR, kModify},
    {Op::SAR, kModify},
    {Op::SHLD, kModify},
    {Op::SHRD, kModify},
    {Op::SETcc, kModify},
    {Op::MUL, kRead | kWritesRaxRdx},
    {Op::DIV, kRead | kWritesRaxRdx},
    {Op::IDIV, kRead | kWritesRaxRdx},
    {Op::BSF, kToG},
    {Op::BSR, kToG},
    {Op::TZCNT, kToG},
    {Op::LZCNT, kToG},
    {Op::POPCNT, kToG},
    {Op::CMOVcc, kToG},
    {Op::ADCX, kToG},
    {Op::ADOX, kToG},
    {Op::MOVZX, kToG | kSource},
    {Op::MOVSX, kToG | kSource},
    {Op::MOVSXD, kToG | kSource},
    {Op::ANDN, kToG},
    {Op::BEXTR, kToG},
    {Op::BZHI, kToG},
    {Op::PDEP, kToG},
    {Op::PEXT, kToG},
    {Op::RORX, kToG},
    {Op::SARX, kToG},
    {Op::SHLX, kToG},
    {Op::SHRX, kToG},
    {Op::MULX, kToG | kWritesB},
    {Op::BLSI, kRead | kWritesB},
    {Op::BLSR, kRead | kWritesB},
    {Op::BLSMSK, kRead | kWritesB},
    {Op::LEA, kKnown | kWritesG},
    {Op::BSWAP, kKnown | kWritesE},
    {Op::CBW, kKnown | kWritesRax},
    {Op::CWD, kKnown | kWritesRaxRdx},
    {Op::CLC, kKnown},
    {Op::STC, kKnown},
    {Op::CMC, kKnown},
    {Op::LAHF, kKnown | kWritesRax},
    {Op::SAHF, kKnown},
    {Op::NOP, kKnown},
    {Op::ENDBR, kKnown},
    {Op::PREFETCH, kKnown},
    {Op::PREFETCHW, kKnown},
    {Op::LFENCE, kKnown},
    {Op::MFENCE, kKnown},
    {Op::SFENCE, kKnown},
    {Op::Jcc, kKnown},
    {Op::VZEROUPPER, kKnown},
    {Op::VZEROALL, kKnown},
    {Op::EMMS, kKnown},
    {Op::FWAIT, kKnown},
    {Op::CLI, kKnown},
    {Op::STI, kKnown},
    {Op::CLD, kKnown},
    {Op::STD, kKnown},
    {Op::STAC, kKnown},  // not CLAC: what was reached before may be out of reach
    {Op::SWAPGS, kKnown},
    {Op::PAUSE, kKnown},
    {Op::RDSSP, kKnown | kWritesE},
    {Op::MOV_SREG_FROM, kKnown | kWritesE},
});

constexpr auto kKinds = [] {
    std::array<u8, static_cast<std::size_t>(Op::kCount)> kinds{};
    for (const Row& row : kRows) {
        kinds[static_cast<std::size_t>(row.op)] = static_cast<u8>(row.kind);
    }
    return kinds;
}();

u16 bit_of(unsigned reg) {
    return static_cast<u16>(1U << (reg >= 20 ? reg - 20 : reg));
}

// ADD to XOR, MOV, IMUL, XCHG, XADD: by their form.
unsigned kind_of(const Insn& insn) {
    switch (insn.op) {
    case Op::ADD:
    case Op::OR:
    case Op::ADC:
    case Op::SBB:
    case Op::AND:
    case Op::SUB:
    case Op::XOR:
    case Op::MOV:
    case Op::MOVNTI:
    case Op::MOVBE: return insn.form == Form::GE ? kToG : kModify;
    case Op::IMUL: return insn.form == Form::E ? kRead | kWritesRaxRdx : kToG;
    case Op::BT: return insn.mem() && insn.form == Form::EG ? kUnknown : kRead;
    case Op::BTS:
    case Op::BTR:
    case Op::BTC: return insn.mem() && insn.form == Form::EG ? kUnknown : kModify;
    case Op::XCHG:
    case Op::XADD: return insn.mem() ? kUnknown : kKnown | kWritesE | kWritesG;
    case Op::VMREAD: return insn.mem() ? kUnknown : kKnown | kWritesE;
    case Op::VMWRITE: return insn.mem() ? kUnknown : kKnown;
    default: return kKinds[static_cast<std::size_t>(insn.op)];
    }
}

void add_operand(
    const Insn& insn, const CodeMode& mode, unsigned bytes, bool write, RegisterEffect& effect) {
    if (insn.addrsize != mode.word || insn.base >= kZeroSlot ||
        (mode.flat_segments >> insn.seg & 1) == 0 || (write && mode.word != 8 && insn.seg == CS)) {
        bytes = 0;
    }
    effect.accesses[effect.count++] = {insn.base, insn.index, insn.scale, insn.disp,
                                       bytes,     write,      false};
}

RegisterEffect stack_effect(const Insn& insn, const CodeMode& mode) {
    RegisterEffect effect;
    const auto word = static_cast<i32>(mode.word);
    if (insn.opsize != mode.word) {
        return effect;
    }
    const auto add_stack = [&](i32 disp, bool write) {
        effect.accesses[effect.count++] = {RSP, kZeroSlot, 0, disp, mode.word, write, false};
    };
    effect.known = true;
    switch (insn.op) {
    case Op::PUSH:
        if (insn.form != Form::I && insn.mem()) {
            add_operand(insn, mode, mode.word, false, effect);
        }
        add_stack(-word, true);
        effect.moves_stack = -word;
        return effect;
    case Op::POP:
        if (insn.mem()) {
            effect.known = false;
            return effect;
        }
        add_stack(0, false);
        effect.moves_stack = word;
        effect.writes = bit_of(insn.rm);
        return effect;
    case Op::PUSHF:
    case Op::POPF:
        if (mode.word != 8) {
            break;
        }
        add_stack(insn.op == Op::PUSHF ? -8 : 0, insn.op == Op::PUSHF);
        effect.moves_stack = insn.op == Op::PUSHF ? -8 : 8;
        return effect;
    case Op::CALL_NEAR:
        if (insn.form == Form::I) {
            add_stack(-word, true);
            effect.moves_stack = -word;
            return effect;
        }
        break;
    case Op::RET_NEAR:
        add_stack(0, false);
        effect.moves_stack = word;
        return effect;
    default: break;
    }
    effect.known = false;
    return effect;
}

// A register that a constant is added to, and the constant; else kZeroSlot.
struct Step {
    u8 reg = kZeroSlot;
    i32 by = 0;
};

// ADD and SUB of a constant, LEA of a register from itself.
Step step_of(const Insn& insn, unsigned word) {
    if (insn.opsize != word || insn.width != word) {
        return {};
    }
    const auto fits = [](i64 value) { return value >= -(1 << 20) && value <= 1 << 20; };
    const i64 immediate =
        word == 8 ? static_cast<i64>(insn.imm) : static_cast<i32>(static_cast<u32>(insn.imm));
    if ((insn.op == Op::ADD || insn.op == Op::SUB) && insn.form == Form::EI && !insn.mem() &&
        fits(immediate)) {
        return {insn.rm, static_cast<i32>(insn.op == Op::ADD ? immediate : -immediate)};
    }
    if (insn.op == Op::LEA && insn.base == insn.reg && insn.index == kZeroSlot &&
        insn.addrsize == word && fits(insn.disp)) {
        return {insn.reg, static_cast<i32>(insn.disp)};
    }
    return {};
}

// Carried out on vector registers, with at most one general register and a memory operand.
RegisterEffect vector_effect(const Insn& insn, const CodeMode& mode) {
    RegisterEffect effect;
    effect.known = true;
    const Operand written = first_operand(insn.form);
    const u8 traits = encoding_traits(ThunkKey::of(insn));
    if (written == Operand::G && insn.g_class() == Insn::RegClass::Gpr) {
        effect.writes |= bit_of(insn.reg);
    }
    if (written == Operand::E && !insn.mem() && insn.e_class() == Insn::RegClass::Gpr) {
        effect.writes |= bit_of(insn.rm);
    }
    if ((traits & EncodingTraits::kWritesEcx) != 0) {
        effect.writes |= bit_of(RCX);
    }
    if (insn.mem()) {
        add_operand(insn, mode, insn.mem_bytes, written == Operand::E, effect);
        effect.accesses[0].aligned = (insn.flags & kInsnAligned) != 0;
    }
    return effect;
}

// The x87 reaches general registers by FNSTSW AX alone.
RegisterEffect x87_effect(const Insn& insn, const CodeMode& mode) {
    RegisterEffect effect;
    const X87Memory memory = x87_memory(insn.op);
    effect.known = memory != X87Memory::Unknown;
    if (insn.op == Op::FNSTSW && !insn.mem()) {
        effect.writes = bit_of(RAX);
    }
    if (effect.known && insn.mem()) {
        add_operand(insn, mode, insn.mem_bytes, memory == X87Memory::Write, effect);
    }
    return effect;
}

}  // namespace

RegisterEffect register_effect(const Insn& insn, const CodeMode& mode) {
    if (insn.map == OpcodeMap::X87) {
        return x87_effect(insn, mode);
    }
    if ((insn.flags & kInsnNative) != 0) {
        return vector_effect(insn, mode);
    }
    const unsigned kind = kind_of(insn);
    if (kind == kUnknown) {
        return stack_effect(insn, mode);
    }
    RegisterEffect effect;
    effect.known = true;
    const Step step = step_of(insn, mode.word);
    if (step.reg == RSP) {
        effect.moves_stack = step.by;
        return effect;
    }
    if (step.reg < 16 && mode.word == 8) {
        effect.stepped = step.reg;
        effect.step = step.by;
    }
    if ((kind & kWritesE) != 0 && !insn.mem()) {
        effect.writes |= bit_of(insn.rm);
    }
    if ((kind & kWritesG) != 0) {
        effect.writes |= bit_of(insn.reg);
    }
    if ((kind & kWritesB) != 0) {
        effect.writes |= bit_of(insn.vvvv);
    }
    if ((kind & kWritesRaxRdx) != 0) {
        effect.writes |= static_cast<u16>(bit_of(RAX) | bit_of(RDX));
    }
    if ((kind & kWritesRax) != 0) {
        effect.writes |= bit_of(RAX);
    }
    if (insn.mem() && (kind & kMemory) != 0 && !insn.lock()) {
        add_operand(insn, mode, (kind & kSource) != 0 ? insn.mem_bytes : insn.width,
                    (kind & kWritesE) != 0, effect);
    }
    return effect;
}

}  // namespace droste::jit
