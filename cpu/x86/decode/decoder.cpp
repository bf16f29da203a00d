// The decoder: prefixes, opcode, ModRM, SIB, displacement, immediate, in the order of the bytes.
// SDM Vol. 2A, "Instruction Format". What an instruction is comes out of the opcode maps (see
// map_table.hpp); what is left here is the part of the encoding that all instructions share.
//
// The bytes are copied into a window longer than any instruction, so that nothing after the
// prefixes has to ask whether there is another byte: the length is compared once, at the end. An
// invalid encoding is decoded to its end as far as that is defined, because a page fault on its
// last byte comes before the #UD.

#include "cpu/x86/decode/decoder.hpp"

#include "core/bits.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace droste {

namespace {

using namespace opcode_map;  // NOLINT(google-build-using-namespace): the decoder is the maps' other
                             // half

constexpr unsigned kMaxInsnBytes = 15;
// Behind 14 prefixes: VEX and opcode 4, ModRM, SIB, displacement 8, immediate 8, and room for a
// wide load.
constexpr std::size_t kWindowBytes = 48;

enum class Prefix : u8 { None, OpSize, AddrSize, Repne, Rep, Lock, Segment, Rex };

using PrefixTable = std::array<Prefix, 256>;
consteval PrefixTable make_prefixes(bool long64) {
    PrefixTable table{};
    for (const unsigned byte : {0x26U, 0x2EU, 0x36U, 0x3EU, 0x64U, 0x65U}) {
        table[byte] = Prefix::Segment;
    }
    table[0x66] = Prefix::OpSize;
    table[0x67] = Prefix::AddrSize;
    table[0xF0] = Prefix::Lock;
    table[0xF2] = Prefix::Repne;
    table[0xF3] = Prefix::Rep;
    for (unsigned byte = 0x40; long64 && byte < 0x50; ++byte) {
        table[byte] = Prefix::Rex;
    }
    return table;
}
constexpr std::array<PrefixTable, 2> kPrefixes = {make_prefixes(false), make_prefixes(true)};

// Operand size by rule, code size (16, 32, 64), 66 prefix, REX.W or VEX.W: index code * 4 + 66 * 2
// + W.
using OpsizeRow = std::array<u8, 12>;
constexpr std::array<OpsizeRow, static_cast<std::size_t>(OpsizeRule::kCount)> kOpsizeBytes = {{
    {2, 2, 4, 4, 4, 4, 2, 2, 4, 8, 2, 8},  // Normal
    {2, 2, 4, 4, 4, 4, 2, 2, 8, 8, 2, 8},  // Default64
    {2, 2, 4, 4, 4, 4, 2, 2, 8, 8, 8,
     8},  // Force64. Intel processors ignore 66 on near branches in 64-bit mode
    {2, 2, 2, 2, 4, 4, 4, 4, 4, 8, 4, 8},  // Mandatory66: 66 is part of the opcode
    {4, 4, 4, 4, 4, 4, 4, 4, 4, 8, 4, 8},  // Vex: 66 is VEX.pp
}};

// 16-bit addressing. SDM Vol. 2A, Table 2-1 "16-Bit Addressing Forms with the ModR/M Byte".
struct Address16 {
    u8 base;
    u8 index;
    u8 seg;
};
constexpr std::array<Address16, 8> kAddress16 = {{
    {RBX, RSI, DS},
    {RBX, RDI, DS},
    {RBP, RSI, SS},
    {RBP, RDI, SS},
    {RSI, kZeroSlot, DS},
    {RDI, kZeroSlot, DS},
    {RBP, kZeroSlot, SS},
    {RBX, kZeroSlot, DS},
}};

constexpr u8 kRexW = 8, kRexR = 4, kRexX = 2, kRexB = 1;
constexpr u8 kNoOverride = 0xFF;

class InsnReader {
  public:
    InsnReader(std::span<const u8> bytes, DecodeMode mode, const CpuFeatures& features, Insn& insn)
        : mode_(mode)
        , features_(features)
        , insn_(insn)
        , long64_(mode.code_bits == 64) {
        if (bytes.size() >= 16) [[likely]] {
            std::memcpy(window_.data(), bytes.data(), 16);
        } else {
            std::memcpy(window_.data(), bytes.data(), bytes.size());
        }
    }

    // Decodes; the length may come out beyond the bytes there are, then insn is worthless.
    unsigned read() {
        read_prefixes();
        if (at_ >= kMaxInsnBytes) {
            return kMaxInsnBytes + 1;
        }
        find_leaf();
        finish(*leaf_);
        return at_;
    }

  private:
    u8 peek() const { return window_[at_]; }
    u8 take() { return window_[at_++]; }
    template <typename T>
    T take_as() {
        T value;
        std::memcpy(&value, window_.data() + at_, sizeof(T));
        at_ += static_cast<unsigned>(sizeof(T));
        return value;
    }
    i64 take_signed_byte() { return static_cast<i64>(sign_extend(take(), 8)); }
    void set(u16 flag) { flags_ |= flag; }
    bool flag(u16 mask) const { return (flags_ & mask) != 0; }
    unsigned rex(u8 which) const { return (rex_ & which) != 0 ? 8U : 0U; }

    void read_prefixes();
    void segment_prefix(u8 byte);
    void find_leaf();
    void enter_vex(bool three_bytes);
    const MapView* enter(Escape escape);
    void finish(const Leaf& leaf);
    void read_modrm(const Leaf& leaf);
    void read_memory(const Leaf& leaf);
    void read_memory_16();
    void read_immediate(const Leaf& leaf);
    void apply_sizes(const Leaf& leaf);
    bool legal(const Leaf& leaf) const;
    bool passes_checks(const Leaf& leaf) const;
    void undefined();

    u8 register_number(RegNumber kind, unsigned low_bits, u8 rex_bit) const {
        if (kind == RegNumber::Raw) {
            return static_cast<u8>(low_bits);
        }
        if (kind == RegNumber::Byte && low_bits >= 4 && !flag(kInsnRex)) {
            return static_cast<u8>(low_bits + 16);  // AH CH DH BH: 20..23
        }
        return static_cast<u8>(low_bits + rex(rex_bit));
    }

    std::array<u8, kWindowBytes> window_{};
    unsigned at_ = 0;
    DecodeMode mode_;
    const CpuFeatures& features_;
    Insn& insn_;
    const Leaf* leaf_ = nullptr;
    unsigned flags_ = 0;
    bool long64_;
    bool addr_size_prefix_ = false;
    bool invalid_ = false;  // #UD whatever the instruction is
    u8 rex_ = 0;
    u8 vvvv_ = 0;
    u8 seg_override_ = kNoOverride;
    unsigned column_ = kColumnNP;
};

void InsnReader::segment_prefix(u8 byte) {
    const u8 seg =
        byte >= 0x64 ? static_cast<u8>(byte - 0x64 + FS) : static_cast<u8>((byte - 0x26) >> 3);
    if (!long64_ || seg >= FS) {
        seg_override_ = seg;
        set(kInsnSegOverride);
    }
    flags_ = seg == DS ? flags_ | kInsnNoTrack : flags_ & ~unsigned{kInsnNoTrack};
}

// Prefixes come in any order. Of F2 and F3, and of the segment overrides, the last one counts; in
// 64-bit mode only FS and GS are overrides. REX counts only directly before the opcode. SDM Vol.
// 2A, "Instruction Prefixes", "REX Prefixes".
void InsnReader::read_prefixes() {
    const PrefixTable& prefixes = kPrefixes[long64_ ? 1 : 0];
    for (; at_ < kMaxInsnBytes; ++at_) {
        const u8 byte = peek();
        const Prefix kind = prefixes[byte];
        if (kind == Prefix::None) [[likely]] {
            break;
        }
        if (kind == Prefix::Rex) {
            rex_ = byte;
            continue;
        }
        rex_ = 0;
        switch (kind) {
        case Prefix::OpSize: set(kInsnOpSize); break;
        case Prefix::AddrSize: addr_size_prefix_ = true; break;
        case Prefix::Repne: flags_ = (flags_ & ~unsigned{kInsnRep}) | kInsnRepne; break;
        case Prefix::Rep: flags_ = (flags_ & ~unsigned{kInsnRepne}) | kInsnRep; break;
        case Prefix::Lock: set(kInsnLock); break;
        case Prefix::Segment: segment_prefix(byte); break;
        case Prefix::Rex:
        case Prefix::None: break;
        }
    }
    if (rex_ != 0) {
        set((rex_ & kRexW) != 0 ? kInsnRex | kInsnW : kInsnRex);
    }
    column_ = flag(kInsnRep)      ? kColumnF3
              : flag(kInsnRepne)  ? kColumnF2
              : flag(kInsnOpSize) ? kColumn66
                                  : kColumnNP;
}

// Walks from the first opcode byte to a leaf.
void InsnReader::find_leaf() {
    const MapView* map = &kOneByte;
    insn_.opcode = take();
    u16 cell = map->cells[long64_][column_][insn_.opcode];
    for (;;) {
        const unsigned value = cell & kCellMask;
        switch (static_cast<CellKind>(cell >> kCellShift)) {
        case CellKind::Leaf: {
            leaf_ = map->leaves + value;
            const bool plain =
                (leaf_->checks & kCheckElsePlain) != 0 && !features_.has(leaf_->feature);
            if (!plain) [[likely]] {
                return;
            }
            cell = map->cells[long64_][kColumnNP][insn_.opcode];
            break;
        }
        case CellKind::ByModReg:
            cell = map->splits[value + ((peek() >> 3) & 7) + (peek() >= 0xC0 ? 8U : 0U)];
            break;
        case CellKind::ByRm: cell = map->splits[value + (peek() & 7U)]; break;
        case CellKind::ByW: cell = map->splits[value + (flag(kInsnW) ? 1 : 0)]; break;
        case CellKind::ByL: cell = map->splits[value + (flag(kInsnVexL) ? 1 : 0)]; break;
        case CellKind::ByB: cell = map->splits[value + ((rex_ & kRexB) != 0 ? 1 : 0)]; break;
        case CellKind::Escape:
            map = enter(static_cast<Escape>(value));
            if (map == nullptr) {
                leaf_ = kOneByte.leaves + kUndefined;
                return;
            }
            cell = map->cells[long64_][column_][insn_.opcode];
            break;
        }
    }
}

// The map an escape leads to, with its opcode byte taken; null: there is none.
const MapView* InsnReader::enter(Escape escape) {
    switch (escape) {
    case Escape::EscX87: return &kX87;
    case Escape::EscVex2:
    case Escape::EscVex3: {
        const unsigned number = escape == Escape::EscVex3 ? peek() & 0x1FU : 1U;  // VEX.mmmmm
        enter_vex(escape == Escape::EscVex3);
        insn_.opcode = take();
        return number == 1 ? &kVex0F : number == 2 ? &kVex0F38 : number == 3 ? &kVex0F3A : nullptr;
    }
    case Escape::Esc0F: insn_.opcode = take(); return &kMap0F;
    case Escape::Esc0F38: insn_.opcode = take(); return &kMap0F38;
    case Escape::Esc0F3A: insn_.opcode = take(); return &kMap0F3A;
    case Escape::NoEscape: break;
    }
    return nullptr;
}

// Takes the payload of a VEX prefix in place of REX and the mandatory prefix. SDM Vol. 2A, "The VEX
// Prefix". Outside 64-bit mode R and X are 1 (inverted: none) or it would be LES or LDS, B and the
// top bit of vvvv are ignored.
void InsnReader::enter_vex(bool three_bytes) {
    invalid_ = invalid_ || mode_.real_or_v86 ||
               flag(kInsnOpSize | kInsnRep | kInsnRepne | kInsnLock | kInsnRex);
    flags_ &= ~unsigned{kInsnOpSize | kInsnRep | kInsnRepne | kInsnRex | kInsnW};
    const u8 first = take();
    rex_ = (first & 0x80) == 0 ? kRexR : u8{0};
    u8 payload = first;
    if (three_bytes) {
        rex_ = static_cast<u8>(rex_ | ((first & 0x40) == 0 ? kRexX : 0) |
                               ((first & 0x20) == 0 ? kRexB : 0));
        payload = take();
        if ((payload & 0x80) != 0) {
            set(kInsnW);
        }
    }
    vvvv_ = static_cast<u8>(~(payload >> 3) & (long64_ ? 15 : 7));
    if (!long64_) {
        rex_ = 0;
    }
    set((payload & 4) != 0 ? kInsnVex | kInsnVexL : kInsnVex);
    column_ = payload & 3U;
    constexpr std::array<u16, 4> kPrefixFlag = {0, kInsnOpSize, kInsnRep, kInsnRepne};
    set(kPrefixFlag[column_]);
}

void InsnReader::finish(const Leaf& leaf) {
    const bool hint_missing = (leaf.checks & kCheckElseNop) != 0 && !features_.has(leaf.feature);
    insn_.op = hint_missing ? Op::NOP : leaf.op;
    insn_.form = leaf.form;
    insn_.classes = leaf.classes;
    insn_.map = leaf.map;
    insn_.vvvv = vvvv_;
    insn_.opsize = kOpsizeBytes[static_cast<std::size_t>(leaf.opsize)]
                               [(mode_.code_bits >> 5) * 4U + (flag(kInsnOpSize) ? 2U : 0U) +
                                (flag(kInsnW) ? 1U : 0U)];
    const bool wide = mode_.code_bits != 16;
    insn_.addrsize = long64_ ? (addr_size_prefix_ ? 4 : 8) : (wide != addr_size_prefix_ ? 4 : 2);
    insn_.reg = leaf.fixed_reg;
    if (leaf.modrm != ModRmUse::None) {
        read_modrm(leaf);
    } else if (leaf.opcode_reg) {
        insn_.rm = register_number(leaf.e_number, insn_.opcode & 7U, kRexB);
    }
    read_immediate(leaf);
    if (seg_override_ != kNoOverride) {
        insn_.seg = seg_override_;
    }
    apply_sizes(leaf);
    insn_.length = static_cast<u8>(at_);
    if (flag(kInsnRipRelative)) {
        insn_.disp += at_;
    }
    flags_ |= leaf.insn_flags;
    if (!flag(kInsnMem)) {
        flags_ &= ~unsigned{kInsnAligned};
    }
    if (!leaf.l_matters) {
        flags_ &= ~unsigned{kInsnVexL};
    }
    insn_.flags = static_cast<u16>(flags_);
    if (leaf.op == Op::UD || !legal(leaf)) [[unlikely]] {
        undefined();
    }
}

void InsnReader::read_modrm(const Leaf& leaf) {
    const u8 modrm = take();
    insn_.modrm = modrm;
    if (!leaf.named_g) {
        insn_.reg = register_number(leaf.g_number, (modrm >> 3) & 7U, kRexR);
    }
    if (modrm >= 0xC0 || leaf.modrm == ModRmUse::AlwaysRegister) {
        insn_.rm = register_number(leaf.e_number, modrm & 7U, kRexB);
        return;
    }
    set(kInsnMem);
    if (insn_.addrsize == 2) {
        read_memory_16();
    } else {
        read_memory(leaf);
    }
}

// SDM Vol. 2A, Tables 2-2 "32-Bit Addressing Forms with the ModR/M Byte" and 2-3 "... with the SIB
// Byte"; "RIP-Relative Addressing".
void InsnReader::read_memory(const Leaf& leaf) {
    const unsigned mod = insn_.modrm >> 6;
    unsigned low = insn_.modrm & 7U;
    bool no_base = mod == 0 && low == 5;
    if (low == 4) {
        const u8 sib = take();
        const unsigned index = ((sib >> 3) & 7U) + rex(kRexX);
        if (index != RSP || (leaf.checks & kCheckVsib) != 0) {
            insn_.index = static_cast<u8>(index);
            insn_.scale = static_cast<u8>(sib >> 6);
        }
        low = sib & 7U;
        no_base = mod == 0 && low == 5;
    } else if (no_base && long64_) {
        set(kInsnRipRelative);
    }
    if (no_base) {
        insn_.base = flag(kInsnRipRelative) ? u8{kRipSlot} : u8{kZeroSlot};
        insn_.disp = take_as<i32>();
        return;
    }
    const unsigned base = low + rex(kRexB);
    insn_.base = static_cast<u8>(base);
    if (base == RSP || base == RBP) {
        insn_.seg = SS;
    }
    if (mod == 1) {
        insn_.disp = take_signed_byte();
    } else if (mod == 2) {
        insn_.disp = take_as<i32>();
    }
}

void InsnReader::read_memory_16() {
    const unsigned mod = insn_.modrm >> 6;
    const unsigned low = insn_.modrm & 7U;
    if (mod == 0 && low == 6) {
        insn_.disp = take_as<u16>();
        return;
    }
    insn_.base = kAddress16[low].base;
    insn_.index = kAddress16[low].index;
    insn_.seg = kAddress16[low].seg;
    if (mod == 1) {
        insn_.disp = take_signed_byte();
    } else if (mod == 2) {
        insn_.disp = take_as<i16>();
    }
}

void InsnReader::read_immediate(const Leaf& leaf) {
    const bool word = insn_.opsize == 2;
    const auto sign_extended = [](i64 value) { return static_cast<u64>(value); };
    switch (leaf.imm) {
    case Immediate::None: break;
    case Immediate::Ib: insn_.imm = take(); break;
    case Immediate::SIb: insn_.imm = sign_extend(take(), 8); break;
    case Immediate::Iw: insn_.imm = take_as<u16>(); break;
    case Immediate::Iz: insn_.imm = sign_extended(word ? take_as<i16>() : take_as<i32>()); break;
    case Immediate::Iv:
        insn_.imm = insn_.opsize == 8 ? take_as<u64>() : word ? take_as<u16>() : take_as<u32>();
        break;
    case Immediate::One: insn_.imm = 1; break;
    case Immediate::Far:
        insn_.imm = word ? take_as<u16>() : take_as<u32>();
        insn_.imm2 = take_as<u16>();
        break;
    case Immediate::IwIb:
        insn_.imm = take_as<u16>();
        insn_.imm2 = take();
        break;
    case Immediate::Is4:
        insn_.imm = take();
        insn_.imm2 = static_cast<u16>(insn_.imm >> 4 & (long64_ ? 15 : 7));
        break;
    case Immediate::Moffs:
        insn_.disp = insn_.addrsize == 8   ? take_as<i64>()
                     : insn_.addrsize == 4 ? i64{take_as<u32>()}
                                           : i64{take_as<u16>()};
        set(kInsnMem);
        break;
    }
}

void InsnReader::apply_sizes(const Leaf& leaf) {
    const unsigned column = (insn_.opsize >> 2) + (flag(kInsnVexL) && leaf.l_matters ? 3U : 0U);
    const bool memory = flag(kInsnMem);
    insn_.width =
        kSizeBytes[static_cast<std::size_t>(memory ? leaf.width_mem : leaf.width_reg)][column];
    insn_.mem_bytes =
        kSizeBytes[static_cast<std::size_t>(memory ? leaf.e_mem : leaf.e_reg)][column];
}

bool InsnReader::legal(const Leaf& leaf) const {
    if (invalid_ || (flag(kInsnLock) && !(leaf.lock_legal && flag(kInsnMem)))) {
        return false;
    }
    if (vvvv_ != 0 && !leaf.uses_vvvv) {
        return false;
    }
    if (leaf.feature != Feature::kNone && !features_.has(leaf.feature)) {
        return (leaf.checks & kCheckElseNop) != 0;
    }
    return leaf.checks == 0 || passes_checks(leaf);
}

bool InsnReader::passes_checks(const Leaf& leaf) const {
    const u16 checks = leaf.checks;
    if ((checks & kCheckNotReal) != 0 && mode_.real_or_v86) {
        return false;
    }
    if ((checks & kCheckYmmAvx2) != 0 && flag(kInsnVexL) && !features_.has(Feature::AVX2)) {
        return false;
    }
    constexpr unsigned kControlRegs = 1U << 0 | 1U << 2 | 1U << 3 | 1U << 4 | 1U << 8;
    if ((checks & kCheckControlReg) != 0 && !test_bit(kControlRegs, insn_.reg)) {
        return false;
    }
    if ((checks & kCheckDebugReg) != 0 && insn_.reg >= 8) {
        return false;
    }
    if ((checks & kCheckSegRegFrom) != 0 && insn_.reg >= kSegRegCount) {
        return false;
    }
    if ((checks & kCheckSegRegTo) != 0 && (insn_.reg >= kSegRegCount || insn_.reg == CS)) {
        return false;
    }
    if ((checks & kCheckVsib) != 0) {
        // SDM Vol. 2C, "VGATHERDPS/VGATHERDPD": #UD without a SIB byte, or if two of the registers
        // are the same.
        return insn_.addrsize != 2 && (insn_.modrm & 7) == 4 && insn_.index != insn_.reg &&
               insn_.index != insn_.vvvv && insn_.reg != insn_.vvvv;
    }
    return true;
}

// Makes the instruction one that raises #UD, of the length it has.
void InsnReader::undefined() {
    Insn ud;
    ud.op = Op::UD;
    ud.flags = kInsnEndsBlock;
    ud.length = insn_.length;
    ud.width = ud.opsize = insn_.opsize;
    ud.addrsize = insn_.addrsize;
    ud.map = insn_.map;
    ud.opcode = insn_.opcode;
    ud.modrm = insn_.modrm;
    insn_ = ud;
}

}  // namespace

DecodeResult
decode(std::span<const u8> bytes, DecodeMode mode, const CpuFeatures& features, Insn& insn) {
    insn = Insn{};
    const unsigned length = InsnReader(bytes, mode, features, insn).read();
    if (length > bytes.size() && bytes.size() < kMaxInsnBytes) {
        return DecodeResult::NeedBytes;
    }
    return length > kMaxInsnBytes ? DecodeResult::TooLong : DecodeResult::Ok;
}

const char* mnemonic(Op op) {
    static constexpr auto kNames = std::to_array<const char*>({
#define DROSTE_OP(name) #name,
#include "cpu/x86/decode/ops.inc"
#undef DROSTE_OP
    });
    return op < Op::kCount ? kNames[static_cast<std::size_t>(op)] : "?";
}

}  // namespace droste
