// Every instruction a native thunk executes, against the same instruction run by this test on the
// CPU itself.

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"
#include "tests/differential/exceptions.hpp"
#include "tests/differential/insn_source.hpp"
#include "tests/differential/native_runner.hpp"
#include "tests/differential/state_pair.hpp"

#include <catch2/catch.hpp>

#include <bitset>
#include <memory>

#include <fmt/format.h>

namespace droste::differential {
namespace {

using OpSet = std::bitset<static_cast<std::size_t>(Op::kCount)>;

// Instructions with a kNative row that this CPU has.
OpSet native_ops(const CpuFeatures& features) {
    using namespace opcode_map;
    OpSet ops;
    for (const MapView* map : {&kMap0F, &kMap0F38, &kMap0F3A, &kVex0F, &kVex0F38, &kVex0F3A}) {
        for (const Row& row : map->rows) {
            const bool vex = map == &kVex0F || map == &kVex0F38 || map == &kVex0F3A;
            const bool there = features.has(row.feature) && (!vex || features.has(Feature::AVX));
            if (row.has(kNative) && !row.has(kNot64) && there) {
                ops.set(static_cast<std::size_t>(row.op()));
            }
        }
    }
    return ops;
}

// Where else could a native access succeed that the guest's page tables refuse? At the other
// mappings of the test itself.
bool outside_scratch(const Outcome& guest) {
    return guest.state.vector == 14 && (guest.state.cr2 < kScratchAddress ||
                                        guest.state.cr2 >= kScratchAddress + kScratchBytes);
}

// Before any ThunkCache exists: of two SIGFPE handlers the one installed later is asked first, and
// only the thunks' passes on what is not its own.
const char* const kNativeMissing = native_setup();

bool skipped() {
    if (kNativeMissing != nullptr) {
        WARN("skipped: the native CPU is no witness here: " << kNativeMissing);
    }
    return kNativeMissing != nullptr;
}

class Comparison {
  public:
    const CpuFeatures& features() { return guest_->machine().cpu().features; }

    // Empty if the thunk did what the CPU does.
    std::string run(u64 seed, Family family, Op& op) {
        Rng rng(seed);
        const Candidate candidate = draw(rng, family, features());
        op = candidate.insn.op;
        randomize(rng, start_->state, start_->scratch);
        place_operands(rng, candidate, kCodeAddress, start_->state);
        const std::span<const u8> bytes{candidate.bytes.data(), candidate.length};
        guest_->run(*start_, bytes, kCodeAddress, *outcome_);
        if (outside_scratch(*outcome_)) {
            return {};
        }
        native_state() = start_->state;
        std::memcpy(native_scratch(), start_->scratch.data(), kScratchBytes);
        native_run(bytes, kCodeAddress);
        native_->state = native_state();
        std::memcpy(native_->scratch.data(), native_scratch(), kScratchBytes);
        forget_undefined(candidate.insn, *start_, *outcome_, *native_);
        return accepted(candidate.insn, *outcome_, *native_) ? "" : compare(*outcome_, *native_);
    }

  private:
    std::unique_ptr<GuestRunner> guest_ = std::make_unique<GuestRunner>();
    std::unique_ptr<Outcome> start_ = std::make_unique<Outcome>();
    std::unique_ptr<Outcome> outcome_ = std::make_unique<Outcome>();
    std::unique_ptr<Outcome> native_ = std::make_unique<Outcome>();
};

TEST_CASE("every native vector instruction does what the CPU does, and none is left out",
          "[fpu][native]") {
    if (skipped()) {
        return;
    }
    Comparison comparison;
    OpSet missing = native_ops(comparison.features());
    REQUIRE(missing.count() > (comparison.features().has(Feature::AVX) ? 500 : 200));
    constexpr u64 kCases = 80'000;
    for (u64 seed = 1; seed <= kCases; ++seed) {
        Op op{};
        const std::string difference = comparison.run(seed, Family::Vector, op);
        missing.reset(static_cast<std::size_t>(op));
        if (!difference.empty()) {
            FAIL_CHECK("seed " << seed << ": " << mnemonic(op) << "\n" << difference);
        }
    }
    // The rare ones: draw on until each has come up.
    for (u64 seed = kCases + 1; missing.any() && seed < kCases + 3'000'000; ++seed) {
        Rng rng(seed);
        if (!missing.test(static_cast<std::size_t>(
                draw(rng, Family::Vector, comparison.features()).insn.op))) {
            continue;
        }
        Op op{};
        const std::string difference = comparison.run(seed, Family::Vector, op);
        missing.reset(static_cast<std::size_t>(op));
        INFO("seed " << seed << ": " << mnemonic(op) << "\n" << difference);
        CHECK(difference.empty());
    }
    for (std::size_t op = 0; op < missing.size(); ++op) {
        if (missing.test(op)) {
            FAIL_CHECK("never drawn: " << mnemonic(static_cast<Op>(op)));
        }
    }
}

TEST_CASE("x87 instructions with all exceptions masked do what the CPU does",
          "[fpu][x87][native]") {
    if (skipped()) {
        return;
    }
    Comparison comparison;
    constexpr u64 kCases = 60'000;
    for (u64 seed = 1; seed <= kCases; ++seed) {
        Op op{};
        const std::string difference = comparison.run(seed, Family::X87, op);
        if (!difference.empty()) {
            FAIL_CHECK("seed " << seed << ": " << mnemonic(op) << "\n" << difference);
        }
    }
}

}  // namespace
}  // namespace droste::differential
