// RCPPS, RCPSS, RSQRTPS, RSQRTSS and their VEX forms, computed here and not by the native unit: the
// manual bounds the relative error by 1.5 * 2^-12 and leaves the bits open, and processors differ in
// them, so that a guest's results would depend on the machine below
// (docs/decisions/0010-own-elementary-functions.md).
//
// Here the result is the true one rounded to 12 significant bits: an error of at most 2^-12, and
// exact for powers of two (RSQRT: of four). Integers only.

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace droste {
namespace {

constexpr u32 kSign = 0x8000'0000, kInfinity = 0x7F80'0000, kQuietBit = 0x0040'0000,
              kDefaultNan = 0xFFC0'0000, kFraction = 0x007F'FFFF, kHiddenBit = 0x0080'0000;
constexpr i32 kMaxBiased = 254, kBias = 127;
// Results have 12 significant bits: integers from 2^11 to 2^12.
constexpr unsigned kFractionBits = 11;

bool is_nan(u32 bits) {
    return (bits & ~kSign) > kInfinity;
}
i32 biased_exponent(u32 bits) {
    return static_cast<i32>((bits >> 23) & 0xFF);
}
u32 significand(u32 bits) {
    return (bits & kFraction) | kHiddenBit;
}

// (-1)^sign * mantissa * 2^-11 * 2^(biased - 127), mantissa from 2^11 to 2^12. Tiny is 0.
u32 assemble(u32 sign, i32 biased, u32 mantissa) {
    if (mantissa == 2U << kFractionBits) {
        ++biased;
        mantissa = 1U << kFractionBits;
    }
    if (biased <= 0) {
        return sign;
    }
    const u32 fraction = (mantissa << (23 - kFractionBits)) & kFraction;
    return sign | (static_cast<u32>(biased) << 23) | fraction;
}

// RCP: a denormal counts as 0, and 1 / 0 is infinity; a tiny result is 0. SDM Vol. 2B,
// "RCPPS—Compute Reciprocals of Packed Single Precision Floating-Point Values".
u32 reciprocal(u32 bits) {
    const u32 sign = bits & kSign;
    if (is_nan(bits)) {
        return bits | kQuietBit;
    }
    const i32 biased = biased_exponent(bits);
    if (biased == 0) {
        return sign | kInfinity;
    }
    if (biased > kMaxBiased) {
        return sign;
    }
    // The significand is m * 2^-23, so its reciprocal 2^35 / m * 2^-12.
    const u64 doubled = (u64{1} << 36) / significand(bits);
    return assemble(sign, 2 * kBias - 1 - biased, static_cast<u32>((doubled + 1) >> 1));
}

// floor(sqrt(value)). Requires: value < 2^32.
u32 square_root(u32 value) {
    u32 root = 0;
    for (u32 bit = 1U << 15; bit != 0; bit >>= 1) {
        const u32 candidate = root | bit;
        if (u64{candidate} * candidate <= value) {
            root = candidate;
        }
    }
    return root;
}

// RSQRT: of a denormal as of 0, infinity with its sign; of other negative numbers the default NaN.
u32 reciprocal_square_root(u32 bits) {
    const u32 sign = bits & kSign;
    if (is_nan(bits)) {
        return bits | kQuietBit;
    }
    const i32 biased = biased_exponent(bits);
    if (biased == 0) {
        return sign | kInfinity;
    }
    if (sign != 0) {
        return kDefaultNan;
    }
    if (biased > kMaxBiased) {
        return 0;
    }
    // x = m * 2^-23 * 4^p with m * 2^-23 from 1 to 4, so 1 / sqrt(x) = sqrt(2^47 / m) * 2^-12 * 2^-p.
    const bool odd = ((biased - kBias) & 1) != 0;
    const i32 power = (biased - kBias - (odd ? 1 : 0)) / 2;
    const u32 m = significand(bits) << (odd ? 1 : 0);
    const u32 doubled = square_root(static_cast<u32>((u64{1} << 49) / m));
    return assemble(0, kBias - 1 - power, (doubled + 1) >> 1);
}

using Function = u32 (*)(u32);

template <unsigned Lanes>
std::array<u8, 4 * Lanes> apply(Function function, const std::array<u8, 4 * Lanes>& source) {
    std::array<u32, Lanes> lanes;
    std::memcpy(lanes.data(), source.data(), sizeof(lanes));
    for (u32& lane : lanes) {
        lane = function(lane);
    }
    std::array<u8, 4 * Lanes> result;
    std::memcpy(result.data(), lanes.data(), sizeof(lanes));
    return result;
}

// Lanes = 1: the scalar form, whose other lanes come from the first source.
template <Function kFunction, unsigned Lanes, bool Vex>
Status exec_estimate(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) [[unlikely]] {
        return status;
    }
    auto& ymm = cpu.state.ymm;
    std::array<u8, 4 * Lanes> source;
    if (insn.mem()) {
        if (const Status status = load_vector<4 * Lanes>(cpu, insn, source); status != Status::Next)
            [[unlikely]] {
            return status;
        }
    } else {
        std::memcpy(source.data(), ymm[insn.rm].bytes.data(), source.size());
    }
    const auto result = apply<Lanes>(kFunction, source);
    Ymm& dest = ymm[insn.reg];
    if constexpr (Vex) {
        Ymm value{};
        if constexpr (Lanes == 1) {
            std::memcpy(value.bytes.data(), ymm[insn.vvvv].bytes.data(), 16);
        }
        dest = value;
    }
    std::memcpy(dest.bytes.data(), result.data(), result.size());
    ++cpu.thunks->vendor_results(cpu.index);
    return Status::Next;
}

template <Function kFunction>
ExecFn pick_packed(const Insn& insn) {
    if (!insn.vex()) {
        return exec_estimate<kFunction, 4, false>;
    }
    return insn.width == 32 ? exec_estimate<kFunction, 8, true> : exec_estimate<kFunction, 4, true>;
}
template <Function kFunction>
ExecFn pick_scalar(const Insn& insn) {
    return insn.vex() ? exec_estimate<kFunction, 1, true> : exec_estimate<kFunction, 1, false>;
}

struct EstimateRow {
    Op op;
    ExecFn (*pick)(const Insn& insn);
};
constexpr auto kEstimates = std::to_array<EstimateRow>({
    {Op::RCPPS, pick_packed<reciprocal>},
    {Op::RCPSS, pick_scalar<reciprocal>},
    {Op::RSQRTPS, pick_packed<reciprocal_square_root>},
    {Op::RSQRTSS, pick_scalar<reciprocal_square_root>},
    {Op::VRCPPS, pick_packed<reciprocal>},
    {Op::VRCPSS, pick_scalar<reciprocal>},
    {Op::VRSQRTPS, pick_packed<reciprocal_square_root>},
    {Op::VRSQRTSS, pick_scalar<reciprocal_square_root>},
});

}  // namespace

ExecFn select_vector_estimate(const Insn& insn) {
    const auto* row = std::find_if(kEstimates.begin(), kEstimates.end(),
                                   [&](const EstimateRow& e) { return e.op == insn.op; });
    return row != kEstimates.end() ? row->pick(insn) : nullptr;
}

}  // namespace droste
