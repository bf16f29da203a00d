// CPUID, time stamps, random numbers, bases, cache instructions, PAUSE and FWAIT.

#include "cpu/x86/model/cpuid.hpp"
#include "tests/unit/interp/insn_runner.hpp"

using namespace droste;
using namespace droste::test;

TEST_CASE("CPUID fills four registers and clears their upper halves", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    runner.gpr(RAX) = 0xFFFF'FFFF'0000'0000;
    runner.gpr(RCX) = 0xFFFF'FFFF'0000'0000;  // subleaf 0
    runner.gpr(RBX) = runner.gpr(RDX) = ~u64{0};
    CHECK(runner.run({0x0F, 0xA2}) == Status::Next);  // CPUID
    const CpuidResult expected = cpuid(runner.cpu(), 0, 0);
    CHECK(runner.gpr(RAX) == expected.eax);
    CHECK(runner.gpr(RBX) == expected.ebx);
    CHECK(runner.gpr(RCX) == expected.ecx);
    CHECK(runner.gpr(RDX) == expected.edx);
}

TEST_CASE("RDTSC at CPL 3 obeys CR4.TSD", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    runner.cpu().icount = 1000;
    CHECK(runner.run({0x0F, 0x31}) == Status::Next);  // rdtsc
    CHECK(((runner.gpr(RDX) << 32) | runner.gpr(RAX)) == runner.cpu().tsc());
    runner.state().cr4 |= cr4::kTsd;
    CHECK(runner.run({0x0F, 0x31}) == Status::Fault);  // rdtsc
    CHECK(runner.raised(Exception::GP, 0));
    CHECK(runner.run({0x0F, 0x01, 0xF9}) == Status::Fault);  // rdtscp
    runner.long_mode(0);
    runner.state().cr4 |= cr4::kTsd;
    CHECK(runner.run({0x0F, 0x31}) == Status::Next);  // rdtsc
}

TEST_CASE("RDTSCP and RDPID read IA32_TSC_AUX", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    runner.state().tsc_aux = 0x1234;
    CHECK(runner.run({0x0F, 0x01, 0xF9}) == Status::Next);  // rdtscp
    CHECK(runner.gpr(RCX) == 0x1234);
    CHECK(runner.run({0xF3, 0x0F, 0xC7, 0xFB}) == Status::Next);  // rdseed ebx
    CHECK(runner.gpr(RBX) == 0x1234);
}

TEST_CASE("RDPMC without counters is #GP(0) at every privilege level", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(0);
    CHECK(runner.run({0x0F, 0x33}) == Status::Fault);  // rdpmc
    CHECK(runner.raised(Exception::GP, 0));
}

TEST_CASE("RDRAND sets CF alone, and repeats itself when the clock counts", "[interp][misc]") {
    InsnRunner first;
    InsnRunner second;
    first.long_mode(3);
    second.long_mode(3);
    first.state().set_rflags(2 | rflags::kStatus);
    CHECK(first.run({0x48, 0x0F, 0xC7, 0xF0}) == Status::Next);  // rdrand rax
    CHECK((first.state().rflags() & rflags::kStatus) == rflags::kCf);
    const u64 number = first.gpr(RAX);
    CHECK(first.run({0x48, 0x0F, 0xC7, 0xF0}) == Status::Next);  // rdrand rax
    CHECK(first.gpr(RAX) != number);
    CHECK(second.run({0x48, 0x0F, 0xC7, 0xF8}) == Status::Next);  // RDSEED: the same source
    CHECK(second.gpr(RAX) == number);
}

TEST_CASE("RDRAND r16 keeps the rest of the register", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    runner.gpr(RCX) = 0x1111'2222'3333'0000;
    CHECK(runner.run({0x66, 0x0F, 0xC7, 0xF1}) == Status::Next);  // rdrand cx
    CHECK((runner.gpr(RCX) & ~u64{0xFFFF}) == 0x1111'2222'3333'0000);
}

TEST_CASE("WRFSBASE and RDGSBASE need CR4.FSGSBASE and a canonical base", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    runner.gpr(RAX) = 0x7FFF'1234'5678;
    CHECK(runner.run({0xF3, 0x48, 0x0F, 0xAE, 0xD0}) == Status::Next);  // wrfsbase rax
    CHECK(runner.state().seg[FS].base == 0x7FFF'1234'5678);
    runner.gpr(RAX) = 0x8000'0000'0000;
    CHECK(runner.run({0xF3, 0x48, 0x0F, 0xAE, 0xD0}) == Status::Fault);  // wrfsbase rax
    CHECK(runner.raised(Exception::GP, 0));
    runner.state().seg[GS].base = 0xFFFF'8000'1234'5678;
    CHECK(runner.run({0xF3, 0x0F, 0xAE, 0xCB}) == Status::Next);  // rdgsbase ebx
    CHECK(runner.gpr(RBX) == 0x1234'5678);
    runner.state().cr4 &= ~cr4::kFsgsbase;
    CHECK(runner.run({0xF3, 0x48, 0x0F, 0xAE, 0xD0}) == Status::Fault);  // wrfsbase rax
    CHECK(runner.raised(Exception::UD));
}

TEST_CASE("CLFLUSH faults as a byte load, PREFETCH and CLDEMOTE never", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    runner.gpr(RDI) = InsnRunner::kData;
    CHECK(runner.run({0x0F, 0xAE, 0x3F}) == Status::Next);  // clflush byte [rdi]
    runner.gpr(RDI) = 0x5000'0000;
    CHECK(runner.run({0x0F, 0xAE, 0x3F}) == Status::Fault);  // clflush
    CHECK(runner.raised(Exception::PF, 4));
    CHECK(runner.run({0x66, 0x0F, 0xAE, 0x37}) == Status::Fault);  // clwb
    CHECK(runner.run({0x0F, 0x18, 0x0F}) == Status::Next);         // prefetcht0 byte [rdi]
    CHECK(runner.run({0x0F, 0x0D, 0x0F}) == Status::Next);         // prefetchw byte [rdi]
    CHECK(runner.run({0x0F, 0x1C, 0x07}) == Status::Next);         // nop dword [rdi]
}

TEST_CASE("PAUSE offers the time to another vCPU", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    CHECK(runner.run({0xF3, 0x90}) == Status::Sync);  // pause
    CHECK(runner.cpu().yield_requested);
}

TEST_CASE("FWAIT is #NM only with CR0.MP and CR0.TS together", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    runner.state().cr0 |= cr0::kMp | cr0::kTs;
    CHECK(runner.run({0x9B}) == Status::Fault);  // wait
    CHECK(runner.raised(Exception::NM));
    runner.state().cr0 &= ~cr0::kMp;
    CHECK(runner.run({0x9B}) == Status::Next);  // wait
}

TEST_CASE("UD0, UD1 and UD2 raise #UD", "[interp][misc]") {
    InsnRunner runner;
    runner.long_mode(3);
    CHECK(runner.run({0x0F, 0x0B}) == Status::Fault);  // ud2
    CHECK(runner.raised(Exception::UD));
    CHECK(runner.run({0x0F, 0xB9, 0xC0}) == Status::Fault);  // ud1 eax, eax
    CHECK(runner.run({0x0F, 0xFF, 0xC0}) == Status::Fault);  // ud0 eax, eax
}
