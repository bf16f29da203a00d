// Fuzzes the whole CPU: random bytes, in every mode, with random tables, descriptors and control
// bits, executed by the interpreter, or by the translator (DROSTE_TEST_ENGINE=jit). Whatever the
// guest does must end as guest faults, shutdown or idleness: never as a crash or a hang of the
// emulator. Meant for an ASan/UBSan build (docs/testing.md); each case is replayed by its seed.
//
//   cpu_fuzz [--seed N] [--instructions N | --listen CASES] [--fresh 1]
//
// --fresh 1: each case runs a second time, on a machine that forgets all decoded code before every
// instruction. Both must end in the same state: decoded code is never older than the bytes.
//
// --listen: the cases run without a budget, and what must hold is that a stop request is heard
// within 50 ms (listening.hpp).

#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/interp/interpreter.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/cet.hpp"
#include "tests/fuzz/listening.hpp"
#include "tests/support/describe_state.hpp"
#include "tests/support/engines.hpp"
#include "tests/support/test_machine.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace droste::test {

namespace {

enum class FuzzMode : u8 {
    Real,
    BigReal,
    Protected16,
    Protected32,
    Virtual8086,
    Compatibility,
    Long,
    LongUser,
    kCount
};

constexpr u64 kCode = 0x8000;
constexpr u64 kCodeBytes = 0x4000;
constexpr u64 kShadowStacks = 0x24'0000;
constexpr u64 kTablesArea = 0x20'0000;  // random GDT, IDT, TSS, VMCS and EPT material

class Fuzzer {
  public:
    explicit Fuzzer(u64 seed)
        : rng_(seed)
        , machine_(features())
        , engine_(make_engine(machine_.cpu())) {
        vmx_ = make_vmx(machine_.cpu(), VmxConfig::max());
    }

    TestMachine& machine() { return machine_; }
    u64 icount() { return machine_.cpu().icount; }

    void listen(Listening& listening) {
        begin_case();
        listening.run(*engine_, machine_.cpu());
        machine_.events().run_due();
    }

    // Returns the instructions retired.
    u64 run_case() {
        begin_case();
        const u64 before = icount();
        for (unsigned quantum = 0; quantum < kQuanta; ++quantum) {
            disturb();
            let_time_pass(run(kQuantum));
        }
        DROSTE_ASSERT(machine_.cpu().state.gpr[kZeroSlot] == 0);
        return icount() - before;
    }

    // The parts of run_case().
    static constexpr unsigned kQuanta = 8, kQuantum = 64;
    void begin_case() {
        fill(kCode, kCodeBytes);
        fill(kTablesArea, 0x8000);
        enter(static_cast<FuzzMode>(rng_() % static_cast<unsigned>(FuzzMode::kCount)));
    }
    void disturb() {
        if (rng_() % 4 == 0) {
            machine_.cpu().request(rng_() % 2 != 0 ? attention::kNmi : attention::kInterrupt);
        }
    }
    RunResult run(u64 instructions) { return engine_->run(machine_.cpu(), instructions); }
    // Runs to the count at which another's run() came to `result`, without decoded code from before;
    // false if it does not get there.
    bool run_fresh(u64 until, RunResult result) {
        Vcpu& cpu = machine_.cpu();
        while (cpu.icount < until) {
            const u64 before = cpu.icount;
            cpu.blocks->flush();
            // A repetition that writes over itself sees that when it is next fetched, so it is cut
            // where the other run cuts it.
            if (run(repetition_next() ? until - before : 1) == RunResult::Idle &&
                cpu.icount == before) {
                return false;
            }
        }
        // An idle CPU has also taken what costs no instruction (an NMI that ends in a shutdown again).
        cpu.blocks->flush();
        (void)run(result == RunResult::Idle ? 1 : 0);
        return cpu.icount == until;
    }
    void let_time_pass(RunResult result) {
        if (result == RunResult::Idle) {
            machine_.clock().advance_to(machine_.clock().now_ns() + 1'000'000);
            machine_.events().run_due();
            machine_.cpu().request(attention::kNmi);
        }
        machine_.events().run_due();
    }

  private:
    bool repetition_next() {
        Vcpu& cpu = machine_.cpu();
        constexpr unsigned kPrefixes = 4;
        for (unsigned i = 0; i < kPrefixes; ++i) {
            PhysAddr at = 0;
            if (!translate_for_debug(cpu, Interpreter::linear_rip(cpu) + i, at)) {
                return false;
            }
            u8 byte = 0;
            (void)machine_.memory().read(at, {&byte, 1});
            if (byte == 0xF2 || byte == 0xF3) {
                return true;
            }
        }
        return false;
    }

    static CpuFeatures features() {
        CpuFeatures all = all_features();
        all.enable(Feature::VMX);
        return all;
    }

    void fill(u64 address, u64 bytes) {
        std::vector<u8> data(bytes);
        for (u8& byte : data) {
            const u64 r = rng_();
            // Prefixes, 0F and VMX/system opcodes come up more often than chance would have them.
            static constexpr u8 kFavorites[] = {0x0F, 0x66, 0xF2, 0xF3, 0xF0, 0x48, 0x01,
                                                0x20, 0x22, 0xC4, 0xC7, 0x78, 0x79, 0xCF,
                                                0x1E, 0xAE, 0xE8, 0xF6, 0xCB};
            byte =
                r % 5 == 0 ? kFavorites[(r >> 8) % sizeof(kFavorites)] : static_cast<u8>(r >> 16);
        }
        machine_.poke(address, data);
    }

    void enter(FuzzMode mode) {
        Vcpu& cpu = machine_.cpu();
        reset_power_on(cpu);
        CpuState& s = cpu.state;
        if (mode >= FuzzMode::Compatibility) {
            // The guest of an earlier case may have written to the tables, which it could see.
            constexpr std::size_t kMostTables = 16;
            machine_.poke(TestMachine::kTables, std::vector<u8>(kMostTables * kPageBytes));
            machine_.enter_long_mode(mode == FuzzMode::LongUser ? 3 : 0);
            for (u64 page = 0; page < 0x40'0000; page += kPageBytes) {
                if (rng_() % 16 != 0 || page == kCode) {
                    machine_.map(page, page, rng_() % 8 != 0);
                }
            }
            cpu.tlb.flush_all(cpu);
            if (mode == FuzzMode::Compatibility) {
                s.seg[CS] = flat_segment(0x10, 0xC09B);
            }
        } else if (mode >= FuzzMode::Protected16) {
            machine_.enter_protected_mode();
            if (mode == FuzzMode::Protected16) {
                s.seg[CS] = flat_segment(0x10, 0x809B);
            }
        }
        for (unsigned reg = 0; reg < 16; ++reg) {
            const u64 area =
                rng_() % 2 == 0 ? kTablesArea : kCode;  // stores to code are wanted, too
            s.gpr[reg] = rng_() % 2 == 0 ? area + (rng_() & 0x3FFF) : rng_() >> (rng_() % 64);
        }
        s.gpr[RSP] = 0x9000 + (rng_() & 0xFF0);
        if (mode == FuzzMode::BigReal) {
            for (Segment& segment : s.seg) {
                segment.limit = 0xFFFF'FFFF;
                refresh_segment_checks(segment);
            }
        }
        if (mode <= FuzzMode::BigReal || mode == FuzzMode::Virtual8086) {
            load_real_mode_segment(cpu, CS, 0);
        }
        s.rip() = kCode + (rng_() % 0x2000);
        s.set_rflags((rng_() & rflags::kWritable & ~rflags::kVm) | rflags::kFixed1);
        if (mode == FuzzMode::Virtual8086) {
            s.rflags_system |= rflags::kVm;
            for (const SegReg reg : {ES, CS, SS, DS, FS, GS}) {
                load_real_mode_segment(cpu, reg, static_cast<u16>(reg == CS ? 0 : rng_()));
            }
        }
        s.gdtr = {kTablesArea, 0xFFF};
        s.idtr = {rng_() % 2 != 0 ? kTablesArea + 0x1000 : 0, 0xFFF};
        s.cr4 |= rng_() & (cr4::kVme | cr4::kPvi | cr4::kTsd | cr4::kDe | cr4::kMce | cr4::kPge |
                           cr4::kVmxe | cr4::kUmip);
        if (rng_() % 2 == 0) {
            enforce_control_flow(mode);
        }
        s.dr7 |= rng_() % 4 == 0 ? rng_() & 0xFFFF'2BFF : 0;
        for (u64& address : s.dr) {
            address = kCode + (rng_() & 0x3FFF);
        }
        cpu.tlb.activate(cpu);
        mode_changed(cpu);
        update_attention(cpu);
    }

    // Shadow stacks, in pages that are some or none, and branch tracking in any state.
    void enforce_control_flow(FuzzMode mode) {
        CpuState& s = machine_.cpu().state;
        s.cr0 |= cr0::kWp;
        s.cr4 |= cr4::kCet;
        for (u64* control : {&s.u_cet, &s.s_cet}) {
            *control = (rng_() & 0xC3F) | (rng_() % 4 == 0 ? kTablesArea : 0);
            *control &= (*control & cet::kSuppress) != 0 ? ~cet::kTracker : ~u64{0};
        }
        for (u64* ssp : {&s.ssp, &s.pl0_ssp, &s.pl1_ssp, &s.pl2_ssp, &s.pl3_ssp}) {
            *ssp = kShadowStacks + (rng_() & 0x3FFC);
        }
        s.interrupt_ssp_table = kTablesArea + (rng_() & 0x7FF8);
        for (u64 page = kShadowStacks; page < kShadowStacks + 0x4000; page += kPageBytes) {
            for (u64 token = page + 0x18; token < page + kPageBytes; token += 0x20) {
                machine_.poke_value(token, token | (rng_() % 4 == 0 ? 1U : 0U));
            }
            if (mode >= FuzzMode::Compatibility) {
                const u64 user = rng_() % 2 == 0 ? 4 : 0;
                machine_.map_leaf(page, page | 0x61 | user);  // accessed, dirty, not writable
            }
        }
    }

    std::mt19937_64 rng_;
    TestMachine machine_;
    std::unique_ptr<ExecutionEngine> engine_;
    std::unique_ptr<VmxState> vmx_;
};

// Runs the next case of both; says what differs, nothing if all is the same.
std::string compare_case(Fuzzer& kept, Fuzzer& fresh) {
    kept.begin_case();
    fresh.begin_case();
    for (unsigned quantum = 0; quantum < Fuzzer::kQuanta; ++quantum) {
        kept.disturb();
        fresh.disturb();
        const RunResult result = kept.run(Fuzzer::kQuantum);
        const bool arrived = fresh.run_fresh(kept.icount(), result);
        const std::string left = describe(kept.machine().cpu().state);
        const std::string right = describe(fresh.machine().cpu().state);
        if (!arrived || left != right) {
            return fmt::format("after {} and {} instructions\n{}\n--- without decoded code:\n{}\n",
                               kept.icount(), fresh.icount(), left, right);
        }
        kept.let_time_pass(result);
        fresh.let_time_pass(result);
    }
    const u8* left = kept.machine().memory().lookup(0).native;
    const u8* right = fresh.machine().memory().lookup(0).native;
    constexpr u64 kCompared = 0x40'0000;
    const u8* differs = std::mismatch(left, left + kCompared, right).first;
    return differs == left + kCompared ? "" : fmt::format("memory at {:#x}\n", differs - left);
}

constexpr u64 kCasesPerMachine = 200;

int run_fresh_too(u64 seed, u64 wanted) {
    u64 done = 0;
    u64 invalidated = 0;
    for (; done < wanted; ++seed) {
        fmt::print("\rseed {} ({} instructions)", seed, done);
        std::fflush(stdout);
        Fuzzer kept(seed);
        Fuzzer fresh(seed);
        for (u64 i = 0; i < kCasesPerMachine; ++i) {
            if (const std::string difference = compare_case(kept, fresh); !difference.empty()) {
                fmt::print("\nseed {}, case {}: {}", seed, i, difference);
                return 1;
            }
        }
        done += kept.icount();
        invalidated += kept.machine().cpu().blocks->invalidated();
    }
    fmt::print("\n{} instructions, {} blocks invalidated: the same without decoded code\n", done,
               invalidated);
    return invalidated == 0 ? 1 : 0;  // a fuzzer that changes no code shows nothing
}

struct Arguments {
    u64 seed = 1;
    u64 instructions = 200'000;
    u64 fresh = 0;
    u64 listen = 0;
};

u64* option(Arguments& arguments, std::string_view name) {
    return name == "--seed"           ? &arguments.seed
           : name == "--instructions" ? &arguments.instructions
           : name == "--fresh"        ? &arguments.fresh
           : name == "--listen"       ? &arguments.listen
                                      : nullptr;
}

}  // namespace

int listen(u64 seed, u64 cases) {
    Listening listening;
    for (u64 i = 0; i < cases; ++i) {
        fmt::print("\rseed {}", seed + i);
        std::fflush(stdout);
        const u64 worst_before = listening.worst_ns();
        Fuzzer(seed + i).listen(listening);
        if (listening.worst_ns() > worst_before) {
            fmt::print("\rseed {}: a stop request was heard after {:.3f} ms\n", seed + i,
                       static_cast<double>(listening.worst_ns()) / 1e6);
        }
        if (listening.worst_ns() > Listening::kMostNs) {
            return 1;
        }
    }
    fmt::print("\r{} of {} guests did not end by themselves and were stopped in time\n",
               listening.stops(), cases);
    return listening.stops() != 0 ? 0 : 1;
}

int run(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i + 1 < argc; i += 2) {
        u64* target = option(arguments, argv[i]);
        if (target == nullptr) {
            fmt::print(stderr,
                       "cpu_fuzz: unknown option {}; expected --seed N, --instructions N, "
                       "--fresh 1 or --listen CASES\n",
                       argv[i]);
            return 2;
        }
        *target = std::strtoull(argv[i + 1], nullptr, 0);
    }
    const auto [seed, wanted, fresh_too, listen_cases] = arguments;
    if (fresh_too != 0) {
        return run_fresh_too(seed, wanted);
    }
    if (listen_cases != 0) {
        return listen(seed, listen_cases);
    }
    u64 done = 0;
    u64 cases = 0;
    while (done < wanted) {
        const u64 machine_seed = seed + cases / kCasesPerMachine;
        // Printed first, so that a crash names its seed.
        fmt::print("\rseed {} ({} instructions)", machine_seed, done);
        std::fflush(stdout);
        Fuzzer fuzzer(machine_seed);
        for (u64 i = 0; i < kCasesPerMachine && done < wanted; ++i, ++cases) {
            done += fuzzer.run_case();
        }
    }
    fmt::print("\n{} instructions in {} cases: no crash\n", done, cases);
    return 0;
}

}  // namespace droste::test

int main(int argc, char** argv) {
    return droste::test::run(argc, argv);
}
