#include "tests/differential/exceptions.hpp"

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/fpu/x87.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "jit/native_choices.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <cpuid.h>

namespace droste::differential {

namespace {

using rflags::kAf;
using rflags::kCf;
using rflags::kOf;
using rflags::kPf;
using rflags::kSf;
using rflags::kZf;

// The shift or rotate count as the processor masks it; a count in a register is CL.
unsigned shift_count(const Insn& insn, const Outcome& start) {
    const bool in_cl = insn.form == Form::EC || insn.form == Form::EGC;
    const u64 count = in_cl ? start.state.gpr[RCX] : insn.imm;
    return static_cast<unsigned>(count & (insn.opsize == 8 ? 63 : 31));
}
unsigned operand_bits(const Insn& insn) {
    return insn.width != 0 ? insn.width * 8U : insn.opsize * 8U;
}

bool any(const Insn&, const Outcome&, unsigned) {
    return true;
}
bool by_some(const Insn&, const Outcome&, unsigned count) {
    return count != 0;
}
bool by_more_than_one(const Insn&, const Outcome&, unsigned count) {
    return count > 1;
}
bool by_all_bits(const Insn& insn, const Outcome&, unsigned count) {
    return count >= operand_bits(insn);
}

// docs/x86/undefined.md, "Status flags".
struct UndefinedFlags {
    Op op;
    u64 flags;
    bool (*when)(const Insn& insn, const Outcome& start, unsigned count) = any;
};
// clang-format off
constexpr auto kUndefinedFlags = std::to_array<UndefinedFlags>({
    {Op::AND, kAf}, {Op::OR, kAf}, {Op::XOR, kAf}, {Op::TEST, kAf},
    {Op::MUL, kSf | kZf | kAf | kPf}, {Op::IMUL, kSf | kZf | kAf | kPf},
    {Op::DIV, rflags::kStatus}, {Op::IDIV, rflags::kStatus},
    {Op::SHL, kAf, by_some}, {Op::SHL, kOf, by_more_than_one}, {Op::SHL, kCf, by_all_bits},
    {Op::SHR, kAf, by_some}, {Op::SHR, kOf, by_more_than_one}, {Op::SHR, kCf, by_all_bits},
    {Op::SAR, kAf, by_some}, {Op::SAR, kOf, by_more_than_one}, {Op::SAR, kCf, by_all_bits},
    {Op::ROL, kOf, by_more_than_one}, {Op::ROR, kOf, by_more_than_one},
    {Op::RCL, kOf, by_more_than_one}, {Op::RCR, kOf, by_more_than_one},
    {Op::SHLD, kAf, by_some}, {Op::SHLD, kOf, by_more_than_one},
    {Op::SHRD, kAf, by_some}, {Op::SHRD, kOf, by_more_than_one},
    {Op::BT, kOf | kSf | kAf | kPf}, {Op::BTS, kOf | kSf | kAf | kPf},
    {Op::BTR, kOf | kSf | kAf | kPf}, {Op::BTC, kOf | kSf | kAf | kPf},
    {Op::BSF, kCf | kOf | kSf | kAf | kPf}, {Op::BSR, kCf | kOf | kSf | kAf | kPf},
    {Op::TZCNT, kOf | kSf | kPf | kAf}, {Op::LZCNT, kOf | kSf | kPf | kAf},
    {Op::ANDN, kAf | kPf}, {Op::BLSI, kAf | kPf}, {Op::BLSMSK, kAf | kPf}, {Op::BLSR, kAf | kPf},
    {Op::BZHI, kAf | kPf}, {Op::BEXTR, kAf | kSf | kPf},
});
// clang-format on

// docs/x86/undefined.md, "Results".
bool undefined_result(const Insn& insn, unsigned count, const Outcome& guest) {
    const bool bit_scan = insn.op == Op::BSF || insn.op == Op::BSR;
    const bool double_shift = insn.op == Op::SHLD || insn.op == Op::SHRD;
    return (bit_scan && (guest.state.rflags & kZf) != 0) ||
           (double_shift && count > operand_bits(insn)) ||
           (insn.op == Op::BSWAP && insn.opsize == 2) ||
           (insn.op == Op::CMPXCHG && insn.opsize == 4);
}

// x87 instructions that write all of C0, C2 and C3; the others leave undefined what they do not write.
bool defines_conditions(Op op) {
    constexpr auto kDefining = std::to_array<Op>(
        {Op::FCOM, Op::FCOMP, Op::FCOMPP, Op::FUCOM, Op::FUCOMP, Op::FUCOMPP, Op::FICOM, Op::FICOMP,
         Op::FTST, Op::FXAM, Op::FPREM, Op::FPREM1, Op::FNSTENV, Op::FNSAVE});
    return std::find(kDefining.begin(), kDefining.end(), op) != kDefining.end();
}

}  // namespace

u16 open_conditions(Op op) {
    const bool fcomi = op == Op::FCOMI || op == Op::FCOMIP || op == Op::FUCOMI || op == Op::FUCOMIP;
    return static_cast<u16>((defines_conditions(op) ? 0U : x87::kC0 | x87::kC2 | x87::kC3) |
                            (fcomi ? x87::kC1 : 0U));
}

namespace {

constexpr std::size_t kFsw = 2, kSt0 = 32, kXmm0 = 160, kYmmHigh = 576;

template <typename T>
T get(const Outcome& outcome, std::size_t offset) {
    T value{};
    std::memcpy(&value, outcome.state.xsave.data() + offset, sizeof(T));
    return value;
}
void copy(const Outcome& from, Outcome& to, std::size_t offset, std::size_t bytes) {
    std::memcpy(to.state.xsave.data() + offset, from.state.xsave.data() + offset, bytes);
}

// RCP and RSQRT: two estimates within the manual's bound of the truth, 1.5 * 2^-12, are within twice
// that of each other. "Input values in between this range may or may not produce tiny results".
bool estimates_agree(float a, float b) {
    constexpr float kSmallestNormal = 0x1p-126F;
    if (std::fabs(a) < kSmallestNormal * 1.01F && std::fabs(b) < kSmallestNormal * 1.01F) {
        return std::signbit(a) == std::signbit(b);
    }
    return std::fabs(a - b) <= 3 * 0x1p-12F * std::fabs(b);
}
void forget_estimates(const Insn& insn, const Outcome& guest, Outcome& native) {
    for (unsigned lane = 0; lane < 8; ++lane) {
        const std::size_t base = lane < 4 ? kXmm0 : kYmmHigh - 16;
        const std::size_t offset = base + insn.reg * 16U + lane * 4U;
        if (estimates_agree(get<float>(guest, offset), get<float>(native, offset))) {
            copy(guest, native, offset, 4);
        }
    }
}

bool is_estimate(Op op) {
    constexpr auto kEstimates =
        std::to_array<Op>({Op::RCPPS, Op::RCPSS, Op::RSQRTPS, Op::RSQRTSS, Op::VRCPPS, Op::VRCPSS,
                           Op::VRSQRTPS, Op::VRSQRTSS});
    return std::find(kEstimates.begin(), kEstimates.end(), op) != kEstimates.end();
}

bool function_undefined(Op op, const Outcome& start) {
    return undefined_argument(op, {get<u64>(start, kSt0), get<u16>(start, kSt0 + 8)});
}

// x87 functions: less than 1 ulp from the truth when rounding to nearest, 1.5 otherwise, and so up to
// 3 from each other; C1 and the precision exception follow the bits.
void forget_last_bits(const Outcome& guest, Outcome& native) {
    for (unsigned i = 0; i < 8; ++i) {
        const std::size_t offset = kSt0 + i * 16U;
        if (last_bits_agree({get<u64>(guest, offset), get<u16>(guest, offset + 8)},
                            {get<u64>(native, offset), get<u16>(native, offset + 8)})) {
            copy(guest, native, offset, 10);
        }
    }
    constexpr u16 kOpen = x87::kC1 | x87::kPe | x87::kUe;
    const auto status =
        static_cast<u16>((get<u16>(native, kFsw) & ~kOpen) | (get<u16>(guest, kFsw) & kOpen));
    std::memcpy(native.state.xsave.data() + kFsw, &status, sizeof(status));
}

}  // namespace

bool last_bits_agree(const X87State::Register& a, const X87State::Register& b) {
    // Denormals have no integer bit, so that a carry into the exponent needs no care.
    const auto position = [](const X87State::Register& value) {
        return (static_cast<i128>(value.sign_exponent & 0x7FFF) << 63) +
               (value.significand & ~(u64{1} << 63));
    };
    const i128 difference = position(a) - position(b);
    return ((a.sign_exponent ^ b.sign_exponent) & 0x8000) == 0 && difference >= -3 &&
           difference <= 3;
}

bool native_reduces_by_our_pi() {
    static const bool same = [] {
        // sin(2^62) with a Pi of 66 bits; with the true one it would be -0.7029.
        const double argument = 0x1p62;
        double sine = 0;
        asm volatile("fldl %1; fsin; fstpl %0" : "=m"(sine) : "m"(argument) : "st");
        return !native_masked("pi66") && std::fabs(sine - -0.707132927) < 1e-6;
    }();
    return same;
}

bool undefined_argument(Op op, const X87State::Register& x) {
    const unsigned exponent = x.sign_exponent & 0x7FFFU;
    constexpr unsigned kOfOne = 0x3FFF, kOfHalf = 0x3FFE, kOfQuarter = 0x3FFD;
    const bool trigonometric =
        op == Op::FSIN || op == Op::FCOS || op == Op::FSINCOS || op == Op::FPTAN;
    return (op == Op::F2XM1 && exponent >= kOfOne) ||
           (op == Op::FYL2XP1 && exponent >= kOfQuarter) ||
           (trigonometric && exponent >= kOfHalf && !native_reduces_by_our_pi());
}

bool bounded_by_the_manual(Op op) {
    constexpr auto kFunctions = std::to_array<Op>({Op::FSIN, Op::FCOS, Op::FSINCOS, Op::FPTAN,
                                                   Op::FPATAN, Op::F2XM1, Op::FYL2X, Op::FYL2XP1});
    return std::find(kFunctions.begin(), kFunctions.end(), op) != kFunctions.end();
}

bool native_is_intel() {
    static const bool intel = [] {
        u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
        return __get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0 && ebx == signature_INTEL_ebx &&
               ecx == signature_INTEL_ecx && edx == signature_INTEL_edx;
    }();
    return intel;
}

bool native_is_zen() {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (native_masked("zen") || __get_cpuid(0, &eax, &ebx, &ecx, &edx) == 0) {
        return false;
    }
    const bool amd =
        ebx == signature_AMD_ebx && ecx == signature_AMD_ecx && edx == signature_AMD_edx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    const u32 family = ((eax >> 8) & 0xF) + ((eax >> 20) & 0xFF);
    constexpr u32 kFirstZen = 0x17;
    return amd && family >= kFirstZen;
}

void forget_undefined(const Insn& insn,
                      const Outcome& start,
                      const Outcome& guest,
                      Outcome& native) {
    static const jit::NativeChoices choices{NativeFeatures{}};
    if (native.state.vector != guest.state.vector) {
        return;
    }
    if (is_estimate(insn.op)) {
        forget_estimates(insn, guest, native);
    }
    if (bounded_by_the_manual(insn.op)) {
        expand_initial_state(native.state);
        if (function_undefined(insn.op, start)) {
            native = guest;
        }
        forget_last_bits(guest, native);
    }
    const unsigned count = shift_count(insn, start);
    if (!choices.flags_are_ours(insn.op, insn.width)) {
        for (const UndefinedFlags& row : kUndefinedFlags) {
            if (row.op == insn.op && row.when(insn, start, count)) {
                native.state.rflags =
                    (native.state.rflags & ~row.flags) | (guest.state.rflags & row.flags);
            }
        }
    }
    if (!choices.results_are_ours(insn.op, insn.width) && undefined_result(insn, count, guest)) {
        native = guest;
    }
    if (!choices.conditions_are_ours() && insn.map == OpcodeMap::X87) {
        const u16 open = open_conditions(insn.op);
        expand_initial_state(native.state);
        const auto status =
            static_cast<u16>((get<u16>(native, kFsw) & ~open) | (get<u16>(guest, kFsw) & open));
        std::memcpy(native.state.xsave.data() + kFsw, &status, sizeof(status));
    }
}

// Each row: a predicate over one case, and why the difference is right.
struct AcceptedRow {
    bool (*applies)(const Insn& insn, const Outcome& guest, const Outcome& native);
    const char* reason;
};

constexpr u64 kPfVector = static_cast<u64>(Exception::PF), kGp = static_cast<u64>(Exception::GP),
              kUd = static_cast<u64>(Exception::UD);

bool sha(Op op) {
    return op >= Op::SHA1MSG1 && op <= Op::SHA256RNDS2;
}

// What the test itself cannot help.
constexpr auto kUncontrolled = std::to_array<AcceptedRow>({
    {[](const Insn&, const Outcome& g, const Outcome& n) {
         return g.state.vector == kPfVector && n.state.vector == kPfVector &&
                g.state.cr2 == n.state.cr2 &&
                (g.state.cr2 < kScratchAddress - kPageBytes ||
                 g.state.cr2 >= kScratchAddress + kScratchBytes + kPageBytes);
     },
     "a wild address: what is mapped there differs (kernel half, the test's own pages)"},
    {[](const Insn&, const Outcome& g, const Outcome&) {
         return g.state.vector == kPfVector && g.state.cr2 >= kCodeAddress &&
                g.state.cr2 < kCodeAddress + (u64{1} << 29);
     },
     "twice or three times a scratch address (base = index): the test's own code and state pages, "
     "not the guest's"},
});

// What CPUs of other vendors do, and what the vendor we emulate does not: on an Intel CPU such a
// difference is a bug.
constexpr auto kOtherVendors = std::to_array<AcceptedRow>({
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return (insn.op == Op::CMPS || insn.op == Op::SCAS) && g.state.vector == kPfVector &&
                n.state.vector == kPfVector;
     },
     "REP CMPS and SCAS that fault restore the flags by the manual; AMD keeps those of the last "
     "element"},
    {[](const Insn& insn, const Outcome&, const Outcome& n) {
         return insn.op == Op::MOVSXD && insn.opsize == 2 && insn.mem() &&
                n.state.vector == kPfVector;
     },
     "MOVSXD r16 reads a word by the manual, a doubleword on AMD"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return sha(insn.op) && g.state.vector == kGp &&
                (n.state.vector == kNoFault || n.state.vector == kPfVector);
     },
     "AMD lets SHA instructions take misaligned memory operands; Intel's exception type 4 is #GP"},
    {[](const Insn& insn, const Outcome&, const Outcome& n) {
         return insn.op == Op::NOP && insn.map == OpcodeMap::Map0F && insn.opcode == 0x0D &&
                n.state.vector == kUd;
     },
     "0F 0D with a register operand is a NOP on Intel, #UD on AMD"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return insn.op == Op::PAUSE && g.state.vector == n.state.vector;
     },
     "F3 90 with REX.B is PAUSE on Intel, XCHG with R8 on AMD"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return (insn.op == Op::LDMXCSR || insn.op == Op::VLDMXCSR) && g.state.vector == kGp &&
                n.state.vector == kNoFault;
     },
     "MXCSR bit 17 (misaligned exception mask) exists on AMD and is reserved on Intel"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         const bool masked = insn.op == Op::MASKMOVQ || insn.op == Op::MASKMOVDQU;
         return masked && n.state.vector == kPfVector && g.state.vector == kPfVector;
     },
     "MASKMOVQ and MASKMOVDQU fault for bytes that the mask leaves out, too; which one CR2 names "
     "is "
     "Intel's choice here"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         const bool store = insn.op == Op::MOVD || insn.op == Op::MOVQ || insn.op == Op::MOVNTQ;
         return store && insn.mem() && insn.g_class() == Insn::RegClass::Mmx &&
                g.state.vector == n.state.vector && n.state.vector != kNoFault;
     },
     "an MMX store that faults has cleared TOP on Intel; AMD's leaves it"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         const bool masked = insn.op == Op::VMASKMOVPS || insn.op == Op::VMASKMOVPD ||
                             insn.op == Op::VPMASKMOVD || insn.op == Op::VPMASKMOVQ;
         return masked && insn.form == Form::EBG && g.state.vector == kPfVector &&
                n.state.vector == kPfVector && (g.state.cr2 ^ n.state.cr2) < kPageBytes;
     },
     "CR2 of a masked store that goes over the end of a page into one that faults: the last byte "
     "stored on Intel, the first byte of that page on AMD"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return insn.op == Op::VCVTPS2PH && insn.mem() && n.state.vector != kNoFault &&
                g.state.vector != kNoFault;
     },
     "VCVTPS2PH converts before it stores on Intel: #XM comes first, and a store that faults has "
     "set "
     "MXCSR's flags; AMD's faults first and leaves MXCSR"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return (insn.op == Op::FSTP || insn.op == Op::FBSTP) && insn.mem_bytes == 10 &&
                g.state.vector == kPfVector && n.state.vector == kPfVector;
     },
     "FSTP m80fp and FBSTP are two stores on Intel, of which the first may be done when the second "
     "faults; AMD stores all ten bytes or none"},
});

bool accepted(const Insn& insn, const Outcome& guest, const Outcome& native) {
    const auto applies = [&](const AcceptedRow& row) { return row.applies(insn, guest, native); };
    return std::any_of(kUncontrolled.begin(), kUncontrolled.end(), applies) ||
           (!native_is_intel() && std::any_of(kOtherVendors.begin(), kOtherVendors.end(), applies));
}

}  // namespace droste::differential
