#include "tests/support/describe_state.hpp"

#include <array>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace droste::test {

namespace {

std::string describe(const Segment& segment) {
    return fmt::format("{:x} {:x} {:x} {:x}\n", segment.selector, segment.base, segment.limit,
                       segment.rights);
}

}  // namespace

// What INT n leaves pending when its delivery ends in a shutdown depends on whether the budget ran
// out on the way; nothing reads it.
std::string describe(const CpuState& s, u64 ignored_flags) {
    const u64 pending_debug = s.activity == Activity::Shutdown ? 0 : s.pending_debug;
    std::string text =
        fmt::format("gpr {:x}\nrflags {:x}\n", fmt::join(s.gpr, " "), s.rflags() & ~ignored_flags);
    for (const Segment& segment : s.seg) {
        text += describe(segment);
    }
    text += describe(s.ldtr) + describe(s.tr);
    text += fmt::format("gdtr {:x} {:x} idtr {:x} {:x}\n", s.gdtr.base, s.gdtr.limit, s.idtr.base,
                        s.idtr.limit);
    text += fmt::format("cr {:x} {:x} {:x} {:x} efer {:x} dr {:x} {:x} {:x}\n", s.cr0, s.cr2, s.cr3,
                        s.cr4, s.efer, fmt::join(s.dr, " "), s.dr6, s.dr7);
    text += fmt::format("activity {} blocking {:x} pending {:x} ssp {:x} cet {:x} {:x}\n",
                        static_cast<unsigned>(s.activity), s.interruptibility, pending_debug, s.ssp,
                        s.u_cet, s.s_cet);
    text += fmt::format("mxcsr {:x} x87 {:x} {:x} {:x} {:x}", s.mxcsr, s.x87.instruction_pointer,
                        s.x87.control, s.x87.status, s.x87.tag_valid);
    for (const X87State::Register& st : s.x87.st) {
        text += fmt::format(" {:x}:{:x}", st.sign_exponent, st.significand);
    }
    for (const Ymm& ymm : s.ymm) {
        std::array<u64, 4> words{};
        std::memcpy(words.data(), &ymm, sizeof(words));
        text += fmt::format("\n{:x}", fmt::join(words, " "));
    }
    return text;
}

}  // namespace droste::test
