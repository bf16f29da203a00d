// The rows that nested.py runs at each level: fixed work, timed from outside by the lines around it.
//
//   nested_rows LEVEL CPUIDS
//
// Of a row ROW LEVEL NAME the lines "<" and ">" enclose the work: short, because below level 1 each character is VM exits.
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
    for (int i = 0; i < 12000000; i++) {
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
    for (int i = 0; i < 1200000; i++) {
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

static void begin(const char* level, const char* row) {
    printf("ROW %s %s start\n", level, row);
    printf("<\n");
}

static void end(const char* level, const char* row, uint64_t sum, unsigned count) {
    printf(">\n");
    printf("ROW %s %s end %llx %u\n", level, row, (unsigned long long)sum, count);
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
    begin(level, "compute");
    uint64_t sum = compute(memory);
    end(level, "compute", sum, 0);
    (void)walk(memory);
    begin(level, "walk");
    sum = walk(memory);
    end(level, "walk", sum, 0);
    begin(level, "cpuid");
    sum = cpuid_loop(cpuids);
    end(level, "cpuid", sum, cpuids);
    return 0;
}
