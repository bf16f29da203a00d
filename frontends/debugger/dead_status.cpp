#include "frontends/debugger/dead_status.hpp"

#include "cpu/x86/decode/decoder.hpp"
#include "frontends/debugger/guest_code.hpp"
#include "jit/status_effect.hpp"

#include <span>
#include <vector>

namespace droste {

u64 live_status(Vcpu& cpu, u64 rip) {
    constexpr unsigned kFarEnough = 64;
    std::vector<jit::StatusEffect> effects;
    while (effects.size() < kFarEnough) {
        const CodeBytes code = fetch_code(cpu, rip);
        Insn insn;
        if (decode(std::span<const u8>(code.bytes).first(code.count), {cpu.mode.code_bits, false},
                   cpu.features, insn) != DecodeResult::Ok) {
            break;
        }
        const jit::StatusEffect& effect = effects.emplace_back(jit::status_effect(insn));
        if (effect.writes_all || (effect.reads && !effect.reads_only_carry)) {
            break;
        }
        rip += insn.length;
    }
    auto live = jit::LiveStatus::All;
    for (std::size_t i = effects.size(); i-- > 0;) {
        live = jit::live_before(effects[i], live);
    }
    return live == jit::LiveStatus::All     ? rflags::kStatus
           : live == jit::LiveStatus::Carry ? rflags::kCf
                                            : 0;
}

bool images_of_rflags(u64 one, u64 other) {
    constexpr u64 kNever = ~rflags::kWritable & ~rflags::kFixed1;
    return (one & rflags::kFixed1) != 0 && (one & kNever) == 0 &&
           ((one ^ other) & ~rflags::kStatus) == 0;
}

}  // namespace droste
