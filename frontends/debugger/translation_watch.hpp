#pragma once
// Who may listen to the translator: -d in_asm,out_asm,op, and whatever is added to the list.

#include "core/log.hpp"
#include "frontends/debugger/disassembler.hpp"
#include "jit/listener.hpp"

#include <vector>

namespace droste {

// Tells several. Borrows them.
class TranslationListeners final : public jit::Listener {
  public:
    void add(jit::Listener& listener) { listeners_.push_back(&listener); }
    bool empty() const { return listeners_.empty(); }

    void translated(Vcpu& cpu, const jit::TranslationReport& report) override;
    void left(Vcpu& cpu, u64 rip) override;
    void evicted(std::span<const u8> code) override;

  private:
    std::vector<jit::Listener*> listeners_;
};

// Writes each translation into the log, in the categories that are on.
class TranslationLog final : public jit::Listener {
  public:
    explicit TranslationLog(Log& log) : log_(log) {}
    static bool wanted(const Log& log);
    void translated(Vcpu& cpu, const jit::TranslationReport& report) override;

  private:
    void write(LogCategory category, const std::string& head, std::string listing);

    Log& log_;
    Disassembler disassembler_;
};

}  // namespace droste
