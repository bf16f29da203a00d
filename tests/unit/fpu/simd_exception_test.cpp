// Unmasked SIMD floating-point exceptions, and what becomes of the process's own SIGFPE.

#include "tests/unit/fpu/fpu_test_support.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

namespace droste::test {
namespace {

constexpr u32 kAllMasked = 0x1F80, kZeroDivide = 1U << 2, kZeroDivideMask = 1U << 9,
              kPrecision = 1U << 5, kInvalid = 1U << 0;

u32 native_mxcsr() {
    u32 value = 0;
    asm volatile("stmxcsr %0" : "=m"(value));
    return value;
}

TEST_CASE("an unmasked divide by zero raises #XM, sets the flag and leaves the destination",
          "[fpu][sse]") {
    FpuGuest guest;
    guest.set_xmm<float>(0, {1.0F, 2.0F, 3.0F, 4.0F});
    guest.set_xmm<float>(1, {1.0F, 0.0F, 1.0F, 1.0F});
    guest.state().mxcsr = kAllMasked & ~kZeroDivideMask;

    CHECK(guest.fault({0x0F, 0x5E, 0xC1}) == kXm);  // divps xmm0, xmm1

    CHECK(guest.xmm<float>(0, 0) == 1.0F);
    CHECK(guest.xmm<float>(0, 1) == 2.0F);
    CHECK(guest.state().mxcsr == ((kAllMasked & ~kZeroDivideMask) | kZeroDivide));
    CHECK(native_mxcsr() == kAllMasked);
}

TEST_CASE("the next instruction works after a SIMD exception", "[fpu][sse]") {
    FpuGuest guest;
    guest.set_xmm<float>(0, {1.0F, 1.0F, 1.0F, 1.0F});
    guest.set_xmm<float>(1, {0.0F, 1.0F, 1.0F, 1.0F});
    guest.state().mxcsr = kAllMasked & ~kZeroDivideMask;
    for (int round = 0; round < 3; ++round) {
        CHECK(guest.fault({0x0F, 0x5E, 0xC1}) == kXm);    // divps xmm0, xmm1
        CHECK(guest.fault({0x0F, 0x58, 0xC1}) == kNone);  // addps xmm0, xmm1
    }
    CHECK(guest.xmm<float>(0, 0) == 1.0F);
    CHECK(guest.xmm<float>(0, 1) == 4.0F);
}

TEST_CASE("without CR4.OSXMMEXCPT a SIMD exception is #UD", "[fpu][sse]") {
    FpuGuest guest;
    guest.state().cr4 &= ~cr4::kOsxmmexcpt;
    guest.refresh();
    guest.set_xmm<float>(0, {1.0F, 1.0F, 1.0F, 1.0F});
    guest.set_xmm<float>(1, {0.0F, 0.0F, 0.0F, 0.0F});
    guest.state().mxcsr = kAllMasked & ~kZeroDivideMask;
    CHECK(guest.fault({0x0F, 0x5E, 0xC1}) == kUd);  // divps xmm0, xmm1
}

TEST_CASE("a conversion to MMX that raises #XM has switched to MMX state", "[fpu][sse][mmx]") {
    FpuGuest guest;
    X87State& fpu = guest.state().x87;
    fpu.status = 3U << 11;
    fpu.tag_valid = 0xF8;
    guest.set_xmm<float>(1, {1e30F, 1.0F});
    guest.state().mxcsr = 0;
    CHECK(guest.fault({0x0F, 0x2D, 0xD9}) == kXm);  // cvtps2pi mm3, xmm1
    CHECK(fpu.status == 0);
    CHECK(fpu.tag_valid == 0xFF);
    CHECK(fpu.st[3].sign_exponent == 0);
}

TEST_CASE("masked exceptions only accumulate in MXCSR", "[fpu][sse]") {
    FpuGuest guest;
    guest.set_xmm<float>(0, {1.0F, 1.0F, 1.0F, 1.0F});
    guest.set_xmm<float>(1, {3.0F, 0.0F, 1.0F, 1.0F});
    CHECK(guest.fault({0x0F, 0x5E, 0xC1}) == kNone);  // divps xmm0, xmm1
    CHECK(guest.state().mxcsr == (kAllMasked | kZeroDivide | kPrecision));
    CHECK(native_mxcsr() == kAllMasked);
}

TEST_CASE("a 256-bit SIMD exception leaves all of the destination", "[fpu][avx]") {
    FpuGuest guest;
    if (!guest.cpu().features.has(Feature::AVX)) {
        return;
    }
    guest.set_xmm<double>(0, {9.0, 9.0, 9.0, 9.0});
    guest.set_xmm<double>(1, {1.0, 1.0, 1.0, 1.0});
    guest.set_xmm<double>(2, {1.0, 1.0, 1.0, 0.0});
    guest.state().mxcsr = kAllMasked & ~kZeroDivideMask;
    CHECK(guest.fault({0xC5, 0xF5, 0x5E, 0xC2}) == kXm);  // vdivpd ymm0, ymm1, ymm2
    CHECK(guest.xmm<double>(0, 0) == 9.0);
    CHECK(guest.xmm<double>(0, 3) == 9.0);
}

TEST_CASE("a store that raises #XM writes nothing", "[fpu][f16c]") {
    FpuGuest guest;
    if (!guest.cpu().features.has(Feature::F16C)) {
        return;
    }
    guest.poke<u64>(FpuGuest::kData, 0x1122334455667788);
    guest.set_xmm<float>(0, {1.0F, 1.00001F, 1.0F, 1.0F});
    guest.state().mxcsr = kAllMasked & ~(kPrecision << 7);
    CHECK(guest.fault({0xC4, 0xE3, 0x79, 0x1D, 0x07, 0x00}) == kXm);  // vcvtps2ph [rdi], xmm0, 0
    CHECK(guest.peek<u64>(FpuGuest::kData) == 0x1122334455667788);
}

TEST_CASE("VCVTPS2PH converts before it stores", "[fpu][f16c]") {
    FpuGuest guest;
    if (!guest.cpu().features.has(Feature::F16C)) {
        return;
    }
    guest.state().gpr[RDI] = FpuGuest::kReadOnly;
    guest.set_xmm<float>(0, {1.0F, 1.00001F, 1.0F, 1.0F});
    CHECK(guest.fault({0xC4, 0xE3, 0x79, 0x1D, 0x07, 0x00}) == kPf);  // vcvtps2ph [rdi], xmm0, 0
    CHECK(guest.state().mxcsr == (kAllMasked | kPrecision));

    guest.state().gpr[RDI] = FpuGuest::kReadOnly;
    guest.state().mxcsr = kAllMasked & ~(kPrecision << 7);
    CHECK(guest.fault({0xC4, 0xE3, 0x79, 0x1D, 0x07, 0x00}) == kXm);
    CHECK(guest.state().mxcsr == ((kAllMasked & ~(kPrecision << 7)) | kPrecision));
}

TEST_CASE("COMISS of a signaling NaN with the exception unmasked leaves the flags", "[fpu][sse]") {
    FpuGuest guest;
    guest.set_xmm<u32>(0, {0x7F80'0001, 0, 0, 0});
    guest.state().set_rflags(rflags::kFixed1 | rflags::kOf | rflags::kSf);
    guest.state().mxcsr = kAllMasked & ~(kInvalid << 7);
    CHECK(guest.fault({0x0F, 0x2F, 0xC1}) == kXm);  // comiss xmm0, xmm1
    CHECK(guest.state().rflags() == (rflags::kFixed1 | rflags::kOf | rflags::kSf));
}

namespace {

// How the process maps `address`: "r-xs" and the like.
std::string protection_of(const void* address) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        const std::size_t dash = line.find('-');
        const auto wanted = reinterpret_cast<std::uintptr_t>(address);
        if (wanted >= std::stoull(line, nullptr, 16) &&
            wanted < std::stoull(line.substr(dash + 1), nullptr, 16)) {
            return line.substr(line.find(' ') + 1, 4);
        }
    }
    return "none";
}

}  // namespace

TEST_CASE("code is written where nothing is mapped before and after, and runs elsewhere",
          "[fpu][thunk]") {
    for (const auto source :
         {ExecutableMemory::Source::SharedAnonymous, ExecutableMemory::Source::Memfd}) {
        auto created = ExecutableMemory::create_from(source, 4 * kPageBytes);
        REQUIRE(created.has_value());
        ExecutableMemory memory = std::move(created).value();
        const auto mapped = [&] {
            CHECK(protection_of(memory.first()) == "r-xs");
            CHECK(protection_of(memory.window()) == "---p");
        };
        mapped();
        const std::vector<u8> padding(4000, 0xCC);
        (void)memory.append(padding);
        // Over a page end: 100 * nop; mov eax, 42; ret
        std::vector<u8> code(100, 0x90);
        code.insert(code.end(), {0xB8, 42, 0, 0, 0, 0xC3});
        const u8* entry = memory.append(code);
        mapped();
        CHECK(entry == memory.first() + 4000);
        CHECK(reinterpret_cast<int (*)()>(reinterpret_cast<std::uintptr_t>(entry))() == 42);
    }
}

// The native witness of other tests runs its cases in such memory, so what counts is what is new.
std::vector<std::string> writable_and_executable() {
    std::vector<std::string> found;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find(" rwx") != std::string::npos) {
            found.push_back(line);
        }
    }
    return found;
}

TEST_CASE("no memory of a machine is writable and executable at once", "[fpu][thunk]") {
    const std::vector<std::string> before = writable_and_executable();
    FpuGuest guest;
    CHECK(guest.fault({0x0F, 0x58, 0xC1}) == kNone);  // addps xmm0, xmm1
    CHECK(writable_and_executable() == before);
}

TEST_CASE("one thunk serves all register numbers, and each immediate has its own", "[fpu][thunk]") {
    FpuGuest guest;
    ThunkCache& thunks = *guest.cpu().thunks;
    CHECK(guest.fault({0x66, 0x0F, 0xFE, 0xC1}) == kNone);  // paddd xmm0, xmm1
    const std::size_t one = thunks.thunk_count();
    CHECK(guest.fault({0x66, 0x45, 0x0F, 0xFE, 0xFE}) == kNone);  // paddd xmm15, xmm14
    CHECK(thunks.thunk_count() == one);
    CHECK(guest.fault({0x66, 0x0F, 0x70, 0xC1, 0x00}) == kNone);  // pshufd xmm0, xmm1, 0
    CHECK(guest.fault({0x66, 0x0F, 0x70, 0xC1, 0x1B}) == kNone);  // pshufd xmm0, xmm1, 1Bh
    CHECK(thunks.thunk_count() == one + 2);
}

// --- the process's own SIGFPE: in a process of its own, where nothing was installed before -------

constexpr int kSeen = 42;
void on_own_sigfpe(int /*signal*/) {
    _exit(kSeen);
}

void divide_by_zero() {
    asm volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; mov $1, %%eax; div %%ecx" ::
                     : "eax", "ecx", "edx", "cc");
}

TEST_CASE("child: a handler from before gets a foreign SIGFPE", "[.sigfpe-handler]") {
    std::signal(SIGFPE, on_own_sigfpe);
    FpuGuest guest;
    divide_by_zero();
}
TEST_CASE("child: without one a foreign SIGFPE ends the process", "[.sigfpe-default]") {
    std::signal(SIGFPE, SIG_DFL);
    FpuGuest guest;
    divide_by_zero();
}

int run_child(const char* tag) {
    const pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "unit_fpu", tag, "-o", "/dev/null", static_cast<char*>(nullptr));
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

TEST_CASE("a SIGFPE that is not a thunk's goes where it would have gone", "[fpu][thunk]") {
    const int handled = run_child("[.sigfpe-handler]");
    CHECK(WIFEXITED(handled));
    CHECK(WEXITSTATUS(handled) == kSeen);
    const int defaulted = run_child("[.sigfpe-default]");
    const bool died =
        WIFSIGNALED(defaulted) || (WIFEXITED(defaulted) && WEXITSTATUS(defaulted) != 0);
    CHECK(died);
}

}  // namespace
}  // namespace droste::test
