// Fuzzes the translator: random programs (jit_program.hpp), each run by the interpreter and by the
// translator on a machine of its own, cut into different budgets. At the same instruction counts
// registers, memory, and what the handlers have counted must be the same. A program that shows a
// difference is reduced as long as it shows one, and printed with both states.
//
//   jit_fuzz [--seed N] [--instructions N] [--bits 32] [--cet 1] [--keep-going 1]
//
// What may differ: status flags that nothing has read. A translation does not compute those that
// are overwritten before anything reads them, so where a run stops or an event is taken they are not
// compared; programs read them by themselves, all the time.

#include "core/apic_bus.hpp"
#include "cpu/x86/apic/apic_registers.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "jit/listener.hpp"
#include "tests/fuzz/jit_program.hpp"
#include "tests/support/describe_state.hpp"
#include "tests/support/engines.hpp"
#include "tests/support/test_machine.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace droste::test {

namespace {

// The kernel of a program, at linear and physical addresses below 128 KiB.
constexpr u64 kHandlers = 0x1'0000, kIdt = 0x1'1000, kGdt = 0x1'2000, kTss = 0x1'3000,
              kCounts = 0x1'4000, kLengths = 0x1'5000, kStacks = 0x1'A000;
constexpr u64 kKernelEnd = 0x2'0000;
constexpr u64 kFaultStack = kStacks + 0x1000, kNmiStack = kStacks + 0x2000,
              kInterruptStack = kStacks + 0x3000;
constexpr u16 kCode0 = 0x10, kData0 = 0x18, kCode3 = 0x2B, kData3 = 0x33;
constexpr u8 kVector = 0x40;  // of the maskable interrupt
constexpr u64 kCodeFrames = 0x40'0000, kDataFrames = 0x50'0000, kStackFrames = 0x60'0000;
constexpr u64 kShadowStack = 0x90'0000, kShadowFrames = 0x70'0000, kShadowPages = 2;
constexpr u64 kApic = 0xFEE0'0000;

// Skips the instruction that faulted, by the table of lengths, or starts again at the first one.
// Clears the status flags in the image it returns to, and what would keep it from returning.
constexpr auto kFaultHandler = std::to_array<u8>({
    0x50,                                                     // push rax
    0x51,                                                     // push rcx
    0x48, 0xFF, 0x04, 0x25, 0x08, 0x40, 0x01, 0x00,           // inc qword [kCounts+8]
    0x48, 0x8B, 0x44, 0x24, 0x18,                             // mov rax, [rsp+18h]: RIP
    0x48, 0x6B, 0x0C, 0x25, 0x00, 0x40, 0x01, 0x00, 0x1F,     // imul rcx, [kCounts], 31
    0x48, 0x01, 0xC1,                                         // add rcx, rax
    0x48, 0x89, 0x0C, 0x25, 0x00, 0x40, 0x01, 0x00,           // mov [kCounts], rcx
    0x48, 0xB9, 0,    0,    0,    0,    0,    0,    0,    0,  // mov rcx, the code pages
    0x48, 0x29, 0xC8,                                         // sub rax, rcx
    0x48, 0x3D, 0x00, 0x40, 0x00, 0x00,                       // cmp rax, 4000h
    0x73, 0x1E,                                               // jae out
    0x0F, 0xB6, 0x88, 0x00, 0x50, 0x01, 0x00,                 // movzx ecx, byte [rax+kLengths]
    0xE3, 0x15,                                               // jrcxz out
    0x48, 0x01, 0x4C, 0x24, 0x18,                             // add [rsp+18h], rcx
    0x81, 0x64, 0x24, 0x28, 0x2A, 0xB6, 0xFF, 0xFF,           // back: and dword [rsp+28h], ~flags
    0x59,                                                     // pop rcx
    0x58,                                                     // pop rax
    0x48, 0x83, 0xC4, 0x08,                                   // add rsp, 8
    0x48, 0xCF,                                               // iretq
    0x48, 0xB9, 0,    0,    0,    0,    0,    0,    0,    0,  // out: mov rcx, the first instruction
    0x48, 0x89, 0x4C, 0x24, 0x18,                             // mov [rsp+18h], rcx
    0xEB, 0xDF,                                               // jmp back
});
constexpr std::size_t kCodeImmediate = 0x25, kStartImmediate = 0x58;
// NMI, and interrupts: they change nothing but a count that tells where they came.
constexpr u64 kNmiHandler = kHandlers + 0x80, kInterruptHandler = kHandlers + 0xA0,
              kPushZero = kHandlers + 0xD0;
constexpr auto kNmiCode = std::to_array<u8>({
    0x50,                                            // push rax
    0x48, 0x8B, 0x44, 0x24, 0x08,                    // mov rax, [rsp+8]
    0x48, 0x01, 0x04, 0x25, 0x10, 0x40, 0x01, 0x00,  // add [kCounts+10h], rax
    0x58,                                            // pop rax
    0x48, 0xCF,                                      // iretq
});
constexpr auto kInterruptCode = std::to_array<u8>({
    0x50,                                                  // push rax
    0x48, 0x8B, 0x44, 0x24, 0x08,                          // mov rax, [rsp+8]
    0x48, 0xC1, 0x04, 0x25, 0x10, 0x40, 0x01, 0x00, 0x07,  // rol qword [kCounts+10h], 7
    0x48, 0x31, 0x04, 0x25, 0x10, 0x40, 0x01, 0x00,        // xor [kCounts+10h], rax
    0xB8, 0xB0, 0x00, 0xE0, 0xFE,                          // mov eax, FEE000B0h: EOI
    0xC7, 0x00, 0x00, 0x00, 0x00, 0x00,                    // mov dword [rax], 0
    0x58,                                                  // pop rax
    0x48, 0xCF,                                            // iretq
});

CpuFeatures features() {
    return all_features();
}

// How often translated code of the program, not of its handlers, was entered.
class EntryCounter final : public jit::Listener {
  public:
    explicit EntryCounter(const ProgramPlace& place) : place_(place) {}
    void translated(Vcpu& /*cpu*/, const jit::TranslationReport& /*report*/) override {}
    void left(Vcpu& /*cpu*/, u64 rip) override {
        entries_ += rip - place_.code < ProgramPlace::kCodePages * kPageBytes ? 1 : 0;
    }
    u64 entries() const { return entries_; }

  private:
    ProgramPlace place_;
    u64 entries_ = 0;
};

// A machine with a program, about to run it.
class ProgramMachine {
  public:
    ProgramMachine(const Program& program, const Image& image, EngineKind kind)
        : counter_(program.place)
        , engine_(make_engine(kind, machine_.cpu(), &counter_)) {
        machine_.enter_long_mode(0);
        map_pages(program.place);
        load_program(program.place, image);
        write_kernel(program.place, image);
        set_state(program, image);
    }

    Vcpu& cpu() { return machine_.cpu(); }
    TestMachine& machine() { return machine_; }
    u64 translated_entries() const { return counter_.entries(); }

    // Runs up to instruction `until`, at most `most` at a time; false if the CPU does not get there.
    bool run_to(u64 until, u64 most, Rng& rng) {
        while (cpu().icount < until) {
            const u64 before = cpu().icount;
            const u64 budget = std::min(until - before, 1 + rng() % most);
            if (engine_->run(cpu(), budget) == RunResult::Idle && cpu().icount == before) {
                return false;
            }
        }
        return cpu().icount == until;
    }

  private:
    void map_pages(const ProgramPlace& place) {
        for (u64 page = kHandlers; page < kKernelEnd; page += kPageBytes) {
            machine_.map_leaf(page, page | 3);
        }
        machine_.map_leaf(kApic, kApic | 0x1B);
        // Neighbors are not neighbors in memory.
        const auto map = [&](u64 linear, u64 entry) {
            machine_.map_leaf(linear & place.mask, entry);
        };
        for (u64 i = 0; i < ProgramPlace::kCodePages; ++i) {
            map(place.code + i * kPageBytes, code_frame(i) | 7);
        }
        static constexpr std::array<u64, ProgramPlace::kDataPages> kRights = {7, 7, 5, 0, 7, 3};
        for (u64 i = 0; i < ProgramPlace::kDataPages; ++i) {
            if (kRights[i] != 0) {
                map(place.data + i * kPageBytes, (kDataFrames + (i ^ 1) * kPageBytes) | kRights[i]);
            }
        }
        for (u64 i = 0; i < ProgramPlace::kStackPages; ++i) {
            map(place.stack_top() - (i + 1) * kPageBytes, (kStackFrames + i * kPageBytes) | 7);
        }
        constexpr u64 kShadow = 0x65;  // dirty, accessed, user, present; not writable
        for (u64 i = 0; i < kShadowPages; ++i) {
            map(kShadowStack + i * kPageBytes, (kShadowFrames + i * kPageBytes) | kShadow);
        }
    }
    static u64 code_frame(u64 page) { return kCodeFrames + (page ^ 2) * 3 * kPageBytes; }

    void load_program(const ProgramPlace& place, const Image& image) {
        for (u64 i = 0; i < ProgramPlace::kCodePages; ++i) {
            machine_.poke(code_frame(i), {image.bytes.data() + i * kPageBytes, kPageBytes});
        }
        for (u64 at = 0; at < ProgramPlace::kDataPages * kPageBytes; at += 8) {
            machine_.poke_value<u64>(kDataFrames + at, at % 64 == 0 ? place.data : at * 0x9E3779B9);
        }
    }

    void gate(unsigned vector, u64 handler, unsigned stack, unsigned dpl) {
        const u64 low = (handler & 0xFFFF) | u64{kCode0} << 16 | u64{stack} << 32 |
                        u64{0x8E | dpl << 5} << 40 | (handler >> 16 & 0xFFFF) << 48;
        machine_.poke_value(kIdt + vector * 16U, low);
        machine_.poke_value(kIdt + vector * 16U + 8, handler >> 32);
    }

    void write_kernel(const ProgramPlace& place, const Image& image) {
        auto fault = kFaultHandler;
        const u64 start = place.code + image.start;
        std::memcpy(fault.data() + kCodeImmediate, &place.code, 8);
        std::memcpy(fault.data() + kStartImmediate, &start, 8);
        machine_.poke(kHandlers, fault);
        machine_.poke(kNmiHandler, kNmiCode);
        machine_.poke(kInterruptHandler, kInterruptCode);
        machine_.poke(kPushZero, {0x6A, 0x00, 0xE9, 0x29, 0xFF, 0xFF, 0xFF});  // push 0; jmp
        machine_.poke(kLengths, image.lengths);
        for (unsigned vector = 0; vector < 32; ++vector) {
            const bool has_code =
                vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
            gate(vector, has_code ? kHandlers : kPushZero, 1, vector == 3 ? 3 : 0);
        }
        gate(2, kNmiHandler, 2, 0);
        gate(kVector, kInterruptHandler, 3, 0);
        machine_.poke_value<u64>(kGdt + kCode0, 0x00AF9B000000FFFF);
        machine_.poke_value<u64>(kGdt + kData0, 0x00CF93000000FFFF);
        machine_.poke_value<u64>(kGdt + (kCode3 & ~3U), 0x00AFFB000000FFFF);
        machine_.poke_value<u64>(kGdt + (kData3 & ~3U), 0x00CFF3000000FFFF);
        write_segments32();
        machine_.poke_value<u64>(kTss + 4, kFaultStack);
        for (unsigned i = 0; i < 3; ++i) {
            machine_.poke_value<u64>(kTss + 0x24 + i * 8U, kFaultStack + i * kPageBytes);
        }
    }

    void write_segments32() {
        namespace sel = program_selector;
        struct Row {
            u16 selector;
            u64 descriptor;
        };
        static constexpr auto kSegments = std::to_array<Row>({
            {sel::kShort, 0x00C0'F300'0000'0502},
            {sel::kBased, 0x00CF'F300'0003'FFFF},
            {sel::kReadOnly, 0x00CF'F100'0000'FFFF},
            {sel::kExpandDown, 0x00C0'F700'0000'0400},
            {sel::kCode, 0x00CF'9B00'0000'FFFF},
            {sel::kUserCode, 0x00CF'FB00'0000'FFFF},
        });
        for (const Row& row : kSegments) {
            machine_.poke_value<u64>(kGdt + (row.selector & ~3U), row.descriptor);
        }
    }

    void set_state(const Program& program, const Image& image) {
        Rng rng(program.seed);
        CpuState& s = cpu().state;
        s.gdtr = {kGdt, 0x6F};
        s.idtr = {kIdt, 0xFFF};
        s.tr.base = kTss;
        s.tr.limit = 0x67;
        if (program.user) {
            s.seg[CS] = flat_segment(kCode3, 0xA0FB);
            s.seg[SS] = flat_segment(kData3, 0xC0F3);
        }
        if (program.code_bits == 32) {
            s.seg[CS] = program.user ? flat_segment(program_selector::kUserCode, 0xC0FB)
                                     : flat_segment(program_selector::kCode, 0xC09B);
            for (const SegReg reg : {ES, DS, FS, GS}) {
                s.seg[reg] = flat_segment(kData3, 0xC0F3);
            }
        }
        s.seg[FS].base = program.place.data + 0x100 - (rng() % 2) * program.place.data;
        s.seg[GS].base = rng() % 2 != 0 ? 0x1000 : program.place.data;
        for (unsigned i = 0; i < 16; ++i) {
            s.gpr[i] = rng() >> rng() % 64;
        }
        for (Ymm& ymm : s.ymm) {
            for (u8& byte : ymm.bytes) {
                byte = static_cast<u8>(rng());
            }
        }
        if (program.u_cet != 0) {
            s.cr4 |= cr4::kCet;
            s.u_cet = program.u_cet;
            // Somewhere, or where a call or two lead over a page end; not always on 8 bytes.
            s.ssp = kShadowStack + kPageBytes +
                    (rng() % 2 != 0 ? kPageBytes - 0x100 : rng() % 4 * 8) +
                    (rng() % 8 == 0 ? 4 : 0);
        }
        if (program.code_bits == 32) {
            // What may still lie there from 64-bit mode; of RSP mostly nothing.
            s.gpr[RSP] = rng() % 8 == 0 ? s.gpr[RSP] : s.gpr[RSP] & 0xFFFF'FFFF;
            s.seg[FS].base = rng() % 2 != 0 ? program.place.data + 0x100 : 0xFFFF'FF00;
            s.seg[GS].base = rng() % 2 != 0 ? 0 : 0x1000;
        }
        s.rip() = program.place.code + image.start;
        s.set_rflags(rflags::kFixed1 | rflags::kIf | (rng() & rflags::kStatus));
        cpu().apic->mmio_write(apic_reg::kSvr, 4, 0x1FF);
        mode_changed(cpu());
        cpu().tlb.flush_all(cpu());
        cpu().tlb.activate(cpu());
        update_attention(cpu());
    }

    TestMachine machine_;
    EntryCounter counter_;
    std::unique_ptr<ExecutionEngine> engine_;
};

// What of physical memory is compared: all that is mapped, but for the handlers' stacks (where
// images of flags lie) and the page tables.
struct Region {
    u64 first, bytes;
};
constexpr auto kCompared = std::to_array<Region>({
    {kHandlers, kStacks - kHandlers},
    {kCodeFrames, 0x1'0000},
    {kDataFrames, ProgramPlace::kDataPages* kPageBytes},
    {kStackFrames, ProgramPlace::kStackPages* kPageBytes},
    {kShadowFrames, kShadowPages* kPageBytes},
    {TestMachine::kTables, 0x4'0000},
});

// The lines in which two texts differ.
std::string differing_lines(std::string_view a, std::string_view b) {
    std::string text;
    while (!a.empty() || !b.empty()) {
        const std::string_view x = a.substr(0, a.find('\n'));
        const std::string_view y = b.substr(0, b.find('\n'));
        if (x != y) {
            text += fmt::format("  interpreted {}\n  translated  {}\n", x, y);
        }
        a.remove_prefix(std::min(a.size(), x.size() + 1));
        b.remove_prefix(std::min(b.size(), y.size() + 1));
    }
    return text;
}

std::string compare(ProgramMachine& left, ProgramMachine& right) {
    const std::string a = describe(left.cpu().state, rflags::kStatus);
    const std::string b = describe(right.cpu().state, rflags::kStatus);
    if (a != b || left.cpu().icount != right.cpu().icount) {
        std::string text =
            fmt::format("after {} and {} instructions:\n", left.cpu().icount, right.cpu().icount);
        for (unsigned i = 0; i <= kRipSlot; ++i) {
            const u64 x = left.cpu().state.gpr[i];
            const u64 y = right.cpu().state.gpr[i];
            text += x != y ? fmt::format("  register {}: {:#x} and {:#x}\n", i, x, y) : "";
        }
        return text + differing_lines(a, b);
    }
    const auto& x = left.cpu().counters;
    const auto& y = right.cpu().counters;
    if (x.exceptions != y.exceptions || x.interrupts != y.interrupts || x.nmis != y.nmis) {
        return fmt::format("exceptions {} {}, interrupts {} {}, NMIs {} {}\n", x.exceptions,
                           y.exceptions, x.interrupts, y.interrupts, x.nmis, y.nmis);
    }
    for (const Region& region : kCompared) {
        const u8* p = left.machine().memory().lookup(0).native + region.first;
        const u8* q = right.machine().memory().lookup(0).native + region.first;
        const u8* differs = std::mismatch(p, p + region.bytes, q).first;
        if (differs != p + region.bytes) {
            const auto at = static_cast<u64>(differs - p);
            return fmt::format("memory at {:#x}: {:#x} interpreted, {:#x} translated\n",
                               region.first + at, p[at], q[at]);
        }
    }
    return {};
}

struct Totals {
    u64 instructions = 0, exceptions = 0, events = 0, invalidated = 0;
    u64 entries = 0;  // of translated code of the program
};

constexpr u64 kInstructions = 6000;  // of one program

// Runs a program in both engines; what differs, or nothing.
std::string run_program(const Program& program, Totals& totals) {
    static const CpuFeatures kFeatures = features();
    const Image image = program.image(kFeatures);
    ProgramMachine left(program, image, EngineKind::Interpreter);
    ProgramMachine right(program, image, EngineKind::Translator);
    Rng rng(program.seed * 77 + 1);
    static constexpr std::array<u64, 5> kMost = {100'000, 100'000, 300, 20, 2};
    std::string difference;
    while (left.cpu().icount < kInstructions) {
        u64 until = left.cpu().icount + 1 + rng() % 1500;
        const u64 left_most = kMost[rng() % kMost.size()], right_most = kMost[rng() % kMost.size()];
        bool goes_on = true;
        for (unsigned tries = 0; tries < 64; ++tries) {
            const bool arrived = left.run_to(until, left_most, rng);
            if (arrived != right.run_to(until, right_most, rng)) {
                return "one engine got there, one did not:\n" + compare(left, right);
            }
            goes_on = arrived;
            // The byte of memory that PUSHF left AF in is masked by the piece's next instruction.
            const u64 at = left.cpu().state.rip() - program.place.code;
            if (!arrived || (at < image.piece_begins.size() && image.piece_begins[at])) {
                break;
            }
            ++until;
        }
        if (difference = compare(left, right); !difference.empty() || !goes_on) {
            break;
        }
        for (ProgramMachine* machine : {&left, &right}) {
            if (until % 3 == 0) {
                machine->cpu().request(attention::kNmi);
            } else if (until % 3 == 1) {
                machine->cpu().apic->accept({.vector = kVector});
            }
        }
    }
    const VcpuCounters& counters = left.cpu().counters;
    totals.instructions += left.cpu().icount;
    totals.exceptions += counters.exceptions;
    totals.events += counters.interrupts + counters.nmis;
    totals.entries += right.translated_entries();
    totals.invalidated += right.cpu().blocks->invalidated();
    return difference;
}

// Drops pieces, many at once, then one by one, while the difference persists.
std::string reduce(Program& program, std::string difference) {
    Totals ignored;
    for (std::size_t run = program.pieces.size() / 2; run >= 1; run /= 2) {
        for (unsigned pass = 0; pass < 2; ++pass) {
            for (std::size_t first = 0; first < program.pieces.size(); first += run) {
                Program smaller = program;
                bool changed = false;
                const std::size_t last = std::min(first + run, program.pieces.size());
                for (std::size_t i = first; i < last; ++i) {
                    if (!smaller.pieces[i].fixed && !smaller.pieces[i].bytes.empty()) {
                        smaller.pieces[i].bytes.clear();
                        changed = true;
                    }
                }
                if (!changed) {
                    continue;
                }
                if (std::string text = run_program(smaller, ignored); !text.empty()) {
                    program = std::move(smaller);
                    difference = std::move(text);
                }
            }
        }
    }
    return difference;
}

struct Arguments {
    u64 seed = 1;
    u64 instructions = 2'000'000;
    u64 bits = 64;
    u64 cet = 0;
    u64 keep_going = 0;
};

u64* option(Arguments& arguments, std::string_view name) {
    return name == "--seed"           ? &arguments.seed
           : name == "--instructions" ? &arguments.instructions
           : name == "--bits"         ? &arguments.bits
           : name == "--cet"          ? &arguments.cet
           : name == "--keep-going"   ? &arguments.keep_going
                                      : nullptr;
}

int run(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i < argc; i += 2) {
        u64* target = option(arguments, argv[i]);
        if (target == nullptr || i + 1 == argc) {
            fmt::print(stderr,
                       "usage: jit_fuzz [--seed N] [--instructions N] [--bits 32] [--cet 1] "
                       "[--keep-going 1]\n");
            return 2;
        }
        *target = std::strtoull(argv[i + 1], nullptr, 0);
    }
    Totals totals;
    u64 programs = 0;
    u64 failed = 0;
    for (u64 seed = arguments.seed; totals.instructions < arguments.instructions; ++seed) {
        fmt::print("\rseed {} ({} instructions)", seed, totals.instructions);
        std::fflush(stdout);
        const ProgramKind kind{.code_bits = static_cast<unsigned>(arguments.bits),
                               .control_flow = arguments.cet != 0};
        Program program = make_program(seed, kind, features());
        ++programs;
        std::string difference = run_program(program, totals);
        if (!difference.empty()) {
            ++failed;
            difference = reduce(program, std::move(difference));
            fmt::print("\nseed {}{}:\n{}{}", seed, program.user ? ", CPL 3" : "",
                       program.listing(features()), difference);
            if (arguments.keep_going == 0) {
                return 1;
            }
        }
    }
    fmt::print("\n{} instructions in {} programs, {} exceptions, {} interrupts and NMIs, {} blocks "
               "invalidated, translated code entered {} times: {} programs differ\n",
               totals.instructions, programs, totals.exceptions, totals.events, totals.invalidated,
               totals.entries, failed);
    // Programs in which nothing happens show nothing.
    const bool eventful = totals.exceptions != 0 && totals.events != 0 && totals.invalidated != 0 &&
                          totals.entries > totals.instructions / 100;
    return failed == 0 && eventful ? 0 : 1;
}

}  // namespace

}  // namespace droste::test

int main(int argc, char** argv) {
    return droste::test::run(argc, argv);
}
