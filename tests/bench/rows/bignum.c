// Numbers of 2048 bits: what a kernel's key checks do, 63 % of a boot.
#include "rows.h"

enum { kLimbs = 32 };

typedef unsigned __int128 Wide;

// to := a * b / 2^2048 mod n, for odd n and -1/n mod 2^64: coarsely integrated operand scanning.
static void multiply(uint64_t* to, const uint64_t* a, const uint64_t* b, const uint64_t* n, uint64_t inverse) {
    uint64_t t[kLimbs + 2] = {0};
    for (int i = 0; i < kLimbs; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < kLimbs; j++) {
            const Wide p = (Wide)a[j] * b[i] + t[j] + carry;
            t[j] = (uint64_t)p;
            carry = (uint64_t)(p >> 64);
        }
        Wide top = (Wide)t[kLimbs] + carry;
        t[kLimbs] = (uint64_t)top;
        t[kLimbs + 1] = (uint64_t)(top >> 64);
        const uint64_t m = t[0] * inverse;
        carry = (uint64_t)(((Wide)m * n[0] + t[0]) >> 64);
        for (int j = 1; j < kLimbs; j++) {
            const Wide p = (Wide)m * n[j] + t[j] + carry;
            t[j - 1] = (uint64_t)p;
            carry = (uint64_t)(p >> 64);
        }
        top = (Wide)t[kLimbs] + carry;
        t[kLimbs - 1] = (uint64_t)top;
        t[kLimbs] = t[kLimbs + 1] + (uint64_t)(top >> 64);
    }
    uint64_t borrow = 0, less[kLimbs];
    for (int i = 0; i < kLimbs; i++) {
        const Wide d = (Wide)t[i] - n[i] - borrow;
        less[i] = (uint64_t)d;
        borrow = (uint64_t)(d >> 64) & 1;
    }
    const uint64_t* result = t[kLimbs] >= borrow ? less : t;
    for (int i = 0; i < kLimbs; i++) {
        to[i] = result[i];
    }
}

uint64_t montgomery_unit(void) {
    uint64_t n[kLimbs], a[kLimbs], state = 88172645463325252u;
    for (int i = 0; i < kLimbs; i++) {
        n[i] = random64(&state);
        a[i] = random64(&state);
    }
    n[0] |= 1;
    n[kLimbs - 1] |= 1ull << 63;
    a[kLimbs - 1] >>= 1;
    uint64_t inverse = 1;
    for (int i = 0; i < 6; i++) {
        inverse *= 2 - n[0] * inverse;
    }
    inverse = 0 - inverse;
    for (int i = 0; i < 100; i++) {
        multiply(a, a, a, n, inverse);
    }
    uint64_t sum = 0;
    for (int i = 0; i < kLimbs; i++) {
        sum = mix(sum, a[i]);
    }
    return sum;
}

// to[] += from[] * by; the loop as it is written by hand in bignum libraries.
static uint64_t add_product(uint64_t* to, const uint64_t* from, uint64_t limbs, uint64_t by) {
    uint64_t carry = 0;
    for (uint64_t i = 0; i < limbs; i++) {
        uint64_t low, high;
        __asm__("mulq %5\n\taddq %4, %0\n\tadcq $0, %1\n\taddq %0, %2\n\tadcq $0, %1"
                : "=&a"(low), "=&d"(high), "+m"(to[i])
                : "0"(from[i]), "r"(carry), "r"(by)
                : "cc");
        carry = high;
    }
    return carry;
}

uint64_t addmul_unit(void) {
    uint64_t to[kLimbs], from[kLimbs], state = 88172645463325252u, sum = 0;
    for (int i = 0; i < kLimbs; i++) {
        to[i] = random64(&state);
        from[i] = random64(&state);
    }
    for (int i = 0; i < 8192 / kLimbs; i++) {
        sum = mix(sum, add_product(to, from, kLimbs, sum | 1));
    }
    return mix(sum, to[kLimbs - 1]);
}

// to[] += from[]: INC and LEA keep CF through the loop.
static uint64_t add_numbers(uint64_t* to, const uint64_t* from, uint64_t limbs) {
    uint64_t carry = 0, scratch;
    __asm__ volatile("clc\n"
                     "1:\tmovq (%1), %3\n\tadcq %3, (%0)\n\tmovq 8(%1), %3\n\tadcq %3, 8(%0)\n\t"
                     "leaq 16(%1), %1\n\tleaq 16(%0), %0\n\tdecq %2\n\tjnz 1b\n\tadcq $0, %4"
                     : "+r"(to), "+r"(from), "+r"(limbs), "=&r"(scratch), "+r"(carry)
                     :
                     : "cc", "memory");
    return carry;
}

uint64_t addcarry_unit(void) {
    uint64_t to[kLimbs], from[kLimbs], state = 88172645463325252u, sum = 0;
    for (int i = 0; i < kLimbs; i++) {
        to[i] = random64(&state);
        from[i] = random64(&state);
    }
    for (int i = 0; i < 32768 / kLimbs; i++) {
        sum += add_numbers(to, from, kLimbs / 2);
    }
    return mix(sum, to[kLimbs - 1]);
}
