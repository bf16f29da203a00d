// Integers in registers, and branches.
#include "rows.h"

static uint64_t rotate(uint64_t value, unsigned by) {
    return value << by | value >> (64 - by);
}

uint64_t alu_unit(void) {
    uint64_t a = 88172645463325252u, b = 1, sum = 0;
    for (int i = 0; i < 20000; i++) {
        (void)random64(&a);
        b = b * 2862933555777941757u + a;
        sum += (b >> 32) ^ rotate(a, 11);
        sum ^= __builtin_bswap64(b) - (a << 3);
    }
    return sum;
}

uint64_t flags_unit(void) {
    uint64_t a = 0x0123456789ABCDEFu, least = ~0ull, sum = 0;
    unsigned __int128 total = 1;
    uint8_t byte = 1;
    uint16_t word = 1;
    for (int i = 0; i < 20000; i++) {
        a = a * 6364136223846793005u + 1442695040888963407u;
        total += (unsigned __int128)a << 31 | a;
        const uint64_t high = (uint64_t)(total >> 64);
        least = high < least ? high : least;
        byte = (uint8_t)(byte + (uint8_t)(a >> 40));
        word = (uint16_t)(word * 5u + byte);
        sum += (uint64_t)(byte > 100) + ((uint64_t)((int16_t)word < 7) << 1) + (uint64_t)(least == high);
        sum ^= word;
    }
    return mix(mix(sum, (uint64_t)total), least);
}

uint64_t divide_unit(void) {
    uint64_t a = 88172645463325252u, sum = 0;
    for (int i = 0; i < 10000; i++) {
        (void)random64(&a);
        sum += a / ((a >> 40) + 3);
        sum ^= (uint32_t)a / (uint32_t)((sum & 0xFFF) + 1);
    }
    return sum;
}

uint64_t branches_unit(void) {
    uint64_t a = 1, b = 2, c = 3;
    for (unsigned i = 0; i < 20000; i++) {
        if (i & 1) {
            a += b + i;
            __asm__ volatile("");  // keeps the branch a branch
        }
        if (i & 2) {
            b ^= a >> 3;
            __asm__ volatile("");
        } else {
            c -= b;
            __asm__ volatile("");
        }
        if ((i & 12) == 8) {
            c += a << 1;
            __asm__ volatile("");
        }
        if ((i & 15) == 5) {
            a ^= c;
            __asm__ volatile("");
        }
    }
    return mix(mix(a, b), c);
}

uint64_t mispredict_unit(void) {
    uint64_t a = 88172645463325252u, taken = 0;
    for (int i = 0; i < 10000; i++) {
        (void)random64(&a);
        if (a & 0x10000) {
            taken += 3;
            __asm__ volatile("");
        } else if (a & 0x20000) {
            taken ^= a;
            __asm__ volatile("");
        }
        if ((a >> 60) == 7) {
            taken -= a & 7;
            __asm__ volatile("");
        }
    }
    return taken;
}
