// Fuzzes the whole CPU: random bytes, in every mode, with random tables, descriptors and control
// bits, executed by the interpreter. Whatever the guest does must end as guest faults, shutdown or
// idleness: never as a crash or a hang of the emulator. Meant for an ASan/UBSan build
// (docs/testing.md); each case is replayed by its seed.
//
//   cpu_fuzz [--seed N] [--instructions N]

#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "cpu/x86/system/cet.hpp"
#include "tests/support/test_machine.hpp"

#include <cstdlib>
#include <random>
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
    explicit Fuzzer(u64 seed) : rng_(seed), machine_(features()), engine_(make_interpreter()) {
        vmx_ = make_vmx(machine_.cpu(), VmxConfig::max());
    }

    // Returns the instructions retired.
    u64 run_case() {
        fill(kCode, kCodeBytes);
        fill(kTablesArea, 0x8000);
        enter(static_cast<FuzzMode>(rng_() % static_cast<unsigned>(FuzzMode::kCount)));
        Vcpu& cpu = machine_.cpu();
        const u64 before = cpu.icount;
        for (unsigned quantum = 0; quantum < 8; ++quantum) {
            if (rng_() % 4 == 0) {
                cpu.request(rng_() % 2 != 0 ? attention::kNmi : attention::kInterrupt);
            }
            if (engine_->run(cpu, 64) == RunResult::Idle) {
                machine_.clock().advance_to(machine_.clock().now_ns() + 1'000'000);
                machine_.events().run_due();
                cpu.request(attention::kNmi);
            }
            machine_.events().run_due();
        }
        DROSTE_ASSERT(cpu.state.gpr[kZeroSlot] == 0);
        return cpu.icount - before;
    }

  private:
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
            s.gpr[reg] =
                rng_() % 3 == 0 ? kTablesArea + (rng_() & 0x7FF8) : rng_() >> (rng_() % 64);
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

}  // namespace

int run(int argc, char** argv) {
    u64 seed = 1;
    u64 wanted = 200'000;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        u64& target = name == "--seed" ? seed : wanted;
        if (name != "--seed" && name != "--instructions") {
            fmt::print(stderr,
                       "cpu_fuzz: unknown option {}; expected --seed N or --instructions N\n",
                       name);
            return 2;
        }
        target = std::strtoull(argv[i + 1], nullptr, 0);
    }
    u64 done = 0;
    u64 cases = 0;
    constexpr u64 kCasesPerMachine = 200;
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
