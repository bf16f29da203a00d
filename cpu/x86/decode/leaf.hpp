#pragma once
// A row digested for the decoder: what decode() must do once it knows the instruction, with nothing
// left to search or interpret. Made from rows at compile time.

#include "core/assert.hpp"
#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/decode/operand.hpp"
#include "cpu/x86/decode/row.hpp"
#include "cpu/x86/state/features.hpp"

namespace droste::opcode_map {

// How Insn::rm is made when E is a register, and Insn::reg from G.
enum class RegNumber : u8 {
    Raw,       // the three ModRM bits: MMX, ST(i), Sreg, opcode extensions, accumulators (0)
    Extended,  // with REX.B / REX.R
    Byte,      // likewise; 4..7 are AH CH DH BH when there is no REX prefix
};

enum class ModRmUse : u8 {
    None,
    Operand,         // register or memory by mod
    AlwaysRegister,  // mod is ignored: MOV CR, MOV DR
};

enum class Immediate : u8 {
    None,
    Ib,   // zero-extended
    SIb,  // sign-extended: sIb, Jb
    Iw,   // zero-extended
    Iz,   // sign-extended: Iz, Jz
    Iv,
    One,    // no byte; Insn::imm = 1
    Far,    // Ap
    IwIb,   // ENTER
    Is4,    // a register number in bits 7:4, and perhaps more
    Moffs,  // a displacement of the address size
};

// Which of kOpsizeBytes' rules gives the operand size.
enum class OpsizeRule : u8 { Normal, Default64, Force64, Mandatory66, Vex, kCount };

// Things few instructions need; tested together first.
inline constexpr u16 kCheckNotReal = 1U << 0;
inline constexpr u16 kCheckControlReg = 1U << 1;  // CR0, 2, 3, 4, 8
inline constexpr u16 kCheckDebugReg = 1U << 2;    // DR0..7
inline constexpr u16 kCheckSegRegTo = 1U << 3;    // ES SS DS FS GS
inline constexpr u16 kCheckSegRegFrom = 1U << 4;  // and CS
inline constexpr u16 kCheckVsib = 1U << 5;  // needs a SIB byte; destination, index and mask differ
inline constexpr u16 kCheckYmmAvx2 = 1U << 6;
inline constexpr u16 kCheckElsePlain = 1U << 7;
inline constexpr u16 kCheckElseNop = 1U << 8;

struct Leaf {
    Op op = Op::UD;
    u16 insn_flags = kInsnEndsBlock;  // those that depend on the row alone
    u16 checks = 0;
    Form form = Form::None;
    u8 classes = 0;
    ModRmUse modrm = ModRmUse::None;
    RegNumber e_number = RegNumber::Raw;
    RegNumber g_number = RegNumber::Raw;
    bool named_g = false;  // G is a register by name: fixed_reg (ES .. GS, ST(0))
    u8 fixed_reg = 0;
    bool opcode_reg = false;  // E is in the low opcode bits
    bool lock_legal = false;
    bool uses_vvvv = false;
    bool l_matters = false;  // some operand's size depends on VEX.L, or the row demands L = 1
    Immediate imm = Immediate::None;
    Size width_reg = Size::V;  // by ModRM.mod
    Size width_mem = Size::V;
    Size e_reg = Size::None;
    Size e_mem = Size::None;
    OpsizeRule opsize = OpsizeRule::Normal;
    OpcodeMap map = OpcodeMap::OneByte;
    Feature feature = Feature::kNone;
};

// Leaves every table starts with: nothing is defined here; likewise, and a ModRM byte belongs to
// it.
inline constexpr u16 kUndefined = 0, kUndefinedModRm = 1, kFirstRow = 2;

struct MapTraits {
    OpcodeMap map;
    bool vex;
};

constexpr bool is_e(Place place) {
    return place == Place::RegOrMem || place == Place::MemOnly || place == Place::RegOnly ||
           place == Place::RegAnyMod || place == Place::Vsib || place == Place::OpcodeReg ||
           place == Place::FixedE || place == Place::Moffs;
}
constexpr bool is_g(Place place) {
    return place == Place::Reg || place == Place::SegReg || place == Place::Control ||
           place == Place::Debug || place == Place::FixedG;
}

// The letters of a Form, as one number: destination first, a decimal digit each.
constexpr unsigned kFormE = 1, kFormG = 2, kFormB = 3, kFormI = 4, kFormC = 5;
constexpr Form form_of(unsigned letters) {
    switch (letters) {
    case 0: return Form::None;
    case 1: return Form::E;
    case 2: return Form::G;
    case 4: return Form::I;
    case 12: return Form::EG;
    case 21: return Form::GE;
    case 14: return Form::EI;
    case 15: return Form::EC;
    case 24: return Form::GI;
    case 214: return Form::GEI;
    case 124: return Form::EGI;
    case 125: return Form::EGC;
    case 231: return Form::GBE;
    case 213: return Form::GEB;
    case 31: return Form::BE;
    case 2314: return Form::GBEI;
    case 132: return Form::EBG;
    case 314: return Form::BEI;
    default: break;
    }
    DROSTE_UNREACHABLE();  // not a constant expression: a row whose operands no Form describes does
                           // not compile
}

// Makes a leaf from a row, one operand after the other.
class LeafMaker {
  public:
    constexpr LeafMaker(const Row& row, MapTraits traits) : row_(row), traits_(traits) {
        leaf_.op = row.op();
        leaf_.map = traits.map;
        leaf_.feature = row.feature;
    }

    constexpr Leaf make() {
        const bool port_io = row_.op() == Op::IN || row_.op() == Op::OUT;
        accumulator_is_g_ = row_.has_place(Place::OpcodeReg) || row_.has_place(Place::Moffs);
        accumulator_is_implicit_ = port_io;
        for (const Operand operand : row_.operands) {
            if (operand != Operand::None) {
                add(operand);
            }
        }
        if (row_.has_modrm()) {
            leaf_.modrm =
                row_.has_place(Place::RegAnyMod) ? ModRmUse::AlwaysRegister : ModRmUse::Operand;
        }
        leaf_.form = form_of(letters_);
        finish_sizes();
        finish_attributes();
        return leaf_;
    }

  private:
    constexpr void letter(unsigned which) { letters_ = letters_ * 10 + which; }

    constexpr void add(Operand operand) {
        const OperandInfo& about = info(operand);
        if (is_e(about.place)) {
            add_e(about);
        } else if (is_g(about.place)) {
            add_g(operand, about);
        } else if (about.place == Place::Vvvv) {
            letter(kFormB);
            leaf_.uses_vvvv = true;
            leaf_.classes = static_cast<u8>(leaf_.classes | static_cast<unsigned>(about.file) << 4);
        } else if (about.place == Place::Accumulator) {
            if (!accumulator_is_implicit_) {
                letter(accumulator_is_g_ ? kFormG : kFormE);
                if (!accumulator_is_g_) {
                    leaf_.e_reg = about.reg_size;
                    leaf_.e_mem = about.mem_size;
                }
            }
        } else if (about.place == Place::Count) {
            letter(kFormC);
        } else if (about.place == Place::Imm) {
            add_immediate(operand);
        }
        note_size(about);
    }

    constexpr void add_e(const OperandInfo& about) {
        letter(kFormE);
        leaf_.classes = static_cast<u8>(leaf_.classes | static_cast<unsigned>(about.file) << 2);
        leaf_.e_number = number_of(about);
        leaf_.e_reg = about.reg_size;
        leaf_.e_mem = about.mem_size;
        leaf_.opcode_reg = about.place == Place::OpcodeReg;
        if (about.place == Place::Moffs) {
            leaf_.imm = Immediate::Moffs;
        }
        if (about.place == Place::Vsib) {
            leaf_.checks = static_cast<u16>(leaf_.checks | kCheckVsib);
        }
    }

    constexpr void add_g(Operand operand, const OperandInfo& about) {
        letter(kFormG);
        leaf_.classes = static_cast<u8>(leaf_.classes | static_cast<unsigned>(about.file));
        leaf_.g_number = number_of(about);
        if (about.place == Place::FixedG) {
            leaf_.named_g = true;
            leaf_.fixed_reg = operand == Operand::ST0
                                  ? u8{0}
                                  : static_cast<u8>(static_cast<unsigned>(operand) -
                                                    static_cast<unsigned>(Operand::ES));
        }
        if (about.place == Place::SegReg) {
            const bool load = letters_ == kFormG;
            leaf_.checks =
                static_cast<u16>(leaf_.checks | (load ? kCheckSegRegTo : kCheckSegRegFrom));
        } else if (about.place == Place::Control) {
            leaf_.checks = static_cast<u16>(leaf_.checks | kCheckControlReg);
        } else if (about.place == Place::Debug) {
            leaf_.checks = static_cast<u16>(leaf_.checks | kCheckDebugReg);
        }
    }

    static constexpr RegNumber number_of(const OperandInfo& about) {
        if (about.place == Place::FixedE || about.place == Place::FixedG ||
            about.place == Place::SegReg || about.file == Insn::RegClass::Mmx) {
            return RegNumber::Raw;
        }
        if (about.place == Place::Control || about.place == Place::Debug) {
            return RegNumber::Extended;
        }
        if (about.file == Insn::RegClass::Other) {
            return RegNumber::Raw;
        }
        return about.file == Insn::RegClass::Gpr && about.reg_size == Size::B1
                   ? RegNumber::Byte
                   : RegNumber::Extended;
    }

    constexpr void add_immediate(Operand operand) {
        if (leaf_.imm == Immediate::Iw && operand == Operand::Ib) {
            leaf_.imm = Immediate::IwIb;  // one Form letter for both
            return;
        }
        letter(kFormI);
        switch (operand) {
        case Operand::Ib: leaf_.imm = Immediate::Ib; break;
        case Operand::Lx: leaf_.imm = Immediate::Is4; break;
        case Operand::sIb:
        case Operand::Jb: leaf_.imm = Immediate::SIb; break;
        case Operand::Iw: leaf_.imm = Immediate::Iw; break;
        case Operand::Iz:
        case Operand::Jz: leaf_.imm = Immediate::Iz; break;
        case Operand::Iv: leaf_.imm = Immediate::Iv; break;
        case Operand::One: leaf_.imm = Immediate::One; break;
        case Operand::Ap: leaf_.imm = Immediate::Far; break;
        default: break;
        }
    }

    // The first operand that has a size gives Insn::width; vector registers make it the vector
    // length.
    constexpr void note_size(const OperandInfo& about) {
        const bool register_or_memory = about.place != Place::Imm &&
                                        about.place != Place::Implicit &&
                                        about.place != Place::Count && about.place != Place::FixedG;
        if (register_or_memory && !sized_) {
            leaf_.width_reg = about.reg_size;
            leaf_.width_mem = about.mem_size;
            sized_ = true;
        }
        const bool register_file = about.place != Place::MemOnly && about.place != Place::Vsib;
        if (register_file && about.file == Insn::RegClass::Xmm && about.place != Place::Imm) {
            xmm_ = true;
        }
        mmx_ = mmx_ || about.file == Insn::RegClass::Mmx;
        const bool by_length = about.mem_size >= Size::X && about.mem_size <= Size::X8;
        l_sized_ = l_sized_ || (by_length && about.place != Place::Imm);
        ymm_only_ = ymm_only_ || about.mem_size == Size::B32;
    }

    constexpr void finish_sizes() {
        if (xmm_) {
            leaf_.width_reg = leaf_.width_mem = ymm_only_  ? Size::B32
                                                : l_sized_ ? Size::X
                                                           : Size::B16;
        } else if (mmx_) {
            leaf_.width_reg = leaf_.width_mem = Size::B8;
        } else if (row_.op() == Op::CRC32) {
            leaf_.width_reg = leaf_.width_mem = leaf_.e_reg;
        } else if (leaf_.width_mem == Size::Far) {
            leaf_.width_reg = leaf_.width_mem = Size::V;
        }
        leaf_.l_matters = l_sized_ || ymm_only_ || row_.has(kL1);
    }

    constexpr void finish_attributes() {
        const Attributes a = row_.attributes;
        u16 flags = 0;
        flags = static_cast<u16>(flags |
                                 (a.has(kEndsBlock) || row_.op() == Op::UD ? kInsnEndsBlock : 0));
        flags = static_cast<u16>(flags | (a.has(kReadsTime) ? kInsnReadsTime : 0));
        flags = static_cast<u16>(flags | (a.has(kNative) ? kInsnNative : 0));
        const bool wide_memory =
            leaf_.e_mem == Size::B16 || leaf_.e_mem == Size::B32 || leaf_.e_mem == Size::X;
        flags = static_cast<u16>(flags | (a.has(kAligned) && wide_memory ? kInsnAligned : 0));
        leaf_.insn_flags = flags;
        leaf_.lock_legal = a.has(kLock);
        unsigned checks = leaf_.checks;
        checks |= a.has(kNotReal) ? kCheckNotReal : 0U;
        checks |= a.has(kYmmAvx2) ? kCheckYmmAvx2 : 0U;
        checks |= a.has(kElsePlain) ? kCheckElsePlain : 0U;
        checks |= a.has(kElseNop) ? kCheckElseNop : 0U;
        leaf_.checks = static_cast<u16>(checks);
        const bool mandatory_66 = a.has(k66) && !a.has(kNP);
        leaf_.opsize = traits_.vex         ? OpsizeRule::Vex
                       : a.has(kForce64)   ? OpsizeRule::Force64
                       : a.has(kDefault64) ? OpsizeRule::Default64
                       : mandatory_66      ? OpsizeRule::Mandatory66
                                           : OpsizeRule::Normal;
    }

    Row row_;
    MapTraits traits_;
    Leaf leaf_{};
    unsigned letters_ = 0;
    bool accumulator_is_g_ = false;
    bool accumulator_is_implicit_ = false;
    bool sized_ = false;
    bool xmm_ = false;
    bool mmx_ = false;
    bool l_sized_ = false;
    bool ymm_only_ = false;
};

}  // namespace droste::opcode_map
