// Strings and memory: copies, fills, searches, and loads that depend on each other.
#include <emmintrin.h>

#include "rows.h"

enum { kPage = 4096, kPages = 16 };

static _Alignas(64) uint8_t from[kPage * kPages + 64], to[kPage * kPages + 64];

// Once: the rows leave it as it was.
static void fill_from(void) {
    if (from[0]) {
        return;
    }
    for (unsigned i = 0; i < sizeof(from); i++) {
        from[i] = (uint8_t)(1 + i * 7 % 251);
    }
}

static uint64_t sample(const uint8_t* bytes) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < kPage * kPages; i += 1021) {
        sum = mix(sum, bytes[i]);
    }
    return sum;
}

uint64_t copy_sse_unit(void) {
    fill_from();
    for (unsigned n = 0; n < 64; n++) {
        const uint8_t* source = from + (n * 5 & 15) * kPage;
        uint8_t* target = to + (n & 15) * kPage;
        for (unsigned i = 0; i < kPage; i += 64) {
            const __m128i a = _mm_loadu_si128((const __m128i*)(source + i)), b = _mm_loadu_si128((const __m128i*)(source + i + 16));
            const __m128i c = _mm_loadu_si128((const __m128i*)(source + i + 32)), d = _mm_loadu_si128((const __m128i*)(source + i + 48));
            _mm_storeu_si128((__m128i*)(target + i), a);
            _mm_storeu_si128((__m128i*)(target + i + 16), b);
            _mm_storeu_si128((__m128i*)(target + i + 32), c);
            _mm_storeu_si128((__m128i*)(target + i + 48), d);
        }
    }
    return sample(to);
}

typedef uint64_t __attribute__((aligned(1), may_alias)) Unaligned64;
typedef uint32_t __attribute__((aligned(1), may_alias)) Unaligned32;
typedef uint16_t __attribute__((aligned(1), may_alias)) Unaligned16;

__attribute__((noinline))
static void copy_small(uint8_t* t, const uint8_t* s, unsigned n) {
    if (n >= 16) {
        const __m128i last = _mm_loadu_si128((const __m128i*)(s + n - 16));
        for (unsigned i = 0; i + 16 < n; i += 16) {
            _mm_storeu_si128((__m128i*)(t + i), _mm_loadu_si128((const __m128i*)(s + i)));
        }
        _mm_storeu_si128((__m128i*)(t + n - 16), last);
    } else if (n >= 8) {
        const uint64_t first = *(const Unaligned64*)s, last = *(const Unaligned64*)(s + n - 8);
        *(Unaligned64*)t = first;
        *(Unaligned64*)(t + n - 8) = last;
    } else if (n >= 4) {
        const uint32_t first = *(const Unaligned32*)s, last = *(const Unaligned32*)(s + n - 4);
        *(Unaligned32*)t = first;
        *(Unaligned32*)(t + n - 4) = last;
    } else if (n >= 2) {
        const uint16_t first = *(const Unaligned16*)s, last = *(const Unaligned16*)(s + n - 2);
        *(Unaligned16*)t = first;
        *(Unaligned16*)(t + n - 2) = last;
    } else if (n) {
        *t = *s;
    }
}

uint64_t copy_small_unit(void) {
    fill_from();
    uint64_t state = 88172645463325252u;
    for (unsigned n = 0; n < 8192; n++) {
        const uint64_t r = random64(&state);
        copy_small(to + (r >> 8 & 0x7FFF), from + (r >> 24 & 0x7FFF), 1 + (unsigned)(r & 63));
    }
    return sample(to);
}

uint64_t rep_movsb_unit(void) {
    fill_from();
    for (unsigned n = 0; n < 64; n++) {
        const uint8_t* source = from + (n * 5 & 15) * kPage + 1;
        uint8_t* target = to + (n & 15) * kPage;
        size_t bytes = kPage;
        __asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(bytes) : : "memory");
    }
    return sample(to);
}

uint64_t rep_stosb_unit(void) {
    for (unsigned n = 0; n < 64; n++) {
        uint8_t* target = to + (n & 15) * kPage;
        size_t bytes = kPage;
        __asm__ volatile("rep stosb" : "+D"(target), "+c"(bytes) : "a"(n) : "memory");
    }
    return sample(to);
}

static size_t length_of(const char* s) {
    const __m128i zero = _mm_setzero_si128();
    for (size_t i = 0;; i += 16) {
        const int found = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_load_si128((const __m128i*)(s + i)), zero));
        if (found) {
            return i + (size_t)__builtin_ctz((unsigned)found);
        }
    }
}

uint64_t strlen_unit(void) {
    fill_from();
    uint64_t sum = 0;
    for (unsigned n = 0; n < 64; n++) {
        uint8_t* s = from + (n & 14) * kPage;
        const uint8_t before = s[kPage + n];
        s[kPage + n] = 0;
        sum += length_of((const char*)s);
        s[kPage + n] = before;
    }
    return sum;
}

__attribute__((noinline))
static int compare_strings(const char* a, const char* b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

uint64_t strcmp_unit(void) {
    static uint8_t a[kPage], b[kPage];
    if (!a[0]) {
        for (unsigned i = 0; i < kPage; i++) {
            a[i] = b[i] = (uint8_t)('a' + i % 23);
        }
    }
    uint64_t sum = 0;
    for (unsigned n = 0; n < 4; n++) {
        uint8_t* differs = &b[kPage - 1 - n];
        const uint8_t before = *differs;
        *differs = 1;
        sum = mix(sum, (uint64_t)compare_strings((const char*)a, (const char*)b));
        *differs = before;
    }
    return sum;
}

uint64_t stream_unit(void) {
    static uint64_t words[32768];
    for (unsigned i = 0; i < 32768; i++) {
        words[i] = i;
    }
    uint64_t sum = 0;
    for (unsigned i = 0; i < 32768; i++) {
        sum = (sum ^ words[i]) + (sum << 1);
        words[i] = sum;
    }
    return sum;
}

// A cycle through all `count` cells of `stride` bytes in random order, each cell holding the place of the next.
static void tie_cycle(uint8_t* cells, uint32_t count, uint32_t stride) {
    uint64_t state = 88172645463325252u;
    for (uint32_t i = 0; i < count; i++) {
        *(uint32_t*)(cells + (size_t)i * stride) = i;
    }
    for (uint32_t i = count - 1; i > 0; i--) {  // Sattolo's shuffle: one cycle
        const uint32_t j = (uint32_t)(random64(&state) % i);
        uint32_t* a = (uint32_t*)(cells + (size_t)i * stride);
        uint32_t* b = (uint32_t*)(cells + (size_t)j * stride);
        const uint32_t other = *a;
        *a = *b;
        *b = other;
    }
    for (uint32_t i = 0; i < count; i++) {
        *(uint32_t*)(cells + (size_t)i * stride) *= stride;
    }
}

static uint64_t follow(const uint8_t* cells, uint32_t steps) {
    uint32_t at = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < steps; i++) {
        at = *(const uint32_t*)(cells + at);
        sum += at;
    }
    return mix(sum, at);
}

uint64_t chase_near_unit(void) {
    static uint8_t cells[16384];
    static int ready;
    if (!ready) {
        tie_cycle(cells, 16384 / 64, 64);
        ready = 1;
    }
    return follow(cells, 32768);
}

uint64_t chase_unit(void) {
    static uint8_t cells[32 << 20];
    static int ready;
    if (!ready) {
        tie_cycle(cells, (32 << 20) / 128, 128);
        ready = 1;
    }
    return follow(cells, (32 << 20) / 128);
}
