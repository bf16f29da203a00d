// The rows that nested.py runs at each level: fixed work, timed from outside by the lines around it.
//
//   nested_rows LEVEL CPUIDS
//
// compute  integer arithmetic, branches, calls and memory within 256 KiB: no exits, translations stay warm
// walk     reads spread over 32 MiB, a page each: a TLB miss or two for each read
// cpuid    CPUIDS times CPUID: one VM exit each below level 1

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { kSmall = 256 << 10, kLarge = 32 << 20, kPage = 4096 };

static uint64_t next(uint64_t* state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

__attribute__((noinline)) static uint64_t mix(uint64_t a, uint64_t b) {
    return (a * 0x9E3779B97F4A7C15u) ^ (b >> 29);
}

static uint64_t compute(uint8_t* memory) {
    uint64_t sum = 1, state = 88172645463325252u;
    for (int i = 0; i < 4000000; i++) {
        const uint64_t r = next(&state);
        uint64_t* cell = (uint64_t*)(memory + (r & (kSmall - 8)));
        if (r & 0x10000) {
            *cell = mix(sum, r);
        } else {
            sum += *cell ^ r;
        }
    }
    return sum;
}

static uint64_t walk(uint8_t* memory) {
    uint64_t sum = 0, state = 88172645463325252u;
    for (int i = 0; i < 400000; i++) {
        sum += memory[(next(&state) % (kLarge / kPage)) * kPage + (i & 63) * 64];
    }
    return sum;
}

static uint64_t cpuid_loop(unsigned count) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t a = 0, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        sum += b;
    }
    return sum;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: nested_rows LEVEL CPUIDS\n");
        return 2;
    }
    const char* level = argv[1];
    const unsigned cpuids = (unsigned)atoi(argv[2]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    uint8_t* memory = mmap(NULL, kLarge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("nested_rows: mmap");
        return 1;
    }
    for (unsigned i = 0; i < kLarge; i += 64) {
        memory[i] = (uint8_t)(i >> 6);
    }
    (void)compute(memory);  // warm
    printf("ROW %s compute start\n", level);
    printf("ROW %s compute end %llx\n", level, (unsigned long long)compute(memory));
    (void)walk(memory);
    printf("ROW %s walk start\n", level);
    printf("ROW %s walk end %llx\n", level, (unsigned long long)walk(memory));
    printf("ROW %s cpuid start\n", level);
    const uint64_t sum = cpuid_loop(cpuids);
    printf("ROW %s cpuid end %u %llx\n", level, cpuids, (unsigned long long)sum);
    return 0;
}
