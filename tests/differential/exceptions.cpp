#include "tests/differential/exceptions.hpp"

#include <algorithm>
#include <array>

namespace droste::differential {

u64 compared_flags(const Insn& insn, const NativeState& start) {
    (void)insn;
    (void)start;
    return ~u64{0};
}

// Each row: a predicate over one case, and why the difference is right.
struct AcceptedRow {
    bool (*applies)(const Insn& insn, const Outcome& guest, const Outcome& native);
    const char* reason;
};

constexpr u64 kPf = static_cast<u64>(Exception::PF), kGp = static_cast<u64>(Exception::GP),
              kUd = static_cast<u64>(Exception::UD), kXm = static_cast<u64>(Exception::XM);

bool sha(Op op) {
    return op >= Op::SHA1MSG1 && op <= Op::SHA256RNDS2;
}

constexpr auto kAccepted = std::to_array<AcceptedRow>({
    {[](const Insn&, const Outcome& g, const Outcome& n) {
         return g.state.vector == kPf && n.state.vector == kPf && g.state.cr2 == n.state.cr2 &&
                (g.state.cr2 < kScratchAddress - kPageBytes ||
                 g.state.cr2 >= kScratchAddress + kScratchBytes + kPageBytes);
     },
     "a wild address: what is mapped there differs (kernel half, the test's own pages)"},
    {[](const Insn&, const Outcome& g, const Outcome&) {
         return g.state.vector == kPf && g.state.cr2 >= kCodeAddress &&
                g.state.cr2 < kCodeAddress + (u64{1} << 29);
     },
     "twice or three times a scratch address (base = index): the test's own code and state pages, "
     "not the guest's"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return (insn.op == Op::CMPS || insn.op == Op::SCAS) && g.state.vector == kPf &&
                n.state.vector == kPf;
     },
     "REP CMPS and SCAS that fault restore the flags by the manual; AMD keeps those of the last "
     "element"},
    {[](const Insn& insn, const Outcome&, const Outcome& n) {
         return insn.op == Op::MOVSXD && insn.opsize == 2 && insn.mem() && n.state.vector == kPf;
     },
     "MOVSXD r16 reads a word by the manual, a doubleword on AMD"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return sha(insn.op) && g.state.vector == kGp &&
                (n.state.vector == kNoFault || n.state.vector == kPf);
     },
     "AMD lets SHA instructions take misaligned memory operands; Intel's exception type 4 is #GP"},
    {[](const Insn& insn, const Outcome&, const Outcome& n) {
         return insn.op == Op::NOP && insn.map == OpcodeMap::Map0F && insn.opcode == 0x0D &&
                n.state.vector == kUd;
     },
     "0F 0D with a register operand is a NOP on Intel, #UD on AMD"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return insn.op == Op::EMMS && g.state.vector == n.state.vector;
     },
     "EMMS: AMD clears TOP, Intel leaves it"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return (insn.op == Op::LDMXCSR || insn.op == Op::VLDMXCSR) && g.state.vector == kGp &&
                n.state.vector == kNoFault;
     },
     "MXCSR bit 17 (misaligned exception mask) exists on AMD and is reserved on Intel"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         const bool masked = insn.op == Op::MASKMOVQ || insn.op == Op::MASKMOVDQU;
         return masked && n.state.vector == kPf &&
                (g.state.vector == kPf || g.state.vector == kNoFault);
     },
     "AMD's MASKMOVQ and MASKMOVDQU fault for bytes that the mask leaves out, too (the manual "
     "leaves "
     "that to the implementation); such a MASKMOVQ has switched to MMX state already"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         return insn.op == Op::CVTPI2PS && insn.mem() && g.state.vector == n.state.vector;
     },
     "CVTPI2PS from memory switches to MMX state on Intel, as the manual says; AMD leaves the x87 "
     "alone"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         const bool to_mmx = insn.op == Op::CVTPS2PI || insn.op == Op::CVTTPS2PI ||
                             insn.op == Op::CVTPD2PI || insn.op == Op::CVTTPD2PI ||
                             insn.op == Op::CVTPI2PS || insn.op == Op::CVTPI2PD;
         return to_mmx && g.state.vector == kXm && n.state.vector == kXm;
     },
     "AMD has switched to MMX state already when such a conversion raises #XM; here a fault "
     "changes nothing"},
    {[](const Insn& insn, const Outcome& g, const Outcome& n) {
         const bool fcomi = insn.op == Op::FCOMI || insn.op == Op::FCOMIP ||
                            insn.op == Op::FUCOMI || insn.op == Op::FUCOMIP;
         constexpr std::size_t kFswHigh = 3;
         return fcomi && (g.state.xsave[kFswHigh] ^ n.state.xsave[kFswHigh]) == 2;
     },
     "FCOMI and its like clear C1 by the manual; AMD keeps it"},
});

bool accepted(const Insn& insn, const Outcome& guest, const Outcome& native) {
    return std::any_of(kAccepted.begin(), kAccepted.end(),
                       [&](const AcceptedRow& row) { return row.applies(insn, guest, native); });
}

}  // namespace droste::differential
