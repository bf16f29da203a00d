// Which translated code stays when its memory is used up, and that the memory is bounded however
// much a guest runs through.

#include "jit/engine.hpp"
#include "jit/listener.hpp"
#include "tests/support/test_machine.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <map>

using namespace droste;
using namespace droste::test;

namespace {

constexpr u64 kHot = 0x20'0000, kCold = 0x40'0000;  // physical and linear
constexpr std::size_t kBytes = std::size_t{1} << 20;

class MadeCounter final : public jit::Listener {
  public:
    void translated(Vcpu& /*cpu*/, const jit::TranslationReport& report) override {
        ++made[report.rip];
    }
    std::map<u64, unsigned> made;  // by RIP
};

// 64-bit code that runs through `routines` of 64 bytes once a round, and behind each through the
// same loop.
class Churn {
  public:
    explicit Churn(unsigned routines) {
        machine_.enter_long_mode(0);
        for (u64 page = kHot; page < kCold + routines * u64{64}; page += kPageBytes) {
            machine_.map(page, page);
        }
        // hot: mov ecx, 1000; again: dec ecx; jnz again; ret
        machine_.poke(kHot, {0xB9, 0xE8, 0x03, 0, 0, 0xFF, 0xC9, 0x75, 0xFC, 0xC3});
        for (unsigned i = 0; i < routines; ++i) {
            const u64 at = kCold + i * u64{64};
            const auto to_hot = static_cast<u32>(kHot - (at + 11));
            // nop; mov eax, i; call hot; jmp to the next, or back to the first
            machine_.poke(at, {0x90, 0xB8, static_cast<u8>(i), 0, 0, 0, 0xE8});
            machine_.poke_value<u32>(at + 7, to_hot);
            machine_.poke(at + 11, {0xE9});
            const u64 next = i + 1 < routines ? at + 64 : kCold;
            machine_.poke_value<u32>(at + 12, static_cast<u32>(next - (at + 16)));
        }
        cpu().state.gpr[RSP] = kHot + 0x2000;
        cpu().state.rip() = kCold;
        code_ = jit::make_code_cache(*cpu().blocks, options_).value();
        engine_ = jit::make_translator(code_, options_);
    }

    Vcpu& cpu() { return machine_.cpu(); }
    void run(u64 instructions) { (void)engine_->run(cpu(), instructions); }
    jit::Statistics statistics() const { return jit::statistics(*code_); }
    unsigned made(u64 rip) { return listener_.made[rip]; }

  private:
    TestMachine machine_;
    MadeCounter listener_;
    jit::Options options_{.code_bytes = kBytes, .threshold = 0, .listener = &listener_};
    std::shared_ptr<jit::CodeCache> code_;
    std::unique_ptr<ExecutionEngine> engine_;
};

constexpr unsigned kMany = 16384;            // routines: more than there is room for
constexpr u64 kRoutineInsns = 4 + 2 + 2000;  // of a routine, and of the loop
constexpr u64 kLoop = kHot + 5;              // its target

}  // namespace

TEST_CASE("code that runs often stays when other code is evicted", "[jit][code-cache]") {
    Churn churn{kMany};

    churn.run(2 * kMany * kRoutineInsns);

    const u64 evictions = churn.statistics().cache.evictions;
    CHECK(evictions > 100);
    CHECK(churn.made(kCold) >= 1);
    CHECK(churn.made(kLoop) >= 1);
    CHECK(churn.made(kLoop) <= 4);  // not once a turn of the regions, of which there were many
}

TEST_CASE("translated code takes no more memory than it was given", "[jit][code-cache]") {
    Churn churn{kMany};
    for (unsigned i = 0; i < 8; ++i) {
        churn.run(kMany / 4 * kRoutineInsns);
        const jit::CacheStatistics cache = churn.statistics().cache;
        CHECK(cache.code_bytes + cache.table_bytes <= kBytes);
    }
    CHECK(churn.statistics().cache.evictions > 20);
}

TEST_CASE("code goes on behind an eviction as before", "[jit][code-cache]") {
    Churn churn{kMany};
    const u64 instructions = (kMany + 1000) * kRoutineInsns;

    churn.run(instructions);

    CHECK(churn.cpu().icount == instructions);
    CHECK(churn.cpu().state.rip() == kCold + 1000 * 64);
}
