// AAA .. DAS and SALC: AX and all status flags, for every AL and many AH, against a table written
// from the manual's "Operation" sections and docs/x86/undefined.md, and against the native CPU. The
// latter must leave 64-bit mode for them, by a far call into the kernel's 32-bit code segment; where
// there is none (a sandbox, a kernel without 32-bit emulation), the table is the only witness.

#include "cpu/x86/model/native_features.hpp"
#include "tests/differential/exceptions.hpp"
#include "tests/differential/native_runner.hpp"
#include "tests/differential/state_pair.hpp"
#include "tests/unit/interp/insn_runner.hpp"

#include <bit>
#include <cstring>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>

namespace {

using namespace droste;
using namespace droste::test;

struct Registers {
    u32 eax;
    u32 eflags;
};

// 64-bit code below 4 GiB that switches to a low stack, calls the 32-bit half through m16:32 and
// comes back.
class Native32 {
  public:
    Native32() {
        constexpr std::size_t kBytes = 4 * kPageBytes;
        void* low = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        REQUIRE(low != MAP_FAILED);
        memory_ = static_cast<u8*>(low);
        const u32 base = address(memory_);
        const u32 saved_rsp = base + 0x800;
        const u32 pointer = base + 0x810;
        const u32 code32 = base + 0x400;
        u8* at = memory_;
        emit(at, {0x55, 0x53, 0x48, 0x89, 0x24, 0x25}),
            emit32(at, saved_rsp);  // push rbp; push rbx; mov [saved], rsp
        emit(at, {0xBC}), emit32(at, base + 3 * kPageBytes);        // mov esp, low stack
        emit(at, {0x89, 0xFE});                                     // mov esi, edi
        emit(at, {0xFF, 0x1C, 0x25}), emit32(at, pointer);          // call far [pointer]
        emit(at, {0x48, 0x8B, 0x24, 0x25}), emit32(at, saved_rsp);  // mov rsp, [saved]
        emit(at, {0x5B, 0x5D, 0xC3});
        at = memory_ + 0x810;
        constexpr u16 kUser32Code = 0x23;
        emit32(at, code32);
        std::memcpy(at, &kUser32Code, 2);
    }
    ~Native32() { munmap(memory_, 4 * kPageBytes); }
    Native32(const Native32&) = delete;
    Native32& operator=(const Native32&) = delete;

    Registers run(std::span<const u8> insn, const Registers& start) {
        u8* at = memory_ + 0x400;
        emit(at, {0x6A, 0x2B, 0x1F});        // push user data; pop ds
        emit(at, {0xFF, 0x76, 0x04, 0x9D});  // push [esi + 4]; popfd
        emit(at, {0x8B, 0x06});              // mov eax, [esi]
        emit(at, insn);
        emit(at, {0x9C, 0x89, 0x06, 0x8F, 0x46, 0x04,
                  0xCB});  // pushfd; mov [esi], eax; pop [esi + 4]; retf
        auto* registers = reinterpret_cast<Registers*>(memory_ + 0x900);
        *registers = start;
        void (*enter)(Registers*) = nullptr;
        std::memcpy(&enter, &memory_, sizeof(enter));
        enter(registers);
        return *registers;
    }

  private:
    static u32 address(const u8* at) {
        return static_cast<u32>(reinterpret_cast<std::uintptr_t>(at));
    }
    static void emit(u8*& at, std::span<const u8> bytes) {
        std::memcpy(at, bytes.data(), bytes.size());
        at += bytes.size();
    }
    static void emit(u8*& at, std::initializer_list<u8> bytes) {
        emit(at, {bytes.begin(), bytes.size()});
    }
    static void emit32(u8*& at, u32 value) {
        std::memcpy(at, &value, 4);
        at += 4;
    }

    u8* memory_ = nullptr;
};

// Whether 32-bit code runs at all: tried in a child, which the kernel may kill for it. Masked by
// DROSTE_NATIVE_WITHOUT=code32.
bool native_runs_32bit_code() {
    static const bool runs = [] {
        const int status = droste::differential::in_child([] {
            Native32 native;
            const Registers after = native.run(std::array<u8, 1>{0x90}, {0x12345678, 0x246});
            return after.eax == 0x12345678 ? 0 : 1;
        });
        return !native_masked("code32") && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }();
    return runs;
}

// --- The table: AX and the status flags after each instruction. ---

u32 flag(bool set, u64 bit) {
    return set ? static_cast<u32>(bit) : 0;
}
// SF, ZF and PF of `value` in a register of `bits` bits.
u32 result_flags(u32 value, unsigned bits) {
    const u32 masked = value & ((1U << bits) - 1);
    return flag((masked >> (bits - 1)) != 0, rflags::kSf) | flag(masked == 0, rflags::kZf) |
           flag(std::popcount(masked & 0xFF) % 2 == 0, rflags::kPf);
}
// Signed overflow of a + b, or of a - b, in `bits` bits.
u32 overflow(u32 a, u32 b, unsigned bits, bool subtract) {
    const u32 result = subtract ? a - b : a + b;
    const u32 signs = subtract ? (a ^ b) & (a ^ result) : (a ^ result) & (b ^ result);
    return flag(((signs >> (bits - 1)) & 1) != 0, rflags::kOf);
}

// AAA adds 106h to AX, AAS subtracts it, when the low digit needs it; AL keeps its low digit.
Registers ascii_adjust(const Registers& in, bool subtract) {
    const u32 ax = in.eax & 0xFFFF;
    const bool adjust = (ax & 0xF) > 9 || (in.eflags & rflags::kAf) != 0;
    const u32 step = adjust ? 0x106 : 0;
    const u32 sum = subtract ? ax - step : ax + step;
    return {(in.eax & 0xFFFF0000) | (sum & 0xFF0F), result_flags(sum, 16) |
                                                        overflow(ax, step, 16, subtract) |
                                                        flag(adjust, rflags::kAf | rflags::kCf)};
}
// DAA and DAS: 6 for the low digit, 60h for the high one.
Registers decimal_adjust(const Registers& in, bool subtract) {
    const u32 al = in.eax & 0xFF;
    const bool carry = (in.eflags & rflags::kCf) != 0;
    const bool low = (al & 0xF) > 9 || (in.eflags & rflags::kAf) != 0;
    const bool high = al > 0x99 || carry;
    const u32 step = (low ? 6U : 0U) + (high ? 0x60U : 0U);
    const u32 sum = subtract ? al - step : al + step;
    const bool borrowed = subtract && low && al < 6;
    return {(in.eax & 0xFFFFFF00) | (sum & 0xFF),
            result_flags(sum, 8) | overflow(al, step, 8, subtract) | flag(low, rflags::kAf) |
                flag(high || borrowed, rflags::kCf)};
}
Registers after_aam(const Registers& in, u32 base) {
    const u32 al = in.eax & 0xFF;
    return {(in.eax & 0xFFFF0000) | (al / base) << 8 | al % base, result_flags(al % base, 8)};
}
Registers after_aad(const Registers& in, u32 base) {
    const u32 al = in.eax & 0xFF;
    const u32 tens = (((in.eax >> 8) & 0xFF) * base) & 0xFF;
    const u32 sum = al + tens;
    return {(in.eax & 0xFFFF0000) | (sum & 0xFF),
            result_flags(sum, 8) | overflow(al, tens, 8, false) | flag(sum > 0xFF, rflags::kCf) |
                flag((al & 0xF) + (tens & 0xF) > 0xF, rflags::kAf)};
}
Registers after_salc(const Registers& in) {
    const u32 al = (in.eflags & rflags::kCf) != 0 ? 0xFF : 0;
    return {(in.eax & 0xFFFFFF00) | al, in.eflags & static_cast<u32>(rflags::kStatus)};
}

struct Row {
    std::vector<u8> bytes;
    Registers (*after)(const Registers& in);
};
const std::vector<Row> kRows = {
    {{0x37}, [](const Registers& in) { return ascii_adjust(in, false); }},    // AAA
    {{0x3F}, [](const Registers& in) { return ascii_adjust(in, true); }},     // AAS
    {{0x27}, [](const Registers& in) { return decimal_adjust(in, false); }},  // DAA
    {{0x2F}, [](const Registers& in) { return decimal_adjust(in, true); }},   // DAS
    {{0xD4, 10}, [](const Registers& in) { return after_aam(in, 10); }},      // AAM
    {{0xD4, 7}, [](const Registers& in) { return after_aam(in, 7); }},
    {{0xD5, 10}, [](const Registers& in) { return after_aad(in, 10); }},  // AAD
    {{0xD5, 0xF3}, [](const Registers& in) { return after_aad(in, 0xF3); }},
    {{0xD6}, after_salc},  // SALC
};

// Runs every row from many states; `expected(row, start)` is the other witness.
template <typename Witness>
void compare_all(Witness&& expected) {
    InsnRunner runner;
    runner.protected_mode(3, 0);
    droste::differential::Rng rng(0xBCD);
    for (const Row& row : kRows) {
        for (unsigned round = 0; round < 2048; ++round) {
            const auto high = static_cast<u32>(rng.next() << 8);
            const Registers start{high | (round & 0xFF),
                                  static_cast<u32>((rng.next() & rflags::kStatus) | 0x202)};
            const Registers want = expected(row, start);
            runner.gpr(RAX) = start.eax;
            runner.state().set_rflags(start.eflags);
            REQUIRE(runner.run(row.bytes) == Status::Next);
            INFO("opcode " << std::hex << unsigned{row.bytes[0]} << " eax " << start.eax
                           << " eflags " << start.eflags);
            REQUIRE(runner.gpr(RAX) == want.eax);
            REQUIRE((runner.state().rflags() & rflags::kStatus) == (want.eflags & rflags::kStatus));
        }
    }
}

}  // namespace

TEST_CASE("decimal adjustments do what the manual and docs/x86/undefined.md say",
          "[interp][decimal]") {
    compare_all([](const Row& row, const Registers& start) { return row.after(start); });
}

TEST_CASE("decimal adjustments agree with the native CPU in AX and all status flags",
          "[interp][native]") {
    if (!native_runs_32bit_code() || !droste::differential::native_is_zen()) {
        WARN("skipped: no 32-bit code of a CPU with our choice of undefined flags runs here; the "
             "table is the witness");
        return;
    }
    Native32 native;
    compare_all(
        [&](const Row& row, const Registers& start) { return native.run(row.bytes, start); });
}

TEST_CASE("AAM by zero is #DE", "[interp][decimal]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.gpr(RAX) = 0x1234;
    CHECK(runner.run({0xD4, 0x00}) == Status::Fault);  // aam 0
    CHECK(runner.raised(Exception::DE));
    CHECK(runner.gpr(RAX) == 0x1234);
}
