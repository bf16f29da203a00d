// RDRAND and RDSEED. SDM Vol. 2B, "RDRAND—Read Random Number".
//
// With a counting clock a run must repeat exactly, so the numbers are those of a generator that is
// part of the vCPU and seeded from its index; otherwise they come from the native kernel. A number
// is always ready (CF = 1), unless that kernel gives none.

#include "core/clock.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/exec/operands.hpp"
#include "cpu/x86/interp/native_entropy.hpp"
#include "cpu/x86/seams/intercept.hpp"

namespace droste {
namespace {

// SplitMix64: a counter and a mixing function (Steele, Lea, Flood: "Fast Splittable Pseudorandom
// Number Generators").
u64 next_deterministic(Vcpu& cpu) {
    constexpr u64 kGoldenGamma = 0x9E37'79B9'7F4A'7C15;
    cpu.random_state += kGoldenGamma;
    u64 z = cpu.random_state ^ (u64{cpu.index} << 32);
    z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9;
    z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EB;
    return z ^ (z >> 31);
}

template <Interceptable kKind>
struct Random {
    template <typename T>
    static Status exec(Vcpu& cpu, const Insn& insn) {
        if (cpu.non_root.intercepts != nullptr &&
            cpu.non_root.intercepts->instruction(cpu, insn, kKind, 0)) {
            return Status::Switched;
        }
        const std::optional<u64> number = cpu.clock.mode() == Clock::Mode::Counting
                                              ? next_deterministic(cpu)
                                          : cpu.native_random ? native_entropy()
                                                              : std::nullopt;
        write_gpr<T>(cpu, insn.rm, static_cast<T>(number.value_or(0)));
        cpu.state.flags = LazyFlags::from_status(number ? rflags::kCf : 0);
        return Status::Next;
    }
};

template <Interceptable kKind>
ExecFn select_random(Vcpu& /*cpu*/, Insn& insn) {
    return by_word_width<Random<kKind>>(insn.opsize);
}

constexpr auto kRows = std::to_array<ExecRow>({
    {Op::RDRAND, select_random<Interceptable::RDRAND>},
    {Op::RDSEED, select_random<Interceptable::RDSEED>},
});

}  // namespace

std::span<const ExecRow> exec_rows_random() {
    return kRows;
}

}  // namespace droste
