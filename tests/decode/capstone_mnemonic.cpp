// Capstone prints Intel-syntax assembler mnemonics; an Op is the manual's instruction, so an
// assembler name follows from the Op, the sizes and the condition. Most Ops are simply written in
// lower case; the rest are in the tables below.

#include "tests/decode/capstone_mnemonic.hpp"

#include "cpu/x86/decode/decoder.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace droste::test {

namespace {

constexpr std::array<std::string_view, 16> kConditions = {
    "o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"};

// Ops whose assembler name does not depend on anything.
struct Renamed {
    Op op;
    std::string_view name;
};
constexpr auto kRenamed = std::to_array<Renamed>({
    {Op::JMP_NEAR, "jmp"},    {Op::CALL_NEAR, "call"},     {Op::RET_NEAR, "ret"},
    {Op::JMP_FAR, "ljmp"},    {Op::CALL_FAR, "lcall"},     {Op::RET_FAR, "retf"},
    {Op::MOV_SREG_TO, "mov"}, {Op::MOV_SREG_FROM, "mov"},  {Op::MOV_CR_TO, "mov"},
    {Op::MOV_CR_FROM, "mov"}, {Op::MOV_DR_TO, "mov"},      {Op::MOV_DR_FROM, "mov"},
    {Op::PUSH_SREG, "push"},  {Op::POP_SREG, "pop"},       {Op::XLAT, "xlatb"},
    {Op::FWAIT, "wait"},      {Op::FNENI, "feni8087_nop"}, {Op::FNDISI, "fdisi8087_nop"},
    {Op::FNSETPM, "fsetpm"},  {Op::UD1, "ud2b"},
});

// Ops with one name an operand size 2, 4, 8.
struct BySize {
    Op op;
    std::array<std::string_view, 3> names;
};
constexpr auto kBySize = std::to_array<BySize>({
    {Op::CBW, {"cbw", "cwde", "cdqe"}},
    {Op::CWD, {"cwd", "cdq", "cqo"}},
    {Op::PUSHA, {"pushaw", "pushal", ""}},
    {Op::POPA, {"popaw", "popal", ""}},
    {Op::PUSHF, {"pushf", "pushfd", "pushfq"}},
    {Op::POPF, {"popf", "popfd", "popfq"}},
    {Op::IRET, {"iret", "iretd", "iretq"}},
    {Op::RET_FAR, {"retf", "retf", "retfq"}},
    {Op::FXSAVE, {"fxsave", "fxsave", "fxsave64"}},
    {Op::FXRSTOR, {"fxrstor", "fxrstor", "fxrstor64"}},
    {Op::XSAVE, {"xsave", "xsave", "xsave64"}},
    {Op::XRSTOR, {"xrstor", "xrstor", "xrstor64"}},
    {Op::XSAVEOPT, {"xsaveopt", "xsaveopt", "xsaveopt64"}},
    {Op::XSAVEC, {"xsavec", "xsavec", "xsavec64"}},
    {Op::XSAVES, {"xsaves", "xsaves", "xsaves64"}},
    {Op::XRSTORS, {"xrstors", "xrstors", "xrstors64"}},
});

constexpr auto kStringOps =
    std::to_array<Op>({Op::MOVS, Op::CMPS, Op::STOS, Op::LODS, Op::SCAS, Op::INS, Op::OUTS});
constexpr auto kPrefetches =
    std::to_array<std::string_view>({"prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2"});

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

std::size_t size_index(unsigned bytes) {
    return bytes == 8 ? 2 : bytes == 4 ? 1 : 0;
}

// Names made from the condition, the address size or the width; empty: not one of these.
std::string composed_name(const Insn& insn) {
    const std::string_view condition = kConditions[insn.opcode & 15];
    switch (insn.op) {
    case Op::Jcc: return "j" + std::string(condition);
    case Op::SETcc: return "set" + std::string(condition);
    case Op::CMOVcc: return "cmov" + std::string(condition);
    case Op::JrCXZ: return insn.addrsize == 8 ? "jrcxz" : insn.addrsize == 4 ? "jecxz" : "jcxz";
    case Op::PREFETCH: return std::string(kPrefetches[(insn.modrm >> 3) & 3]);
    case Op::ENDBR: return (insn.modrm & 1) != 0 ? "endbr32" : "endbr64";
    case Op::MOV: {
        const bool moffs64 = insn.opcode >= 0xA0 && insn.opcode <= 0xA3 && insn.addrsize == 8;
        const bool imm64 = insn.opcode >= 0xB8 && insn.opcode <= 0xBF && insn.width == 8;
        return moffs64 || imm64 ? "movabs" : "mov";
    }
    default: break;
    }
    if (std::find(kStringOps.begin(), kStringOps.end(), insn.op) != kStringOps.end()) {
        return lower(mnemonic(insn.op)) + "bwd?q"[std::min(insn.width / 2, 4)];
    }
    return {};
}

}  // namespace

std::string capstone_mnemonic(const Insn& insn) {
    if (std::string name = composed_name(insn); !name.empty()) {
        return name;
    }
    for (const BySize& row : kBySize) {
        if (row.op == insn.op) {
            return std::string(row.names[size_index(insn.opsize)]);
        }
    }
    for (const Renamed& row : kRenamed) {
        if (row.op == insn.op) {
            return std::string(row.name);
        }
    }
    return lower(mnemonic(insn.op));
}

}  // namespace droste::test
