#pragma once
// A translation as text: the guest's code, the native code beside it, and what became of each
// instruction. Copied when it is made, because neither the guest's code nor the native one stays.

#include "core/types.hpp"
#include "frontends/debugger/disassembler.hpp"
#include "jit/listener.hpp"

#include <array>
#include <string>
#include <vector>

namespace droste {

struct TranslationCopy {
    struct GuestInsn {
        u64 rip = 0;
        std::array<u8, 15> bytes{};
        u8 length = 0;
        u32 code_at = 0;
        jit::StatusPlace status = jit::StatusPlace::Saved;
        bool carried_over = false;
    };
    u64 rip = 0;
    unsigned bits = 64;
    u64 code_address = 0;
    u32 behind_at = 0;
    std::vector<u8> code;
    std::vector<GuestInsn> insns;
};

// Requires: the code is mapped as it was when the report was made.
TranslationCopy copy_translation(Vcpu& cpu, const jit::TranslationReport& report);

// The guest's instructions, a line each.
std::string list_guest_code(Disassembler& disassembler, const TranslationCopy& translation);
// Native instructions, under the guest's that they are for.
std::string list_native_code(Disassembler& disassembler, const TranslationCopy& translation);
// Of each guest instruction: carried over or interpreted, where the status flags are before it, how
// many bytes of code it has.
std::string list_notes(Disassembler& disassembler, const TranslationCopy& translation);

}  // namespace droste
