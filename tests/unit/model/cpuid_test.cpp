// CPUID leaf by leaf: what depends on the model, on state and on topology.

#include "core/bits.hpp"
#include "cpu/x86/model/cpuid.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/model/xstate.hpp"
#include "tests/unit/apic/apic_test_support.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>

using namespace droste;
using namespace droste::test;

namespace {

void append(std::string& text, u32 word) {
    for (unsigned i = 0; i < 4; ++i) {
        text.push_back(static_cast<char>(word >> (i * 8)));
    }
}

}  // namespace

TEST_CASE("CPUID 0: GenuineIntel, and leaves up to 1FH", "[cpuid]") {
    ApicMachine machine;
    const CpuidResult r = cpuid(machine.cpu(), 0, 0);
    std::string vendor;
    append(vendor, r.ebx);
    append(vendor, r.edx);
    append(vendor, r.ecx);
    CHECK(vendor == "GenuineIntel");
    CHECK(r.eax == 0x1F);
}

TEST_CASE("CPUID 1: family 6, the APIC id, and the vCPU count", "[cpuid]") {
    ApicMachine machine(3);
    const CpuidResult r = cpuid(machine.cpu(2), 1, 0);
    CHECK(((r.eax >> 8) & 0xF) == 6);
    CHECK((((r.eax >> 4) & 0xF) | ((r.eax >> 12) & 0xF0)) == 0x8F);
    CHECK((r.eax & 0xF) == 8);
    CHECK(r.ebx >> 24 == 2);
    CHECK(((r.ebx >> 16) & 0xFF) == 4);  // addressable ids: a power of two
    CHECK(((r.ebx >> 8) & 0xFF) * 8 == 64);
    CHECK(test_bit(r.edx, 28));
    ApicMachine single;
    CHECK_FALSE(test_bit(cpuid(single.cpu(), 1, 0).edx, 28));
}

TEST_CASE("CPUID: every feature of the model shows at its place and nothing else does", "[cpuid]") {
    ApicMachine machine(2, "nested,+hypervisor");
    machine.cpu().mode.long_mode64 = true;
    const CpuFeatures& features = machine.cpu().features;
    struct Expectation {
        Feature feature;
        u32 leaf, subleaf;
        char reg;
        unsigned bit;
    };
#define EAX 'a'
#define EBX 'b'
#define ECX 'c'
#define EDX 'd'
    const Expectation rows[] = {
#define DROSTE_FEATURE(id, name, leaf, subleaf, reg, bit) {Feature::id, leaf, subleaf, reg, bit},
#include "cpu/x86/state/features.inc"
#undef DROSTE_FEATURE
    };
#undef EAX
#undef EBX
#undef ECX
#undef EDX
    for (const Expectation& row : rows) {
        const CpuidResult r = cpuid(machine.cpu(), row.leaf, row.subleaf);
        const u32 word = row.reg == 'a'   ? r.eax
                         : row.reg == 'b' ? r.ebx
                         : row.reg == 'c' ? r.ecx
                                          : r.edx;
        CAPTURE(feature_name(row.feature));
        if (row.feature != Feature::HTT) {
            CHECK(test_bit(word, row.bit) == features.has(row.feature));
        }
    }
}

TEST_CASE("CPUID: bits that follow the state", "[cpuid]") {
    ApicMachine machine;
    Vcpu& cpu = machine.cpu();
    CHECK_FALSE(test_bit(cpuid(cpu, 1, 0).ecx, 27));
    cpu.state.cr4 |= cr4::kOsxsave | cr4::kPke;
    CHECK(test_bit(cpuid(cpu, 1, 0).ecx, 27));
    CHECK(test_bit(cpuid(cpu, 7, 0).ecx, 4));
    CHECK(test_bit(cpuid(cpu, 1, 0).edx, 9));
    REQUIRE(cpu.apic->write_base_msr(0xFEE0'0100));
    CHECK_FALSE(test_bit(cpuid(cpu, 1, 0).edx, 9));
    CHECK_FALSE(test_bit(cpuid(cpu, 0x8000'0001, 0).edx, 11));  // SYSCALL: in 64-bit mode
    cpu.mode.long_mode64 = true;
    CHECK(test_bit(cpuid(cpu, 0x8000'0001, 0).edx, 11));
    CHECK_FALSE(test_bit(cpuid(cpu, 1, 0).ecx, 5));  // VMX: nobody executes it here
}

TEST_CASE("CPUID: leaves out of range answer as the highest basic leaf", "[cpuid]") {
    ApicMachine machine(2);
    const CpuidResult highest = cpuid(machine.cpu(1), 0x1F, 1);
    for (const u32 leaf : {0x20U, 0x7FFF'FFFFU, 0x4000'0000U, 0x8000'0009U, 0xFFFF'FFFFU}) {
        CAPTURE(leaf);
        CHECK(cpuid(machine.cpu(1), leaf, 1) == highest);
    }
    CHECK(cpuid(machine.cpu(), 0xA, 0) == CpuidResult{});  // no performance monitoring
    CHECK(cpuid(machine.cpu(), 0x14, 0) == CpuidResult{});
}

TEST_CASE("CPUID 4: the caches add up, and end", "[cpuid]") {
    ApicMachine machine(4);
    u32 levels = 0;
    for (u32 subleaf = 0;; ++subleaf) {
        const CpuidResult r = cpuid(machine.cpu(), 4, subleaf);
        if ((r.eax & 0x1F) == 0) {
            CHECK(subleaf == 4);
            break;
        }
        const u32 ways = (r.ebx >> 22) + 1;
        const u32 line = (r.ebx & 0xFFF) + 1;
        const u32 bytes = ways * (((r.ebx >> 12) & 0x3FF) + 1) * line * (r.ecx + 1);
        CHECK(bytes % 4096 == 0);
        CHECK(line == 64);
        CHECK((r.eax >> 26) + 1 == 4);
        levels = (r.eax >> 5) & 7;
        CHECK(((r.eax >> 14) & 0xFFF) + 1 == (levels == 3 ? 4 : 1));
    }
    CHECK(levels == 3);
    CHECK(cpuid(machine.cpu(), 0x8000'0006, 0).ecx >> 16 == 2048);
}

TEST_CASE("CPUID 0BH and 1FH: one thread a core, x2APIC id is the index", "[cpuid]") {
    for (const u32 count : {1U, 2U, 3U, 6U}) {
        ApicMachine machine(count);
        CAPTURE(count);
        for (const u32 leaf : {0xBU, 0x1FU}) {
            const u32 last = count - 1;
            const CpuidResult smt = cpuid(machine.cpu(last), leaf, 0);
            const CpuidResult core = cpuid(machine.cpu(last), leaf, 1);
            const CpuidResult end = cpuid(machine.cpu(last), leaf, 2);
            CHECK(smt.eax == 0);
            CHECK(smt.ebx == 1);
            CHECK(smt.ecx == 0x100);
            CHECK(core.ebx == count);
            CHECK(core.ecx == 0x201);
            CHECK((last >> core.eax) == 0);
            CHECK((1U << core.eax) < 2 * count);
            CHECK(end.ebx == 0);
            CHECK(end.ecx == 2);
            CHECK(smt.edx == last);
            CHECK(core.edx == last);
            CHECK(end.edx == last);
        }
    }
}

// What Linux (fpu__init_system_xstate) and Xen (xstate_init) recompute, and refuse to boot on a
// mismatch of.
TEST_CASE("CPUID 0DH: sizes and offsets agree with each other for every XCR0 and XSS",
          "[cpuid][xsave]") {
    for (const std::string_view model :
         {"nested", "max", "nested,-avx", "max,-pku", "max,-cet-ss", "max,-cet-ss,-cet-ibt"}) {
        ApicMachine machine(1, model);
        Vcpu& cpu = machine.cpu();
        const CpuidResult main = cpuid(cpu, 0xD, 0);
        const u64 supported = main.eax | u64{main.edx} << 32;
        CAPTURE(model, supported);
        CHECK(supported == xcr0_supported(cpu.features));
        CHECK((supported & 3) == 3);
        const u64 supervisor = cpuid(cpu, 0xD, 1).ecx;
        const bool cet = cpu.features.has(Feature::CET_SS) || cpu.features.has(Feature::CET_IBT);
        CHECK(supervisor == (cet ? 0x1800U : 0U));
        CHECK(cpuid(cpu, 0xD, 1).edx == 0);
        const u64 all = supported | supervisor;
        for (u64 mask = 1; mask <= all; ++mask) {
            if ((mask & ~all) != 0) {
                continue;
            }
            cpu.state.xcr0 = mask & supported;
            cpu.state.xss = mask & supervisor;
            u32 standard = 576;
            u32 compacted = 576;
            for (u32 i = 2; i < 63; ++i) {
                const CpuidResult component = cpuid(cpu, 0xD, i);
                CHECK((component.eax != 0) == test_bit(all, i));
                if (test_bit(mask, i)) {
                    CHECK((component.ecx & 1) == (test_bit(supervisor, i) ? 1U : 0U));
                    compacted = (component.ecx & 2) != 0 ? align_up(compacted, 64U) : compacted;
                    compacted += component.eax;
                }
                if (test_bit(cpu.state.xcr0, i)) {
                    CHECK(component.ebx >= standard);  // no overlap
                    standard = std::max(standard, component.ebx + component.eax);
                }
            }
            CHECK(cpuid(cpu, 0xD, 0).ebx == standard);
            CHECK(cpuid(cpu, 0xD, 0).ecx == xsave_standard_bytes(supported));
            CHECK(cpuid(cpu, 0xD, 1).ebx == compacted);
        }
        CHECK((cpuid(cpu, 0xD, 1).eax & 0xF) == 0xF);
        CHECK(cpuid(cpu, 0xD, 62) == CpuidResult{});
        CHECK(cpuid(cpu, 0xD, 1000) == CpuidResult{});
    }
    ApicMachine without(1, "baseline");
    CHECK(cpuid(without.cpu(), 0xD, 0) == CpuidResult{});
}

TEST_CASE("CPUID 0DH: AVX and PKRU lie where Intel has them", "[cpuid][xsave]") {
    ApicMachine machine;
    const CpuidResult avx = cpuid(machine.cpu(), 0xD, 2);
    const CpuidResult pkru = cpuid(machine.cpu(), 0xD, 9);
    CHECK(avx.eax == 256);
    CHECK(avx.ebx == 576);
    CHECK(pkru.eax == 8);
    CHECK(pkru.ebx == 2688);
}

TEST_CASE("CPUID 15H and 16H: the TSC is 1 GHz from a 25 MHz crystal", "[cpuid]") {
    ApicMachine machine;
    const CpuidResult tsc = cpuid(machine.cpu(), 0x15, 0);
    CHECK(u64{tsc.ecx} * tsc.ebx / tsc.eax == kTscHz);
    CHECK(tsc.ecx == LocalApic::kCrystalHz);
    CHECK(cpuid(machine.cpu(), 0x16, 0).eax == 1000);
}

TEST_CASE("CPUID 80000002H..: the brand string is terminated; addresses have the model's widths",
          "[cpuid]") {
    ApicMachine machine(1, "max,phys-bits=42");
    std::string brand;
    for (u32 leaf = 0x8000'0002; leaf <= 0x8000'0004; ++leaf) {
        const CpuidResult r = cpuid(machine.cpu(), leaf, 0);
        for (const u32 word : {r.eax, r.ebx, r.ecx, r.edx}) {
            append(brand, word);
        }
    }
    CHECK(std::string(brand.c_str()) == machine.cpu().features.brand);
    CHECK((cpuid(machine.cpu(), 0x8000'0008, 0).eax & 0xFFFF) == (42 | 57 << 8));
    CHECK(test_bit(cpuid(machine.cpu(), 0x8000'0007, 0).edx, 8));
}

TEST_CASE("CPUID 0: IA32_MISC_ENABLE[22] limits the leaves to 2", "[cpuid]") {
    ApicMachine machine;
    REQUIRE(write_msr(machine.cpu(), 0x1A0, 0x1801 | bit(22)) == Status::Next);
    CHECK(cpuid(machine.cpu(), 0, 0).eax == 2);
}
