#include "tests/differential/state_pair.hpp"

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/state/rflags.hpp"

#include <cstring>

#include <fmt/format.h>

namespace droste::differential {

namespace {

// Offsets in the XSAVE image. SDM Vol. 1, "Legacy Region of an XSAVE Area".
constexpr std::size_t kFcw = 0, kFsw = 2, kFtw = 4, kMxcsr = 24, kMxcsrMask = 28, kSt0 = 32,
                      kXmm0 = 160, kXstateBv = 512, kYmmHigh = 576;

u64 interesting(Rng& rng) {
    static constexpr std::array<u64, 16> kValues = {0,
                                                    1,
                                                    2,
                                                    0x7F,
                                                    0x80,
                                                    0xFF,
                                                    0x7FFF,
                                                    0x8000,
                                                    0xFFFF,
                                                    0x7FFFFFFF,
                                                    0x80000000,
                                                    0xFFFFFFFF,
                                                    0x7FFFFFFFFFFFFFFF,
                                                    0x8000000000000000,
                                                    ~u64{0},
                                                    0x0F0F0F0F0F0F0F0F};
    switch (rng.below(4)) {
    case 0: return kValues[rng.below(kValues.size())];
    case 1: return rng.next() >> rng.below(64);
    default: return rng.next();
    }
}

u32 float_bits(Rng& rng) {
    static constexpr std::array<u32, 16> kValues = {0,          0x80000000, 0x3F800000, 0xBF800000,
                                                    0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001,
                                                    0x00000001, 0x00800000, 0x007FFFFF, 0x7F7FFFFF,
                                                    0x40490FDB, 0x4F000000, 0xCF000000, 0x3F000000};
    return rng.one_in(2) ? kValues[rng.below(kValues.size())] : static_cast<u32>(rng.next());
}

u64 double_bits(Rng& rng) {
    static constexpr std::array<u64, 16> kValues = {0,
                                                    0x8000000000000000,
                                                    0x3FF0000000000000,
                                                    0xBFF0000000000000,
                                                    0x7FF0000000000000,
                                                    0xFFF0000000000000,
                                                    0x7FF8000000000000,
                                                    0x7FF0000000000001,
                                                    1,
                                                    0x0010000000000000,
                                                    0x000FFFFFFFFFFFFF,
                                                    0x7FEFFFFFFFFFFFFF,
                                                    0x400921FB54442D18,
                                                    0x43E0000000000000,
                                                    0xC3E0000000000000,
                                                    0x3FE0000000000000};
    return rng.one_in(2) ? kValues[rng.below(kValues.size())] : rng.next();
}

u64 vector_half(Rng& rng) {
    switch (rng.below(4)) {
    case 0: return double_bits(rng);
    case 1: return float_bits(rng) | (u64{float_bits(rng)} << 32);
    default: return interesting(rng);
    }
}

template <typename T>
T get(const NativeState& state, std::size_t offset) {
    T value{};
    std::memcpy(&value, state.xsave.data() + offset, sizeof(T));
    return value;
}

template <typename T>
void put(NativeState& state, std::size_t offset, T value) {
    std::memcpy(state.xsave.data() + offset, &value, sizeof(T));
}

}  // namespace

void load_guest(CpuState& s, const NativeState& from) {
    for (unsigned i = 0; i < 16; ++i) {
        s.gpr[i] = from.gpr[i];
    }
    s.set_rflags(from.rflags);
    s.rip() = from.rip;
    s.x87 = X87State{};
    s.x87.control = get<u16>(from, kFcw);
    s.x87.status = get<u16>(from, kFsw);
    s.x87.tag_valid = get<u8>(from, kFtw);
    const unsigned top = (s.x87.status >> 11) & 7;
    for (unsigned i = 0; i < 8; ++i) {
        auto& reg = s.x87.st[(top + i) & 7];
        reg.significand = get<u64>(from, kSt0 + i * 16);
        reg.sign_exponent = get<u16>(from, kSt0 + i * 16 + 8);
    }
    s.mxcsr = get<u32>(from, kMxcsr);
    for (unsigned i = 0; i < 16; ++i) {
        std::memcpy(s.ymm[i].bytes.data(), from.xsave.data() + kXmm0 + i * 16, 16);
        std::memcpy(s.ymm[i].bytes.data() + 16, from.xsave.data() + kYmmHigh + i * 16, 16);
    }
}

namespace {

void save_guest(const CpuState& s, NativeState& to) {
    for (unsigned i = 0; i < 16; ++i) {
        to.gpr[i] = s.gpr[i];
    }
    to.rflags = s.rflags();
    to.rip = s.rip();
    put(to, kFcw, s.x87.control);
    put(to, kFsw, s.x87.status);
    put(to, kFtw, s.x87.tag_valid);
    const unsigned top = (s.x87.status >> 11) & 7;
    for (unsigned i = 0; i < 8; ++i) {
        const auto& reg = s.x87.st[(top + i) & 7];
        put(to, kSt0 + i * 16, reg.significand);
        put(to, kSt0 + i * 16 + 8, reg.sign_exponent);
    }
    put(to, kMxcsr, s.mxcsr);
    for (unsigned i = 0; i < 16; ++i) {
        std::memcpy(to.xsave.data() + kXmm0 + i * 16, s.ymm[i].bytes.data(), 16);
        std::memcpy(to.xsave.data() + kYmmHigh + i * 16, s.ymm[i].bytes.data() + 16, 16);
    }
    put<u64>(to, kXstateBv, 7);
}

}  // namespace

void expand_initial_state(NativeState& state) {
    const u64 present = get<u64>(state, kXstateBv);
    if ((present & 1) == 0) {
        put<u16>(state, kFcw, 0x37F);
        put<u16>(state, kFsw, 0);
        put<u8>(state, kFtw, 0);
        std::memset(state.xsave.data() + kSt0, 0, 128);
    }
    if ((present & 2) == 0) {
        std::memset(state.xsave.data() + kXmm0, 0, 256);
    }
    if ((present & 4) == 0) {
        std::memset(state.xsave.data() + kYmmHigh, 0, 256);
    }
}

void randomize(Rng& rng, NativeState& state, std::span<u8> scratch) {
    state = NativeState{};
    for (u64& reg : state.gpr) {
        reg = interesting(rng);
    }
    state.rflags = (rng.next() & rflags::kStatus) | rflags::kFixed1 | rflags::kIf |
                   (rng.one_in(8) ? rflags::kDf : 0);
    const bool plain = !rng.one_in(4);
    put<u16>(state, kFcw, plain ? 0x37F : static_cast<u16>((rng.next() & 0xF00) | 0x7F));
    const u16 top = static_cast<u16>(rng.below(8) << 11);
    put<u16>(state, kFsw, static_cast<u16>(top | (rng.next() & 0x4700)));
    put<u8>(state, kFtw, rng.one_in(3) ? static_cast<u8>(rng.next()) : u8{0xFF});
    for (unsigned i = 0; i < 8; ++i) {
        u64 significand = rng.next() | (u64{1} << 63);
        u16 exponent = static_cast<u16>(0x3FFF + rng.below(64) - 32 + (rng.one_in(2) ? 0x8000 : 0));
        switch (rng.below(8)) {
        case 0: significand = 0, exponent = static_cast<u16>(exponent & 0x8000); break;
        case 1:
            exponent = static_cast<u16>(exponent | 0x7FFF),
            significand = rng.one_in(2) ? u64{1} << 63 : significand;
            break;
        case 2: exponent = static_cast<u16>(rng.next()); break;
        case 3:
            significand = rng.next();
            exponent = static_cast<u16>(rng.next());
            break;  // unnormal, denormal ...
        default: break;
        }
        put(state, kSt0 + i * 16, significand);
        put(state, kSt0 + i * 16 + 8, exponent);
    }
    put<u32>(state, kMxcsr,
             plain ? 0x1F80
                   : static_cast<u32>(0x1F80 | (rng.next() & 0xE07F)) &
                         ~(rng.one_in(4) ? static_cast<u32>(rng.next() & 0x1F80) : 0U));
    put<u32>(state, kMxcsrMask, 0xFFFF);
    for (unsigned i = 0; i < 32; ++i) {
        put(state, kXmm0 + i * 8, vector_half(rng));
        put(state, kYmmHigh + i * 8, vector_half(rng));
    }
    put<u64>(state, kXstateBv, 7);
    for (std::size_t i = 0; i < scratch.size(); i += 8) {
        const u64 value = vector_half(rng);
        std::memcpy(scratch.data() + i, &value, 8);
    }
}

GuestRunner::GuestRunner() {
    machine_.enter_long_mode(3);
    for (u64 page = 0; page < kScratchBytes; page += kPageBytes) {
        machine_.map(kScratchAddress + page, kGuestScratch + page);
    }
    machine_.map(kCodeAddress, kGuestCode, false);
    machine_.map(kCodeAddress + kPageBytes, kGuestCode + kPageBytes, false);
}

void GuestRunner::run(const Outcome& start, std::span<const u8> insn, u64 rip, Outcome& out) {
    Vcpu& cpu = machine_.cpu();
    load_guest(cpu.state, start.state);
    cpu.state.rip() = rip;
    machine_.poke(kGuestScratch, start.scratch);
    mode_changed(cpu);
    out.state = start.state;
    out.state.vector = kNoFault;
    out.state.error_code = 0;
    out.state.cr2 = 0;
    Insn decoded;
    Status status = Status::Fault;
    if (decode(insn, {64, false}, cpu.features, decoded) == DecodeResult::Ok) {
        select_exec(cpu, decoded);
        // REP string instructions return to the engine between quanta.
        for (unsigned quantum = 0; quantum < 1000; ++quantum) {
            status = decoded.exec(cpu, decoded);
            if (status != Status::Branch || cpu.state.rip() != rip || (insn[0] & 0xFE) != 0xF2) {
                break;
            }
        }
    } else {
        status = raise(cpu, Exception::GP, 0);
    }
    if (status == Status::Next || status == Status::Sync) {
        cpu.state.rip() += decoded.length;
    }
    save_guest(cpu.state, out.state);
    if (status == Status::Fault) {
        out.state.vector = cpu.fault.vector;
        out.state.error_code = cpu.fault.has_error_code ? cpu.fault.error_code : 0;
        out.state.cr2 = cpu.fault.vector == static_cast<u8>(Exception::PF) ? cpu.fault.payload : 0;
    }
    (void)machine_.memory().read(kGuestScratch, out.scratch);
}

namespace {

constexpr u64 kComparedFlags = rflags::kStatus | rflags::kDf;

bool same(const NativeState& g, const NativeState& native) {
    const auto region = [&](std::size_t first, std::size_t bytes) {
        return std::memcmp(g.xsave.data() + first, native.xsave.data() + first, bytes) == 0;
    };
    bool registers =
        region(kFcw, 5) && region(kMxcsr, 4) && region(kXmm0, 256) && region(kYmmHigh, 256);
    for (unsigned i = 0; i < 8; ++i) {
        registers = registers && region(kSt0 + i * 16, 10);
    }
    const bool faults = native.vector == kNoFault ||
                        (g.error_code == native.error_code &&
                         (native.vector != static_cast<u8>(Exception::PF) || g.cr2 == native.cr2));
    return registers && faults && g.gpr == native.gpr && g.rip == native.rip &&
           g.vector == native.vector && ((g.rflags ^ native.rflags) & kComparedFlags) == 0;
}

}  // namespace

std::string compare(const Outcome& guest, const Outcome& native_raw) {
    NativeState native = native_raw.state;
    expand_initial_state(native);
    const NativeState& g = guest.state;
    if (same(g, native) && guest.scratch == native_raw.scratch) {
        return {};  // nearly always: no text to build
    }
    std::string text;
    const auto line = [&](std::string_view name, u64 a, u64 b) {
        if (a != b) {
            text += fmt::format("  {:10} droste {:#018x}  native {:#018x}\n", name, a, b);
        }
    };
    static constexpr std::array<const char*, 16> kNames = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                           "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                           "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < 16; ++i) {
        line(kNames[i], g.gpr[i], native.gpr[i]);
    }
    line("rflags", g.rflags & kComparedFlags, native.rflags & kComparedFlags);
    line("rip", g.rip, native.rip);
    line("vector", g.vector, native.vector);
    if (native.vector != kNoFault) {
        line("error", g.error_code, native.error_code);
        if (native.vector == static_cast<u8>(Exception::PF)) {
            line("cr2", g.cr2, native.cr2);
        }
    }
    line("fcw", get<u16>(g, kFcw), get<u16>(native, kFcw));
    line("fsw", get<u16>(g, kFsw), get<u16>(native, kFsw));
    line("ftw", get<u8>(g, kFtw), get<u8>(native, kFtw));
    line("mxcsr", get<u32>(g, kMxcsr), get<u32>(native, kMxcsr));
    for (unsigned i = 0; i < 8; ++i) {
        line(fmt::format("st{}.sig", i), get<u64>(g, kSt0 + i * 16),
             get<u64>(native, kSt0 + i * 16));
        line(fmt::format("st{}.exp", i), get<u16>(g, kSt0 + i * 16 + 8),
             get<u16>(native, kSt0 + i * 16 + 8));
    }
    for (unsigned i = 0; i < 16; ++i) {
        for (unsigned half = 0; half < 2; ++half) {
            line(fmt::format("xmm{}.{}", i, half), get<u64>(g, kXmm0 + i * 16 + half * 8),
                 get<u64>(native, kXmm0 + i * 16 + half * 8));
            line(fmt::format("ymm{}.{}", i, half + 2), get<u64>(g, kYmmHigh + i * 16 + half * 8),
                 get<u64>(native, kYmmHigh + i * 16 + half * 8));
        }
    }
    for (std::size_t i = 0; i < kScratchBytes; ++i) {
        if (guest.scratch[i] != native_raw.scratch[i]) {
            line(fmt::format("mem+{:#x}", i), guest.scratch[i], native_raw.scratch[i]);
        }
    }
    return text;
}

}  // namespace droste::differential
