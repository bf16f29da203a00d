// The guest half of the benchmark: /init of an initramfs. Each row is a fixed amount of work; the native machine times it from
// the moment "BENCH name start" appears on the serial console until "BENCH name end" does, so no clock of the
// guest is trusted. Every row prints a checksum, which must be the same under every emulator.

#include <emmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t integer_row(void) {
    uint64_t a = 88172645463325252ull, sum = 0;
    for (int i = 0; i < 6000000; i++) {
        a ^= a << 13;
        a ^= a >> 7;
        a ^= a << 17;
        sum += a * 2862933555777941757ull + (a / ((a & 0xFF) + 3) & 15);
    }
    return sum;
}

static uint64_t branches_row(void) {
    uint32_t x = 12345;
    uint64_t taken = 0;
    for (int i = 0; i < 8000000; i++) {
        x = x * 1664525u + 1013904223u;
        if (x & 0x10000) {
            taken += 3;
        } else if (x & 0x20000) {
            taken ^= x;
        } else {
            taken -= 1;
        }
        if ((x >> 28) == 7) {
            taken += x & 7;
        }
    }
    return taken;
}

__attribute__((noinline)) static uint64_t fibonacci(unsigned n) {
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
static uint64_t calls_row(void) {
    return fibonacci(31);
}

static uint64_t memory_row(void) {
    enum { kWords = 1 << 19 };
    static uint32_t next[kWords];
    for (uint32_t i = 0; i < kWords; i++) {
        next[i] = (i * 1103515245u + 12345u) % kWords;
    }
    uint64_t sum = 0;
    uint32_t at = 1;
    for (int i = 0; i < 4000000; i++) {
        at = next[at] ^ (uint32_t)(i & 1);
        sum += at;
    }
    for (int pass = 0; pass < 8; pass++) {
        for (uint32_t i = 0; i < kWords; i++) {
            next[i] += (uint32_t)sum;
        }
    }
    return sum + next[77];
}

static uint64_t strings_row(void) {
    enum { kBytes = 1 << 16 };
    static char from[kBytes], to[kBytes];
    memset(from, 'x', kBytes - 1);
    uint64_t sum = 0;
    for (int i = 0; i < 3000; i++) {
        from[i % kBytes] = (char)i;
        memcpy(to, from, kBytes);
        const char* d = to;
        char* s = from;
        size_t n = kBytes / 2;
        __asm__ volatile("rep movsb" : "+S"(d), "+D"(s), "+c"(n) : : "memory");
        sum += (unsigned char)to[i % kBytes];
    }
    return sum;
}

static uint64_t floating_row(void) {
    uint64_t inside = 0;
    for (int y = 0; y < 160; y++) {
        for (int x = 0; x < 160; x++) {
            const double cr = x / 80.0 - 1.5, ci = y / 80.0 - 1.0;
            double zr = 0, zi = 0;
            int n = 0;
            while (n < 100 && zr * zr + zi * zi < 4.0) {
                const double t = zr * zr - zi * zi + cr;
                zi = 2 * zr * zi + ci;
                zr = t;
                n++;
            }
            inside += (uint64_t)n;
        }
    }
    return inside;
}

static uint64_t simd_row(void) {
    __m128i a = _mm_set_epi32(1, 2, 3, 4), sum = _mm_setzero_si128();
    const __m128i k = _mm_set1_epi32(0x01010101);
    for (int i = 0; i < 3000000; i++) {
        a = _mm_add_epi32(_mm_xor_si128(a, _mm_slli_epi32(a, 5)), k);
        sum = _mm_add_epi64(sum, _mm_shuffle_epi32(a, 0x1B));
        sum = _mm_sub_epi16(sum, _mm_srli_epi32(a, 3));
    }
    uint64_t out[2];
    _mm_storeu_si128((__m128i*)out, sum);
    return out[0] ^ out[1];
}

static uint64_t syscalls_row(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 200000; i++) {
        sum += (uint64_t)syscall(SYS_getppid);
    }
    return sum;
}

static uint64_t faults_row(void) {
    enum { kPages = 2048 };
    uint64_t sum = 0;
    for (int pass = 0; pass < 10; pass++) {
        volatile char* memory = mmap(NULL, kPages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < kPages; i++) {
            memory[i * 4096] = (char)i;
            sum += (unsigned char)memory[i * 4096];
        }
        munmap((void*)memory, kPages * 4096);
    }
    return sum;
}

static uint64_t switches_row(void) {
    int to_child[2], to_parent[2];
    if (pipe(to_child) != 0 || pipe(to_parent) != 0) {
        return 0;
    }
    enum { kRounds = 10000 };
    const pid_t child = fork();
    if (child == 0) {
        char byte;
        for (int i = 0; i < kRounds && read(to_child[0], &byte, 1) == 1; i++) {
            byte++;
            if (write(to_parent[1], &byte, 1) != 1) {
                break;
            }
        }
        _exit(0);
    }
    uint64_t sum = 0;
    char byte = 0;
    for (int i = 0; i < kRounds; i++) {
        if (write(to_child[1], &byte, 1) != 1 || read(to_parent[0], &byte, 1) != 1) {
            break;
        }
        sum += (unsigned char)byte;
    }
    waitpid(child, NULL, 0);
    return sum;
}

static uint64_t processes_row(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 150; i++) {
        const pid_t child = fork();
        if (child == 0) {
            _exit(i & 0x7F);
        }
        int status = 0;
        waitpid(child, &status, 0);
        sum += (uint64_t)WEXITSTATUS(status);
    }
    return sum;
}

int main(void) {
    static const struct {
        const char* name;
        uint64_t (*run)(void);
    } kRows[] = {
        {"integer", integer_row},   {"branches", branches_row}, {"calls", calls_row},       {"memory", memory_row},
        {"strings", strings_row},   {"floating", floating_row}, {"simd", simd_row},         {"syscalls", syscalls_row},
        {"faults", faults_row},     {"switches", switches_row}, {"processes", processes_row},
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("BENCH userland\n");
    for (unsigned i = 0; i < sizeof(kRows) / sizeof(kRows[0]); i++) {
        printf("BENCH %s start\n", kRows[i].name);
        const uint64_t sum = kRows[i].run();
        printf("BENCH %s end %016llx\n", kRows[i].name, (unsigned long long)sum);
    }
    printf("BENCH done\n");
    fflush(stdout);
    sync();
    usleep(300000);  // let the UART send the last line
    reboot(RB_POWER_OFF);
    return 0;
}
