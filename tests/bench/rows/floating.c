// Floating point and vectors: scalar double, SSE2, AVX2, x87. All results are exact in their format on every CPU.
#include <immintrin.h>

#include "rows.h"

static uint64_t bits_of(double number) {
    const union {
        double number;
        uint64_t bits;
    } u = {number};
    return u.bits;
}

struct Body {
    double x, y, z, vx, vy, vz, mass;
};

static double square_root(double x) {
    const __m128d v = _mm_set_sd(x);
    return _mm_cvtsd_f64(_mm_sqrt_sd(v, v));
}

uint64_t nbody_unit(void) {
    static const struct Body kStart[5] = {
        {0, 0, 0, 0, 0, 0, 39.5},
        {4.84, -1.16, -0.10, 0.61, 2.81, -0.02, 0.038},
        {8.34, 4.12, -0.40, -1.01, 1.82, 0.008, 0.011},
        {12.9, -15.1, -0.22, 1.08, 0.87, -0.01, 0.0017},
        {15.4, -25.9, 0.18, 0.98, 0.59, -0.03, 0.0020},
    };
    struct Body bodies[5];
    for (int i = 0; i < 5; i++) {
        bodies[i] = kStart[i];
    }
    for (int step = 0; step < 500; step++) {
        for (int i = 0; i < 5; i++) {
            struct Body* a = &bodies[i];
            for (int j = i + 1; j < 5; j++) {
                struct Body* b = &bodies[j];
                const double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
                const double square = dx * dx + dy * dy + dz * dz;
                const double pull = 0.01 / (square * square_root(square));
                a->vx -= dx * b->mass * pull;
                a->vy -= dy * b->mass * pull;
                a->vz -= dz * b->mass * pull;
                b->vx += dx * a->mass * pull;
                b->vy += dy * a->mass * pull;
                b->vz += dz * a->mass * pull;
            }
        }
        for (int i = 0; i < 5; i++) {
            struct Body* a = &bodies[i];
            a->x += 0.01 * a->vx;
            a->y += 0.01 * a->vy;
            a->z += 0.01 * a->vz;
        }
    }
    return mix(mix(bits_of(bodies[0].x), bits_of(bodies[1].y)), bits_of(bodies[4].z));
}

uint64_t mandelbrot_unit(void) {
    uint64_t rounds = 0;
    for (int y = 0; y < 24; y++) {
        for (int x = 0; x < 24; x++) {
            const double cr = x / 12.0 - 1.5, ci = y / 12.0 - 1.0;
            double zr = 0, zi = 0;
            int n = 0;
            while (n < 100 && zr * zr + zi * zi < 4.0) {
                const double t = zr * zr - zi * zi + cr;
                zi = 2 * zr * zi + ci;
                zr = t;
                n++;
            }
            rounds += (uint64_t)n;
        }
    }
    return rounds;
}

uint64_t sse2_integer_unit(void) {
    __m128i a = _mm_set_epi32(1, 2, 3, 4), sum = _mm_setzero_si128();
    const __m128i k = _mm_set1_epi32(0x01010101);
    for (int i = 0; i < 20000; i++) {
        a = _mm_add_epi32(_mm_xor_si128(a, _mm_slli_epi32(a, 5)), k);
        sum = _mm_add_epi64(sum, _mm_shuffle_epi32(a, 0x1B));
        sum = _mm_sub_epi16(sum, _mm_srli_epi32(a, 3));
    }
    uint64_t out[2];
    _mm_storeu_si128((__m128i*)out, sum);
    return out[0] ^ out[1];
}

uint64_t sse2_double_unit(void) {
    enum { kPairs = 256 };
    static double a[2 * kPairs], b[2 * kPairs];
    for (int i = 0; i < 2 * kPairs; i++) {
        a[i] = 1.0 + i / 1024.0;
        b[i] = 0.5 - i / 4096.0;
    }
    __m128d sum = _mm_setzero_pd();
    const __m128d small = _mm_set1_pd(0.001);
    for (int i = 0; i < 20000; i++) {
        const int at = 2 * (i % kPairs);
        const __m128d x = _mm_load_pd(a + at), y = _mm_load_pd(b + at);
        const __m128d z = _mm_add_pd(_mm_mul_pd(x, y), small);
        sum = _mm_add_pd(sum, z);
        if ((i & 31) == 31) {
            sum = _mm_div_pd(sum, _mm_set1_pd(3.0));
        }
        _mm_store_pd(b + at, _mm_sub_pd(y, _mm_mul_pd(z, small)));
    }
    double out[2];
    _mm_storeu_pd(out, sum);
    return mix(bits_of(out[0]), bits_of(out[1]));
}

__attribute__((target("avx2")))
uint64_t avx2_unit(void) {
    enum { kWords = 1024 };
    static _Alignas(32) uint32_t words[kWords];
    for (unsigned i = 0; i < kWords; i++) {
        words[i] = i * 2654435761u;
    }
    __m256i sum = _mm256_setzero_si256();
    __m256 total = _mm256_setzero_ps();
    for (unsigned i = 0; i < 20000; i++) {
        __m256i* at = (__m256i*)(words + 8 * (i % (kWords / 8)));
        const __m256i v = _mm256_load_si256(at);
        sum = _mm256_add_epi32(_mm256_mullo_epi32(sum, v), _mm256_shuffle_epi32(v, 0x4E));
        const __m256 f = _mm256_cvtepi32_ps(_mm256_srli_epi32(v, 12));
        total = _mm256_add_ps(_mm256_mul_ps(total, _mm256_set1_ps(0.5F)), f);
        _mm256_store_si256(at, _mm256_xor_si256(v, _mm256_srli_epi32(sum, 7)));
    }
    uint64_t out[4];
    _mm256_storeu_si256((__m256i*)out, _mm256_add_epi64(sum, _mm256_castps_si256(total)));
    return mix(mix(out[0], out[1]), mix(out[2], out[3]));
}

uint64_t x87_unit(void) {
    long double sum = 0, x = 0.25L;
    for (int i = 1; i <= 10000; i++) {
        x = x * 1.0001L - x * x * 0.0003L;
        sum += ((x * 0.3L + 0.7L) * x - 1.25L) * x + 1.0L / (long double)i;
        long double root = sum * sum + 100.0L;  // never of a negative number: NaNs take a processor of Intel a thousand cycles
        __asm__("fsqrt" : "+t"(root));
        sum += root * 0.001L;
    }
    return mix(bits_of((double)sum), bits_of((double)x));
}
