#include "jit/status_effect.hpp"

#include "cpu/x86/fpu/thunk_builder.hpp"

#include <algorithm>
#include <array>

namespace droste::jit {

namespace {

enum class Kind : u8 {
    Unknown,    // assume the worst: an instruction the interpreter executes
    None,       // neither reads nor writes
    Reads,      // reads, writes none
    All,        // writes all, reads none
    AllReads,   // reads CF, writes all
    NotCarry,   // writes all but CF, which it keeps
    Carry,      // writes CF and keeps the others
    Some,       // writes some, perhaps, and keeps the others
    SomeReads,  // the same, and its result depends on some
    Shift,      // by the count: zero keeps all
};

struct Row {
    Op op;
    Kind kind;
};

constexpr auto kRows = std::to_array<Row>({
    {Op::ADD, Kind::All},        {Op::OR, Kind::All},          {Op::ADC, Kind::AllReads},
    {Op::SBB, Kind::AllReads},   {Op::AND, Kind::All},         {Op::SUB, Kind::All},
    {Op::XOR, Kind::All},        {Op::CMP, Kind::All},         {Op::TEST, Kind::All},
    {Op::NEG, Kind::All},        {Op::NOT, Kind::None},        {Op::INC, Kind::NotCarry},
    {Op::DEC, Kind::NotCarry},   {Op::MUL, Kind::Some},        {Op::IMUL, Kind::Some},
    {Op::DIV, Kind::Some},       {Op::IDIV, Kind::Some},       {Op::ADCX, Kind::SomeReads},
    {Op::ADOX, Kind::SomeReads}, {Op::CRC32, Kind::None},      {Op::MULX, Kind::None},
    {Op::CBW, Kind::None},       {Op::CWD, Kind::None},        {Op::SHL, Kind::Shift},
    {Op::SHR, Kind::Shift},      {Op::SAR, Kind::Shift},       {Op::SHLD, Kind::Shift},
    {Op::SHRD, Kind::Shift},     {Op::ROL, Kind::Some},        {Op::ROR, Kind::Some},
    {Op::RCL, Kind::SomeReads},  {Op::RCR, Kind::SomeReads},   {Op::BT, Kind::Carry},
    {Op::BTS, Kind::Carry},      {Op::BTR, Kind::Carry},       {Op::BTC, Kind::Carry},
    {Op::BSF, Kind::All},        {Op::BSR, Kind::All},         {Op::TZCNT, Kind::Some},
    {Op::LZCNT, Kind::Some},     {Op::POPCNT, Kind::All},      {Op::BSWAP, Kind::None},
    {Op::MOVBE, Kind::None},     {Op::ANDN, Kind::All},        {Op::BEXTR, Kind::All},
    {Op::BLSI, Kind::All},       {Op::BLSMSK, Kind::All},      {Op::BLSR, Kind::All},
    {Op::BZHI, Kind::All},       {Op::PDEP, Kind::None},       {Op::PEXT, Kind::None},
    {Op::RORX, Kind::None},      {Op::SARX, Kind::None},       {Op::SHLX, Kind::None},
    {Op::SHRX, Kind::None},      {Op::MOV, Kind::None},        {Op::MOVZX, Kind::None},
    {Op::MOVSX, Kind::None},     {Op::MOVSXD, Kind::None},     {Op::LEA, Kind::None},
    {Op::XCHG, Kind::None},      {Op::XADD, Kind::All},        {Op::CMPXCHG, Kind::All},
    {Op::CMPXCHG8B, Kind::Some}, {Op::CMPXCHG16B, Kind::Some}, {Op::CMOVcc, Kind::Reads},
    {Op::SETcc, Kind::Reads},    {Op::MOVNTI, Kind::None},     {Op::PUSH, Kind::None},
    {Op::POP, Kind::None},       {Op::LEAVE, Kind::None},      {Op::CLC, Kind::Carry},
    {Op::STC, Kind::Carry},      {Op::CMC, Kind::Some},        {Op::LAHF, Kind::Reads},
    {Op::SAHF, Kind::Some},      {Op::NOP, Kind::None},        {Op::ENDBR, Kind::None},
    {Op::PREFETCH, Kind::None},  {Op::PREFETCHW, Kind::None},  {Op::LFENCE, Kind::None},
    {Op::MFENCE, Kind::None},    {Op::SFENCE, Kind::None},     {Op::MOVS, Kind::None},
    {Op::STOS, Kind::None},
});

constexpr auto kSystemRows = std::to_array<Row>({
    {Op::CLI, Kind::None},
    {Op::STI, Kind::None},
    {Op::CLD, Kind::None},
    {Op::STD, Kind::None},
    {Op::CLAC, Kind::None},
    {Op::STAC, Kind::None},
    {Op::SWAPGS, Kind::None},
    {Op::PAUSE, Kind::None},
    {Op::RDSSP, Kind::None},
    {Op::PUSHF, Kind::Reads},
    {Op::RDTSC, Kind::None},
    {Op::RDTSCP, Kind::None},
    {Op::POPF, Kind::All},
    {Op::MOV_SREG_FROM, Kind::None},
    {Op::VMREAD, Kind::All},
    {Op::VMWRITE, Kind::All},
});

// Vector instructions that are not kNative rows, and the x87's.
constexpr auto kFloatRows = std::to_array<Row>({
    {Op::VZEROUPPER, Kind::None}, {Op::VZEROALL, Kind::None}, {Op::LDMXCSR, Kind::None},
    {Op::VLDMXCSR, Kind::None},   {Op::STMXCSR, Kind::None},  {Op::VSTMXCSR, Kind::None},
    {Op::FLD, Kind::None},        {Op::FST, Kind::None},      {Op::FSTP, Kind::None},
    {Op::FXCH, Kind::None},       {Op::FILD, Kind::None},     {Op::FIST, Kind::None},
    {Op::FISTP, Kind::None},      {Op::FISTTP, Kind::None},   {Op::FADD, Kind::None},
    {Op::FADDP, Kind::None},      {Op::FIADD, Kind::None},    {Op::FSUB, Kind::None},
    {Op::FSUBP, Kind::None},      {Op::FISUB, Kind::None},    {Op::FSUBR, Kind::None},
    {Op::FSUBRP, Kind::None},     {Op::FISUBR, Kind::None},   {Op::FMUL, Kind::None},
    {Op::FMULP, Kind::None},      {Op::FIMUL, Kind::None},    {Op::FDIV, Kind::None},
    {Op::FDIVP, Kind::None},      {Op::FIDIV, Kind::None},    {Op::FDIVR, Kind::None},
    {Op::FDIVRP, Kind::None},     {Op::FIDIVR, Kind::None},   {Op::FABS, Kind::None},
    {Op::FCHS, Kind::None},       {Op::FRNDINT, Kind::None},  {Op::FSCALE, Kind::None},
    {Op::FSQRT, Kind::None},      {Op::FCOM, Kind::None},     {Op::FCOMP, Kind::None},
    {Op::FCOMPP, Kind::None},     {Op::FUCOM, Kind::None},    {Op::FUCOMP, Kind::None},
    {Op::FUCOMPP, Kind::None},    {Op::FICOM, Kind::None},    {Op::FICOMP, Kind::None},
    {Op::FTST, Kind::None},       {Op::FXAM, Kind::None},     {Op::FLD1, Kind::None},
    {Op::FLDZ, Kind::None},       {Op::FLDPI, Kind::None},    {Op::FLDL2E, Kind::None},
    {Op::FLDLN2, Kind::None},     {Op::FLDL2T, Kind::None},   {Op::FLDLG2, Kind::None},
    {Op::FNSTCW, Kind::None},     {Op::FLDCW, Kind::None},    {Op::FNSTSW, Kind::None},
    {Op::FCOMI, Kind::All},       {Op::FCOMIP, Kind::All},    {Op::FUCOMI, Kind::All},
    {Op::FUCOMIP, Kind::All},     {Op::FINCSTP, Kind::None},  {Op::FDECSTP, Kind::None},
    {Op::FNOP, Kind::None},       {Op::FWAIT, Kind::None},    {Op::EMMS, Kind::None},
    {Op::FCMOVB, Kind::Reads},    {Op::FCMOVE, Kind::Reads},  {Op::FCMOVBE, Kind::Reads},
    {Op::FCMOVU, Kind::Reads},    {Op::FCMOVNB, Kind::Reads}, {Op::FCMOVNE, Kind::Reads},
    {Op::FCMOVNBE, Kind::Reads},  {Op::FCMOVNU, Kind::Reads},
});

constexpr auto kKinds = [] {
    std::array<Kind, static_cast<std::size_t>(Op::kCount)> kinds{};
    for (const Row& row : kRows) {
        kinds[static_cast<std::size_t>(row.op)] = row.kind;
    }
    for (const Row& row : kSystemRows) {
        kinds[static_cast<std::size_t>(row.op)] = row.kind;
    }
    for (const Row& row : kFloatRows) {
        kinds[static_cast<std::size_t>(row.op)] = row.kind;
    }
    return kinds;
}();

// CMOVB, SETAE and the like.
bool condition_is_carry(const Insn& insn) {
    return (insn.op == Op::CMOVcc || insn.op == Op::SETcc) && (insn.opcode & 0xE) == 2;
}

bool certain_count(const Insn& insn) {
    const bool immediate = insn.form == Form::EI || insn.form == Form::EGI;
    const u64 mask = insn.width == 8 ? 0x3F : 0x1F;
    return immediate && (insn.imm & mask) != 0;
}

}  // namespace

StatusEffect status_effect(const Insn& insn) {
    if ((insn.flags & kInsnNative) != 0) {
        // COMISD, PTEST, PCMPISTRI ... write all six.
        return (encoding_traits(ThunkKey::of(insn)) & EncodingTraits::kFlags) != 0
                   ? StatusEffect{.writes_all = true, .writes = true}
                   : StatusEffect{};
    }
    switch (kKinds[static_cast<std::size_t>(insn.op)]) {
    case Kind::None: return {};
    case Kind::Reads: return {.reads = true, .reads_only_carry = condition_is_carry(insn)};
    case Kind::All: return {.writes_all = true, .writes = true};
    case Kind::AllReads:
        return {.reads = true, .reads_only_carry = true, .writes_all = true, .writes = true};
    case Kind::NotCarry: return {.writes_all_but_carry = true, .writes = true};
    case Kind::Carry: return {.writes_only_carry = true, .writes = true};
    case Kind::Shift: return {.writes_all = certain_count(insn), .writes = true};
    case Kind::Some: return {.writes = true};
    case Kind::SomeReads:
    case Kind::Unknown: break;
    }
    return {.reads = true, .writes = true};
}

LiveStatus live_before(const StatusEffect& effect, LiveStatus after) {
    LiveStatus live = effect.writes_all ? LiveStatus::None : after;
    if (effect.writes_all_but_carry && live == LiveStatus::All) {
        live = LiveStatus::Carry;
    }
    if (effect.writes_only_carry && live == LiveStatus::Carry) {
        live = LiveStatus::None;
    }
    if (!effect.reads) {
        return live;
    }
    return effect.reads_only_carry ? std::max(live, LiveStatus::Carry) : LiveStatus::All;
}

}  // namespace droste::jit
