// Compares decode() with Capstone over all opcodes x prefixes x ModRM classes in 16-, 32- and
// 64-bit mode: is it an instruction, which one, how long.
//
// Capstone 4 is a witness, not a judge: it knows fewer instructions, checks less, and has its own
// bugs. Every kind of disagreement is a row of kDisagreements with the reason why we stand by our
// answer. A disagreement no row explains fails the test, and so does a row that explains nothing.

#include "cpu/x86/decode/decoder.hpp"
#include "tests/decode/capstone_mnemonic.hpp"

#include <capstone/capstone.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace droste::test {

namespace {

using Code = std::vector<u8>;

struct Verdict {
    std::string name;  // "(bad)": not an instruction
    unsigned length = 0;

    bool bad() const { return name == "(bad)"; }
    bool operator==(const Verdict& other) const {
        return name == other.name && (bad() || length == other.length);
    }
};

class Witnesses {
  public:
    Witnesses() {
        features_.set.set();
        constexpr std::array<cs_mode, 3> kModes = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
        for (std::size_t i = 0; i < kModes.size(); ++i) {
            if (cs_open(CS_ARCH_X86, kModes[i], &handles_[i]) != CS_ERR_OK) {
                std::abort();
            }
            buffers_[i] = cs_malloc(handles_[i]);
        }
    }
    ~Witnesses() {
        for (std::size_t i = 0; i < handles_.size(); ++i) {
            cs_free(buffers_[i], 1);
            cs_close(&handles_[i]);
        }
    }
    Witnesses(const Witnesses&) = delete;
    Witnesses& operator=(const Witnesses&) = delete;

    Verdict ours(const Code& code, u8 code_bits) const {
        Insn insn;
        const DecodeMode mode{.code_bits = code_bits, .real_or_v86 = false};
        if (decode(code, mode, features_, insn) != DecodeResult::Ok || insn.op == Op::UD) {
            return {"(bad)", insn.length};
        }
        return {capstone_mnemonic(insn), insn.length};
    }

    Verdict theirs(const Code& code, u8 code_bits) {
        const std::size_t which = code_bits / 32;
        const u8* bytes = code.data();
        std::size_t size = code.size();
        u64 address = 0;
        if (!cs_disasm_iter(handles_[which], &bytes, &size, &address, buffers_[which])) {
            return {"(bad)", 0};
        }
        return {without_prefix_words(buffers_[which]->mnemonic), buffers_[which]->size};
    }

  private:
    static std::string without_prefix_words(std::string_view name) {
        const std::size_t space = name.rfind(' ');
        return std::string(space == std::string_view::npos ? name : name.substr(space + 1));
    }

    CpuFeatures features_;
    std::array<csh, 3> handles_{};
    std::array<cs_insn*, 3> buffers_{};
};

// One encoding, as its parts.
struct Encoding {
    u8 code_bits = 64;
    Code prefixes;  // legacy prefixes and REX
    Code opcode;    // escapes, or a VEX prefix, and the opcode
    u8 modrm = 0;

    bool vex() const { return opcode.size() > 1 && (opcode[0] == 0xC4 || opcode[0] == 0xC5); }
    bool has(u8 prefix) const {
        return std::find(prefixes.begin(), prefixes.end(), prefix) != prefixes.end();
    }
    bool rex_w() const { return code_bits == 64 && has(0x48); }
    bool starts(std::initializer_list<u8> bytes) const {
        return opcode.size() >= bytes.size() &&
               std::equal(bytes.begin(), bytes.end(), opcode.begin());
    }
    Encoding without(u8 prefix) const {
        Encoding other = *this;
        other.prefixes.erase(std::remove(other.prefixes.begin(), other.prefixes.end(), prefix),
                             other.prefixes.end());
        return other;
    }
    Code bytes() const {
        // SIB = 25h, and something to take displacements and immediates from.
        constexpr std::array<u8, 12> kTail = {0x25, 0x12, 0x34, 0x56, 0x78, 0x9A,
                                              0xBC, 0xDE, 0xF1, 0x11, 0x22, 0x33};
        Code code = prefixes;
        code.insert(code.end(), opcode.begin(), opcode.end());
        code.push_back(modrm);
        code.insert(code.end(), kTail.begin(), kTail.end());
        return code;
    }
};

struct Case {
    Encoding encoding;
    Verdict ours;
    Verdict theirs;
    Witnesses& witnesses;

    // What we say without some of the prefixes.
    Verdict ours_without(std::initializer_list<u8> prefixes) const {
        Encoding other = encoding;
        for (const u8 prefix : prefixes) {
            other = other.without(prefix);
        }
        return witnesses.ours(other.bytes(), other.code_bits);
    }
    bool agree_without(std::initializer_list<u8> prefixes) const {
        Encoding other = encoding;
        for (const u8 prefix : prefixes) {
            other = other.without(prefix);
        }
        return witnesses.ours(other.bytes(), other.code_bits) ==
               witnesses.theirs(other.bytes(), other.code_bits);
    }
    bool ours_is_one_of(std::initializer_list<std::string_view> names) const {
        return std::find(names.begin(), names.end(), ours.name) != names.end();
    }
    bool theirs_is_one_of(std::initializer_list<std::string_view> names) const {
        return std::find(names.begin(), names.end(), theirs.name) != names.end();
    }
};

bool starts_with_any(const std::string& text, std::initializer_list<std::string_view> starts) {
    return std::any_of(starts.begin(), starts.end(),
                       [&](std::string_view start) { return text.rfind(start, 0) == 0; });
}

// --- the disagreements, each with a name that says why we are right ------------------------------

struct Disagreement {
    std::string_view reason;
    bool (*explains)(const Case&);
};

bool not_on_intel(const Case& c) {
    return c.ours.bad() &&
           (c.theirs_is_one_of({"femms", "extrq", "insertq", "movntss", "movntsd", "clgi", "stgi",
                                "invlpga", "skinit", "vmload", "vmmcall", "vmrun", "vmsave",
                                "montmul", "monitorx", "mwaitx", "clzero"}) ||
            starts_with_any(c.theirs.name, {"xcrypt", "xsha", "xstore", "pf"}));
}
bool amd_four_operands(const Case& c) {
    return c.ours.bad() && c.encoding.vex() && c.encoding.opcode[1] == 0xE3 &&
           c.encoding.opcode.back() >= 0x48 && c.encoding.opcode.back() <= 0x7F &&
           starts_with_any(c.theirs.name, {"vfmadd", "vfmsub", "vfnmadd", "vfnmsub", "vpermil2"});
}
bool mask_registers(const Case& c) {
    return c.ours.bad() && c.encoding.vex() && c.theirs.name.front() == 'k';
}
bool absent_extensions(const Case& c) {
    return c.ours.bad() &&
           c.theirs_is_one_of({"xabort", "xbegin", "xend", "xtest", "encls", "enclu", "pcommit"});
}
bool mandatory_prefix_16(const Case& c) {
    if (c.encoding.code_bits != 16 || c.encoding.opcode[0] != 0x0F ||
        !(c.encoding.has(0x66) || c.encoding.has(0xF2) || c.encoding.has(0xF3))) {
        return false;
    }
    // Our answer is the one we give in 32-bit mode, which is compared with Capstone's there.
    return c.ours.name == c.witnesses.ours(c.encoding.bytes(), 32).name;
}
bool superfluous_prefix(const Case& c) {
    return c.ours.bad() && !c.encoding.vex() &&
           (c.ours_without({0x66}).name == c.theirs.name ||
            c.ours_without({0xF2, 0xF3}).name == c.theirs.name ||
            c.ours_without({0x66, 0xF2, 0xF3}).name == c.theirs.name);
}
bool illegal_lock(const Case& c) {
    return c.ours.bad() && c.encoding.has(0xF0) && c.ours_without({0xF0}).name == c.theirs.name;
}
bool vex_w_or_l(const Case& c) {
    if (!c.ours.bad() || !c.encoding.vex()) {
        return false;
    }
    for (const u8 flip : {u8{0x80}, u8{0x04}, u8{0x84}}) {
        Encoding other = c.encoding;
        if (other.opcode[0] == 0xC4) {
            other.opcode[2] = static_cast<u8>(other.opcode[2] ^ flip);
        } else {
            other.opcode[1] = static_cast<u8>(other.opcode[1] ^ (flip & 4));
        }
        if (c.witnesses.ours(other.bytes(), other.code_bits).name == c.theirs.name) {
            return true;
        }
    }
    return false;
}
bool gather(const Case& c) {
    return c.ours.bad() && (starts_with_any(c.theirs.name, {"vgather", "vpgather"}));
}
bool unknown_to_capstone(const Case& c) {
    return c.ours_is_one_of({"gf2p8mulb",   "gf2p8affineqb",  "gf2p8affineinvqb",
                             "vgf2p8mulb",  "vgf2p8affineqb", "vgf2p8affineinvqb",
                             "vaesenc",     "vaesenclast",    "vaesdec",
                             "vaesdeclast", "vpclmulqdq",     "endbr32",
                             "endbr64",     "rdpkru",         "wrpkru",
                             "serialize",   "tpause",         "umonitor",
                             "umwait",      "cldemote",       "rdpid",
                             "clwb",        "rdssp",          "incssp",
                             "rstorssp",    "saveprevssp",    "setssbsy",
                             "clrssbsy",    "wrss",           "wruss"});
}
bool hint_nop(const Case& c) {
    return c.ours.name == "nop" && c.theirs.bad() && c.encoding.starts({0x0F}) &&
           ((c.encoding.opcode[1] & 0xF8) == 0x18 || c.encoding.opcode[1] == 0x0D);
}
bool fence(const Case& c) {
    return c.theirs.bad() && c.ours_is_one_of({"lfence", "mfence", "sfence"}) &&
           (c.encoding.modrm & 7) != 0;
}
bool near_branch(const Case& c) {
    return c.encoding.code_bits == 64 && c.encoding.has(0x66) && c.ours.name == c.theirs.name &&
           !c.ours.bad() && (c.ours.name.front() == 'j' || c.ours.name == "call");
}
bool mov_to_cs(const Case& c) {
    return c.ours.bad() && c.encoding.starts({0x8E}) && (c.encoding.modrm & 0x38) == 0x08;
}
bool only_in_64_bit_mode(const Case& c) {
    return c.ours.bad() && c.encoding.code_bits != 64 &&
           c.theirs_is_one_of({"syscall", "sysret", "swapgs"});
}
bool loses_66(const Case& c) {
    return c.encoding.has(0x66) && (c.encoding.has(0xF2) || c.encoding.has(0xF3)) &&
           c.agree_without({0xF2, 0xF3});
}
bool rex_w_wins(const Case& c) {
    return c.encoding.has(0x66) && c.encoding.rex_w() &&
           (c.ours_without({0x66}) == Verdict{c.ours.name, c.ours.length - 1});
}
bool cbw_16(const Case& c) {
    return c.encoding.code_bits == 16 && (c.encoding.starts({0x98}) || c.encoding.starts({0x99}));
}
bool alias(const Case& c) {
    return (c.ours.name == "shl" && c.theirs.name == "sal") ||
           (c.ours.name == "fstp" && c.theirs.name == "fstpnce");
}
bool pause(const Case& c) {
    return c.ours.name == "pause" && ((c.theirs.name == "xchg" && c.encoding.rex_w()) ||
                                      (c.theirs.name == "nop" && c.encoding.code_bits == 16));
}
bool no_such_register(const Case& c) {
    const bool control = c.encoding.starts({0x0F, 0x20}) || c.encoding.starts({0x0F, 0x22});
    const bool debug = c.encoding.starts({0x0F, 0x21}) || c.encoding.starts({0x0F, 0x23});
    return c.ours.bad() && c.theirs.name == "mov" && (control || (debug && c.encoding.has(0x44)));
}
bool movq_mmx(const Case& c) {
    return c.theirs.name == "movd" && c.encoding.rex_w() &&
           c.ours_without({0xF2, 0xF3}).name == "movq";
}
bool segment_register_rex(const Case& c) {
    return c.ours.name == "mov" && c.theirs.bad() && c.encoding.has(0x44) &&
           (c.encoding.starts({0x8C}) || c.encoding.starts({0x8E}));
}
bool size_suffix(const Case& c) {
    return c.theirs.name == c.ours.name + "x" && c.theirs.length == c.ours.length;
}
bool vex_w_ignored(const Case& c) {
    return c.encoding.code_bits == 32 && c.ours_is_one_of({"vpextrd", "vpinsrd", "vmovd"});
}
bool ud_modrm(const Case& c) {
    return c.ours_is_one_of({"ud0", "ud2b"});
}
bool broadcast_i128(const Case& c) {
    return c.ours.name == "vbroadcasti128" && c.theirs.bad();
}

constexpr auto kDisagreements = std::to_array<Disagreement>({
    {"AMD's and VIA's own instructions are #UD here", not_on_intel},
    {"FMA4 and XOP are AMD's", amd_four_operands},
    {"no AVX-512: opmask instructions are #UD", mask_registers},
    {"no TSX, SGX, PCOMMIT: #UD", absent_extensions},
    {"Capstone ignores mandatory prefixes in 16-bit mode", mandatory_prefix_16},
    {"the manual says NP (or names other prefixes); Capstone ignores 66, F2, F3 there",
     superfluous_prefix},
    {"LOCK is legal only on the manual's list with a memory destination", illegal_lock},
    {"VEX.W or VEX.L has a required value, which Capstone does not check", vex_w_or_l},
    {"a gather needs a SIB byte and three different registers", gather},
    {"newer than Capstone 4", unknown_to_capstone},
    {"0F 0D and 0F 18 to 0F 1F are NOPs with a ModRM byte when they are nothing else", hint_nop},
    {"the fences ignore ModRM.r/m", fence},
    {"near branches ignore 66 in 64-bit mode on Intel processors; Capstone follows AMD",
     near_branch},
    {"MOV to CS is #UD", mov_to_cs},
    {"SYSCALL and SYSRET are #UD outside 64-bit mode on Intel processors, SWAPGS everywhere",
     only_in_64_bit_mode},
    {"Capstone forgets 66 beside F2 or F3", loses_66},
    {"REX.W overrides 66", rex_w_wins},
    {"Capstone takes the 16-bit operand size of CBW and CWD for 32", cbw_16},
    {"undocumented aliases under another name", alias},
    {"F3 90 is PAUSE in 16-bit mode and with REX.W too: only REX.B makes it XCHG", pause},
    {"CR1, CR5 to CR7, CR9 to CR15 and DR8 to DR15 do not exist", no_such_register},
    {"REX.W makes MOVD of an MMX register MOVQ; Capstone renames only the XMM form", movq_mmx},
    {"REX.R does not extend a segment register", segment_register_rex},
    {"Capstone adds the assembler's size suffix", size_suffix},
    {"VEX.W is ignored outside 64-bit mode by VMOVD, VPEXTRD, VPINSRD", vex_w_ignored},
    {"UD0 and UD1 have a ModRM byte on Intel processors", ud_modrm},
    {"VBROADCASTI128 exists", broadcast_i128},
});

class Comparison {
  public:
    void compare(const Encoding& encoding) {
        ++compared_;
        const Code code = encoding.bytes();
        Case c{encoding, witnesses_.ours(code, encoding.code_bits),
               witnesses_.theirs(code, encoding.code_bits), witnesses_};
        if (c.ours == c.theirs) {
            return;
        }
        for (std::size_t i = 0; i < kDisagreements.size(); ++i) {
            if (kDisagreements[i].explains(c)) {
                ++explained_[i];
                return;
            }
        }
        ++unexplained_;
        if (++of_this_kind_[c.ours.name + '/' + c.theirs.name] <= 3) {
            std::printf("%u-bit:", unsigned{encoding.code_bits});
            for (const u8 byte : code) {
                std::printf(" %02x", unsigned{byte});
            }
            std::printf("\n    we: %s, %u bytes; Capstone: %s, %u bytes\n", c.ours.name.c_str(),
                        c.ours.length, c.theirs.name.c_str(), c.theirs.length);
        }
    }

    int report() const {
        int idle = 0;
        for (std::size_t i = 0; i < kDisagreements.size(); ++i) {
            std::printf("%8llu  %s\n", static_cast<unsigned long long>(explained_[i]),
                        kDisagreements[i].reason.data());
            idle += explained_[i] == 0 ? 1 : 0;
        }
        std::printf(
            "%llu encodings compared, %llu unexplained disagreements, %d reasons without a case\n",
            static_cast<unsigned long long>(compared_),
            static_cast<unsigned long long>(unexplained_), idle);
        return unexplained_ == 0 && idle == 0 ? 0 : 1;
    }

  private:
    Witnesses witnesses_;
    std::array<u64, kDisagreements.size()> explained_{};
    u64 compared_ = 0;
    u64 unexplained_ = 0;
    std::map<std::string, u64>
        of_this_kind_;  // unexplained ones by both names, to print a few of each
};

// --- what is compared ----------------------------------------------------------------------------

// Every ModRM.reg with every kind of r/m: [base], SIB, RIP or disp32, SIB + disp8, disp32, and all
// registers.
Code modrm_classes() {
    Code out;
    for (unsigned reg = 0; reg < 8; ++reg) {
        for (const unsigned rest : {0x00U, 0x04U, 0x05U, 0x44U, 0x81U, 0xC0U, 0xC1U, 0xC2U, 0xC3U,
                                    0xC4U, 0xC5U, 0xC6U, 0xC7U}) {
            out.push_back(static_cast<u8>(rest | reg << 3));
        }
    }
    return out;
}

std::vector<Code> prefix_sets(u8 code_bits) {
    std::vector<Code> sets = {{},     {0x66},       {0xF3},       {0xF2}, {0x67},
                              {0xF0}, {0x66, 0xF2}, {0x66, 0xF3}, {0x64}};
    if (code_bits == 64) {
        for (const Code& legacy : {Code{}, Code{0x66}, Code{0xF3}, Code{0xF2}, Code{0xF0},
                                   Code{0x66, 0xF2}, Code{0x66, 0xF3}}) {
            Code with_rex = legacy;
            with_rex.push_back(0x48);
            sets.push_back(with_rex);
        }
        sets.push_back({0x41});
        sets.push_back({0x44});
    }
    return sets;
}

bool is_prefix_or_escape(unsigned opcode, u8 code_bits) {
    constexpr std::array<unsigned, 15> kNotOpcodes = {
        0x0F, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3, 0xC4, 0xC5, 0x62};
    return std::find(kNotOpcodes.begin(), kNotOpcodes.end(), opcode) != kNotOpcodes.end() ||
           (code_bits == 64 && opcode >= 0x40 && opcode < 0x50);
}

void compare_legacy(Comparison& comparison) {
    const Code modrms = modrm_classes();
    for (const u8 code_bits : {u8{16}, u8{32}, u8{64}}) {
        for (const Code& prefixes : prefix_sets(code_bits)) {
            for (const Code& escape : {Code{}, Code{0x0F}, Code{0x0F, 0x38}, Code{0x0F, 0x3A}}) {
                for (unsigned opcode = 0; opcode < 256; ++opcode) {
                    if ((escape.empty() && is_prefix_or_escape(opcode, code_bits)) ||
                        (escape.size() == 1 && (opcode == 0x38 || opcode == 0x3A))) {
                        continue;
                    }
                    Encoding encoding{code_bits, prefixes, escape, 0};
                    encoding.opcode.push_back(static_cast<u8>(opcode));
                    for (const u8 modrm : modrms) {
                        encoding.modrm = modrm;
                        comparison.compare(encoding);
                    }
                }
            }
        }
    }
}

// Three-byte VEX in all maps, with vvvv unused and used; two-byte VEX in map 1.
void compare_vex(Comparison& comparison) {
    const Code modrms = modrm_classes();
    for (const u8 code_bits : {u8{32}, u8{64}}) {
        for (unsigned i = 0; i < 3U * 256 * 32; ++i) {
            const unsigned map = i % 3 + 1;
            const unsigned vvvv = (i / 3 & 1) != 0 ? 13U : 15U;
            const unsigned w_l_pp = i / 6 % 16;
            const auto payload = static_cast<u8>((w_l_pp & 8) << 4 | vvvv << 3 | (w_l_pp & 7));
            Encoding encoding{code_bits,
                              {},
                              {0xC4, static_cast<u8>(0xE0 | map), payload, static_cast<u8>(i / 96)},
                              0};
            for (const u8 modrm : modrms) {
                encoding.modrm = modrm;
                comparison.compare(encoding);
            }
            if (map == 1 && (w_l_pp & 8) == 0) {
                encoding.opcode = {0xC5, static_cast<u8>(payload | 0x80), static_cast<u8>(i / 96)};
                for (const u8 modrm : modrms) {
                    encoding.modrm = modrm;
                    comparison.compare(encoding);
                }
            }
        }
    }
}

int run_capstone_agreement() {
    Comparison comparison;
    compare_legacy(comparison);
    compare_vex(comparison);
    return comparison.report();
}

}  // namespace

}  // namespace droste::test

int main() {
    return droste::test::run_capstone_agreement();
}
