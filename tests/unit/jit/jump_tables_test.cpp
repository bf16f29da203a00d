// Branches to addresses that have the same place in a jump table: as many as a row has room for are
// found in translated code, and more than that still lead where they should.

#include "jit/engine.hpp"
#include "jit/layout.hpp"
#include "tests/support/test_machine.hpp"

#include <catch2/catch.hpp>

#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kCode = 0x20'0000, kStack = 0x21'0000, kPointers = 0x22'0000;
constexpr u64 kRoutines = 0x30'0000;  // physical, a page each

// Code addresses that are looked for in one place, in pages of their own.
std::vector<u64> in_one_place(std::size_t count) {
    constexpr u64 kFirst = 0x4000'0000, kApart = kPageBytes + 16;
    const unsigned place = jit::JumpTable::index(kFirst);
    std::vector<u64> found;
    for (u64 at = kFirst; found.size() < count; at += kApart) {
        if (jit::JumpTable::index(at) == place) {
            found.push_back(at);
        }
    }
    return found;
}

enum class Calls : u8 { ByPointer, ByAddress };

// 64-bit code that calls routines in turn for ever; the one of number i adds 1 << 4 * i to RAX.
class Caller {
  public:
    Caller(Calls calls, const std::vector<u64>& routines) {
        machine_.enter_long_mode(0);
        for (const u64 page : {kCode, kStack, kPointers}) {
            machine_.map(page, page);
        }
        for (std::size_t i = 0; i < routines.size(); ++i) {
            const u64 page = kRoutines + i * kPageBytes;
            machine_.map(routines[i] & kPageMask, page);
            // add eax, imm; ret
            machine_.poke(page | routines[i] % kPageBytes, {0x05, 0, 0, 0, 0, 0xC3});
            machine_.poke_value<u32>((page | routines[i] % kPageBytes) + 1, 1U << 4 * i);
            machine_.poke_value<u64>(kPointers + i * 8, routines[i]);
        }
        u64 at = kCode;
        for (std::size_t i = 0; i < routines.size(); ++i) {
            if (calls == Calls::ByPointer) {
                machine_.poke(at, {0xFF, 0x56, static_cast<u8>(i * 8)});  // call [rsi + i * 8]
                at += 3;
            } else {
                machine_.poke(at, {0xE8});
                machine_.poke_value<u32>(at + 1, static_cast<u32>(routines[i] - (at + 5)));
                at += 5;
            }
        }
        machine_.poke(at, {0xEB, static_cast<u8>(kCode - (at + 2))});
        round_ = routines.size() * 3 + 1;
        cpu().state.gpr[RSP] = kStack + 0x800;
        cpu().state.gpr[RSI] = kPointers;
        cpu().state.rip() = kCode;
        code_ = jit::make_code_cache(*cpu().blocks, options_).value();
        engine_ = jit::make_translator(code_, options_);
    }

    Vcpu& cpu() { return machine_.cpu(); }
    void run(u64 rounds) { (void)engine_->run(cpu(), rounds * round_); }
    // How often translated code went on elsewhere behind an instruction of the interpreter's, or was
    // left and entered again.
    u64 detours() const {
        const jit::Statistics counted = jit::statistics(*code_);
        return counted.engines.rejoined + counted.engines.entries;
    }

  private:
    TestMachine machine_;
    jit::Options options_{.code_bytes = std::size_t{1} << 20, .threshold = 0};
    std::shared_ptr<jit::CodeCache> code_;
    std::unique_ptr<ExecutionEngine> engine_;
    u64 round_ = 0;  // instructions
};

}  // namespace

TEST_CASE("as many targets of one place as a row holds are found in translated code",
          "[jit][jump-tables]") {
    const Calls calls = GENERATE(Calls::ByPointer, Calls::ByAddress);
    Caller caller{calls, in_one_place(jit::JumpTable::kRow)};
    caller.run(20);
    const u64 before = caller.detours();

    caller.run(1000);

    CHECK(caller.detours() - before < 10);
    CHECK(caller.cpu().state.gpr[RAX] == 1020 * 0x1111);
}

TEST_CASE("more targets of one place than a row holds are all reached", "[jit][jump-tables]") {
    const Calls calls = GENERATE(Calls::ByPointer, Calls::ByAddress);
    Caller caller{calls, in_one_place(jit::JumpTable::kRow + 2)};

    caller.run(1000);

    CHECK(caller.cpu().icount == 1000 * ((jit::JumpTable::kRow + 2) * 3 + 1));
    CHECK(caller.cpu().state.gpr[RAX] == 1000 * 0x11'1111);
    CHECK(caller.cpu().state.rip() == kCode);
}
