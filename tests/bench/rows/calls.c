// Calls: recursion, virtual calls, a pointer to a comparison; and indirect branches.
#include "rows.h"

__attribute__((noinline, optimize("no-optimize-sibling-calls", "no-inline", "no-ipa-cp", "no-partial-inlining")))
static uint64_t fibonacci(unsigned n) {
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

uint64_t fibonacci_unit(void) {
    return fibonacci(20);
}

struct Shape;
struct ShapeClass {
    uint64_t (*area)(const struct Shape*);
    void (*grow)(struct Shape*, uint64_t);
};
struct Shape {
    const struct ShapeClass* is;
    uint64_t a, b;
};

#define CLASS(name, area_expression, grow_statement)                              \
    static uint64_t name##_area(const struct Shape* s) { return area_expression; } \
    static void name##_grow(struct Shape* s, uint64_t by) { grow_statement; }      \
    static const struct ShapeClass name = {name##_area, name##_grow};
CLASS(square, s->a* s->a, s->a += by)
CLASS(rectangle, s->a* s->b, s->b += by)
CLASS(triangle, s->a* s->b >> 1, s->a ^= by)
CLASS(ring, s->a* s->a - s->b * s->b, s->b = s->a - by)

uint64_t virtual_unit(void) {
    static const struct ShapeClass* const kClasses[4] = {&square, &rectangle, &triangle, &ring};
    struct Shape shapes[16];
    for (unsigned i = 0; i < 16; i++) {
        shapes[i] = (struct Shape){kClasses[i * 7 / 3 & 3], i + 3, i + 1};
    }
    __asm__ volatile("" : : "r"(shapes) : "memory");  // the classes are not known below
    uint64_t sum = 0;
    for (unsigned i = 0; i < 10000; i++) {
        struct Shape* s = &shapes[i & 15];
        sum += s->is->area(s);
        s->is->grow(s, i & 7);
    }
    return sum;
}

static int compare_numbers(const void* a, const void* b) {
    const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
    return (x > y) - (x < y);
}

// Heap sort over elements of any kind, as a library's qsort sees them.
__attribute__((noinline, noclone))
static void sort_by(uint32_t* base, unsigned count, int (*compare)(const void*, const void*)) {
    for (unsigned end = count, start = count / 2; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            end--;
            const uint32_t top = base[0];
            base[0] = base[end];
            base[end] = top;
        }
        unsigned root = start;
        for (unsigned child = 2 * root + 1; child < end; child = 2 * root + 1) {
            if (child + 1 < end && compare(&base[child], &base[child + 1]) < 0) {
                child++;
            }
            if (compare(&base[root], &base[child]) >= 0) {
                break;
            }
            const uint32_t other = base[root];
            base[root] = base[child];
            base[child] = other;
            root = child;
        }
    }
}

uint64_t qsort_unit(void) {
    static uint32_t numbers[2048];
    uint64_t state = 88172645463325252u, sum = 0;
    for (unsigned i = 0; i < 2048; i++) {
        numbers[i] = (uint32_t)random64(&state);
    }
    int (*compare)(const void*, const void*) = compare_numbers;
    __asm__ volatile("" : "+r"(compare));
    sort_by(numbers, 2048, compare);
    for (unsigned i = 0; i < 2048; i++) {
        sum = sum * 31 + numbers[i];
    }
    return sum;
}

#define STEP(n, expression) \
    static uint64_t step##n(uint64_t x) { return expression; }
STEP(0, x + 1)
STEP(1, x ^ 0x55)
STEP(2, x * 3)
STEP(3, x - 7)
STEP(4, x << 1)
STEP(5, x >> 1)
STEP(6, ~x)
STEP(7, x + (x >> 3))
STEP(8, x * 5 + 1)
STEP(9, x ^ x >> 9)
STEP(10, x + 0x1234)
STEP(11, x | 1)
STEP(12, x & ~2ull)
STEP(13, x - (x >> 2))
STEP(14, x * 9)
STEP(15, x ^ x << 5)

static void fill_pattern(uint8_t* pattern) {
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < 64; i++) {
        pattern[i] = (uint8_t)(random64(&state) >> 33 & 15);
    }
}

uint64_t indirect_unit(void) {
    static uint64_t (*const kSteps[16])(uint64_t) = {step0, step1, step2,  step3,  step4,  step5,  step6,  step7,
                                                     step8, step9, step10, step11, step12, step13, step14, step15};
    uint8_t pattern[64];
    fill_pattern(pattern);
    uint64_t x = 1;
    for (unsigned i = 0; i < 20000; i++) {
        x = kSteps[pattern[i & 63]](x);
    }
    return x;
}

uint64_t jumps_unit(void) {
    uint8_t pattern[64];
    fill_pattern(pattern);
    uint64_t x = 1;
    for (unsigned i = 0; i < 20000; i++) {
        switch (pattern[i & 63]) {
#define CASE(n)                     \
    case n:                         \
        x = step##n(x);             \
        __asm__ volatile("" : "+r"(x)); \
        break;
            CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
            CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15)
        default:
            __builtin_unreachable();
        }
    }
    return x;
}
