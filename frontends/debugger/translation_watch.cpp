#include "frontends/debugger/translation_watch.hpp"

#include "frontends/debugger/translation_listing.hpp"

#include <fmt/format.h>

namespace droste {

void TranslationListeners::translated(Vcpu& cpu, const jit::TranslationReport& report) {
    for (jit::Listener* listener : listeners_) {
        listener->translated(cpu, report);
    }
}

void TranslationListeners::left(Vcpu& cpu, u64 rip) {
    for (jit::Listener* listener : listeners_) {
        listener->left(cpu, rip);
    }
}

void TranslationListeners::evicted(std::span<const u8> code) {
    for (jit::Listener* listener : listeners_) {
        listener->evicted(code);
    }
}

bool TranslationLog::wanted(const Log& log) {
    return log.enabled(LogCategory::InAsm) || log.enabled(LogCategory::OutAsm) ||
           log.enabled(LogCategory::Op);
}

// What the log prints ends the line itself.
void TranslationLog::write(LogCategory category, const std::string& head, std::string listing) {
    listing.pop_back();
    log_.write(category, "{}\n{}", head, listing);
}

void TranslationLog::translated(Vcpu& cpu, const jit::TranslationReport& report) {
    const TranslationCopy copy = copy_translation(cpu, report);
    const std::string head = fmt::format(
        "translation of {:#018x}, {} instruction{}, {} bytes at {:#x}", copy.rip, copy.insns.size(),
        copy.insns.size() == 1 ? "" : "s", copy.code.size(), copy.code_address);
    if (log_.enabled(LogCategory::InAsm)) {
        write(LogCategory::InAsm, head, list_guest_code(disassembler_, copy));
    }
    if (log_.enabled(LogCategory::Op)) {
        write(LogCategory::Op, head, list_notes(disassembler_, copy));
    }
    if (log_.enabled(LogCategory::OutAsm)) {
        write(LogCategory::OutAsm, head, list_native_code(disassembler_, copy));
    }
}

}  // namespace droste
