#include "frontends/debugger/translation_listing.hpp"

#include "frontends/debugger/guest_code.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

namespace droste {

namespace {

std::string_view place_name(jit::StatusPlace place) {
    switch (place) {
    case jit::StatusPlace::Native: return "in RFLAGS";
    case jit::StatusPlace::Saved: return "saved";
    case jit::StatusPlace::Both: return "in RFLAGS and saved";
    case jit::StatusPlace::Dead: return "dead";
    }
    return "?";
}

std::string guest_text(Disassembler& disassembler,
                       const TranslationCopy& translation,
                       const TranslationCopy::GuestInsn& insn) {
    return disassembler.text(std::span<const u8>(insn.bytes).first(insn.length), translation.bits,
                             insn.rip);
}

// The native instructions in [from, to) of the translation's code.
void append_native(Disassembler& disassembler,
                   const TranslationCopy& translation,
                   u32 from,
                   u32 to,
                   std::string& text) {
    while (from < to) {
        const auto bytes = std::span<const u8>(translation.code).subspan(from, to - from);
        std::string insn;
        const std::size_t length =
            disassembler.next(bytes, 64, translation.code_address + from, insn);
        text += fmt::format("    {:#x}  {}\n", translation.code_address + from, insn);
        from += static_cast<u32>(length);
    }
}

u32 end_of(const TranslationCopy& translation, std::size_t index) {
    return index + 1 < translation.insns.size() ? translation.insns[index + 1].code_at
                                                : translation.behind_at;
}

}  // namespace

TranslationCopy copy_translation(Vcpu& cpu, const jit::TranslationReport& report) {
    TranslationCopy copy;
    copy.rip = report.rip;
    copy.bits = cpu.mode.code_bits;
    copy.code_address = reinterpret_cast<std::uintptr_t>(report.code.data());
    copy.behind_at = report.behind_at;
    copy.code.assign(report.code.begin(), report.code.end());
    for (const jit::TranslatedInsn& insn : report.insns) {
        const CodeBytes bytes = fetch_code(cpu, insn.rip);
        TranslationCopy::GuestInsn& guest = copy.insns.emplace_back();
        guest.rip = insn.rip;
        guest.bytes = bytes.bytes;
        guest.length = static_cast<u8>(std::min<std::size_t>(insn.insn->length, bytes.count));
        guest.code_at = insn.code_at;
        guest.status = insn.status;
        guest.carried_over = insn.carried_over;
    }
    return copy;
}

std::string list_guest_code(Disassembler& disassembler, const TranslationCopy& translation) {
    std::string text;
    for (const TranslationCopy::GuestInsn& insn : translation.insns) {
        text +=
            fmt::format("  {:#018x}  {}\n", insn.rip, guest_text(disassembler, translation, insn));
    }
    return text;
}

std::string list_native_code(Disassembler& disassembler, const TranslationCopy& translation) {
    std::string text = "  (entry)\n";
    append_native(disassembler, translation, 0, translation.insns.front().code_at, text);
    for (std::size_t i = 0; i < translation.insns.size(); ++i) {
        const TranslationCopy::GuestInsn& insn = translation.insns[i];
        text +=
            fmt::format("  {:#018x}  {}\n", insn.rip, guest_text(disassembler, translation, insn));
        append_native(disassembler, translation, insn.code_at, end_of(translation, i), text);
    }
    text += "  (ways out)\n";
    append_native(disassembler, translation, translation.behind_at,
                  static_cast<u32>(translation.code.size()), text);
    return text;
}

std::string list_notes(Disassembler& disassembler, const TranslationCopy& translation) {
    std::string text;
    for (std::size_t i = 0; i < translation.insns.size(); ++i) {
        const TranslationCopy::GuestInsn& insn = translation.insns[i];
        text += fmt::format("  {:#018x}  {:<40} {}, status flags {}, {} bytes\n", insn.rip,
                            guest_text(disassembler, translation, insn),
                            insn.carried_over ? "carried over" : "interpreted",
                            place_name(insn.status), end_of(translation, i) - insn.code_at);
    }
    return text;
}

}  // namespace droste
