// AAA .. DAS and SALC against the CPU under us, which must leave 64-bit mode for them: a far call
// into the kernel's 32-bit code segment. Registers and all status flags, for every AL and many AH.

#include "tests/differential/state_pair.hpp"
#include "tests/unit/interp/insn_runner.hpp"

#include <cstring>
#include <vector>

#include <sys/mman.h>

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

}  // namespace

TEST_CASE("decimal adjustments agree with the native CPU in AX and all status flags",
          "[interp][native]") {
    Native32 native;
    InsnRunner runner;
    runner.protected_mode(3, 0);
    droste::differential::Rng rng(0xBCD);
    const std::vector<std::vector<u8>> encodings = {
        {0x37}, {0x3F}, {0x27}, {0x2F}, {0xD4, 10}, {0xD4, 7}, {0xD5, 10}, {0xD5, 0xF3}, {0xD6}};
    for (const std::vector<u8>& bytes : encodings) {
        for (unsigned round = 0; round < 2048; ++round) {
            const auto high = static_cast<u32>(rng.next() << 8);
            const Registers start{high | (round & 0xFF),
                                  static_cast<u32>((rng.next() & rflags::kStatus) | 0x202)};
            const Registers expected = native.run(bytes, start);
            runner.gpr(RAX) = start.eax;
            runner.state().set_rflags(start.eflags);
            REQUIRE(runner.run(bytes) == Status::Next);
            INFO("opcode " << std::hex << unsigned{bytes[0]} << " eax " << start.eax << " eflags "
                           << start.eflags);
            REQUIRE(runner.gpr(RAX) == expected.eax);
            REQUIRE((runner.state().rflags() & rflags::kStatus) ==
                    (expected.eflags & rflags::kStatus));
        }
    }
}

TEST_CASE("AAM by zero is #DE", "[interp][decimal]") {
    InsnRunner runner;
    runner.protected_mode();
    runner.gpr(RAX) = 0x1234;
    CHECK(runner.run({0xD4, 0x00}) == Status::Fault);
    CHECK(runner.raised(Exception::DE));
    CHECK(runner.gpr(RAX) == 0x1234);
}
