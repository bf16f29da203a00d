// Random bytes: decode() never looks past what it was given, always gives an answer, and says the
// same with more bytes behind. Each buffer is a heap block of exactly its size, so AddressSanitizer
// sees a read past the end.

#include "tests/unit/decode/decode_support.hpp"

#include <cstring>
#include <memory>
#include <random>

using namespace droste;
using namespace droste::test;

namespace {

// Bytes that lead somewhere interesting come more often than chance.
u8 random_byte(std::mt19937_64& rng) {
    static constexpr u8 kLikely[] = {0x66, 0xF2, 0xF3, 0xF0, 0x0F, 0x38, 0x3A,
                                     0xC4, 0xC5, 0x62, 0x48, 0x67, 0x64, 0xE2};
    const u64 value = rng();
    return (value & 0x300) == 0 ? kLikely[(value >> 16) % sizeof(kLikely)] : static_cast<u8>(value);
}

bool same(const Insn& a, const Insn& b) {
    return a.op == b.op && a.length == b.length && a.flags == b.flags && a.imm == b.imm &&
           a.disp == b.disp && a.form == b.form && a.reg == b.reg && a.rm == b.rm &&
           a.width == b.width && a.mem_bytes == b.mem_bytes;
}

}  // namespace

TEST_CASE("decode() of random bytes terminates, stays inside, and is stable", "[decode][fuzz]") {
    std::mt19937_64 rng(20240607);
    const CpuFeatures all = every_feature();
    const CpuFeatures none;
    constexpr DecodeMode kModes[] = {kMode64, kMode32, kMode16, kReal};
    u64 wrong = 0;
    for (unsigned round = 0; round < 400'000; ++round) {
        u8 bytes[24];
        for (u8& byte : bytes) {
            byte = random_byte(rng);
        }
        const DecodeMode mode = kModes[round % 4];
        const CpuFeatures& features = round % 8 < 6 ? all : none;
        const std::size_t size = rng() % 25;
        const auto exact = std::make_unique<u8[]>(size);
        std::memcpy(exact.get(), bytes, size);
        Insn part;
        Insn whole;
        const DecodeResult result = decode({exact.get(), size}, mode, features, part);
        const DecodeResult longer = decode(bytes, mode, features, whole);
        switch (result) {
        case DecodeResult::Ok:
            wrong += part.length < 1 || part.length > 15 || part.length > size ||
                     longer != result || !same(part, whole);
            break;
        case DecodeResult::NeedBytes:
            wrong += size >= 15 || (longer == DecodeResult::Ok && whole.length <= size);
            break;
        case DecodeResult::TooLong: wrong += size < 15 || longer != result; break;
        }
        wrong += part.op >= Op::kCount || part.base > kRipSlot || part.index > kZeroSlot ||
                 part.scale > 3;
    }
    CHECK(wrong == 0);
}
