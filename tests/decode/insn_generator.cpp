#include "tests/decode/insn_generator.hpp"

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/decode/leaf.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"

#include <algorithm>

namespace droste::test {

namespace {

using opcode_map::Operand;
using opcode_map::OperandInfo;
using opcode_map::Place;
using opcode_map::Row;
using RegClass = Insn::RegClass;

// --- which rows ----------------------------------------------------------------------------------

// General-purpose instructions that only compute.
constexpr auto kIntegerOps = std::to_array<Op>({
    Op::ADD,       Op::OR,         Op::ADC,    Op::SBB,   Op::AND,    Op::SUB,    Op::XOR,
    Op::CMP,       Op::TEST,       Op::NOT,    Op::NEG,   Op::INC,    Op::DEC,    Op::MUL,
    Op::IMUL,      Op::DIV,        Op::IDIV,   Op::ADCX,  Op::ADOX,   Op::CRC32,  Op::MULX,
    Op::CBW,       Op::CWD,        Op::ROL,    Op::ROR,   Op::RCL,    Op::RCR,    Op::SHL,
    Op::SHR,       Op::SAR,        Op::SHLD,   Op::SHRD,  Op::BT,     Op::BTS,    Op::BTR,
    Op::BTC,       Op::BSF,        Op::BSR,    Op::TZCNT, Op::LZCNT,  Op::POPCNT, Op::BSWAP,
    Op::MOVBE,     Op::ANDN,       Op::BEXTR,  Op::BLSI,  Op::BLSMSK, Op::BLSR,   Op::BZHI,
    Op::PDEP,      Op::PEXT,       Op::RORX,   Op::SARX,  Op::SHLX,   Op::SHRX,   Op::MOV,
    Op::MOVZX,     Op::MOVSX,      Op::MOVSXD, Op::LEA,   Op::XCHG,   Op::XADD,   Op::CMPXCHG,
    Op::CMPXCHG8B, Op::CMPXCHG16B, Op::CMOVcc, Op::SETcc, Op::MOVNTI, Op::CLC,    Op::STC,
    Op::CMC,       Op::LAHF,       Op::SAHF,   Op::NOP,   Op::PAUSE,  Op::ENDBR,  Op::LFENCE,
    Op::MFENCE,    Op::SFENCE,
});
// Of 32-bit code.
constexpr auto kDecimalOps =
    std::to_array<Op>({Op::AAA, Op::AAS, Op::AAM, Op::AAD, Op::DAA, Op::DAS, Op::SALC, Op::ARPL});
constexpr auto kX87EnvironmentOps =
    std::to_array<Op>({Op::FLDCW, Op::FLDENV, Op::FRSTOR, Op::FNSTENV, Op::FNSAVE});
// Their memory operand is not the explicit one.
constexpr auto kImplicitMemoryOps =
    std::to_array<Op>({Op::MASKMOVQ, Op::MASKMOVDQU, Op::VMASKMOVDQU});
constexpr auto kBitOffsetOps = std::to_array<Op>({Op::BT, Op::BTS, Op::BTR, Op::BTC});

template <std::size_t N>
bool contains(const std::array<Op, N>& ops, Op op) {
    return std::find(ops.begin(), ops.end(), op) != ops.end();
}

bool uses_file(const Row& row, RegClass file) {
    return std::any_of(row.operands.begin(), row.operands.end(), [&](Operand operand) {
        const OperandInfo& about = info(operand);
        return about.file == file && about.place != Place::Imm && about.place != Place::MemOnly;
    });
}

bool is_family(
    const Row& row, InsnFamily family, OpcodeMap map, bool vex, const GeneratorFilter& filter) {
    const bool xmm = uses_file(row, RegClass::Xmm);
    const bool mmx = uses_file(row, RegClass::Mmx);
    switch (family) {
    case InsnFamily::X87: return map == OpcodeMap::X87;
    case InsnFamily::Mmx: return (mmx && !xmm) || row.op() == Op::EMMS;
    case InsnFamily::Sse: return xmm && !vex;
    case InsnFamily::Avx:
        return vex && (xmm || row.op() == Op::VZEROALL || row.op() == Op::VZEROUPPER);
    case InsnFamily::Integer:
        return !xmm && !mmx && map != OpcodeMap::X87 &&
               (contains(kIntegerOps, row.op()) ||
                (filter.code_bits != 64 && contains(kDecimalOps, row.op())));
    }
    return false;
}

bool admitted(const Row& row, OpcodeMap map, bool vex, const GeneratorFilter& filter) {
    const bool needs_rex_w = !vex && row.has(opcode_map::kW1);
    const bool other_mode = filter.code_bits == 64 ? row.has(opcode_map::kNot64)
                                                   : row.has(opcode_map::kOnly64) || needs_rex_w;
    if (row.entry.escape != opcode_map::Escape::NoEscape || other_mode ||
        !filter.features.has(row.feature) || row.has_place(Place::Vsib) ||
        row.has_place(Place::Moffs) || contains(kImplicitMemoryOps, row.op())) {
        return false;
    }
    if (!filter.x87_environment && contains(kX87EnvironmentOps, row.op())) {
        return false;
    }
    const bool must_be_memory = row.has(opcode_map::kModMem);
    const bool bit_offset = contains(kBitOffsetOps, row.op()) && row.has_place(Place::Reg);
    if ((must_be_memory && !filter.memory) ||
        (row.has_modrm() && !must_be_memory && !filter.registers && bit_offset)) {
        return false;
    }
    return std::any_of(filter.families.begin(), filter.families.end(),
                       [&](InsnFamily family) { return is_family(row, family, map, vex, filter); });
}

// --- encoding ------------------------------------------------------------------------------------

class Encoder {
  public:
    Encoder(Rng& rng, const InsnGenerator::Candidate& candidate, const GeneratorFilter& filter)
        : rng_(rng)
        , candidate_(candidate)
        , row_(*candidate.row)
        , filter_(filter) {}

    bool encode(GeneratedInsn& out) {
        if (!choose_mod()) {
            return false;
        }
        choose_sizes();
        choose_registers();
        if (filter_.code_bits != 64 && needs_rex()) {
            return false;
        }
        if (candidate_.vex) {
            put_vex();
        } else {
            put_prefixes();
            put_opcode();
        }
        const std::size_t displacement = put_operands();
        put_immediate();
        if (length_ > kMaxBytes) {
            return false;
        }
        if (displacement != 0 && rip_relative_) {
            patch_rip(displacement);
        }
        out = GeneratedInsn{};
        std::copy_n(bytes_.begin(), length_, out.bytes.begin());
        out.length = static_cast<u8>(length_);
        out.row = candidate_.row;
        out.has_mem = memory_;
        return true;
    }

  private:
    static constexpr std::size_t kMaxBytes = 15;

    u64 below(u64 bound) { return rng_() % bound; }
    bool one_in(u64 n) { return below(n) == 0; }
    void put(u64 byte) { bytes_[length_++] = static_cast<u8>(byte); }
    void put_bytes(u64 value, unsigned count) {
        for (unsigned i = 0; i < count; ++i) {
            put(value >> (8 * i) & 0xFF);
        }
    }
    bool has(opcode_map::Attributes attribute) const { return row_.has(attribute); }
    bool has_file_operand(Place place, RegClass file) const {
        return std::any_of(row_.operands.begin(), row_.operands.end(), [&](Operand operand) {
            return operand != Operand::None && info(operand).place == place &&
                   info(operand).file == file;
        });
    }

    // Memory or register; false when the filter leaves neither.
    bool choose_mod() {
        if (!row_.has_modrm()) {
            return true;
        }
        const bool bit_offset = contains(kBitOffsetOps, row_.op()) && row_.has_place(Place::Reg);
        const bool memory_possible = filter_.memory && !has(opcode_map::kModReg) && !bit_offset;
        const bool register_possible =
            !has(opcode_map::kModMem) && (filter_.registers || has(opcode_map::kModReg));
        memory_ = memory_possible && (!register_possible || one_in(2));
        return memory_possible || register_possible;
    }

    void choose_sizes() {
        const bool w_free = !has(opcode_map::kW0) && !has(opcode_map::kW1);
        w_ = has(opcode_map::kW1) ||
             (w_free && one_in(3) && (filter_.code_bits == 64 || candidate_.vex));
        const bool l_free = !has(opcode_map::kL0) && !has(opcode_map::kL1);
        const bool ymm_allowed = !has(opcode_map::kYmmAvx2) || filter_.features.has(Feature::AVX2);
        l_ = has(opcode_map::kL1) || (l_free && ymm_allowed && one_in(2));
        // 66 is an operand size where it is neither mandatory nor forbidden.
        const u64 prefixes = row_.prefixes().bits;
        const bool free_66 = prefixes == 0 || (prefixes & 3) == 3 || (prefixes & 0xC) != 0;
        const bool sized =
            std::any_of(row_.operands.begin(), row_.operands.end(), [](Operand operand) {
                return operand != Operand::None && info(operand).reg_size == opcode_map::Size::V;
            });
        opsize_ = free_66 && one_in(sized || row_.operands == opcode_map::Operands{} ? 4 : 16);
        lock_ = memory_ && has(opcode_map::kLock) && one_in(8);
    }

    u64 registers() const { return filter_.code_bits == 64 ? 16 : 8; }
    u8 gpr() {
        for (;;) {
            const u64 number = below(registers());
            if ((filter_.forbidden_gprs >> number & 1) == 0) {
                return static_cast<u8>(number);
            }
        }
    }
    // A register number for an operand of `file`.
    u8 register_of(RegClass file) {
        return file == RegClass::Gpr
                   ? gpr()
                   : static_cast<u8>(below(file == RegClass::Xmm ? registers() : 8));
    }
    RegClass file_of(std::initializer_list<Place> places) const {
        for (const Operand operand : row_.operands) {
            const OperandInfo& about = info(operand);
            if (operand != Operand::None &&
                std::find(places.begin(), places.end(), about.place) != places.end()) {
                return about.file;
            }
        }
        return RegClass::Other;
    }

    void choose_registers() {
        reg_ = row_.has_reg() ? static_cast<u8>(row_.reg()) : register_of(file_of({Place::Reg}));
        rm_ = row_.has_rm()
                  ? static_cast<u8>(row_.rm())
                  : register_of(file_of({Place::RegOrMem, Place::RegOnly, Place::OpcodeReg}));
        vvvv_ = row_.has_place(Place::Vvvv) ? register_of(file_of({Place::Vvvv})) : u8{0};
        if (has(opcode_map::kB0)) {
            rm_ = static_cast<u8>(rm_ & 7);
        }
        rip_relative_ = memory_ && filter_.rip_relative && filter_.code_bits == 64 && one_in(4);
        indexed_ = memory_ && !rip_relative_ && filter_.index != kZeroSlot && one_in(2);
        base_ = memory_ ? (rip_relative_ ? u8{RBP} : filter_.base) : rm_;
    }

    // AH CH DH BH without REX are parts of registers that may be forbidden.
    bool needs_rex() const {
        const bool byte_operand =
            std::any_of(row_.operands.begin(), row_.operands.end(), [](Operand operand) {
                const OperandInfo& about = info(operand);
                return about.reg_size == opcode_map::Size::B1 && about.place != Place::Accumulator;
            });
        const auto hides_forbidden = [&](u8 number) {
            return number >= 4 && number < 8 && (filter_.forbidden_gprs >> (number - 4) & 1) != 0;
        };
        return byte_operand && (hides_forbidden(reg_) || (!memory_ && hides_forbidden(rm_)));
    }
    bool rex_r() const { return !row_.has_reg() && row_.has_place(Place::Reg) && reg_ >= 8; }
    bool rex_x() const { return indexed_ && filter_.index >= 8; }
    bool rex_b() const { return base_ >= 8 && (memory_ ? !rip_relative_ : true); }

    void put_prefixes() {
        using namespace opcode_map;  // NOLINT(google-build-using-namespace): k66, kF2 ...
        const u64 prefixes = row_.prefixes().bits;
        const bool mandatory_66 = has(k66) && !has(kNP);
        if (mandatory_66 || opsize_) {
            put(0x66);
        }
        if (lock_) {
            put(0xF0);
        }
        if ((prefixes & kF3.bits) != 0) {
            put(0xF3);
        } else if ((prefixes & kF2.bits) != 0) {
            put(0xF2);
        }
        const unsigned rex =
            (w_ ? 8U : 0U) | (rex_r() ? 4U : 0U) | (rex_x() ? 2U : 0U) | (rex_b() ? 1U : 0U);
        if (filter_.code_bits == 64 && (rex != 0 || needs_rex() || one_in(8))) {
            put(0x40 | rex);
        }
    }

    void put_opcode() {
        switch (candidate_.map) {
        case OpcodeMap::OneByte:
        case OpcodeMap::X87: break;
        case OpcodeMap::Map0F: put(0x0F); break;
        case OpcodeMap::Map0F38: put_bytes(0x380F, 2); break;
        case OpcodeMap::Map0F3A: put_bytes(0x3A0F, 2); break;
        }
        put(row_.has_place(Place::OpcodeReg) ? (row_.opcode & 0xF8U) | (rm_ & 7U) : row_.opcode);
    }

    void put_vex() {
        using namespace opcode_map;  // NOLINT(google-build-using-namespace): k66, kF2 ...
        const unsigned pp = has(k66) ? 1U : has(kF3) ? 2U : has(kF2) ? 3U : 0U;
        const unsigned payload = (~vvvv_ & 15U) << 3 | (l_ ? 4U : 0U) | pp;
        const unsigned map = static_cast<unsigned>(candidate_.map);
        if (map == 1 && !w_ && !rex_x() && !rex_b() && one_in(2)) {
            put(0xC5);
            put((rex_r() ? 0U : 0x80U) | payload);
        } else {
            put(0xC4);
            put((rex_r() ? 0U : 0x80U) | (rex_x() ? 0U : 0x40U) | (rex_b() ? 0U : 0x20U) | map);
            put((w_ ? 0x80U : 0U) | payload);
        }
        put(row_.opcode);
    }

    // ModRM, SIB, displacement. Returns where a RIP-relative displacement lies, else 0.
    std::size_t put_operands() {
        if (!row_.has_modrm()) {
            return 0;
        }
        const unsigned reg_field = (reg_ & 7U) << 3;
        if (!memory_) {
            put(0xC0U | reg_field | (rm_ & 7U));
            return 0;
        }
        if (rip_relative_) {
            put(reg_field | 5U);
            put_bytes(0, 4);
            return length_ - 4;
        }
        const i32 displacement = choose_displacement();
        const bool byte = displacement >= -128 && displacement <= 127 && !one_in(4);
        const bool sib = indexed_ || (base_ & 7) == 4 || one_in(8);
        put((byte ? 0x40U : 0x80U) | reg_field | (sib ? 4U : base_ & 7U));
        if (sib) {
            const unsigned index = indexed_ ? filter_.index & 7U : 4U;
            put(below(4) << 6 | index << 3 | (base_ & 7U));
        }
        put_bytes(static_cast<u64>(displacement), byte ? 1 : 4);
        return 0;
    }

    // Mostly a multiple of 32, so that aligned operands are often aligned.
    i32 choose_displacement() {
        const auto span = static_cast<u64>(i64{filter_.disp_max} - filter_.disp_min + 1);
        const auto any = static_cast<i32>(filter_.disp_min + static_cast<i64>(below(span)));
        const i32 rounded = any & ~31;
        return !one_in(3) && rounded >= filter_.disp_min ? rounded : any;
    }

    void patch_rip(std::size_t at) {
        const auto displacement =
            static_cast<u32>(filter_.rip_disp + choose_displacement() - static_cast<i32>(length_));
        for (unsigned i = 0; i < 4; ++i) {
            bytes_[at + i] = static_cast<u8>(displacement >> (8 * i));
        }
    }

    void put_immediate() {
        const unsigned opsize = w_ && !candidate_.vex ? 8 : opsize_ ? 2 : 4;
        // Small numbers and sign bits are more telling than uniform ones.
        const u64 value = one_in(3) ? below(70) : one_in(3) ? ~below(70) : rng_();
        for (const Operand operand : row_.operands) {
            switch (operand) {
            case Operand::Ib:
            case Operand::sIb:
            case Operand::Lx: put(value & 0xFF); break;
            case Operand::Iz: put_bytes(value, opsize == 2 ? 2 : 4); break;
            case Operand::Iv: put_bytes(value, opsize); break;
            default: break;
            }
        }
    }

    Rng& rng_;
    const InsnGenerator::Candidate& candidate_;
    const Row& row_;
    const GeneratorFilter& filter_;
    std::array<u8, 32> bytes_{};
    std::size_t length_ = 0;
    bool memory_ = false;
    bool rip_relative_ = false;
    bool indexed_ = false;
    bool w_ = false;
    bool l_ = false;
    bool opsize_ = false;
    bool lock_ = false;
    u8 reg_ = 0;
    u8 rm_ = 0;
    u8 base_ = 0;
    u8 vvvv_ = 0;
};

}  // namespace

InsnGenerator::InsnGenerator(const GeneratorFilter& filter) : filter_(filter) {
    struct Source {
        const opcode_map::MapView& view;
        OpcodeMap map;
        bool vex;
    };
    const std::array<Source, 8> sources = {{
        {opcode_map::kOneByte, OpcodeMap::OneByte, false},
        {opcode_map::kMap0F, OpcodeMap::Map0F, false},
        {opcode_map::kMap0F38, OpcodeMap::Map0F38, false},
        {opcode_map::kMap0F3A, OpcodeMap::Map0F3A, false},
        {opcode_map::kX87, OpcodeMap::X87, false},
        {opcode_map::kVex0F, OpcodeMap::Map0F, true},
        {opcode_map::kVex0F38, OpcodeMap::Map0F38, true},
        {opcode_map::kVex0F3A, OpcodeMap::Map0F3A, true},
    }};
    for (const Source& source : sources) {
        for (const Row& row : source.view.rows) {
            if (admitted(row, source.map, source.vex, filter_)) {
                candidates_.push_back({&row, source.map, source.vex});
            }
        }
    }
}

bool InsnGenerator::generate(Rng& rng, GeneratedInsn& out) const {
    if (candidates_.empty()) {
        return false;
    }
    for (unsigned attempt = 0; attempt < 100; ++attempt) {
        if (generate(rng, candidates_[rng() % candidates_.size()], out)) {
            return true;
        }
    }
    return false;
}

bool InsnGenerator::generate(Rng& rng, const Candidate& candidate, GeneratedInsn& out) const {
    for (unsigned attempt = 0; attempt < 100; ++attempt) {
        if (!Encoder(rng, candidate, filter_).encode(out)) {
            continue;
        }
        // Free choices may land on a row that stands before this one (F3 90, REX.W); draw again.
        Insn insn;
        const DecodeMode mode{.code_bits = static_cast<u8>(filter_.code_bits),
                              .real_or_v86 = false};
        if (decode({out.bytes.data(), out.length}, mode, filter_.features, insn) ==
                DecodeResult::Ok &&
            insn.op == candidate.row->op() && insn.length == out.length) {
            return true;
        }
    }
    return false;
}

}  // namespace droste::test
