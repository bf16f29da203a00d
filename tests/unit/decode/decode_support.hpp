#pragma once
// Decodes byte lists with a CPU that has every feature, in each kind of code segment.

#include "cpu/x86/decode/decoder.hpp"

#include <catch2/catch.hpp>

#include <initializer_list>
#include <vector>

namespace droste::test {

inline constexpr DecodeMode kMode64{.code_bits = 64, .real_or_v86 = false};
inline constexpr DecodeMode kMode32{.code_bits = 32, .real_or_v86 = false};
inline constexpr DecodeMode kMode16{.code_bits = 16, .real_or_v86 = false};
inline constexpr DecodeMode kReal{.code_bits = 16, .real_or_v86 = true};

inline CpuFeatures every_feature() {
    CpuFeatures features;
    features.set.set();
    return features;
}
inline CpuFeatures every_feature_but(Feature missing) {
    CpuFeatures features = every_feature();
    features.enable(missing, false);
    return features;
}

using Bytes = std::initializer_list<u8>;

// Requires that the bytes are exactly one instruction.
inline Insn decode_as(DecodeMode mode, Bytes bytes, const CpuFeatures& features = every_feature()) {
    const std::vector<u8> code(bytes);
    Insn insn;
    const DecodeResult result = decode(code, mode, features, insn);
    CHECK(result == DecodeResult::Ok);
    CHECK(insn.length == code.size());
    CHECK(insn.exec == nullptr);
    return insn;
}
inline Insn d64(Bytes bytes) {
    return decode_as(kMode64, bytes);
}
inline Insn d32(Bytes bytes) {
    return decode_as(kMode32, bytes);
}
inline Insn d16(Bytes bytes) {
    return decode_as(kMode16, bytes);
}

// Op alone; the bytes may go on behind the instruction.
inline Op op_of(DecodeMode mode, Bytes bytes, const CpuFeatures& features = every_feature()) {
    std::vector<u8> code(bytes);
    code.resize(16, 0x90);
    Insn insn;
    CHECK(decode(code, mode, features, insn) == DecodeResult::Ok);
    return insn.op;
}

}  // namespace droste::test

namespace Catch {
template <>
struct StringMaker<droste::Op> {
    static std::string convert(droste::Op op) { return droste::mnemonic(op); }
};
}  // namespace Catch
