#include "frontends/debugger/disassembler.hpp"

#include <capstone/capstone.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace droste {

namespace {

constexpr std::array kModes = {CS_MODE_16, CS_MODE_32, CS_MODE_64};

}  // namespace

struct Disassembler::Handles {
    std::array<csh, kModes.size()> handles{};
    std::array<cs_insn*, kModes.size()> insns{};
};

Disassembler::Disassembler() : handles_(std::make_unique<Handles>()) {
    for (std::size_t i = 0; i < kModes.size(); ++i) {
        if (cs_open(CS_ARCH_X86, kModes[i], &handles_->handles[i]) == CS_ERR_OK) {
            handles_->insns[i] = cs_malloc(handles_->handles[i]);
        }
    }
}

Disassembler::~Disassembler() {
    for (std::size_t i = 0; i < kModes.size(); ++i) {
        if (handles_->insns[i] != nullptr) {
            cs_free(handles_->insns[i], 1);
            cs_close(&handles_->handles[i]);
        }
    }
}

std::string Disassembler::text(std::span<const u8> bytes, unsigned bits, u64 rip) {
    std::string text;
    next(bytes, bits, rip, text);
    return text;
}

std::size_t
Disassembler::next(std::span<const u8> bytes, unsigned bits, u64 rip, std::string& text) {
    const std::size_t index = bits == 16 ? 0 : bits == 32 ? 1 : 2;
    cs_insn* insn = handles_->insns[index];
    text.clear();
    if (bytes.empty() || insn == nullptr) {
        return bytes.size();
    }
    const u8* code = bytes.data();
    std::size_t left = bytes.size();
    u64 address = rip;
    if (cs_disasm_iter(handles_->handles[index], &code, &left, &address, insn)) {
        text = insn->op_str[0] == '\0' ? std::string(insn->mnemonic)
                                       : fmt::format("{} {}", insn->mnemonic, insn->op_str);
        return bytes.size() - left;
    }
    // Capstone 4 does not know all instructions.
    const auto shown = bytes.first(std::min<std::size_t>(bytes.size(), 8));
    text = fmt::format("bytes {:02x}", fmt::join(shown, " "));
    return shown.size();
}

}  // namespace droste
