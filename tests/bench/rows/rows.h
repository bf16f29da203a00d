// What a row is. The units of rows.inc are compiled once, for nothing beyond x86-64 unless they say so and without a library;
// the native program, the guest's /init and the bare kernel link the same objects, so that all run the same instructions.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum Needs { NOTHING = 0, AVX2 = 1 };

struct Row {
    const char* area;
    const char* name;
    uint32_t operations;
    enum Needs needs;
    uint64_t (*unit)(void);
};

extern const struct Row kCpuRows[];
extern const unsigned kCpuRowCount;

#define ROW(area, name, operations, needs, what) uint64_t name##_unit(void);
#include "rows.inc"
#undef ROW

// A sequence without pattern, from a state that is not 0 (xorshift).
static inline uint64_t random64(uint64_t* state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

// Mixes a value into a checksum.
static inline uint64_t mix(uint64_t sum, uint64_t value) {
    sum = (sum ^ value) * 0x9E3779B97F4A7C15u;
    return sum ^ (sum >> 29);
}
