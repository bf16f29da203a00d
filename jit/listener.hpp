#pragma once
// Who wants to see what the translator does: logs of translations, profilers, comparisons with the
// interpreter. All of that lives above (frontends/debugger); nothing here prints.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"

#include <span>

namespace droste {
class Vcpu;
}  // namespace droste

namespace droste::jit {

// Where the guest's status flags are at a point of a translation.
enum class StatusPlace : u8 {
    Native,  // in RFLAGS
    Saved,   // in TranslatedCode::status
    Both,    // in either
    Dead,    // nowhere: whatever comes next overwrites all of them before anything reads one
};

// A guest instruction in a translation.
struct TranslatedInsn {
    const Insn* insn = nullptr;
    u64 rip = 0;
    u32 code_at = 0;  // offset of its native code, which goes up to the next one's
    StatusPlace status = StatusPlace::Saved;  // before it
    bool carried_over = false;                // false: the interpreter executes it
};

struct TranslationReport {
    u64 rip = 0;
    u32 key = 0;               // ModeState::key
    std::span<const u8> code;  // where it executes
    std::span<const TranslatedInsn> insns;
    u32 behind_at = 0;  // offset of what stands behind: exits, ways to the interpreter
};

class Listener {
  public:
    Listener() = default;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    virtual ~Listener() = default;

    // Made just now, of code at RIP. The report does not outlive the call.
    virtual void translated(Vcpu& cpu, const TranslationReport& report) = 0;
    // Translated code that was entered at `rip` was left; the vCPU is between two instructions.
    virtual void left(Vcpu& /*cpu*/, u64 /*rip*/) {}
    // Translations whose code lies there were dropped.
    virtual void evicted(std::span<const u8> /*code*/) {}
};

}  // namespace droste::jit
