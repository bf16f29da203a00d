// Compression as deflate does it: matches within 32 KiB found by hash chains, coded with the fixed codes and extra bits of
// RFC 1951, "Compression with fixed Huffman codes". Own code; the input is text made of words, so that matches are found.
#include "rows.h"

enum { kInput = 16384, kHashBits = 12, kChain = 16, kMinMatch = 3, kMaxMatch = 258, kOutput = 2 * kInput };

static uint8_t plain[kInput + kMaxMatch];
static uint8_t packed[kOutput];
static uint32_t packed_bytes;

static const uint16_t kLengthBase[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                         31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t kLengthExtra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t kDistanceBase[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                           193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const uint8_t kDistanceExtra[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                           6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

static void fill_plain(void) {
    uint64_t state = 88172645463325252u;
    uint8_t words[64][8];
    for (int w = 0; w < 64; w++) {
        for (int i = 0; i < 8; i++) {
            words[w][i] = (uint8_t)('a' + random64(&state) % 26);
        }
    }
    unsigned at = 0;
    while (at < kInput) {
        const uint64_t r = random64(&state);
        const unsigned word = (unsigned)((r & 63) * (r >> 8 & 63) >> 6), length = 2 + (word * 5 & 5);
        for (unsigned i = 0; i < length && at < kInput; i++) {
            plain[at++] = words[word][i];
        }
        if (at < kInput) {
            plain[at++] = (r >> 20 & 15) ? ' ' : (uint8_t)('0' + (r >> 24) % 10);
        }
    }
}

struct Writer {
    uint8_t* at;
    uint64_t bits;
    unsigned count;
};

static inline void put_bits(struct Writer* w, uint32_t value, unsigned count) {
    w->bits |= (uint64_t)value << w->count;
    w->count += count;
    while (w->count >= 8) {
        *w->at++ = (uint8_t)w->bits;
        w->bits >>= 8;
        w->count -= 8;
    }
}

static uint32_t reverse_bits(uint32_t value, unsigned count) {
    uint32_t reversed = 0;
    for (unsigned i = 0; i < count; i++) {
        reversed = reversed << 1 | (value >> i & 1);
    }
    return reversed;
}

// The fixed code of a literal or length symbol, lowest bit first, and its length.
static uint32_t fixed_code(unsigned symbol, unsigned* length) {
    if (symbol < 144) {
        *length = 8;
        return reverse_bits(0x30 + symbol, 8);
    }
    if (symbol < 256) {
        *length = 9;
        return reverse_bits(0x190 + symbol - 144, 9);
    }
    if (symbol < 280) {
        *length = 7;
        return reverse_bits(symbol - 256, 7);
    }
    *length = 8;
    return reverse_bits(0xC0 + symbol - 280, 8);
}

static uint32_t hash(const uint8_t* p) {
    return ((uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]) * 0x9E3779B1u >> (32 - kHashBits);
}

static unsigned match_length(const uint8_t* a, const uint8_t* b, unsigned most) {
    unsigned n = 0;
    while (n < most && a[n] == b[n]) {
        n++;
    }
    return n;
}

static void compress(void) {
    static int32_t head[1 << kHashBits], previous[kInput];
    static uint16_t codes[288];
    static uint8_t lengths[288], length_symbol[kMaxMatch + 1];
    for (unsigned s = 0; s < 288; s++) {
        unsigned length;
        codes[s] = (uint16_t)fixed_code(s, &length);
        lengths[s] = (uint8_t)length;
    }
    for (unsigned n = kMinMatch, s = 0; n <= kMaxMatch; n++) {
        s += s < 28 && n >= kLengthBase[s + 1];
        length_symbol[n] = (uint8_t)s;
    }
    for (unsigned i = 0; i < 1 << kHashBits; i++) {
        head[i] = -1;
    }
    struct Writer out = {packed, 0, 0};
    for (unsigned at = 0; at < kInput;) {
        unsigned best = kMinMatch - 1, distance = 0;
        const unsigned left = kInput - at, most = left < kMaxMatch ? left : kMaxMatch;
        if (most >= kMinMatch) {
            int32_t candidate = head[hash(plain + at)];
            for (int tries = kChain; candidate >= 0 && tries > 0; tries--, candidate = previous[candidate]) {
                if (plain[(unsigned)candidate + best] == plain[at + best]) {
                    const unsigned n = match_length(plain + candidate, plain + at, most);
                    if (n > best) {
                        best = n;
                        distance = at - (unsigned)candidate;
                        if (n == most) {
                            break;
                        }
                    }
                }
            }
        }
        unsigned taken = 1;
        if (distance) {
            taken = best;
            const unsigned s = length_symbol[best];
            put_bits(&out, codes[257 + s], lengths[257 + s]);
            put_bits(&out, best - kLengthBase[s], kLengthExtra[s]);
            unsigned d = 29;
            while (kDistanceBase[d] > distance) {
                d--;
            }
            put_bits(&out, reverse_bits(d, 5), 5);
            put_bits(&out, distance - kDistanceBase[d], kDistanceExtra[d]);
        } else {
            put_bits(&out, codes[plain[at]], lengths[plain[at]]);
        }
        for (; taken > 0; taken--, at++) {
            if (at + kMinMatch <= kInput) {
                const uint32_t h = hash(plain + at);
                previous[at] = head[h];
                head[h] = (int32_t)at;
            }
        }
    }
    put_bits(&out, codes[256], lengths[256]);
    put_bits(&out, 0, 7);
    packed_bytes = (uint32_t)(out.at - packed);
}

// Returns how many bytes were made.
static uint32_t expand(uint8_t* to) {
    static uint16_t symbol_of[512];
    static uint8_t length_of[512];
    for (unsigned s = 0; s < 288; s++) {
        unsigned length;
        for (uint32_t code = fixed_code(s, &length), i = code; i < 512; i += 1u << length) {
            symbol_of[i] = (uint16_t)s;
            length_of[i] = (uint8_t)length;
        }
    }
    const uint8_t* from = packed;
    uint8_t* const first = to;
    uint64_t bits = 0;
    unsigned count = 0;
    for (;;) {
        while (count <= 56) {
            bits |= (uint64_t)*from++ << count;
            count += 8;
        }
        const unsigned look = bits & 511, symbol = symbol_of[look];
        bits >>= length_of[look];
        count -= length_of[look];
        if (symbol < 256) {
            *to++ = (uint8_t)symbol;
            continue;
        }
        if (symbol == 256) {
            return (uint32_t)(to - first);
        }
        const unsigned s = symbol - 257;
        unsigned length = kLengthBase[s] + (unsigned)(bits & ((1u << kLengthExtra[s]) - 1));
        bits >>= kLengthExtra[s];
        const unsigned d = reverse_bits(bits & 31, 5);
        bits >>= 5;
        const unsigned distance = kDistanceBase[d] + (unsigned)(bits & ((1u << kDistanceExtra[d]) - 1));
        bits >>= kDistanceExtra[d];
        count -= kLengthExtra[s] + 5u + kDistanceExtra[d];
        for (const uint8_t* source = to - distance; length > 0; length--) {
            *to++ = *source++;
        }
    }
}

uint64_t deflate_unit(void) {
    if (!packed_bytes) {
        fill_plain();
    }
    compress();
    uint64_t sum = packed_bytes;
    for (uint32_t i = 0; i < packed_bytes; i += 7) {
        sum = mix(sum, packed[i]);
    }
    return sum;
}

uint64_t inflate_unit(void) {
    static uint8_t expanded[kInput];
    if (!packed_bytes) {
        fill_plain();
        compress();
    }
    const uint32_t bytes = expand(expanded);
    uint64_t sum = bytes;
    for (uint32_t i = 0; i < bytes; i += 16) {
        sum = mix(sum, expanded[i]) + (expanded[i] != plain[i]);
    }
    return sum;
}
